"""Which class a photo's keywords name: by a file in which a person says so, and by whatever else tells."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phototag.dataset.sheet import open_sheet
from phototag.errors import DataError, TaxonomyError, UsageError
from phototag.files import atomic_write
from phototag.taxonomy import Label, check_name, label_text, spelling_key

IGNORED: Label = (None, None)
"""What a keyword names that a person left blank in a mapping file."""

MAP_COLUMNS = ("keyword", "superclass", "subclass")
_PHOTOS = "photos"
# Marks without a shape of their own; joiners are part of how words of some languages are written.
_JOINERS = "\u200c\u200d"

Levels = tuple[str, ...]
"""The levels of a keyword, as `spelling_key` has them."""


def visible(text: str) -> str:
    """Return text without marks that cannot be seen, as those that say in which direction it is written."""
    if text.isascii():
        return text.strip()
    return "".join(mark for mark in text if unicodedata.category(mark) != "Cf" or mark in _JOINERS).strip()


def levels_of(keyword: str) -> Levels:
    """Return what is the same of keywords that differ only in capitals, in blanks, or in what cannot be seen."""
    return tuple(key for level in keyword.split("|") if (key := spelling_key(visible(level))))


class KeywordMap:
    """What a person says of keywords: the class that each names, or none where it is to be ignored."""

    def __init__(
        self, labels: Mapping[Levels, Label] | None = None, origins: Mapping[Levels, str] | None = None
    ) -> None:
        self._labels = dict(labels or {})
        self._origins = dict(origins or {})

    @classmethod
    def read(cls, source: Path) -> KeywordMap:
        """Read a CSV with the columns keyword, superclass and subclass; without a superclass a keyword is ignored.

        Raises:
            DataError: it cannot be read, or a row makes no sense; the text names file and line.
        """
        labels: dict[Levels, Label] = {}
        origins: dict[Levels, str] = {}
        try:
            with open_sheet(source, MAP_COLUMNS) as sheet:
                for cells in sheet:
                    origin = f"{source}, line {sheet.line}"
                    keyword, superclass, subclass = (cells[sheet.places[column]].strip() for column in MAP_COLUMNS)
                    levels = levels_of(keyword)
                    label = _checked(superclass, subclass, origin)
                    if levels and labels.setdefault(levels, label) != label:
                        raise DataError(
                            f"{origin}: {keyword!r} is {label_text(*label)} here and {label_text(*labels[levels])} in "
                            f"{origins[levels]}; say one"
                        )
                    origins.setdefault(levels, origin)
        except FileNotFoundError as error:
            raise DataError(f"{source}: no such file; write one with the columns {','.join(MAP_COLUMNS)}") from error
        return cls(labels, origins)

    @property
    def labels(self) -> Collection[Label]:
        """The classes that keywords name."""
        return self._labels.values()

    def find(self, keyword: str) -> Label | None:
        """Return the class that a keyword names; None if the file does not say.

        What is ignored is so with all that lies below it and has no row of its own.
        """
        levels = levels_of(keyword)
        if levels in self._labels:
            return self._labels[levels]
        above = (levels[:depth] for depth in range(len(levels) - 1, 0, -1))
        return IGNORED if any(self._labels.get(each) == IGNORED for each in above) else None

    def settled(self, settle: Callable[[str, str | None], Label]) -> KeywordMap:
        """Return it with each class as `settle` returns it: as it is known.

        Raises:
            DataError: `settle` refuses one; the text names file and line.
        """
        labels = {}
        for levels, (superclass, subclass) in self._labels.items():
            try:
                labels[levels] = IGNORED if superclass is None else settle(superclass, subclass)
            except (TaxonomyError, UsageError) as error:
                raise DataError(f"{self._origins[levels]}: {error}") from error
        return KeywordMap(labels, self._origins)


def _checked(superclass: str, subclass: str, origin: str) -> Label:
    if subclass and not superclass:
        raise DataError(f"{origin}: subclass {subclass!r} without a superclass")
    try:
        return (
            check_name(superclass, "superclass") if superclass else None,
            check_name(subclass, "subclass") if subclass else None,
        )
    except TaxonomyError as error:
        raise DataError(f"{origin}: {error}") from error


def add_to_map(target: Path, counts: Sequence[tuple[str, int]]) -> int:
    """Write a mapping file to fill in, or add to one what is not in it yet; return how many keywords were added.

    Rows and columns that are there stay. With the byte order mark spreadsheets read it as UTF-8.

    Args:
        target: The CSV.
        counts: Keywords, and how many photos have each.

    Raises:
        DataError: there is a file that is no mapping file.
        UsageError: it cannot be written.
    """
    header, rows, there = [*MAP_COLUMNS, _PHOTOS], [], set()
    place, number = 0, 3
    if target.exists():
        with open_sheet(target, MAP_COLUMNS, optional=(_PHOTOS,)) as sheet:
            header, place, number = sheet.header, sheet.places["keyword"], sheet.places.get(_PHOTOS, -1)
            rows = list(sheet)
            there = {levels_of(row[place]) for row in rows}
    new = [(keyword, photos) for keyword, photos in counts if levels_of(keyword) not in there]
    if new or not target.exists():
        for keyword, photos in new:
            row = [""] * len(header)
            row[place] = keyword
            if number >= 0:
                row[number] = str(photos)
            rows.append(row)
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows([header, *rows])
        atomic_write(target, text.getvalue().encode("utf-8-sig", "surrogateescape"))
    return len(new)


@dataclass(frozen=True, slots=True)
class NamedClass:
    """What a photo's keywords say: the `label`, None if there is none; `several` if they name more than one class.

    `unknown` are the keywords that name no class and are not to be ignored.
    """

    label: Label | None
    several: tuple[Label, ...]
    unknown: tuple[str, ...]


def class_of(keywords: Sequence[str], mapping: KeywordMap, match: Callable[[str], Label | None]) -> NamedClass:
    """Return what a photo's keywords say, by a person's word first, and then by `match`.

    A superclass says nothing beside one of its subclasses.
    """
    labels: dict[Label, None] = {}
    unknown = []
    for keyword in keywords:
        label = mapping.find(keyword)
        if label is None:
            label = match(keyword)
        if label is None:
            unknown.append(keyword)
        elif label != IGNORED:
            labels[label] = None
    narrowed = {superclass for superclass, subclass in labels if subclass is not None}
    found = [label for label in labels if label[1] is not None or label[0] not in narrowed]
    return NamedClass(found[0] if len(found) == 1 else None, tuple(found) if len(found) > 1 else (), tuple(unknown))
