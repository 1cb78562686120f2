"""Write files atomically, and bound caches."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phototag.errors import PhotoTagError, UsageError


@contextmanager
def replacing(file: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give the path of a partial file beside `file`, which takes its place atomically once it is written.

    With `durable` it also outlasts a power cut from then on.

    Raises:
        OSError: the folder is not there, or cannot be written to.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        partial.replace(file)
    finally:
        with suppress(OSError):  # renamed, or never made
            partial.unlink()


def atomic_write(
    file: Path, content: bytes, *, error: type[PhotoTagError] = UsageError, way_out: str = "; name another file"
) -> None:
    """Write a file atomically and durably, and make the folders that lead to it.

    Raises:
        PhotoTagError: it cannot be written; of the type `error`, with the `way_out` at the end of its text.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, durable=True) as partial:
            partial.write_bytes(content)
    except OSError as problem:
        raise error(f"{file}: cannot be written: {problem.strerror or problem}{way_out}") from problem


def keep_newest(folder: Path, pattern: str, *, count: int) -> None:
    """Delete all but the `count` files of that pattern that were changed last, with everything of the same stem.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[count:]:
        for part in folder.glob(f"{path.stem}.*"):
            part.unlink(missing_ok=True)


def as_it_is_there(path: Path) -> Path:
    """Return the path in the Unicode form in which it is there: a keyboard writes é in another than a Mac's disk."""
    if os.fspath(path).isascii() or os.path.lexists(path):
        return path
    place = Path()
    for part in path.parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        place = next((place / form for form in forms if os.path.lexists(place / form)), place / part)
    return place


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically, and make the folders that lead to it.

    Raises:
        UsageError: it cannot be written.
    """
    atomic_write(path, text.encode())
