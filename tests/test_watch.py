"""`phototag watch` and `phototag status`: whatever happens to the folders, the database ends as a fresh scan would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import MakePicture, RunCommand, inotify_limit
from phototag.inference import watching
from phototag.inference.pipeline import Batch
from phototag.inference.report import TagReport
from phototag.inference.tagger import Tagger
from phototag.inference.watching import WatchService
from phototag.library.scan import resolve_roots
from phototag.library.settling import Settling

from phototag.errors import LockedError
from phototag.records import PhotoState, Source, TaggedPhoto
from phototag.store import Query, Store

# Far more than anything here takes, for machines that are busy.
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 0.2
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify and mounts are a part of Linux")

Essence = tuple[Any, ...]


def until(condition: Callable[[], object], what: str = "it did not happen in time", *, pause: float = 0.02) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(pause)


def essence(photo: TaggedPhoto) -> Essence:
    """What a photo's row says, without times; scores to five decimals."""
    scores = (photo.superclass_score, photo.subclass_score, photo.novelty)
    rounded = tuple(None if score is None else round(score, 5) for score in scores)
    return (photo.superclass, photo.subclass, photo.rank, photo.source, photo.state, *rounded)


def rows(db: Path | str) -> dict[Path, Essence]:
    """The rows of a database by path."""
    with Store.open(db, create=False) as store:
        return {photo.path: essence(photo) for photo in store.query(Query())}


def fresh_rows(model: Path, *roots: Path, exclude: tuple[str, ...] = ()) -> dict[Path, Essence]:
    """The rows that one run of the tagger makes in an empty database."""
    with Store.open("sqlite://") as store, Tagger(model, batch_size=4, precision="f32") as tagger:
        tagger.tag(roots, store, exclude=exclude)
        return {photo.path: essence(photo) for photo in store.query(Query())}


def there(found: dict[Path, Essence]) -> dict[Path, Essence]:
    return {path: row for path, row in found.items() if row[4] is not PhotoState.MISSING}


def missing(db: Path) -> set[str]:
    return {path.name for path, row in rows(db).items() if row[4] is PhotoState.MISSING}


class Watched:
    """A service that watches in a thread of its own, and what it said."""

    def __init__(self, model: Path, db: Path, *roots: Path, **options: Any) -> None:
        self.model, self.db, self.roots = model, db, roots
        self.exclude: tuple[str, ...] = tuple(options.get("exclude", ()))
        self.said: list[str] = []
        self.batches: list[Batch] = []
        self.report: TagReport | None = None
        self.error: BaseException | None = None
        self._options = {"settle_seconds": SETTLE_SECONDS, **options}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service")
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            with Tagger(self.model, batch_size=4, precision="f32") as tagger, Store.open(self.db) as store:
                self.service = WatchService(
                    tagger,
                    store,
                    resolve_roots(self.roots),
                    say=self.said.append,
                    on_batch=self.batches.append,
                    **self._options,
                )
                self._ready.set()
                self.report = self.service.run()
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            self.error = error
            self._ready.set()

    def stop(self) -> None:
        """Stop, and raise what the service raised."""
        self.service.stop()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    @property
    def inferred(self) -> int:
        """Photos that went through the network so far."""
        return sum(batch.inferred for batch in self.batches)

    def told(self, *words: str) -> list[str]:
        """What was said with all these words in it."""
        return [line for line in self.said if all(word in line for word in words)]

    def until(self, condition: Callable[[], object]) -> None:
        def met() -> object:
            if self.error is not None:
                raise self.error
            return condition()

        until(met, f"not in time; said: {self.said}")

    def converges(self) -> dict[Path, Essence]:
        """Wait until the rows are those of a fresh run, for all that is there; all else has to be missing."""
        expected = fresh_rows(self.model, *(root for root in self.roots if root.exists()), exclude=self.exclude)
        try:
            self.until(lambda: there(rows(self.db)) == expected)
        except AssertionError:
            assert there(rows(self.db)) == expected, self.said
            raise
        return rows(self.db)


Start = Callable[..., Watched]


