"""Keywords as a CSV that ExifTool writes into the photos: for people who trust one tool with their files."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from phototag.choices import SortKey
from phototag.export.form import Export, ExportOption, Written
from phototag.files import open_regular
from phototag.paths import PhotoPath, S3Path
from phototag.records import PhotoState, Rank, Source

if TYPE_CHECKING:
    from phototag.records import TaggedPhoto
    from phototag.store import Store

SEPARATOR = ";"
"""What stands between keywords of a list; ExifTool has to be told, with -sep."""

COLUMNS = ("SourceFile", "Subject", "HierarchicalSubject")
_UNREADABLE = "whose file or whose XMP cannot be read"
_SEPARATED = f'with a "{SEPARATOR}" in a keyword, which would be two'
_IN_STORAGE = "in object storage, where ExifTool writes nothing"
_BARRED = 'of a class with a "|" in its name, which separates levels'


def _write(store: Store, options: Mapping[str, Any], target: BinaryIO) -> Written:
    from phototag.store import Query

    sources = options["sources"] or tuple(Source)
    least = options["min_score"]
    left_out: Counter[str] = Counter()
    count = 0
    target.write(_line(COLUMNS))
    for photo in store.query(Query(under=options["under"], state=PhotoState.OK, sort=SortKey.PATH)):
        if photo.rank in (None, Rank.NONE) or photo.source not in sources:
            continue
        if least is not None and photo.source is Source.MODEL and (_score(photo) or 0.0) < least:
            continue
        names = [name for name in (photo.superclass, photo.subclass) if name is not None]
        row = _BARRED if any("|" in name for name in names) else _row(photo.path, names)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            target.write(_line(row))
            count += 1
    notes = [f"Left out: {number:,} {reason}." for reason, number in left_out.most_common()]
    if count:
        notes.append(f"To write them into the photos: exiftool -csv=FILE.csv -sep '{SEPARATOR}' -r FOLDER")
    return Written(count, tuple(notes))


def _score(photo: TaggedPhoto) -> float | None:
    return photo.superclass_score if photo.rank is Rank.SUPERCLASS else photo.subclass_score


def _row(path: PhotoPath, names: list[str]) -> tuple[str, ...] | str:
    """Return a photo's path and its lists of keywords, or why there is none.

    ExifTool replaces what a list holds, so what it holds already comes first. A new list with levels begins with the
    keywords without them: most programs read the first list only that is there.
    """
    from phototag.metadata import XmpError, comparable, embedded_lists  # here, as the command's help asks for none

    if isinstance(path, S3Path):
        return _IN_STORAGE
    try:
        with open_regular(path) as file:
            flat, levels = embedded_lists(file)
    except (OSError, XmpError):
        return _UNREADABLE
    ours = "|".join(names)
    # A person's keyword may have further levels above ours.
    there = any(comparable(f"|{keyword}").endswith(comparable(f"|{ours}")) for keyword in levels)
    lists = (_joined(flat, names), _joined(levels or flat, [] if there else [ours]))
    if any(SEPARATOR in keyword for keywords in lists for keyword in keywords):
        return _SEPARATED
    return str(path), *(SEPARATOR.join(keywords) for keywords in lists)


def _joined(there: Iterable[str], ours: Iterable[str]) -> list[str]:
    from phototag.metadata import comparable

    kept: dict[str, str] = {}
    for keyword in (*there, *ours):
        kept.setdefault(comparable(keyword), keyword)
    return list(kept.values())


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


EXIFTOOL = Export(
    "exiftool",
    _write,
    things="photos with keywords",
    suffix=".csv",
    help=f"""Write tags as a CSV from which ExifTool writes keywords into the photos.

    The columns are SourceFile, Subject and HierarchicalSubject; keywords that a photo holds already come along, since
    ExifTool replaces lists. Then: exiftool -csv=FILE.csv -sep '{SEPARATOR}' -r FOLDER. phototag does not know that
    ExifTool wrote these keywords: they count as a person's for `import keywords`, and stay when tags change.
    """,
    options=(
        ExportOption("under", "under", Path, "Photos at or below this path."),
        ExportOption("source", "sources", Source, "Only tags that these gave. Repeatable."),
        ExportOption("min-score", "min_score", float, "Of a model's tags only those of at least this score, 0 to 1."),
    ),
)
