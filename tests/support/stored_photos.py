"""Photos, tags and a model as a store saves them, of files that need not exist."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from phototag.records import Failure, FailureKind, Photo, Rank, Tag
from phototag.store import Query, Store, StoredTag
from phototag.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_pairs([("bird", "rooster"), ("bird", "hawk"), ("dog", "beagle")])
ROOSTER = Tag("bird", "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.1)
BEAGLE = Tag("dog", "beagle", Rank.SUBCLASS, 0.95, 0.6, 0.3)
SOME_BIRD = Tag("bird", None, Rank.SUPERCLASS, 0.7, 0.3, 0.6)
STRANGE = Tag(None, None, Rank.NONE, 0.4, 0.2, 0.99)


def photo(path: str | bytes, **stat: int) -> Photo:
    values = {"size_bytes": 10, "modified_ns": 1, "changed_ns": 2, "inode": 3} | stat
    return Photo(Path(os.fsdecode(path)), **values)


def digest(text: str | bytes) -> bytes:
    return hashlib.sha256(os.fsencode(text)).digest()


def stored(path: str | bytes, tag: Tag = ROOSTER, *, content: str | bytes | None = None, **stat: int) -> StoredTag:
    content_hash = digest(path if content is None else content)
    return StoredTag(photo(path, **stat), content_hash, width=40, height=30, scores=b"scores", tag=tag)


def failure(path: str | bytes, *, content: str | None = None, **stat: int) -> Failure:
    return Failure(photo(path, **stat), FailureKind.CORRUPT, "bad marker", None if content is None else digest(content))


def register(store: Store, name: str = "sample") -> int:
    model_hash = hashlib.sha256(name.encode()).hexdigest()
    return store.models.register(
        hash=model_hash, name=name, backbone="tf_efficientnet_lite0", taxonomy=TAXONOMY, metrics={"f1": 0.9}
    )


def paths(store: Store, query: Query) -> list[str]:
    return [str(row.path) for row in store.query(query)]


def forget(store: Store) -> None:
    with store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM photos")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with two tagged photos and one unreadable one."""
    path = tmp_path / "photos.db"
    with Store.open(path) as opened, opened.writing("tag"):
        model_id = register(opened)
        opened.tags.save_batch(
            model_id=model_id,
            tagged=[stored("/p/a.jpg"), stored("/p/b.jpg", BEAGLE)],
            failures=[failure("/p/c.jpg")],
        )
    return path