@pytest.fixture
def written_while_watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, list[bytes]], None]:
    """Write a file piece by piece, one each time when the watcher looks whether it stands still: it never does."""

    def write(photo: Path, pieces: list[bytes]) -> None:
        photo.write_bytes(pieces.pop(0))

        def look(path: Path) -> os.stat_result:
            if path == photo and pieces:
                with photo.open("ab") as file:
                    file.write(pieces.pop(0))
            return path.lstat()

        monkeypatch.setattr(watching, "Settling", lambda seconds: Settling(seconds, look=look))

    return write


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "database" / "photos.db"


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture, db: Path) -> Path:
    """A folder of six pictures in two folders."""
    db.parent.mkdir()
    for number in range(6):
        make_picture(tmp_path / "library" / f"{number % 2}" / f"{number}.jpg")
    return tmp_path / "library"


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """A folder on the same disk that nobody watches."""
    (tmp_path / "aside").mkdir()
    return tmp_path / "aside"


@pytest.fixture
def start(quick_model: Path, db: Path) -> Iterator[Start]:
    """Start a service; it is stopped in the end, and then the database is sound."""
    started: list[Watched] = []

    def run(*roots: Path, **options: Any) -> Watched:
        started.append(Watched(quick_model, db, *roots, **options))
        return started[-1]

    yield run
    for watched in started:
        watched.stop()


@pytest.fixture
def watched(start: Start, library: Path) -> Watched:
    """A service that has caught up with the library."""
    running = start(library)
    running.until(lambda: running.inferred == 6)
    running.converges()
    return running


def wait_for_suspicion(watched: Watched, root: Path) -> None:
    watched.until(lambda: watched.told(str(root), "nothing was marked missing"))


