"""How a model, and a run of it, become known to a database."""

from __future__ import annotations

from phototag.decision import Thresholds
from phototag.model import Model
from phototag.records import LEVELS
from phototag.runtime import Target
from phototag.store import Store


def register(store: Store, model: Model, thresholds: Thresholds | None = None) -> int:
    """Return the model's id in a database that is open for writing.

    `thresholds` are those that it is used with from now on; None is its own.
    """
    header = model.header
    used = header.thresholds if thresholds is None else thresholds
    return store.models.register(
        hash=model.hash,
        name=model.name,
        backbone=header.backbone,
        taxonomy=header.taxonomy,
        metrics=header.metrics,
        weights_hash=model.weights_hash,
        least_scores={level: getattr(used, level) for level in LEVELS},
    )


def begin_run(store: Store, kind: str, model_id: int, target: Target) -> int:
    """Note that a run of a model starts; returns the id of its record."""
    return store.runs.begin(kind, model_id=model_id, device=str(target.device), runtime=str(target.runtime))
