"""What the watcher tells of real folders, and that it tells when it may have missed something."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phototag.library.events import Hints, Inbox
from phototag.library.observer import is_watch_limit_reached
from phototag.library.watched_root import RENEW_SECONDS, RETRY_SECONDS, Mode
from phototag.library.watcher import Watcher
from tests.support.inotify import inotify_limit

# Far more than anything here takes, for machines that are busy.
PATIENCE_SECONDS = 20.0
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is a part of Linux")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def together(*some: Hints) -> Hints:
    return Hints(
        closed=frozenset().union(*(hints.closed for hints in some)),
        touched=frozenset().union(*(hints.touched for hints in some)),
        folders=frozenset().union(*(hints.folders for hints in some)),
        lost=frozenset().union(*(hints.lost for hints in some)),
        notices=tuple(notice for hints in some for notice in hints.notices),
    )


def take_until(watcher: Watcher, is_enough: Callable[[Hints], object], *, now: float | None = None) -> Hints:
    """All hints until there is what is waited for; the watcher is checked in between if a time is given."""
    hints, end = Hints(), time.monotonic() + PATIENCE_SECONDS
    while not is_enough(hints):
        assert time.monotonic() < end, f"not in time; there is only {hints}"
        if now is not None:
            watcher.check(now)
        hints = together(hints, watcher.take(0.05))
    return hints


def everything(watcher: Watcher, root: Path) -> Hints:
    """All hints up to now: up to those of a file that is written last."""
    last = root / "last.jpg"
    last.write_bytes(b"")
    hints = take_until(watcher, lambda hints: last in hints.closed)
    last.unlink()
    take_until(watcher, lambda hints: last in hints.touched)
    return Hints(hints.closed - {last}, hints.touched - {last}, hints.folders, hints.lost, hints.notices)


def test_written_picture_is_closed_and_deleted_one_touched(root: Path) -> None:
    photo = root / "photo.JPG"
    with Watcher([root]) as watcher:
        assert watcher.modes() == {root: Mode.EVENTS}
        photo.write_bytes(b"x")
        assert everything(watcher, root) == Hints(closed=frozenset({photo}))
        photo.unlink()
        assert everything(watcher, root) == Hints(touched=frozenset({photo}))


def test_picture_still_being_written_is_touched(root: Path) -> None:
    photo = root / "photo.jpg"
    with Watcher([root]) as watcher, photo.open("wb") as file:
        file.write(b"begun")
        file.flush()
        assert everything(watcher, root) == Hints(touched=frozenset({photo}))


def test_reading_pictures_wakes_nobody(root: Path) -> None:
    photo = root / "photo.jpg"
    photo.write_bytes(b"x")
    with Watcher([root]) as watcher:
        photo.read_bytes()
        list(root.iterdir())
        assert watcher.take(0.3) == Hints()


def test_what_the_scanner_passes_over_gives_no_hint(root: Path) -> None:
    (root / ".hidden").mkdir()
    (root / "thumbs").mkdir()
    with Watcher([root], is_excluded=lambda path: "thumbs" in path.parts) as watcher:
        for name in ("notes.txt", "photo.jpg.part", ".photo.jpg", "library.db-wal", ".hidden/x.jpg", "thumbs/x.jpg"):
            (root / name).write_bytes(b"x")
        (root / "thumbs" / "deep").mkdir()
        (root / ".hidden" / "deep").mkdir()
        assert everything(watcher, root) == Hints()


def test_temporary_name_changed_to_a_picture_name_is_closed(root: Path) -> None:
    with Watcher([root]) as watcher:
        for number, temporary in enumerate(("0.jpg.part", "x.crdownload", ".hidden.jpg", ".2.jpg.Xy12Z")):
            (root / temporary).write_bytes(b"x")
            (root / temporary).rename(root / f"{number}.jpg")
        expected = frozenset(root / f"{number}.jpg" for number in range(4))
        assert everything(watcher, root) == Hints(closed=expected)


def test_picture_moved_in_is_closed_moved_within_is_both_and_moved_out_is_touched(root: Path, outside: Path) -> None:
    (root / "a").mkdir()
    (root / "b").mkdir()
    (outside / "x.jpg").write_bytes(b"x")
    with Watcher([root]) as watcher:
        (outside / "x.jpg").rename(root / "a" / "x.jpg")
        assert everything(watcher, root) == Hints(closed=frozenset({root / "a" / "x.jpg"}))
        (root / "a" / "x.jpg").rename(root / "b" / "x.jpg")
        both = Hints(closed=frozenset({root / "b" / "x.jpg"}), touched=frozenset({root / "a" / "x.jpg"}))
        assert everything(watcher, root) == both
        (root / "b" / "x.jpg").rename(outside / "x.jpg")
        assert everything(watcher, root) == Hints(touched=frozenset({root / "b" / "x.jpg"}))


def test_new_folders_are_named_by_the_outermost_and_watched(root: Path) -> None:
    deep = root / "a" / "b" / "c"
    with Watcher([root]) as watcher:
        deep.mkdir(parents=True)
        (deep / "early.jpg").write_bytes(b"x")
        hints = everything(watcher, root)
        assert hints.folders == {root / "a"}
        (deep / "late.jpg").write_bytes(b"x")
        assert deep / "late.jpg" in everything(watcher, root).closed


def test_folder_moved_in_renamed_moved_out_and_deleted_is_looked_through(root: Path, outside: Path) -> None:
    (outside / "trip" / "day").mkdir(parents=True)
    (outside / "trip" / "day" / "x.jpg").write_bytes(b"x")
    with Watcher([root]) as watcher:
        (outside / "trip").rename(root / "trip")
        assert everything(watcher, root) == Hints(folders=frozenset({root / "trip"}))
        (root / "trip").rename(root / "tour")
        assert everything(watcher, root) == Hints(folders=frozenset({root / "trip", root / "tour"}))
        (root / "tour" / "day" / "y.jpg").write_bytes(b"x")
        assert everything(watcher, root) == Hints(closed=frozenset({root / "tour" / "day" / "y.jpg"}))
        (root / "tour").rename(outside / "tour")
        assert everything(watcher, root).folders == {root / "tour"}
        (root / "empty").mkdir()
        assert everything(watcher, root).folders == {root / "empty"}
        (root / "empty").rmdir()
        assert everything(watcher, root).folders == {root / "empty"}


def test_root_that_is_a_link_keeps_its_name(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    with Watcher([link]) as watcher:
        (root / "x.jpg").write_bytes(b"x")
        (root / "sub").mkdir()
        hints = everything(watcher, link)
        assert hints == Hints(closed=frozenset({link / "x.jpg"}), folders=frozenset({link / "sub"}))


def test_root_link_that_leads_elsewhere_is_looked_through(root: Path, outside: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    with Watcher([link]) as watcher:
        link.unlink()
        link.symlink_to(outside)
        hints = take_until(watcher, lambda hints: hints.lost, now=0)
        assert hints.lost == {link}
        (outside / "x.jpg").write_bytes(b"x")
        assert everything(watcher, link).closed == {link / "x.jpg"}


def test_links_below_a_root_are_not_followed(root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    with Watcher([root]) as watcher:
        (outside / "x.jpg").write_bytes(b"x")
        assert everything(watcher, root) == Hints()


def test_single_files_are_watched_without_their_neighbours(root: Path, outside: Path) -> None:
    first, second, link, target = root / "1.jpg", root / "2.jpg", root / "link.jpg", outside / "target.jpg"
    for path in (first, second, target):
        path.write_bytes(b"x")
    link.symlink_to(target)
    with Watcher([first, second, link]) as watcher:
        assert watcher.modes() == dict.fromkeys((first, second, link), Mode.EVENTS)
        (root / "neighbour.jpg").write_bytes(b"x")
        (root / "folder").mkdir()
        first.write_bytes(b"y")
        target.write_bytes(b"y")
        assert take_until(watcher, lambda hints: len(hints.closed) == 2) == Hints(closed=frozenset({first, link}))
        (root / "new").write_bytes(b"z")
        (root / "new").rename(second)
        first.unlink()
        hints = take_until(watcher, lambda hints: hints.touched)
        assert hints == Hints(closed=frozenset({second}), touched=frozenset({first}))


def test_names_that_are_not_utf8_survive(root: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    with Watcher([root]) as watcher:
        folder.mkdir()
        assert everything(watcher, root).folders == {folder}
        photo = Path(os.fsdecode(bytes(folder) + b"/\xff.jpg"))
        photo.write_bytes(b"x")
        assert everything(watcher, root).closed == {photo}


def test_thousand_files_copied_at_once_are_few_calls(root: Path) -> None:
    with Watcher([root]) as watcher:
        photos = {root / f"{number}.jpg" for number in range(1000)}
        begun = time.monotonic()
        for photo in photos:
            photo.write_bytes(b"x")
        found: set[Path] = set()
        calls = 0
        while found < photos:
            found |= watcher.take(PATIENCE_SECONDS).closed
            calls += 1
        assert calls <= 2 + (time.monotonic() - begun) / 0.1


def test_nothing_happens_until_the_time_is_over(root: Path) -> None:
    with Watcher([root]) as watcher:
        begun = time.monotonic()
        assert watcher.take(0.2) == Hints()
        assert time.monotonic() - begun >= 0.2
        assert not watcher.take(0)


def test_wake_ends_the_wait(root: Path) -> None:
    with Watcher([root]) as watcher:
        begun = time.monotonic()
        timer = threading.Timer(0.1, watcher.wake)
        timer.start()
        assert watcher.take(PATIENCE_SECONDS) == Hints()
        timer.join()
        watcher.wake()
        assert watcher.take(PATIENCE_SECONDS) == Hints(), "also what came before the wait began"
        assert time.monotonic() - begun < PATIENCE_SECONDS


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_wake_may_come_from_a_signal_handler_at_any_moment(root: Path) -> None:
    with Watcher([root]) as watcher:
        previous = signal.signal(signal.SIGALRM, lambda *_: watcher.wake())
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for _ in range(200):
                assert watcher.take(PATIENCE_SECONDS) == Hints()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def test_too_many_paths_become_lost_events() -> None:
    one, other = Path("/one"), Path("/other")
    inbox = Inbox([one, other], max_paths=10)
    for number in range(20):
        inbox.closed(one, one / f"{number}.jpg")
        inbox.closed(other, other / "same.jpg")
    hints = inbox.take(0, lambda path: False)
    assert hints == Hints(closed=frozenset({other / "same.jpg"}), lost=frozenset({one}))
    inbox.closed(one, one / "x.jpg")
    assert inbox.take(0, lambda path: False) == Hints(closed=frozenset({one / "x.jpg"}))


def test_last_word_on_a_file_counts() -> None:
    root = Path("/root")
    inbox = Inbox([root])
    inbox.closed(root, root / "a.jpg")
    inbox.touched(root, root / "a.jpg")
    inbox.touched(root, root / "b.jpg")
    inbox.closed(root, root / "b.jpg")
    hints = inbox.take(0, lambda path: False)
    assert hints == Hints(closed=frozenset({root / "b.jpg"}), touched=frozenset({root / "a.jpg"}))


def test_polling_needs_no_threads(root: Path) -> None:
    before = set(threading.enumerate())
    with Watcher([root], poll=True) as watcher:
        assert watcher.modes() == {root: Mode.POLLING}
        assert set(threading.enumerate()) <= before
        (root / "x.jpg").write_bytes(b"x")
        watcher.check(1000)
        assert watcher.take(0.1) == Hints()
        root.rename(root.with_name("gone"))
        watcher.check(1001)
        assert watcher.modes() == {root: Mode.AWAY}


def test_network_drive_is_polled_and_said_so_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.library.watched_root.needs_polling", lambda path: "nfs4")
    with Watcher([root]) as watcher:
        assert watcher.modes() == {root: Mode.POLLING}
        (notice,) = watcher.take(0).notices
        assert "nfs4" in notice
        watcher.check(10 * RETRY_SECONDS)
        watcher.check(20 * RETRY_SECONDS)
        assert watcher.take(0) == Hints()


def test_root_that_is_not_there_at_first_is_watched_once_it_is(root: Path) -> None:
    root.rmdir()
    with Watcher([root]) as watcher:
        assert watcher.modes() == {root: Mode.AWAY}
        assert "is not there" in watcher.take(0).notices[0]
        watcher.check(1)
        assert watcher.take(0) == Hints()
        root.mkdir()
        watcher.check(2)
        hints = watcher.take(1)
        assert hints.lost == {root}
        assert "is back" in hints.notices[0]
        assert watcher.modes() == {root: Mode.EVENTS}
        (root / "x.jpg").write_bytes(b"x")
        assert everything(watcher, root).closed == {root / "x.jpg"}


@pytest.mark.parametrize("way", ["deleted", "renamed"])
def test_root_that_goes_away_is_said_once_and_taken_up_when_it_is_back(root: Path, way: str) -> None:
    other = root.with_name("other")
    other.mkdir()
    (root / "x.jpg").write_bytes(b"x")
    with Watcher([root, other]) as watcher:
        if way == "deleted":
            (root / "x.jpg").unlink()
            root.rmdir()
        else:
            root.rename(root.with_name("elsewhere"))
        hints = take_until(watcher, lambda hints: hints.notices, now=1)
        assert len(hints.notices) == 1
        assert "nothing is marked missing" in hints.notices[0]
        assert watcher.modes() == {root: Mode.AWAY, other: Mode.EVENTS}
        watcher.check(2)
        (other / "y.jpg").write_bytes(b"x")
        assert everything(watcher, other).closed == {other / "y.jpg"}, "the other root goes on"
        root.mkdir()
        hints = take_until(watcher, lambda hints: hints.lost, now=3)
        assert hints.lost == {root}
        assert everything(watcher, root) == Hints()


def test_other_folder_in_the_place_of_a_root_is_looked_through(root: Path) -> None:
    with Watcher([root]) as watcher:
        root.rename(root.with_name("old"))
        root.mkdir()
        hints = take_until(watcher, lambda hints: hints.lost, now=1)
        assert "another folder" in hints.notices[0]
        (root.with_name("old") / "x.jpg").write_bytes(b"x")
        assert everything(watcher, root) == Hints()


def test_stop_is_quick_and_can_be_repeated_when_a_root_is_gone(root: Path) -> None:
    watcher = Watcher([root])
    watcher.start()
    root.rmdir()
    begun = time.monotonic()
    watcher.stop()
    watcher.stop()
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2


@contextlib.contextmanager
def started_under(limit: str, value: int, *roots: Path) -> Iterator[Watcher]:
    """A watcher that lives on after the limit under which it was started has been lifted."""
    watcher = Watcher(roots)
    with inotify_limit(limit, value):
        watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def watches_in_use() -> int:
    """How many watches this user holds, in all programs: the largest limit that refuses one more."""
    low, high = 0, int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    while low < high:
        middle = (low + high + 1) // 2
        with inotify_limit("max_user_watches", middle):
            low, high = (middle, high) if is_watch_limit_reached() else (low, middle - 1)
    return low


def fill(root: Path, names: range) -> None:
    for number in names:
        (root / f"{number}.jpg").write_bytes(b"x")


@pytest.mark.parametrize("folders", [0, 100])
def test_overflow_of_the_event_queue_is_noticed_said_and_mended(
    root: Path, folders: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(folders):  # with more folders than events may wait, watchdog alone would mend for ever
        (root / f"folder{number}").mkdir()
    with started_under("max_queued_events", 16, root) as watcher:
        fill(root, range(2000))
        hints = take_until(watcher, lambda hints: hints.lost, now=1000)
        assert hints.lost == {root}
        (notice,) = hints.notices
        assert "sudo sysctl fs.inotify.max_queued_events=" in notice
        assert watcher.modes() == {root: Mode.EVENTS}
        watcher.check(1001)
        (root / "x.jpg").write_bytes(b"x")
        assert everything(watcher, root).closed >= {root / "x.jpg"}
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_overflow_in_one_root_leaves_the_other_alone(root: Path, outside: Path) -> None:
    with started_under("max_queued_events", 16, root, outside) as watcher:
        fill(root, range(2000))
        hints = take_until(watcher, lambda hints: hints.lost, now=1000)
        assert hints.lost == {root}


def test_overflow_again_and_again_ends_in_polling_for_a_while(root: Path) -> None:
    with started_under("max_queued_events", 16, root) as watcher:
        with inotify_limit("max_queued_events", 16):
            fill(root, range(2000))
            take_until(watcher, lambda hints: hints.lost, now=1000)
        fill(root, range(2000))
        hints = take_until(watcher, lambda hints: hints.lost, now=1000 + RENEW_SECONDS / 2)
        assert "again and again" in hints.notices[0]
        assert watcher.modes() == {root: Mode.POLLING}
        watcher.check(2000)
        watcher.check(2000 + RETRY_SECONDS)
        hints = watcher.take(0)
        assert hints.lost == {root}
        assert watcher.modes() == {root: Mode.EVENTS}


def test_watch_limit_reached_below_the_root_is_noticed_and_said_with_numbers(root: Path) -> None:
    for number in range(10):
        (root / f"{number}").mkdir()
    with started_under("max_user_watches", watches_in_use() + 5, root) as watcher:
        assert watcher.modes() == {root: Mode.POLLING}
        (notice,) = watcher.take(0).notices
        assert " of 11 folders" in notice
        assert "sudo sysctl fs.inotify.max_user_watches=" in notice
        assert "/etc/sysctl.d" in notice
        watcher.check(1000)
        watcher.check(1000 + RETRY_SECONDS)
        hints = watcher.take(0)
        assert hints.lost == {root}
        assert "can be watched for events again" in hints.notices[0]
        assert watcher.modes() == {root: Mode.EVENTS}


def test_watch_limit_reached_at_the_root_is_said_and_not_repeated(root: Path) -> None:
    with inotify_limit("max_user_watches", 0), Watcher([root]) as watcher:
        assert watcher.modes() == {root: Mode.POLLING}
        (notice,) = watcher.take(0).notices
        assert "only 0 of 1 folders" in notice
        watcher.check(1000)
        watcher.check(1000 + RETRY_SECONDS)
        assert watcher.take(0) == Hints()


def test_watch_limit_reached_by_new_folders_is_noticed(root: Path) -> None:
    with Watcher([root]) as watcher, inotify_limit("max_user_watches", watches_in_use() + 2):
        for number in range(10):
            (root / f"{number}").mkdir()
        hints = take_until(watcher, lambda hints: hints.lost, now=1000)
        assert " of 11 folders" in hints.notices[0]
        assert watcher.modes() == {root: Mode.POLLING}


def test_instance_limit_is_said_with_the_remedy(root: Path) -> None:
    with inotify_limit("max_user_instances", 0), Watcher([root]) as watcher:
        assert watcher.modes() == {root: Mode.POLLING}
        (notice,) = watcher.take(0).notices
        assert "sudo sysctl fs.inotify.max_user_instances=" in notice


@on_linux
def test_thread_that_dies_is_replaced(root: Path, outside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Folders of the same name thrown away twice and the bin emptied: watchdog 7.1 loses its reading thread."""
    with Watcher([root]) as watcher:
        (root / "trip").mkdir()
        everything(watcher, root)
        (root / "trip").rename(outside / "trip")
        everything(watcher, root)
        (root / "trip").mkdir()
        everything(watcher, root)
        (root / "trip").rmdir()
        everything(watcher, root)
        (outside / "trip").rmdir()
        hints = take_until(watcher, lambda hints: hints.lost, now=1000)
        assert "broke off" in hints.notices[0]
        assert watcher.modes() == {root: Mode.EVENTS}
        (root / "x.jpg").write_bytes(b"x")
        assert everything(watcher, root).closed == {root / "x.jpg"}
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    if sys.platform != "linux" or subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False).returncode:
        pytest.skip("mounting takes Linux and the rights of root")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_unmounted_root_is_away_although_its_empty_mount_point_is_there(root: Path) -> None:
    with contextlib.ExitStack() as cleanup:
        with mounted(root):
            (root / "x.jpg").write_bytes(b"x")
            watcher = cleanup.enter_context(Watcher([root]))
            assert watcher.modes() == {root: Mode.EVENTS}
        watcher.check(1)
        assert watcher.modes() == {root: Mode.AWAY}
        hints = watcher.take(1)
        assert "nothing is marked missing" in hints.notices[0]
        assert not hints.lost | hints.touched | hints.folders
        watcher.check(2)
        assert watcher.take(0) == Hints()
        with mounted(root):
            watcher.check(3)
            assert watcher.take(1).lost == {root}
            assert everything(watcher, root) == Hints()
            watcher.stop()


def test_disk_mounted_below_a_root_is_looked_through_and_watched(root: Path) -> None:
    disk = root / "disk"
    disk.mkdir()
    with Watcher([root]) as watcher:
        with mounted(disk):
            watcher.check(1)
            hints = watcher.take(1)
            assert hints.lost == {root}
            assert f"{disk}: something was mounted there" in hints.notices[0]
            (disk / "x.jpg").write_bytes(b"x")
            assert everything(watcher, root).closed == {disk / "x.jpg"}
        watcher.check(2)
        hints = watcher.take(1)
        assert hints.lost == {root}
        assert f"{disk}: what was mounted there is gone" in hints.notices[0]
