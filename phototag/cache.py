"""Bounds on the cache: things that can be made again, of which the newest are kept."""

from __future__ import annotations

from pathlib import Path


def keep_newest(folder: Path, pattern: str, *, count: int) -> None:
    """Delete all but the `count` files of that pattern that were changed last, with everything of the same stem.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[count:]:
        for part in folder.glob(f"{path.stem}.*"):
            part.unlink(missing_ok=True)
