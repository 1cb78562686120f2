"""Filters of the gallery: they survive a query string, and rubbish is refused."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.catalog.facets.by_text import words_of
from phototag.catalog.facets.facet_list import FACETS
from phototag.catalog.filters import GalleryFilter
from phototag.errors import UsageError
from phototag.records import PhotoState, Rank, Source

NAMES = st.none() | st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(lambda name: name.strip())


@st.composite
def filters(draw: st.DrawFn) -> GalleryFilter:
    superclass = draw(NAMES)
    low, high = sorted([draw(st.floats(0, 1)), draw(st.floats(0, 1))])
    since, until = sorted([draw(st.dates()), draw(st.dates())])
    return GalleryFilter(
        text=draw(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not text or text.strip())),
        superclass=superclass,
        subclass=None if superclass is None else draw(NAMES),
        rank=draw(st.none() | st.sampled_from(Rank)),
        min_score=draw(st.sampled_from([None, low])),
        max_score=draw(st.sampled_from([None, high])),
        source=draw(st.none() | st.sampled_from(Source)),
        state=draw(st.none() | st.sampled_from(PhotoState)),
        since=draw(st.sampled_from([None, since])),
        until=draw(st.sampled_from([None, until])),
        folder=draw(st.none() | st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
    )


@given(wanted=filters())
def test_filter_survives_a_query_string(wanted: GalleryFilter) -> None:
    params = wanted.to_params()
    assert GalleryFilter.from_params(params) == wanted
    assert GalleryFilter.from_params(dict(parse_qsl(urlencode(params), keep_blank_values=True))) == wanted


def test_names_of_classes_are_composed_as_those_of_photos_are() -> None:
    old = {"superclass": "v\u006f\u0308gel", "subclass": "mo\u0308nch"}
    assert GalleryFilter.from_params(old) == GalleryFilter(superclass="v\u00f6gel", subclass="m\u00f6nch")
    assert GalleryFilter(**old).to_params() == {"superclass": "v\u00f6gel", "subclass": "m\u00f6nch"}


def test_filter_that_asks_for_nothing_has_no_params() -> None:
    assert GalleryFilter().to_params() == {}
    assert GalleryFilter.from_params({}) == GalleryFilter()
    empty = {"text": " ", "rank": "", "min_score": "", "since": "", "sort": "date", "after": "x"}
    assert GalleryFilter.from_params(empty) == GalleryFilter(), "an empty form and foreign names ask for nothing"


@pytest.mark.parametrize(
    "params",
    [
        {"subclass": "hawk"},
        {"rank": "genus"},
        {"source": "cat"},
        {"state": "OK"},
        {"min_score": "high"},
        {"min_score": "nan"},
        {"max_score": "inf"},
        {"min_score": "-0.1"},
        {"max_score": "1.1"},
        {"min_score": "0.9", "max_score": "0.1"},
        {"since": "yesterday"},
        {"until": "2024-13-01"},
        {"since": "2024-02-02", "until": "2024-02-01"},
        {"folder": "../etc"},
        {"folder": "0123456789ABCDEF"},
        {"folder": "0123456789abcdef\n"},
        {"text": "x" * 1001},
        {"superclass": "x" * 1001},
    ],
)
def test_rubbish_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        GalleryFilter.from_params(params)


@given(params=st.dictionaries(st.sampled_from([name for facet in FACETS.values() for name in facet.params]), st.text()))
def test_whatever_a_query_string_holds_gives_a_filter_or_a_usage_error(params: dict[str, str]) -> None:
    try:
        wanted = GalleryFilter.from_params(params)
    except UsageError:
        return
    assert GalleryFilter.from_params(wanted.to_params()) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  red   car ", ("red", "car")),
        ('"red car" blue', ("red car", "blue")),
        ('lake"of the"moon', ("lake", "of the", "moon")),
        ('half "open quote', ("half", "open quote")),
        ('"" " " \'', ("'",)),
        ("twice twice", ("twice",)),
    ],
)
def test_words_are_parted_at_blanks_and_held_together_by_quotes(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


def test_unknown_parameter_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="colour"):
        GalleryFilter(colour="red")


def test_equal_filters_are_one_key() -> None:
    one, other = GalleryFilter(rank=Rank.NONE, text="x"), GalleryFilter.from_params({"text": "x", "rank": "none"})
    assert one == other
    assert len({one, other, one.but(text=None)}) == 2


def test_dates_are_written_as_days() -> None:
    wanted: Any = GalleryFilter(since=date(2024, 2, 29), min_score=0.1)
    assert wanted.to_params() == {"since": "2024-02-29", "min_score": "0.1"}
