"""A library of photos without files, whose tags, folders and days differ."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import Any

from phototag.catalog.catalog import Gallery
from phototag.catalog.filters import GalleryFilter
from phototag.records import Rank, Tag
from phototag.store import Store, StoredTag
from tests.support.stored_photos import TAXONOMY, failure, register, stored

FOLDERS = ("/photos/2023/lake", "/photos/2023/lake/boats", "/photos/2024/deep/down", "/photos/2024-x", "/photos")
NAMES = ("IMG {}.jpg", "Straße {}.JPG", "Zürich{}.png", "a_b%{}.webp", "lake {}.jpg")
NS = 10**9


def moment(day: str) -> int:
    return int(datetime.fromisoformat(day).astimezone().timestamp()) * NS


def make_tag(dice: random.Random) -> Tag:
    rank = dice.choice(list(Rank))
    subclass = dice.choice(TAXONOMY.subclasses)
    score = dice.choice([0.0, 0.1, 0.3, 0.55, 0.7, 0.9, 1.0, dice.random()])
    return Tag(
        superclass=None if rank is Rank.NONE else TAXONOMY.parent(subclass),
        subclass=subclass if rank is Rank.SUBCLASS else None,
        rank=rank,
        superclass_score=score,
        subclass_score=score * dice.choice([0.5, 1.0]),
        novelty=dice.choice([0.0, 0.5, dice.random()]),
    )


def library(count: int, *, seed: int = 1, first: int = 0) -> list[StoredTag]:
    """Photos in nested folders, of three years, many of them with equal dates and scores."""
    dice = random.Random(seed)
    found = []
    for number in range(first, first + count):
        path = f"{dice.choice(FOLDERS)}/{dice.choice(NAMES).format(number)}"
        day = f"{dice.choice([2022, 2023, 2024])}-{dice.choice([1, 3, 12]):02}-{dice.choice([1, 15, 28]):02}T00:00:00"
        found.append(stored(path, make_tag(dice), modified_ns=moment(day) + dice.choice([-1, 0, 5 * NS])))
    return found


def fill(store: Store, count: int = 120) -> None:
    store.tags.save_batch(
        model_id=register(store),
        tagged=library(count),
        failures=[failure(f"/photos/2023/lake/broken {number}.jpg") for number in range(6)],
    )
    for item in library(count)[::9]:
        store.tags.set_human(item.photo.path, superclass="bird", subclass="hawk")
    store.photos.mark_missing([known.id for known in store.photos.under([Path("/photos/2024")])][::3])


def all_ids(gallery: Gallery, wanted: GalleryFilter | None = None, *, limit: int = 1000, **order: Any) -> list[int]:
    """The ids of all wanted photos, page by page."""
    wanted, found, after = wanted or GalleryFilter(), [], None
    while True:
        page = gallery.page(wanted, after=after, limit=limit, **order)
        found += [item.id for item in page.items]
        after = page.after
        if after is None:
            return found
        assert len(found) < page.total, "a cursor leads back"
