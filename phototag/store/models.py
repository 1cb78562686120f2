"""Rows of models: which files are known here, and which of them share their stored scores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from phototag.errors import StoreError
from phototag.store.photos import clean_text
from phototag.store.tables import models
from phototag.taxonomy import Taxonomy

# Kept among the metrics, where no measured figure can have this name: those are numbers, this is text. A column of its
# own would make every database need an upgrade.
_WEIGHTS = "weights_hash"


def register(
    connection: Connection,
    *,
    file_hash: str,
    weights_hash: str | None,
    name: str,
    backbone: str,
    taxonomy: Taxonomy,
    metrics: Mapping[str, Any],
    now: datetime,
) -> int:
    """The id of the model whose file has this hash; made if new, given the new name and its weights' hash if known."""
    identity = {} if weights_hash is None else {_WEIGHTS: weights_hash}
    known = connection.execute(select(models.c.id, models.c.metrics).where(models.c.hash == file_hash)).one_or_none()
    if known is not None:
        changed = {"name": clean_text(name), "metrics": {**dict(known.metrics), **identity}}
        connection.execute(update(models).where(models.c.id == known.id).values(changed))
        return int(known.id)
    values: dict[str, Any] = {
        "hash": file_hash,
        "name": clean_text(name),
        "backbone": backbone,
        "taxonomy": taxonomy.to_json(),
        "metrics": {**metrics, **identity},
        "created_at": now,
    }
    return inserted_id(connection, models, values)


def find(connection: Connection, *, file_hash: str, weights_hash: str | None) -> int | None:
    """The id of the model with this file, else of the oldest with these weights, None if there is neither."""
    exact = connection.execute(select(models.c.id).where(models.c.hash == file_hash)).scalar_one_or_none()
    if exact is not None:
        return int(exact)
    same = (number for number, weights in _weights(connection).items() if weights == weights_hash)
    return None if weights_hash is None else next(same, None)


def score_keepers(connection: Connection) -> dict[int, int]:
    """For each model the id of the one under which its scores are stored: the oldest with the same weights.

    Files that differ in their thresholds give the same scores. One registered before weights had a hash keeps its own.
    """
    keepers: dict[int, int] = {}
    oldest: dict[str, int] = {}
    for number, weights in _weights(connection).items():
        keepers[number] = number if weights is None else oldest.setdefault(weights, number)
    return keepers


def inserted_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row; the id it got."""
    key = connection.execute(insert(table).values(values)).inserted_primary_key
    if key is None:
        raise StoreError(f"the database gave no id to a new row of {table.name}")
    return int(key[0])


def _weights(connection: Connection) -> dict[int, str | None]:
    """The hash of each model's weights where it is known, by id, oldest first."""
    found: dict[int, str | None] = {}
    for row in connection.execute(select(models.c.id, models.c.metrics).order_by(models.c.id)):
        weights = row.metrics.get(_WEIGHTS) if isinstance(row.metrics, dict) else None
        found[int(row.id)] = weights if isinstance(weights, str) else None
    return found
