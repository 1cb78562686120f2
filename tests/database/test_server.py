"""Several computers on one PostgreSQL server: who may write, what they hear of each other, and what is no good."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from phototag.database import HEAD, Role, holder_of, parse_location, runs
from phototag.errors import LockedError, SchemaError, StoreError, UsageError
from phototag.records import Source
from phototag.store import (
    Design,
    NewSample,
    Query,
    Review,
    SampledPhoto,
    Store,
    StoredTag,
    Stratum,
    backup_database,
    check_database,
    database_info,
)
from phototag.tagging import plan_prune
from tests.support.postgres import Server
from tests.support.server_load import run_load
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, digest, photo, register, stored


@pytest.fixture
def here(postgres_url: str) -> Iterator[Store]:
    """The database as one computer has it open, with three tagged photos."""
    with Store.open(postgres_url) as store:
        with store.writing("phototag tag"):
            store.tags.save_batch(model_id=register(store), tagged=[stored(f"/p/{name}.jpg") for name in "abc"])
        yield store


@pytest.fixture
def there(here: Store, postgres_url: str) -> Iterator[Store]:
    """The same database as another computer has it open."""
    with Store.open(postgres_url, create=False) as store:
        yield store


def id_of(store: Store, path: str) -> int:
    known = store.photos.find(Path(path))
    assert known is not None
    return known.id


# ---- who may write


def test_computers_that_open_a_new_database_at_once_make_its_tables_once(postgres_server: Server) -> None:
    def use(url: str) -> int:
        with Store.open(url) as store:
            return store.count(Query())

    with postgres_server.database(empty=True) as name, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, [postgres_server.url(name)] * 4)) == [0] * 4


@pytest.mark.parametrize("role", [Role.WRITE, Role.TAG])
def test_the_right_is_the_servers_and_who_has_it_is_named(
    role: Role, here: Store, there: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the server is called in the URL, and wherever the home is."""

    def right_of(store: Store, command: str) -> Any:
        return store.writing(command) if role is Role.WRITE else store.tagging(command)

    monkeypatch.setattr("socket.gethostname", lambda: "tower")
    place = parse_location(postgres_url)
    assert holder_of(place, role) is None
    with right_of(here, "phototag watch"):
        refused = pytest.raises(LockedError, match=r"'phototag watch' \(process \d+ on tower, since .*\) is writing")
        with refused, right_of(there, "phototag tag"):
            pass
        holder = holder_of(place, role)
        assert holder is not None
        assert (holder.command, holder.host, holder.pid) == ("watch", "tower", os.getpid())
    assert holder_of(place, role) is None
    with right_of(there, "phototag tag"):
        pass


def test_two_schemas_of_one_database_are_two_libraries(postgres_server: Server, here: Store) -> None:
    with postgres_server.database(empty=True) as name:
        for schema in ("first", "second"):
            postgres_server.execute(f"CREATE SCHEMA {schema}", name)
        urls = [postgres_server.url(name, options=f"-csearch_path%3D{schema}") for schema in ("first", "second")]
        with Store.open(urls[0]) as first, Store.open(urls[1]) as second:
            with first.writing("phototag tag"), second.writing("phototag tag"):
                first.tags.save_batch(model_id=register(first), tagged=[stored("/p/a.jpg")])
            assert (first.count(Query()), second.count(Query())) == (1, 0)


def end_sessions(server: Server, url: str, where: str = "true") -> None:
    database = parse_location(url).url
    assert database is not None
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.database}' AND {where}"
    )


def test_who_lost_the_session_with_the_right_writes_no_more_once_another_has_it(
    here: Store, there: Store, postgres_server: Server, postgres_url: str
) -> None:
    with here.writing("phototag tag"):
        model_id = register(here)
        end_sessions(postgres_server, postgres_url, "application_name = 'phototag tag'")
        here.tags.save_batch(model_id=model_id, tagged=[stored("/p/d.jpg")])  # nobody else has asked for it
        with there.writing("phototag retag"):
            with pytest.raises(LockedError, match=r"the server ended the session .* another command has it since"):
                here.tags.save_batch(model_id=model_id, tagged=[stored("/p/e.jpg")])
            there.tags.set_human(Path("/p/a.jpg"), superclass="dog")
    assert there.count(Query()) == 4


