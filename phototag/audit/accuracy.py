"""How right a library's tags are, from the photos of samples that a person reviewed.

What counts as what is as in `metrics`: a review without a subclass, or without any class, is a statement, and a tag
that names one is wrong there. `reviewed` says which photos and samples count; each sample counts as many photos as it
reviewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.audit import sampling
from phototag.audit.estimation import (
    NOTHING,
    Estimate,
    SamplingDesign,
    Sums,
    Units,
    design_effect,
    joined_strata,
    ratio,
)
from phototag.audit.reviewed import Cell, ReviewedPhoto, ReviewedSample
from phototag.errors import UsageError
from phototag.evaluation import Floats, Label
from phototag.paths import PhotoPath, is_below, path_of
from phototag.records import LEVELS

_Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the library: a class, a stratum or a folder; `population` is None where it is not known.

    `superclass` and `subclass` say how many of its tags are right at each level, `recall`, of a class, how many of the
    photos that are of it have it for a tag.
    """

    name: str
    population: int | None
    superclass: Estimate
    subclass: Estimate
    recall: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "population": self.population,
            "superclass": self.superclass.to_json(),
            "subclass": self.subclass.to_json(),
            "recall": None if self.recall is None else self.recall.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ReviewedTags:
    """The N reviewed photos that have a tag at a level: `scores` [N], whether the tag is `right` [N], and `groups` [N].

    `weights` [N] say for how much of the library each stands, `units` what was sampled as one by the `design`.
    """

    scores: Floats
    right: _Mask
    groups: NDArray[np.intp]
    weights: Floats
    units: Units
    design: SamplingDesign


