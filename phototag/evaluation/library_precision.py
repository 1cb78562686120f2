"""How right labels are over a whole library, by a few reviewed photos and the scores of all photos.

At a level a label with the joint probability s is taken to be right with probability

    p(s) = (1 - lapse) sigmoid(bias + slope log(s / (1 - s)))

that is temperature scaling with a bias (Platt, "Probabilistic outputs for support vector machines", 1999) below a
ceiling: photos unlike the training's have mistakes of the highest scores too (the lapse rate of Wichmann and Hill, "The
psychometric function", Perception & Psychophysics 2001). Bias, slope and lapse are known as far as the reviews tell: as
a posterior distribution, here on a grid.

The precision at a threshold is the mean of p over all photos that keep their label there, and so known far better than
the few reviewed ones among them tell alone. How often what is said of it holds, and why nothing is borrowed from the
model's validation pictures: docs/experiments.md#thresholds-from-reviews.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation.intervals import Floats

_BIAS, _SLOPE, _LAPSE = 1.5, (0.8, 0.6), 20
_MOST_LOGIT = 8.0
_BINS = 120
_TOO_UNLIKELY = 1e-5

Mask = NDArray[np.bool_]


def _grid() -> tuple[Floats, Floats]:
    biases = np.linspace(-3, 3, 19)
    slopes = np.exp(np.linspace(np.log(0.2), np.log(2), 10))
    lapses = np.array([0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.19, 0.25])
    bias, slope, lapse = (axis.ravel() for axis in np.meshgrid(biases, slopes, lapses, indexing="ij"))
    typical, spread = _SLOPE
    logs = -((bias / _BIAS) ** 2) / 2 - (np.log(slope / typical) / spread) ** 2 / 2 + (_LAPSE - 1) * np.log1p(-lapse)
    logs += np.log(np.gradient(lapses))[np.searchsorted(lapses, lapse)]
    return np.stack([bias, slope, lapse]), np.exp(logs) / np.exp(logs).sum()


_POINTS, _PRIOR = _grid()


def _logits(scores: Floats) -> Floats:
    inner = scores.clip(1e-9, 1 - 1e-9)
    result: Floats = np.log(inner / (1 - inner)).clip(-_MOST_LOGIT, _MOST_LOGIT)
    return result


def _chances(points: Floats, scores: Floats) -> Floats:
    """Return p [G, K] at scores [K] for points [3, G] of the grid."""
    bias, slope, lapse = points[:, :, None]
    result: Floats = (1 - lapse) / (1 + np.exp(-(bias + slope * _logits(scores))))
    return result


@dataclass(frozen=True, eq=False, slots=True)
class Posterior:
    """What is known of a level's labels: `points` [3, G] of bias, slope and lapse, each with its `weight` [G]."""

    points: Floats
    weight: Floats

    @classmethod
    def of(cls, scores: Floats, right: Mask, weights: Floats) -> Self:
        """Return what the reviews tell of labels with these scores [n], each counting as `weights` [n] of them."""
        chances = _chances(_POINTS, scores).clip(1e-9, 1 - 1e-9)
        logs = np.log(chances) @ (weights * right) + np.log1p(-chances) @ (weights * ~right)
        total = _PRIOR * np.exp(logs - logs.max())
        kept = total > _TOO_UNLIKELY * total.max()
        return cls(_POINTS[:, kept], total[kept] / total[kept].sum())

    def curve(self, scores: Floats, target: float) -> Curve:
        """Return what is known of the precision at thresholds for photos with these scores [N], labels reviewed or not.

        Of as many photos as are kept about so many are right as expected, but for chance, which counts too.
        """
        ordered = np.sort(scores)[::-1]
        ends = np.unique(np.linspace(0, len(ordered), min(_BINS, len(ordered)) + 1).round().astype(np.int64))[1:]
        # A threshold keeps all photos of its score.
        ends = np.unique(np.searchsorted(-ordered, -ordered[ends - 1], side="right"))
        starts = np.concatenate([[0], ends[:-1]])
        middles = np.add.reduceat(ordered, starts) / (ends - starts)
        chances = _chances(self.points, middles)
        means = np.cumsum(chances * (ends - starts), axis=1) / ends
        deviations = np.sqrt(means * (1 - means) / ends).clip(1e-9)
        # The normal distribution by the logistic one, at most 0.01 off (Johnson, Kotz and Balakrishnan 1995).
        reached = 1 / (1 + np.exp(-(1.702 * (means - target) / deviations).clip(-500, 500)))
        return Curve(ordered[ends - 1], ends, self.weight @ means, self.weight @ reached)


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """Thresholds [T] from the highest down: photos kept, the precision expected, and how surely it is the target."""

    thresholds: Floats
    kept: NDArray[np.int64]
    expected: Floats
    reached: Floats

    def lowest(self, confidence: float) -> tuple[float, int] | None:
        """Return the lowest threshold that reaches the target that surely, and how many photos it keeps; None: none."""
        fine = np.flatnonzero(self.reached >= confidence)
        return (float(self.thresholds[fine[-1]]), int(self.kept[fine[-1]])) if len(fine) else None
