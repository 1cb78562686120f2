"""Curves over scores: calibration, risk and coverage, and how well they tell novel pictures apart.

Sources: Guo et al., ICML 2017 (reliability diagrams), with bins of equal mass (Nguyen and O'Connor, EMNLP 2015), since
bins of equal width leave most labels in the last one and few in each other; Geifman and El-Yaniv, "Selective
classification for deep neural networks", NeurIPS 2017 (risk and coverage); Hanley and McNeil, Radiology 1982 (area
under the ROC curve).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation.intervals import wilson

_BINS = 10
_FEWEST = 15
_GRID = 100

_Floats = NDArray[np.float64]
_Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Share of wrong labels `risk` [K] among the best-scored `coverage` [K] of all; `area` is the curve's mean risk."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float


def reliability(name: str, scores: _Floats, right: _Right) -> Calibrated:
    """Return the reliability curve of labels with scores [N] in [0, 1], in up to 10 bins of equally many labels.

    Labels of equal score stay together, so that there may be fewer bins.
    """
    which = equal_mass(scores, fewest=_FEWEST, most=_BINS)
    bins = [which == number for number in np.unique(which)]
    hits = [(int(right[part].sum()), int(part.sum())) for part in bins]
    ends = [wilson(*pair) for pair in hits]
    return Calibrated(
        name,
        confidence=[float(scores[part].mean()) for part in bins],
        accuracy=[hit / count for hit, count in hits],
        counts=[count for _, count in hits],
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
    )


def equal_mass(scores: _Floats, *, fewest: int, most: int) -> NDArray[np.intp]:
    """Return the bin of each score [N]: up to `most` bins of equally many, `fewest` or more, equal scores together."""
    bins = max(1, min(most, len(scores) // fewest))
    edges = np.unique(np.quantile(scores, np.arange(1, bins) / bins)) if bins > 1 else scores[:0]
    which: NDArray[np.intp] = np.searchsorted(edges, scores, side="right")
    return which


def risk_coverage(scores: _Floats, right: _Right) -> RiskCoverage:
    """Return the curve of N labels at 1 %, 2 % ... 100 % coverage; labels of equal score come in together."""
    total = len(scores)
    if not total:
        return RiskCoverage((), (), 0.0)
    order = np.argsort(-scores, kind="stable")
    values, errors = scores[order], np.cumsum(~right[order])
    # Where scores are equal, every order among them is as good: the errors of such a group spread evenly over it.
    last = np.append(np.flatnonzero(np.diff(values)), total - 1)
    kept = np.concatenate([[0.0], last + 1.0])
    wrong = np.concatenate([[0.0], errors[last].astype(np.float64)])
    counts = np.arange(1, total + 1, dtype=np.float64)
    area = float((np.interp(counts, kept, wrong) / counts).mean())
    grid = np.unique(np.maximum(1, np.round(np.arange(1, _GRID + 1) / _GRID * total)))
    risk = np.interp(grid, kept, wrong) / grid
    return RiskCoverage(tuple((grid / total).tolist()), tuple(risk.tolist()), area)


def auroc(known: _Floats, novel: _Floats) -> float | None:
    """Return the chance that a novel picture [M] scores above a known one [N], ties half; None without both."""
    if not (len(known) and len(novel)):
        return None
    low, high = (np.searchsorted(np.sort(known), novel, side=side) for side in ("left", "right"))
    return float((low + high).mean() / (2 * len(known)))


def roc(known: _Floats, novel: _Floats) -> tuple[list[float], list[float]]:
    """Return shares of the known [N] and of the novel [M] that reach a score, from the highest score down."""
    steps = np.linspace(0, 1, _GRID + 1)
    limits = np.quantile(known, 1 - steps)
    above = [0.0, *((known >= limit).mean() for limit in limits[1:-1]), 1.0]
    found = [0.0, *((novel >= limit).mean() for limit in limits[1:-1]), 1.0]
    return [float(value) for value in above], [float(value) for value in found]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A reliability curve: mean scores and shares that are right [K], over `counts` [K] labels each.

    `low` and `high` [K] are the ends of the shares' 95 % intervals.
    """

    name: str
    confidence: Sequence[float]
    accuracy: Sequence[float]
    counts: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
