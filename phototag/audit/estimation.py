"""Shares of a library's photos, estimated from those that were reviewed, with intervals that fit the design.

Everything estimated here is a ratio of two totals over the library: right labels / labels, shared nodes / true nodes.
Each photo of stratum h stands for N_h / n_h photos, so a ratio is

    R = sum_h N_h a_h / sum_h N_h b_h     with a_h, b_h the means over the stratum's reviewed photos

and its variance, by linearisation with u = a - R b (Cochran, "Sampling techniques", 1977, equations 6.47 and 5A.39;
Särndal, Swensson and Wretman, "Model assisted survey sampling", 1992, result 5.6.2)

    V = sum_h N_h^2 (1 - n_h / N_h) s^2_h(u) / n_h / (sum_h N_h b_h)^2

In a simple random sample, a single stratum, this is the textbook's proportion among the members of a domain.

Where most labels are right, s^2_h cannot be taken as it comes: a stratum in which no mistake was found would count as
faultless, and intervals would be far too short. So a stratum's moments are those of its members and of two more, who
are as right as all members together, one right and one wrong added. Two of them (four with predictions) are enough for
95 % intervals to cover: docs/experiments.md#intervals-of-audits.
The interval is Wilson's at the effective size R (1 - R) / V.

With predictions f of a being right (calibrated scores), known for every photo of the library, the estimate becomes

    R - k (f_sample - f_library),     V that of u = a - k f

which is prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Science 2023) with the k of
least variance (Angelopoulos, Duchi and Zrnic, "PPI++", 2023, section 6) — survey statistics' difference estimator
(Särndal, Swensson and Wretman 1992, section 6.3). It is right whether or not the predictions are; good ones make it
more precise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation import ALPHA, Floats, wilson_interval

_MORE = 2.0
"""How many members more than it has a stratum's variance is computed with."""

_MORE_PREDICTED = 4.0
"""The same with predictions, which explain few mistakes better than they would explain more."""

_LEAST = 2
"""The least number of reviewed photos for a stratum to stand alone."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of the library's photos: its value with the ends of its 95 % interval.

    `reviewed` photos went into it, `effective` is the size of a simple random sample from an endless library that
    would tell as much. All None without a photo to take it over.
    """

    value: float | None
    low: float | None
    high: float | None
    reviewed: int
    effective: float | None = None

    @property
    def half_width(self) -> float | None:
        """Return half the length of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite effective size, where all photos were reviewed, is null."""
        size = self.effective
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "reviewed": self.reviewed,
            "effective_size": round(size, 1) if size is not None and np.isfinite(size) else None,
        }


NOTHING = Estimate(None, None, None, 0)
"""An estimate over no photos."""


