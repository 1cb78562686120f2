"""Labelled pictures: a folder superclass/subclass/*, or a CSV filepath,superclass,subclass."""

from __future__ import annotations

import csv
import io
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phototag.errors import DataError, TaxonomyError
from phototag.files import open_regular
from phototag.imaging import is_picture
from phototag.taxonomy import Taxonomy, check_name

COLUMNS = ("filepath", "superclass", "subclass")
# An error that lists every bad line of a large file is as useless as one that lists none.
_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its true labels; None where it belongs to none of the known classes of that level.

    `origin` says where the label stands: "labels.csv, line 14", or the folder.
    """

    path: Path
    superclass: str | None
    subclass: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class LabelledData:
    """Labelled pictures from one source. `ignored` counts pictures that lie in no superclass/subclass folder."""

    source: Path
    pictures: tuple[LabelledPicture, ...]
    ignored: int = 0


def load_data(source: Path) -> LabelledData:
    """Read labelled data from a folder or a CSV. The pictures themselves are not opened yet.

    Raises:
        DataError: there is no such source, it holds no pictures, or its labels are not clean; the text names file and
            line.
    """
    # os.path says no where Path raises: a folder on the way may be closed to us.
    if os.path.isdir(source):  # noqa: PTH112
        data = _load_folder(source)
    elif os.path.isfile(source):  # noqa: PTH113
        data = _load_csv(source)
    else:
        raise DataError(f"{source}: no such folder or CSV file")
    if not data.pictures:
        raise DataError(f"{source}: no pictures found; expected {_expected(source)}")
    _check_parents(data.pictures)
    return data


def _expected(source: Path) -> str:
    if source.is_dir():
        return "superclass/subclass/*.jpg below it"
    return f"rows under the header {','.join(COLUMNS)}"


def _load_folder(source: Path) -> LabelledData:
    pictures: list[LabelledPicture] = []
    ignored = 0

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for folder, names, files in os.walk(source, onerror=refuse):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found = [name for name in sorted(files) if is_picture(Path(name)) and not name.startswith(".")]
        parts = Path(folder).relative_to(source).parts
        if len(parts) != 2:
            ignored += len(found)
            continue
        for part, what in zip(parts, ("superclass", "subclass"), strict=True):
            _check_label(part, what, folder)
        pictures += [LabelledPicture(Path(folder, name), parts[0], parts[1], folder) for name in found]
    return LabelledData(source, tuple(pictures), ignored)


def _check_label(name: str, what: str, origin: str) -> None:
    try:
        check_name(name, what)
    except TaxonomyError as error:
        raise DataError(f"{origin}: {error}") from error


def _load_csv(source: Path) -> LabelledData:
    pictures: list[LabelledPicture] = []
    problems: list[str] = []
    line = 1
    try:
        # Files made by spreadsheets begin with a byte order mark. Names that are not UTF-8 stay usable.
        with io.TextIOWrapper(open_regular(source), "utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                have = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"{source}, line 1: no column {', '.join(missing)}; the header has: {have}")
            for row in reader:
                line = reader.line_num + 1
                origin = f"{source}, line {reader.line_num}"
                picture = _picture_of_row(row, source.parent, origin, problems)
                if picture is not None:
                    pictures.append(picture)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise DataError(f"{source}, line {line}: not CSV: {error}") from error
    _raise_listed(problems)
    return LabelledData(source, tuple(pictures))


def _picture_of_row(
    row: dict[str, str | None], folder: Path, origin: str, problems: list[str]
) -> LabelledPicture | None:
    filepath, superclass, subclass = ((row.get(column) or "").strip() for column in COLUMNS)
    if None in row:  # DictReader files surplus fields under None
        problems.append(f"{origin}: more fields than the header has; quote names that hold commas")
    elif not filepath:
        problems.append(f"{origin}: no filepath")
    elif subclass and not superclass:
        problems.append(f"{origin}: subclass {subclass!r} without a superclass")
    else:
        path = folder / filepath
        if not _is_file(path):
            problems.append(f"{origin}: no such file: {path}")
            return None
        for name, what in ((superclass, "superclass"), (subclass, "subclass")):
            if name:
                _check_label(name, what, origin)
        return LabelledPicture(path, superclass or None, subclass or None, origin)
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or below a folder that may not be entered
        return False


def _raise_listed(problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - _MAX_LISTED
        lines = [*problems[:_MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]
        raise DataError("\n".join(lines))


def _check_parents(pictures: Iterable[LabelledPicture]) -> None:
    first: dict[str, LabelledPicture] = {}
    for picture in pictures:
        if picture.subclass is None:
            continue
        other = first.setdefault(picture.subclass, picture)
        if other.superclass != picture.superclass:
            raise DataError(
                f"subclass {picture.subclass!r} lies under two superclasses: {other.superclass!r} ({other.origin}) and "
                f"{picture.superclass!r} ({picture.origin}); rename one of them"
            )


def training_taxonomy(data: LabelledData) -> Taxonomy:
    """Return the taxonomy of training data.

    Raises:
        DataError: a picture lacks a label, or there is only one subclass.
    """
    check_complete(data)
    pairs = {(picture.superclass or "", picture.subclass or "") for picture in data.pictures}
    if len(pairs) < 2:
        raise DataError(f"{data.source}: only one class, {'/'.join(next(iter(pairs)))}; training needs two or more")
    return Taxonomy.from_pairs(pairs)


def check_complete(data: LabelledData) -> None:
    """Check that every picture has both labels.

    Raises:
        DataError: one has not; the text names file and line.
    """
    _raise_listed(
        [
            f"{picture.origin}: {picture.path.name} has no "
            f"{'superclass' if picture.superclass is None else 'subclass'}; training needs both labels"
            for picture in data.pictures
            if picture.superclass is None or picture.subclass is None
        ]
    )


def unchecked_classes(pictures: Iterable[LabelledPicture]) -> list[str]:
    """Return the classes with a single picture: `split` leaves it to training, so nothing checks what is learned."""
    counts = Counter(f"{picture.superclass}/{picture.subclass}" for picture in pictures)
    return sorted(name for name, count in counts.items() if count == 1)


def check_labels(data: LabelledData, taxonomy: Taxonomy) -> None:
    """Check that every label of validation data is one that the model knows.

    Raises:
        DataError: a label is unknown or stands under another superclass; the text names file and line.
    """
    problems: dict[str, str] = {}  # by label, with where it stands first
    for picture in data.pictures:
        problem = _label_problem(picture, taxonomy)
        if problem is not None:
            problems.setdefault(problem, picture.origin)
    lines = [f"{origin}: {problem}" for problem, origin in problems.items()]
    if lines:
        lines[-1] += "; for pictures of unknown classes leave the label empty in a CSV"
    _raise_listed(lines)


def _label_problem(picture: LabelledPicture, taxonomy: Taxonomy) -> str | None:
    superclass, subclass = picture.superclass, picture.subclass
    if superclass is not None and superclass not in taxonomy.superclass_index:
        return f"the model knows no superclass {superclass!r}"
    if subclass is not None and subclass not in taxonomy.subclass_index:
        return f"the model knows no subclass {subclass!r}"
    if subclass is not None and taxonomy.parent(subclass) != superclass:
        return f"{superclass}/{subclass} is {taxonomy.parent(subclass)}/{subclass} in the model"
    return None


def split(
    pictures: Sequence[LabelledPicture], *, fraction: float, seed: int
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Split into training and validation pictures, class by class.

    Every class gives about `fraction` of its pictures to validation, at least one, and keeps at least one: that of a
    class with a single picture is kept. The split depends on the seed and the file names in each class, not on their
    order or on other classes.
    """
    by_class: dict[tuple[str | None, str | None], list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.superclass, picture.subclass].append(picture)
    training, validation = [], []
    for label, members in sorted(by_class.items(), key=lambda item: tuple(map(str, item[0]))):
        members = sorted(members, key=lambda picture: os.fsencode(picture.path))
        random.Random(f"{seed}:{label}").shuffle(members)
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        validation += members[:count]
        training += members[count:]
    return training, validation
