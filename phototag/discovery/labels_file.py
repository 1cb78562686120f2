"""The CSV file that named groups grow: filepath,superclass,subclass, as training reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from phototag.dataset import COLUMNS, open_sheet
from phototag.errors import DataError
from phototag.files import as_it_is_there, atomic_write
from phototag.paths import PhotoPath, absolute, is_address
from phototag.taxonomy import spelled_apart
from phototag.text import nfc


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a labels file: rows that are `new`, that have another label now, and that it holds in `total`."""

    new: int
    changed: int
    total: int


def add_labels(file: Path, photos: Sequence[PhotoPath], *, superclass: str, subclass: str) -> Written:
    """Give photos a label in a CSV file, which is made if there is none; a photo that stands there gets the new label.

    The file is replaced atomically. Paths are absolute; other rows and columns stay as they are.

    Raises:
        DataError: the file is no such CSV, has the subclass under another superclass, or cannot be written.
    """
    header, places, rows = _read(file)
    path_at, superclass_at, subclass_at = (places[column] for column in COLUMNS)
    by_path = {_absolute(row[path_at].strip(), file): row for row in rows}
    named = {str(path): path for path in photos}
    labels = {
        (nfc(row[superclass_at].strip()), nfc(row[subclass_at].strip()))
        for path, row in by_path.items()
        if path not in named and row[subclass_at].strip()
    }
    _check_label(file, labels, superclass, subclass)
    new = changed = 0
    for path in named:
        row = by_path.get(path)
        if row is None:
            row = [""] * len(header)
            rows.append(row)
            row[path_at] = path
            new += 1
        elif (nfc(row[superclass_at].strip()), nfc(row[subclass_at].strip())) != (superclass, subclass):
            changed += 1
        else:
            continue
        row[superclass_at], row[subclass_at] = superclass, subclass
    if new or changed:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        atomic_write(file, text.getvalue().encode("utf-8", "surrogateescape"), error=DataError)
    return Written(new, changed, len(rows))


def _absolute(filepath: str, file: Path) -> str:
    """Return a path of the file as absolute text; relative ones are relative to the file."""
    return str(absolute(filepath if is_address(filepath) else as_it_is_there(file.absolute().parent / filepath)))


def _read(file: Path) -> tuple[list[str], dict[str, int], list[list[str]]]:
    """Read the header of the file, where the columns stand in it, and its rows; those of a new one if there is none."""
    try:
        with open_sheet(file, COLUMNS) as sheet:
            rows = []
            for cells in sheet:
                if len(cells) > len(sheet.header):
                    raise DataError(f"{file}, line {sheet.line}: more fields than the header has; correct it first")
                rows.append(cells)
            return sheet.header, sheet.places, rows
    except FileNotFoundError:
        return list(COLUMNS), {column: place for place, column in enumerate(COLUMNS)}, []
    except DataError as error:
        raise DataError(f"{error}; or name another file with --labels") from error


def _check_label(file: Path, labels: Collection[tuple[str, str]], superclass: str, subclass: str) -> None:
    """Refuse what training would refuse afterwards: one subclass under two superclasses, one name in two spellings."""
    for above, name in labels:
        if name == subclass and above != superclass:
            raise DataError(
                f"{file}: has subclass {subclass!r} under {above!r}, so it cannot lie under "
                f"{superclass!r}; choose another name or another file"
            )
    for name, known in ((superclass, {above for above, _ in labels}), (subclass, {name for _, name in labels})):
        for other in spelled_apart([name], known).values():
            raise DataError(f"{file}: has {other!r}, from which {name!r} differs only in spelling; choose that name")
