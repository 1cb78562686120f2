"""A library for the gallery: many photos without files, and files whose names want to be more than names."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path

from phototag.records import Rank, Tag
from phototag.store import Store, StoredTag
from phototag.store.photos import clean_text
from phototag.text import printable
from tests.support.stored_photos import TAXONOMY, failure, register, stored

DAY_NS = 86_400 * 10**9
FIRST_DAY_NS = int(datetime(2022, 1, 1, 12, tzinfo=UTC).timestamp()) * 10**9
HOSTILE = (
    b"<script>alert(1)<!--.jpg",
    b"<img src=x onerror=alert(1)>.jpg",
    b"\" onmouseover='alert(1)' &amp; `.jpg",
    b"new\nline\ttab.jpg",
    "right\u202egpj.exe to left.jpg".encode(),
    b"not utf-8 \xe9\xff.jpg",
    b"{{7*7}}${7*7}%2e%2e%2f.jpg",
    "日本 Straße.jpg".encode(),
)


def tagged(number: int, dice: random.Random) -> StoredTag:
    """A photo without a file, in one of a few folders and of four years."""
    rank = dice.choices(list(Rank), [6, 2, 1])[0]
    subclass = dice.choice(TAXONOMY.subclasses)
    score = dice.choice([0.05, 0.3, 0.72, 0.9, 1.0, dice.random()])
    tag = Tag(
        superclass=None if rank is Rank.NONE else TAXONOMY.parent(subclass),
        subclass=subclass if rank is Rank.SUBCLASS else None,
        rank=rank,
        superclass_score=score,
        subclass_score=score / 2,
        novelty=dice.random(),
    )
    folder = dice.choice(["/photos/lake", "/photos/lake/boats", "/photos/zoo/2024", "/cards"])
    day = FIRST_DAY_NS + dice.randrange(1400) * DAY_NS
    return stored(f"{folder}/IMG_{number:04}.jpg", tag, modified_ns=day)


def fill(store: Store, count: int) -> None:
    """`count` photos that were tagged, and three that could not be read."""
    dice = random.Random(5)
    with store.writing("tag"):
        photos = [tagged(number, dice) for number in range(count)]
        broken = [failure(f"/photos/zoo/broken {number}.jpg") for number in range(3)]
        store.tags.save_batch(model_id=register(store), tagged=photos, failures=broken)
        for photo in photos[::11]:
            store.tags.set_human(photo.photo.path, superclass="dog", subclass="beagle")
        store.photos.mark_missing([known.id for known in store.photos.under([Path("/cards")])][:5])


def as_shown(name: bytes) -> str:
    """A file's name as people see it."""
    return printable(clean_text(os.fsdecode(name)))
