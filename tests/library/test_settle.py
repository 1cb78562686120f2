"""When a file that may still be being written is ready to be looked at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from phototag.library.settle import Settling


class CountedLooks:
    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> os.stat_result:
        self.paths.append(path)
        return os.lstat(path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"begun")
    return path


def test_file_that_stands_still_is_ready_after_two_looks(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100)
    assert settling.next_deadline() == 100
    assert settling.due(100) == []
    assert settling.next_deadline() == 102
    assert settling.due(101.9) == []
    assert settling.due(102) == [photo]
    assert len(settling) == 0
    assert settling.next_deadline() is None
    assert settling.due(200) == []


def test_late_first_look_does_not_shorten_the_wait(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100)
    assert settling.due(150) == []
    assert settling.due(151.9) == []
    assert settling.due(152) == [photo]


def test_file_appended_to_for_an_hour_costs_one_look_a_period_and_is_taken_once(photo: Path) -> None:
    looks = CountedLooks()
    settling = Settling(2, look=looks)
    for second in range(3600):
        with photo.open("ab") as file:
            file.write(b"more")
        settling.note(photo, second)
        assert settling.due(second) == []
        assert len(settling) == 1
    assert len(looks.paths) == 1800
    ready = [path for second in range(3600, 3700) for path in settling.due(second)]
    assert ready == [photo]


def test_complete_file_is_ready_at_once_and_not_looked_at(photo: Path) -> None:
    looks = CountedLooks()
    settling = Settling(2, look=looks)
    settling.note(photo, 100, closed=True)
    assert settling.due(100) == [photo]
    assert looks.paths == []


def test_waiting_file_that_is_closed_is_ready_at_once(photo: Path) -> None:
    settling = Settling(60)
    settling.note(photo, 100)
    assert settling.due(100) == []
    settling.note(photo, 101, closed=True)
    assert settling.due(101) == [photo]
    assert settling.due(1000) == []


def test_closed_file_that_is_written_anew_settles(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100, closed=True)
    settling.note(photo, 100)
    assert settling.due(100) == []
    assert settling.due(102) == [photo]


def test_deleted_file_is_ready_at_once(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100)
    assert settling.due(100) == []
    photo.unlink()
    settling.note(photo, 100.5)
    assert settling.due(102) == [photo], "noted again while waiting: seen gone at its next look"
    settling.note(photo, 103)
    assert settling.due(103) == [photo]


def test_same_size_with_another_time_or_inode_is_a_change(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100)
    settling.due(100)
    os.utime(photo, ns=(0, 1))
    assert settling.due(102) == []
    other = photo.with_name("other.jpg")
    shutil.copy2(photo, other)
    other.replace(photo)
    assert settling.due(104) == []
    assert settling.due(106) == [photo]


def test_times_in_the_future_or_far_past_do_not_matter(photo: Path) -> None:
    for seconds in (0, 4_000_000_000):
        os.utime(photo, (seconds, seconds))
        settling = Settling(2)
        settling.note(photo, 100)
        assert settling.due(100) == []
        assert settling.due(102) == [photo]


def test_retried_file_is_left_alone_until_its_time_and_then_settles(photo: Path) -> None:
    looks = CountedLooks()
    settling = Settling(2, look=looks)
    settling.retry(photo, 130)
    assert settling.next_deadline() == 130
    assert settling.due(129) == []
    assert looks.paths == []
    assert settling.due(130) == []
    assert settling.due(132) == [photo]


def test_retried_file_that_is_noted_earlier_is_looked_at_earlier(photo: Path) -> None:
    settling = Settling(2)
    settling.retry(photo, 130)
    settling.note(photo, 110)
    assert settling.next_deadline() == 110
    assert settling.due(110) == []
    assert settling.due(112) == [photo]
    assert settling.next_deadline() is None


def test_retry_does_not_put_off_a_file_that_waits_already(photo: Path) -> None:
    settling = Settling(2)
    settling.note(photo, 100)
    settling.retry(photo, 500)
    assert settling.next_deadline() == 100


def test_many_files_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(100)]
    settling = Settling(2)
    for number, path in enumerate(paths):
        path.touch()
        settling.note(path, number)
        assert settling.due(number) == [path for path in paths if path == paths[number - 2] and number >= 2]


def test_forgotten_folder_brings_nothing_more(tmp_path: Path, photo: Path) -> None:
    other = tmp_path / "drive" / "other.jpg"
    settling = Settling(2)
    settling.note(photo, 100)
    settling.note(other, 100)
    settling.forget(tmp_path / "drive")
    assert len(settling) == 1
    settling.forget(photo)
    assert settling.next_deadline() is None
    assert settling.due(200) == []


def test_link_folder_and_unreachable_name_are_ready_at_once(tmp_path: Path, photo: Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    paths = [link, folder, photo / "below.jpg", tmp_path / ("long" * 100 + ".jpg")]
    settling = Settling(2)
    for path in paths:
        settling.note(path, 100)
    assert settling.due(100) == paths


def test_names_that_are_not_utf8_settle(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.touch()
    settling = Settling(0)
    settling.note(path, 1)
    assert settling.due(1) == []
    assert settling.due(1) == [path]


def test_negative_time_to_settle_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Settling(-1)
