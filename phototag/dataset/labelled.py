"""Labelled pictures: a folder superclass/subclass/*, a CSV filepath,superclass,subclass, or a library with keywords."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from phototag.dataset.keyworded import FEWEST_PHOTOS, KeywordedLibrary
from phototag.dataset.sheet import Sheet, open_sheet
from phototag.errors import DataError, TaxonomyError
from phototag.files import as_it_is_there
from phototag.imaging import is_read
from phototag.library import LeftOut, is_passed_over
from phototag.paths import PhotoPath, absolute, is_address
from phototag.records import LEVELS
from phototag.taxonomy import Taxonomy, check_name, nearest_names, spelled_apart
from phototag.text import is_text

log = logging.getLogger(__name__)

DataSource: TypeAlias = Path | KeywordedLibrary
"""Where labelled data lies: a folder, a CSV, or a library whose photos hold keywords."""

COLUMNS = ("filepath", "superclass", "subclass")
GROUP_COLUMN = "group"
# 2019, 2019-05-31 Rome, 20190531, 31.05.2019; DCIM, 100CANON, 101_PANA.
_DATE_OR_CAMERA = re.compile(
    r"(19|20)\d\d(?![0-9A-Za-z])|(19|20)\d{6}(?!\d)|\d\d?[.-]\d\d?[.-](19|20)\d\d(?!\d)|DCIM$|\d{3}[A-Z_][A-Z0-9_]{4}$"
)
# An error that lists every bad line of a large file is as useless as one that lists none.
_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its true labels; None where it belongs to none of the known classes of that level.

    `origin` says where the label stands: "labels.csv, line 14", the folder, or the keywords. `group` names what it
    belongs to where the data says so.
    """

    path: PhotoPath
    superclass: str | None
    subclass: str | None
    origin: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledData:
    """Labelled pictures from one source.

    `ignored` counts pictures that lie in no superclass/subclass folder, `empty` are folders of classes without any, and
    `left_out` is what else was not taken.
    """

    source: Path
    pictures: tuple[LabelledPicture, ...]
    ignored: int = 0
    empty: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def doubt(self) -> str:
        """Return why this looks like a library of photos, not like labelled pictures; empty if it does not."""
        if self.ignored > len(self.pictures):
            return "most of its pictures lie in no superclass/subclass folder"
        for level in LEVELS:
            names = sorted({str(getattr(picture, level)) for picture in self.pictures})
            dates = [name for name in names if _DATE_OR_CAMERA.match(name)]
            if 2 * len(dates) >= len(names):
                return f"its classes are named after dates or cameras: {listed_names(dates, most=3)}"
        return ""


def load_data(source: DataSource, *, deep: bool = False) -> LabelledData:
    """Read labelled data from a folder, a CSV or the keywords of a library, and say what is left out.

    The pictures are not opened yet. Names of classes come composed (NFC). A row that stands twice counts once. With
    `deep` the pictures in folders below superclass/subclass are taken too.

    Raises:
        DataError: there is no such source, it holds no pictures, or its labels are not clean; the text names file and
            line.
    """
    # os.path says no where Path raises: a folder on the way may be closed to us.
    if isinstance(source, KeywordedLibrary):
        data = _load_keyworded(source)
    elif os.path.isdir(source):  # noqa: PTH112
        data = _load_folder(source, deep=deep)
    elif os.path.isfile(source):  # noqa: PTH113
        data = _load_csv(source)
    else:
        what = "neither a folder nor a CSV file" if os.path.lexists(source) else "no such folder or CSV file"
        raise DataError(f"{source}: {what}")
    if not data.pictures:
        raise DataError(
            " ".join(filter(None, [f"{data.source}: no pictures found.", data.left_out.line(), _expected(source)]))
        )
    if data.ignored:
        log.warning("%s: %d pictures lie in no superclass/subclass folder and are left out", data.source, data.ignored)
    if data.empty:
        log.warning("%s: no pictures in %s, which is no class then", data.source, listed_names(data.empty))
    if data.left_out:
        log.warning("%s: %s", data.source, data.left_out.line())
    _check_parents(data)
    _check_spelling(data)
    return data


