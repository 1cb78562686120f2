"""Whether reviewed tags are as often right as their scores say, and whether so few reviews could show it if not.

If scores are calibrated, each reviewed tag is right with the probability that is its score, however photos were sampled
by their scores. The number of right ones then is a Poisson binomial one, and the p-value is the exact chance of no more
right ones than were found: a test of calibration as Spiegelhalter's (Statistics in Medicine 1986), one-sided and
without the normal approximation. Its power is the chance to see scores that are `GAP` too high. Photos of one series
are right or wrong together, so that of each series only the first that was reviewed counts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

from phototag.audit.accuracy import Accuracy
from phototag.evaluation import Floats
from phototag.text import percent

CHANCE = 0.01
"""How often calibrated scores may be called overconfident."""

GAP = 0.1
"""Scores that are this much too high are to be seen."""

POWER = 0.8
"""How often they are to be seen; with less, a test that finds nothing says nothing."""

FEWEST = 20
"""With fewer reviewed tags nothing is said: one slip, or a series of photos of one bird, would decide it."""

_LEAST_GAP = 0.05
_MOST_NEEDED = 1000
# People are wrong in one review of a hundred, too.
_MOST_SURE = 0.99


class ScoreVerdict(StrEnum):
    """What reviews say of scores."""

    TOO_FEW = "too_few"
    OVERCONFIDENT = "overconfident"
    CALIBRATED = "calibrated"  # or not so far off that it matters


@dataclass(frozen=True, slots=True)
class ScoreTest:
    """Of `reviewed` tags of a level `expected` would be right by their scores, and `right` are.

    `p` is the chance that no more are right if the scores are calibrated, `power` that to see scores that are `GAP` too
    high, and `needed` the number of reviews that have `POWER`. `left_out` photos more were reviewed of the same series.
    """

    level: str
    verdict: ScoreVerdict
    reviewed: int
    right: int
    expected: float
    p: float
    power: float
    needed: int
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rounded = {name: round(getattr(self, name), 6) for name in ("expected", "p", "power")}
        return {**asdict(self), **rounded, "verdict": self.verdict.value}

    @property
    def statement(self) -> str:
        """Return a sentence that says it."""
        if not self.reviewed:
            return f"No reviewed photo has a {self.level} tag."
        series = ", one of each series" if self.left_out else ""
        if self.verdict is ScoreVerdict.TOO_FEW:
            return (
                f"Too few to say whether {self.level} scores can be relied on: {self.reviewed:,} reviewed{series}. "
                f"About {self.needed:,} would show scores that promise {100 * GAP:.0f} points too much."
            )
        found = (
            f"By their scores {percent(self.expected / self.reviewed)} of the {self.reviewed:,} reviewed {self.level} "
            f"tags{series} would be right, and {percent(self.right / self.reviewed)} are"
        )
        if self.verdict is ScoreVerdict.CALIBRATED:
            return f"{found}; scores that promise {100 * GAP:.0f} points too much would show with {_odds(self.power)}."
        return (
            f"{found}. If scores were calibrated, so few would be right with {_odds(self.p)}: do not rely on scores in "
            "this library. Train with pictures of it (phototag export labels), or name what is new in it (phototag "
            "novel)."
        )


def _odds(chance: float) -> str:
    if chance < 0.0001:
        return "a probability below 0.01 %"
    return f"a probability of {percent(min(chance, 0.999), 0 if 0.02 < chance < 0.98 else 2)}"


def score_test(accuracy: Accuracy, level: str) -> ScoreTest:
    """Return what the reviews say of the scores of a level."""
    tags = accuracy.tags(level)
    first = np.sort(np.unique(tags.groups, return_index=True)[1])
    scores = np.minimum(tags.scores[first], _MOST_SURE)
    reviewed, right, expected = len(scores), int(tags.right[first].sum()), float(scores.sum())
    p = float(np.cumsum(_number_right(scores))[right])
    power = _power(scores)
    if reviewed < FEWEST:
        verdict = ScoreVerdict.TOO_FEW
    elif p <= CHANCE and expected - right >= _LEAST_GAP * reviewed:
        verdict = ScoreVerdict.OVERCONFIDENT
    else:
        verdict = ScoreVerdict.CALIBRATED if power >= POWER else ScoreVerdict.TOO_FEW
    needed = _needed(scores) if reviewed else 0
    left_out = len(tags.scores) - reviewed
    return ScoreTest(level, verdict, reviewed, right, expected, min(p, 1.0), min(power, 1.0), needed, left_out)


def _number_right(chances: Floats) -> Floats:
    """Return the probabilities [N + 1] that 0 to N of the tags are right, each with its chance [N]."""
    found: Floats = np.zeros(len(chances) + 1)
    found[0] = 1.0
    for number, chance in enumerate(chances.tolist(), start=1):
        found[1 : number + 1] = found[1 : number + 1] * (1 - chance) + found[:number] * chance
        found[0] *= 1 - chance
    return found


def _power(scores: Floats) -> float:
    """Return how often the test calls such tags' scores overconfident where they are `GAP` too high."""
    enough = np.flatnonzero(np.cumsum(_number_right(scores)) <= CHANCE)
    return float(np.cumsum(_number_right(np.maximum(scores - GAP, 0.0)))[enough[-1]]) if len(enough) else 0.0


def _needed(scores: Floats) -> int:
    """Return about how many tags of such scores have `POWER`: exactly, in steps up from the normal approximation."""
    lower = np.maximum(scores - GAP, 0.0)
    gap = max(float((scores - lower).mean()), 0.01)
    spread, spread_lower = (math.sqrt(float((each * (1 - each)).mean())) for each in (scores, lower))
    normal = NormalDist()
    reach = normal.inv_cdf(1 - CHANCE) * spread + normal.inv_cdf(POWER) * spread_lower
    count = max(FEWEST, math.ceil((reach / gap) ** 2))
    while _power(np.resize(scores, count)) < POWER and count < _MOST_NEEDED:
        count += 1 + count // 20
    return count