class Accuracy:
    """Estimates from one or several samples of one library."""

    def __init__(
        self, samples: Sequence[ReviewedSample], *, under: PhotoPath | None = None, predictions: bool = False
    ) -> None:
        """Take samples, the newest first.

        Args:
            samples: The samples.
            under: Judge only photos at or under this path. How many there are in all is then not known.
            predictions: Use scores as predictions where they are known of all photos.

        Raises:
            UsageError: nothing was reviewed.
        """
        self._samples = [sample for sample in samples if sample.reviewed]
        if not self._samples:
            raise UsageError(f"no photo of sample {', '.join(sample.name for sample in samples)} has been reviewed yet")
        self._under = under
        self._predictions = predictions and under is None
        self._reviewed = [photo for sample in self._samples for photo in sample.reviewed]
        self._design, self._units = _design(self._samples, [sample.reviewed for sample in self._samples])
        self._groups = _group_numbers(self._reviewed)
        inside = [_is_under(photo.path, under) for photo in self._reviewed]
        self._photos = _Columns(self._reviewed, np.array(inside, dtype=np.bool_))
        # The cells of all samples with what a photo of each counts.
        self._cells = [
            (cell, _number_of_units(sample, sample.reviewed) / max(sample.population, 1))
            for sample in self._samples
            for cell in sample.cells
        ]

    @property
    def reviewed(self) -> int:
        """Count the reviewed photos that are used."""
        return int(self._photos.inside.sum())

    def metrics(self) -> dict[str, Estimate]:
        """Return the estimates for the whole, by their names in `metrics.Metrics`; shares of novel photos too."""
        photos = self._photos
        return {
            **{f"{level}_precision_given": self._right(place) for place, level in enumerate(LEVELS)},
            **{
                f"{level}_accuracy": self._share(photos.right[place], ~photos.unknown[place])
                for place, level in enumerate(LEVELS)
            },
            "hierarchical_precision": self._ratio(photos.shared, photos.given),
            "hierarchical_recall": self._ratio(photos.shared, photos.true),
            "hierarchical_f1": self._ratio(2 * photos.shared, photos.given + photos.true),
            "novel_share": self._share(photos.unknown[1], photos.everyone),
            "novel_handled": self._share(photos.same, photos.unknown[1]),
            "novel_superclass_rejected": self._share(photos.no_tag[0], photos.unknown[0]),
            "novel_subclass_rejected": self._share(photos.no_tag[1], photos.unknown[1] & ~photos.unknown[0]),
        }

    def tags(self, level: str) -> ReviewedTags:
        """Return the reviewed tags of a level."""
        place = LEVELS.index(level)
        members = self._photos.inside & ~self._photos.no_tag[place]
        return ReviewedTags(
            self._photos.scores[place][members],
            self._photos.right[place][members],
            self._groups[members],
            self._weights()[members],
            self._units.chosen(members),
            self._design,
        )

    def group_sizes(self) -> NDArray[np.intp]:
        """Return how many reviewed photos each group has that any is of, [G]."""
        sizes = np.bincount(self._groups[self._photos.inside])
        return sizes[sizes > 0].astype(np.intp)

    def by_groups(self, level: str) -> tuple[float | None, Estimate]:
        """Return what groups do to the share of right tags at a level: the design effect, and the share among groups.

        That is the share for photos still to come, of other groups like these, with the interval of so many groups.
        """
        tags = self.tags(level)
        if not len(tags.scores):
            return None, NOTHING
        of = np.unique(tags.groups, return_inverse=True)[1].astype(np.intp)
        groups = int(of.max()) + 1
        units = Units(np.zeros(groups, dtype=np.intp), of, tags.weights / tags.weights.mean())
        right, members = tags.right.astype(np.float64), np.ones(len(of))
        found = ratio(SamplingDesign.endless(groups), Sums.of(units, 1, right, members)).one()
        return design_effect(units, right, members), found

    def pairs(self, level: str) -> list[tuple[str, str, float]]:
        """Return each reviewed photo's true class, its tag's class, and the share of the library it stands for."""
        place, inside = LEVELS.index(level), self._photos.inside
        weights = self._weights()[inside]
        truths, tags = self._photos.true_names[place][inside], self._photos.tag_names[place][inside]
        shares = weights / weights.sum() if len(weights) else weights
        return list(zip(truths.tolist(), tags.tolist(), shares.tolist(), strict=True))

    def _weights(self) -> Floats:
        """Return how much of the library each reviewed photo stands for."""
        of_strata: Floats = self._design.weights / np.maximum(self._design.reviewed, 1)
        return of_strata[self._units.strata[self._units.of]] * self._units.factors

    def population(self) -> dict[str, int] | None:
        """Return all photos of the newest sample's scope, and how many of them have a tag at each level.

        None where only a folder is reported on, or the sample does not tell.
        """
        cells = self._samples[0].cells
        if self._under is not None or not cells:
            return None
        return {
            "photos": self._samples[0].population,
            "superclass": sum(cell.photos for cell in cells if cell.superclass is not None),
            "subclass": sum(cell.photos for cell in cells if cell.subclass is not None),
        }

    def classes(self, level: str) -> list[Row]:
        """Return a row for each class of a level that photos are tagged with, or are of, by name."""
        place = LEVELS.index(level)
        names = {class_name(cell.superclass, cell.subclass, place) for cell in self._samples[0].cells}
        names |= {*self._photos.tag_names[place].tolist(), *self._photos.true_names[place].tolist()}
        return [self._class_row(name, place) for name in sorted(names - {""})]

    def _class_row(self, name: str, place: int) -> Row:
        photos = self._photos
        tagged = photos.tag_names[place] == name
        number = self._count(lambda cell: class_name(cell.superclass, cell.subclass, place) == name)
        of = [cell for cell in self._cells if class_name(cell[0].superclass, cell[0].subclass, place) == name]
        true = photos.true_names[place] == name
        return Row(
            name,
            number,
            self._right(0, tagged, of),
            self._right(1, tagged, of),
            self._share(true & tagged, true),
        )

    def strata(self) -> list[Row]:
        """Return a row for each stratum of the newest sample."""
        return [
            self._part(name, population, np.array([photo.stratum == name for photo in self._reviewed]), stratum=name)
            for name, population in self._samples[0].strata
        ]

    def folders(self) -> list[Row]:
        """Return a row for each folder below the one that all reviewed photos share."""
        paths = [photo.path for photo in self._reviewed]
        root = bytes(self._under) if self._under is not None else sampling.shared_folder(paths)
        names = np.array(sampling.folder_names(paths, root))
        return [self._part(name, None, names == name) for name in np.unique(names[self._photos.inside]).tolist()]

    def bounds(self, level: str) -> tuple[float, float] | None:
        """Return the least and the most that the interval of right tags can reach, whatever the skipped photos are.

        The ends of the intervals that come out when the tags of all skipped photos are wrong, and when all are right;
        None when none was skipped.
        """
        place = LEVELS.index(level)
        everything = [sample.photos for sample in self._samples]
        photos = [photo for part in everything for photo in part]
        if all(photo.truth is not None for photo in photos):
            return None
        design, units = _design(self._samples, everything)
        columns = _Columns(photos, np.array([_is_under(photo.path, self._under) for photo in photos], dtype=np.bool_))
        skipped = np.array([photo.truth is None for photo in photos], dtype=np.bool_)
        members = (columns.inside & ~columns.no_tag[place]).astype(np.float64)
        ends = []
        for all_right in (False, True):
            right = np.where(skipped, all_right, columns.right[place]) * members
            ends.append(ratio(design, Sums.of(units, len(design.weights), right, members)).one())
        low, high = ends[0].low, ends[1].high
        return None if low is None or high is None else (low, high)

    def _part(self, name: str, population: int | None, mask: _Mask, stratum: str | None = None) -> Row:
        of = [] if stratum is None else [cell for cell in self._cells if cell[0].stratum == stratum]
        number = population if self._under is None else None
        return Row(name, number, self._right(0, mask, of), self._right(1, mask, of))

    def _right(
        self, place: int, among: _Mask | None = None, of: Sequence[tuple[Cell, float]] | None = None
    ) -> Estimate:
        """Return how many tags are right at a level, of those with a label there; `of` are the cells `among` them."""
        members = ~self._photos.no_tag[place] if among is None else among & ~self._photos.no_tag[place]
        cells = self._cells if of is None else of
        known = self._known(cells, place) if self._predictions else None
        scores = self._photos.scores[place] if known is not None else None
        return self._ratio((self._photos.right[place] & members).astype(np.float64), members, scores, known)

    def _share(self, part: _Mask, whole: _Mask) -> Estimate:
        return self._ratio((part & whole).astype(np.float64), whole)

    def _ratio(
        self,
        part: Floats,
        whole: Floats | _Mask,
        predicted: Floats | None = None,
        known: float | None = None,
    ) -> Estimate:
        inside = self._photos.inside.astype(np.float64)
        sums = Sums.of(self._units, len(self._design.weights), part * inside, whole * inside, predicted)
        return ratio(self._design, sums, known=known).one() if sums.members.any() else NOTHING

    def _known(self, cells: Sequence[tuple[Cell, float]], place: int) -> float | None:
        """Return the mean score at a level of all photos of these cells that have a label there."""
        of = [(cell, weight) for cell, weight in cells if (cell.superclass, cell.subclass)[place] is not None]
        photos = sum(weight * cell.photos for cell, weight in of)
        return sum(weight * cell.scores[place] for cell, weight in of) / photos if photos else None

    def _count(self, wanted: Any) -> int | None:
        if self._under is not None or not self._samples[0].cells:
            return None
        return sum(cell.photos for cell in self._samples[0].cells if wanted(cell))


