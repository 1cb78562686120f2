"""Photos that look alike: nearest embeddings of one model, by the Euclidean distance that novelty is measured in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import ABSENT, STATES, Columns
from phototag.decision import unpack
from phototag.errors import StoreError
from phototag.records import PhotoState
from phototag.store import ScoredContentRow, Store
from phototag.taxonomy import Taxonomy

Points = NDArray[np.float32]

# With more changed photos than this, reading all embeddings again is quicker than looking up each.
_MANY_CHANGED = 5_000
# So many more photos are looked at closely than are wanted.
_SPARE = 16


@dataclass(frozen=True)
class Embeddings:
    """Embeddings by one model of the photos that `seen` has: `points` [M, E] of the photos `id` [M].

    `version` [M] tells of which contents they are, as in `Columns`.
    """

    seen: Columns
    id: NDArray[np.int64]
    version: NDArray[np.int64]
    points: Points

    def nearest(self, point: Points, columns: Columns, *, but: int, limit: int) -> list[tuple[int, float]]:
        """Places in the columns of the photos nearest to a point [E], and their distances, the nearest first.

        Photos that are not there or hold something else now are left out, and so is the photo `but`.
        """
        places = columns.places_of(self.id)
        fits = (places != ABSENT) & (self.id != but)
        fits &= (columns.version[places] == self.version) & (columns.state[places] == STATES.index(PhotoState.OK))
        # |a - b|^2 less |b|^2, which is the same for all: in this form it is one product, and not quite exact.
        rough = self.squares - 2 * (self.points @ point)
        rough[~fits | ~np.isfinite(rough)] = np.inf
        few = min(limit + _SPARE, int(np.count_nonzero(np.isfinite(rough))))
        if not few:
            return []
        best = np.argpartition(rough, few - 1)[:few]
        distances = np.sqrt(((self.points[best] - point) ** 2).sum(axis=1))
        order = np.lexsort((self.id[best], distances))[:limit]
        return [(int(places[best[row]]), float(distances[row])) for row in order]

    @cached_property
    def squares(self) -> NDArray[np.float32]:
        """The squared lengths of the points, [M]."""
        found: NDArray[np.float32] = np.einsum("ij,ij->i", self.points, self.points)
        return found


def read_embeddings(
    store: Store, columns: Columns, owner: int, taxonomy: Taxonomy, width: int, before: Embeddings | None
) -> Embeddings:
    """Return all embeddings of that width stored under a model; of those `before` only what changed since is read."""
    if before is not None and columns is before.seen:
        return before
    ids = None if before is None else _changed(before.seen, columns)
    if before is None or ids is None or len(ids) > _MANY_CHANGED:
        return Embeddings(columns, *_gather(store.catalog.scores(owner), taxonomy, width))
    if not len(ids):
        return replace(before, seen=columns)
    fresh_ids, versions, points = _gather(store.catalog.scores(owner, ids.tolist()), taxonomy, width)
    kept = ~np.isin(before.id, ids)
    return Embeddings(
        columns,
        np.concatenate([before.id[kept], fresh_ids]),
        np.concatenate([before.version[kept], versions]),
        np.concatenate([before.points[kept], points]),
    )


def _changed(before: Columns, now: Columns) -> NDArray[np.int64]:
    """Return photos with a content that have another one, or a tag of another model, than before."""
    places = before.places_of(now.id)
    same = places != ABSENT
    if len(before):
        same &= (before.version[places] == now.version) & (before.model[places] == now.model)
    ids: NDArray[np.int64] = now.id[~same & (now.version != ABSENT)]
    return ids


def embedding_of(scores: bytes, taxonomy: Taxonomy) -> Points | None:
    """Return the embedding [E] among packed scores, None where the model has none or they are damaged."""
    try:
        point: Points = unpack([scores], taxonomy).embedding[0].astype(np.float32)
    except StoreError:
        return None
    return point if len(point) else None


def _gather(
    parts: Iterable[Sequence[ScoredContentRow]], taxonomy: Taxonomy, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Points]:
    ids: list[int] = []
    versions: list[int] = []
    points: list[Points] = [np.empty((0, width), np.float32)]
    for part in parts:
        for some in _alike(part):
            try:
                found = unpack([scores for _, _, scores in some], taxonomy).embedding
            except StoreError:
                continue  # damaged scores look like nothing
            if found.shape[1] != width:
                continue
            ids += [photo_id for photo_id, _, _ in some]
            versions += [int.from_bytes(content[:4]) for _, content, _ in some]
            points.append(found.astype(np.float32))
    return np.array(ids, dtype=np.int64), np.array(versions, dtype=np.int64), np.concatenate(points)


def _alike(part: Sequence[ScoredContentRow]) -> Iterable[list[ScoredContentRow]]:
    """Group the contents by the length of their scores: only those of one length are unpacked together."""
    by_length: dict[int, list[ScoredContentRow]] = {}
    for row in part:
        by_length.setdefault(len(row[2]), []).append(row)
    return by_length.values()
