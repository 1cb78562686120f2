"""Photos that cannot be read, and runs that are cut: what is left behind."""

from __future__ import annotations

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

from phototag.cli.tag import summarise
from phototag.errors import DecodeError, LockedError
from phototag.records import FailureKind, PhotoState
from phototag.store import Store
from phototag.tagging import pipeline
from phototag.tagging.tag_report import TagReport
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand, RunProcess
from tests.support.pictures import MakePicture
from tests.support.tagged_photos import RunTag, labels, photos_by_name


class TestUnreadable:
    @pytest.fixture
    def broken(self, library: Path) -> Path:
        photo = library / "0" / "0.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        return photo

    def test_the_others_are_tagged_and_the_reason_is_kept(
        self, tag: RunTag, library: Path, broken: Path, db: Path
    ) -> None:
        report = tag(library)
        assert (report.photos, report.tagged, report.failed) == (8, 7, 1)
        assert not report.complete
        assert dict(report.failure_kinds) == {"truncated": 1}
        row = photos_by_name(db)["0.jpg"]
        assert (row.state, row.rank, row.source) == (PhotoState.UNREADABLE, None, None)
        assert row.error is not None and "cut short" in row.error

    def test_each_kind_of_failure_is_named(self, tag: RunTag, tmp_path: Path, make_picture: MakePicture) -> None:
        folder = tmp_path / "bad"
        whole = make_picture(folder / "fine.jpg").read_bytes()
        (folder / "empty.jpg").write_bytes(b"")
        (folder / "text.jpg").write_bytes(b"this is no picture")
        (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        report = tag(folder)
        assert dict(report.failure_kinds) == {"empty": 1, "not_an_image": 1, "truncated": 1}
        assert report.tagged == 1

    def test_it_is_tried_three_times_and_then_given_up(self, tag: RunTag, library: Path, broken: Path) -> None:
        tries = [tag(library) for _ in range(5)]
        assert [report.failed for report in tries] == [1] * 5
        assert [report.given_up for report in tries] == [0, 0, 0, 1, 1]
        assert [report.complete for report in tries] == [False] * 3 + [True] * 2
        assert tag(library, force=True).given_up == 0

    def test_a_repaired_file_is_tagged(
        self, tag: RunTag, library: Path, broken: Path, db: Path, make_picture: MakePicture
    ) -> None:
        for _ in range(4):
            tag(library)
        make_picture(broken)
        report = tag(library)
        assert (report.tagged, report.failed) == (1, 0)
        assert photos_by_name(db)["0.jpg"].state is PhotoState.OK
        assert photos_by_name(db)["0.jpg"].error is None

    def test_a_tagged_photo_that_gets_damaged_loses_the_models_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        photo = library / "0" / "0.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        tag(library)
        assert photos_by_name(db)["0.jpg"].state is PhotoState.UNREADABLE
        assert photos_by_name(db)["0.jpg"].superclass is None

    def test_a_passing_refusal_leaves_no_trace(
        self, tag: RunTag, library: Path, db: Path, monkeypatch: pytest.MonkeyPatch, no_inference: Callable[[], None]
    ) -> None:
        """A photo tagged before, unreadable once (another user, a flaky disk), is fine again after the next run."""
        tag(library)
        before = labels(db)

        def refuse(path: Path) -> bytes:
            raise DecodeError(path, FailureKind.PERMISSION, "no permission to read the file")

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "read_bytes", refuse)
            assert tag(library, force=True).failed == 8
        no_inference()
        report = tag(library)
        assert (report.failed, report.inferred) == (0, 0)
        assert labels(db) == before
        assert {(photo.state, photo.error) for photo in photos_by_name(db).values()} == {(PhotoState.OK, None)}
        assert tag(library).unchanged == 8

    def test_a_photo_that_vanishes_before_it_is_read_is_a_failure_of_its_own_kind(
        self, quick_model: Path, library: Path
    ) -> None:
        tagger = Tagger(quick_model)
        from phototag.library.scanner import ScanProblems, scan

        photos = [found.photo() for found in scan([library], ScanProblems())]
        photos[3].path.unlink()
        batches = list(pipeline.process(photos, tagger.runtime, tagger.decode))
        assert [failure.kind for batch in batches for failure in batch.failures] == [FailureKind.GONE]
        assert sum(len(batch.tagged) for batch in batches) == 7


