"""Photos that look alike: nearest embeddings of one model, by the Euclidean distance that novelty is measured in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.catalog import index_file
from phototag.catalog.columns import ABSENT, STATES, Columns, places_among, without
from phototag.catalog.growing import Buffer
from phototag.decision import unpack
from phototag.errors import StoreError
from phototag.records import PhotoState
from phototag.store import ScoredContentRow, Store
from phototag.taxonomy import Taxonomy

Points = NDArray[np.float32]

# With more changed photos than this, reading all embeddings again is quicker than looking up each.
_MANY_CHANGED = 5_000
# So many more photos are looked at exactly than are wanted: that many lie as near by the rough distances.
_SPARE = 100
# While all embeddings are being read, so many photos of the same class are compared: half of them those that came next
# to the photo, the others from the whole library.
_LIKELY = 1500
_PATIENCE_SECONDS = 0.1
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Rough:
    """Embeddings of M photos in one byte a number: `points` [M, E] times `scale` [M]; `squares` [M] are their lengths'.

    `version` [M] tells of which contents of the photos `id` [M] they are, as in `Columns`.
    """

    id: NDArray[np.int64]
    version: NDArray[np.int64]
    points: NDArray[np.int8]
    scale: NDArray[np.float32]
    squares: NDArray[np.float32]

    @classmethod
    def of(cls, ids: Sequence[int], versions: Sequence[int], points: Points) -> Rough:
        """Return embeddings [M, E] in one byte a number. What is not finite is far from everything."""
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
        scale = np.abs(points).max(axis=1, initial=1e-30) / 127
        scale[~finite] = 0
        rounded = np.rint(np.where(finite[:, None], points, 0) / np.where(finite, scale, 1)[:, None])
        squares = np.where(finite, scale**2 * (rounded**2).sum(axis=1), np.inf)
        return cls(
            np.array(ids, dtype=np.int64),
            np.array(versions, dtype=np.int64),
            rounded.astype(np.int8),
            scale.astype(np.float32),
            squares.astype(np.float32),
        )

    @classmethod
    def all_of(cls, parts: Iterable[tuple[Sequence[int], Sequence[int], Points]], width: int, room: int = 0) -> Rough:
        """Return the embeddings of all parts, of that width; of about `room` photos, so that none is held twice."""
        nothing = cls.of((), (), np.empty((0, width), np.float32))
        arrays = {field.name: getattr(nothing, field.name) for field in fields(cls)}
        buffers = {name: Buffer(array.dtype, room, array.shape[1:]) for name, array in arrays.items()}
        for part in parts:
            rough = cls.of(*part)
            for name, buffer in buffers.items():
                buffer.add(getattr(rough, name))
        return cls(**{name: buffer.filled for name, buffer in buffers.items()})

    def squared_distances(self, point: Points) -> NDArray[np.float32]:
        """Return about how far all are from a point [E], squared, [M]."""
        found = np.empty(len(self.id), dtype=np.float32)
        # A few at a time, in one place: numbers that can be multiplied take four times the memory.
        numbers = np.empty((_ROWS_AT_ONCE, self.points.shape[1]), dtype=np.float32)
        for start in range(0, len(found), _ROWS_AT_ONCE):
            some = self.points[start : start + _ROWS_AT_ONCE]
            numbers[: len(some)] = some
            found[start : start + len(some)] = numbers[: len(some)] @ point
            index_file.forget(some)
        # |a - b|^2 less |b|^2, which is the same for all.
        with np.errstate(invalid="ignore", over="ignore"):
            return self.squares - 2 * self.scale * found


@dataclass(frozen=True)
class Embeddings:
    """Embeddings by one model of a library: those of `all`, but for what is in `recent`.

    They are those of the photos `id` [N] with the contents `version` [N] and tags of the models `model` [N].
    """

    id: NDArray[np.int64]
    version: NDArray[np.int64]
    model: NDArray[np.int64]
    all: Rough
    recent: Rough

    @classmethod
    def of(cls, columns: Columns, every: Rough, recent: Rough) -> Embeddings:
        """Return the embeddings of the photos as they are now."""
        return cls(columns.id, columns.version, columns.model, every, recent)

    def near(self, point: Points, columns: Columns, *, but: int, count: int) -> list[int]:
        """Return the ids of about the `count` nearest photos to a point [E].

        Photos that are not there or hold something else now are left out, and so is the photo `but`.
        """
        found: dict[int, float] = {}
        for part in (self.all, self.recent):
            places = columns.places_of(part.id)
            fits = (places != ABSENT) & (part.id != but)
            fits &= (columns.version[places] == part.version) & (columns.state[places] == STATES.index(PhotoState.OK))
            rough = part.squared_distances(point)
            rough[~fits | ~np.isfinite(rough)] = np.inf
            few = min(count, int(np.count_nonzero(np.isfinite(rough))))
            best = np.argpartition(rough, few - 1)[:few] if few else np.empty(0, np.intp)
            found |= zip(part.id[best].tolist(), rough[best].tolist(), strict=True)
        return sorted(found, key=found.__getitem__)[:count]

    def changed(self, now: Columns) -> NDArray[np.int64]:
        """Return photos with a content that have another one, or a tag of another model, than before."""
        places = places_among(self.id, now.id)
        same = places != ABSENT
        if len(self.id):
            same &= (self.version[places] == now.version) & (self.model[places] == now.model)
        ids: NDArray[np.int64] = now.id[~same & (now.version != ABSENT)]
        return ids


class Similar:
    """Looks for photos that are near another one by a model's embeddings.

    With a `file` those of a large library are kept there, mapped into memory, and read from the database once.
    """

    def __init__(self, store: Store, owner: int, taxonomy: Taxonomy, width: int, file: Path | None) -> None:
        """`owner` is the model that the scores are stored under, and `width` how many numbers its embeddings have."""
        self._store, self._owner, self._taxonomy, self._width, self._file = store, owner, taxonomy, width, file
        self._embeddings: Embeddings | None = None
        self._thread = threading.Thread()

    def nearest(
        self, point: Points, columns: Columns, *, but: int, limit: int, may_read: bool = True
    ) -> tuple[list[tuple[int, float]], int | None]:
        """Return the places in the columns of the photos nearest to a point [E], with distances, nearest first.

        Until the embeddings of a large library were read, which begins if that `may_read` now, these are the nearest
        of some that are likely to be: the second value says of how many, and is None for all.
        """
        if may_read:
            self._begin(columns)
        if self._is_ready():
            near = self.follow(columns).near(point, columns, but=but, count=limit + _SPARE)
            return self._closest(near, point, columns, limit), None
        likely = _likely(columns, but)
        return self._closest(likely, point, columns, limit), len(likely)

    def _is_ready(self) -> bool:
        return self._embeddings is not None and not self._thread.is_alive()

    def _begin(self, columns: Columns) -> None:
        """Read all embeddings where there are none, or those of many photos are missing; aside if that takes long."""
        if self._thread.is_alive():
            return
        before = self._embeddings = self._embeddings or self._loaded()
        if before is not None and len(before.changed(columns)) + len(before.recent.id) <= _MANY_CHANGED:
            return
        if len(columns) <= _MANY_CHANGED:
            self._embeddings = self._read(columns)
            return
        self._thread = threading.Thread(target=self._read_aside, args=(columns,), name="embeddings", daemon=True)
        self._thread.start()
        self._thread.join(_PATIENCE_SECONDS)

    def _read_aside(self, columns: Columns) -> None:
        # If it fails, the next question starts it again.
        with suppress(StoreError):
            self._embeddings = self._read(columns)

    def _closest(self, near: Sequence[int], point: Points, columns: Columns, limit: int) -> list[tuple[int, float]]:
        """Return the nearest of some photos by their exact embeddings: places and distances."""
        ids: list[int] = []
        versions: list[int] = []
        distances: list[float] = []
        for some, contents, points in self._points(sorted(near)):
            ids += some
            versions += contents
            distances += np.sqrt(((points - point) ** 2).sum(axis=1)).tolist()
        places = columns.places(ids).tolist()
        found = [
            (distance, number, place)
            for distance, number, place, version in zip(distances, ids, places, versions, strict=True)
            # Of a content that has changed since, only its new photo would be meant.
            if columns.version[place] == version
        ]
        return [(place, distance) for distance, _, place in sorted(found)[:limit]]

    def follow(self, columns: Columns) -> Embeddings:
        """Return the embeddings of the photos in the columns; only those that changed are read."""
        before = self._embeddings
        if before is None:
            found = self._read(columns)
        elif columns.id is before.id and columns.version is before.version and columns.model is before.model:
            found = before
        else:
            ids = before.changed(columns)
            if len(ids) + len(before.recent.id) > _MANY_CHANGED:
                found = self._read(columns)
            elif len(ids):
                kept = without(before.recent.id, ids)
                recent = Rough.all_of(self._points([*kept.tolist(), *ids.tolist()]), self._width)
                found = Embeddings.of(columns, before.all, recent)
            else:
                found = Embeddings.of(columns, before.all, before.recent)
        self._embeddings = found
        return found

    def _read(self, columns: Columns) -> Embeddings:
        found = Rough.all_of(self._points(None), self._width, len(columns))
        if self._file is not None and len(found.id) > _MANY_CHANGED:
            arrays = {"seen.id": columns.id, "seen.version": columns.version, "seen.model": columns.model}
            index_file.save(self._file, self._facts(), arrays | {f.name: getattr(found, f.name) for f in fields(Rough)})
            # From here on they lie in the file alone.
            return self._loaded() or Embeddings.of(columns, found, self._nothing())
        return Embeddings.of(columns, found, self._nothing())

    def _loaded(self) -> Embeddings | None:
        saved = None if self._file is None else index_file.load(self._file)
        if saved is None or saved[0] != self._facts():
            return None
        arrays = saved[1]
        try:
            found = Rough(*(arrays[field.name] for field in fields(Rough)))
            seen = (arrays["seen.id"], arrays["seen.version"], arrays["seen.model"])
        except KeyError:
            return None
        return Embeddings(*seen, found, self._nothing())

    def _facts(self) -> list[object]:
        return [self._owner, self._width, list(self._store.location.file_key() or ())]

    def _nothing(self) -> Rough:
        return Rough.all_of((), self._width)

    def _points(self, ids: Sequence[int] | None) -> Iterator[tuple[list[int], list[int], Points]]:
        """Yield ids of photos, the first 32 bits of their contents' hashes, and their embeddings, some at a time."""
        for part in self._store.catalog.scores(self._owner, ids):
            for some in _alike(part):
                try:
                    found = unpack([scores for _, _, scores in some], self._taxonomy).embedding
                except StoreError:
                    continue  # damaged scores look like nothing
                if found.shape[1] == self._width:
                    numbers = [photo_id for photo_id, _, _ in some]
                    versions = [int.from_bytes(content[:4]) for _, content, _ in some]
                    yield numbers, versions, found.astype(np.float32)


