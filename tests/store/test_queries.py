"""Queries: what is found, in which order, and what readers see while others write."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phototag.choices import SortKey
from phototag.errors import LockedError, StoreError, UsageError
from phototag.records import PhotoState, Source
from phototag.store import Query, Store, check_database, connection
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, STRANGE, failure, register, stored


@pytest.fixture
def library(store: Store) -> Store:
    """Four tagged photos and one unreadable one."""
    store.tags.save_batch(
        model_id=register(store),
        tagged=[
            stored("/p/rooster.jpg", ROOSTER),
            stored("/p/beagle.jpg", BEAGLE),
            stored("/p/bird.jpg", SOME_BIRD),
            stored("/p/strange.jpg", STRANGE),
        ],
        failures=[failure("/p/broken.jpg")],
    )
    return store


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(), ["beagle", "bird", "broken", "rooster", "strange"]),
        (Query(superclass="bird"), ["bird", "rooster"]),
        (Query(subclass="rooster"), ["rooster"]),
        (Query(subclass="bird/rooster"), ["rooster"]),
        (Query(subclass="dog/rooster"), []),
        (Query(novel=True), ["bird", "strange"]),
        (Query(min_score=0.65), ["bird", "rooster"]),
        (Query(min_score=0.3, novel=True), ["bird", "strange"]),
        (Query(state=PhotoState.UNREADABLE), ["broken"]),
        (Query(source=Source.MODEL, limit=2), ["beagle", "bird"]),
        (Query(source=Source.HUMAN), []),
        (Query(limit=0), []),
        (Query(superclass="b%"), []),
        (Query(sort=SortKey.NOVELTY), ["rooster", "beagle", "bird", "strange", "broken"]),
        (Query(sort=SortKey.NOVELTY, descending=True), ["strange", "bird", "beagle", "rooster", "broken"]),
        (Query(sort=SortKey.SUPERCLASS_SCORE, limit=1, descending=True), ["beagle"]),
        (Query(sort=SortKey.SUBCLASS_SCORE, limit=1), ["strange"]),
        (Query(sort=SortKey.TAGGED), ["beagle", "bird", "rooster", "strange", "broken"]),
        (Query(sort=SortKey.PATH, descending=True, limit=2), ["strange", "rooster"]),
        (Query(model="sample", superclass="dog"), ["beagle"]),
        (Query(model=hashlib.sha256(b"sample").hexdigest()[:8].upper(), superclass="dog"), ["beagle"]),
        (Query(model=hashlib.sha256(b"sample").hexdigest()[:7]), []),
        (Query(model="%%%%%%%%"), []),
        (Query(since=datetime(2020, 1, 1, tzinfo=UTC), superclass="dog"), ["beagle"]),
        (Query(since=datetime(9000, 1, 1, tzinfo=UTC)), []),
    ],
    ids=str,
)
def test_query_finds(library: Store, query: Query, names: list[str]) -> None:
    assert [row.path.stem for row in library.query(query)] == names
    if query.limit is None:
        assert library.count(query) == len(names)


def test_since_compares_moments_and_not_clock_readings(library: Store) -> None:
    (row,) = library.query(Query(superclass="dog"))
    assert row.tagged_at is not None
    ahead = row.tagged_at.astimezone(tz=datetime.now().astimezone().tzinfo)
    assert library.count(Query(superclass="dog", since=ahead)) == 1
    assert library.count(Query(superclass="dog", since=ahead + timedelta(microseconds=1))) == 0


def test_count_does_not_know_the_limit(library: Store) -> None:
    assert library.count(Query(limit=1)) == 5


@pytest.mark.parametrize(
    "wrong",
    [{"min_score": 1.5}, {"min_score": float("nan")}, {"limit": -1}, {"since": datetime(2025, 1, 1)}],
    ids=str,
)
def test_query_refuses_what_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Query(**wrong)  # type: ignore[arg-type]


def test_query_that_is_left_half_way_holds_nothing_open(database: Path) -> None:
    with Store.open(database) as opened:
        rows = opened.query(Query())
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        with opened.writing("tag"):
            opened.photos.mark_missing([1])
        assert opened.count(Query(state=PhotoState.MISSING)) == 1


def test_reader_sees_the_last_finished_batch_while_another_is_written(database: Path) -> None:
    with Store.open(database) as writer, Store.open(database) as reader, writer.writing("tag"):
        with writer._database.write() as connection:
            connection.exec_driver_sql("DELETE FROM photos")
            assert reader.count(Query()) == 3
        assert reader.count(Query()) == 0


def test_row_that_phototag_did_not_write_is_an_error_and_no_crash(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tags SET tagged_at = 'yesterday'")
        connection.commit()
    with Store.open(database) as opened, pytest.raises(StoreError, match="phototag did not write"):
        list(opened.query(Query()))
    assert any("phototag did not write" in problem for problem in check_database(database).problems)


def test_closed_store_is_not_used_by_mistake(database: Path) -> None:
    opened = Store.open(database)
    opened.close()
    with pytest.raises(StoreError, match="this store is closed"):
        opened.count(Query())
    with pytest.raises(StoreError, match="this store is closed"), opened.writing("tag"):
        pass


def test_other_program_that_keeps_the_database_locked_is_reported(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_SECONDS", 0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with Store.open(database) as opened, opened.writing("tag"):
            with pytest.raises(LockedError, match="another program has kept it locked"):
                opened.photos.mark_missing([1])
            browser.execute("ROLLBACK")
            opened.photos.mark_missing([1])
            assert opened.count(Query(state=PhotoState.MISSING)) == 1


def test_database_that_vanishes_is_reported(database: Path) -> None:
    with Store.open(database) as opened:
        database.unlink()
        with pytest.raises(StoreError, match="does not exist"):
            opened.count(Query())