def listed_names(names: Sequence[str], *, most: int = _MAX_LISTED) -> str:
    """Return names for a message; of many only the first ones."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _expected(source: DataSource) -> str:
    if isinstance(source, KeywordedLibrary):
        return (
            "Expected keywords like Animals|bird|rooster, whose last two levels are superclass and subclass, and "
            f"{FEWEST_PHOTOS} photos of each class"
        )
    if source.is_dir():
        return "Expected superclass/subclass/*.jpg below it"
    return f"Expected rows under the header {','.join(COLUMNS)}"


def _load_keyworded(library: KeywordedLibrary) -> LabelledData:
    found, left_out = library.pictures()
    pictures = tuple(LabelledPicture(path, *label, f"{path}: keywords {keywords}") for path, label, keywords in found)
    return LabelledData(library.root, pictures, left_out=left_out)


def _load_folder(source: Path, *, deep: bool) -> LabelledData:
    pictures: list[LabelledPicture] = []
    empty: list[str] = []
    left_out = LeftOut()
    folders, files = _listing(source, left_out)
    ignored = len(files)
    for superclass in folders:
        folders, files = _listing(source / superclass, left_out)
        ignored += len(files)
        for subclass in folders:
            folder = source / superclass / subclass
            deeper, names = _listing(folder, left_out)
            below = [path for name in deeper for path in _pictures_below(folder / name, left_out)]
            paths = [*(folder / name for name in names), *(below if deep else ())]
            ignored += 0 if deep else len(below)
            if paths:
                top, sub = (
                    _checked_name(name, what, str(folder))
                    for name, what in zip((superclass, subclass), LEVELS, strict=True)
                )
                pictures += [LabelledPicture(path, top, sub, str(folder)) for path in paths]
            else:
                empty.append(f"{superclass}/{subclass}")
    return LabelledData(source, tuple(pictures), ignored, tuple(empty), left_out)


def _listing(folder: Path, left_out: LeftOut) -> tuple[list[str], list[str]]:
    """Return the folders and the pictures in a folder, sorted; links are followed, as data sets are made of them."""
    folders, files = [], []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.startswith("."):
                    continue
                if os.path.isdir(entry.path):  # noqa: PTH112  # never raises
                    if is_passed_over(entry.name):
                        left_out.folders[entry.name] += 1
                    else:
                        folders.append(entry.name)
                elif is_read(Path(entry.name)):
                    files.append(entry.name)
                else:
                    left_out.note_file(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(folders), sorted(files)


def _pictures_below(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return the pictures in a folder and below it; links are not followed there, which may lead in circles."""
    if os.path.islink(folder):  # noqa: PTH114  # never raises
        return []
    folders, files = _listing(folder, left_out)
    below = [path for name in folders for path in _pictures_below(folder / name, left_out)]
    return [*(folder / name for name in files), *below]


def _checked_name(name: str, what: str, origin: str) -> str:
    try:
        return check_name(name, what)
    except TaxonomyError as error:
        raise DataError(f"{origin}: {error}") from error


def _load_csv(source: Path) -> LabelledData:
    pictures: dict[str, LabelledPicture] = {}
    problems: list[str] = []
    names: dict[tuple[str, str], str] = {}
    repeated = 0
    with open_sheet(source, COLUMNS, optional=(GROUP_COLUMN,)) as sheet:
        for cells in sheet:
            picture = _picture_of_row(sheet, cells, source, names, problems)
            if picture is None:
                continue
            other = pictures.setdefault(str(absolute(picture.path)), picture)
            if (other.superclass, other.subclass) != (picture.superclass, picture.subclass):
                problems.append(
                    f"{picture.origin}: {picture.path.name} is {_label(picture)} here and {_label(other)} in "
                    f"{other.origin}; give it one label"
                )
            repeated += other is not picture
    _raise_listed(problems)
    if repeated:
        log.warning("%s: %d rows repeat others and count once", source, repeated)
    return LabelledData(source, tuple(pictures.values()))


def _label(picture: LabelledPicture) -> str:
    return "/".join(filter(None, (picture.superclass, picture.subclass))) or "none of the classes"


def _picture_of_row(
    sheet: Sheet, cells: Sequence[str], source: Path, names: dict[tuple[str, str], str], problems: list[str]
) -> LabelledPicture | None:
    origin = f"{source}, line {sheet.line}"
    filepath, superclass, subclass = (cells[sheet.places[column]].strip() for column in COLUMNS)
    if len(cells) > len(sheet.header):
        problems.append(f"{origin}: more fields than the header has; quote names that hold commas")
    elif not filepath:
        problems.append(f"{origin}: no filepath")
    elif subclass and not superclass:
        problems.append(f"{origin}: subclass {subclass!r} without a superclass")
    else:
        path = place_of(filepath, source)
        if isinstance(path, Path) and not _is_file(path):
            hint = " (the CSV is not in UTF-8; save it as UTF-8)" if not is_text(filepath) else ""
            problems.append(f"{origin}: no such file: {path}{hint}")
            return None
        for what, name in ((LEVELS[0], superclass), (LEVELS[1], subclass)):
            if name and (what, name) not in names:
                names[what, name] = _checked_name(name, what, origin)
        place = sheet.places.get(GROUP_COLUMN)
        group = cells[place].strip() if place is not None else ""
        labels = (names.get((LEVELS[0], superclass)), names.get((LEVELS[1], subclass)))
        return LabelledPicture(path, *labels, origin, group or None)
    return None


