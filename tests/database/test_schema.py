"""Making, opening and upgrading databases: every schema ever released, and everything that is no database of ours."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from phototag.database import HEAD, metadata, parse_location, schema, translate, upgrade_database
from phototag.database.connection import make_engine
from phototag.errors import LockedError, SchemaError, StoreError
from phototag.records import PhotoState, Source
from phototag.store import Query, Review, ReviewFilter, Store, Verdict, backup_database, check_database, database_info
from tests.support.commands import run_python, start_all
from tests.support.project import ROOT, SCHEMA_DATABASES

SECRET = "s3cret-w0rd"

MORE = "0006"
ONE_MORE = '''
"""One more schema, for tests only."""

import os
import signal

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("photos") as table:
        table.add_column(sa.Column("stars", sa.Integer(), nullable=False, server_default="3"))
        table.alter_column("path_text", type_=sa.String(4096))
    with op.batch_alter_table("tags") as table:
        table.drop_constraint(op.f("ck_tags_source"), type_="check")
        table.create_check_constraint("source", "source IN ('model', 'human', 'import')")
    what = os.environ.get("TEST_DISASTER")
    if what == "error":
        op.execute("INSERT INTO no_such_table VALUES (1)")
    elif what == "orphans":
        op.execute("DELETE FROM photos WHERE id = 1")
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy of the sample database of the current schema."""
    return Path(shutil.copy(SCHEMA_DATABASES / f"{HEAD}.db", tmp_path / "photos.db"))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of the sample database of the first schema."""
    return Path(shutil.copy(SCHEMA_DATABASES / "0001.db", tmp_path / "photos.db"))


@pytest.fixture(params=schema.REVISIONS)
def any_sample(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the sample database of each schema ever released."""
    return Path(shutil.copy(SCHEMA_DATABASES / f"{request.param}.db", tmp_path / "photos.db"))


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """phototag's migrations and one more, in a folder whose name a config parser would choke on."""
    folder = tmp_path / "50%(off) migrations"
    shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"{MORE}_fifth.py").write_text(ONE_MORE)
    return folder


def output_of(process: subprocess.Popen[str]) -> str:
    with process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


def dump(path: Path) -> list[str]:
    """Everything in a database, schema and rows."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def rows_of(path: Path, *, columns: Mapping[str, list[str]] | None = None) -> dict[str, list[dict[str, object]]]:
    """The rows of all tables that have some, or of those in `columns`, which then names the columns to look at."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        if columns is None:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns = {name: ["*"] for name in names if name != "alembic_version"}
        found = {
            table: [dict(row) for row in connection.execute(f"SELECT {', '.join(wanted)} FROM {table} ORDER BY 1")]
            for table, wanted in columns.items()
        }
    return {table: rows for table, rows in found.items() if rows}


# ---- the current schema


def test_newest_known_schema_is_that_of_the_migrations() -> None:
    assert schema.known_revisions() == schema.REVISIONS
    assert schema.HEAD == schema.REVISIONS[-1] == HEAD


