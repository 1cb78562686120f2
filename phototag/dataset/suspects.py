"""Check labelled pictures: which are likely labelled wrong, there twice, in the validation too, or like no class.

All of it from features of the default backbone, which stay in the cache: a second check takes seconds. What is found is
a list to look through, not a verdict: `without_listed` leaves out of a training what a person left in the list.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from phototag.choices import GroupsBy
from phototag.dataset.content import report_unreadable
from phototag.dataset.features import Features
from phototag.dataset.grouping import Labels, near_pairs
from phototag.dataset.label_errors import Floats, find_label_errors
from phototag.dataset.labelled import (
    COLUMNS,
    DataSource,
    LabelledData,
    LabelledPicture,
    load_data,
    place_of,
    training_taxonomy,
)
from phototag.dataset.series import default_features, group_numbers, grouped, standardised
from phototag.dataset.sheet import open_sheet
from phototag.errors import DataError
from phototag.paths import PhotoPath, absolute
from phototag.progress import waiting
from phototag.runtime import Target

log = logging.getLogger(__name__)

NEAR_DISTANCE = 0.1
"""The cosine distance of looks up to which two pictures are nearly the same: one compressed again, or made smaller."""

FEWEST_GROUPS = 3
"""A class of fewer groups is learned, but hardly checked: one for each of two sides, and one to differ."""


class Kind(StrEnum):
    """Why a picture is suspect; the worst first."""

    COPY_OTHER_CLASS = "copy_other_class"
    WRONG_LABEL = "wrong_label"
    NEAR_OTHER_CLASS = "near_other_class"
    FAR = "far"
    LEAK = "leak"
    COPY = "copy"
    NEAR = "near"


KIND_WORDS = {
    Kind.COPY_OTHER_CLASS: "the same picture in several classes",
    Kind.WRONG_LABEL: "the label is likely wrong",
    Kind.NEAR_OTHER_CLASS: "nearly the same picture in another class",
    Kind.FAR: "looks like none of the classes",
    Kind.LEAK: "of --val, and the same or nearly so in the data",
    Kind.COPY: "a copy of another of its class",
    Kind.NEAR: "nearly the same as another of its class",
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture to look at.

    Attributes:
        picture: With the label that it has.
        kind: Why it is suspect.
        score: The higher the worse, within a kind: how much more probable the suggested class is than the label, how
            alike two pictures are, or by how many robust deviations a picture is too far from every class.
        suggestion: Another class, as "superclass/subclass".
        other: The picture that it is like.
    """

    picture: LabelledPicture
    kind: Kind
    score: float
    suggestion: str | None = None
    other: PhotoPath | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a row for JSON or a CSV."""
        return {
            "filepath": str(absolute(self.picture.path)),
            "superclass": self.picture.superclass,
            "subclass": self.picture.subclass,
            "kind": str(self.kind),
            "suggestion": self.suggestion,
            "score": round(self.score, 4),
            "other": None if self.other is None else str(absolute(self.other)),
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of labelled pictures found.

    Attributes:
        source: The data; `val` is what it was compared with.
        pictures: The readable ones of the data, with their groups.
        suspects: The worst first, by kind and within it.
        unreadable: How many pictures could not be read.
    """

    source: Path
    val: Path | None
    pictures: tuple[LabelledPicture, ...]
    suspects: tuple[Suspect, ...]
    unreadable: int

    @property
    def counts(self) -> dict[Kind, int]:
        """How many suspects there are of each kind, without those of which there is none."""
        found = Counter(suspect.kind for suspect in self.suspects)
        return {kind: found[kind] for kind in Kind if found[kind]}

    @property
    def series(self) -> list[tuple[LabelledPicture, ...]]:
        """The groups of several pictures, the largest first."""
        groups: dict[str | None, list[LabelledPicture]] = defaultdict(list)
        for picture in self.pictures:
            groups[picture.group].append(picture)
        return sorted((tuple(group) for group in groups.values() if len(group) > 1), key=len, reverse=True)

    @property
    def few_groups(self) -> dict[str, tuple[int, int]]:
        """The groups and the pictures of each class that has fewer than three groups."""
        groups: dict[str, set[int]] = defaultdict(set)
        for picture, group in zip(self.pictures, group_numbers(self.pictures).tolist(), strict=True):
            groups[_class_of(picture)].add(group)
        pictures = Counter(map(_class_of, self.pictures))
        return {name: (len(of), pictures[name]) for name, of in sorted(groups.items()) if len(of) < FEWEST_GROUPS}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "data": os.path.abspath(self.source),  # noqa: PTH100
            "val": None if self.val is None else os.path.abspath(self.val),  # noqa: PTH100
            "pictures": len(self.pictures),
            "unreadable": self.unreadable,
            "groups": len(set(group_numbers(self.pictures).tolist())),
            "counts": {str(kind): count for kind, count in self.counts.items()},
            "suspects": [suspect.to_json() for suspect in self.suspects],
            "few_groups": [
                {"class": name, "groups": groups, "pictures": pictures}
                for name, (groups, pictures) in self.few_groups.items()
            ],
            "series": [
                {
                    "class": _class_of(group[0]),
                    "pictures": [str(absolute(picture.path)) for picture in group],
                }
                for group in self.series
            ],
        }

    def csv(self) -> bytes:
        """Return the suspects as a CSV, which `without_listed` reads; names that are not UTF-8 keep their bytes.

        Near copies within a class are not in it: models learn from them (docs/experiments.md#label-errors).
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*COLUMNS, "kind", "suggestion", "score", "other"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(suspect.to_json() for suspect in self.suspects if suspect.kind is not Kind.NEAR)
        return text.getvalue().encode("utf-8", "surrogateescape")


def find_suspects(
    data: DataSource,
    *,
    target: Target,
    val: Path | None = None,
    groups: GroupsBy = GroupsBy.AUTO,
    workers: int | None = None,
) -> Checked:
    """Check labelled pictures, and with `val` what they have in common with validation pictures.

    Raises:
        DataError: the data is not usable, has one class only, or more than 5 % of it is unreadable.
        ModelError: the weights of the default backbone cannot be had.
    """
    deep = groups is GroupsBy.FOLDER
    labelled = load_data(data, deep=deep)
    training_taxonomy(labelled)
    other = () if val is None else load_data(val, deep=deep).pictures
    everything = (*labelled.pictures, *other)
    found, middle = default_features(everything, target, workers)
    report_unreadable(found)
    border = sum(position < len(labelled.pictures) for position in found.positions)
    with waiting("looking for suspects"):
        pictures = grouped(found.pictures[:border], groups, lambda _: found.values[:border, middle])
        look = _Look(found, border, standardised(found.values[:, middle]))
        suspects = sorted(look.suspects(), key=lambda suspect: (list(Kind).index(suspect.kind), -suspect.score))
    return Checked(labelled.source, val, pictures, tuple(suspects), len(found.unreadable))


@dataclass(frozen=True)
class _Look:
    """Readable pictures with their features: of the data up to `border`, then of the validation."""

    found: Features
    border: int
    looks: Floats

    def suspects(self) -> Iterator[Suspect]:
        contents: dict[bytes, list[int]] = defaultdict(list)
        for row, digest in enumerate(self.found.hashes):
            contents[digest].append(row)
        yield from (suspect for rows in contents.values() if len(rows) > 1 for suspect in self._copies(rows))
        firsts = np.array([rows[0] for rows in contents.values()], dtype=np.intp)
        sure = [rows[0] for rows in contents.values() if rows[0] < self.border and len(self._classes(rows)) == 1]
        learned = np.array(sure, dtype=np.intp)
        names = sorted(set(map(_class_of, self.found.pictures[: self.border])))
        index = {name: number for number, name in enumerate(names)}
        labels = np.array([index[self._class(row)] for row in sure], dtype=np.intp)
        errors = find_label_errors(self.found.values[learned], labels)
        for row in errors.wrong.tolist():
            yield self._suspect(
                sure[row], Kind.WRONG_LABEL, -float(errors.margins[row]), names[int(errors.suggested[row])]
            )
        for row in errors.far.tolist():
            yield self._suspect(sure[row], Kind.FAR, float(errors.distances[row]))
        yield from self._near(firsts, dict(zip(sure, errors.margins.tolist(), strict=True)))

    def _copies(self, rows: Sequence[int]) -> Iterator[Suspect]:
        """Yield what is wrong with pictures of one content."""
        inside = [row for row in rows if row < self.border]
        if len(self._classes(rows)) > 1:
            for row in inside:
                like = next(each for each in inside if self._class(each) != self._class(row))
                yield self._suspect(row, Kind.COPY_OTHER_CLASS, 1.0, self._class(like), like)
        else:
            for row in inside[1:]:
                yield self._suspect(row, Kind.COPY, 1.0, None, inside[0])
        if inside:
            for row in rows[len(inside) :]:
                yield self._suspect(row, Kind.LEAK, 1.0, None, inside[0])

    def _near(self, firsts: Labels, margins: dict[int, float]) -> Iterator[Suspect]:
        """Yield for each kind what each picture is nearest to; of two in several classes the one of less margin."""
        nearest: dict[tuple[int, Kind], tuple[float, int]] = {}
        units = self.looks / np.maximum(np.linalg.norm(self.looks, axis=1, keepdims=True), 1e-12)
        for pair in near_pairs(self.looks[firsts], NEAR_DISTANCE):
            one, two = (int(firsts[each]) for each in pair)
            if one >= self.border:
                continue
            if two >= self.border:
                kind = Kind.LEAK
            elif self._class(one) == self._class(two):
                kind = Kind.NEAR
            else:
                kind = Kind.NEAR_OTHER_CLASS
                one, two = sorted((one, two), key=lambda row: margins.get(row, -1.0), reverse=True)
            alike = float(units[one] @ units[two])
            nearest[two, kind] = max(nearest.get((two, kind), (-1.0, one)), (alike, one))
        for (row, kind), (alike, like) in nearest.items():
            yield self._suspect(row, kind, alike, self._class(like) if kind is Kind.NEAR_OTHER_CLASS else None, like)

    def _suspect(
        self, row: int, kind: Kind, score: float, suggestion: str | None = None, like: int | None = None
    ) -> Suspect:
        pictures = self.found.pictures
        return Suspect(pictures[row], kind, score, suggestion, None if like is None else pictures[like].path)

    def _class(self, row: int) -> str:
        return _class_of(self.found.pictures[row])

    def _classes(self, rows: Sequence[int]) -> set[str]:
        return {self._class(row) for row in rows if row < self.border}


def _class_of(picture: LabelledPicture) -> str:
    return f"{picture.superclass}/{picture.subclass}"


def without_listed(data: LabelledData, listed: Path) -> LabelledData:
    """Return the data without the pictures that a CSV with a column filepath lists, and say how many that are.

    Raises:
        DataError: there is no such CSV, or nothing is left.
    """
    out: set[str] = set()
    try:
        with open_sheet(listed, COLUMNS[:1]) as sheet:
            for cells in sheet:
                name = cells[sheet.places[COLUMNS[0]]].strip()
                out.add(str(absolute(place_of(name, listed))))
    except FileNotFoundError as error:
        raise DataError(f"{listed}: no such file") from error
    kept = tuple(picture for picture in data.pictures if str(absolute(picture.path)) not in out)
    if not kept:
        raise DataError(f"{data.source}: {listed} lists every picture; remove the rows of those that are fine")
    log.info("%s: %d pictures are left out, as %s lists them", data.source, len(data.pictures) - len(kept), listed)
    return replace(data, pictures=kept)
