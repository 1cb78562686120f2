"""The index of a large library on disk: as one made again, whatever was written, and never one that is not true."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phototag.catalog import index_file
from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.filters import GalleryFilter
from phototag.store import Store
from tests.support.catalog_photos import all_ids, library
from tests.support.stored_photos import register


@pytest.fixture(autouse=True)
def small_libraries_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.catalog.follow._FEWEST_INDEXED", 1)


@pytest.fixture
def indexes(tmp_path: Path) -> Path:
    return tmp_path / "indexes"


def opened(store: Store, indexes: Path | None) -> Gallery:
    return Gallery(store, poll_seconds=3600, indexes=indexes)


def saved(store: Store, indexes: Path) -> Path:
    """Save the index of a library, and return its file."""
    with opened(store, indexes) as gallery:
        gallery._catch_up()  # SQLite may say once that something has changed where nothing did
    (file,) = indexes.glob("*.photos.index")
    return file


def shown(gallery: Gallery) -> Iterator[Any]:
    """Yield all that a gallery shows."""
    every = GalleryFilter()
    for sort in GallerySort:
        yield all_ids(gallery, sort=sort)
    yield gallery.items(all_ids(gallery, GalleryFilter(state="ok")))
    for wanted in (every, GalleryFilter(text="lake"), GalleryFilter(superclass="bird")):
        yield gallery.page(wanted, stacked=True).items
        yield gallery.facets(wanted)


def was_mapped(gallery: Gallery) -> bool:
    """Whether what no later write has changed lies in the file."""
    base: Any = gallery.snapshot.columns.height
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(getattr(base, "obj", base), mmap.mmap)


def change(store: Store, dice: random.Random) -> None:
    """Write something at random."""
    known = [photo for page in store.photos.contents() for _, photo in page]
    some = dice.sample(known, 9)
    with store.writing("tag"):
        match dice.randrange(5):
            case 0:
                store.photos.mark_missing([photo.id for photo in some])
            case 1:
                store.photos.mark_seen([photo.id for photo in some])
            case 2:
                store.tags.set_human(some[0].path, superclass="fish", subclass="cod")
            case 3:
                store.photos.mark_missing([photo.id for photo in some])
                store.photos.remove([photo.id for photo in some], reviewed=True)
            case _:
                new = library(20, seed=dice.randrange(9), first=dice.randrange(200))
                store.tags.save_batch(model_id=register(store), tagged=new)


def test_saved_library_is_mapped_and_shows_what_the_database_holds(store: Store, indexes: Path) -> None:
    saved(store, indexes)
    with opened(store, indexes) as gallery, opened(store, None) as other:
        assert was_mapped(gallery)
        assert not was_mapped(other)
        assert list(shown(gallery)) == list(shown(other))


def test_index_is_as_one_made_again_after_random_changes(store: Store, indexes: Path, tmp_path: Path) -> None:
    dice = random.Random(3)
    for turn in range(6):
        with opened(store, indexes) as gallery:
            assert was_mapped(gallery) == (turn > 0), "what was caught up with, was saved"
            change(store, dice)
            gallery._catch_up()
        change(store, dice)
        with opened(store, indexes) as gallery, opened(store, None) as other:
            assert list(shown(gallery)) == list(shown(other))


def test_review_is_in_the_index_that_is_saved_at_the_end(store: Store, indexes: Path) -> None:
    saved(store, indexes)
    known = store.photos.find(5)
    assert known is not None
    with opened(store, indexes) as gallery, gallery.writing("serve") as writer:
        writer.tags.set_human(known.path, superclass="fish", subclass="cod")
        gallery.refresh([5])
    with opened(store, indexes) as gallery:
        assert was_mapped(gallery)
        assert gallery.items([5])[0].subclass == "cod"


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "of another version", "of another program", "strange"])
def test_index_that_is_damaged_or_foreign_is_made_again(store: Store, indexes: Path, damage: str) -> None:
    file = saved(store, indexes)
    data = bytearray(file.read_bytes())
    match damage:
        case "cut":
            data = data[: len(data) // 2]
        case "flipped":
            data[len(data) // 2] ^= 1
        case "emptied":
            data = bytearray()
        case "of another version":
            data = data.replace(b"phototag index 1", b"phototag index 0")
        case "of another program":
            data = bytearray(random.Random(1).randbytes(5000))
        case _:
            loaded = index_file.load(file)
            assert loaded is not None
            facts, _ = loaded
            index_file.save(file, facts, {"place": np.arange(3)})
            data = bytearray(file.read_bytes())
    file.write_bytes(data)
    with opened(store, indexes) as gallery, opened(store, None) as other:
        assert not was_mapped(gallery)
        assert list(shown(gallery)) == list(shown(other))
        gallery._catch_up()
    with opened(store, indexes) as gallery:
        assert was_mapped(gallery)


def test_index_of_another_database_at_the_same_place_is_not_taken(store: Store, indexes: Path, tmp_path: Path) -> None:
    saved(store, indexes)
    path = store.location.path
    assert path is not None
    store.close()
    for file in tmp_path.glob("photos.db*"):
        file.unlink()
    with Store.open(path) as new, opened(new, indexes) as gallery:
        assert not was_mapped(gallery)
        assert gallery.total == 0


def test_folder_that_cannot_be_written_to_does_no_harm(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        with opened(store, tmp_path / "file" / "indexes") as gallery:
            assert not was_mapped(gallery)
