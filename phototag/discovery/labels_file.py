"""The CSV file that named groups grow: filepath,superclass,subclass, as training reads it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phototag.dataset import COLUMNS
from phototag.errors import DataError
from phototag.files import atomic_write, open_regular


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a labels file: rows that are `new`, that have another label now, and that it holds in `total`."""

    new: int
    changed: int
    total: int


def add_labels(file: Path, photos: Sequence[Path], *, superclass: str, subclass: str) -> Written:
    """Give photos a label in a CSV file, which is made if there is none; a photo that stands there gets the new label.

    The file is replaced atomically. Paths are absolute; other rows and columns stay as they are.

    Raises:
        DataError: the file is no such CSV, has the subclass under another superclass, or cannot be written.
    """
    columns, rows = _read(file)
    by_path = {_absolute(row["filepath"], file): row for row in rows}
    label = {"superclass": superclass, "subclass": subclass}
    named = {os.fspath(path): path for path in photos}
    _check_parent(file, by_path, named, superclass, subclass)
    new = changed = 0
    for path in named:
        row = by_path.get(path)
        if row is None:
            rows.append({"filepath": path, **label})
            new += 1
        elif (row.get("superclass"), row.get("subclass")) != (superclass, subclass):
            row.update(label)
            changed += 1
    if new or changed:
        _write(file, columns, rows)
    return Written(new, changed, len(rows))


def _absolute(filepath: str, file: Path) -> str:
    """Return a path of the file as absolute text; relative ones are relative to the file."""
    return os.path.abspath(file.absolute().parent / filepath)  # noqa: PTH100  # folds ".."


def _read(file: Path) -> tuple[Sequence[str], list[dict[str, str]]]:
    """Read columns and rows of the file; those of a new one if there is none."""
    try:
        # As training reads it: with a byte order mark or not, and names that are not UTF-8 kept.
        with io.TextIOWrapper(open_regular(file), "utf-8-sig", errors="surrogateescape", newline="") as source:
            reader = csv.DictReader(source, strict=True, restval="")
            columns = reader.fieldnames or COLUMNS
            missing = [column for column in COLUMNS if column not in columns]
            if missing:
                raise DataError(f"{file}, line 1: no column {', '.join(missing)}; name another file with --labels")
            rows = []
            for row in reader:
                if None in row:  # DictReader files surplus fields under None
                    raise DataError(
                        f"{file}, line {reader.line_num}: more fields than the header has; correct it first"
                    )
                rows.append(row)
            return columns, rows
    except FileNotFoundError:
        return COLUMNS, []
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise DataError(f"{file}: not CSV: {error}; name another file with --labels") from error


def _check_parent(
    file: Path,
    rows: Mapping[str, Mapping[str, str]],
    named: Mapping[str, Path],
    superclass: str,
    subclass: str,
) -> None:
    """Refuse what training would refuse afterwards: one subclass under two superclasses."""
    for path, row in rows.items():
        if path not in named and row["subclass"].strip() == subclass and row["superclass"].strip() != superclass:
            raise DataError(
                f"{file}: has subclass {subclass!r} under {row['superclass']!r}, so it cannot lie under "
                f"{superclass!r}; choose another name or another file"
            )


def _write(file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(file, text.getvalue().encode("utf-8", "surrogateescape"), error=DataError)
