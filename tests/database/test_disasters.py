"""Kills, full disks and damage leave an intact database, or one that is named damaged."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from phototag.database import driver_connection
from phototag.errors import StoreError
from phototag.records import Rank, Tag
from phototag.store import Query, Store, check_database, database_info
from tests.support.commands import run_python
from tests.support.stored_photos import stored

KEEP_SAVING = """
import sys
from phototag.store import Store
from tests.support.stored_photos import register, stored
with Store.open(sys.argv[1]) as store, store.writing("tag"):
    model_id = register(store)
    for batch in range(100000):
        store.tags.save_batch(model_id=model_id, tagged=[stored(f"/p/{batch}-{i}.jpg") for i in range(50)])
        print(batch, flush=True)
"""


def test_kill_during_saving_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    worker = run_python(KEEP_SAVING, path)
    with worker:
        assert worker.stdout is not None
        for _ in range(20):
            worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert check_database(path).problems == ()
    with Store.open(path) as opened, opened.writing("tag"):
        count = opened.count(Query())
        assert count >= 20 * 50
        assert count % 50 == 0
        opened.tags.save_batch(model_id=1, tagged=[stored("/p/after.jpg")])


def test_full_disk_stops_with_a_clear_error_and_an_intact_database(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        assert opened._database._writer is not None
        raw = driver_connection(opened._database._writer)
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(StoreError, match="the disk is full, nothing of this batch was saved"):
            opened.tags.save_batch(model_id=1, tagged=[stored(f"/p/{number}.jpg") for number in range(2000)])
        assert opened.count(Query()) == 3
        raw.execute("PRAGMA max_page_count=1000000")
        opened.tags.save_batch(model_id=1, tagged=[stored("/p/more.jpg")])
        assert opened.count(Query()) == 4
    assert check_database(database).problems == ()


def test_failing_batch_changes_nothing(database: Path) -> None:
    broken = Tag(None, "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.1)
    with Store.open(database) as opened, opened.writing("tag"):
        with pytest.raises(StoreError, match="refused a row, nothing of it was saved"):
            opened.tags.save_batch(model_id=1, tagged=[stored("/p/new.jpg"), stored("/p/a.jpg", broken)])
        assert opened.count(Query()) == 3


def scribble(path: Path) -> None:
    """Overwrite every page but the first."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def test_damaged_database_is_named_so(database: Path) -> None:
    scribble(database)
    with pytest.raises(StoreError, match="damaged"), Store.open(database) as opened:
        list(opened.query(Query()))
    try:
        report = check_database(database)
    except StoreError as error:
        assert "damaged" in str(error)
    else:
        assert any("damaged" in problem for problem in report.problems)


def use_read_only(path: Path) -> list[str]:
    """What reading and writing the database say, one line each."""
    lines = []
    with Store.open(path) as opened:
        lines.append(f"{opened.count(Query())} {len(list(opened.query(Query())))}")
        try:
            with opened.writing("tag"):
                lines.append("written")
        except StoreError as error:
            lines.append(str(error))
    lines.append(f"{sum(database_info(path).photos.values())} {len(check_database(path).problems)}")
    return lines


def as_nobody(work: Callable[[], list[str]]) -> list[str]:
    """Do `work` without root's rights, to which modes of files mean nothing."""
    import filelock  # noqa: F401 (nobody may not read it from root's home)

    if os.geteuid() != 0:
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            lines = work()
        except BaseException as error:  # noqa: BLE001
            lines = [repr(error)]
        os.write(writing, "\n".join(lines).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are a Unix thing")
def test_database_on_a_read_only_medium_can_be_queried(database: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "medium"
        place.mkdir()
        copy = place / "photos.db"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            assert target.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        copy.chmod(0o444)
        Path(folder).chmod(0o755)
        place.chmod(0o555)
        try:
            lines = as_nobody(lambda: use_read_only(copy))
        finally:
            place.chmod(0o755)
        assert lines[0] == "3 3"
        assert "cannot be written to" in lines[1]
        assert lines[2] == "3 0"
        assert list(place.iterdir()) == [copy]
