"""Roots that go away, events that are lost, and a database that cannot be written."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from phototag.errors import LockedError
from phototag.tagging import watch as watching
from tests.support.inotify import inotify_limit
from tests.support.pictures import MakePicture
from tests.support.watcher import Start, Watched, assert_sound, missing, rows, until, wait_for_suspicion

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify and mounts are a part of Linux")


class TestRootsThatGoAway:
    @pytest.fixture
    def other(self, tmp_path: Path, make_picture: MakePicture) -> Path:
        make_picture(tmp_path / "other" / "other.jpg")
        return tmp_path / "other"

    @pytest.fixture
    def both(self, start: Start, library: Path, other: Path) -> Watched:
        watched = start(library, other)
        watched.until(lambda: watched.inferred == 7)
        watched.converges()
        return watched

    def is_away(self, watched: Watched, root: Path) -> None:
        watched.until(lambda: watched.told(str(root), "nothing is marked missing"))
        assert missing(watched.db) == set()

    def test_renamed_and_back(self, both: Watched, library: Path, other: Path, make_picture: MakePicture) -> None:
        away = library.with_name("away")
        library.rename(away)
        self.is_away(both, library)
        make_picture(away / "new.jpg")
        make_picture(other / "new.jpg")
        both.until(lambda: other / "new.jpg" in rows(both.db))
        away.rename(library)
        assert len(both.converges()) == 9
        assert missing(both.db) == set()
        assert len(both.told(str(library), "is gone")) == 1

    def test_it_is_said_again_the_next_time(self, both: Watched, library: Path) -> None:
        for times in (1, 2):
            library.rename(library.with_name("away"))
            both.until(lambda times=times: len(both.told(str(library), "is gone")) == times)
            library.with_name("away").rename(library)
            both.until(lambda times=times: len(both.told(str(library), "folder is back")) == times)

    def test_deleted_and_made_anew(self, both: Watched, library: Path, make_picture: MakePicture) -> None:
        kept = shutil.copytree(library, library.with_name("kept"))
        library.rename(library.with_name("rubbish"))  # in one step, or the photos are deleted one by one
        shutil.rmtree(library.with_name("rubbish"))
        self.is_away(both, library)
        library.mkdir()
        wait_for_suspicion(both, library)
        assert missing(both.db) == set()
        shutil.copytree(kept, library, dirs_exist_ok=True)
        both.converges()
        assert missing(both.db) == set()
        assert both.inferred == 7

    def test_root_that_is_away_costs_no_time(self, start: Start, library: Path, other: Path) -> None:
        watched = start(library, other, rescan_seconds=1.0)
        watched.until(lambda: watched.inferred == 7)
        library.rename(library.with_name("away"))
        self.is_away(watched, library)
        due, calls = time.monotonic() + 2.5, []
        take = watched.service._watcher.take
        watched.service._watcher.take = lambda seconds: (calls.append(seconds), take(seconds))[1]  # type: ignore[method-assign]
        until(lambda: time.monotonic() > due)
        library.with_name("away").rename(library)
        assert len(calls) < 100, "it waits, and does not spin"

    @on_linux
    def test_mounted_root_that_is_unmounted(self, start: Start, library: Path, other: Path) -> None:
        root = library.with_name("disk")
        root.mkdir()
        disk = Disk(root)
        with disk.mounted():
            shutil.copytree(library, root, dirs_exist_ok=True)
            watched = start(root, other)
            watched.until(lambda: watched.inferred == 7)
            disk.unmount()
            self.is_away(watched, root)
            disk.mount()
            shutil.copytree(library, root, dirs_exist_ok=True)
            watched.converges()
            assert missing(watched.db) == set()
            assert watched.inferred == 7
            watched.stop()

    @on_linux
    def test_disk_below_a_root_that_is_unmounted(self, start: Start, library: Path, make_picture: MakePicture) -> None:
        folder = library / "disk"
        folder.mkdir()
        disk = Disk(folder)
        with disk.mounted():
            make_picture(folder / "on disk.jpg")
            watched = start(library)
            watched.until(lambda: watched.inferred == 7)
            disk.unmount()
            watched.until(lambda: watched.told(str(folder), "not marked missing"))
            (library / "0" / "0.jpg").unlink()
            watched.until(lambda: missing(watched.db) == {"0.jpg"})
            disk.mount()
            make_picture(folder / "on disk.jpg")
            watched.converges()
            assert missing(watched.db) == {"0.jpg"}
            watched.stop()


class Disk:
    """A small file system in memory that can be mounted in a folder and unmounted."""

    def __init__(self, folder: Path, size: str = "8m") -> None:
        self.folder, self.size = folder, size

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        try:
            self.mount()
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting takes the rights of root")
        try:
            yield
        finally:
            if self.folder.is_mount():
                self.unmount()

    def mount(self) -> None:
        words = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "none", str(self.folder)]
        subprocess.run(words, check=True, capture_output=True)

    def unmount(self) -> None:
        # Whoever is just looking through it makes it busy; lazily it is gone at once, as a disk that is pulled out.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class TestEventsThatAreLost:
    def test_overflow_of_the_queue_is_said_once_and_made_good(
        self, start: Start, library: Path, make_picture: MakePicture
    ) -> None:
        with inotify_limit("max_queued_events", 16):
            watched = start(library)
            watched.until(lambda: watched.told("6 tagged"))
        source = make_picture(library / "source.jpg").read_bytes()
        for number in range(600):
            (library / f"{number:03}.jpg").write_bytes(source)
        watched.until(lambda: watched.told("sysctl fs.inotify.max_queued_events="))
        assert len(watched.converges()) == 607
        assert len(watched.told("sysctl fs.inotify.max_queued_events=")) == 1
        assert watched.inferred == 7

    def test_watch_limit_is_said_once_and_the_folder_polled(
        self, start: Start, library: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "_POLL_SECONDS", 0.5)
        with inotify_limit("max_user_watches", 0):
            watched = start(library)
            watched.until(lambda: watched.told("6 tagged"))
        make_picture(library / "deep" / "er" / "new.jpg")
        (library / "0" / "0.jpg").unlink()
        assert len(watched.converges()) == 7
        assert missing(watched.db) == {"0.jpg"}
        assert len(watched.told("sysctl fs.inotify.max_user_watches=")) == 1

    def test_polling_needs_no_events(
        self, start: Start, library: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "_POLL_SECONDS", 0.5)
        with inotify_limit("max_user_instances", 0):
            watched = start(library, poll=True)
            watched.until(lambda: watched.told("6 tagged"))
            make_picture(library / "deep" / "er" / "new.jpg")
            (library / "0" / "0.jpg").rename(library / "deep" / "moved.jpg")
            assert len(watched.converges()) == 7  # the moved one keeps its row
            assert missing(watched.db) == set()
        assert not watched.told("sysctl")

    def test_changes_that_nobody_told_of_are_found_by_the_next_scan(
        self, start: Start, library: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched = start(library, rescan_seconds=1.0)
        watched.until(lambda: watched.told("6 tagged"))
        monkeypatch.setattr("phototag.library.watched_root.WatchedRoot._handle", lambda root, event: None)
        make_picture(library / "new.jpg")
        assert len(watched.converges()) == 7


class TestDatabaseThatCannotBeWritten:
    @pytest.fixture(autouse=True)
    def _short_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "_TROUBLE_SECONDS", (0.5, 1.0))
        monkeypatch.setattr("phototag.database.connection.BUSY_TIMEOUT_SECONDS", 0.3)

    def test_another_process_that_writes_is_waited_for_and_named_once(
        self, watched: Watched, library: Path, make_picture: MakePicture
    ) -> None:
        with another_process_writing(watched.db) as holder:
            make_picture(library / "new.jpg")
            watched.until(lambda: watched.told("phototag review", f"process {holder.pid}"))
            make_picture(library / "newer.jpg")
            time.sleep(1.0)  # several tries
            assert len(watched.told("phototag review")) == 1
            assert len(rows(watched.db)) == 6
        assert len(watched.converges()) == 8

    def test_stopping_does_not_wait_for_it(self, watched: Watched, library: Path, make_picture: MakePicture) -> None:
        with another_process_writing(watched.db) as holder:
            make_picture(library / "new.jpg")
            watched.until(lambda: watched.told("phototag review", f"process {holder.pid}"))
            watched.stop()

    def test_database_locked_by_another_program_is_said_once_and_waited_out(
        self, watched: Watched, library: Path, make_picture: MakePicture
    ) -> None:
        with closing(sqlite3.connect(watched.db, isolation_level=None)) as stranger:
            until(lambda: watched.service._board is not None)
            stranger.execute("BEGIN IMMEDIATE")
            for number in range(3):
                make_picture(library / "deep" / f"new{number}.jpg")
                made = number + 1
                watched.until(lambda made=made: watched.service._trouble_seconds >= min(made * 0.5, 1.0))
            (library / "0" / "0.jpg").unlink()
            assert len(watched.told("kept it locked")) == 1
            stranger.execute("ROLLBACK")
        assert len(watched.converges()) == 9
        assert missing(watched.db) == {"0.jpg"}
        watched.until(lambda: len(watched.told("can be written again")) == 1)

    @on_linux
    def test_full_disk_is_said_once_and_all_is_made_good_when_there_is_room(
        self, start: Start, library: Path, db: Path, make_picture: MakePicture
    ) -> None:
        disk = Disk(db.parent, "1m")
        with disk.mounted():
            watched = start(library)
            watched.until(lambda: watched.inferred == 6)
            watched.converges()
            ballast = db.parent / "ballast"
            fill_up(ballast)
            for number in range(100, 140):  # what has the name of another is its copy
                make_picture(library / "more" / f"{number}.jpg")
            watched.until(lambda: watched.told(str(db), "disk", "trying again"))
            watched.until(lambda: watched.service._trouble_seconds == 1.0)
            (library / "0" / "0.jpg").unlink()
            assert len(watched.told("trying again")) == 1
            ballast.unlink()
            assert len(watched.converges()) == 46
            assert missing(db) == {"0.jpg"}
            watched.stop()
            assert_sound(db)

    def test_database_that_cannot_be_written_at_the_start_is_an_error(
        self, start: Start, library: Path, db: Path, quick_model: Path
    ) -> None:
        with another_process_writing(db):
            watched = start(library)
            until(lambda: watched.error is not None)
        assert isinstance(watched.error, LockedError)
        watched.error = None


def fill_up(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@contextlib.contextmanager
def another_process_writing(db: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the right to write, as a review does for a moment."""
    code = (
        "import sys, time; from phototag.store import Store; from phototag.errors import LockedError\n"
        f"with Store.open({str(db)!r}) as store:\n"
        "    while True:\n"
        "        try:\n"
        "            with store.writing('phototag review'):\n"
        "                print('ready', flush=True); sys.stdin.read(); break\n"
        "        except LockedError: time.sleep(0.05)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"ready\n"
        yield holder
    finally:
        holder.communicate()