class _Columns:
    """Facts of N reviewed photos, [N] each; pairs are of both levels, superclass first. Skipped ones have no truth."""

    def __init__(self, photos: Sequence[ReviewedPhoto], inside: _Mask) -> None:
        tags = [(photo.tag.superclass, photo.tag.subclass) for photo in photos]
        truths: list[Label] = [photo.truth or (None, None) for photo in photos]
        self.inside = inside
        self.everyone = np.ones(len(photos), dtype=np.bool_)
        self.tag_names = tuple(np.array([class_name(*tag, place) for tag in tags], dtype=object) for place in (0, 1))
        self.true_names = tuple(
            np.array([class_name(*truth, place) for truth in truths], dtype=object) for place in (0, 1)
        )
        self.no_tag: tuple[_Mask, ...] = tuple(names == "" for names in self.tag_names)
        self.unknown: tuple[_Mask, ...] = tuple(names == "" for names in self.true_names)
        self.right: tuple[_Mask, ...] = tuple(
            (mine == true) & (mine != "") for mine, true in zip(self.tag_names, self.true_names, strict=True)
        )
        self.same = (self.tag_names[0] == self.true_names[0]) & (self.tag_names[1] == self.true_names[1])
        self.scores = tuple(
            np.array([getattr(photo.tag, f"{level}_score") for photo in photos], dtype=np.float64) for level in LEVELS
        )
        self.shared = _number(self.right)
        self.given = 2 - _number(self.no_tag)
        self.true = 2 - _number(self.unknown)


