"""Showing a picture in a program of the platform, or in one that the user names."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from phototag.errors import PhotoTagError
from phototag.imaging import is_picture, read_bytes
from phototag.paths import PhotoPath, S3Path
from phototag.text import printable

# A program that cannot show anything, as without a display, mostly says so at once.
_FIRST_WAIT_SECONDS = 0.3
_END_WAIT_SECONDS = 2.0


class Viewer:
    """Opens pictures without a shell. What fails is said once, and stops nothing.

    A program that the user named and that still runs when the next picture is opened is ended, so that windows do not
    pile up; the platform's opener may have started something that the user needs, and is left alone.
    """

    def __init__(self, command: str | None, say: Callable[[str], None]) -> None:
        """Show pictures with `command`, a program and its arguments; None is the platform's. `say` gets messages.

        Raises:
            click.UsageError: the command is none.
        """
        self._named = _split(command) if command is not None else None
        self._say = say
        self._running: tuple[str, subprocess.Popen[bytes]] | None = None
        self._has_failed = False
        self._is_first = True
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def open(self, path: PhotoPath) -> None:
        """Show the picture at that absolute path; an object is fetched for it."""
        self._finish()
        # The path comes from a database, and openers run what is no picture.
        if not is_picture(path):
            self._fail(f"{path.name} does not look like a picture by its name")
            return
        if isinstance(path, S3Path):
            try:
                path = self._fetched(path)
            except (OSError, PhotoTagError) as error:
                self._fail(str(error))
                return
        if sys.platform == "win32" and self._named is None:
            try:
                os.startfile(path)  # noqa: S606
            except OSError as error:
                self._fail(error.strerror or str(error))
            return
        words = self._named or ["open" if sys.platform == "darwin" else "xdg-open"]
        self._start([*words, os.fspath(path)])

    def close(self) -> None:
        """End a program that the user named and that still shows a picture, and drop what was fetched for it."""
        self._finish()
        if self._folder is not None:
            self._folder.cleanup()

    def _fetched(self, path: S3Path) -> Path:
        """Return a copy of an object as a file, for as long as this is not closed.

        Raises:
            OSError: it cannot be written.
            PhotoTagError: it cannot be fetched.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="phototag-")
        copy = Path(self._folder.name) / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}{path.suffix}"
        copy.write_bytes(read_bytes(path))
        return copy

    def _start(self, words: Sequence[str]) -> None:
        quiet = subprocess.DEVNULL
        try:
            # A separate session: Ctrl-C in the terminal is not meant for it, and it cannot read the keys.
            process = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)  # noqa: S603
        except (OSError, ValueError) as error:
            self._fail(f"{words[0]}: {getattr(error, 'strerror', None) or error}")
            return
        self._running = (words[0], process)
        threading.Thread(target=process.wait, daemon=True).start()
        if self._is_first:
            self._is_first = False
            try:
                process.wait(_FIRST_WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                return
            self._check(words[0], process)

    def _finish(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        program, process = running
        if process.poll() is not None:
            self._check(program, process)
        elif self._named is not None:
            process.terminate()
            try:
                process.wait(_END_WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _check(self, program: str, process: subprocess.Popen[bytes]) -> None:
        if process.returncode > 0:
            self._fail(f"{program} ended with code {process.returncode}")

    def _fail(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._say(f"No picture: {printable(reason)}. Name a program with --viewer, or leave it with --no-view.")


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command, posix=sys.platform != "win32")
    except ValueError as error:
        raise click.UsageError(f"--viewer {command}: {error}") from error
    if not words:
        raise click.UsageError("--viewer needs a program, as in --viewer feh")
    return words
