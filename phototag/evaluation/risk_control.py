"""Thresholds with a certified precision: a target that holds with high probability, by validation pictures.

For each level on its own: with probability at least 1 - delta over the choice of the validation pictures, the chosen
threshold is one at which, of all labels given to pictures like them (exchangeable: of the same classes, as often), at
least the target share is right. A label given to a picture that has no true label at that level counts as wrong.

The hypotheses "the precision at this threshold is below the target" are tested one after the other from the highest
threshold downwards, each by the exact binomial test (Clopper and Pearson 1934); what is rejected before the first
failure is certified, with no price for the number of tests (fixed-sequence testing: Bauer, "Multiple testing in
clinical trials", Statistics in Medicine 1991; for thresholds of classifiers: Angelopoulos et al., "Learn then test",
2021). Since a single early mistake would end the sequence, the error level is shared among up to three starting points,
and each one that is reached without a failure adds its share to what is carried along (the fallback procedure: Wiens
and Dmitrienko, Journal of Biopharmaceutical Statistics 2005). Starting points are numbers of pictures, not scores; for
those the argument also needs that a higher threshold never is the less precise one.

The stored subclass's threshold is never below the superclass's. As p(s, c) <= p(s), a picture that passes the first
then passes the second, and what was certified for the subclass alone holds for what is stored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation.score_table import SCORE_UNIT, Counts, ScoreTable, ValidationScores
from phototag.text import percent

DELTA = 0.1
"""How often, over the choice of the validation pictures, a certificate may fail."""

_HALF = 0.5


def certified_thresholds(
    scores: ValidationScores, target: float, *, delta: float = DELTA
) -> tuple[tuple[float, float], list[str]]:
    """Return thresholds at which stored labels have the target precision at both levels, and warnings.

    There is a warning for each level where none can be certified: its threshold is 1, which keeps nothing. The module's
    docstring says what is certified.
    """
    warnings = []
    chosen = []
    for level, table in (("superclass", scores.superclass), ("subclass", scores.subclass)):
        threshold = certified_threshold(table, target, delta=delta)
        if threshold is None:
            warnings.append(_why_none(level, table, target, delta))
        chosen.append(1.0 if threshold is None else threshold)
    superclass, subclass = chosen
    return (superclass, max(superclass, subclass)), warnings


def certified_threshold(table: ScoreTable, target: float, *, delta: float = DELTA) -> float | None:
    """Return the lowest threshold whose precision is certified to be at least `target`; None if there is none.

    Where the test at the lowest score of all passes, it certifies labels whatever their score: the threshold is then
    not above a half, so that a lower score than any on these pictures, all of them fine, does not cost a label.
    """
    starts = _starts(target, delta, table.total)
    if not starts:
        return None
    kept, right = table.kept()
    chances = binomial_tail(right, kept, target)
    last = min((score for score in table.scores if score > 0), default=0)
    budget, lowest = 0.0, None
    for score, number, chance in zip(table.scores, kept.tolist(), chances.tolist(), strict=True):
        while starts and number >= starts[0][0]:
            budget += starts.pop(0)[1]
        if chance > budget:
            budget = 0.0
        elif budget:
            lowest = min(score / SCORE_UNIT, _HALF) if score == last else score / SCORE_UNIT
    return lowest


def fewest_pictures(target: float, delta: float = DELTA) -> int:
    """Return the least number of pictures, all of them right, that certifies the target precision."""
    return math.ceil(math.log(delta) / math.log(target) - 1e-9)


def _starts(target: float, delta: float, total: int) -> list[tuple[int, float]]:
    """Return numbers of kept pictures at which a sequence of tests starts, with what each adds to the error level.

    The first is the fewest that could pass, without a mistake; a quarter and a half of all allow for some mistakes
    among the best-scored. Why three: docs/experiments.md#starts-of-the-tests.
    """
    places = ((fewest_pictures(target, delta / 5), delta / 5), (total // 4, delta * 2 / 5), (total // 2, delta * 2 / 5))
    if places[0][0] < total // 4:
        return list(places)
    need = fewest_pictures(target, delta)
    return [(need, delta)] if need <= total else []


def _why_none(level: str, table: ScoreTable, target: float, delta: float) -> str:
    need = fewest_pictures(target, delta)
    if table.total < need:
        reason = f"{table.total} validation pictures are too few, it takes {need} or more"
    else:
        kept, right = table.kept()
        best = max((part / whole for whole, part in zip(kept, right, strict=True) if whole >= need), default=0.0)
        reason = (
            f"among the best-scored {need} or more of {table.total} validation pictures at most {percent(best)} are "
            "right; more of them, a lower target or a better model may help"
        )
    return f"no {level} can be certified to have a precision of {target:.4g}, and none will be stored: {reason}"


def binomial_tail(right: Counts, total: Counts, share: float) -> NDArray[np.float64]:
    """Return P(X >= right) for X binomial with `total` trials of chance `share`, elementwise over counts [K].

    It is the regularised incomplete beta function I_share(right, total - right + 1) (NIST Digital Library of
    Mathematical Functions, 8.17.5), here by its continued fraction 8.17.22.
    """
    a, b = right.astype(np.float64), (total - right + 1).astype(np.float64)
    inner = right > 0
    a = np.where(inner, a, 1.0)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(total.max(initial=1)) + 1)))])
    whole, before, wrong = (np.where(inner, count, 1) for count in (total, right, total - right + 1))
    front = logs[whole] - logs[before - 1] - logs[wrong - 1] + a * math.log(share) + b * math.log1p(-share)
    # The fraction converges fast below the mean; above it, the other tail is computed.
    low = share < (a + 1) / (a + b + 2)
    fraction = _beta_fraction(np.where(low, a, b), np.where(low, b, a), np.where(low, share, 1 - share))
    part = np.exp(front) * fraction / np.where(low, a, b)
    return np.where(inner, np.where(low, part, 1 - part).clip(0, 1), 1.0)


def _beta_fraction(a: NDArray[np.float64], b: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the continued fraction of the incomplete beta function, by Lentz's method (Thompson and Barnett 1986)."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < tiny, tiny, d)
    value = d.copy()
    # About the square root of the larger count in steps.
    for m in range(1, 10_000):
        before = value
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1 + term / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            value = value * c * d
        if np.all(np.abs(value - before) <= 1e-13 * np.abs(value)):
            break
    return value
