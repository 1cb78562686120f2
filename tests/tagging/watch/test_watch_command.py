"""`phototag watch` and `phototag status` as processes, and a watch that looks once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from phototag.store import Role, holder_of
from phototag.store.location import parse_location
from phototag.tagging import is_well
from phototag.tagging import watch as watching
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.watcher import (
    PATIENCE_SECONDS,
    SETTLE_SECONDS,
    Essence,
    assert_sound,
    fresh_rows,
    missing,
    rows,
    there,
    until,
)


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
        until(lambda: run_phototag("status", "--check", "--db", db).exit_code == 0)
        note = json.loads(run_phototag("status", "--db", db, "--format", "json").stdout)["watcher"]
        again.process.terminate()
        again.ends(0)
        found = json.loads(run_phototag("status", "--db", db, "--format", "json").stdout)
        assert (found["running"], found["holder"], found["watcher"]["doing"]) == (False, None, "stopped")
        assert found["watcher"]["stopped_at"]
        stopped = run_phototag("status", "--check", "--db", db)
        assert stopped.exit_code == 1 and "stopped" in stopped.stdout
        long_ago = note | {"updated_at": "2020-01-01T00:00:00+00:00"}
        assert [is_well({"running": True, "watcher": each}) for each in (note, long_ago, {}, None)] == [
            True,
            *[False] * 3,
        ]

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
            make_picture(library / "more" / f"{more}.tif")  # in worker processes
        watcher = spawn(library, "--workers", "1")
        watcher.until(lambda: db.exists() and len(safe_rows(db)) > 10)
        watcher.process.send_signal(number)
        watcher.ends(0)
        assert "Finishing the batch in hand" in watcher.said and "Stopped" in watcher.said
        assert 10 < len(rows(db)) < 306
        assert_sound(db)
        assert no_worker_is_left(home)

    def test_second_signal_leaves_at_once_and_harms_nothing(
        self, spawn: Spawn, library: Path, db: Path, make_picture: MakePicture
    ) -> None:
        watcher = spawn(library)
        watcher.says("6 tagged")
        with closing(sqlite3.connect(db, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")  # the batch in hand takes half a minute
            make_picture(library / "new.jpg")
            watcher.until(lambda: holder_of(parse_location(db), Role.WRITE))
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

    def test_what_is_left_out_is_said_once(self, spawn: Spawn, library: Path, make_picture: MakePicture) -> None:
        (library / "a.jxl").write_bytes(b"x")
        make_picture(library / "@eaDir" / "thumb.jpg")
        watcher = spawn(library, "--rescan", "1")
        watcher.says("6 tagged", "1 .jxl", "1 @eaDir")
        make_picture(library / "@eaDir" / "later.jpg")
        make_picture(library / "new.jpg")
        watcher.says("1 tagged")
        (library / "b.jxl").write_bytes(b"x")
        watcher.says("2 .jxl")
        assert watcher.said.count("1 .jxl") == 1

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

    def test_unreadable_photos_make_the_exit_code_1_until_they_are_given_up(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        (library / "bad.jpg").write_bytes(b"no picture")
        options = ("--once", "--model", quick_model, "--db", db, "--settle", SETTLE)
        for again in range(5):
            result = run_phototag("watch", library, *options)
            assert result.exit_code == (1 if again < 3 else 0), result.stderr
            assert ("1 failed" in result.stderr) == ("bad.jpg: " in result.stderr) == (again < 3)
            assert ("1 given up earlier" in result.stderr) == (again >= 3)

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


def no_worker_is_left(home: Path) -> bool:
    """Whether the worker processes end that were started with this home: they outlive their parent by a moment."""
    until(lambda: not workers(home), "worker processes are left behind")
    return True


def workers(home: Path) -> list[int]:
    """The worker processes with this home, whatever process started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = b"phototag.imaging.sandbox.worker" in (folder / "cmdline").read_bytes()
            if is_worker and os.fsencode(home) in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found
