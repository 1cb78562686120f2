"""Why the tags of models go no deeper, derived from what is stored of them.

The reason is stored nowhere. It follows from a tag's rank, its score and the least score that its model was used with
at the time: a tag that stopped above a score that would have done was stopped by novelty. Those least scores are noted
with the model whenever it is used with others than before, as `phototag retag` may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Double, String, case, cast, literal, null, select

from phototag.database import models, tags
from phototag.records import LEVELS, Rank, Reason, Source

# Kept among the metrics of a model, where no measured figure can have this name: those are numbers, this is a list.
_LEAST_SCORES = "least_scores"
_MOST_KEPT = 100

LeastScores: TypeAlias = Mapping[str, float]
"""The least score of a tag by level, see `LEVELS`."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """The least scores that a model is used with since a moment."""

    since: datetime
    least: LeastScores


def note_least_scores(metrics: Mapping[str, Any], least: LeastScores, now: datetime) -> dict[str, Any]:
    """Return a model's metrics with the least scores that it is used with from now on."""
    noted = _noted(metrics)
    if noted and noted[-1].least == least:
        return dict(metrics)
    entries = [*noted, _Noted(now, least)][-_MOST_KEPT:]
    return {**metrics, _LEAST_SCORES: [{"since": each.since.isoformat(), **each.least} for each in entries]}


def reason_column(connection: Connection) -> ColumnElement[str | None]:
    """Return the reason of each row of `tags`, null for a person's and where the model's least scores are not known.

    That is so for models that were last used by a phototag that did not note them, until they are used again.
    """
    noted = {row.id: _noted(row.metrics) for row in connection.execute(select(models.c.id, models.c.metrics))}
    # Without novelty scores novelty is just what the score leaves.
    only_scores = tags.c.novelty == 1.0 - tags.c.subclass_score

    def of(level: str, low: Reason, novel: Reason) -> ColumnElement[str | None]:
        score, least = tags.c[f"{level}_score"], _least(noted, level)
        return case((only_scores, _text(low)), (score < least, _text(low)), (score >= least, _text(novel)))

    return case(
        (tags.c.source == Source.HUMAN.value, null()),
        (tags.c.rank == Rank.SUBCLASS.value, _text(Reason.SUBCLASS)),
        (tags.c.rank == Rank.SUPERCLASS.value, of("subclass", Reason.LOW_SUBCLASS_SCORE, Reason.NOVEL_SUBCLASS)),
        (tags.c.rank == Rank.NONE.value, of("superclass", Reason.LOW_SUPERCLASS_SCORE, Reason.NOVEL_SUPERCLASS)),
    )


def least_scores(connection: Connection) -> dict[str, list[list[Any]]]:
    """Return all that reasons follow from beside the tags, by the models' ids, fit for JSON."""
    rows = connection.execute(select(models.c.id, models.c.metrics))
    return {
        str(row.id): [
            [each.since.isoformat(), *(each.least[level] for level in LEVELS)] for each in _noted(row.metrics)
        ]
        for row in rows
    }


def _least(noted: Mapping[int, Sequence[_Noted]], level: str) -> ColumnElement[Any]:
    """Return the least score that the model of each tag was used with when it gave it."""
    whens: list[tuple[ColumnElement[bool], Any]] = []
    for model_id, entries in noted.items():
        of_model = tags.c.model_id == model_id
        whens += [
            (of_model & (tags.c.tagged_at >= entry.since), literal(entry.least[level]))
            for entry in reversed(entries[1:])
        ]
        # The first ones are those of the model's file, also for what it tagged before they were noted.
        whens += [(of_model, literal(entry.least[level])) for entry in entries[:1]]
    return case(*whens) if whens else cast(null(), Double())


def _noted(metrics: Any) -> list[_Noted]:
    """Return what a model was used with, oldest first; what phototag did not write is passed over."""
    found = metrics.get(_LEAST_SCORES) if isinstance(metrics, Mapping) else None
    noted = []
    for entry in found if isinstance(found, list) else []:
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            least = {level: float(entry[level]) for level in LEVELS}
            noted.append(_Noted(datetime.fromisoformat(entry["since"]), least))
    return noted


def _text(reason: Reason) -> ColumnElement[str]:
    return literal(reason.value, String())