def test_migrated_database_is_what_the_models_describe(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    path = tmp_path / "photos.db"
    Store.open(path).close()
    engine = make_engine(parse_location(path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, metadata) == []
        migrated = {row[0] for row in connection.exec_driver_sql(CONSTRAINTS)}
    engine.dispose()
    # The comparison above does not look at CHECK constraints.
    described = {
        str(constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if constraint.name is not None
    }
    sql = " ".join(migrated)
    assert [name for name in sorted(described) if name not in sql] == []
    assert sql.count("CHECK (") == sum(name.startswith("ck_") for name in described)


CONSTRAINTS = "SELECT sql FROM sqlite_master WHERE type = 'table'"


def test_importing_and_querying_loads_nothing_heavy(sample: Path) -> None:
    code = """
import sys
from phototag.store import Query, Store
with Store.open(sys.argv[1], create=False) as store:
    print(sum(1 for _ in store.query(Query())))
heavy = {"alembic", "mako", "torch", "torchvision", "numpy", "timm", "openvino", "PIL", "filelock"}
heavy |= {"psycopg", "sqlalchemy.dialects.postgresql"}
print(sorted(heavy & set(sys.modules)))
"""
    assert output_of(run_python(code, sample)).splitlines() == ["6", "[]"]


def test_every_released_schema_has_a_sample() -> None:
    assert sorted(path.stem for path in SCHEMA_DATABASES.glob("*.db")) == sorted(schema.REVISIONS)


def test_sample_of_every_schema_can_be_used(any_sample: Path) -> None:
    sample = any_sample
    upgrade_database(sample)
    assert check_database(sample).problems == ()
    with Store.open(sample) as store:
        rows = {os.fsencode(row.path.name): row for row in store.query(Query())}
        assert len(rows) == 6
        assert rows[b"caf\xe9.jpg"].source is Source.HUMAN
        assert rows[b"caf\xe9.jpg"].subclass == "boxer"
        assert rows[b"gone.jpg"].state is PhotoState.MISSING
        assert rows[b"broken.jpg"].error == "ends after 12 of 40 rows"
        assert store.count(Query(novel=True)) == 2
        known = next(iter(store.photos.under([Path("/photos/2025/rooster.jpg")])))
        assert known.inode == 2**64 - 2
        with store.writing("tag"):
            store.photos.mark_seen([known.id])
            store.reviews.undo(store.reviews.save(Review(photo_id=known.id, superclass="bird")))
    assert database_info(sample).journal_mode == "wal"


def test_upgrade_from_the_first_schema_changes_no_row_of_it(first: Path) -> None:
    before, whole = rows_of(first), dump(first)
    report = upgrade_database(first)
    assert (report.before, report.after) == ("0001", HEAD)
    assert report.backup is not None
    assert dump(report.backup) == whole
    after = rows_of(first, columns={table: list(rows[0]) for table, rows in before.items()})
    assert {table: after[table] for table in before} == before
    with Store.open(first) as store:
        assert (list(store.reviews.find_all()), store.samples.find_all()) == ([], [])


def test_reviews_of_the_second_schema_are_there(tmp_path: Path) -> None:
    path = Path(shutil.copy(SCHEMA_DATABASES / "0002.db", tmp_path / "photos.db"))
    upgrade_database(path)
    with Store.open(path) as store:
        (sample,) = store.samples.find_all()
        assert (sample.name, sample.size, sample.reviewed, sample.skipped) == ("first look", 2, 1, 1)
        assert sample.parameters == {"under": "/photos/2025"}
        items = store.samples.items(sample.id)
        assert [item.tag.subclass for item in items] == ["rooster", None]
        (review,) = store.reviews.find_all()
        assert items[0].review == review
        assert (review.subclass, review.verdict, review.token) == ("hawk", Verdict.SUBCLASS_WRONG, "one")
        (undone,) = (item for item in store.reviews.find_all(ReviewFilter(current=False)) if not item.current)
        assert (undone.verdict, undone.path.name) == (Verdict.LABEL, "teapot.jpg")
        assert next(iter(store.query(Query(under=undone.path)))).source is Source.MODEL


# ---- older and newer schemas


def mark(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def test_older_schema_is_refused_with_the_way_out(first: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        Store.open(first)
    assert str(caught.value) == f"{first}: schema 0001, this phototag needs {HEAD}; run: phototag db upgrade"


@pytest.mark.parametrize("use", [Store.open, upgrade_database, database_info], ids=["open", "upgrade", "info"])
def test_newer_schema_is_refused_and_left_alone(sample: Path, use: object) -> None:
    mark(sample, "0099")
    before = dump(sample)
    with pytest.raises(SchemaError, match=r"schema '0099' was made by a newer phototag.* upgrade phototag"):
        use(sample)  # type: ignore[operator]
    assert dump(sample) == before


def test_check_of_another_schema_says_so(sample: Path) -> None:
    mark(sample, "0000")
    assert any("run: phototag db upgrade" in problem for problem in check_database(sample).problems)


def test_upgrade_of_a_current_database_does_nothing(sample: Path) -> None:
    report = upgrade_database(sample)
    assert (report.before, report.after, report.backup) == (HEAD, HEAD, None)
    assert list(sample.parent.glob("*.bak.db")) == []


def test_upgrade_keeps_every_row_and_makes_a_backup(any_sample: Path, scripts: Path) -> None:
    sample, before = any_sample, dump(any_sample)
    report = upgrade_database(sample, scripts=scripts)
    assert report.before in schema.REVISIONS
    assert report.after == MORE
    assert report.backup is not None
    assert report.backup.name.startswith(f"photos.db.{report.before}.")
    assert dump(report.backup) == before
    with closing(sqlite3.connect(sample)) as connection:
        # A table made anew takes its rows' children along if foreign keys are on.
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("photos", "tags", "predictions", "models", "runs")
        ]
        assert counts == [6, 5, 5, 1, 1]
        assert connection.execute("SELECT DISTINCT stars FROM photos").fetchall() == [(3,)]
        connection.execute("UPDATE tags SET source = 'import' WHERE source = 'model'")
        connection.rollback()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM photos")
        assert connection.execute("SELECT count(*) FROM tags").fetchone() == (0,)
        connection.rollback()
    assert upgrade_database(sample, scripts=scripts).backup is None


@pytest.mark.parametrize(
    ("disaster", "reason"),
    [("error", "no_such_table|lacks a table"), ("orphans", "rows of .* would point to rows that are not there")],
)
def test_failing_upgrade_changes_nothing_and_a_retry_works(
    sample: Path, scripts: Path, disaster: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(sample)
    monkeypatch.setenv("TEST_DISASTER", disaster)
    with pytest.raises(SchemaError, match=reason) as caught:
        upgrade_database(sample, scripts=scripts)
    assert "failed and changed nothing" in str(caught.value)
    assert dump(sample) == before
    with Store.open(sample) as store:
        assert store.count(Query()) == 6
    monkeypatch.delenv("TEST_DISASTER")
    assert upgrade_database(sample, scripts=scripts).after == MORE


def test_killed_upgrade_changes_nothing_and_a_retry_works(sample: Path, scripts: Path) -> None:
    before = dump(sample)
    code = """
import sys
from pathlib import Path
from phototag.database import upgrade_database
upgrade_database(Path(sys.argv[1]), scripts=Path(sys.argv[2]))
"""
    with run_python(code, sample, scripts, environment={"TEST_DISASTER": "kill"}) as process:
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert dump(sample) == before
    assert upgrade_database(sample, scripts=scripts).after == MORE


def test_upgrade_waits_for_no_writer(sample: Path, scripts: Path) -> None:
    with Store.open(sample) as store, store.writing("tag"), pytest.raises(LockedError, match="'phototag tag'"):
        upgrade_database(sample, scripts=scripts)


def test_database_upgraded_while_open_is_not_written_to(sample: Path, scripts: Path) -> None:
    with Store.open(sample) as store:
        upgrade_database(sample, scripts=scripts)
        with pytest.raises(SchemaError, match="newer phototag"), store.writing("tag"):
            pass


# ---- new databases


def test_default_database_is_made_with_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path / "home"))
    with pytest.raises(StoreError, match=r"no database yet at .* run: phototag tag FOLDER"):
        Store.open(create=False)
    assert not (tmp_path / "home").exists()
    with Store.open() as store:
        assert store.location.path == tmp_path / "home" / "data" / "phototag.db"
    assert database_info().photos == {}


@pytest.mark.parametrize("name", ["plain.db", "50% #1?mode=ro&x.db", "caf\udce9 é.db", "sub/../dots.db"])
def test_database_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / name
    with Store.open(path) as store, store.writing("tag"):
        assert store.count(Query()) == 0
    assert path.is_file()
    assert backup_database(path).is_file()
    store = Store.open(path, create=False)
    store.close()
    store.close()


def test_url_of_an_sqlite_file_is_its_path(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with Store.open(f"sqlite:///{path}") as store:
        assert store.location.path == path
        assert str(store.location) == str(path)


def test_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    path.touch()
    with pytest.raises(StoreError, match="no database yet"):
        Store.open(path, create=False)
    with Store.open(path) as store:
        assert store.count(Query()) == 0


def test_creation_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    assert path.stat().st_size > 0
    with pytest.raises(StoreError, match="no database yet"):
        Store.open(path, create=False)
    with Store.open(path) as store:
        assert store.count(Query()) == 0


def test_processes_that_open_a_new_database_at_once_all_succeed(tmp_path: Path) -> None:
    code = """
import sys, time
from phototag.store import Query, Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    print(store.count(Query()))
"""
    processes = [run_python(code, tmp_path / "photos.db", stdin=subprocess.PIPE) for _ in range(4)]
    start_all(processes)
    for process in processes:
        assert output_of(process) == "0\n"


def test_threads_that_open_a_new_database_at_once_all_succeed(tmp_path: Path) -> None:
    def use(number: int) -> int:
        with Store.open(tmp_path / f"{number % 2}.db") as store:
            return store.count(Query())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [0] * 8


def test_new_database_of_a_writer_can_be_opened_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with Store.open(path) as first, first.writing("tag"), Store.open(path) as second:
        assert second.count(Query()) == 0


# ---- what is no database of ours


@pytest.fixture
def text_file(tmp_path: Path) -> Iterator[Path]:
    """A text file with a database's name; it must never change."""
    path = tmp_path / "notes.db"
    path.write_text("Dear diary, this is no database. " * 100)
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before


@pytest.mark.parametrize("use", [Store.open, upgrade_database, database_info, check_database, backup_database])
def test_text_file_is_refused(text_file: Path, use: object) -> None:
    with pytest.raises(StoreError, match=r"notes\.db: is not a database .* --db"):
        use(text_file)  # type: ignore[operator]


@pytest.mark.parametrize("use", [Store.open, upgrade_database, database_info, check_database, backup_database])
def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, use: object) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (id INTEGER, path TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program"):
        use(path)  # type: ignore[operator]
    assert path.read_bytes() == before


def test_another_programs_alembic_database_is_not_taken_for_a_newer_phototag(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(StoreError, match="is a database of another program"):
        Store.open(path)


def test_database_whose_schema_mark_is_lost_is_refused(sample: Path) -> None:
    with closing(sqlite3.connect(sample)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    with pytest.raises(SchemaError, match="does not say which schema it has"):
        Store.open(sample)


@pytest.mark.parametrize("create", [True, False])
def test_folder_is_refused(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreError, match="is a folder, not a database"):
        Store.open(tmp_path, create=create)


@pytest.mark.parametrize("create", [True, False])
def test_missing_folder_is_named_and_not_made(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "nowhere" / "photos.db"
    with pytest.raises(StoreError, match=r"its folder .*nowhere does not exist; make it"):
        Store.open(path, create=create)
    assert not path.parent.exists()


def test_file_in_place_of_a_folder_is_named(text_file: Path) -> None:
    with pytest.raises(StoreError, match="is not a folder"):
        Store.open(text_file / "photos.db")


@pytest.mark.parametrize("use", [upgrade_database, database_info, check_database, backup_database])
def test_missing_database_is_no_crash(tmp_path: Path, use: object) -> None:
    with pytest.raises(StoreError, match=r"no database yet at .* run: phototag tag FOLDER"):
        use(tmp_path / "photos.db")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_truncated_database_is_a_clear_error(sample: Path) -> None:
    content = sample.read_bytes()
    sample.write_bytes(content[: len(content) // 3])
    with pytest.raises(StoreError, match="damaged"), Store.open(sample) as store:
        list(store.query(Query()))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+nosuchdriver://me:{SECRET}@localhost/photos",
        f"nosuchdialect://me:{SECRET}@localhost/photos",
        f"postgresql://me:{SECRET}@localhost:port/photos",
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/photos?connect_timeout=2",
        f"sqlite:///photos.db?password={SECRET}",
        f"://{SECRET}",
    ],
)
def test_unusable_url_is_a_clear_error_without_the_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path))
    for use in (Store.open, upgrade_database, database_info, check_database, backup_database):
        with pytest.raises(StoreError) as caught:
            use(url)
        assert SECRET not in str(caught.value)


def test_password_in_a_drivers_own_words_is_hidden() -> None:
    place = parse_location(f"postgresql+psycopg://me:{SECRET}@localhost/photos")
    error = OperationalError("SELECT 1", {}, Exception(f"cannot connect as me:{SECRET}"))
    assert SECRET not in str(translate(error, place))


def test_memory_cannot_be_opened_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in memory"):
        Store.open("sqlite://", create=False)
    with pytest.raises(StoreError, match="in memory"):
        upgrade_database("sqlite://")
