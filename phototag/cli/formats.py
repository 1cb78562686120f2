"""Rows of photos on stdout: a table for people, and formats for machines that round-trip every file name."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phototag.choices import OutputFormat
from phototag.records import Source, TaggedPhoto
from phototag.text import Column, numbers, percent, table

COLUMNS = (
    "path",
    "superclass",
    "subclass",
    "rank",
    "superclass_score",
    "subclass_score",
    "novelty",
    "source",
    "model",
    "tagged_at",
    "state",
    "error",
)
_LEAST_PATH_WIDTH = 24


# Commands whose rows are not a choice of paths do not offer the last one.
ROW_FORMATS = [choice for choice in OutputFormat if choice is not OutputFormat.PATHS]


def as_row(photo: TaggedPhoto) -> dict[str, Any]:
    """The machine columns of a photo as plain values. A path that is not UTF-8 holds surrogates (PEP 383)."""
    return {
        "path": os.fspath(photo.path),
        "superclass": photo.superclass,
        "subclass": photo.subclass,
        "rank": photo.rank,
        "superclass_score": _rounded(photo.superclass_score),
        "subclass_score": _rounded(photo.subclass_score),
        "novelty": _rounded(photo.novelty),
        "source": photo.source,
        "model": photo.model,
        "tagged_at": photo.tagged_at.isoformat() if photo.tagged_at is not None else None,
        "state": photo.state,
        "error": photo.error,
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)


def write_rows(photos: Iterable[TaggedPhoto], form: OutputFormat, *, end: bytes = b"\n", header: bool = True) -> int:
    """Write photos to stdout as they come, and return how many there were. `end` ends each path of PATHS, `header`
    gives CSV its first line.

    JSON is ASCII, with surrogates as escapes; CSV and paths carry the file system's own bytes.
    """
    out = sys.stdout.buffer
    number = 0
    if form is OutputFormat.TABLE:
        rows = list(photos)
        out.write(photo_table(rows).encode(sys.stdout.encoding or "utf-8", "replace"))
        out.flush()
        return len(rows)
    if form is OutputFormat.CSV and header:
        out.write(_csv_line(COLUMNS))
    for number, photo in enumerate(photos, start=1):
        if form is OutputFormat.PATHS:
            out.write(os.fsencode(photo.path) + end)
        elif form is OutputFormat.CSV:
            values = as_row(photo).values()
            out.write(_csv_line(["" if value is None else value for value in values]))
        elif form is OutputFormat.NDJSON:
            out.write(json.dumps(as_row(photo)).encode() + b"\n")
        else:
            out.write((b"[\n" if number == 1 else b",\n") + json.dumps(as_row(photo)).encode())
    if form is OutputFormat.JSON:
        out.write(b"\n]\n" if number else b"[]\n")
    out.flush()
    return number


def write_path(path: Path) -> None:
    """Write one path to stdout as the file system has it."""
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    sys.stdout.buffer.flush()


def _csv_line(values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode("utf-8", "surrogateescape")


def photo_table(photos: Sequence[TaggedPhoto], width: int | None = None) -> str:
    """A table that fits the terminal: the folder all photos share said once, paths shortened, scores as percent."""
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
            photo.superclass or "-",
            _percent(photo.superclass_score, photo),
            photo.subclass or "-" if photo.state == "ok" else f"({photo.state})",
            _percent(photo.subclass_score, photo) if photo.subclass else "",
            _percent(photo.novelty, photo),
            str(photo.source or ""),
        )
        for photo in photos
    ]
    fit = width or shutil.get_terminal_size((100, 24)).columns
    return "".join(f"{line}\n" for line in table(columns, rows, fit=fit))


def _percent(score: float | None, photo: TaggedPhoto) -> str:
    """A score in words; a human gives none."""
    return "" if score is None or photo.source is Source.HUMAN else percent(score, 0)
