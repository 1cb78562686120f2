"""What files say of themselves in the database: saved with the tag, replaced with it, and gone with another content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from phototag.records import CaptureFacts
from phototag.store import Capture, Store
from tests.support.stored_photos import failure, register, stored

FACTS = CaptureFacts(datetime(2026, 5, 3, 14, 22, 1, 250_000), 120, "Nikon D850", "6012", "50mm", 52.5, 13.4, 4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "photos.db") as opened, opened.writing("test"):
        yield opened


def save(store: Store, facts: CaptureFacts = FACTS, keywords: tuple[str, ...] = ("bird|hawk", "Anna")) -> int:
    item = replace(stored("/p/a.jpg"), capture=Capture(1, facts, keywords))
    store.tags.save_batch(model_id=register(store), tagged=[item])
    known = store.photos.find(Path("/p/a.jpg"))
    assert known is not None
    return known.id


def test_facts_and_keywords_are_saved_with_the_tag_and_replaced_with_it(store: Store) -> None:
    number = save(store)
    assert store.captures.of_photo(number) == Capture(1, FACTS, ("Anna", "bird|hawk"))
    assert save(store, CaptureFacts(rating=0), ()) == number
    assert store.captures.of_photo(number) == Capture(1, CaptureFacts(rating=0), ())
    assert store.captures.of_photo(99) is None


def test_broken_new_content_forgets_the_facts_of_the_old_one(store: Store) -> None:
    number = save(store)
    store.tags.save_batch(model_id=register(store), tagged=[], failures=[failure("/p/a.jpg", content="/p/a.jpg")])
    assert store.captures.of_photo(number) is not None
    store.tags.save_batch(model_id=register(store), tagged=[], failures=[failure("/p/a.jpg", content="other")])
    assert store.captures.of_photo(number) is None


def test_facts_of_a_file_that_changed_meanwhile_are_not_saved(store: Store) -> None:
    number = save(store)
    store.captures.save({number: Capture(2, CaptureFacts()), 99: Capture(1, FACTS)})
    assert store.captures.of_photo(number) == Capture(1, FACTS, ("Anna", "bird|hawk"))
    store.captures.save({number: Capture(1, CaptureFacts(camera="Box"))})
    assert store.captures.of_photo(number) == Capture(1, CaptureFacts(camera="Box"))
