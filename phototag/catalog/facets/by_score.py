"""Narrow by the score that a model gave the tag."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import ABSENT
from phototag.catalog.facets.facet import Choice, Facet, Field, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot, photos_by_code
from phototag.errors import UsageError
from phototag.text import percent_range

_BANDS = 10
# As they are written in a query string: 0.3, not 0.30000000000000004.
_EDGES = tuple(round(band / _BANDS, 1) for band in range(_BANDS + 1))


class ByScore(Facet):
    """Photos by the score of the tag's own rank: from `min_score` to below `max_score`, but for 1, which is included.

    What a person tagged has no score. A form may give `min_percent` and `max_percent` instead.
    """

    name, title, params = "score", "Score", ("min_score", "max_score")

    def read(self, given: Mapping[str, str]) -> dict[str, Any]:
        found = super().read(given)
        for bound in ("min", "max"):
            text = given.get(f"{bound}_percent", "").strip().removesuffix("%")
            if text:
                try:
                    # Rounded as people write it: 0.29, and not 0.29000000000000004.
                    found[f"{bound}_score"] = round(float(text) / 100, 6)
                except ValueError as error:
                    raise UsageError(f"score: {text[:40]!r} is not a percentage") from error
        return found

    def convert(self, text: str) -> Any:
        value = float(text)
        if math.isnan(value):
            raise ValueError("not a number")
        return value

    def check(self, values: Values) -> None:
        for name in self.params:
            if not 0 <= values.get(name, 0.0) <= 1:
                raise UsageError(f"{name}: a score lies between 0 and 1, not {values[name]}")
        low, high = _bounds(values)
        if low > high:
            raise UsageError(f"min_score {low} is above max_score {high}")

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        low, high = _bounds(values)
        # A score that is not there is not above any.
        return (snapshot.score >= low) & ((snapshot.score < high) | (high == 1.0))

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        counts = photos_by_code(snapshot.made("score bands", partial(_bands, snapshot.score)), found, _BANDS)
        lowest, highest = _bounds(values)
        choices = []
        for (low, high), number in zip(pairwise(_EDGES), counts, strict=True):
            alone = (values.get("min_score"), values.get("max_score")) == (low, high)
            choices.append(
                Choice(
                    key=f"score-{low}",
                    label=percent_range(low, high, digits=None),
                    count=number,
                    to={} if alone else {"min_score": low, "max_score": high},
                    chosen=alone,
                    style="in" if lowest <= low and high <= highest else "out",
                )
            )
        fields = [
            Field(f"{bound}_percent", label, "number", _percent(values.get(f"{bound}_score")), hint)
            for bound, label, hint in (("min", "From %", "0"), ("max", "to %", "100"))
        ]
        return Group(self, choices, fields, scale=("0 %", "50", "100 %"))

    def words(self, snapshot: Snapshot, values: Values) -> str:
        return percent_range(*_bounds(values), digits=None)


def _bands(scores: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the band of each score, -1 where there is none."""
    # 1 lies in the last band.
    bands = np.clip(np.searchsorted(_EDGES, scores, side="right") - 1, 0, _BANDS - 1)
    found: NDArray[np.int8] = np.where(np.isnan(scores), ABSENT, bands).astype(np.int8)
    return found


def _bounds(values: Values) -> tuple[float, float]:
    return values.get("min_score", 0.0), values.get("max_score", 1.0)


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:g}"


FACET = ByScore()
