"""Databases that somebody else made: told in one line, by every way in, within seconds."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from phototag.database import Notes, upgrade_database
from phototag.database.connection import Access, connect_file
from phototag.errors import StoreError
from phototag.store import Query, Store, backup_database, check_database, database_info
from tests.support.commands import RunCommand

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
DEEP = "[" * 100_000


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def query(path: Path) -> None:
    with Store.open(path, create=False) as store:
        list(store.query(Query()))


def read_columns(path: Path) -> None:
    with Store.open(path, create=False) as store:
        for _ in store.catalog.photos():
            pass
        for _ in store.tags.rows(Query()):
            pass


def write(path: Path) -> None:
    with Store.open(path, create=False) as store, store.writing("test"):
        store.tags.set_human(Path("/p/a.jpg"), superclass="bird")


DOORS: tuple[Callable[[Path], object], ...] = (query, read_columns, write, database_info)

ACTING = {
    "view": (
        "ALTER TABLE models RENAME TO other",
        f"CREATE VIEW models AS {ENDLESS} SELECT x AS id, 'h' || x AS hash, 'n' AS name, 'b' AS backbone, "
        "'{}' AS taxonomy, '{}' AS metrics, '2026-01-01 00:00:00' AS created_at FROM n",
    ),
    "capitals": (
        "ALTER TABLE models RENAME TO other",
        f"CREATE VIEW MODELS AS {ENDLESS} SELECT x AS id FROM n",
    ),
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM photos; END",),
    "computed column": ("ALTER TABLE photos ADD COLUMN more AS (hex(zeroblob(1000000)))",),
    "index": ("CREATE INDEX more ON tags (hex(zeroblob(length(rank) * 1000000)))",),
    "search": ("CREATE INDEX more ON tags (superclass) WHERE superclass LIKE '%a%a%a%'",),
    "virtual": ("ALTER TABLE models RENAME TO other", "CREATE VIRTUAL TABLE models USING fts5(id, name)"),
}


@pytest.mark.parametrize("kind", ACTING)
def test_parts_that_act_by_themselves_are_refused_everywhere(database: Path, kind: str) -> None:
    change(database, *ACTING[kind])
    for enter in (*DOORS, upgrade_database):
        with pytest.raises(StoreError, match=r"phototag never makes; run: phototag db check$") as caught:
            enter(database)
        assert len(str(caught.value).splitlines()) == 1
    problems = check_database(database).problems
    assert any("phototag never makes" in problem for problem in problems)
    assert "not read any further" in problems[-1]


def test_other_parts_are_named_by_the_check_and_do_no_harm(database: Path) -> None:
    change(
        database,
        "CREATE TABLE mine (x)",
        "CREATE VIEW report AS SELECT count(*) FROM photos",
        "CREATE INDEX quicker ON photos (state)",
        "ANALYZE",
    )
    for enter in DOORS:
        enter(database)
    assert sorted(check_database(database).problems) == [
        "has a index 'quicker', which phototag never makes",
        "has a table 'mine', which phototag never makes",
        "has a view 'report', which phototag never makes",
    ]


def test_every_schema_that_was_ever_made_is_phototags_own(tmp_path: Path) -> None:
    for old in sorted((Path(__file__).parents[1] / "data" / "schema").glob("*.db")):
        copy = shutil.copy(old, tmp_path / old.name)
        assert not [problem for problem in check_database(copy).problems if "never makes" in problem]
        upgrade_database(copy)
        assert check_database(copy).problems == ()


def test_a_statement_without_end_is_stopped(database: Path) -> None:
    with closing(connect_file(database, access=Access.WRITE)) as connection:
        started = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection.execute(f"{ENDLESS} SELECT count(*) FROM n").fetchone()
    assert time.monotonic() - started < 60


def test_an_endless_statement_is_told_apart_from_ctrl_c(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.database.connection._Bounded._most", 1)
    monkeypatch.setattr("phototag.database.connection._LEAST_STEPS", 1)
    far_longer = pytest.raises(StoreError, match="far longer to read than its size explains")
    with Store.open(database) as store, far_longer, store._database.read() as connection:
        connection.exec_driver_sql(f"{ENDLESS} SELECT count(*) FROM n")
    with Store.open(database) as store, pytest.raises(KeyboardInterrupt), store._database.read() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)

        def pressed() -> int:
            raise KeyboardInterrupt

        raw.set_progress_handler(pressed, 1000)
        monkeypatch.setattr("phototag.database.connection._interruption.too_long", False, raising=False)
        connection.exec_driver_sql(f"{ENDLESS} SELECT count(*) FROM n")


FOREIGN = {
    "text for a score": "UPDATE tags SET superclass_score = 'x'",
    "bytes for a name": "UPDATE tags SET superclass = x'00ff'",
    "bytes for a rank": "UPDATE tags SET rank = x'00ff'",
    "another rank": "UPDATE tags SET rank = 'whatever'",
    "infinity": "UPDATE tags SET novelty = 9e999",
    "a number for a path": "UPDATE photos SET path_bytes = id * 1000000000000",
    "text for a path": "UPDATE photos SET path_bytes = 'x' || id",
    "another state": "UPDATE photos SET state = 'lost'",
    "a number for a date": "UPDATE tags SET tagged_at = 5",
    "no date": "UPDATE tags SET tagged_at = 'yesterday'",
    "deep metrics": f"UPDATE models SET metrics = '{DEEP}'",
    "bytes for a model's name": "UPDATE models SET name = x'00ff'",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_values_that_phototag_never_writes_are_told_in_one_line(
    database: Path, kind: str, run_phototag: RunCommand
) -> None:
    change(database, FOREIGN[kind])
    assert check_database(database).problems
    for command in (
        ["query"],
        ["query", "--format", "ndjson"],
        ["db", "info"],
        ["status"],
        ["audit", "report"],
        ["audit", "sample", "--size", "1", "s"],
        ["novel", "--no-sheets"],
        ["retag", "--dry-run"],
    ):
        result = run_phototag(*command, "--db", str(database))
        assert result.exit_code in (0, 1, 2)
        if result.stderr.startswith("Error"):
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_check_counts_values_of_other_types(database: Path) -> None:
    change(database, "UPDATE tags SET superclass_score = 'x'", "UPDATE photos SET width = 1.5 WHERE id = 1")
    problems = check_database(database).problems
    assert "tags.superclass_score has values of a type that phototag never writes there: 2" in problems
    assert "photos.width has values of a type that phototag never writes there: 1" in problems


@pytest.mark.parametrize("mark", ["../../x", "a/b", "x" * 100, ""])
def test_a_schema_that_is_no_name_is_told(database: Path, mark: str) -> None:
    change(database, f"UPDATE alembic_version SET version_num = '{mark}'")
    with pytest.raises(StoreError, match="does not say which schema it has"):
        backup_database(database)


def test_a_deep_note_counts_as_none(database: Path) -> None:
    with Store.open(database) as store:
        notes: Notes = store.notes
        note = store.location.note_path("watch")
        assert note is not None
        note.write_text(DEEP)
        assert notes.read("watch") is None


def test_what_holds_people_is_for_the_user_alone(tmp_path: Path, home: Path) -> None:
    before = os.umask(0o022)
    try:
        with Store.open(tmp_path / "new.db") as store:
            store.notes.write("watch", {"photo": "/home/ann/a.jpg"})
            note = store.location.note_path("watch")
        with Store.open():
            pass
        copy = backup_database(tmp_path / "new.db")
    finally:
        os.umask(before)
    assert note is not None
    for private in (tmp_path / "new.db", note, copy, home / "data", home / "data" / "phototag.db"):
        assert stat.S_IMODE(private.stat().st_mode) & 0o077 == 0, private


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)


def test_without_locks_reading_waits_for_nothing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    started = time.monotonic()
    query(database)
    assert database_info(database).photos
    assert time.monotonic() - started < 20
    with (
        Store.open(database) as store,
        pytest.raises(StoreError, match="keeps no locks; to write"),
        store.writing("test"),
    ):
        store.tags.set_human(Path("/p/a.jpg"), superclass="bird")


def test_without_locks_changes_that_wait_are_not_passed_over(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(f"{database}-wal").write_bytes(b"changes")
    without_locks(monkeypatch)
    with pytest.raises(StoreError, match="keeps no locks and changes wait beside it; copy it"):
        query(database)