@dataclass(frozen=True, slots=True)
class SamplingDesign:
    """How photos were sampled: `weights` [H] are what the strata count, for one sample their numbers of photos N_h.

    `fractions` [H] are the shares n_h / N_h of them that are reviewed, `reviewed` [..., H] the numbers n_h.
    """

    weights: Floats
    fractions: Floats
    reviewed: Floats

    @classmethod
    def of(cls, population: NDArray[np.int64], reviewed: NDArray[np.int64]) -> SamplingDesign:
        """Return the design of one sample: strata of `population` [H] photos, of which `reviewed` [H] were."""
        counts = population.astype(np.float64)
        return cls(counts, reviewed / np.maximum(counts, 1), reviewed.astype(np.float64))

    @classmethod
    def combined(cls, designs: Sequence[SamplingDesign]) -> SamplingDesign:
        """Put independent samples of one library side by side; each sample counts as many as it reviewed."""
        sizes = [float(design.reviewed.sum()) for design in designs]
        weights = [
            design.weights / design.weights.sum() * size / sum(sizes)
            for design, size in zip(designs, sizes, strict=True)
        ]
        return cls(
            np.concatenate(weights),
            np.concatenate([design.fractions for design in designs]),
            np.concatenate([design.reviewed for design in designs]),
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the reviewed photos of each stratum, all [..., H].

    A photo has a `part` a of a `whole` b; `members` counts the photos with a whole. `predicted` f, its square and its
    product with a are zero without predictions.
    """

    members: Floats
    part: Floats
    whole: Floats
    part_part: Floats
    part_whole: Floats
    whole_whole: Floats
    predicted: Floats
    predicted_part: Floats
    predicted_predicted: Floats

    @classmethod
    def of(
        cls,
        strata: NDArray[np.intp],
        size: int,
        part: Floats,
        whole: Floats,
        predicted: Floats | None = None,
    ) -> Sums:
        """Sum over N photos: the strata they lie in [N], below `size`, their parts, wholes and predictions [N]."""
        f = np.where(whole > 0, predicted, 0.0) if predicted is not None else np.zeros_like(part)
        values = ((whole > 0).astype(np.float64), part, whole, part**2, part * whole, whole**2, f, f * part, f**2)
        return cls(*(np.bincount(strata, weights=value, minlength=size).astype(np.float64) for value in values))

    def _stacked(self) -> Floats:
        """Return all but the number of members, [9 - 1, ..., H]."""
        return np.stack(
            [
                self.part,
                self.whole,
                self.part_part,
                self.part_whole,
                self.whole_whole,
                self.predicted,
                self.predicted_part,
                self.predicted_predicted,
            ]
        )


@dataclass(frozen=True, slots=True)
class Ratios:
    """Estimates [...] with their intervals, effective sizes and numbers of photos; NaN where there is no photo."""

    value: Floats
    low: Floats
    high: Floats
    effective: Floats
    reviewed: Floats

    def one(self) -> Estimate:
        """Return the only one of them."""
        if not self.reviewed:
            return NOTHING
        return Estimate(float(self.value), float(self.low), float(self.high), int(self.reviewed), float(self.effective))


def ratio(design: SamplingDesign, sums: Sums, *, known: Floats | float | None = None, alpha: float = ALPHA) -> Ratios:
    """Estimate the ratios; the module's docstring says how.

    Args:
        design: The strata and how many photos of each were reviewed.
        sums: What the reviewed photos add up to.
        known: The mean prediction over all photos of the library that count; None: predictions are not used. Only for
            shares, whose wholes are 0 or 1.
        alpha: How often intervals may miss the truth.
    """
    members = sums.members.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        expansion = design.weights / design.reviewed
        total = (expansion * sums.whole).sum(axis=-1)
        value = (expansion * sums.part).sum(axis=-1) / total
        moments, share = _moments(design, sums, _MORE if known is None else _MORE_PREDICTED)
        tuning = np.zeros_like(value) if known is None else _tuning(design, sums, moments, share)
        if known is not None:
            value = value - tuning * ((expansion * sums.predicted).sum(axis=-1) / total - known)
        center, variance = _variance(design, moments, share, tuning)
        effective = np.where(variance > 0, center * (1 - center) / variance, np.inf)
    effective = np.where(members > 0, effective, 0.0)
    value = np.clip(value, 0, 1)
    low, high = wilson_interval(np.where(members > 0, value, 0.5), effective, alpha=alpha)
    return Ratios(value, low, high, effective, members)


def _moments(design: SamplingDesign, sums: Sums, more: float) -> tuple[Floats, Floats]:
    """Return mean moments of each stratum's members [8, ..., H], some `more` included, and the share of members."""
    stacked, members = sums._stacked(), sums.members
    everyone = members.sum(axis=-1, keepdims=True)
    whole = sums.whole.sum(axis=-1, keepdims=True) / everyone
    predicted = sums.predicted.sum(axis=-1, keepdims=True) / everyone
    right = np.stack([whole, whole, whole**2, whole**2, whole**2, predicted, predicted * whole, predicted**2])
    wrong = np.stack([0 * whole, whole, 0 * whole, 0 * whole, whole**2, predicted, 0 * whole, predicted**2])
    pooled = (stacked.sum(axis=-1, keepdims=True) + right + wrong) / (everyone + 2)
    mean: Floats = (stacked + more * pooled) / (members + more)
    return mean, members / design.reviewed


def _variance(design: SamplingDesign, moments: Floats, share: Floats, tuning: Floats) -> tuple[Floats, Floats]:
    """Return the ratio and the variance that these moments give, [...]; `share` [..., H] of the photos are members."""
    part, whole, part_part, part_whole, whole_whole, predicted, predicted_part, predicted_predicted = moments
    total = (design.weights * share * whole).sum(axis=-1)
    center = (design.weights * share * part).sum(axis=-1) / total
    k, r = tuning[..., None], center[..., None]
    # Predictions count by how far they are from their mean over the members.
    mean = ((design.weights * share * predicted).sum(axis=-1) / total)[..., None]
    first = part - r * whole - k * (predicted - mean)
    second = part_part - 2 * r * part_whole + r**2 * whole_whole
    shifted = predicted_predicted - 2 * mean * predicted + mean**2
    crossed = predicted_part - r * predicted - mean * (part - r * whole)
    second = second + k**2 * shifted - 2 * k * crossed
    spread: Floats = np.maximum(share * second - (share * first) ** 2, 0.0) * _bessel(design)
    variance = (design.weights**2 * (1 - design.fractions) * spread / design.reviewed).sum(axis=-1) / total**2
    return center, variance


def _tuning(design: SamplingDesign, sums: Sums, moments: Floats, share: Floats) -> Floats:
    """Return the k in [0, 1] of least variance: the variance is a parabola in k, so three of its values tell.

    Among few mistakes a fit finds more than there is: k is shrunk towards 0 as if two more had told nothing of it.
    """
    zero = np.zeros(share.shape[:-1])
    at = [_variance(design, moments, share, zero + k)[1] for k in (0.0, 0.5, 1.0)]
    curvature = 2 * (at[0] - 2 * at[1] + at[2])
    slope = at[2] - at[0] - curvature
    best: Floats = np.where(curvature > 0, np.clip(-slope / (2 * np.where(curvature > 0, curvature, 1)), 0, 1), 0.0)
    wrong: Floats = (sums.whole - sums.part).sum(axis=-1)
    shrunk: Floats = best * wrong / (wrong + _MORE)
    return shrunk


def _bessel(design: SamplingDesign) -> Floats:
    """Return n / (n - 1), or 1 in a single stratum, where Wilson's interval uses the variance at the share itself."""
    if design.reviewed.shape[-1] == 1:
        return np.ones_like(design.reviewed)
    factor: Floats = design.reviewed / np.maximum(design.reviewed - 1, 1)
    return factor


def joined_strata(population: NDArray[np.int64], reviewed: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the stratum of each one [H] when those with fewer than two reviews are joined to a neighbour, [H].

    A stratum without reviews would leave its photos out, and one review shows no spread. The result counts from 0.
    """
    groups = np.arange(len(population))
    counts = {int(group): int(number) for group, number in enumerate(reviewed)}
    for group in range(len(population)):
        if counts[group] < _LEAST and len(counts) > 1:
            later = [other for other in counts if other > group]
            into = min(later) if later else max(other for other in counts if other < group)
            groups[groups == group] = into
            counts[into] += counts.pop(group)
    result: NDArray[np.intp] = np.unique(groups, return_inverse=True)[1]
    return result
