"""Writing: who may, when, and which notes are kept."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Text, TypeDecorator, func, insert, literal, select

from phototag.database import Database, Role, holder_of, parse_location, runs
from phototag.errors import LockedError, StoreError
from phototag.store import Query, Store
from tests.support.commands import run_python
from tests.support.stored_photos import register


def test_writing_needs_the_lock(tmp_path: Path) -> None:
    with Store.open(tmp_path / "photos.db") as opened:
        for write in (
            lambda: register(opened),
            lambda: opened.tags.save_batch(model_id=1, tagged=[]),
            lambda: opened.photos.mark_missing([1]),
            lambda: opened.runs.begin("tag", model_id=None, device=None, runtime=None),
        ):
            with pytest.raises(StoreError, match="lock for writing is not held"):
                write()


HOLD = """
import sys
from phototag.store import Store
with Store.open(sys.argv[1]) as store, store.writing("phototag tag"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_second_writer_hears_who_writes_and_a_killed_one_blocks_nobody(database: Path) -> None:
    holder = run_python(HOLD, database, stdin=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with Store.open(database) as opened:
            assert opened.count(Query()) == 3
            with pytest.raises(LockedError) as caught, opened.writing("watch"):
                pass
            text = str(caught.value)
            assert text.startswith(f"{database}: 'phototag tag' (process {holder.pid} on ")
            assert text.endswith("is writing to this database; wait for it to finish, or stop it")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with opened.writing("watch"):
                opened.photos.mark_missing([1])
    assert not list(database.parent.glob("*.lock.json"))


TAGGING = HOLD.replace("store.writing", "store.tagging").replace("phototag tag", "phototag watch")


def test_tagger_that_runs_lets_others_write_but_no_second_tagger_in(database: Path) -> None:
    holder = run_python(TAGGING, database, stdin=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        location = parse_location(database)
        who = holder_of(location, Role.TAG)
        assert who is not None
        assert (who.pid, who.command) == (holder.pid, "watch")
        assert abs(datetime.now(UTC) - who.since) < timedelta(minutes=10)
        assert holder_of(location, Role.WRITE) is None
        with Store.open(database) as opened:
            with opened.writing("phototag audit"):
                opened.photos.mark_missing([1])
                writer = holder_of(location, Role.WRITE)
                assert writer is not None
                assert (writer.pid, writer.command) == (os.getpid(), "audit")
            with pytest.raises(LockedError, match=rf"'phototag watch' \(process {holder.pid} on "):
                opened.tagging("phototag tag").__enter__()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert holder_of(location, Role.TAG) is None, "its note is still there, and tells nothing any more"
            with opened.tagging("phototag tag"), opened.writing("phototag tag"):
                opened.photos.mark_missing([2])
    assert holder_of(location, Role.TAG) is None
    assert not list(database.parent.glob("*.lock*.json"))


def test_asking_who_holds_a_lock_makes_nothing_and_frees_nothing(database: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for role in Role:
        assert holder_of(parse_location(empty / "photos.db"), role) is None
        assert holder_of(parse_location("sqlite://"), role) is None
    assert list(empty.iterdir()) == []
    with Store.open(database) as opened, opened.writing("phototag tag"):
        for _ in range(3):
            assert holder_of(parse_location(database), Role.WRITE) is not None
        opened.photos.mark_missing([1])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b'{"pid": 1, "host": "h", "command": "c", "since": "soon"}'),
        b'{"pid": Infinity, "host": "h", "command": "c", "since": "2026-01-01"}',
    ],
)
def test_holder_whose_note_cannot_be_understood_is_unknown(database: Path, content: bytes) -> None:
    with Store.open(database) as opened, opened.tagging("watch"):
        (note,) = database.parent.glob("*.tag.json")
        note.write_bytes(content)
        assert holder_of(parse_location(database), Role.TAG) is None
        with pytest.raises(LockedError, match="another process"):
            opened.tagging("tag").__enter__()


def test_holder_cannot_steer_a_terminal(database: Path) -> None:
    with Store.open(database) as opened, opened.tagging("phototag \x1b[2Jwatch\n" + "x" * 500):
        who = holder_of(parse_location(database), Role.TAG)
    assert who is not None
    assert who.command.isprintable() and len(who.command) <= 80


def test_tagging_in_memory_needs_no_lock() -> None:
    with Store.open("sqlite://") as one, Store.open("sqlite://") as other, one.tagging("tag"), other.tagging("tag"):
        pass


# ---- notes


@pytest.mark.parametrize("value", [None, 0, "text", [], ["/p/caf\udce9", "🦎", "\n"], {"a": {"b": [1.5, True]}}])
def test_note_comes_back_as_written(database: Path, value: object) -> None:
    with Store.open(database) as opened:
        assert opened.notes.read("mounts") is None
        opened.notes.write("mounts", ["before"])
        opened.notes.write("mounts", value)
        opened.notes.write("watch", "another")
        assert opened.notes.read("mounts") == value
    with Store.open(database) as again:
        assert (again.notes.read("mounts"), again.notes.read("watch")) == (value, "another")
    assert not [path.name for path in database.parent.iterdir() if str(os.getpid()) in path.name]


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b'"cut'])
def test_damaged_note_is_none(database: Path, damaged: bytes) -> None:
    with Store.open(database) as opened:
        opened.notes.write("mounts", ["/mnt"])
        (file,) = database.parent.glob("*mounts*")
        file.write_bytes(damaged)
        assert opened.notes.read("mounts") is None
        opened.notes.write("mounts", ["/mnt"])
        assert opened.notes.read("mounts") == ["/mnt"]


def test_note_that_cannot_be_written_stops_nothing(database: Path) -> None:
    with Store.open(database) as opened:
        (database.parent / "photos.db.mounts.json").mkdir()  # as good as a disk that is full, and works for root
        opened.notes.write("mounts", ["/mnt"])
        assert opened.notes.read("mounts") is None
    assert {path.name for path in database.parent.glob("*mounts*")} == {"photos.db.mounts.json"}


def test_notes_of_a_database_in_memory_are_nobodys() -> None:
    with Store.open("sqlite://") as opened:
        opened.notes.write("mounts", ["/mnt"])
        assert opened.notes.read("mounts") is None


def test_notes_lie_beside_the_database_and_not_beside_a_link_to_it(database: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(database)
    with Store.open(database) as one, Store.open(link) as other:
        other.notes.write("mounts", ["/mnt"])
        assert one.notes.read("mounts") == ["/mnt"]


class _Interrupting(TypeDecorator[str]):
    """A value at which Ctrl-C comes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        raise KeyboardInterrupt


def test_ctrl_c_in_the_middle_of_a_statement_is_what_it_is_and_saves_nothing(tmp_path: Path) -> None:
    with closing(Database.open(parse_location(tmp_path / "photos.db"), create=True)) as database:
        started = {"kind": "tag", "started_at": datetime.now(UTC), "version": "1"}
        with database.writing("test", wait_seconds=0):
            with pytest.raises(KeyboardInterrupt), database.write(durable=True) as connection:
                connection.execute(insert(runs), [started])
                connection.execute(select(literal("x", _Interrupting())))
            with database.read() as connection:
                assert connection.execute(select(func.count()).select_from(runs)).scalar_one() == 0
            with database.write(durable=True) as connection:
                connection.execute(insert(runs), [started])
