"""From a tagged library to groups of novel photos: no file is read, no network runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from phototag.choices import MIN_GROUP_SIZE
from phototag.decision import Space, unpack
from phototag.discovery.assign import grow
from phototag.discovery.cluster import Grouping
from phototag.discovery.groups import Group, Groups, Member
from phototag.errors import ModelError
from phototag.model import Model
from phototag.paths import PhotoPath
from phototag.records import NovelTier, Rank
from phototag.store import ScoredTag, Store
from phototag.taxonomy import Taxonomy

_DECIMALS = 4
_RANKS = {
    NovelTier.ANY: (Rank.NONE, Rank.SUPERCLASS),
    NovelTier.SUPERCLASS: (Rank.NONE,),
    NovelTier.SUBCLASS: (Rank.SUPERCLASS,),
}

Embeddings = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Found:
    """The groups that were found, and what was looked at.

    Of the `photos` that are novel by their tags, `grouped` are in a group, and so are `taken` photos that were tagged
    with a known subclass. `without_scores` counts those that the model
    never scored by the name of the model that tagged them, and `without_embedding` is how many it scored before
    embeddings were stored.
    """

    groups: Groups
    photos: int
    without_scores: Counter[str] = field(default_factory=Counter)
    without_embedding: int = 0

    @property
    def grouped(self) -> int:
        """Count the novel photos in a group."""
        return sum(len(each.members) - each.taken for each in self.groups.groups)

    @property
    def taken(self) -> int:
        """Count the photos in a group that were tagged with a known subclass."""
        return sum(each.taken for each in self.groups.groups)


def find_groups(
    store: Store,
    model: Model,
    *,
    under: PhotoPath | None = None,
    tier: NovelTier = NovelTier.ANY,
    min_size: int = MIN_GROUP_SIZE,
    novel_only: bool = False,
) -> Found:
    """Group the photos that were tagged without a subclass by the embeddings which `model` gave them.

    Groups take in photos that were tagged with a subclass which the model knows, but that fit the group clearly better,
    unless `novel_only`. Photos that a human tagged, and those that are missing or unreadable, are left out. The same
    library gives the same groups.

    Raises:
        ModelError: the model has no embeddings, or its file cannot be read.
        StoreError: the database cannot be read, or holds damaged scores.
    """
    space = embedding_space(model)
    model_id = store.models.find(hash=model.hash, weights_hash=model.weights_hash)
    taxonomy, axes = model.header.taxonomy, len(space.spread)
    photos, points, left, bare = _novel(store, model_id, taxonomy, axes, under=under, ranks=_RANKS[tier])
    # Ids of rows say nothing of a photo: the order of paths is the same in every database.
    order = sorted(range(len(photos)), key=lambda row: photos[row].path_bytes)
    novel = [photos[row] for row in order]
    tagged = None if novel_only else partial(_tagged, store, model_id, taxonomy, axes, under=under)
    grown = grow(points[order], space, tagged, min_size=min_size)
    names = {known.id: known.name for known in store.models.find_all()}
    without = Counter({names.get(number, "?"): count for number, count in left.items()})
    groups = _described([*novel, *grown.taken], grown.grouping, space, taxonomy)
    reference = model.name if model.path is None else str(model.path)  # as the command line calls it
    kept = Groups(reference, model.hash, taxonomy, tuple(groups))
    return Found(kept, len(photos) + left.total() + bare, without, bare)


def embedding_space(model: Model) -> Space:
    """Return where the known classes lie among a model's embeddings.

    Raises:
        ModelError: the model has no embeddings, or its file cannot be read.
    """
    novelty = model.novelty
    if novelty is None:
        what = "it is the built-in one" if model.path is None else "it was trained by an older phototag"
        raise ModelError(
            f"model {model.name} gives no embeddings to group photos by: {what}; train one: phototag train DATA, tag "
            "with it: phototag tag PATH --model MODEL, and group by it: phototag novel --model MODEL"
        )
    return novelty.space


def _novel(
    store: Store,
    model_id: int | None,
    taxonomy: Taxonomy,
    axes: int,
    *,
    under: PhotoPath | None,
    ranks: Collection[Rank],
) -> tuple[list[ScoredTag], Embeddings, Counter[int], int]:
    """Return novel photos with embeddings; how many have no scores, by the model of their tag, or no embedding."""
    photos: list[ScoredTag] = []
    embeddings: list[Embeddings] = [np.empty((0, axes), np.float16)]
    left: Counter[int] = Counter()
    bare = 0
    for page in store.scores.tagged(model_id, under=under, ranks=ranks, readable=True):
        left.update(photo.model_id for photo in page if photo.scores is None)
        for some, points in _embedded(page, taxonomy, axes):
            photos += (replace(photo, scores=None) for photo in some)  # they are most of it
            embeddings.append(points)
        bare += len(page)
    bare -= len(photos) + left.total()
    return photos, np.concatenate(embeddings), left, bare


def _tagged(
    store: Store, model_id: int | None, taxonomy: Taxonomy, axes: int, *, under: PhotoPath | None
) -> Iterator[tuple[list[ScoredTag], Embeddings]]:
    """Yield photos tagged with a subclass that the model knows, with their embeddings, a page at a time."""
    for page in store.scores.tagged(model_id, under=under, ranks=(Rank.SUBCLASS,), readable=True):
        # A later model may know classes that this one does not.
        known = [photo for photo in page if photo.subclass in taxonomy.subclass_index]
        yield from _embedded(known, taxonomy, axes)


def _embedded(page: Sequence[ScoredTag], taxonomy: Taxonomy, axes: int) -> Iterator[tuple[list[ScoredTag], Embeddings]]:
    """Return the photos of a page that have an embedding, with these, [B, E]."""
    by_length: dict[int, list[ScoredTag]] = {}
    for photo in page:
        if photo.scores is not None:
            by_length.setdefault(len(photo.scores), []).append(photo)
    # Scores with and without an embedding may stand side by side, and differ in length.
    for some in by_length.values():
        embeddings = unpack([photo.scores or b"" for photo in some], taxonomy).embedding
        if embeddings.shape[1] not in {0, axes}:
            raise ModelError(
                f"the model's embeddings have {axes} numbers, those stored {embeddings.shape[1]}; "
                "run: phototag tag --force"
            )
        if embeddings.shape[1]:
            yield some, embeddings


def _described(photos: Sequence[ScoredTag], grouping: Grouping, space: Space, taxonomy: Taxonomy) -> list[Group]:
    nearest = space.squared_distances(grouping.means).argmin(axis=1) if grouping.count else ()
    groups = []
    for number, closest in enumerate(nearest):
        rows = np.flatnonzero(grouping.labels == number)
        rows = rows[np.argsort(grouping.distances[rows], kind="stable")]
        groups.append(
            Group(
                id=number + 1,
                members=tuple(
                    Member(
                        photos[row].path,
                        photos[row].content_hash.hex(),
                        round(float(grouping.distances[row]), _DECIMALS),
                        _tagged_as(photos[row]),
                    )
                    for row in rows.tolist()
                ),
                superclass=_majority([photos[row].superclass for row in rows.tolist()]),
                closest=taxonomy.qualified(int(closest)),
                spread=round(float(grouping.spreads[number]), _DECIMALS),
            )
        )
    return groups


def _tagged_as(photo: ScoredTag) -> str | None:
    return None if photo.subclass is None else f"{photo.superclass}/{photo.subclass}"


def _majority(superclasses: Sequence[str | None]) -> str | None:
    name, count = Counter(superclasses).most_common(1)[0]
    return name if 2 * count > len(superclasses) else None
