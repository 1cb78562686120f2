"""Limits of inotify, set low for a moment."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock


@contextlib.contextmanager
def inotify_limit(name: str, value: int) -> Iterator[None]:
    """A limit of inotify set low for a moment: all of this user's programs share it."""
    setting = Path("/proc/sys/fs/inotify") / name
    if not os.access(setting, os.W_OK):
        pytest.skip("setting limits of inotify takes Linux and the rights of root")
    # Two test runs at once would take each other's low limit for the real one, and leave it behind.
    with FileLock(Path(tempfile.gettempdir()) / "inotify-limits-in-tests.lock"):
        before = setting.read_text()
        try:
            setting.write_text(str(value))
            yield
        finally:
            setting.write_text(before)