def test_a_watcher_takes_the_right_again_after_the_server_was_away(
    here: Store, there: Store, postgres_server: Server, postgres_url: str
) -> None:
    with here.tagging("phototag watch"):
        end_sessions(postgres_server, postgres_url)
        with here.writing("phototag watch"):
            here.tags.save_batch(model_id=register(here), tagged=[stored("/p/d.jpg")])
        with pytest.raises(LockedError, match="'phototag watch'"), there.tagging("phototag tag"):
            pass
        end_sessions(postgres_server, postgres_url)
        refused = pytest.raises(LockedError, match="'phototag tag'")
        with there.tagging("phototag tag"), refused, here.writing("phototag watch"):
            pass


def test_lost_connection_says_that_what_was_saved_is_kept(
    here: Store, postgres_server: Server, postgres_url: str
) -> None:
    with here.writing("phototag tag"):
        model_id = register(here)
        end_sessions(postgres_server, postgres_url)
        with pytest.raises(StoreError, match="what was saved before is kept, so run the command again"):
            here.tags.save_batch(model_id=model_id, tagged=[stored("/p/d.jpg")])
    assert here.count(Query()) == 3


def test_a_database_that_was_upgraded_meanwhile_is_not_written_to(
    here: Store, postgres_server: Server, postgres_url: str
) -> None:
    name = parse_location(postgres_url).url
    assert name is not None and name.database is not None
    with here.answering("phototag audit review"):
        postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", name.database)
        try:
            with pytest.raises(SchemaError, match="newer phototag"):
                here.tags.set_human(Path("/p/a.jpg"), superclass="dog")
        finally:
            postgres_server.execute(f"UPDATE alembic_version SET version_num = '{HEAD}'", name.database)
    assert here.count(Query(source=Source.HUMAN)) == 0


# ---- poolers


