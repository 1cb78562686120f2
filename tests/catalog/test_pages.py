"""Pages and cursors: every photo once, whatever comes and goes meanwhile."""

from __future__ import annotations

import base64
import itertools
import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.filters import GalleryFilter
from phototag.errors import UsageError
from phototag.store import Store
from tests.support.catalog_photos import all_ids, library


def test_page_by_place_goes_on_where_a_cursor_does(gallery: Gallery) -> None:
    first = gallery.page(GalleryFilter(), limit=50)
    assert (first.start, len(first.items), first.total) == (0, 50, gallery.total)
    assert first.after is not None
    second = gallery.page(GalleryFilter(), limit=50, after=first.after)
    assert second.start == 50
    assert second == gallery.page(GalleryFilter(), limit=50, start=50)
    behind = gallery.page(GalleryFilter(), start=10**6)
    assert (behind.items, behind.after, behind.total) == ((), None, gallery.total)
    last = gallery.page(GalleryFilter(), start=gallery.total - 3, limit=3)
    assert (len(last.items), last.after) == (3, None)


@pytest.mark.parametrize("after", ["", "x", "W10", "e30", "WzEsMl0", "\u00e9", "A" * 10_000, "W1tbW1tbW1tb"])
def test_cursor_that_is_none_is_refused(gallery: Gallery, after: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        gallery.page(GalleryFilter(), after=after)


@given(
    values=st.tuples(
        st.sampled_from(GallerySort),
        st.booleans(),
        st.booleans() | st.none(),
        st.integers() | st.just(10**400) | st.floats() | st.text() | st.lists(st.integers()),
        st.integers() | st.text() | st.just(2**80),
    )
)
@settings(deadline=None)
def test_cursor_that_somebody_made_up_gives_a_page_or_is_refused(gallery: Gallery, values: tuple[Any, ...]) -> None:
    after = base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
    with suppress(UsageError):
        page = gallery.page(GalleryFilter(), sort=values[0], descending=values[1], after=after)
        assert 0 <= page.start <= page.total


def test_cursor_of_another_order_is_refused(gallery: Gallery) -> None:
    cursors = {}
    for sort, descending in itertools.product(GallerySort, (True, False)):
        cursors[sort, descending] = gallery.page(GalleryFilter(), sort=sort, descending=descending, limit=3).after
    for (order, cursor), other in itertools.product(cursors.items(), cursors):
        if order != other:
            with pytest.raises(UsageError, match="cursor"):
                gallery.page(GalleryFilter(), sort=other[0], descending=other[1], after=cursor)


def test_senseless_pages_are_refused(gallery: Gallery) -> None:
    for wrong in ({"limit": 0}, {"limit": 10**6}, {"after": "x", "start": 3}):
        with pytest.raises(UsageError):
            gallery.page(GalleryFilter(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("sort", GallerySort)
@pytest.mark.parametrize("descending", [True, False])
def test_photos_that_come_and_go_between_pages_move_no_other(store: Store, sort: GallerySort, descending: bool) -> None:
    dice = random.Random(3)
    with Gallery(store, poll_seconds=3600) as gallery, store.writing("tag"):
        before = all_ids(gallery, sort=sort, descending=descending)
        removed: set[int] = set()
        seen: list[int] = []
        after, turn = None, 0
        while True:
            page = gallery.page(GalleryFilter(), sort=sort, descending=descending, after=after, limit=11)
            seen += [item.id for item in page.items]
            after = page.after
            if after is None:
                break
            assert turn < 100, "a cursor leads back"
            # Also the very photo that the cursor stands at; but not the newest, whose number would be given again.
            newest = int(gallery.snapshot.columns.id[-1])
            gone = [each for each in (*dice.sample(before, 4), page.items[-1].id) if each != newest]
            removed.update(gone)
            turn += 1
            with store._database.write() as connection:
                connection.exec_driver_sql(f"DELETE FROM photos WHERE id IN ({','.join(map(str, gone))})")
            store.tags.save_batch(model_id=1, tagged=library(5, seed=turn, first=1000 * turn))
            gallery.refresh(gone)
    assert len(seen) == len(set(seen)), "no photo comes twice"
    assert set(before) - removed <= set(seen), "none is left out"
    order = {photo_id: place for place, photo_id in enumerate(before)}
    known = [order[photo_id] for photo_id in seen if photo_id in order]
    assert known == sorted(known)


def test_photos_around_lead_through_the_whole_result_both_ways(gallery: Gallery) -> None:
    wanted = GalleryFilter(superclass="bird")
    ids = all_ids(gallery, wanted, sort=GallerySort.SCORE)
    for place, photo_id in enumerate(ids):
        found = gallery.around(wanted, sort=GallerySort.SCORE, photo_id=photo_id)
        assert (found.place, found.total) == (place, len(ids))
        assert found.previous == (ids[place - 1] if place else None)
        assert found.next == (ids[place + 1] if place + 1 < len(ids) else None)
    others = set(all_ids(gallery)) - set(ids)
    for photo_id in [*others, 10**9, -1]:
        found = gallery.around(wanted, sort=GallerySort.SCORE, photo_id=photo_id)
        assert (found.place, found.previous, found.next, found.total) == (None, None, None, len(ids))
