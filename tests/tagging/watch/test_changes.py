"""Whatever happens to photos, the database ends as a fresh scan would."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from phototag.errors import LockedError
from phototag.records import PhotoState, Source
from phototag.store import Store
from phototag.tagging import watch as watching
from tests.support.pictures import MakePicture
from tests.support.raw_files import dng
from tests.support.watcher import Start, Watched, fresh_rows, missing, rows, there, until, wait_for_suspicion


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """A folder on the same disk that nobody watches."""
    (tmp_path / "aside").mkdir()
    return tmp_path / "aside"


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
        assert missing(watched.db) == set()
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
        assert sorted(path.name for path in after) == [f"{number}.jpg" for number in range(6)]
        assert watched.inferred == 6

    def test_raw_photo_follows_the_picture_beside_it_until_that_is_gone(self, watched: Watched, library: Path) -> None:
        picture, raw = library / "0" / "0.jpg", library / "0" / "0.dng"
        raw.write_bytes(dng(Image.new("RGB", (64, 64), (200, 30, 90))))
        after = watched.converges()
        assert after[raw] == after[picture] and watched.inferred == 6
        picture.rename(library / "0" / "x.jpg")
        after = watched.converges()
        assert after[raw] != after[library / "0" / "x.jpg"] and watched.inferred == 7

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
        assert missing(watched.db) == set()

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
            store.tags.set_human(photo, superclass="reptile", subclass="iguana")
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
                found = store.photos.find(photo)
                return found.attempts if found is not None else 0

        watched.until(lambda: attempts() == 3)
        told = [line for line in watched.said if f"{photo}: " in line]
        assert len(told) == 3
        moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert all(re.fullmatch(rf"{moment} /.*cut\.jpg: the picture is cut short.*", line) for line in told)
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
