"""Thresholds with a certified precision: a target that holds with high probability, by validation pictures.

For each level on its own: with probability at least 1 - delta over the choice of the validation pictures, the chosen
threshold is one at which, of all labels given to pictures like them (exchangeable: of the same classes, as often), at
least the target share is right. A label given to a picture that has no true label at that level counts as wrong.

The hypotheses "the precision at this threshold is below the target" are tested one after the other from the highest
threshold downwards; what is rejected before the first failure is certified, with no price for the number of tests
(fixed-sequence testing: Bauer, "Multiple testing in clinical trials", Statistics in Medicine 1991; for thresholds of
classifiers: Angelopoulos et al., "Learn then test", 2021). Since a single early mistake would end the sequence, the
error level is shared among up to three starting points, and each one that is reached without a failure adds its share
to what is carried along (the fallback procedure: Wiens and Dmitrienko, Journal of Biopharmaceutical Statistics 2005).
Starting points are numbers of pictures, not scores; for those the argument also needs that a higher threshold never is
the less precise one.

Each test is the exact binomial one (Clopper and Pearson 1934) where the pictures are independent. Pictures of one group
are not: what is exchangeable then are the groups, of any size, and the test takes an effective number of pictures by
the design effect that the groups show (Rao and Scott, "A simple method for the analysis of clustered binary data",
Biometrics 1992; Korn and Graubard, Survey Methodology 1998). `chances_below` has the formula and what keeps it on the
safe side. That is no exact test; docs/experiments.md#certificates-by-groups has how often it held in simulations.

The stored subclass's threshold is never below the superclass's. As p(s, c) <= p(s), a picture that passes the first
then passes the second, and what was certified for the subclass alone holds for what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from phototag.errors import ModelError
from phototag.evaluation.intervals import Floats
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


def certified_by_record(record: Mapping[str, Any], target: float) -> tuple[tuple[float, float], list[str]]:
    """Return what `certified_thresholds` does by the validation scores that a model's record keeps.

    Raises:
        ModelError: it keeps none, or they are damaged.
    """
    kept = record.get("validation_scores")
    if kept is None:
        raise ModelError("it keeps no validation scores, by which a precision could be certified")
    return certified_thresholds(ValidationScores.from_json(kept), target)


def certified_threshold(table: ScoreTable, target: float, *, delta: float = DELTA) -> float | None:
    """Return the lowest threshold whose precision is certified to be at least `target`; None if there is none.

    Where the test at the lowest score of all passes, it certifies labels whatever their score: the threshold is then
    not above a half, so that a lower score than any on these pictures, all of them fine, does not cost a label.
    """
    independent = independent_pictures(table)
    starts = _starts(target, delta, int(independent[-1]) if len(independent) else 0)
    if not starts:
        return None
    chances = chances_below(table, target)
    last = _last(table)
    budget, lowest = 0.0, None
    for score, number, chance in zip(table.scores, independent.tolist(), chances.tolist(), strict=True):
        while starts and number >= starts[0][0]:
            budget += starts.pop(0)[1]
        if chance > budget:
            budget = 0.0
        elif budget:
            lowest = min(score / SCORE_UNIT, _HALF) if score == last else score / SCORE_UNIT
    return lowest


def likely_threshold(table: ScoreTable, target: float, *, doubt: float) -> float:
    """Return the lowest threshold that, tested on its own at the level `doubt`, has at least the target precision.

    That is no certificate, as the lowest of all is taken that pass. Where none does it is the one that comes closest
    among those that keep enough pictures to pass. It is 0 where the lowest score of all passes, or there are too few
    pictures to tell.
    """
    enough = np.flatnonzero(independent_pictures(table) >= fewest_pictures(target, doubt))
    if not len(enough):
        return 0.0
    chances = chances_below(table, target)[enough]
    passed = enough[chances <= doubt]
    score = table.scores[int(passed[-1] if len(passed) else enough[chances.argmin()])]
    return 0.0 if score == _last(table) else score / SCORE_UNIT


def _last(table: ScoreTable) -> int:
    """Return the lowest score of all, but for pictures beyond a limit on novelty."""
    return min((score for score in table.scores if score > 0), default=0)


def fewest_pictures(target: float, delta: float = DELTA) -> int:
    """Return the least number of independent pictures, all of them right, that certifies the target precision."""
    return math.ceil(math.log(delta) / math.log(target) - 1e-9)


def _starts(target: float, delta: float, total: int) -> list[tuple[int, float]]:
    """Return numbers of independent pictures kept where a sequence of tests starts, with what each adds to the level.

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
    independent = independent_pictures(table)
    whole = int(independent[-1]) if len(independent) else 0
    pictures = f"{table.total} validation pictures"
    if table.groups:
        pictures += f" in {sum(table.groups)} groups, which tell no more than {whole} independent ones,"
    if whole < need:
        reason = f"{pictures} are too few, it takes {need} or more"
    else:
        kept, right = table.kept()
        enough = independent >= need
        best = float((right[enough] / kept[enough]).max(initial=0.0))
        reason = (
            f"among the best-scored {need} or more of {pictures} at most {percent(best)} are right; more of them, a "
            "lower target or a better model may help"
        )
    return f"no {level} can be certified to have a precision of {target:.4g}, and none will be stored: {reason}"


