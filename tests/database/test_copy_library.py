"""A library that moves from a file to a server and back is what it was, row by row."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, insert

from phototag.database import Database, copy_database, metadata, parse_location
from phototag.errors import LockedError, SchemaError, StoreError
from phototag.store import Query, Store, check_database
from tests.support.commands import RunCommand
from tests.support.postgres import Server
from tests.support.project import SCHEMA_DATABASES
from tests.support.stored_photos import stored

COPIED = [table for table in metadata.sorted_tables if table.name not in ("chunks", "leases", "notes", "revision")]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
LONG = st.integers(-(2**63), 2**63 - 1)
JSON = st.dictionaries(TEXT, st.none() | st.booleans() | LONG | TEXT | st.lists(TEXT, max_size=2), max_size=3)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "Text": TEXT,
    "String": st.just("x"),
    "ClassName": st.sampled_from(["bird", "Über", "鳥"]),
    "LargeBinary": st.binary(max_size=40),
    "BigInteger": LONG,
    "Integer": st.integers(0, 2**31 - 1),
    "Double": st.floats(allow_nan=False, allow_infinity=False),
    "Boolean": st.booleans(),
    "UtcTime": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    "JSON": JSON,
}
# What the rows of a table have to hold; all else is drawn.
STRATUM = "/".join(["".join(map(chr, range(0x20000, 0x201F4)))] * 2)
RANK = {"rank": "superclass", "superclass": "bird", "subclass": None}
FIXED: dict[str, list[dict[str, Any]]] = {
    "models": [{"id": 7, "hash": "0f" * 32}],
    "photos": [
        {"id": 9, "path_bytes": b"/p/\xff\n.jpg", "state": "ok", "lead_id": 2**40},
        {"id": 2**40, "path_bytes": b"/p/" + b"long" * 900, "state": "missing", "lead_id": None},
    ],
    "captures": [{"photo_id": 9}],
    "keywords": [{"photo_id": 9, "keyword": "a|b"}, {"photo_id": 9, "keyword": "Ä" * 3000}],
    "keyword_exports": [
        {"id": 1, "photo_id": 9, "path_bytes": b"/p/1.xmp", "kind": "sidecar", "state": "planned"},
        {"id": 2, "photo_id": None, "path_bytes": b"/p/2.jpg", "kind": "embedded", "state": "written", "planned": None},
    ],
    "predictions": [{"photo_id": 9, "model_id": 7}],
    "tags": [{"photo_id": 9, "model_id": 7, "source": "model", **RANK}],
    "runs": [{"id": 3, "model_id": 7}, {"id": 5, "model_id": None}],
    "samples": [{"id": 4, "model_id": 7, "design": "simple", "size": 1, "population": 2}],
    "sample_strata": [{"sample_id": 4, "stratum": STRATUM, "population": 2, "drawn": 1}],
    "sample_items": [
        {"sample_id": 4, "position": 1, "photo_id": 9, "stratum": STRATUM, "inclusion_probability": 0.5, "model_id": 7}
        | RANK
    ],
    "reviews": [
        {"id": 11, "photo_id": 9, "sample_id": 4, "shown_model_id": 7, "verdict": "right", "origin": "review"} | RANK
    ],
}


def ignore(*_: int) -> None:
    pass


def drawn(table: Table, data: st.DataObject, fixed: dict[str, Any]) -> dict[str, Any]:
    """A row of a table with any values but for some."""
    row = dict(fixed)
    for column in table.columns.values():
        if column.name not in row and column.server_default is None:
            one = KINDS[type(column.type).__name__]
            planned = column.name == "planned"
            row[column.name] = data.draw(st.none() | one if column.nullable and not planned else one)
    if "latitude" in row and None in (row["latitude"], row["longitude"]):
        row["latitude"] = row["longitude"] = None
    return row


def raw_rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a file holds, as it lies there."""
    with closing(sqlite3.connect(path)) as connection:
        found = {}
        for table in COPIED:
            names = ", ".join(column.name for column in table.columns if column.server_default is None)
            keys = ", ".join(column.name for column in table.primary_key)
            found[table.name] = connection.execute(f"SELECT {names} FROM {table.name} ORDER BY {keys}").fetchall()
        return found


