"""How a model becomes known to a database."""

from __future__ import annotations

from phototag.model import Model
from phototag.store import Store


def register(store: Store, model: Model) -> int:
    """The model's id in a database that is open for writing."""
    header = model.header
    return store.models.register(
        hash=model.hash,
        name=model.name,
        backbone=header.backbone,
        taxonomy=header.taxonomy,
        metrics=header.metrics,
        weights_hash=model.weights_hash,
    )