@contextmanager
def pgbouncer(server: Server, mode: str) -> Iterator[str]:
    """The start of the URLs of a PgBouncer before the server; it runs as the server's user, as it refuses root."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = server.folder / f"{mode}.ini"
    config.write_text(
        f"[databases]\n* = host={server.folder} user=phototag\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n"
    )
    owner = server.folder.stat().st_uid
    process = subprocess.Popen([program, "-q", config], user=owner if os.geteuid() == 0 else None)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"postgresql://phototag@127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_nothing_is_written_through_a_pooler_that_lends_connections_by_the_transaction(
    mode: str, postgres_server: Server, here: Store
) -> None:
    assert here.location.url is not None
    with pgbouncer(postgres_server, mode) as start, Store.open(f"{start}{here.location.url.database}") as store:
        assert store.count(Query()) == 3
        if mode == "transaction":
            with pytest.raises(StoreError, match="pool_mode=session"), store.writing("phototag tag"):
                pass
        with here.writing("phototag tag") if mode == "transaction" else store.writing("phototag tag"):
            pass


# ---- people beside taggers


def test_an_answer_is_taken_while_another_computer_tags(here: Store, there: Store) -> None:
    with here.tagging("phototag tag"), here.writing("phototag tag"):
        model_id = register(here, "other")
        with there.answering("phototag audit review"):
            review_id = there.reviews.save(Review(photo_id=id_of(there, "/p/a.jpg"), superclass="dog"))
        here.tags.save_batch(model_id=model_id, tagged=[stored(f"/p/{name}.jpg", SOME_BIRD) for name in "abc"])
        here.tags.save(model_id=model_id, decided=[(id_of(here, f"/p/{name}.jpg"), BEAGLE) for name in "abc"])
    assert [row.superclass for row in here.query(Query())] == ["dog", "dog", "dog"]
    assert [row.path.name for row in here.query(Query(source=Source.HUMAN))] == ["a.jpg"]
    with there.answering("phototag audit review"):
        there.reviews.undo(review_id)
    assert here.count(Query(source=Source.HUMAN)) == 0


def test_what_is_said_of_a_photo_before_it_is_pruned_keeps_it(here: Store, there: Store) -> None:
    a, b = (id_of(there, f"/p/{name}.jpg") for name in "ab")
    with here.writing("phototag db prune"):
        here.photos.mark_missing([a, b])
        plan = plan_prune(here, datetime.now(UTC) + timedelta(days=1))
        assert plan.remove == [a, b]
        with there.answering("phototag audit review"):
            there.reviews.save(Review(photo_id=a, superclass="dog"))
        assert here.photos.remove(plan.remove, reviewed=False) == 1
        with there.answering("phototag audit review"), pytest.raises(UsageError):
            there.reviews.save(Review(photo_id=b, superclass="dog"))
    assert [row.path.name for row in there.query(Query(source=Source.HUMAN))] == ["a.jpg"]
    assert there.count(Query()) == 2


def test_an_answer_waits_for_another_answer_and_not_for_a_command(here: Store, there: Store) -> None:
    with here.answering("phototag serve"):
        with pytest.raises(LockedError, match="'phototag serve'"), there.answering("phototag audit review"):
            pass
        with pytest.raises(LockedError), there.writing("phototag tag"), here.writing("phototag audit sample"):
            pass


def test_readers_and_writers_at_once_lose_nothing(postgres_url: str) -> None:
    """The long form: TEST_LOAD_ANSWERS=2000 lets 20 read and 4 write, each of whom answers so often; ten minutes."""
    answers = int(os.environ.get("TEST_LOAD_ANSWERS", "0"))
    readers, photos = (20, 500) if answers else (3, 12)
    paths = [f"/p/{number:03}.jpg" for number in range(photos)]
    load = run_load(postgres_url, answers=answers or 4, answering=3, reading=readers, paths=paths)
    assert load.saved > 0 and load.read > 0
    assert load.problems == [], load


# ---- what is seen of others' writes


def test_every_write_of_others_is_a_sign_whatever_the_clocks_say(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = here.catalog.change_sign()
    seen = sign.read()
    assert sign.read() == seen
    with there.writing("phototag retag"):
        assert sign.read() == seen, "who may write has not written yet"
        # A content that changed under a tag that did not.
        changed = StoredTag(photo("/p/a.jpg"), digest("new"), width=40, height=30, scores=b"scores", tag=ROOSTER)
        there.tags.save_batch(model_id=1, tagged=[changed])
    assert sign.read() != seen
    sign.close()


def test_moments_are_those_of_the_servers_clock(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from phototag.database import database

    now = database.utc_now
    monkeypatch.setattr(database, "utc_now", lambda: now() - timedelta(hours=3))
    with here.writing("phototag retag"):
        here.tags.save(model_id=1, decided=[(id_of(here, "/p/b.jpg"), BEAGLE)])
    (row,) = here.query(Query(subclass="beagle"))
    assert row.tagged_at is not None and now() - row.tagged_at < timedelta(minutes=1)


def test_notes_are_shared_by_all_computers(here: Store, there: Store) -> None:
    assert there.notes.read("status") is None
    here.notes.write("status", {"roots": ["/caf\udce9"]})
    here.notes.write("status", {"roots": ["/caf\udce9"], "doing": "waiting"})
    assert there.notes.read("status") == {"roots": ["/caf\udce9"], "doing": "waiting"}


# ---- what a server does not take


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_in_another_encoding_is_refused_in_one_line(postgres_server: Server, encoding: str) -> None:
    with postgres_server.database(empty=True, encoding=encoding) as name:
        with pytest.raises(StoreError, match=f"is encoded in {encoding}, .* createdb --encoding=UTF8") as caught:
            Store.open(postgres_server.url(name))
        assert "\n" not in str(caught.value)


def test_tables_of_another_program_are_left_alone(postgres_server: Server) -> None:
    with postgres_server.database(empty=True) as name:
        postgres_server.execute("CREATE TABLE invoices (id int)", name)
        with pytest.raises(StoreError, match="another program; name another one, or a schema of it"):
            Store.open(postgres_server.url(name))


def test_paths_of_any_length_and_bytes(here: Store) -> None:
    random.seed(1)
    long = bytes(random.choices([number for number in range(1, 256) if number != 47], k=250))
    paths = [b"/p/" + b"/".join([long] * number) + ending for number in (4, 12, 16) for ending in (b".jpg", b".png")]
    with here.writing("phototag tag"):
        for _ in range(2):
            here.tags.save_batch(model_id=1, tagged=[stored(path) for path in paths])
    assert [row.path_bytes for row in here.photos.under([Path("/p")])] == sorted(
        [*paths, *(b"/p/a.jpg", b"/p/b.jpg", b"/p/c.jpg")]
    )
    assert {os.fsencode(row.path) for row in here.query(Query())} >= set(paths)
    assert [row.path_bytes for row in here.photos.at([Path(os.fsdecode(path)) for path in paths])] == sorted(paths)


def test_names_as_long_as_they_may_be(here: Store) -> None:
    random.seed(1)
    bird, rooster = ("".join(chr(random.randrange(0x20000, 0x2A000)) for _ in range(500)) for _ in range(2))
    tag = replace(ROOSTER, superclass=bird, subclass=rooster)
    stratum = f"{bird}/{rooster}"
    with here.writing("phototag tag"):
        here.tags.save_batch(model_id=1, tagged=[stored("/p/a.jpg", tag)])
        one = SampledPhoto(
            photo_id=id_of(here, "/p/a.jpg"),
            stratum=stratum,
            inclusion_probability=1.0,
            content_hash=digest("/p/a.jpg"),
            tag=tag,
            model_id=1,
        )
        strata, more = [Stratum(stratum, 1, 1)], {"seed": 1, "for_estimation": True}
        here.samples.save(NewSample(name="first", design=Design.STRATIFIED, items=[one], strata=strata, **more))
        here.tags.set_human(Path("/p/b.jpg"), superclass=bird, subclass=rooster)
    assert here.count(Query(superclass=bird, subclass=rooster)) == 2
    assert [each.name for each in here.samples.find_all()[0].strata] == [stratum]


def test_a_role_that_may_only_read_is_told_so(here: Store, postgres_server: Server, postgres_url: str) -> None:
    place = parse_location(postgres_url).url
    assert place is not None and place.database is not None
    postgres_server.execute("DROP ROLE IF EXISTS reader")
    postgres_server.execute("CREATE ROLE reader LOGIN")
    try:
        postgres_server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", place.database)
        with Store.open(postgres_url.replace("phototag@", "reader@"), create=False) as store:
            assert store.count(Query()) == 3
            with pytest.raises(StoreError, match=r"permission denied .* GRANT"), store.writing("phototag tag"):
                pass
    finally:
        postgres_server.execute("DROP OWNED BY reader", place.database)
        postgres_server.execute("DROP ROLE reader")


# ---- looking after it


def test_a_backup_is_what_pg_restore_reads(
    here: Store, postgres_server: Server, postgres_url: str, tmp_path: Path
) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump and pg_restore are not installed: apt-get install postgresql-client")
    file = backup_database(postgres_url, tmp_path / "photos.dump")
    with pytest.raises(StoreError, match="exists already"):
        backup_database(postgres_url, file)
    with postgres_server.database(empty=True) as name:
        target = postgres_server.url(name)
        postgres_server.execute("DROP SCHEMA public", name)
        subprocess.run(["pg_restore", "--no-owner", f"--dbname={target}", str(file)], check=True, capture_output=True)
        with Store.open(target, create=False) as store:
            assert list(store.query(Query())) == list(here.query(Query()))
        assert check_database(target).problems == ()


def test_a_backup_without_pg_dump_says_what_to_install(
    here: Store, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match=r"pg_dump is not there .*apt-get install postgresql-client"):
        backup_database(postgres_url, tmp_path / "photos.dump")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_closed_by_the_next(here: Store, there: Store, postgres_url: str) -> None:
    with here.writing("phototag tag"):
        here.runs.begin("tag", model_id=1, device="cpu", runtime="torch")
    assert database_info(postgres_url).last_run.finished_at is None  # type: ignore[union-attr]
    with there.writing("phototag tag"):
        run_id = there.runs.begin("tag", model_id=1, device="cpu", runtime="torch")
        there.runs.finish(run_id, {"tagged": 1})
    with here._database.read() as connection:
        errors = connection.execute(select(runs.c.error).order_by(runs.c.id)).scalars().all()
    assert errors == ["killed; noted by the run after it", None]
    info = database_info(postgres_url)
    assert info.size_bytes > 100_000 and info.journal_mode is None
