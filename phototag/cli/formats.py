"""Rows of photos on stdout: a table for people, or one of the formats for machines."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from phototag.choices import CountBy, OutputFormat
from phototag.cli.messages import data_out
from phototag.export import write_rows
from phototag.paths import PhotoPath, shared_folder
from phototag.records import Source, TaggedPhoto
from phototag.taxonomy import NO_LABEL, SUPERCLASS_ONLY
from phototag.text import Column, numbers, percent, table

_LEAST_PATH_WIDTH = 24
_NOT_TAGGED = "not tagged"
_NOT_KNOWN = "not known"
# Commands whose rows are not a choice of paths do not offer the last one.
ROW_FORMATS = [choice for choice in OutputFormat if choice is not OutputFormat.PATHS]


def print_rows(photos: Iterable[TaggedPhoto], form: OutputFormat, *, header: bool = True) -> int:
    """Print photos as a table or in a format for machines, and return how many there were."""
    if form is not OutputFormat.TABLE:
        return write_rows(photos, form, data_out(), header=header)
    rows = list(photos)
    click.echo(photo_table(rows), nl=False)
    return len(rows)


def print_counts(
    names: Sequence[str],
    counts: Mapping[tuple[str | None, ...], int],
    form: OutputFormat,
    *,
    limit: int | None,
    untagged: int = 0,
) -> None:
    """Print how many photos have which values, named by `names`, the most first; None is where a photo has none.

    Of those without a class, `untagged` have no tag at all.
    """
    if form is OutputFormat.TABLE:
        counts = _counts_in_words(names, counts, untagged)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], [value or "" for value in item[0]]))
    rows = [(*values, number) for values, number in ordered[:limit]]
    described = [dict(zip((*names, "photos"), row, strict=True)) for row in rows]
    if form is OutputFormat.TABLE:
        columns = [*map(Column, names), *numbers("photos", width=0)]
        texts = [[f"{cell:,}" if isinstance(cell, int) else cell or "" for cell in row] for row in rows]
        click.echo("\n".join(table(columns, texts)))
    elif form is OutputFormat.JSON:
        click.echo(json.dumps(described))
    elif form is OutputFormat.NDJSON:
        click.echo("".join(f"{json.dumps(row)}\n" for row in described), nl=False)
    else:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([(*names, "photos"), *rows])
        click.echo(text.getvalue(), nl=False)


def _counts_in_words(
    names: Sequence[str], counts: Mapping[tuple[str | None, ...], int], untagged: int
) -> Mapping[tuple[str | None, ...], int]:
    """Return counts by what a photo has, with words for having none."""
    if names[0] != "superclass":
        none = _NOT_KNOWN if names[0] in (CountBy.CAMERA, CountBy.MONTH) else _NOT_TAGGED
        return {tuple(value or none for value in values): number for values, number in counts.items()}
    words: dict[tuple[str | None, ...], int] = {}
    for (superclass, *rest), number in counts.items():
        if superclass is not None:
            words[(superclass, *(subclass or SUPERCLASS_ONLY for subclass in rest))] = number
            continue
        for name, part in ((NO_LABEL, number - untagged), (_NOT_TAGGED, untagged)):
            if part:
                words[(name, *("" for _ in rest))] = part
    return words


def write_path(path: PhotoPath) -> None:
    """Write one path to stdout as the file system has it."""
    out = data_out()
    out.write(bytes(path) + b"\n")
    out.flush()


def photo_table(photos: Sequence[TaggedPhoto], width: int | None = None) -> str:
    """Return a table; the folder that all photos share is said once.

    On a terminal paths are shortened to its width, or to `width`. Elsewhere they are complete: programs read them.
    """
    if not photos:
        return ""
    folder = os.fsdecode(shared_folder({bytes(photo.path.parent) for photo in photos}))
    # Of a mixture of files and objects nothing can be left out.
    start = len(folder.rstrip("/")) + 1 if folder else 0
    columns = [
        Column(f"in {folder}" if folder else "photo", shrink_to=_LEAST_PATH_WIDTH),
        Column("superclass"),
        *numbers("", width=0),
        Column("subclass"),
        *numbers("", "novelty", width=0),
        Column("by"),
    ]
    rows = [
        (
            str(photo.path)[start:],
            photo.superclass or (NO_LABEL if photo.rank else _NOT_TAGGED if photo.state == "ok" else ""),
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
