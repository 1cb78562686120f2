"""The gallery of one database: answers from a snapshot in memory that follows what is written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import ABSENT, REASONS
from phototag.catalog.cursor import GallerySort, read_cursor, write_cursor
from phototag.catalog.detail import read_detail
from phototag.catalog.facets.facet_list import FACETS
from phototag.catalog.filters import GalleryFilter, all_of
from phototag.catalog.follow import POLL_SECONDS, Following
from phototag.catalog.items import item_at
from phototag.catalog.similar import Points, Similar, embedding_of
from phototag.catalog.snapshot import Snapshot
from phototag.catalog.views import Around, Facets, GalleryItem, GalleryPage, PhotoDetail, SimilarPhoto, SimilarPhotos
from phototag.database import FileKey
from phototag.errors import UsageError
from phototag.records import Reason
from phototag.store import Store
from phototag.taxonomy import Taxonomy

_LARGEST_PAGE = 1000
_MODELS_KEPT = 2


class Gallery(Following):
    """What a library's gallery shows. May be used from several threads; close it, or use it in a `with`.

    All photos are held in memory, about 200 bytes each. What this process writes shows after `refresh`; what
    others write shows within seconds, as a thread looks for it.
    """

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS, indexes: Path | None = None) -> None:
        """Read the library for about a second, or map the index of it that lies in the folder `indexes`.

        A large one is then read on in a thread, and `reading` tells how far that is.

        Raises:
            StoreError: it cannot be read.
        """
        super().__init__(store, poll_seconds=poll_seconds, indexes=indexes)
        # By the file as well: a database that takes its place has other models under the same numbers.
        self._similar: dict[tuple[FileKey | None, int, int], Similar] = {}
        self._taxonomies: dict[tuple[FileKey | None, int], Taxonomy] = {}
        self._reading_embeddings = threading.Lock()

    @property
    def total(self) -> int:
        """All photos of the library, but for those that are missing."""
        snapshot, every = self.snapshot, GalleryFilter()
        return snapshot.made("total", lambda: int(np.count_nonzero(every.mask(snapshot))))

    @property
    def version(self) -> int:
        """A number that changes whenever anything in the gallery may have."""
        return self.snapshot.number

    def page(
        self,
        wanted: GalleryFilter,
        *,
        sort: GallerySort = GallerySort.DATE,
        descending: bool = True,
        after: str | None = None,
        start: int | None = None,
        limit: int = 120,
        stacked: bool = False,
    ) -> GalleryPage:
        """Return up to `limit` wanted photos: the first, those after the cursor `after`, or those from a place on.

        `stacked`: of each burst only the photo that comes first, which then stands for all that are wanted. Following
        the cursors shows no photo twice and leaves none out, whatever comes or goes meanwhile.

        Raises:
            UsageError: `after` is no cursor of this order, or comes together with `start`.
        """
        if after is not None and start is not None:
            raise UsageError("after and start: give one of them")
        if not 1 <= limit <= _LARGEST_PAGE:
            raise UsageError(f"limit: 1 to {_LARGEST_PAGE}, not {limit}")
        snapshot = self.snapshot
        result = snapshot.result(wanted, sort, descending=descending)
        photos = len(result)
        sizes: NDArray[np.integer] = np.ones(photos, dtype=np.int64)
        if stacked:
            result, sizes = snapshot.stacked(wanted, sort, descending=descending)
        begin = max(start or 0, 0)
        if after is not None:
            cursor = read_cursor(after, sort, descending=descending)
            begin = snapshot.place_behind(result, cursor, sort, descending=descending)
        places = result[begin : begin + limit].tolist()
        more = places and begin + limit < len(result)
        return GalleryPage(
            items=tuple(
                item_at(snapshot.columns, place, stack=size)
                for place, size in zip(places, sizes[begin : begin + limit].tolist(), strict=True)
            ),
            start=begin,
            total=len(result),
            photos=photos,
            after=write_cursor(snapshot.key(sort, places[-1]), sort, descending=descending) if more else None,
            version=snapshot.number,
        )

    def facets(self, wanted: GalleryFilter) -> Facets:
        """Return the facets beside the wanted photos, each counted with all the filters but its own."""
        snapshot = self.snapshot
        return snapshot.made(wanted, partial(_facets, snapshot, wanted))

    def around(
        self,
        wanted: GalleryFilter,
        *,
        sort: GallerySort = GallerySort.DATE,
        descending: bool = True,
        photo_id: int,
        stacked: bool = False,
    ) -> Around:
        """Return where a photo stands among the wanted ones; `stacked`: the tile is that of its burst."""
        snapshot = self.snapshot
        result = snapshot.result(wanted, sort, descending=descending)
        (photo,) = snapshot.columns.places([photo_id]).tolist()
        place = None if photo == ABSENT else snapshot.place_in(result, photo, sort, descending=descending)
        if place is None:
            return Around(previous=None, next=None, place=None, tile=None, total=len(result))
        tile = place
        if stacked:
            covers, _ = snapshot.stacked(wanted, sort, descending=descending)
            tile = int(np.flatnonzero(snapshot.bursts[covers] == snapshot.bursts[photo])[0])

        def id_at(index: int) -> int | None:
            return int(snapshot.columns.id[result[index]]) if 0 <= index < len(result) else None

        return Around(previous=id_at(place - 1), next=id_at(place + 1), place=place, tile=tile, total=len(result))

    def burst(self, photo_id: int) -> tuple[int, ...]:
        """Return the ids of all photos of a photo's burst, itself among them; none for an unknown photo."""
        snapshot = self.snapshot
        (place,) = snapshot.columns.places([photo_id]).tolist()
        if place == ABSENT:
            return ()
        return tuple(snapshot.columns.id[snapshot.bursts == snapshot.bursts[place]].tolist())

    def items(self, ids: Sequence[int]) -> tuple[GalleryItem, ...]:
        """Return what a page shows of these photos, in the order given; unknown ones are left out."""
        columns = self.snapshot.columns
        return tuple(item_at(columns, place) for place in columns.places(ids).tolist() if place != ABSENT)

    def reasons(self, model_hash: str) -> dict[Reason, int]:
        """Return why the tags of the model with that hash go no deeper, each reason with its photos.

        Raises:
            StoreError: the database cannot be read.
        """
        columns = self.snapshot.columns
        ids = [model.id for model in self._store.models.find_all() if model.hash == model_hash]
        codes = columns.reason[np.isin(columns.model, ids)]
        counts = np.bincount(codes[codes >= 0], minlength=len(REASONS)).tolist()
        return {reason: number for reason, number in zip(REASONS, counts, strict=True) if number}

    def photo(self, photo_id: int) -> PhotoDetail | None:
        """Return everything known of a photo, as the database has it now; None if there is no such photo.

        Raises:
            StoreError: the database cannot be read.
        """
        return read_detail(self._store, photo_id)

    def similar(self, photo_id: int, *, limit: int = 12) -> SimilarPhotos:
        """Return the photos whose embeddings by the same model are nearest, nearest first; none without an embedding.

        The model is that of the tag, or else the newest one that gave the photo an embedding. The first call for a
        model begins to read its embeddings, which then stay in memory, a byte a number, or in the index; until that
        is done, only some photos of a large library are compared.

        Raises:
            StoreError: the database cannot be read.
        """
        snapshot = self.snapshot
        (place,) = snapshot.columns.places([photo_id]).tolist()
        found = None if place == ABSENT else self._point_of(photo_id, int(snapshot.columns.model[place]))
        if found is None:
            return SimilarPhotos((), None)
        owner, point = found
        may_read = self.reading is None
        with self._reading_embeddings:
            nearest, among = self._similar_by(owner, len(point)).nearest(
                point, snapshot.columns, but=photo_id, limit=limit, may_read=may_read
            )
        if not may_read:
            among = min(among or len(snapshot), len(snapshot))
        photos = (SimilarPhoto(item=item_at(snapshot.columns, other), distance=distance) for other, distance in nearest)
        return SimilarPhotos(photos, among)

    def _point_of(self, photo_id: int, model_id: int) -> tuple[int, Points] | None:
        """Return an embedding of what a photo holds, and the model that owns it."""
        known = self._store.photos.find(photo_id)
        owner = self._store.models.score_owners().get(model_id)
        stored = self._store.scores.of_photo(photo_id)
        for prediction in sorted(stored, key=lambda each: each.model_id != owner):
            if known is not None and prediction.content_hash == known.content_hash:
                point = embedding_of(prediction.scores, self._taxonomy(prediction.model_id))
                if point is not None:
                    return prediction.model_id, point
        return None

    def _similar_by(self, owner: int, width: int) -> Similar:
        key = (self._store.location.file_key(), owner, width)
        found = self._similar.pop(key, None)
        if found is None:
            file = self._index_file(f"{owner}-{width}")
            found = Similar(self._store, owner, self._taxonomy(owner), width, file)
        self._similar[key] = found
        for oldest in list(self._similar)[:-_MODELS_KEPT]:
            del self._similar[oldest]
        return found

    def _taxonomy(self, model_id: int) -> Taxonomy:
        file = self._store.location.file_key()
        if (file, model_id) not in self._taxonomies:
            self._taxonomies = {(file, model.id): model.taxonomy for model in self._store.models.find_all()}
        return self._taxonomies[file, model_id]


def _facets(snapshot: Snapshot, wanted: GalleryFilter) -> Facets:
    masks = wanted.masks(snapshot)
    every = all_of(snapshot, masks)
    return Facets(
        total=int(np.count_nonzero(every)),
        groups={
            name: facet.group(snapshot, wanted, all_of(snapshot, masks, but=name) if name in masks else every)
            for name, facet in FACETS.items()
        },
        chips=tuple(chip for facet in FACETS.values() for chip in facet.chips(snapshot, wanted)),
    )
