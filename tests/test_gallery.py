"""The gallery: what a filter finds, in which order, how many there are of each, and what changes meanwhile."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phototag.gallery import Facets, Gallery, GalleryFilter, GallerySort
from phototag.gallery.folders import folder_key
from phototag.store.gallery import _footprint
from test_store import ROOSTER, TAXONOMY, failure, register, run_python, stored

from phototag.errors import StoreError, UsageError
from phototag.records import PhotoState, Rank, Source, Tag
from phototag.store import Store, StoredTag

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
    store.save_batch(
        model_id=register(store),
        tagged=library(count),
        failures=[failure(f"/photos/2023/lake/broken {number}.jpg") for number in range(6)],
    )
    for item in library(count)[::9]:
        store.set_human_tag(item.photo.path, superclass="bird", subclass="hawk")
    store.mark_missing([known.id for known in store.known_photos([Path("/photos/2024")])][::3])


@pytest.fixture(scope="module")
def gallery() -> Iterator[Gallery]:
    """A gallery that no test changes."""
    with Store.open("sqlite://") as store:
        with store.writing("tag"):
            fill(store)
        with Gallery(store) as opened:
            yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "photos.db") as opened:
        with opened.writing("tag"):
            fill(opened)
        yield opened


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


# ---- what a filter finds: against one written down plainly


@dataclass(frozen=True)
class Plain:
    """A photo, read by SQL that the gallery does not share."""

    id: int
    path: str
    label: tuple[str | None, str | None]
    rank: str | None
    score: float | None
    novelty: float | None
    source: str | None
    state: str
    modified_ns: int


def plain_photos(store: Store) -> list[Plain]:
    statement = (
        "SELECT id, path_text, superclass, subclass, rank, CASE WHEN source = 'human' THEN NULL "
        "WHEN rank = 'subclass' THEN subclass_score ELSE superclass_score END, novelty, source, state, "
        "modified_ns FROM photos LEFT JOIN tags ON photo_id = id"
    )
    with store._read() as connection:
        rows = connection.exec_driver_sql(statement).all()
    return [Plain(row[0], row[1], (row[2], row[3]), *row[4:]) for row in rows]


def is_wanted(photo: Plain, wanted: GalleryFilter) -> bool:
    low, high = wanted.min_score, wanted.max_score
    day = datetime.fromtimestamp(photo.modified_ns // NS).date()
    folder = wanted.folder is None or any(
        folder_key(os.fsencode(parent)) == wanted.folder for parent in Path(photo.path).parents
    )
    words = [word.casefold() for word in wanted.words]
    name = "/".join(part for part in photo.label if part)
    return (
        all(word in photo.path.casefold() or word in name.casefold() for word in words)
        and wanted.superclass in (None, photo.label[0])
        and wanted.subclass in (None, photo.label[1])
        and wanted.rank in (None, photo.rank)
        and wanted.source in (None, photo.source)
        and wanted.state in (None, photo.state)
        and (low is None or (photo.score is not None and photo.score >= low))
        and (high is None or (photo.score is not None and (photo.score < high or high == 1)))
        and (wanted.since is None or day >= wanted.since)
        and (wanted.until is None or day <= wanted.until)
        and folder
    )


DAYS = st.dates(date(2021, 12, 30), date(2025, 1, 2)) | st.sampled_from([date(2023, 3, 1), date.min, date.max])


@st.composite
def some_filters(draw: st.DrawFn) -> GalleryFilter:
    low, high = sorted(draw(st.sampled_from([0.0, 0.1, 0.3, 0.55, 0.9, 1.0])) for _ in range(2))
    since, until = sorted([draw(DAYS), draw(DAYS)])
    superclass = draw(st.sampled_from([None, None, "bird", "dog", "fish"]))
    folders = [*FOLDERS, "/photos/2023", "/photos/2024", "/nowhere"]
    return GalleryFilter(
        text=draw(st.sampled_from(["", "", "LAKE", "lake boats", '"lake 1"', "STRASSE", "zürich", "hawk", "%", "x y"])),
        superclass=superclass,
        subclass=draw(st.sampled_from([None, "hawk", "beagle"])) if superclass else None,
        rank=draw(st.sampled_from([None, None, *Rank])),
        min_score=draw(st.sampled_from([None, low])),
        max_score=draw(st.sampled_from([None, high])),
        source=draw(st.sampled_from([None, None, *Source])),
        state=draw(st.sampled_from([None, None, *PhotoState])),
        since=draw(st.sampled_from([None, since])),
        until=draw(st.sampled_from([None, until])),
        folder=draw(st.none() | st.sampled_from([folder_key(os.fsencode(folder)) for folder in folders])),
    )


def order_of(photo: Plain, sort: GallerySort) -> Any:
    return {
        GallerySort.DATE: photo.modified_ns,
        GallerySort.PATH: os.fsencode(photo.path),
        GallerySort.SCORE: photo.score,
        GallerySort.NOVELTY: photo.novelty,
        GallerySort.TAGGED: 0 if photo.rank is not None else None,
    }[sort]


def in_order(photos: Iterable[Plain], sort: GallerySort, *, descending: bool) -> list[int]:
    present = [photo for photo in photos if order_of(photo, sort) is not None]
    present.sort(key=lambda photo: (order_of(photo, sort), photo.id), reverse=descending)
    absent = sorted((photo.id for photo in photos if order_of(photo, sort) is None), reverse=descending)
    return [photo.id for photo in present] + absent


@given(
    wanted=some_filters(),
    sort=st.sampled_from([sort for sort in GallerySort if sort is not GallerySort.TAGGED]),
    descending=st.booleans(),
    limit=st.sampled_from([1, 7, 1000]),
)
@settings(deadline=None)
def test_pages_hold_the_wanted_photos_in_order(
    gallery: Gallery, wanted: GalleryFilter, sort: GallerySort, descending: bool, limit: int
) -> None:
    photos = [photo for photo in plain_photos(gallery._store) if is_wanted(photo, wanted)]
    expected = in_order(photos, sort, descending=descending)
    assert all_ids(gallery, wanted, sort=sort, descending=descending, limit=limit) == expected
    assert gallery.page(wanted).total == len(expected)


def choices(wanted: GalleryFilter, facets: Facets) -> Iterator[tuple[int, GalleryFilter]]:
    """Every count of the facets, and the filter whose photos it promises."""
    for superclass in facets.superclasses:
        only = replace(wanted, superclass=superclass.name, subclass=None)
        yield superclass.count, only
        for subclass in superclass.subclasses:
            yield subclass.count, replace(only, subclass=subclass.name)
    for rank in facets.ranks:
        yield rank.count, replace(wanted, rank=rank.value)
    for source in facets.sources:
        yield source.count, replace(wanted, source=source.value)
    for state in facets.states:
        yield state.count, replace(wanted, state=state.value)
    for band in facets.scores:
        yield band.count, replace(wanted, min_score=band.low, max_score=band.high)
    for period in [*facets.years, *(month for year in facets.years for month in year.months)]:
        yield period.count, replace(wanted, since=period.since, until=period.until)
    for folder in [*facets.folders, *facets.folder_path]:
        yield folder.count, replace(wanted, folder=folder.key)


@given(wanted=some_filters())
@settings(deadline=None)
def test_every_count_is_what_its_choice_shows(gallery: Gallery, wanted: GalleryFilter) -> None:
    facets = gallery.facets(wanted)
    assert facets.total == gallery.page(wanted).total
    for count, choice in choices(wanted, facets):
        assert gallery.page(choice, limit=1).total == count, choice


def test_counts_of_a_facet_leave_out_its_own_filter_only(gallery: Gallery) -> None:
    every = gallery.facets(GalleryFilter())
    birds = gallery.facets(GalleryFilter(superclass="bird"))
    assert birds.superclasses == every.superclasses
    assert sum(rank.count for rank in birds.ranks) == birds.total < every.total
    assert sum(rank.count for rank in every.ranks) + every.untagged == every.total == gallery.total
    assert every.untagged == 6, "the unreadable ones"
    assert [count.value for count in every.states] == list(PhotoState)
    assert [(band.low, band.high) for band in every.scores][2:4] == [(0.2, 0.3), (0.3, 0.4)]
    assert [year.year for year in every.years] == sorted((year.year for year in every.years), reverse=True)


def test_chosen_class_is_counted_though_nothing_has_it(gallery: Gallery) -> None:
    facets = gallery.facets(GalleryFilter(superclass="fish", subclass="cod"))
    fish = next(superclass for superclass in facets.superclasses if superclass.name == "fish")
    assert (fish.count, [(subclass.name, subclass.count) for subclass in fish.subclasses]) == (0, [("cod", 0)])


def test_counts_are_the_same_on_a_thousand_photos_taken_at_midnights_of_a_changing_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TZ", "America/Santiago")  # its clocks change at midnight
    time.tzset()
    try:
        starts = [datetime(2023, month, day).astimezone() for month in range(1, 13) for day in range(1, 29)]
        photos = [
            stored(f"/p/{number}-{off}.jpg", modified_ns=int(start.timestamp()) * NS + off)
            for number, start in enumerate(starts)
            for off in (-1, 0, 1)
        ]
        with Store.open("sqlite://") as store, store.writing("tag"):
            store.save_batch(model_id=register(store), tagged=photos)
            with Gallery(store) as gallery:
                for wanted in (GalleryFilter(), GalleryFilter(since=date(2023, 4, 2), until=date(2023, 9, 3))):
                    facets = gallery.facets(wanted)
                    for count, choice in choices(wanted, facets):
                        assert gallery.page(choice, limit=1).total == count
                    assert sum(year.count for year in facets.years) == len(photos)
    finally:
        monkeypatch.undo()
        time.tzset()


# ---- folders


def names_of(folders: Iterable[Any]) -> list[tuple[str, int]]:
    return [(folder.name, folder.count) for folder in folders]


def open_folders(paths: Iterable[str | bytes]) -> Store:
    store = Store.open("sqlite://")
    with store.writing("tag"):
        store.save_batch(model_id=register(store), tagged=[stored(path) for path in paths])
    return store


def test_folders_are_chosen_step_by_step_and_lone_ones_are_passed_over() -> None:
    paths = ["/home/me/a/x/y/1.jpg", "/home/me/a/x/y/2.jpg", "/home/me/a/z/3.jpg", "/home/me/b/c/4.jpg"]
    with open_folders(paths) as store, Gallery(store) as gallery:
        top = gallery.facets(GalleryFilter())
        assert (names_of(top.folder_path), names_of(top.folders)) == ([], [("a", 3), ("b/c", 1)])
        assert [folder.has_folders for folder in top.folders] == [True, False]
        inside = gallery.facets(GalleryFilter(folder=top.folders[0].key))
        assert (names_of(inside.folder_path), names_of(inside.folders)) == ([("a", 3)], [("x/y", 2), ("z", 1)])
        deepest = gallery.facets(GalleryFilter(folder=inside.folders[0].key))
        assert (names_of(deepest.folder_path), names_of(deepest.folders)) == ([("a", 3), ("x/y", 2)], [])
        assert deepest.total == 2
        above = gallery.facets(GalleryFilter(folder=folder_key(b"/home")))
        assert (names_of(above.folder_path), above.total) == ([("/home", 4)], 4)
        nowhere = gallery.facets(GalleryFilter(folder=folder_key(b"/nowhere")))
        assert (nowhere.total, names_of(nowhere.folders)) == (0, [("a", 3), ("b/c", 1)])


def test_folder_that_sorts_between_another_and_its_children_is_not_mistaken_for_one() -> None:
    with (
        open_folders(["/p/a-b/1.jpg", "/p/a/2.jpg", "/p/a/b/3.jpg", "/p/ab/4.jpg"]) as store,
        Gallery(store) as gallery,
    ):
        assert names_of(gallery.facets(GalleryFilter()).folders) == [("a", 2), ("a-b", 1), ("ab", 1)]
        assert gallery.page(GalleryFilter(folder=folder_key(b"/p/a"))).total == 2


def test_photos_at_the_very_top_and_in_two_trees_are_found() -> None:
    with open_folders(["/1.jpg", "/a/2.jpg", "/b/3.jpg"]) as store, Gallery(store) as gallery:
        facets = gallery.facets(GalleryFilter())
        assert (facets.total, names_of(facets.folders)) == (3, [("/a", 1), ("/b", 1)])


def test_empty_library_shows_nothing_and_breaks_nothing() -> None:
    with Store.open("sqlite://") as store, Gallery(store) as gallery:
        page = gallery.page(GalleryFilter(text="x"))
        assert (gallery.total, page.items, page.total, page.after) == (0, (), 0, None)
        facets = gallery.facets(GalleryFilter(folder="0" * 16, since=date(2020, 1, 1)))
        assert (facets.total, facets.years, facets.folders, facets.superclasses) == (0, (), (), ())
        assert gallery.around(GalleryFilter(), photo_id=1).place is None
        assert gallery.items([1, -5, 2**70]) == ()
        assert gallery.photo(1) is gallery.photo(-1) is gallery.photo(2**70) is None
        assert gallery.similar(1) == ()


# ---- searching


def test_search_knows_no_case_and_no_difference_between_ways_to_write_an_accent() -> None:
    paths = ["/p/Caf\u0065\u0301.jpg", "/p/STRASSE.jpg", "/p/ΣΟΦΟΣ.jpg", b"/p/\xff\xfe.jpg", "/p/Größe 50%.jpg"]
    with open_folders(paths) as store, Gallery(store) as gallery:

        def found(text: str) -> list[int]:
            return all_ids(gallery, GalleryFilter(text=text), sort=GallerySort.PATH, descending=False)

        numbers = {os.fsencode(path): item.id for path, item in zip(paths, gallery.items(range(1, 6)), strict=True)}
        assert found("CAFÉ") == [numbers[os.fsencode(paths[0])]]
        assert found("straße") == found("Strasse") == [numbers[b"/p/STRASSE.jpg"]]
        assert found("σοφος") == [numbers[os.fsencode(paths[2])]]
        assert found("\ufffd") == found("\udcff") == [numbers[b"/p/\xff\xfe.jpg"]]
        assert found("50% größe") == [numbers[os.fsencode(paths[4])]]
        assert len(found("rooster .JPG")) == 5, "names of the tag count, and so does the path"
        assert len(found("bird/rooster")) == 5
        assert found("jpg/p") == [], "no word runs on from one path into the next"
        assert found("nowhere\0") == []


@given(words=st.lists(st.text(st.sampled_from("abAB /"), min_size=1, max_size=3), max_size=2))
@settings(deadline=None)
def test_search_finds_what_a_plain_search_finds(words: list[str]) -> None:
    paths = ["/" + "".join(letters) for letters in itertools.product("abA", repeat=4)]
    wanted = GalleryFilter(text=" ".join(f'"{word}"' for word in words))
    expected = [path for path in paths if all(word.lower() in path.lower() for word in wanted.words)]
    text = _texts(tuple(paths))
    found = [path for place, path in enumerate(paths) if all(text.holds(word)[place] for word in wanted.words)]
    assert found == expected


def _texts(paths: tuple[str, ...]) -> Any:
    from phototag.gallery.search import PathText

    return PathText([path.encode() for path in paths])


# ---- names that mean harm


def test_names_are_shown_so_that_they_can_do_nothing() -> None:
    names = ["<script>alert(1)</script>.jpg", "a\nb.jpg", "a\u202egpj.exe", "tab\t\x1b[31m.jpg"]
    with open_folders([f"/p/{name}" for name in names[1:]] + [f"/p/x{names[0].replace('/', '_')}"]) as store:
        with store.writing("tag"):
            store.save_batch(model_id=1, tagged=[stored(b"/p/caf\xe9.jpg")])
        with Gallery(store) as gallery:
            shown = [item.name for item in gallery.items(range(1, 6))]
            assert shown == ["a?b.jpg", "a?gpj.exe", "tab??[31m.jpg", "x<script>alert(1)<_script>.jpg", "caf\ufffd.jpg"]
            for name in shown:
                name.encode()


# ---- pages


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
            # Also the very photo that the cursor stands at.
            gone = [*dice.sample(before, 4), page.items[-1].id]
            removed.update(gone)
            turn += 1
            with store._write() as connection:
                connection.exec_driver_sql(f"DELETE FROM photos WHERE id IN ({','.join(map(str, gone))})")
            store.save_batch(model_id=1, tagged=library(5, seed=turn, first=1000 * turn))
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


# ---- following what is written


def test_refresh_shows_what_was_written(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        for sort in GallerySort:
            all_ids(gallery, sort=sort)  # what is kept of these must not outlive a change
        item = gallery.items([5])[0]
        version = gallery.version
        known = store.find(5)
        assert known is not None
        with gallery.writing("serve") as writer:
            writer.set_human_tag(known.path, superclass="fish", subclass="cod")
            assert gallery.items([5]) == (item,), "a snapshot stays as it is"
            gallery.refresh([5])
        (fresh,) = gallery.items([5])
        assert (fresh.superclass, fresh.subclass, fresh.source, fresh.score) == ("fish", "cod", Source.HUMAN, None)
        assert gallery.version != version
        wanted = GalleryFilter(superclass="fish", subclass="cod")
        assert all_ids(gallery, wanted) == [5]
        assert all_ids(gallery, GalleryFilter(text="COD")) == [5]
        same = Gallery(store)
        for sort in GallerySort:
            assert all_ids(gallery, sort=sort) == all_ids(same, sort=sort)
        assert gallery.facets(wanted) == same.facets(wanted)
        same.close()
        version = gallery.version
        gallery._following._catch_up()
        assert gallery.version == version, "what was written inside is known, and not read again"


def test_refresh_shows_photos_that_came_and_forgets_those_that_went(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery, store.writing("tag"):
        total = gallery.total
        with store._write() as connection:
            connection.exec_driver_sql("DELETE FROM photos WHERE id = 5")
        gallery.refresh([5, 10**6])
        assert (gallery.total, gallery.items([5])) == (total - 1, ())
        store.save_batch(model_id=1, tagged=[stored("/elsewhere/new.jpg")])
        (known,) = store.known_at([Path("/elsewhere/new.jpg")])
        gallery.refresh([known.id])
        assert gallery.total == total
        assert gallery.items([known.id])[0].name == "new.jpg"
        assert all_ids(gallery, GalleryFilter(text="elsewhere", folder=folder_key(b"/elsewhere"))) == [known.id]


def test_writes_of_others_are_seen_though_own_ones_come_between(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery, Store.open(store.path) as other:
        with other.writing("watch"):
            other.save_batch(model_id=1, tagged=library(5, seed=9, first=9000))
        with gallery.writing("serve") as writer:
            known = writer.find(5)
            assert known is not None
            writer.set_human_tag(known.path, superclass="dog")
            gallery.refresh([5])
        total = gallery.total
        gallery._following._catch_up()
        assert gallery.total == total + 5


def test_own_write_during_a_reload_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        known = store.find(5)
        assert known is not None
        with Store.open(store.path) as other, other.writing("watch"):
            other.save_batch(model_id=1, tagged=library(5, seed=9, first=9000))
        load = gallery._following._load

        def slow_load(before: Any) -> Any:
            loaded = load(before)
            with gallery.writing("serve") as writer:
                writer.set_human_tag(known.path, superclass="fish", subclass="cod")
                gallery.refresh([5])
            return loaded

        monkeypatch.setattr(gallery._following, "_load", slow_load)
        total = gallery.total
        gallery._following._catch_up()
        assert gallery.total == total + 5
        assert gallery.items([5])[0].subclass == "cod"


def test_what_another_process_writes_shows_by_itself(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from phototag.store import Store; from test_gallery import library\n"
        "with Store.open(sys.argv[1]) as store, store.writing('tag'):\n"
        "    store.save_batch(model_id=1, tagged=library(7, seed=5, first=5000))\n"
    )
    with Gallery(store, poll_seconds=0.05) as gallery:
        total = gallery.total
        process = run_python(code, store.path)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        deadline = time.monotonic() + 30
        while gallery.total != total + 7:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_database_that_takes_the_place_of_another_is_noticed(store: Store, tmp_path: Path) -> None:
    assert store.path is not None
    with Store.open(tmp_path / "other.db") as other, other.writing("tag"):
        other.save_batch(model_id=register(other), tagged=library(9, seed=8))
    with Gallery(store, poll_seconds=3600) as gallery:
        before, keys, signs = gallery.total, {store.file_key}, [gallery.sign()]
        assert gallery.sign() == signs[0]
        for end in ("-wal", "-shm"):  # they belong to the file that goes
            store.path.with_name(store.path.name + end).unlink(missing_ok=True)
        (tmp_path / "other.db").replace(store.path)
        signs.append(gallery.sign())
        gallery._following._catch_up()
        assert before != gallery.total == 9
        with gallery.writing("serve") as writer:
            writer.mark_missing([3])
            gallery.refresh([3])
        assert gallery.items([3])[0].state is PhotoState.MISSING
        signs.append(gallery.sign())
        assert len({*keys, store.file_key}) == 2
        assert len({str(sign) for sign in signs}) == 3


def test_gallery_serves_what_it_has_when_the_database_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        before = all_ids(gallery)
        with closing(sqlite3.connect(store.path or "")) as connection:
            connection.execute("PRAGMA ignore_check_constraints=ON")
            connection.execute("UPDATE photos SET state = 'nonsense' WHERE id = 5")
            connection.commit()
        with pytest.raises(StoreError, match="phototag db check"):
            gallery._following._catch_up()
        assert all_ids(gallery) == before
        with closing(sqlite3.connect(store.path or "")) as connection:
            connection.execute("UPDATE photos SET state = 'missing' WHERE id = 5")
            connection.commit()
        gallery._following._catch_up()
        assert gallery.items([5])[0].state is PhotoState.MISSING


def test_threads_that_read_while_another_refreshes_see_whole_snapshots(store: Store) -> None:
    wrong: list[str] = []
    done = threading.Event()
    with Gallery(store, poll_seconds=0.01) as gallery:
        known = store.find(5)
        assert known is not None

        def look() -> None:
            while not done.is_set():
                ids = all_ids(gallery, limit=40, sort=GallerySort.PATH)
                if len(set(ids)) != gallery.total:
                    wrong.append(f"{len(set(ids))} of {gallery.total}")
                counts = gallery.facets(GalleryFilter())
                if sum(rank.count for rank in counts.ranks) + counts.untagged != counts.total:
                    wrong.append("counts")

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(30):
            with gallery.writing("serve") as writer:
                writer.set_human_tag(known.path, superclass="fish", subclass=f"cod {number}")
                gallery.refresh([5])
        done.set()
        for thread in threads:
            thread.join(30)
        assert gallery.items([5])[0].subclass == "cod 29"
    assert wrong == []


def test_closing_ends_the_thread_and_leaves_the_store_open(store: Store) -> None:
    gallery = Gallery(store, poll_seconds=0.01)
    gallery.close()
    gallery.close()
    assert not gallery._following._thread.is_alive()
    assert store.find(1) is not None


def test_signs_of_other_databases_change_with_tags_states_and_undone_reviews(store: Store) -> None:
    def sign() -> list[Any]:
        with store._read() as connection:
            return [tuple(row) for row in _footprint(connection)]

    seen = [sign()]
    with store.writing("tag"):
        store.save_batch(model_id=1, tagged=[stored("/photos/new.jpg", ROOSTER)])
        seen.append(sign())
        store.mark_missing([1, 2, 4])
        seen.append(sign())
    assert len({str(each) for each in seen}) == 3


def test_gallery_needs_no_torch() -> None:
    code = "import phototag.gallery, sys; assert 'torch' not in sys.modules and 'starlette' not in sys.modules"
    process: subprocess.Popen[str] = run_python(code)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