def _likely(columns: Columns, photo_id: int) -> list[int]:
    """Return some photos that may well look like one: of the same class, near in time or from anywhere."""
    (place,) = columns.places([photo_id]).tolist()
    fits = (columns.label == columns.label[place]) & (columns.version != ABSENT)
    fits &= (columns.state == STATES.index(PhotoState.OK)) & (columns.id != photo_id)
    ids = columns.id[fits]
    middle = int(np.searchsorted(ids, photo_id))
    beside = ids[max(middle - _LIKELY // 4, 0) : middle + _LIKELY // 4]
    spread = ids[:: max(2 * len(ids) // _LIKELY, 1)]
    return sorted({*beside.tolist(), *spread.tolist()})


def embedding_of(scores: bytes, taxonomy: Taxonomy) -> Points | None:
    """Return the embedding [E] among packed scores, None where the model has none or they are damaged."""
    try:
        point: Points = unpack([scores], taxonomy).embedding[0].astype(np.float32)
    except StoreError:
        return None
    return point if len(point) else None


def _alike(part: Sequence[ScoredContentRow]) -> Iterable[list[ScoredContentRow]]:
    """Group the contents by the length of their scores: only those of one length are unpacked together."""
    by_length: dict[int, list[ScoredContentRow]] = {}
    for row in part:
        by_length.setdefault(len(row[2]), []).append(row)
    return by_length.values()
