"""Whether a difference between two classifiers is real, on the same pictures.

Two questions, two answers. Do these trained models differ on pictures like these: the exact test of McNemar ("Note on
the sampling error of the difference between correlated proportions", Psychometrika 1947). Do the backbones differ,
if trained again: a bootstrap that resamples pictures and training runs (Efron and Tibshirani, "An introduction to the
bootstrap", 1993; two crossed sources of chance err to the safe side: Owen, Annals of Applied Statistics 2007). Several
pairs are corrected after Holm ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation.intervals import ALPHA, student_widening

RESAMPLES = 10_000

_Floats = NDArray[np.float64]
_Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two shares with its 95 % interval and the chance of one as large where there is none."""

    value: float
    low: float
    high: float
    p: float


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p-value for numbers of pictures that only the first, or only the second, had right.

    Where both do equally well, each such picture is as likely on the one side as on the other.
    """
    total = only_first + only_second
    fewer = min(only_first, only_second)
    if not total:
        return 1.0
    tail = sum(math.exp(_log_choose(total, number) - total * math.log(2)) for number in range(fewer + 1))
    return min(1.0, 2 * tail)


def discordant(first: _Right, second: _Right) -> tuple[int, int]:
    """Return how many pictures only the first, and only the second, had right, of `first` and `second` [runs, N].

    With several runs a picture counts for the backbone of which the larger share of runs had it right. Counting each
    run's picture by itself would count the same picture several times, and call too much significant.
    """
    shares = first.mean(axis=0) - second.mean(axis=0)
    return int((shares > 1e-9).sum()), int((shares < -1e-9).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in their order."""
    corrected = [0.0] * len(p_values)
    worst = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = worst
    return corrected


def bootstrap_difference(first: _Right, second: _Right, *, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Return how much more often the first is right than the second, of `first` [R, N] and `second` [Q, N] over N
    pictures.

    Pictures are resampled, the same ones for both, and training runs, separately for each. With one run each only
    pictures are resampled: what another training would change is then not in the interval.
    """
    value = float(first.mean() - second.mean())
    resampled = _resampled_pictures(first.mean(axis=0) - second.mean(axis=0), seed, resamples)
    freedom = first.shape[0] + second.shape[0] - 2
    for number, (side, sign) in enumerate(((first, 1), (second, -1))):
        random = np.random.default_rng([seed, 1, number])
        resampled += sign * _resampled_runs(side.mean(axis=1), random, resamples, freedom)
    low, high = np.quantile(resampled, [ALPHA / 2, 1 - ALPHA / 2]).tolist()
    # One more than counted: no number of resamples shows that a chance is zero.
    tails = [(int(part.sum()) + 1) / (len(resampled) + 1) for part in (resampled <= 0, resampled >= 0)]
    return Difference(value, low, high, min(1.0, 2 * min(tails)))


def bootstrap_mean(right: _Right, *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % interval of the share that is right, of `right` [R, N], resampling pictures and training runs."""
    resampled = _resampled_pictures(right.mean(axis=0), seed, resamples)
    random = np.random.default_rng([seed, 1])
    resampled += _resampled_runs(right.mean(axis=1), random, resamples, right.shape[0] - 1)
    low, high = np.quantile(resampled, [ALPHA / 2, 1 - ALPHA / 2]).tolist()
    return max(0.0, low), min(1.0, high)


def _resampled_pictures(values: _Floats, seed: int, resamples: int) -> _Floats:
    """Return means of `values` [N] over N pictures resampled with replacement, one for each resample.

    There are few different values, so it is enough to sample how often each of them comes.
    """
    different, counts = np.unique(np.round(values, 9), return_counts=True)
    resampled = np.random.default_rng([seed, 0]).multinomial(len(values), counts / len(values), size=resamples)
    means: _Floats = resampled @ different / len(values)
    return means


def _resampled_runs(means: _Floats, random: np.random.Generator, size: int, freedom: int) -> _Floats:
    """Return by how much the mean of R runs' `means` moves when runs are resampled with replacement, [size].

    Resampled runs spread less than R new runs would, and few runs show their own spread badly: they are widened
    so that the interval becomes as wide as Student's with as many degrees of `freedom` (Hesterberg, "What teachers
    should know about the bootstrap", The American Statistician 2015, section 3.2).
    """
    runs = len(means)
    if runs < 2:
        return np.zeros(size)
    widening = math.sqrt(runs / (runs - 1)) * float(student_widening(np.array(freedom)))
    moved: _Floats = means[random.integers(runs, size=(size, runs))].mean(axis=1) - means.mean()
    return widening * moved


def _log_choose(total: int, number: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(number + 1) - math.lgamma(total - number + 1)
