"""Rows of photos on stdout: a table for people, or one of the formats for machines."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from phototag.choices import OutputFormat
from phototag.export import write_rows
from phototag.records import Source, TaggedPhoto
from phototag.taxonomy import NO_LABEL, SUPERCLASS_ONLY
from phototag.text import Column, numbers, percent, table

_LEAST_PATH_WIDTH = 24
# Commands whose rows are not a choice of paths do not offer the last one.
ROW_FORMATS = [choice for choice in OutputFormat if choice is not OutputFormat.PATHS]


def print_rows(photos: Iterable[TaggedPhoto], form: OutputFormat, *, header: bool = True) -> int:
    """Print photos as a table or in a format for machines, and return how many there were."""
    if form is not OutputFormat.TABLE:
        return write_rows(photos, form, sys.stdout.buffer, header=header)
    rows = list(photos)
    sys.stdout.buffer.write(photo_table(rows).encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.buffer.flush()
    return len(rows)


def write_path(path: Path) -> None:
    """Write one path to stdout as the file system has it."""
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    sys.stdout.buffer.flush()


def photo_table(photos: Sequence[TaggedPhoto], width: int | None = None) -> str:
    """Return a table; the folder that all photos share is said once.

    On a terminal paths are shortened to its width, or to `width`. Elsewhere they are complete: programs read them.
    """
    if not photos:
        return ""
    folder = os.path.commonpath([photo.path.parent for photo in photos])
    columns = [
        Column(f"in {folder}", shrink_to=_LEAST_PATH_WIDTH),
        Column("superclass"),
        *numbers("", width=0),
        Column("subclass"),
        *numbers("", "novelty", width=0),
        Column("by"),
    ]
    rows = [
        (
            os.path.relpath(photo.path, folder),
            photo.superclass or (NO_LABEL if photo.rank else "not tagged" if photo.state == "ok" else ""),
            _score(photo.superclass_score, photo),
            photo.subclass or (SUPERCLASS_ONLY if photo.superclass else "")
            if photo.state == "ok"
            else f"({photo.state})",
            _score(photo.subclass_score, photo) if photo.subclass else "",
            _score(photo.novelty, photo),
            str(photo.source or ""),
        )
        for photo in photos
    ]
    fit = width or (shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None)
    return "".join(f"{line}\n" for line in table(columns, rows, fit=fit))


def _score(score: float | None, photo: TaggedPhoto) -> str:
    """Return a score in words; a human gives none."""
    return "" if score is None or photo.source is Source.HUMAN else percent(score, 0)