def place_of(filepath: str, source: Path) -> PhotoPath:
    """Return where a picture lies that a CSV names: an address, or a path that may be relative to the CSV."""
    if is_address(filepath):
        try:
            return absolute(filepath)
        except ValueError:
            pass
    return as_it_is_there(source.parent / filepath)


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


def _check_spelling(data: LabelledData) -> None:
    """Refuse two classes that are one to a reader."""
    for level in LEVELS:
        origins = _origins(data, level)
        _raise_listed(
            [
                f"{level} {name!r} ({origins[name]}) differs from {other!r} ({origins[other]}) only in spelling; "
                "give both one name"
                for name, other in spelled_apart(origins).items()
            ]
        )


def _origins(data: LabelledData, level: str) -> dict[str, str]:
    """Return where each name of a level stands first."""
    origins: dict[str, str] = {}
    for picture in data.pictures:
        name = getattr(picture, level)
        if name is not None:
            origins.setdefault(name, picture.origin)
    return origins


def _check_parents(data: LabelledData) -> None:
    first: dict[str, LabelledPicture] = {}
    for picture in data.pictures:
        if picture.subclass is None:
            continue
        other = first.setdefault(picture.subclass, picture)
        if other.superclass != picture.superclass:
            raise DataError(
                f"subclass {picture.subclass!r} lies under two superclasses: {other.superclass!r} ({other.origin}) and "
                f"{picture.superclass!r} ({picture.origin}); rename one of them"
                + (
                    f". Or is this a library, and not pictures in folders of their classes? {data.doubt}"
                    if data.doubt
                    else ""
                )
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


def check_labels(data: LabelledData, taxonomy: Taxonomy) -> None:
    """Check that every label of validation data is one that the model knows.

    Raises:
        DataError: a label is unknown or stands under another superclass; the text names file and line.
    """
    lines = [f"{origin}: {problem}" for problem, origin in _unknown(data, taxonomy).values()]
    if lines:
        lines[-1] += "; for pictures of unknown classes leave the label empty in a CSV"
    _raise_listed(lines)


def refuse_other_spelling(data: LabelledData, *taxonomies: Taxonomy) -> None:
    """Refuse labels that differ only in spelling from those of models.

    Raises:
        DataError: there are such; the text names file and line.
    """
    problems: dict[str, str] = {}
    for level, field_of in zip(LEVELS, ("superclasses", "subclasses"), strict=True):
        known = {name for taxonomy in taxonomies for name in getattr(taxonomy, field_of)}
        origins = _origins(data, level)
        for name, other in spelled_apart(origins, known).items():
            problems[name] = f"{origins[name]}: {level} {name!r} is spelt {other!r} in the model; write it so"
    _raise_listed(list(problems.values()))


def unknown_labels(data: LabelledData, taxonomy: Taxonomy) -> list[str]:
    """Return the labels that a model does not know: their pictures are of none of its classes at that level.

    Raises:
        DataError: one differs from a label of the model only in spelling.
    """
    refuse_other_spelling(data, taxonomy)
    return sorted(_unknown(data, taxonomy))


def _unknown(data: LabelledData, taxonomy: Taxonomy) -> dict[str, tuple[str, str]]:
    """Return by label that a model does not know, or knows elsewhere, what is wrong and where it stands first."""
    origins: dict[tuple[str | None, str | None], str] = {}
    for picture in data.pictures:
        origins.setdefault((picture.superclass, picture.subclass), picture.origin)
    found: dict[str, tuple[str, str]] = {}
    for (superclass, subclass), origin in origins.items():
        for what, name, names in (
            (LEVELS[0], superclass, taxonomy.superclasses),
            (LEVELS[1], subclass, taxonomy.subclasses),
        ):
            if name is not None and name not in found and name not in names:
                nearest = nearest_names(name, names, count=1)
                hint = f" (the nearest is {nearest[0]!r})" if nearest else ""
                found[name] = f"the model knows no {what} {name!r}{hint}", origin
        if subclass in taxonomy.subclass_index and taxonomy.parent(subclass) != superclass:
            full = f"{superclass}/{subclass}"
            found[full] = f"{full} is {taxonomy.parent(subclass)}/{subclass} in the model", origin
    return found