class TestPermissions:
    """As a user without rights: for these, root gives up its right to read everything."""

    @pytest.fixture
    def as_user(self, quick_model: Path) -> RunProcess:
        before: list[str] = []
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("root may read everything, and there is no setpriv to give that up")
            before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]

        def run(*args: str | os.PathLike[str]) -> subprocess.CompletedProcess[bytes]:
            model = ["--model", str(quick_model)] if args[0] == "tag" else []
            words = [*before, sys.executable, "-m", "phototag", *map(os.fspath, args), *model]
            done = subprocess.run(words, capture_output=True, timeout=120, check=False)
            assert b"Traceback" not in done.stderr, done.stderr.decode()
            return done

        return run

    @pytest.fixture
    def public(self, tmp_path: Path) -> Iterator[Path]:
        """A folder whose locks are taken off in the end, or nobody could remove it."""
        yield tmp_path
        for path in [*tmp_path.rglob("*")]:
            path.chmod(0o755)

    def test_a_folder_without_permission_is_named(
        self, as_user: RunProcess, public: Path, make_picture: MakePicture
    ) -> None:
        make_picture(public / "locked" / "a.jpg")
        (public / "locked").chmod(0)
        done = as_user("tag", public / "locked")
        assert done.returncode == 2
        assert b"locked: Permission denied" in done.stderr
        inner = as_user("tag", public / "locked" / "inner")
        assert inner.returncode == 2
        assert b"inner: cannot be looked at: Permission denied" in inner.stderr

    def test_a_locked_folder_among_others_protects_its_own_photos_only(
        self, as_user: RunProcess, run_phototag: RunCommand, public: Path, make_picture: MakePicture
    ) -> None:
        photos = public / "photos"
        make_picture(photos / "open" / "a.jpg")
        make_picture(photos / "locked" / "b.jpg")
        make_picture(photos / "open" / "gone.jpg")
        assert as_user("tag", photos).returncode == 0
        (photos / "locked").chmod(0)
        (photos / "open" / "gone.jpg").unlink()
        done = as_user("tag", photos)
        assert done.returncode == 1
        assert b"locked: Permission denied" in done.stderr
        assert b"not seen there (1) are not marked missing" in done.stderr
        assert run_phototag("query", "--state", "ok", "--count").stdout == "2\n"
        (photos / "locked").chmod(0o755)
        assert as_user("tag", photos).returncode == 0
        missing = run_phototag("query", "--state", "missing", "--format", "paths")
        assert missing.stdout == f"{photos}/open/gone.jpg\n"

    def test_a_photo_without_permission_fails_until_it_can_be_read(
        self, as_user: RunProcess, public: Path, make_picture: MakePicture
    ) -> None:
        photo = make_picture(public / "photos" / "a.jpg")
        photo.chmod(0)
        done = as_user("tag", public / "photos")
        assert done.returncode == 1
        assert b"a.jpg: no permission to read the file" in done.stderr
        photo.chmod(0o644)
        assert as_user("tag", public / "photos").returncode == 0

    def test_a_database_that_cannot_be_written_is_named(
        self, as_user: RunProcess, public: Path, make_picture: MakePicture
    ) -> None:
        make_picture(public / "photos" / "a.jpg")
        (public / "photos").chmod(0o555)
        done = as_user("tag", public / "photos", "--db", public / "photos" / "new.db")
        assert done.returncode == 2
        assert b"new.db" in done.stderr and b"permission" in done.stderr.lower()