@settings(max_examples=3)
@given(data=st.data())
def test_a_library_comes_back_from_a_server_as_it_was(
    data: st.DataObject, postgres_server: Server, _reused_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    postgres_server.empty(_reused_database)
    folder = tmp_path_factory.mktemp("libraries")
    with (
        closing(Database.open(parse_location(folder / "old.db"), create=True)) as old,
        old.writing("t", wait_seconds=0),
        old.write() as connection,
    ):
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        for table in COPIED:
            connection.execute(insert(table), [drawn(table, data, fixed) for fixed in FIXED[table.name]])
    before = raw_rows(folder / "old.db")
    url = postgres_server.url(_reused_database)
    counted: list[tuple[int, int]] = []
    report = copy_database(folder / "old.db", url, progress=lambda done, total: counted.append((done, total)))
    copy_database(url, folder / "new.db", progress=ignore)
    assert raw_rows(folder / "new.db") == raw_rows(folder / "old.db") == before
    assert report.rows == {name: len(rows) for name, rows in before.items()}
    assert sum(done for done, _ in counted) == sum(report.rows.values()) == counted[0][1]


@pytest.fixture
def server_library(postgres_url: str, database: Path) -> str:
    """The database with a few photos, and notes beside it, copied to a server."""
    with Store.open(database) as store:
        store.notes.write("mounts", ["/mnt/a\udcff"])
    database.with_name("photos.db.lock.json").write_text("{}")
    database.with_name("photos.db.other.db.watch.json").write_text("{}")
    copy_database(database, postgres_url, progress=ignore)
    return postgres_url


def test_a_copied_library_goes_on(server_library: str, database: Path, tmp_path: Path) -> None:
    source: str | Path = database
    places: tuple[str | Path, ...] = (server_library, tmp_path / "back.db")
    for number, place in enumerate(places):
        if number:
            copy_database(source, place, progress=ignore)
        found = check_database(place)
        assert (found.problems, found.photos, found.tags) == ((), 3 + number, 2 + number)
        with Store.open(place) as store, store.writing("tag"):
            assert store.notes.names() == ["mounts"]
            assert store.notes.read("mounts") == ["/mnt/a\udcff"]
            store.tags.save_batch(model_id=1, tagged=[stored(f"/p/new {number}.jpg")])
        source = place


def test_what_is_not_empty_or_of_another_schema_is_refused(
    postgres_url: str, server_library: str, database: Path, tmp_path: Path
) -> None:
    before = raw_rows(database)
    for source, target in ((database, server_library), (server_library, database), (database, database)):
        with pytest.raises(StoreError, match="not empty"):
            copy_database(source, target, progress=ignore)
    assert raw_rows(database) == before
    shutil.copy(SCHEMA_DATABASES / "0003.db", tmp_path / "older.db")
    with pytest.raises(SchemaError, match="phototag db upgrade"):
        copy_database(tmp_path / "older.db", tmp_path / "new.db", progress=ignore)
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(SchemaError, match="phototag db upgrade"):
        copy_database(database, tmp_path / "older.db", progress=ignore)
    with pytest.raises(StoreError, match="in memory"):
        copy_database(database, "sqlite://", progress=ignore)
    Store.open(tmp_path / "new.db").close()
    with Store.open(tmp_path / "new.db") as other, other.writing("tag"), pytest.raises(LockedError):
        copy_database(database, tmp_path / "new.db", progress=ignore)


def test_a_copy_that_fails_leaves_nothing_behind(database: Path, postgres_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE runs SET version = 7")
        connection.execute("UPDATE tags SET novelty = 'much'")
        connection.commit()
    for target in (postgres_url, tmp_path / "new.db"):
        with pytest.raises(StoreError, match=r"photos\.db: holds a row that phototag did not write"):
            copy_database(database, target, progress=ignore)
        with Store.open(target) as store:
            assert store.count(Query()) == 0


def test_the_command_says_what_was_copied(run_phototag: RunCommand, database: Path, tmp_path: Path) -> None:
    done = run_phototag("db", "copy", "--db", database, tmp_path / "new.db")
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path / 'new.db'}\n"
    assert "3 photos" in done.stderr
    again = run_phototag("db", "copy", "--db", database, tmp_path / "new.db")
    assert again.exit_code == 2
    assert "not empty" in again.stderr
