"""Photos with their tags as rows that machines read, and that round-trip every file name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from phototag.choices import OutputFormat
from phototag.export.form import Export, Written
from phototag.records import TaggedPhoto
from phototag.text import clock_text

if TYPE_CHECKING:
    from phototag.store import Store

ROW_COLUMNS = (
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
    "reason",
    "taken_at",
    "camera",
    "latitude",
    "longitude",
)


def as_row(photo: TaggedPhoto) -> dict[str, Any]:
    """Return the columns of a photo as plain values. A path that is not UTF-8 holds surrogates (PEP 383)."""
    return {
        "path": str(photo.path),
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
        "reason": photo.reason,
        "taken_at": clock_text(photo.taken_at) if photo.taken_at is not None else None,
        "camera": photo.camera,
        "latitude": photo.latitude,
        "longitude": photo.longitude,
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)


def write_rows(
    photos: Iterable[TaggedPhoto], form: OutputFormat, target: BinaryIO, *, end: bytes = b"\n", header: bool = True
) -> int:
    """Write photos as they come, and return how many there were.

    JSON is ASCII, with surrogates as escapes; CSV and paths carry the file system's own bytes. `end` ends each path of
    PATHS, `header` gives CSV its first line.
    """
    number = 0
    if form is OutputFormat.CSV and header:
        target.write(_csv_line(ROW_COLUMNS))
    for number, photo in enumerate(photos, start=1):
        if form is OutputFormat.PATHS:
            target.write(bytes(photo.path) + end)
        elif form is OutputFormat.CSV:
            target.write(_csv_line(["" if value is None else value for value in as_row(photo).values()]))
        elif form is OutputFormat.NDJSON:
            target.write(json.dumps(as_row(photo)).encode() + b"\n")
        else:
            target.write((b"[\n" if number == 1 else b",\n") + json.dumps(as_row(photo)).encode())
    if form is OutputFormat.JSON:
        target.write(b"\n]\n" if number else b"[]\n")
    target.flush()
    return number


def _csv_line(values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode("utf-8", "surrogateescape")


def _write(store: Store, options: Mapping[str, Any], target: BinaryIO) -> Written:
    end = options.get("end", b"\n")
    return Written(write_rows(store.query(options["query"]), options["format"], target, end=end))


# `phototag query` offers its formats.
ROWS = Export("rows", _write, things="photos", suffix="")