class TestCutRuns:
    """Real processes: Ctrl-C, kill -9 and two at once."""

    PHOTOS = 150

    @pytest.fixture
    def many(self, tmp_path: Path, make_picture: MakePicture) -> Path:
        for number in range(self.PHOTOS):
            make_picture(tmp_path / "many" / f"{number % 7}" / f"{number:03}.jpg")
        return tmp_path / "many"

    @pytest.fixture
    def start(self, quick_model: Path, db: Path) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
        """Start tagging photo by photo, and return once some are in the database."""
        started: list[subprocess.Popen[bytes]] = []

        def run(folder: Path) -> subprocess.Popen[bytes]:
            words = [sys.executable, "-m", "phototag", "tag", str(folder), "--db", str(db), "--model", str(quick_model)]
            process = subprocess.Popen(
                [*words, "--batch-size", "1", "--workers", "1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A test run in the background ignores Ctrl-C, and its children would too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            started.append(process)
            give_up = time.monotonic() + 120
            while self.tagged(db) < 10:
                assert process.poll() is None, process.communicate()[1].decode()
                assert time.monotonic() < give_up
                time.sleep(0.005)
            return process

        yield run
        for process in started:
            process.kill()
            process.communicate()

    @staticmethod
    def tagged(db: Path) -> int:
        try:
            with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT count(*) FROM tags").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not made yet

    @staticmethod
    def essence(db: Path) -> dict[str, tuple[Any, ...]]:
        """All that a run should leave behind, without times; scores to five decimals."""
        return {
            name: (
                *(photo.path, photo.superclass, photo.subclass, photo.rank, photo.state, photo.source, photo.model),
                *(round(score or 0, 5) for score in (photo.superclass_score, photo.subclass_score, photo.novelty)),
            )
            for name, photo in photos_by_name(db).items()
        }

    def rerun_completes(
        self, phototag_process: RunProcess, many: Path, db: Path, model: Path, tmp_path: Path, before: int
    ) -> None:
        done = phototag_process("tag", many, "--db", db, "--model", model)
        assert done.returncode == 0
        assert f"{self.PHOTOS - before} tagged, {before} unchanged".encode() in done.stderr
        assert phototag_process("db", "check", "--db", db).returncode == 0
        undisturbed = tmp_path / "undisturbed.db"
        with Store.open(undisturbed) as store:
            Tagger(model).tag([many], store)
        assert self.essence(db) == self.essence(undisturbed)

    @pytest.mark.slow
    def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(
        self,
        start: Callable[[Path], subprocess.Popen[bytes]],
        phototag_process: RunProcess,
        many: Path,
        db: Path,
        quick_model: Path,
        tmp_path: Path,
    ) -> None:
        process = start(many)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert b"Interrupted; what was tagged is stored" in said
        assert b"Traceback" not in said
        before = self.tagged(db)
        assert 10 <= before < self.PHOTOS
        self.rerun_completes(phototag_process, many, db, quick_model, tmp_path, before)

    @pytest.mark.slow
    def test_kill_9_loses_at_most_the_batch_in_hand(
        self,
        start: Callable[[Path], subprocess.Popen[bytes]],
        phototag_process: RunProcess,
        many: Path,
        db: Path,
        quick_model: Path,
        tmp_path: Path,
    ) -> None:
        process = start(many)
        process.kill()
        process.communicate()
        before = self.tagged(db)
        assert 10 <= before < self.PHOTOS
        self.rerun_completes(phototag_process, many, db, quick_model, tmp_path, before)

    def test_a_second_run_at_once_is_refused_and_harms_nothing(
        self,
        start: Callable[[Path], subprocess.Popen[bytes]],
        phototag_process: RunProcess,
        many: Path,
        db: Path,
        quick_model: Path,
    ) -> None:
        first = start(many)
        first.send_signal(signal.SIGSTOP)  # so that it is not over before the second one comes
        second = phototag_process("tag", many, "--db", db, "--model", quick_model)
        reading = phototag_process("query", "--db", db, "--count")
        first.send_signal(signal.SIGCONT)
        assert second.returncode == 2
        assert f"(process {first.pid} on ".encode() in second.stderr
        assert b"is writing to this database; wait for it to finish" in second.stderr
        assert reading.returncode == 0, "reading goes on meanwhile"
        _, said = first.communicate(timeout=120)
        assert first.returncode == 0, said.decode()
        assert self.tagged(db) == self.PHOTOS

    def test_a_process_that_holds_the_lock_is_named(
        self, run_phototag: RunCommand, tag: RunTag, library: Path, db: Path, quick_model: Path
    ) -> None:
        code = (
            "import sys; from phototag.store import Store\n"
            f"with Store.open({str(db)!r}) as store, store.writing('phototag watch'):\n"
            "    print('ready', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"ready\n"
            result = run_phototag("tag", library, "--db", db, "--model", quick_model)
            assert result.exit_code == 2
            assert f"'phototag watch' (process {holder.pid}" in result.stderr
            with pytest.raises(LockedError):
                tag(library)
        finally:
            holder.communicate()
        assert tag(library).tagged == 8


def test_a_run_stopped_before_its_first_batch_does_not_say_that_there_are_no_pictures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = TagReport()
    report.interrupted = True
    summarise(report, "animals", dry_run=False)
    said = capsys.readouterr().err
    assert "Run it again to go on" in said
    assert "No pictures" not in said
