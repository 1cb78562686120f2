"""Which keywords a tag becomes: people's tags always, those of models where they are sure enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phototag.errors import PhotoTagError
from phototag.records import Rank, Source
from phototag.text import percent

if TYPE_CHECKING:
    from phototag.store import KeywordCandidate

# What separates keywords, or their levels, in one program or another.
_SEPARATORS = {"|": "a vertical bar", ",": "a comma", ";": "a semicolon", "\n": "a line break", "\r": "a line break"}


class UnfitNameError(ValueError):
    """Raised for a class whose name other programs would not read as one keyword; the text says why."""


@dataclass(frozen=True, slots=True)
class KeywordRule:
    """Which tags of models become keywords, beyond what the thresholds of the models let pass.

    Args:
        min_score: The least score of a label.
        limits: By the name of a model the least scores of its superclass and subclass; those of other models are left
            out. None sets none.
    """

    min_score: float = 0.0
    limits: Mapping[str, tuple[float, float]] | None = None

    def names(self, photo: KeywordCandidate) -> tuple[str, ...]:
        """Return the levels that go out, superclass first; none, one or both.

        Raises:
            UnfitNameError: a name would not be read as one keyword.
        """
        return tuple(_check(name) for name in self._levels(photo) if name is not None)

    def _levels(self, photo: KeywordCandidate) -> tuple[str | None, ...]:
        if photo.rank is None or photo.rank is Rank.NONE:
            return ()
        both = (photo.superclass, photo.subclass)
        if photo.source is Source.HUMAN:
            return both
        least = (0.0, 0.0) if self.limits is None else self.limits.get(photo.model or "", (2.0, 2.0))
        superclass, subclass = (max(limit, self.min_score) for limit in least)
        if (photo.superclass_score or 0.0) < superclass:
            return ()
        return both if (photo.subclass_score or 0.0) >= subclass else both[:1]


def _check(name: str) -> str:
    for mark, words in _SEPARATORS.items():
        if mark in name:
            raise UnfitNameError(
                f"the class {name!r} holds {words}, at which other programs part keywords; rename the class"
            )
    return name


def promises(models: Iterable[str]) -> list[str]:
    """Say what the thresholds of models promise of the keywords that are written."""
    from phototag.model import open_model

    lines = []
    for name in models:
        try:
            promise = open_model(name).header.record.get("promise")
        except PhotoTagError:
            lines.append(f"Model {name} is not among the models here: what it promises is not known.")
            continue
        target = promise.get("target_precision") if isinstance(promise, dict) else None
        if isinstance(target, float) and isinstance(promise, dict):
            lines.append(f"Model {name} chose its thresholds for a precision of {percent(target, None)}.")
            lines += [str(line) for line in promise.get("kept_back") or ()]
        else:
            lines.append(
                f"Model {name} certifies no precision: its thresholds decide; --precision or --min-score ask for more."
            )
    return lines