def _number(masks: Sequence[_Mask]) -> Floats:
    """Return how many of the masks hold each photo, [N]."""
    total: Floats = np.sum(masks, axis=0, dtype=np.float64)
    return total


def class_name(superclass: str | None, subclass: str | None, place: int) -> str:
    """Return the class at a level (0 superclass, 1 subclass), subclasses in full; "" for none."""
    if place == 0 or superclass is None:
        return (superclass or "") if place == 0 else ""
    return f"{superclass}/{subclass}" if subclass is not None else ""


def _design(
    samples: Sequence[ReviewedSample], photos: Sequence[Sequence[ReviewedPhoto]]
) -> tuple[SamplingDesign, Units]:
    """Return the design of samples side by side, and what was sampled as one; strata with too few units are joined."""
    designs, units = [], []
    for sample, own in zip(samples, photos, strict=True):
        found = _units(sample, own)
        population = np.array([number for _, number in sample.strata], dtype=np.int64)
        if sample.parts is not None:
            population = np.array([sample.parts], dtype=np.int64)
        groups = joined_strata(population, np.bincount(found.strata, minlength=len(population)))
        strata, size = groups[found.strata], int(groups.max()) + 1
        whole = np.bincount(groups, weights=population, minlength=size).astype(np.int64)
        reviewed = np.bincount(strata, minlength=size)
        designs.append(SamplingDesign.of(whole, reviewed, in_groups=sample.parts is not None))
        units.append(Units(strata, found.of, found.factors))
    if len(designs) == 1:
        return designs[0], units[0]
    return SamplingDesign.combined(designs), Units.joined(units, [len(design.weights) for design in designs])


def _units(sample: ReviewedSample, photos: Sequence[ReviewedPhoto]) -> Units:
    """Return what was sampled as one, by the strata of the sample; photos of a part stand for all that it gave."""
    if sample.parts is None:
        position = {name: place for place, (name, _) in enumerate(sample.strata)}
        return Units.photos(np.array([position[photo.stratum] for photo in photos], dtype=np.intp))
    parts, of = np.unique(np.array([photo.part for photo in photos], dtype=np.int64), return_inverse=True)
    sizes = np.array([sample.part_sizes[part] for part in parts.tolist()], dtype=np.float64)
    # A part counts as many as it has photos, on average 1, beside samples of single photos.
    factors = (sizes / np.bincount(of, minlength=len(parts)))[of] * (sample.parts / max(sample.population, 1))
    return Units(np.zeros(len(parts), dtype=np.intp), of.astype(np.intp), factors)


def _number_of_units(sample: ReviewedSample, photos: Sequence[ReviewedPhoto]) -> int:
    return len(photos) if sample.parts is None else len({photo.part for photo in photos})


def _group_numbers(photos: Sequence[ReviewedPhoto]) -> NDArray[np.intp]:
    """Return the group of each photo [N], numbered from 0; one that belongs to none is alone."""
    numbers: dict[tuple[str, int], int] = {}
    keys = [("alone", row) if photo.group is None else ("group", photo.group) for row, photo in enumerate(photos)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def _is_under(path: bytes, under: PhotoPath | None) -> bool:
    return under is None or is_below(path_of(path), under)
