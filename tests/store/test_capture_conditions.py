"""Photos found by when, where and with what they were taken, and by the keywords in their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from phototag.database.great_circle import great_circle_km
from phototag.errors import UsageError
from phototag.records import CaptureFacts
from phototag.store import Capture, Query, Store
from phototag.store.capture_conditions import taken_range
from tests.support.stored_photos import paths, register, stored

PHOTOS: dict[str, tuple[CaptureFacts, tuple[str, ...]]] = {
    "a": (CaptureFacts(datetime(2026, 4, 30, 23, 59, 59, 999_000), camera="Nikon D850"), ("animal|bird|Robin",)),
    "b": (CaptureFacts(datetime(2026, 5, 1), 120, "Apple iPhone 12", latitude=52.52, longitude=13.40), ("Anna",)),
    "c": (CaptureFacts(datetime(2026, 6, 30, 23, 59, 59, 500_000), camera="NIKON Z 6"), ("bird", "CAFE\u0301")),
    "d": (CaptureFacts(datetime(2026, 7, 1), latitude=-16.5, longitude=179.9), ("robin redbreast",)),
    "e": (CaptureFacts(latitude=-16.5, longitude=-179.9), ()),
    "f": (CaptureFacts(latitude=89.9, longitude=-100.0), ("100%|a_b",)),
    "g": (CaptureFacts(), ()),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("facts") / "photos.db") as opened, opened.writing("test"):
        items = [
            replace(stored(f"/p/{name}"), capture=Capture(1, facts, words)) for name, (facts, words) in PHOTOS.items()
        ]
        opened.tags.save_batch(model_id=register(opened), tagged=items)
        yield opened


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"taken": "2026-05..2026-06"}, "bc"),
        ({"taken": "2026-05"}, "b"),
        ({"taken": "2026-04-30"}, "a"),
        ({"taken": "2026"}, "abcd"),
        ({"taken": "2026-06-30T23:59:59.."}, "cd"),
        ({"taken": "2026-06-30T23:59"}, "c"),
        ({"taken": "..2026-04"}, "a"),
        ({"taken": "9999"}, ""),
        ({"camera": "nikon"}, "ac"),
        ({"camera": ("IPHONE", "z 6")}, "bc"),
        ({"camera": "Leica"}, ""),
        ({"near": (52.5, 13.4, 5)}, "b"),
        ({"near": (52.5, 13.4, 2)}, ""),
        ({"near": (-16.5, 180, 15)}, "de"),
        ({"near": (-16.5, -179.95, 15)}, "e"),
        ({"near": (-16.5, -179.95, 25)}, "de"),
        ({"near": (90, 0, 20)}, "f"),
        ({"near": (89.9, 80, 30)}, "f"),
        ({"near": (0, 0, 1e9)}, "bdef"),
        ({"keyword": "bird"}, "ac"),
        ({"keyword": "ROBIN"}, "a"),
        ({"keyword": "animal|bird"}, "a"),
        ({"keyword": "animal|robin"}, ""),
        ({"keyword": "caf\u00e9"}, "c"),
        ({"keyword": ("Anna", "a_b")}, "bf"),
        ({"keyword": "%"}, ""),
        ({"taken": "2026", "keyword": "bird", "camera": "d850"}, "a"),
        ({"sort": "taken", "limit": 5}, "abcde"),
        ({"sort": "taken", "descending": True, "limit": 4}, "dcba"),
    ],
)
def test_photos_are_found(store: Store, asked: dict[str, Any], found: str) -> None:
    query = Query(**asked)
    assert "".join(path.removeprefix("/p/") for path in paths(store, query)) == found
    if query.limit is None:
        assert store.count(query) == len(found)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"taken": "yesterday"}, r"'yesterday' is no time .* 2026-05\.\."),
        ({"taken": ".."}, "is no time"),
        ({"taken": "2026-13"}, "is not in the calendar"),
        ({"taken": "2026-02-30"}, "is not in the calendar"),
        ({"taken": "2026-06..2026-05"}, "ends before it begins"),
        ({"taken": "2026-05-03T14:00+02:00"}, "leave out the zone"),
        ({"near": (91, 0, 1)}, "latitude lies between -90 and 90"),
        ({"near": (0, 181, 1)}, "longitude lies between"),
        ({"near": (0, 0, -1)}, "0 or more"),
        ({"near": (float("nan"), 0, 1)}, "latitude lies between"),
        ({"near": (0, 0)}, "takes a latitude, a longitude and a distance"),
        ({"camera": ""}, "camera is empty"),
        ({"keyword": ["a", "|"]}, "keyword is empty"),
    ],
)
def test_wrong_values_say_what_is_right(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Query(**asked)


def test_counts_by_camera_and_month(store: Store) -> None:
    assert store.count_by(Query(taken="2026-05..2026-06"), "month") == {("2026-05",): 1, ("2026-06",): 1}
    assert store.count_by(Query(), "camera")[None,] == 4


def test_ranges_and_distances_are_what_they_should_be() -> None:
    assert taken_range("2024-02..2024-12") == ("2024-02-01T00:00:00", "2025-01-01T00:00:00")
    assert taken_range("9999-12-31") == ("9999-12-31T00:00:00", None)
    # Berlin to New York: 6,385 km, as airlines count it.
    assert great_circle_km(52.52, 13.405, 40.7128, -74.006) == pytest.approx(6385, abs=5)
    assert great_circle_km(0, -180, 0, 180) == pytest.approx(0, abs=1e-6)


def test_rows_tell_the_facts_and_no_zone_that_the_file_does_not_name(store: Store) -> None:
    rows = {row.path.name: row for row in store.query(Query())}
    assert rows["a"].taken_at == datetime(2026, 4, 30, 23, 59, 59, 999_000)
    assert rows["b"].taken_at is not None
    assert rows["b"].taken_at.isoformat() == "2026-05-01T00:00:00+02:00"
    assert (rows["b"].camera, rows["b"].latitude, rows["b"].longitude) == ("Apple iPhone 12", 52.52, 13.40)
    assert rows["g"].taken_at is None


def test_place_is_measured_only_where_there_is_one(tmp_path: Path) -> None:
    with Store.open(tmp_path / "empty.db") as store:
        assert store.count(Query(near=(0, 0, 1))) == 0
