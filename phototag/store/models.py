"""Models that tagged something: which files are known here, and which of them share their stored scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from phototag.database import Database, FileKey, insert_row, models, tried_again, untrusted_rows
from phototag.store.photos import clean_text
from phototag.store.reasons import LeastScores, note_least_scores
from phototag.taxonomy import Taxonomy

# Kept among the metrics, where no measured figure can have this name: those are numbers, this is text. A separate
# column would make every database need an upgrade.
_WEIGHTS = "weights_hash"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that tagged something here."""

    id: int
    hash: str
    name: str
    backbone: str
    taxonomy: Taxonomy
    created_at: datetime


class Models:
    """The models that a database knows. All methods raise StoreError when it cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: dict[int, int] = {}
        self._owners_of: FileKey | None = None

    def find_all(self) -> tuple[ModelInfo, ...]:
        """Return the models registered here, oldest first."""
        with self._database.read() as connection:
            return known_models(connection)

    def find(self, *, hash: str, weights_hash: str | None = None) -> int | None:  # noqa: A002
        """Return the id of the model with that file, else of the oldest with these weights, None for neither."""
        with self._database.read() as connection:
            exact = connection.execute(select(models.c.id).where(models.c.hash == hash)).scalar_one_or_none()
            if exact is not None:
                return int(exact)
            same = (number for number, weights in _weights(connection).items() if weights == weights_hash)
            return None if weights_hash is None else next(same, None)

    def score_owners(self) -> dict[int, int]:
        """Return for each model the id of the one that owns its scores: the oldest with the same weights."""
        with self._database.read() as connection:
            return score_owners(connection)

    def score_owner(self, connection: Connection, model_id: int) -> int:
        """Return the model that owns that model's scores; asked for with every batch, so looked up once."""
        file = self._database.location.file_key()
        if model_id not in self._owners or file != self._owners_of:
            with untrusted_rows(self._database.location):
                self._owners, self._owners_of = score_owners(connection), file
        return self._owners.get(model_id, model_id)

    @tried_again
    def register(
        self,
        *,
        hash: str,  # noqa: A002
        name: str,
        backbone: str,
        taxonomy: Taxonomy,
        metrics: Mapping[str, Any],
        weights_hash: str | None = None,
        least_scores: LeastScores | None = None,
    ) -> int:
        """Return the id of the model whose file has this SHA-256 (hex); made if new, given the new name if known.

        Models of the same `weights_hash` share their stored scores: in what scores depend on their files are alike.
        `least_scores` are those of the tags that it gives from now on, by level; from them follow these tags' reasons.
        """
        identity = {} if weights_hash is None else {_WEIGHTS: weights_hash}
        with self._database.write() as connection, untrusted_rows(self._database.location):
            self._owners = {}
            known = connection.execute(select(models.c.id, models.c.metrics).where(models.c.hash == hash)).one_or_none()
            noted = {**(metrics if known is None else dict(known.metrics)), **identity}
            if least_scores is not None:
                noted = note_least_scores(noted, least_scores, self._database.next_moment())
            if known is not None:
                changed = {"name": clean_text(name), "metrics": noted}
                connection.execute(update(models).where(models.c.id == known.id).values(changed))
                return int(known.id)
            values: dict[str, Any] = {
                "hash": hash,
                "name": clean_text(name),
                "backbone": backbone,
                "taxonomy": taxonomy.to_json(),
                "metrics": noted,
                "created_at": self._database.next_moment(),
            }
            return insert_row(connection, models, values)


def known_models(connection: Connection) -> tuple[ModelInfo, ...]:
    """Return every model that tagged something, oldest first."""
    statement = select(models).order_by(models.c.id)
    return tuple(
        ModelInfo(row.id, row.hash, row.name, row.backbone, Taxonomy.from_json(row.taxonomy), row.created_at)
        for row in connection.execute(statement)
    )


def score_owners(connection: Connection) -> dict[int, int]:
    """Return for each model the id of the one that owns its scores: the oldest with the same weights.

    Files that differ in their thresholds give the same scores. One registered before weights had a hash owns its own.
    """
    owners: dict[int, int] = {}
    oldest: dict[str, int] = {}
    for number, weights in _weights(connection).items():
        owners[number] = number if weights is None else oldest.setdefault(weights, number)
    return owners


def _weights(connection: Connection) -> dict[int, str | None]:
    """Return the hash of each model's weights where it is known, by id, oldest first."""
    found: dict[int, str | None] = {}
    for row in connection.execute(select(models.c.id, models.c.metrics).order_by(models.c.id)):
        weights = row.metrics.get(_WEIGHTS) if isinstance(row.metrics, dict) else None
        found[int(row.id)] = weights if isinstance(weights, str) else None
    return found