class TestWhatHappensToPhotos:
    def test_all_that_was_there_before_is_tagged_at_the_start(self, watched: Watched, library: Path) -> None:
        assert set(rows(watched.db)) == set(library.rglob("*.jpg"))
        assert watched.told("Watching", str(library), "tiny")
        assert watched.told("6 tagged")

    def test_new_photo(self, watched: Watched, library: Path, make_picture: MakePicture) -> None:
        new = make_picture(library / "1" / "new.png")
        assert new in watched.converges()
        assert watched.inferred == 7

    def test_changed_photo(self, watched: Watched, library: Path, make_picture: MakePicture) -> None:
        photo = library / "0" / "0.jpg"
        before = rows(watched.db)[photo]
        make_picture(photo, seed=99)
        assert watched.converges()[photo] != before

    def test_renamed_photo_keeps_its_tag_without_inference(self, watched: Watched, library: Path) -> None:
        photo, target = library / "0" / "0.jpg", library / "1" / "renamed.jpg"
        before = rows(watched.db)[photo]
        photo.rename(target)
        after = watched.converges()
        assert after[target] == before
        assert missing(watched.db) == {"0.jpg"}
        assert watched.inferred == 6

    def test_folder_that_is_moved_in(
        self, watched: Watched, library: Path, aside: Path, make_picture: MakePicture
    ) -> None:
        for name in ("a", "b/c", "b/d/e"):
            make_picture(aside / "trip" / f"{name}.jpg")
        (aside / "trip").rename(library / "trip")
        assert len(watched.converges()) == 9
        make_picture(library / "trip" / "b" / "d" / "later.jpg")
        assert len(watched.converges()) == 10

    def test_folder_that_is_copied_in(
        self, watched: Watched, library: Path, aside: Path, make_picture: MakePicture
    ) -> None:
        for number in range(20):
            make_picture(aside / "trip" / f"{number % 3}" / "deep" / f"{number}.jpg")
        shutil.copytree(aside / "trip", library / "trip")
        assert len(watched.converges()) == 26

    def test_folder_renamed_inside(self, watched: Watched, library: Path) -> None:
        (library / "0").rename(library / "2")
        after = watched.converges()
        assert sorted(path.name for path in there(after)) == [f"{number}.jpg" for number in range(6)]
        assert missing(watched.db) == {"0.jpg", "2.jpg", "4.jpg"}
        assert watched.inferred == 6

    def test_folder_moved_out_and_back(self, watched: Watched, library: Path, aside: Path) -> None:
        (library / "0").rename(aside / "0")
        watched.converges()
        assert missing(watched.db) == {"0.jpg", "2.jpg", "4.jpg"}
        (aside / "0").rename(library / "0")
        watched.converges()
        assert missing(watched.db) == set()
        assert watched.inferred == 6

    def test_folder_that_comes_back_under_another_name_before_its_old_parent_is_renamed(
        self, watched: Watched, library: Path, aside: Path, make_picture: MakePicture
    ) -> None:
        (library / "0").rename(library / "1" / "inner")
        watched.converges()
        (library / "1" / "inner").rename(aside / "inner")
        watched.converges()
        (aside / "inner").rename(library / "back")
        watched.converges()
        (library / "1").rename(library / "2")
        watched.converges()
        make_picture(library / "back" / "later.jpg")
        watched.converges()

    def test_deleted_photo_is_marked_and_keeps_its_tag_until_it_is_back(
        self, watched: Watched, library: Path, aside: Path
    ) -> None:
        photo = library / "0" / "0.jpg"
        before = rows(watched.db)[photo]
        shutil.copy(photo, aside)
        photo.unlink()
        gone = watched.converges()[photo]
        assert gone[:4] == before[:4] and gone[4] is PhotoState.MISSING
        shutil.copy(aside / "0.jpg", photo)
        assert watched.converges()[photo] == before
        assert watched.inferred == 6

    def test_copy_needs_no_inference(self, watched: Watched, library: Path) -> None:
        shutil.copy(library / "0" / "0.jpg", library / "copy.jpg")
        after = watched.converges()
        assert after[library / "copy.jpg"] == after[library / "0" / "0.jpg"]
        assert watched.inferred == 6

    def test_hard_link_needs_no_inference(self, watched: Watched, library: Path) -> None:
        os.link(library / "0" / "0.jpg", library / "link.jpg")
        watched.converges()
        assert watched.inferred == 6

    def test_photo_saved_through_a_temporary_name(
        self, watched: Watched, library: Path, make_picture: MakePicture
    ) -> None:
        """As rsync and most editors save: the picture appears under its own name in one step."""
        photo = library / "0" / "0.jpg"
        half = make_picture(library / "0" / ".0.jpg.Xy12", seed=7, format="JPEG")
        half.replace(photo)
        assert set(watched.converges()) == set(library.rglob("*.jpg"))

    def test_temporary_and_hidden_names_are_left_alone(
        self, watched: Watched, library: Path, make_picture: MakePicture
    ) -> None:
        for name in (".hidden.jpg", ".thumbs/a.jpg", "a.jpg.part", "b.jpg~", "c.jpg.crdownload", "d.tmp"):
            make_picture(library / name, format="JPEG")
        last = make_picture(library / "last.jpg")
        assert last in watched.converges()
        assert len(rows(watched.db)) == 7
        (library / "a.jpg.part").rename(library / "a.jpg")
        assert library / "a.jpg" in watched.converges()

    def test_excluded_names_are_left_alone(self, start: Start, library: Path, make_picture: MakePicture) -> None:
        make_picture(library / "raw" / "before.jpg")
        watched = start(library, exclude=["raw", "*_small.jpg", "0/sub/*.png"])
        watched.until(lambda: watched.inferred == 6)
        for name in ("raw/a.jpg", "1/raw/deep/b.jpg", "c_small.jpg", "0/sub/d.png"):
            make_picture(library / name)
        wanted = [make_picture(library / name) for name in ("0/sub/d.jpg", "raw.jpg")]
        assert set(wanted) < set(watched.converges())
        assert len(rows(watched.db)) == 8
        (library / "raw" / "a.jpg").rename(library / "0" / "a.jpg")
        assert len(watched.converges()) == 9

    def test_names_that_are_not_text(self, watched: Watched, library: Path, make_picture: MakePicture) -> None:
        source = make_picture(library / "source.jpg")
        folder = os.fsencode(library) + b"/caf\xe9\n"
        os.mkdir(folder)  # noqa: PTH102  # bytes
        for name in (b"new\nline.jpg", b"\xff\xfe.jpg", b"%s {0}.jpg", "🦎.jpg".encode()):
            shutil.copy(source, folder + b"/" + name)
        after = watched.converges()
        assert os.fsencode(library) + b"/caf\xe9\n/\xff\xfe.jpg" in {os.fsencode(path) for path in after}
        os.rename(folder, os.fsencode(library) + b"/\xe9")  # noqa: PTH104  # bytes
        watched.converges()
        assert len(missing(watched.db)) == 4

    def test_dates_in_the_future_and_long_past(
        self, watched: Watched, library: Path, aside: Path, make_picture: MakePicture
    ) -> None:
        for number, moment in enumerate([0, 1, 4_000_000_000]):
            photo = make_picture(aside / "dated" / f"dated{number}.jpg")
            os.utime(photo, (moment, moment))
        shutil.copytree(aside / "dated", library / "dated")  # keeps the dates
        assert len(watched.converges()) == 9

    def test_photo_that_is_a_root_itself(self, start: Start, library: Path, make_picture: MakePicture) -> None:
        photo = library / "0" / "0.jpg"
        watched = start(photo, library / "1")
        assert len(watched.converges()) == 4
        make_picture(photo, seed=77)
        watched.converges()
        aside = photo.with_name("aside.jpg")
        photo.rename(aside)
        wait_for_suspicion(watched, photo)
        aside.rename(photo)
        watched.converges()
        assert missing(watched.db) == set()


