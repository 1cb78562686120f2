"""The gallery by what files say of themselves: when taken, camera and keyword, in that order, and bursts as stacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.facets.facet import Choice
from phototag.catalog.filters import GalleryFilter
from phototag.errors import UsageError
from phototag.records import CaptureFacts
from phototag.store import Capture, Store
from tests.support.stored_photos import register, stored

START = datetime(2026, 5, 3, 14, 22, 1)
# Name, seconds after the start, serial number of the camera, keywords.
PHOTOS = [
    ("b1", 0.0, "1", ("animal|bird",)),
    ("b2", 0.3, "1", ("animal|bird", "Anna")),
    ("b3", 2.5, "1", ()),
    ("other", 1.0, "2", ()),
    ("later", 30.0, "1", ()),
    ("june", 86_400 * 40.0, "1", ()),
    ("undated", None, "1", ()),
    ("nothing", None, None, ()),
]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    items = []
    for name, seconds, serial, keywords in PHOTOS:
        taken = None if seconds is None else START + timedelta(seconds=seconds)
        facts = CaptureFacts(taken, camera=None if serial is None else "Box", camera_serial=serial)
        items.append(replace(stored(f"/p/{name}"), capture=Capture(1, facts, keywords)))
    with Store.open(tmp_path_factory.mktemp("captures") / "photos.db") as store:
        with store.writing("test"):
            store.tags.save_batch(model_id=register(store), tagged=items)
        with Gallery(store) as opened:
            yield opened


def names(gallery: Gallery, *, sort: GallerySort = GallerySort.TAKEN, **wanted: object) -> list[str]:
    return [item.name for item in gallery.page(GalleryFilter(**wanted), sort=sort, descending=False).items]


def choices(gallery: Gallery, facet: str, **wanted: object) -> dict[str, int | None]:
    found: dict[str, int | None] = {}

    def add(some: tuple[Choice, ...]) -> None:
        for choice in some:
            found[choice.label] = choice.count
            add(tuple(choice.below))

    add(tuple(gallery.facets(GalleryFilter(**wanted)).groups[facet].choices))
    return found


def test_photos_are_in_the_order_in_which_they_were_taken_and_undated_ones_last(gallery: Gallery) -> None:
    assert names(gallery) == ["b1", "b2", "other", "b3", "later", "june", "undated", "nothing"]
    first = gallery.page(GalleryFilter(), sort=GallerySort.TAKEN, limit=3)
    assert [item.name for item in first.items] == ["june", "later", "b3"]
    rest = gallery.page(GalleryFilter(), sort=GallerySort.TAKEN, after=first.after)
    assert [item.name for item in rest.items] == ["other", "b2", "b1", "nothing", "undated"]


def test_facets_find_and_count_by_month_camera_and_keyword(gallery: Gallery) -> None:
    assert choices(gallery, "taken") == {"2026": 6, "June": 1, "May": 5}
    assert names(gallery, taken="2026-06") == ["june"]
    assert choices(gallery, "camera", taken="2026-05") == {"Box": 5}
    assert names(gallery, camera="Box", taken="2026-05-03T14:22:02..2026-05-03T14:22:10") == ["other", "b3"]
    assert choices(gallery, "keyword") == {"animal|bird": 2, "Anna": 1}
    assert names(gallery, keyword="BIRD") == ["b1", "b2"]
    assert [chip.label for chip in gallery.facets(GalleryFilter(taken="2026-06")).chips] == ["June 2026"]
    with pytest.raises(UsageError, match="no time when photos were taken"):
        GalleryFilter(taken="soon")


def test_bursts_are_stacks_of_one_camera_that_open_to_their_photos(gallery: Gallery) -> None:
    page = gallery.page(GalleryFilter(), sort=GallerySort.TAKEN, descending=False, stacked=True)
    assert [(item.name, item.stack) for item in page.items][:3] == [("b1", 3), ("other", 1), ("later", 1)]
    assert (page.total, page.photos) == (6, 8)
    cover = page.items[0].id
    assert names(gallery, burst=cover) == ["b1", "b2", "b3"]
    assert names(gallery, burst=99) == []
    # Of what is wanted only: the stack is smaller, and another photo may be on top.
    narrowed = gallery.page(GalleryFilter(keyword="Anna"), stacked=True)
    assert [(item.name, item.stack) for item in narrowed.items] == [("b2", 1)]
    inner = gallery.page(GalleryFilter(burst=cover), sort=GallerySort.TAKEN, descending=False).items[2].id
    around = gallery.around(GalleryFilter(), sort=GallerySort.TAKEN, descending=False, photo_id=inner, stacked=True)
    assert (around.place, around.tile) == (3, 0)


def test_stacks_follow_what_is_written(gallery: Gallery, tmp_path: Path) -> None:
    items = gallery.page(GalleryFilter(), stacked=True).total
    gallery.refresh([1, 2])
    assert gallery.page(GalleryFilter(), stacked=True).total == items
