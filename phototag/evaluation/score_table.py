"""How many labels are right at and above each score, which is all that thresholds need to know of validation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.evaluation.validation import Validation

PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99)

SCORE_UNIT = 10_000

_MOST_ROWS = 2_000

_MOST_PICTURES = 10_000_000

_COUNTS = ("scores", "pictures", "right")

_OF_GROUPS = ("groups", "kept_kept", "kept_right", "right_right")

Counts = NDArray[np.int64]


class Sums(NamedTuple):
    """What each row's threshold keeps of groups, [K] each: their number, and three sums over them.

    With n pictures of a group kept and r of these right, `kept_kept` is the sum of n * n, `kept_right` that of n * r
    and `right_right` that of r * r: what the variance of a ratio of sums over groups takes.
    """

    groups: Counts
    kept_kept: Counts
    kept_right: Counts
    right_right: Counts


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one level over validation pictures, as far as thresholds need them.

    Row by row, from the highest score down: `scores` in ten-thousandths, rounded down, `pictures` how many have it and
    `right` how many of those got the right label. Row k stands for the threshold scores[k] / 10,000, which keeps
    exactly the pictures of the rows up to k. The other columns are by how much each row raises the `Sums` over groups
    of pictures; they are empty where each picture is its own group.
    """

    scores: tuple[int, ...]
    pictures: tuple[int, ...]
    right: tuple[int, ...]
    groups: tuple[int, ...] = ()
    kept_kept: tuple[int, ...] = ()
    kept_right: tuple[int, ...] = ()
    right_right: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, values: NDArray[np.float64], right: NDArray[np.bool_], groups: NDArray[np.intp] | None = None
    ) -> ScoreTable:
        """Return the table of scores [N] in [0, 1] and of whether the label is right [N]; at most 2,000 rows.

        `groups` [N] numbers what belongs together; without it each picture is its own group. Where there are more
        different scores, neighbours share a row: fewer thresholds to choose from, no less exact.
        """
        steps = np.floor(values * SCORE_UNIT).astype(np.int64)
        # The product may round up to the next step, and a threshold there would lose the picture.
        steps -= steps / SCORE_UNIT > values
        scores, rows = np.unique(-steps, return_inverse=True)
        if len(scores) > _MOST_ROWS:
            merged = np.arange(len(scores)) * _MOST_ROWS // len(scores)
            # Of those that share a row the lowest score, so that its threshold keeps them all.
            scores, rows = scores[np.flatnonzero(np.diff(merged, append=_MOST_ROWS))], merged[rows]
        return cls(
            scores=tuple((-scores).tolist()),
            pictures=tuple(np.bincount(rows, minlength=len(scores)).tolist()),
            right=tuple(np.bincount(rows[right], minlength=len(scores)).tolist()),
            **({} if groups is None else _of_groups(rows, right, groups)),
        )

    @property
    def total(self) -> int:
        """The number of pictures."""
        return sum(self.pictures)

    def kept(self) -> tuple[Counts, Counts]:
        """Return how many pictures each row's threshold keeps, and how many of them are right."""
        return np.cumsum(self.pictures, dtype=np.int64), np.cumsum(self.right, dtype=np.int64)

    def sums(self) -> Sums:
        """Return what each row's threshold keeps of groups."""
        if not self.groups:
            kept, right = self.kept()
            return Sums(kept, kept, right, right)
        return Sums(*(np.cumsum(getattr(self, name), dtype=np.int64) for name in _OF_GROUPS))

    def at(self, threshold: float) -> tuple[float | None, float | None]:
        """Return the precision and coverage of a threshold; None without pictures to take it over."""
        rows = sum(score / SCORE_UNIT >= threshold for score in self.scores)
        kept, right = sum(self.pictures[:rows]), sum(self.right[:rows])
        return right / kept if kept else None, kept / self.total if self.total else None

    def coverage_at(self, precision: float) -> float:
        """Return the largest share of the pictures that can keep its label with this precision among what is kept."""
        kept, right = self.kept()
        fine = kept[right >= precision * kept - 1e-9]
        return float(fine[-1] / self.total) if len(fine) else 0.0

    def to_json(self) -> dict[str, list[int]]:
        """Return it as plain values for JSON."""
        return {name: list(getattr(self, name)) for name in (*_COUNTS, *(_OF_GROUPS if self.groups else ()))}

    @classmethod
    def from_json(cls, value: Any) -> ScoreTable:
        """Invert `to_json`; ModelError if the value is no such table; it is untrusted."""
        try:
            # Files of before there were groups have none.
            names = (*_COUNTS, *(_OF_GROUPS if "groups" in value else ()))
            table = cls(**{name: tuple(value[name]) for name in names})
            _check(table, [getattr(table, name) for name in names])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a table of validation scores: {error}") from error
        return table


