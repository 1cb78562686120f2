"""How a model becomes known to a database."""

from __future__ import annotations

from phototag.decision import Thresholds
from phototag.model import Model
from phototag.records import LEVELS
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
