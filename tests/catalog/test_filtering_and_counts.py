"""What a filter finds and in which order, and how many there are of each: against one written down plainly."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.facets.by_text import words_of
from phototag.catalog.facets.facet import Choice, Group
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.folders import folder_key
from phototag.records import PhotoState, Rank, Source
from phototag.store import Store
from tests.support.catalog_photos import FOLDERS, NS, all_ids
from tests.support.stored_photos import register, stored


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
        "WHEN rank = 'subclass' THEN subclass_score ELSE superclass_score END, "
        "CASE WHEN source = 'model' THEN novelty END, source, state, "
        "modified_ns FROM photos LEFT JOIN tags ON photo_id = id"
    )
    with store._database.read() as connection:
        rows = connection.exec_driver_sql(statement).all()
    return [Plain(row[0], row[1], (row[2], row[3]), *row[4:]) for row in rows]


def is_wanted(photo: Plain, wanted: GalleryFilter) -> bool:
    low, high, since, until = (wanted.get(name) for name in ("min_score", "max_score", "since", "until"))
    day = datetime.fromtimestamp(photo.modified_ns // NS).date()
    folder = "folder" not in wanted or any(
        folder_key(os.fsencode(parent)) == wanted["folder"] for parent in Path(photo.path).parents
    )
    words = [word.casefold() for word in words_of(wanted.get("text", ""))]
    name = "/".join(part for part in photo.label if part)
    return (
        all(word in photo.path.casefold() or word in name.casefold() for word in words)
        and wanted.get("superclass") in (None, photo.label[0])
        and wanted.get("subclass") in (None, photo.label[1])
        and wanted.get("rank") in (None, photo.rank)
        and wanted.get("source") in (None, photo.source)
        and (photo.state != PhotoState.MISSING if "state" not in wanted else photo.state == wanted["state"])
        and (low is None or (photo.score is not None and photo.score >= low))
        and (high is None or (photo.score is not None and (photo.score < high or high == 1)))
        and (since is None or day >= since)
        and (until is None or day <= until)
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
        GallerySort.TAKEN: None,  # these files say nothing
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


def choices(wanted: GalleryFilter, groups: Iterable[Group]) -> Iterator[tuple[int, GalleryFilter]]:
    """Every count of the facets, and the filter whose photos it promises."""

    def walk(group: Group, found: Iterable[Choice]) -> Iterator[tuple[int, GalleryFilter]]:
        for choice in found:
            # The link of a chosen one takes it back; its number is that of the photos it shows now.
            if choice.count is not None and not choice.chosen:
                yield choice.count, wanted.but(**{**dict.fromkeys(group.facet.params), **choice.to})
            yield from walk(group, choice.below)

    for group in groups:
        yield from walk(group, group.choices)


@given(wanted=some_filters())
@settings(deadline=None)
def test_every_count_is_what_its_choice_shows(gallery: Gallery, wanted: GalleryFilter) -> None:
    facets = gallery.facets(wanted)
    assert facets.total == gallery.page(wanted).total
    for count, choice in choices(wanted, facets.groups.values()):
        assert gallery.page(choice, limit=1).total == count, choice


def total(group: Group) -> int:
    return sum(choice.count or 0 for choice in group.choices)


def test_counts_of_a_facet_leave_out_its_own_filter_only(gallery: Gallery) -> None:
    every = gallery.facets(GalleryFilter())
    birds = gallery.facets(GalleryFilter(superclass="bird"))
    assert total(birds.groups["class"]) == total(every.groups["class"])
    assert total(birds.groups["rank"]) == birds.total < every.total == gallery.total
    assert every.total - total(every.groups["rank"]) == 6, "the unreadable ones have no tag"
    assert total(every.groups["state"]) > every.total, "the missing ones are counted where they can be asked for"
    assert [choice.to["state"] for choice in every.groups["state"].choices] == list(PhotoState)
    bands = [(band.to["min_score"], band.to["max_score"]) for band in every.groups["score"].choices]
    assert bands[2:4] == [(0.2, 0.3), (0.3, 0.4)]
    years = [choice.label for choice in every.groups["date"].choices]
    assert years == sorted(years, reverse=True)


def test_chosen_class_is_counted_though_nothing_has_it(gallery: Gallery) -> None:
    group = gallery.facets(GalleryFilter(superclass="fish", subclass="cod")).groups["class"]
    fish = next(choice for choice in group.choices if choice.label == "fish")
    assert (fish.count, [(child.label, child.count) for child in fish.below]) == (0, [("cod", 0)])


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
            store.tags.save_batch(model_id=register(store), tagged=photos)
            with Gallery(store) as gallery:
                for wanted in (GalleryFilter(), GalleryFilter(since=date(2023, 4, 2), until=date(2023, 9, 3))):
                    facets = gallery.facets(wanted)
                    for count, choice in choices(wanted, facets.groups.values()):
                        assert gallery.page(choice, limit=1).total == count
                    assert total(facets.groups["date"]) == len(photos)
    finally:
        monkeypatch.undo()
        time.tzset()
