"""Shares of a library's photos, estimated from those that were reviewed, with intervals that fit the design.

Everything estimated here is a ratio of two totals over the library: right labels / labels, shared nodes / true nodes.
Each photo of stratum h stands for N_h / n_h photos, so a ratio is

    R = sum_h N_h a_h / sum_h N_h b_h     with a_h, b_h the means over the stratum's reviewed photos

and its variance, by linearisation with u = a - R b (Cochran, "Sampling techniques", 1977, equations 6.47 and 5A.39;
Särndal, Swensson and Wretman, "Model assisted survey sampling", 1992, result 5.6.2)

    V = sum_h N_h^2 (1 - n_h / N_h) s^2_h(u) / n_h / (sum_h N_h b_h)^2

In a simple random sample, a single stratum, this is the textbook's proportion among the members of a domain.

Where photos were sampled in parts of groups that belong together (a series, a burst), the units are these parts: a and
b are their totals, N_h and n_h count parts (Cochran 1977, section 9A.2: a single stage of clusters of unequal size),
and the effective size is divided by the square of Student's quantile for the parts less the strata over the normal one
(Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
survey data", Survey Methodology 1998). The same, as if from an endless library, says what holds of photos still to
come.

Where most labels are right, s^2_h cannot be taken as it comes: a stratum in which no mistake was found would count as
faultless, and intervals would be far too short. So a stratum's moments are those of its members and of two more, who
are as right as all members together, one right and one wrong added. Two of them (four with predictions) are enough for
95 % intervals to cover: docs/experiments.md#intervals-of-audits. In groups members are units, and those added are as
large as the unit that a photo lies in on average.
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

from phototag.evaluation import ALPHA, Floats, student_widening, wilson_interval

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
    """How photos were sampled: `weights` [H] are what the strata count, for one sample their numbers of units N_h.

    Units are photos, or where these were sampled `in_groups` parts of groups. `fractions` [H] are the shares n_h / N_h
    of them that are reviewed, `reviewed` [..., H] the numbers n_h.
    """

    weights: Floats
    fractions: Floats
    reviewed: Floats
    in_groups: bool = False

    @classmethod
    def of(
        cls, population: NDArray[np.int64], reviewed: NDArray[np.int64], *, in_groups: bool = False
    ) -> SamplingDesign:
        """Return the design of one sample: strata of `population` [H] units, of which `reviewed` [H] were."""
        counts = population.astype(np.float64)
        return cls(counts, reviewed / np.maximum(counts, 1), reviewed.astype(np.float64), in_groups)

    @classmethod
    def endless(cls, units: int) -> SamplingDesign:
        """Return the design that takes `units` groups for a sample from endlessly many."""
        return cls(np.ones(1), np.zeros(1), np.array([float(units)]), in_groups=True)

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
            any(design.in_groups for design in designs),
        )


@dataclass(frozen=True, slots=True)
class Units:
    """What was sampled as one: N photos in U units, each of which lies in one of the `strata` [U].

    `of` [N] is the unit of each photo, `factors` [N] how many photos it stands for in the unit.
    """

    strata: NDArray[np.intp]
    of: NDArray[np.intp]
    factors: Floats

    @classmethod
    def photos(cls, strata: NDArray[np.intp]) -> Units:
        """Return each photo as a unit, from the strata [N] they lie in."""
        return cls(strata, np.arange(len(strata)), np.ones(len(strata)))

    @classmethod
    def joined(cls, parts: Sequence[Units], strata: Sequence[int]) -> Units:
        """Return the units of several samples side by side, which have so many `strata`."""
        units = np.cumsum([0, *(len(part.strata) for part in parts)])
        before = np.cumsum([0, *strata])
        return cls(
            np.concatenate([part.strata + start for part, start in zip(parts, before, strict=False)]),
            np.concatenate([part.of + start for part, start in zip(parts, units, strict=False)]),
            np.concatenate([part.factors for part in parts]),
        )

    def chosen(self, photos: NDArray[np.bool_]) -> Units:
        """Return the units with only some of the photos [N]."""
        return Units(self.strata, self.of[photos], self.factors[photos])


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the reviewed units of each stratum, all [..., H].

    A unit has a `part` a of a `whole` b; `members` counts the units with a whole, `photos` the photos with one.
    `predicted` f, its square and its products with a and b are zero without predictions.
    """

    photos: Floats
    members: Floats
    part: Floats
    whole: Floats
    part_part: Floats
    part_whole: Floats
    whole_whole: Floats
    predicted: Floats
    predicted_part: Floats
    predicted_predicted: Floats
    predicted_whole: Floats

    @classmethod
    def of(cls, units: Units, size: int, part: Floats, whole: Floats, predicted: Floats | None = None) -> Sums:
        """Sum over N photos in units of strata below `size`: their parts, wholes and predictions [N]."""
        counted = (whole > 0).astype(np.float64)
        f = np.zeros_like(counted) if predicted is None else np.where(whole > 0, predicted, 0.0)

        def total(values: Floats) -> Floats:
            return np.bincount(units.of, weights=values, minlength=len(units.strata)).astype(np.float64)

        photos, a, b, f = total(counted), *(total(each * units.factors) for each in (part, whole, f))
        values = (photos, (b > 0).astype(np.float64), a, b, a**2, a * b, b**2, f, f * a, f**2, f * b)
        return cls(*(np.bincount(units.strata, weights=value, minlength=size).astype(np.float64) for value in values))

    def _stacked(self) -> Floats:
        """Return all but the numbers of photos and members, [9, ..., H]."""
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
                self.predicted_whole,
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
            shares, where the whole of a photo is 0 or 1.
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
        if design.in_groups:
            # Units of unequal size show their spread as badly as fewer equal ones (Kish, "Survey sampling", 1965).
            units = sums.whole.sum(axis=-1) ** 2 / sums.whole_whole.sum(axis=-1)
            effective = effective / student_widening(units - sums.members.shape[-1], alpha=alpha) ** 2
    effective = np.where(members > 0, effective, 0.0)
    value = np.clip(value, 0, 1)
    low, high = wilson_interval(np.where(members > 0, value, 0.5), effective, alpha=alpha)
    return Ratios(value, low, high, effective, sums.photos.sum(axis=-1))


