"""Queries: what is found, in which order, and what readers see while others write."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from phototag.audit.sampling import Scope
from phototag.audit.tag_columns import read_tags
from phototag.catalog import growing
from phototag.choices import CountBy, SortKey
from phototag.database import connection
from phototag.errors import LockedError, StoreError, UsageError
from phototag.records import PhotoState, Source
from phototag.store import Query, Review, Store, check_database
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
        (Query(superclass=["bird", "dog"]), ["beagle", "bird", "rooster"]),
        (Query(subclass=("dog/beagle", "rooster")), ["beagle", "rooster"]),
        (Query(superclass=[], subclass="beagle"), ["beagle"]),
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


# -- counts, names, and the two forms of a name


def test_photos_are_counted_by_what_they_have(library: Store) -> None:
    assert library.count_by(Query(), CountBy.SUPERCLASS) == {("bird",): 2, ("dog",): 1, (None,): 2}
    by_subclass = {("bird", "rooster"): 1, ("bird", None): 1, ("dog", "beagle"): 1, (None, None): 2}
    assert library.count_by(Query(limit=1), "subclass") == by_subclass
    assert library.count_by(Query(superclass="bird"), CountBy.RANK) == {("subclass",): 1, ("superclass",): 1}
    assert library.count_by(Query(), CountBy.STATE) == {("ok",): 4, ("unreadable",): 1}
    assert library.count_by(Query(), CountBy.MODEL) == {("sample",): 4, (None,): 1}
    assert sum(library.count_by(Query(), CountBy.REASON).values()) == 5


def test_names_that_nothing_has_get_the_nearest(library: Store) -> None:
    asked = Query(superclass=["bird", "brid", "whale"], subclass=["hawk", "roster", "bird/roster", "dog/hawk"])
    assert library.unknown_classes(asked) == {
        "brid": ["bird"],
        "whale": [],
        "roster": ["rooster"],
        "bird/roster": ["bird/rooster"],
        "dog/hawk": ["bird/hawk"],
    }
    # A model knows hawks, though no photo shows one; a person named a newt.
    photo = library.photos.find(Path("/p/bird.jpg"))
    assert photo is not None
    library.reviews.save(Review(photo_id=photo.id, superclass="reptile", subclass="newt"))
    assert library.unknown_classes(Query(subclass=["hawk", "reptile/newt"])) == {}


@pytest.fixture
def forms(library: Store) -> Store:
    """The library with names and paths as an earlier version stored what a Mac wrote."""
    library.tags.save_batch(
        model_id=register(library),
        tagged=[stored("/cafe\u0301/a.jpg", BEAGLE), stored("/caf\u00e9/b.jpg", BEAGLE), stored("/c.jpg", ROOSTER)],
    )
    with library._database.write() as connection:
        for name, path in (("cafe\u0301", "/cafe\u0301/a.jpg"), ("caf\u00e9", "/caf\u00e9/b.jpg")):
            statement = (
                "UPDATE tags SET superclass = :name WHERE photo_id = (SELECT id FROM photos WHERE path_text = :path)"
            )
            connection.execute(text(statement), {"name": name, "path": path})
    return library


@pytest.mark.parametrize("typed", ["cafe\u0301", "caf\u00e9"])
def test_a_name_is_found_in_both_forms_and_told_in_one(forms: Store, typed: str) -> None:
    found = list(forms.query(Query(superclass=typed)))
    assert {photo.superclass for photo in found} == {"caf\u00e9"} and len(found) == 2
    assert forms.count(Query(subclass=f"{typed}/beagle")) == 2
    assert forms.count(Query(under=Path(f"/{typed}"))) == 2
    assert forms.count_by(Query(superclass=typed), CountBy.SUPERCLASS) == {("caf\u00e9",): 2}
    assert forms.unknown_classes(Query(superclass=typed)) == {}


def test_labels_of_people_are_composed(forms: Store) -> None:
    photo = forms.photos.find(Path("/c.jpg"))
    assert photo is not None
    assert Review(photo_id=photo.id, superclass="e\u0301").superclass == "\u00e9"
    forms.tags.set_human(photo.path, superclass="e\u0301", subclass="a\u030a")
    (row,) = forms.query(Query(source="human"))  # type: ignore[arg-type]
    assert (row.superclass, row.subclass) == ("\u00e9", "\u00e5")


def test_the_gallery_and_the_audit_see_one_class(forms: Store) -> None:
    rows = growing.read(forms.catalog.photos())
    assert [label[0] for label in rows.labels].count("caf\u00e9") == 1
    assert "cafe\u0301" not in [label[0] for label in rows.labels]
    assert ("caf\u00e9", "beagle") in read_tags(forms, Scope()).labels


def test_a_name_that_is_not_text_is_refused() -> None:
    with pytest.raises(UsageError, match="not in UTF-8"):
        Query(superclass="caf\udce9")