def _of_groups(
    rows: NDArray[np.intp], right: NDArray[np.bool_], groups: NDArray[np.intp]
) -> dict[str, tuple[int, ...]]:
    """Return the columns of sums over groups for pictures in these rows [N]; none where no two share a group."""
    if len(np.unique(groups)) == len(groups):
        return {}
    order = np.lexsort((rows, groups))
    rows, fine = rows[order], right[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(starts, append=len(rows))
    hits = np.cumsum(fine)
    # How many of its group are kept with each picture, and how many of these are right.
    kept = np.arange(1, len(rows) + 1) - np.repeat(starts, sizes)
    good = hits - np.repeat(hits[starts] - fine[starts], sizes)
    grown = (kept == 1, 2 * kept - 1, good + (kept - 1) * fine, fine * (2 * good - 1))
    return {
        name: tuple(np.bincount(rows, weights=column).astype(np.int64).tolist())
        for name, column in zip(_OF_GROUPS, grown, strict=True)
    }


def _check(table: ScoreTable, columns: list[tuple[int, ...]]) -> None:
    """Raise ValueError unless the columns can be those of a table."""
    if len({len(column) for column in columns}) > 1 or len(table.scores) > SCORE_UNIT + 1:
        raise ValueError("columns of unequal or excessive length")
    # Sums of squares are that much larger; all of them together still fit 64 bits.
    limits = (*[_MOST_PICTURES] * len(_COUNTS), *[_MOST_PICTURES**2] * len(_OF_GROUPS))
    for column, limit in zip(columns, limits, strict=False):
        if not all(type(number) is int and 0 <= number < limit for number in column):
            raise ValueError("not counts")
    if sum(table.pictures) > _MOST_PICTURES:
        raise ValueError("more pictures than can be")
    if any(one <= other for one, other in pairwise(table.scores)) or max(table.scores, default=0) > SCORE_UNIT:
        raise ValueError("scores out of order or range")
    if any(some > all_ for some, all_ in zip(table.right, table.pictures, strict=True)):
        raise ValueError("more right than there are")
    (kept, right), sums = table.kept(), table.sums()
    rising = (right, sums.right_right, sums.kept_right, sums.kept_kept, kept * kept)
    if (sums.groups > kept).any() or any((low > high).any() for low, high in pairwise(rising)):
        raise ValueError("sums over groups that cannot be")


@dataclass(frozen=True)
class ValidationScores:
    """The tables of both levels over the same pictures."""

    superclass: ScoreTable
    subclass: ScoreTable

    @classmethod
    def of(cls, validation: Validation, *, limits: tuple[float, float] = (1.0, 1.0)) -> ValidationScores:
        """Return the tables of labelled pictures behind limits on the novelty of both levels.

        Pictures beyond a limit get no label whatever their scores. So they count as wrong ones of score 0: against the
        coverage of every threshold, and the precision of none above that.
        """
        pairs = zip(validation.levels, validation.known(limits), strict=True)
        return cls(
            *(ScoreTable.of(level.scores * kept, level.right & kept, validation.groups) for level, kept in pairs)
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"superclass": self.superclass.to_json(), "subclass": self.subclass.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> ValidationScores:
        """Invert `to_json`; ModelError if the value is no such pair."""
        try:
            superclass, subclass = value["superclass"], value["subclass"]
        except (KeyError, TypeError) as error:
            raise ModelError(f"not a pair of tables of validation scores: {error}") from error
        return cls(ScoreTable.from_json(superclass), ScoreTable.from_json(subclass))

    def coverages(self) -> dict[str, dict[str, float]]:
        """Return the coverage at each of `PRECISIONS`, by level."""
        return {
            level: {f"{precision:g}": table.coverage_at(precision) for precision in PRECISIONS}
            for level, table in (("superclass", self.superclass), ("subclass", self.subclass))
        }
