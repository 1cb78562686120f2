"""Write files atomically, and bound caches."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from phototag.errors import PhotoTagError, UsageError


def atomic_write(
    file: Path, content: bytes, *, error: type[PhotoTagError] = UsageError, way_out: str = "name another file"
) -> None:
    """Write a file atomically and durably, and make the folders that lead to it.

    Raises:
        PhotoTagError: it cannot be written; of the type `error`, with the `way_out` in its text.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
    except OSError as problem:
        raise error(f"{file}: cannot be written: {problem.strerror or problem}; {way_out}") from problem
    finally:
        with suppress(OSError):  # renamed, or never made
            partial.unlink()


def keep_newest(folder: Path, pattern: str, *, count: int) -> None:
    """Delete all but the `count` files of that pattern that were changed last, with everything of the same stem.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[count:]:
        for part in folder.glob(f"{path.stem}.*"):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically, and make the folders that lead to it.

    Raises:
        UsageError: it cannot be written.
    """
    atomic_write(path, text.encode())