def independent_pictures(table: ScoreTable) -> Floats:
    """Return how many independent pictures tell as much as what each row's threshold keeps, if all of it is right [K].

    That is the number of its groups, or fewer where they are of unequal size.
    """
    kept, _ = table.kept()
    none = np.zeros(len(kept))
    return np.round(kept / _unit(table, none, none, none), 9)


def chances_below(table: ScoreTable, target: float) -> Floats:
    """Return for each row's threshold the chance of so many right labels, were its precision just `target`: [K].

    It is the binomial tail I_target(b, a) of b right and a wrong pictures, a with one added, both in units of as many
    pictures as one independent one is worth. One picture more, wrong, is what makes Clopper's and Pearson's test exact;
    here it is one group more, as large as groups are (the root of their mean square), all of it wrong, and it counts
    for the unit too (for weighted counts: Fay and Feuer, "Confidence intervals for directly standardized rates",
    Statistics in Medicine 1997, with the largest weight; Tiwari, Clegg and Zou, Statistical Methods in Medical Research
    2006, with the mean one). So with few mistakes, when they do not tell how they cluster, a group counts for a picture
    or less. Groups of one picture each have the unit 1.
    """
    kept, right = table.kept()
    sums = table.sums()
    wrong = kept - right
    unit = _unit(
        table, wrong, sums.kept_kept - sums.kept_right, sums.kept_kept - 2 * sums.kept_right + sums.right_right
    )
    added = np.sqrt(sums.kept_kept / np.maximum(sums.groups, 1))
    return binomial_tail(right / unit, np.maximum((wrong + added) / unit, 1.0), target)


def _unit(
    table: ScoreTable, wrong: Floats | Counts, kept_wrong: Floats | Counts, wrong_wrong: Floats | Counts
) -> Floats:
    """Return the design effect [K] of the share of wrong pictures: of how many one tells as much as an independent one.

    It is the variance of a ratio of sums over groups (Cochran, "Sampling techniques", 1977, section 3.12) over that of
    independent pictures, with one group more as in `chances_below`; at least 1. The sums are over the groups.
    """
    kept, _ = table.kept()
    if not table.groups:
        return np.ones(len(kept))
    sums = table.sums()
    added = np.sqrt(sums.kept_kept / np.maximum(sums.groups, 1))
    share = (wrong + added) / np.maximum(kept + added, 1)
    squares = wrong_wrong - 2 * share * kept_wrong + share**2 * sums.kept_kept + (added * (1 - share)) ** 2
    return np.maximum(squares / np.maximum((kept + added) * share * (1 - share), 1e-9), 1.0)


def binomial_tail(right: Floats, wrong: Floats, share: float) -> Floats:
    """Return the regularised incomplete beta function I_share(right, wrong), elementwise [K]; 1 where `right` is 0.

    For counts that is P(X >= right), X binomial with right + wrong - 1 trials of chance `share` (NIST Digital Library
    of Mathematical Functions, 8.17.5), here by its continued fraction 8.17.22.
    """
    inner = right > 0
    a, b = np.where(inner, right, 1.0), wrong
    logs = (np.array([math.lgamma(value) for value in values.tolist()]) for values in (a + b, a, b))
    whole, first, second = logs
    front = whole - first - second + a * math.log(share) + b * math.log1p(-share)
    # The fraction converges fast below the mean; above it, the other tail is computed.
    low = share < (a + 1) / (a + b + 2)
    fraction = _beta_fraction(np.where(low, a, b), np.where(low, b, a), np.where(low, share, 1 - share))
    part = np.exp(front) * fraction / np.where(low, a, b)
    return np.where(inner, np.where(low, part, 1 - part).clip(0, 1), 1.0)


def _beta_fraction(a: Floats, b: Floats, x: Floats) -> Floats:
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
