"""Whether a library loses far more labels than the validation pictures of the model did."""

from __future__ import annotations

import math
from collections.abc import Mapping

from phototag.model import ModelHeader
from phototag.records import LEVELS, Rank, Reason
from phototag.text import percent

_FEWEST_PHOTOS = 50
# Some photos of things that no class stands for are in every library, and of unknown subclasses more.
_MARGINS = {"superclass": 0.25, "subclass": 0.5}
# Of the score test, in standard errors: photos come in series, so chance does more than independent ones would show.
_CLEARLY = 5.0
_LOOKS = {
    Reason.LOW_SUPERCLASS_SCORE: "have too low a score for any superclass",
    Reason.NOVEL_SUPERCLASS: "look like no known superclass",
    Reason.LOW_SUBCLASS_SCORE: "have too low a score for any subclass",
    Reason.NOVEL_SUBCLASS: "look like no known subclass",
}


def lost_labels(reasons: Mapping[Reason, int], header: ModelHeader, name: str) -> tuple[str, ...]:
    """Return what to say where far more photos have no label than of the validation pictures; else nothing.

    Far more is: by more than a margin of 25 points at the superclass, or 50 at the subclass, and more than chance makes
    of it (score test of a share; Wilson, JASA 1927). `reasons` counts the photos that the model called `name` decided.
    """
    photos = sum(reasons.values())
    for level in LEVELS:
        coverage = header.metrics.get(f"{level}_coverage")
        if photos < _FEWEST_PHOTOS or coverage is None:
            continue
        ranks = (Rank.NONE,) if level == "superclass" else (Rank.NONE, Rank.SUPERCLASS)
        lost = {reason: number for reason, number in reasons.items() if reason.rank in ranks and number}
        share, bearable = sum(lost.values()) / photos, min(1.0, max(0.0, 1 - coverage) + _MARGINS[level])
        if (share - bearable) * math.sqrt(photos) > _CLEARLY * math.sqrt(bearable * (1 - bearable)):
            return _said(lost, photos, level, 1 - coverage, name)
    return ()


def _said(lost: Mapping[Reason, int], photos: int, level: str, before: float, name: str) -> tuple[str, ...]:
    most = max(lost, key=lambda reason: lost[reason])
    novel = most in (Reason.NOVEL_SUPERCLASS, Reason.NOVEL_SUBCLASS)
    where = "superclass" if most.rank is Rank.NONE else "subclass"
    option = f"--{'novel-' if novel else ''}{where}-threshold {'1' if novel else '0'}"
    return (
        f"Warning: {percent(sum(lost.values()) / photos, 0)} of {photos:,} photos got no {level}; of the pictures that "
        f"model {name} was validated on, {percent(before, 0)}. {lost[most]:,} {_LOOKS[most]}.",
        "  Either they show what the model never learned, or they were taken unlike its training pictures. In the "
        "second case most lost labels are right. To find out, review some: phototag audit sample, and phototag model "
        f"tune {name} --reviews SAMPLE fits the model to these photos. To store the labels all the same: "
        f"phototag retag --model {name} {option}",
    )
