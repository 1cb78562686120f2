"""Photos that appear of a format whose extra is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from phototag.imaging import formats
from phototag.records import PhotoState
from tests.support.watcher import Start, rows


def test_they_are_said_in_one_line_and_noted(start: Start, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_is_there", lambda module: module not in ("pillow_heif", "rawpy"))
    (library / "a.dng").write_bytes(b"")
    watched = start(library)
    advice = "left out; pip install 'phototag[raw]'"
    watched.until(lambda: watched.told("1 RAW file", advice))
    (library / "b.heic").write_bytes(b"")
    watched.until(lambda: watched.told("1 HEIC file left out; pip install 'phototag[heic]'"))
    found = rows(watched.db)
    assert {found[library / name][4] for name in ("a.dng", "b.heic")} == {PhotoState.UNSUPPORTED}
    assert not watched.told("failed") and not watched.told(str(library / "b.heic"))
