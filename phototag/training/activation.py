"""Whether a new model becomes the active one: not one learned by mistake, and not in the place of a much better one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from phototag.errors import ModelError
from phototag.evaluation import Metrics, wilson_interval
from phototag.model import Model, open_model
from phototag.text import percent

if TYPE_CHECKING:
    from phototag.training.extension import Extension

_MUCH_WORSE = 0.1
_ENOUGH_PICTURES = 20
# One-sided 95 %.
_DEVIATIONS = 1.64


def active_model() -> Model | None:
    """Return the active model, None where its file is gone or damaged."""
    try:
        return open_model()
    except ModelError:
        return None


def why_not_active(
    metrics: Metrics, active: Model | None, *, doubt: str = "", extension: Extension | None = None
) -> str:
    """Return why a model with these validation metrics is not to take the place of the active one; empty if it is.

    `doubt` is what speaks against its data, and `extension` what it was made by.
    """
    if doubt:
        return f"its data looks like a library: {doubt}"
    if _is_guessing(metrics):
        return f"it is hardly better than guessing ({percent(metrics.subclass_macro_recall)} of each subclass right)"
    if extension is not None:
        old, new = extension.before.subclass or 0.0, extension.after.subclass or 0.0
        if extension.before.pictures >= _ENOUGH_PICTURES and old - new > _MUCH_WORSE:
            return f"of its old classes {percent(new)} are right, of {percent(old)} before"
        return ""
    return _why_worse(metrics, active) if active is not None else ""


def _is_guessing(metrics: Metrics) -> bool:
    """Return whether the mean recall of the subclasses is what guessing gives, one in the number of subclasses."""
    supports = [scores.support for scores in metrics.subclasses if scores.support]
    if len(supports) < 2 or metrics.subclass_macro_recall is None:
        return False
    guess, pictures = 1 / len(supports), sum(supports)
    # Of few pictures every model is to have the benefit of the doubt.
    chance = math.sqrt(guess * (1 - guess) / pictures) if pictures >= _ENOUGH_PICTURES else 0.0
    return metrics.subclass_macro_recall <= guess + _DEVIATIONS * chance


def _why_worse(metrics: Metrics, active: Model) -> str:
    """Return that it is much worse on the classes of both than the active model was on its own validation pictures.

    That one is not run on these pictures: it may have learned from them.
    """
    header, before = active.header, active.header.metrics.get("subclass_accuracy")
    known = {header.taxonomy.qualified(index) for index in range(len(header.taxonomy.subclasses))}
    common = [scores for scores in metrics.subclasses if scores.support and scores.name in known]
    pictures = sum(scores.support for scores in common)
    if before is None or pictures < _ENOUGH_PICTURES:
        return ""
    right = sum(round((scores.recall or 0.0) * scores.support) for scores in common)
    _, most = wilson_interval(np.array(right / pictures), np.array(pictures))
    if most >= before - _MUCH_WORSE:
        return ""
    return (
        f"on the classes of both {percent(right / pictures)} of the subclasses are right, and {percent(before)} were "
        f"by the active model {active.name}"
    )
