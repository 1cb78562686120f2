"""Intervals for shares that are estimated from a sample of a finite library.

All of them are Wilson's ("Probable inference, the law of succession, and statistical inference", JASA 1927), at an
effective sample size: the size of a simple random sample that would be as precise (Korn and Graubard, "Confidence
intervals for proportions with small expected number of positive counts estimated from survey data", Survey Methodology
1998, who put it into Clopper's and Pearson's interval; Franco, Little, Louis and Slud, "Comparative study of confidence
intervals for proportions in complex sample surveys", Journal of Survey Statistics and Methodology 2019, find Wilson's
the better one). It keeps its level where nearly all photos are right, and never leaves 0 to 1.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
"""How often an interval may miss the truth, and how often a difference may be called real by chance."""

Floats: TypeAlias = NDArray[np.float64]


def critical(alpha: float = ALPHA) -> float:
    """Return the normal quantile of a two-sided interval: 1.96 for alpha 0.05."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def student_widening(degrees: Floats, *, alpha: float = ALPHA) -> Floats:
    """Return Student's quantiles over the normal one, for degrees of freedom [...]; fewer than 1 count as 1.

    Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 26.7.5; exact for 1 degree.
    """
    z = critical(alpha)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    powers = [np.maximum(np.asarray(degrees, dtype=np.float64), 1) ** power for power in range(1, 5)]
    series = z + np.sum([term / power for term, power in zip(terms, powers, strict=True)], axis=0)
    quantile: Floats = np.where(powers[0] > 1, series, math.tan(math.pi * (0.5 - alpha / 2)))
    return quantile / z


def wilson_interval(share: Floats, size: Floats, *, alpha: float = ALPHA) -> tuple[Floats, Floats]:
    """Return both ends of the intervals of `share` [...] at (effective) sample sizes [...].

    An infinite size gives the share itself, a size of 0 gives (0, 1).
    """
    share, size = np.broadcast_arrays(np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64))
    weight = critical(alpha) ** 2 / np.maximum(size, 1e-12)
    center = (share + weight / 2) / (1 + weight)
    half = np.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    # At the ends the formula is 0 or 1 but for rounding.
    low = np.where(share <= 0, 0.0, np.clip(center - half, 0, 1))
    high = np.where(share >= 1, 1.0, np.clip(center + half, 0, 1))
    empty = size <= 0
    return np.where(empty, 0.0, low), np.where(empty, 1.0, high)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the interval of a share of `hits` among `total`; (0, 1) without any."""
    low, high = wilson_interval(np.array(hits / total if total else 0.0), np.array(total))
    return float(low), float(high)


def half_width(share: float, size: float, *, alpha: float = ALPHA) -> float:
    """Return half the length of Wilson's interval."""
    low, high = wilson_interval(np.array(share), np.array(size), alpha=alpha)
    return float(high - low) / 2


def finite_size(size: float, population: float) -> float:
    """Return the effective size of a sample without replacement: it grows with the share of the library in it.

    The variance of a mean falls by the factor (N - n) / (N - 1) (Cochran, "Sampling techniques", 1977, theorem 2.2).
    """
    if math.isinf(population):
        return size
    if size >= population:
        return math.inf if size > 0 else 0.0
    return size * (population - 1) / (population - size)


def needed_size(share: float, wanted: float, *, population: float = math.inf, alpha: float = ALPHA) -> int:
    """Return the least sample, without replacement, whose interval there has at most the `wanted` half-width."""
    if population < 1:
        return 0
    low, high = 0.0, 1.0
    while half_width(share, high, alpha=alpha) > wanted:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(share, middle, alpha=alpha) > wanted else (low, middle)
    # The inverse of `finite_size`.
    size = high if math.isinf(population) else high * population / (population - 1 + high)
    return math.ceil(size - 1e-9) if math.isinf(population) else min(math.ceil(size - 1e-9), math.floor(population))