def design_effect(units: Units, part: Floats, whole: Floats) -> float | None:
    """Return how many times the variance of a ratio is that of as many photos, each sampled by itself.

    The linearised variances of both are compared, from parts and wholes [N]. None where nothing varies.
    """
    part, whole = part * units.factors, whole * units.factors
    rest = part - whole * (part.sum() / max(whole.sum(), 1e-12))
    alone = float(rest @ rest)
    together = np.bincount(units.of, weights=rest)
    members = len(np.unique(units.of[whole > 0]))
    if alone <= 0 or members < _LEAST:
        return None
    photos = np.count_nonzero(whole)
    return float(together @ together) * members / (members - 1) / (alone * photos / (photos - 1))


def _moments(design: SamplingDesign, sums: Sums, more: float) -> tuple[Floats, Floats]:
    """Return mean moments of each stratum's members [9, ..., H], some `more` included, and the share of members."""
    stacked, members = sums._stacked(), sums.members
    everyone, total = members.sum(axis=-1, keepdims=True), sums.whole.sum(axis=-1, keepdims=True)
    # A unit as large as the one that a photo lies in on average: a long series that is wrong may have been missed.
    whole = (sums.whole_whole.sum(axis=-1, keepdims=True) / total) if design.in_groups else total / everyone
    predicted = sums.predicted.sum(axis=-1, keepdims=True) / total * whole
    crossed, none = predicted * whole, 0 * whole
    right = np.stack([whole, whole, whole**2, whole**2, whole**2, predicted, crossed, predicted**2, crossed])
    wrong = np.stack([none, whole, none, none, whole**2, predicted, none, predicted**2, crossed])
    pooled: Floats = (stacked.sum(axis=-1, keepdims=True) + right + wrong) / (everyone + 2)
    if design.in_groups and members.shape[-1] == 1:
        return pooled, members / design.reviewed
    mean: Floats = (stacked + more * pooled) / (members + more)
    return mean, members / design.reviewed


def _variance(design: SamplingDesign, moments: Floats, share: Floats, tuning: Floats) -> tuple[Floats, Floats]:
    """Return the ratio and the variance that these moments give, [...]; `share` [..., H] of the photos are members."""
    part, whole, part_part, part_whole, whole_whole, predicted, predicted_part, predicted_predicted, crossed = moments
    total = (design.weights * share * whole).sum(axis=-1)
    center = (design.weights * share * part).sum(axis=-1) / total
    k, r = tuning[..., None], center[..., None]
    # Predictions count by how far they are from their mean over the members.
    mean = ((design.weights * share * predicted).sum(axis=-1) / total)[..., None]
    first = part - r * whole - k * (predicted - mean * whole)
    second = part_part - 2 * r * part_whole + r**2 * whole_whole
    shifted = predicted_predicted - 2 * mean * crossed + mean**2 * whole_whole
    shared = predicted_part - r * crossed - mean * (part_whole - r * whole_whole)
    second = second + k**2 * shifted - 2 * k * shared
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
    """Return n / (n - 1), or 1 for photos of a single stratum: Wilson's interval uses the variance at the share."""
    if design.reviewed.shape[-1] == 1 and not design.in_groups:
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
