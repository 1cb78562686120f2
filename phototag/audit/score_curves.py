"""Calibration and risk in this library, from the photos that a person reviewed: reliability, and risk over coverage.

Each reviewed photo stands for as many as the design says, and each point is a share with its own 95 % interval, as
`estimation` gives it. Points share photos, so that their intervals do not hold all at once.
Sources: Guo et al., ICML 2017 (reliability diagrams), with bins of equal numbers of photos (Nguyen and O'Connor, EMNLP
2015), since a sample leaves bins of equal width nearly empty; Geifman and El-Yaniv, NeurIPS 2017 (risk and coverage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.audit.accuracy import Accuracy, ReviewedTags
from phototag.audit.estimation import Estimate, Sums, ratio
from phototag.evaluation import equal_mass

FEW = 100
"""Curves over fewer photos are rough, and say so."""

_PER_BIN = 15
_MOST_BINS = 10
_MOST_POINTS = 60
_FEWEST_KEPT = 10


@dataclass(frozen=True, slots=True)
class ReliabilityPoint:
    """Tags of about the same score: their mean `score`, and how many of them are `right`."""

    score: float
    right: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"score": self.score, **self.right.to_json()}


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Tags that score at least `score`: their share of all tags, and how many of them are wrong (`risk`)."""

    score: float
    coverage: float
    risk: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"score": self.score, "coverage": self.coverage, **self.risk.to_json()}


@dataclass(frozen=True, slots=True)
class ScoreCurves:
    """Both curves of a level's tags, over `reviewed` photos that have one; empty where these are too few."""

    reviewed: int
    reliability: tuple[ReliabilityPoint, ...]
    risk: tuple[RiskPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "reviewed": self.reviewed,
            "reliability": [point.to_json() for point in self.reliability],
            "risk_coverage": [point.to_json() for point in self.risk],
        }


def score_curves(accuracy: Accuracy, level: str) -> ScoreCurves:
    """Return the curves of the tags at a level."""
    tags = accuracy.tags(level)
    count = len(tags.scores)
    if count < _FEWEST_KEPT:
        return ScoreCurves(count, (), ())
    return ScoreCurves(count, _reliability(tags), _risk(tags))


def _reliability(tags: ReviewedTags) -> tuple[ReliabilityPoint, ...]:
    which = equal_mass(tags.scores, fewest=_PER_BIN, most=_MOST_BINS)
    points = []
    for number in np.unique(which):
        inside = which == number
        mean = float(np.average(tags.scores[inside], weights=tags.weights[inside]))
        points.append(ReliabilityPoint(mean, _share(tags, tags.right, inside)))
    return tuple(points)


def _risk(tags: ReviewedTags) -> tuple[RiskPoint, ...]:
    limits = -np.sort(-tags.scores)
    places = np.unique(np.linspace(_FEWEST_KEPT - 1, len(limits) - 1, _MOST_POINTS).round().astype(np.intp))
    points = []
    for limit in -np.unique(-limits[places]):
        kept = tags.scores >= limit
        coverage = float(tags.weights[kept].sum() / tags.weights.sum())
        points.append(RiskPoint(float(limit), coverage, _share(tags, ~tags.right, kept)))
    return tuple(points)


def _share(tags: ReviewedTags, part: NDArray[np.bool_], among: NDArray[np.bool_]) -> Estimate:
    sums = Sums.of(tags.units, len(tags.design.weights), (part & among).astype(np.float64), among.astype(np.float64))
    return ratio(tags.design, sums).one()