class TestHumanTags:
    def test_they_survive_a_change_of_place_and_of_content(
        self, watched: Watched, library: Path, make_picture: MakePicture
    ) -> None:
        photo, moved = library / "0" / "0.jpg", library / "moved.jpg"
        with Store.open(watched.db) as store:
            until(lambda: tag_by_hand(store, photo))
        photo.rename(moved)
        watched.until(lambda: rows(watched.db).get(moved, ())[:4] == ("reptile", "iguana", "subclass", Source.HUMAN))
        os.utime(moved)
        make_picture(moved, seed=1)
        last = make_picture(library / "last.jpg")
        watched.until(lambda: last in rows(watched.db))
        assert rows(watched.db)[moved][:4] == ("reptile", "iguana", "subclass", Source.HUMAN)


def tag_by_hand(store: Store, photo: Path) -> bool:
    """Whether it could be done: the watcher may just be writing."""
    try:
        with store.writing("test"):
            store.set_human_tag(photo, superclass="reptile", subclass="iguana")
    except LockedError:
        return False
    return True


class TestFilesBeingWritten:
    @pytest.fixture
    def picture(self, aside: Path, make_picture: MakePicture) -> bytes:
        return make_picture(aside / "slow.jpg", size=(640, 480)).read_bytes()

    @pytest.fixture(autouse=True)
    def _quick_retries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "_RETRY_SECONDS", 0.5)
        monkeypatch.setattr(watching, "_RETRY_FACTOR", 2)

    def test_file_written_in_pieces_and_kept_open(self, watched: Watched, library: Path, picture: bytes) -> None:
        photo = library / "slow.jpg"
        pieces = [picture[start : start + len(picture) // 4 + 1] for start in range(0, len(picture), len(picture) // 4)]
        with photo.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                file.flush()
                time.sleep(0.25)  # a slow writer
        assert watched.converges()[photo][4] is PhotoState.OK

    def test_file_closed_and_opened_again_several_times(self, watched: Watched, library: Path, picture: bytes) -> None:
        photo = library / "slow.jpg"
        for start in range(0, len(picture), len(picture) // 6):
            with photo.open("ab") as file:
                file.write(picture[start : start + len(picture) // 6])
            time.sleep(0.15)  # a slow writer
        assert watched.converges()[photo][4] is PhotoState.OK

    def test_file_found_by_a_scan_while_it_is_written_is_not_read_before_it_stands_still(
        self, start: Start, library: Path, picture: bytes, written_while_watched: Callable[[Path, list[bytes]], None]
    ) -> None:
        pieces = [picture[start : start + 5000] for start in range(0, len(picture), 5000)]
        written_while_watched(library / "slow.jpg", pieces)
        watched = start(library, poll=True)
        watched.until(lambda: library / "slow.jpg" in rows(watched.db))
        assert not pieces
        assert there(rows(watched.db)) == fresh_rows(watched.model, library)
        assert not any(batch.failures for batch in watched.batches)

    def test_file_cut_short_is_tried_a_few_times_and_tagged_once_it_is_repaired(
        self, watched: Watched, library: Path, picture: bytes
    ) -> None:
        photo = library / "cut.jpg"
        photo.write_bytes(picture[: len(picture) // 2])

        def attempts() -> int:
            with Store.open(watched.db) as store:
                found = store.find(photo)
                return found.attempts if found is not None else 0

        watched.until(lambda: attempts() == 3)
        # What is read next proves that nothing is under way for the one that was given up.
        (library / "empty.jpg").write_bytes(b"")
        watched.until(lambda: library / "empty.jpg" in rows(watched.db))
        assert attempts() == 3
        assert rows(watched.db)[photo][4] is PhotoState.UNREADABLE
        photo.write_bytes(picture)
        (library / "empty.jpg").write_bytes(picture)
        assert watched.converges()[photo][4] is PhotoState.OK
        assert attempts() == 0

    @pytest.mark.parametrize("days", [1, -1])
    def test_clock_that_jumps(
        self, watched: Watched, library: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch, days: int
    ) -> None:
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
        with (library / "slow.jpg").open("wb") as file:
            file.write(picture[:1000])
            (library / "0").rename(library / "moved")
            watched.until(lambda: library / "moved" / "0.jpg" in rows(watched.db))
            file.write(picture[1000:])
        assert watched.converges()[library / "slow.jpg"][4] is PhotoState.OK


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
            assert len(watched.converges()) == 8
            assert missing(watched.db) == {"0.jpg"}
        assert not watched.told("sysctl")

    def test_changes_that_nobody_told_of_are_found_by_the_next_scan(
        self, start: Start, library: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched = start(library, rescan_seconds=1.0)
        watched.until(lambda: watched.told("6 tagged"))
        monkeypatch.setattr("phototag.library.place.Place._handle", lambda place, event: None)
        make_picture(library / "new.jpg")
        assert len(watched.converges()) == 7


class TestDatabaseThatCannotBeWritten:
    @pytest.fixture(autouse=True)
    def _short_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "_TROUBLE_SECONDS", (0.5, 1.0))
        monkeypatch.setattr("phototag.store.engine.BUSY_TIMEOUT_SECONDS", 0.3)

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
            for number in range(40):
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


def assert_sound(db: Path) -> None:
    from phototag.store import check

    assert check(db).problems == ()


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


class Process:
    """`phototag watch` as a process of its own."""

    def __init__(self, model: Path, db: Path, *words: str | os.PathLike[str], before: tuple[str, ...] = ()) -> None:
        self.db = db
        self.err = db.with_name(f"stderr-{time.monotonic_ns()}")
        self.out = self.err.with_name(self.err.name.replace("stderr", "stdout"))
        options = ["--model", model, "--db", db, "--batch-size", "4", "--settle", str(SETTLE_SECONDS)]
        command = [*before, sys.executable, "-m", "phototag", "watch", *map(os.fspath, [*options, *words])]
        with self.err.open("wb") as err, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                # A test run in the background ignores Ctrl-C, and its children would too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.err.read_text(errors="replace")

    def until(self, condition: Callable[[], object]) -> None:
        def met() -> object:
            assert self.process.poll() is None, self.said
            return condition()

        try:
            until(met)
        except AssertionError as error:
            raise AssertionError(f"not in time; said: {self.said}") from error

    def says(self, *words: str) -> None:
        self.until(lambda: all(word in self.said for word in words))

    def ends(self, code: int) -> None:
        assert self.process.wait(PATIENCE_SECONDS) == code, self.said
        assert "Traceback" not in self.said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def spawn(quick_model: Path, db: Path) -> Iterator[Callable[..., Process]]:
    """Start `phototag watch`; it is killed in the end."""
    started: list[Process] = []

    def run(*words: str | os.PathLike[str], **more: Any) -> Process:
        started.append(Process(quick_model, db, *words, **more))
        return started[-1]

    yield run
    for process in started:
        process.kill()


Spawn = Callable[..., Process]


class TestCommand:
    def test_beside_a_watcher_others_read_and_no_other_tags(
        self,
        spawn: Spawn,
        library: Path,
        db: Path,
        quick_model: Path,
        run_phototag: RunCommand,
        make_picture: MakePicture,
    ) -> None:
        first = spawn(library)
        first.says("6 tagged")
        for command in (("watch",), ("watch", "--once"), ("tag",)):
            refused = run_phototag(*command, library, "--db", db, "--model", quick_model)
            assert refused.exit_code == 2, command
            assert f"'phototag watch' (process {first.pid} on " in refused.stderr
        assert run_phototag("db", "check", "--db", db).exit_code == 0
        assert run_phototag("query", "--count", "--db", db).stdout == "6\n"
        found = json.loads(run_phototag("status", "--db", db, "--format", "json").stdout)
        assert found["running"] is True
        assert found["holder"]["pid"] == found["watcher"]["pid"] == first.pid
        assert found["photos"] == {"ok": 6}
        (root,) = found["watcher"]["roots"]
        assert root["path"] == str(library) and root["mode"] == "events" and root["last_scan_at"]
        text = run_phototag("status", "--db", db).stdout
        assert "waiting for changes" in text and f"process {first.pid}" in text and str(library) in text
        (library / "bad.jpg").write_bytes(b"no picture")
        first.says("1 failed")
        until(lambda: "bad.jpg" in run_phototag("status", "--db", db).stdout)
        first.kill()
        text = run_phototag("status", "--db", db).stdout
        assert "not running" in text and "ended without a word" in text
        assert run_phototag("db", "check", "--db", db).exit_code == 0
        again = spawn(library)
        again.says("Watching")
        until(lambda: "not running" not in run_phototag("status", "--db", db).stdout)
        again.process.terminate()
        again.ends(0)
        found = json.loads(run_phototag("status", "--db", db, "--format", "json").stdout)
        assert (found["running"], found["holder"], found["watcher"]["doing"]) == (False, None, "stopped")
        assert found["watcher"]["stopped_at"]
        assert "stopped" in run_phototag("status", "--db", db).stdout

    def test_status_without_a_database_or_a_watcher(
        self, run_phototag: RunCommand, tmp_path: Path, library: Path, quick_model: Path, db: Path
    ) -> None:
        result = run_phototag("status", "--db", tmp_path / "none.db")
        assert result.exit_code == 2
        assert "none.db" in result.stderr
        assert not list(tmp_path.glob("none.db*"))
        run_phototag("tag", library, "--db", db, "--model", quick_model)
        result = run_phototag("status", "--db", db)
        assert result.exit_code == 0
        assert "No watcher has run" in result.stdout and "6 ok" in result.stdout
        found = json.loads(run_phototag("status", "--db", db, "--format", "json").stdout)
        assert found["watcher"] is None and found["running"] is False

    def test_status_survives_a_note_that_makes_no_sense(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        run_phototag("tag", library, "--db", db, "--model", quick_model)
        note = db.with_name(f"{db.name}.watch.json")
        for text in ("", "{", "[]", "{}", '{"pid": 1}', '{"roots": 3}', '{"roots": [3], "totals": [], "notices": 1}'):
            note.write_text(text)
            for form in ("json", "table"):
                assert run_phototag("status", "--db", db, "--format", form).exit_code == 0, text

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_finishes_the_batch_in_hand(
        self,
        spawn: Spawn,
        library: Path,
        db: Path,
        number: signal.Signals,
        make_picture: MakePicture,
        home: Path,
    ) -> None:
        for more in range(300):
            make_picture(library / "more" / f"{more}.tif")  # in helper processes
        watcher = spawn(library, "--workers", "1")
        watcher.until(lambda: db.exists() and len(safe_rows(db)) > 10)
        watcher.process.send_signal(number)
        watcher.ends(0)
        assert "Finishing the batch in hand" in watcher.said and "Stopped" in watcher.said
        assert 10 < len(rows(db)) < 306
        assert_sound(db)
        assert no_helper_is_left(home)

    def test_second_signal_leaves_at_once_and_harms_nothing(
        self, spawn: Spawn, library: Path, db: Path, make_picture: MakePicture
    ) -> None:
        watcher = spawn(library)
        watcher.says("6 tagged")
        with closing(sqlite3.connect(db, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")  # the batch in hand takes half a minute
            make_picture(library / "new.jpg")
            time.sleep(1.0)
            watcher.process.send_signal(signal.SIGTERM)
            watcher.says("Finishing")
            watcher.process.send_signal(signal.SIGTERM)
            watcher.ends(128 + signal.SIGTERM)
        assert_sound(db)
        assert len(rows(db)) == 6

    def test_rows_are_streamed(self, spawn: Spawn, library: Path, make_picture: MakePicture) -> None:
        watcher = spawn(library, "--format", "ndjson")
        watcher.until(lambda: watcher.out.read_bytes().count(b"\n") == 6)
        new = make_picture(library / "new.jpg")
        bad = library / os.fsdecode(b"\xff\n.jpg")
        bad.write_bytes(b"no picture")
        watcher.until(lambda: watcher.out.read_bytes().count(b"\n") == 8)
        last = {row["path"]: row for row in map(json.loads, watcher.out.read_bytes().splitlines()[6:])}
        assert set(last) == {str(new), str(bad)}
        assert last[str(new)]["state"] == "ok" and last[str(new)]["rank"]
        assert last[str(bad)]["state"] == "unreadable"

    def test_emptied_root_is_said_once_and_marks_nothing_until_photos_are_back(
        self, spawn: Spawn, library: Path, db: Path, quick_model: Path, run_phototag: RunCommand
    ) -> None:
        kept = shutil.copytree(library, library.with_name("kept"))
        watcher = spawn(library, "--rescan", "1")
        watcher.says("6 tagged")
        # Stopped, so that it does not see the photos go one by one.
        watcher.process.send_signal(signal.SIGSTOP)
        for folder in library.iterdir():
            shutil.rmtree(folder)
        watcher.process.send_signal(signal.SIGCONT)
        watcher.says("nothing was marked missing")
        watcher.until(lambda: "suspended" in run_phototag("status", "--db", db).stdout)
        assert missing(db) == set()
        shutil.copytree(kept, library, dirs_exist_ok=True)
        expected = fresh_rows(quick_model, library)
        watcher.until(lambda: rows(db) == expected)
        assert watcher.said.count("nothing was marked missing") == 1
        watcher.until(lambda: "suspended" not in run_phototag("status", "--db", db).stdout)

    def test_permission_taken_from_a_folder_and_given_back(
        self, spawn: Spawn, library: Path, db: Path, quick_model: Path, make_picture: MakePicture
    ) -> None:
        watcher = spawn(library, "--rescan", "1", before=as_user())
        watcher.says("6 tagged")
        locked = library / "0"
        try:
            locked.chmod(0)
            watcher.says(f"{locked}: Permission denied")
            (library / "1" / "1.jpg").unlink()
            new = make_picture(library / "new.jpg")
            watcher.until(lambda: missing(db) == {"1.jpg"} and new in rows(db))
        finally:
            locked.chmod(0o755)
        make_picture(locked / "later.jpg")
        expected = fresh_rows(quick_model, library)
        watcher.until(lambda: there(rows(db)) == expected)
        assert missing(db) == {"1.jpg"}
        assert watcher.said.count(f"{locked}: Permission denied") == 1
        watcher.process.terminate()
        watcher.ends(0)

    def test_root_that_cannot_be_reached_for_a_while(
        self, spawn: Spawn, library: Path, db: Path, quick_model: Path, make_picture: MakePicture
    ) -> None:
        above = library.parent / "above"
        above.mkdir()
        library.rename(above / "library")
        library = above / "library"
        watcher = spawn(library, "--rescan", "1", before=as_user())
        watcher.says("6 tagged")
        try:
            above.chmod(0)
            watcher.says("nothing is marked missing")
            make_picture(library / "new.jpg")
        finally:
            above.chmod(0o755)
        expected = fresh_rows(quick_model, library)
        watcher.until(lambda: rows(db) == expected)
        watcher.process.terminate()
        watcher.ends(0)

    def test_reader_of_the_rows_that_leaves_ends_it(
        self, library: Path, db: Path, quick_model: Path, make_picture: MakePicture
    ) -> None:
        words = ["watch", str(library), "--db", str(db), "--model", str(quick_model), "--format", "ndjson"]
        err = db.with_name("stderr")
        with err.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "phototag", *words], stdout=subprocess.PIPE, stderr=file, bufsize=0
            )
        try:
            with process.stdout as out:  # type: ignore[union-attr]
                assert out.readline().startswith(b"{")
            make_picture(library / "new.jpg")
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in err.read_text()
        assert_sound(db)

    def test_wrong_use(self, run_phototag: RunCommand, library: Path, quick_model: Path, tmp_path: Path) -> None:
        model = ("--model", quick_model)
        for words, expected in (
            ((library / "none",), "no such file or folder"),
            ((library, "--format", "json"), "--once"),
            ((library, "--exclude", ""), "--exclude"),
            ((library, "--settle", "-1"), "--settle"),
            ((library, "--db", tmp_path / "none" / "photos.db"), "none"),
        ):
            result = run_phototag("watch", *words, *model)
            assert result.exit_code == 2, words
            assert expected in result.stderr
            assert result.stdout == ""


class TestOnce:
    def test_it_catches_up_and_sums_up(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path, make_picture: MakePicture
    ) -> None:
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE)
        result = run_phototag("watch", library, *options)
        assert result.exit_code == 0
        assert "6 tagged, 0 unchanged" in result.stderr and "model tiny" in result.stderr
        assert rows(db) == fresh_rows(quick_model, library)
        make_picture(library / "new.jpg")
        (library / "0" / "0.jpg").unlink()
        result = run_phototag("watch", library, *options, "--format", "json")
        assert result.exit_code == 0
        assert "1 tagged, 5 unchanged" in result.stderr and "1 missing" in result.stderr
        assert {Path(row["path"]).name: row["state"] for row in json.loads(result.stdout)} == {
            **{f"{number}.jpg": "ok" for number in range(1, 6)},
            "new.jpg": "ok",
            "0.jpg": "missing",
        }
        assert run_phototag("watch", library / "1" / "1.jpg", *options).exit_code == 0

    def test_unreadable_photos_make_the_exit_code_1(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        (library / "bad.jpg").write_bytes(b"no picture")
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE)
        for again in range(5):
            result = run_phototag("watch", library, *options)
            assert result.exit_code == 1, result.stderr
            assert "1 failed" in result.stderr, result.stderr
            assert ("bad.jpg: " in result.stderr) == (again < 3)
            assert ("given up earlier" in result.stderr) == (again >= 3)

    def test_empty_folders(self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path) -> None:
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE)
        run_phototag("watch", library, *options)
        (library / "empty").mkdir()
        result = run_phototag("watch", library / "empty", *options)
        assert result.exit_code == 0
        assert "No pictures found" in result.stderr
        shutil.rmtree(library)
        library.mkdir()
        result = run_phototag("watch", library, *options)
        assert result.exit_code == 2
        assert result.stderr.count("nothing was marked missing") == 1
        assert missing(db) == set()

    def test_file_being_written_is_waited_for(
        self,
        run_phototag: RunCommand,
        library: Path,
        db: Path,
        quick_model: Path,
        make_picture: MakePicture,
        written_while_watched: Callable[[Path, list[bytes]], None],
    ) -> None:
        content = make_picture(library / "slow.jpg", size=(640, 480)).read_bytes()
        written_while_watched(library / "slow.jpg", [content[:1000], content[1000:2000], content[2000:]])
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE, "--poll")
        result = run_phototag("watch", library, *options)
        assert result.exit_code == 0
        assert "7 tagged" in result.stderr
        assert rows(db) == fresh_rows(quick_model, library)

    def test_file_that_is_written_for_ever_is_left_for_the_next_time(
        self,
        run_phototag: RunCommand,
        library: Path,
        db: Path,
        quick_model: Path,
        make_picture: MakePicture,
        monkeypatch: pytest.MonkeyPatch,
        written_while_watched: Callable[[Path, list[bytes]], None],
    ) -> None:
        monkeypatch.setattr(watching, "_ONCE_SECONDS", 1.0)
        monkeypatch.setattr(watching, "_ONCE_SETTLINGS", 1)
        content = make_picture(library / "slow.jpg", size=(640, 480)).read_bytes()
        written_while_watched(library / "slow.jpg", [content[:100]] * 1000)
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE, "--poll")
        result = run_phototag("watch", library, *options)
        assert result.exit_code == 0
        assert "1 files are still being written" in result.stderr
        assert set(rows(db)) == set(library.rglob("*.jpg")) - {library / "slow.jpg"}


def as_user() -> tuple[str, ...]:
    """Words before a command that take from root the right to read everything."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and there is no setpriv to give that up")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


SETTLE = str(SETTLE_SECONDS)


def safe_rows(db: Path) -> dict[Path, Essence]:
    """The rows; none while the database is just being made."""
    from phototag.errors import StoreError

    try:
        return rows(db)
    except StoreError:
        return {}


def no_helper_is_left(home: Path) -> bool:
    """Whether the helper processes end that were started with this home: they outlive their keeper by a moment."""
    until(lambda: not helpers(home), "helper processes are left behind")
    return True


def helpers(home: Path) -> list[int]:
    """The helper processes with this home, whoever keeps them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_helper = b"phototag.imaging.helper" in (folder / "cmdline").read_bytes()
            if is_helper and os.fsencode(home) in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found
