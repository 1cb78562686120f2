"""How many labels are right at and above each score, which is all that thresholds need to know of validation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.evaluation.validation import Validation

PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99)

SCORE_UNIT = 10_000

_MOST_ROWS = 2_000

_MOST_PICTURES = 10_000_000

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one level over validation pictures, as far as thresholds need them.

    Row by row, from the highest score down: `scores` in ten-thousandths, rounded down, `pictures` how many have it and
    `right` how many of those got the right label. Row k stands for the threshold scores[k] / 10,000, which keeps
    exactly the pictures of the rows up to k.
    """

    scores: tuple[int, ...]
    pictures: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], right: NDArray[np.bool_]) -> ScoreTable:
        """Return the table of scores [N] in [0, 1] and of whether the label is right [N]; at most 2,000 rows.

        Where there are more different scores, neighbours share a row: fewer thresholds to choose from, no less exact.
        """
        steps = np.floor(values * SCORE_UNIT).astype(np.int64)
        # The product may round up to the next step, and a threshold there would lose the picture.
        steps -= steps / SCORE_UNIT > values
        scores, rows = np.unique(-steps, return_inverse=True)
        if len(scores) > _MOST_ROWS:
            groups = np.arange(len(scores)) * _MOST_ROWS // len(scores)
            # Of each group the lowest score, so that its threshold keeps all of it.
            scores, rows = scores[np.flatnonzero(np.diff(groups, append=_MOST_ROWS))], groups[rows]
        return cls(
            scores=tuple((-scores).tolist()),
            pictures=tuple(np.bincount(rows, minlength=len(scores)).tolist()),
            right=tuple(np.bincount(rows[right], minlength=len(scores)).tolist()),
        )

    @property
    def total(self) -> int:
        """The number of pictures."""
        return sum(self.pictures)

    def kept(self) -> tuple[Counts, Counts]:
        """Return how many pictures each row's threshold keeps, and how many of them are right."""
        return np.cumsum(self.pictures, dtype=np.int64), np.cumsum(self.right, dtype=np.int64)

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
        return {"scores": list(self.scores), "pictures": list(self.pictures), "right": list(self.right)}

    @classmethod
    def from_json(cls, value: Any) -> ScoreTable:
        """Invert `to_json`; ModelError if the value is no such table; it is untrusted."""
        try:
            columns = [tuple(value[name]) for name in ("scores", "pictures", "right")]
            if len({len(column) for column in columns}) > 1 or len(columns[0]) > SCORE_UNIT + 1:
                raise ValueError("columns of unequal or excessive length")
            if not all(type(number) is int and 0 <= number < _MOST_PICTURES for part in columns for number in part):
                raise ValueError("not counts")
            scores, pictures, right = columns
            if sum(pictures) > _MOST_PICTURES:
                raise ValueError("more pictures than can be")
            if any(one <= other for one, other in pairwise(scores)) or max(scores, default=0) > SCORE_UNIT:
                raise ValueError("scores out of order or range")
            if any(some > all_ for some, all_ in zip(right, pictures, strict=True)):
                raise ValueError("more right than there are")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a table of validation scores: {error}") from error
        return cls(scores, pictures, right)


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
        return cls(*(ScoreTable.of(level.scores * kept, level.right & kept) for level, kept in pairs))

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
