"""`phototag tag`: its options, dry runs, exclusions, mounts, wrong use and the report."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from phototag.errors import ModelError
from phototag.records import PhotoState, Rank, Tag
from phototag.store import Store
from phototag.tagging import pipeline
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand, RunProcess
from tests.support.pictures import MakePicture
from tests.support.tagged_photos import RunTag, photos_by_name


class TestDryRun:
    def test_it_writes_nothing(self, tag: RunTag, library: Path, db: Path, make_picture: MakePicture) -> None:
        tag(library)
        make_picture(library / "new.jpg")
        (library / "0" / "0.jpg").unlink()
        before = db.read_bytes()
        batches: list[pipeline.Batch] = []
        report = tag(library, dry_run=True, sinks=[batches.append])
        assert (report.tagged, report.unchanged) == (1, 7)
        assert [item.photo.path.name for batch in batches for item in batch.tagged] == ["new.jpg"]
        assert db.read_bytes() == before
        assert set(photos_by_name(db)) == {f"{number}.jpg" for number in range(8)}

    def test_it_needs_and_makes_no_database(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, tmp_path: Path
    ) -> None:
        result = run_phototag("tag", library, "--dry-run", "--model", quick_model, "--db", tmp_path / "new.db")
        assert result.exit_code == 0
        assert "Dry run" in result.stderr
        assert "0/0.jpg" in result.stdout
        assert not list(tmp_path.glob("new.db*"))

    def test_its_rows_are_those_that_would_be_stored(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        (library / "0" / "bad.jpg").write_bytes(b"x")
        options = ("--model", quick_model, "--db", db, "--format", "json")
        dry = json.loads(run_phototag("tag", library, "--dry-run", *options).stdout)
        wet = json.loads(run_phototag("tag", library, *options).stdout)
        for row in [*dry, *wet]:
            del row["tagged_at"]
        assert dry == wet
        assert len(dry) == 9


class TestCommand:
    def test_it_says_what_it_did_on_stderr_and_nothing_on_stdout(
        self, run_phototag: RunCommand, library: Path, quick_model: Path
    ) -> None:
        result = run_phototag("tag", library, "--model", quick_model)
        assert result.exit_code == 0
        assert result.stdout == ""
        assert "8 tagged, 0 unchanged" in result.stderr
        assert "model tiny" in result.stderr
        again = run_phototag("tag", library, "--model", quick_model)
        assert "0 tagged, 8 unchanged" in again.stderr

    def test_failed_photos_make_the_exit_code_1_and_are_listed_with_their_reason(
        self, run_phototag: RunCommand, library: Path, quick_model: Path
    ) -> None:
        (library / "0" / "bad.jpg").write_bytes(b"GIF89a")
        result = run_phototag("tag", library, "--model", quick_model)
        assert result.exit_code == 1
        assert "bad.jpg: " in result.stderr
        assert "8 tagged" in result.stderr and "1 failed" in result.stderr
        rows = json.loads(run_phototag("query", "--state", "unreadable", "--format", "json").stdout)
        assert [row["path"] for row in rows] == [str(library / "0" / "bad.jpg")]
        assert rows[0]["error"] and rows[0]["superclass"] is None and rows[0]["tagged_at"] is None

    def test_many_failures_are_listed_up_to_a_bound(
        self, run_phototag: RunCommand, tmp_path: Path, quick_model: Path
    ) -> None:
        folder = tmp_path / "bad"
        folder.mkdir()
        for number in range(50):
            (folder / f"{number}.jpg").write_bytes(b"x")
        result = run_phototag("tag", folder, "--model", quick_model)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) < 30
        assert "50 failed (50 not an image)" in result.stderr
        assert "phototag query --state unreadable" in result.stderr

    @pytest.mark.parametrize("form", ["json", "ndjson", "csv", "table"])
    def test_format_prints_the_rows_below_the_path(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, form: str
    ) -> None:
        run_phototag("tag", library, "--model", quick_model)
        result = run_phototag("tag", library / "0", "--model", quick_model, "--format", form)
        assert result.stdout.count(".jpg") == 4
        below = run_phototag("query", "--under", library / "0", "--format", form)
        assert result.stdout == below.stdout

    def test_an_empty_folder_is_no_error(self, run_phototag: RunCommand, tmp_path: Path, quick_model: Path) -> None:
        (tmp_path / "empty").mkdir()
        result = run_phototag("tag", tmp_path / "empty", "--model", quick_model)
        assert result.exit_code == 0
        assert "No pictures found" in result.stderr

    def test_what_is_left_out_is_said_once(
        self, run_phototag: RunCommand, library: Path, tmp_path: Path, quick_model: Path
    ) -> None:
        for name in ("a.JXL", "0/b.crw", "@eaDir/c.jpg"):
            (library / name).parent.mkdir(exist_ok=True)
            (library / name).write_bytes(b"x")
        (library / "link.jpg").symlink_to(library / "0")
        result = run_phototag("tag", library, "--model", quick_model)
        assert result.exit_code == 0
        line = (
            "Left out: 2 files in formats that are not read (1 .jxl, 1 .crw), 1 symbolic link, "
            "folders of the system (1 @eaDir)."
        )
        assert result.stderr.count("Left out") == result.stderr.count(line) == 1, result.stderr
        only = tmp_path / "only"
        only.mkdir()
        (only / "a.jxl").write_bytes(b"x")
        result = run_phototag("tag", only, "--model", quick_model)
        assert "No pictures found there." in result.stderr and "1 file in formats" in result.stderr

    def test_an_emptied_folder_is_an_error(self, run_phototag: RunCommand, library: Path, quick_model: Path) -> None:
        run_phototag("tag", library, "--model", quick_model)
        shutil.rmtree(library)
        library.mkdir()
        result = run_phototag("tag", library, "--model", quick_model)
        assert result.exit_code == 2
        assert "mounted" in result.stderr

    def test_a_damaged_exif_block_draws_no_warning(
        self, phototag_process: RunProcess, tmp_path: Path, quick_model: Path, make_picture: MakePicture
    ) -> None:
        folder = tmp_path / "exif"
        make_picture(folder / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 9)
        make_picture(folder / "b.tif", size=(9, 9))
        done = phototag_process("tag", folder, "--model", quick_model)
        assert done.returncode == 0
        assert len(done.stderr.decode().splitlines()) == 1, done.stderr.decode()


class TestExclude:
    @pytest.mark.parametrize(
        ("patterns", "names"),
        [
            (["0"], "1357"),
            (["0/"], "1357"),
            (["[0-2].jpg"], "34567"),
            (["0/0.jpg", "1/*"], "246"),
            (["**/[!46].jpg"], "46"),
            (["{library}/1"], "0246"),
            (["{library}/**"], ""),
            (["library"], "01234567"),
        ],
    )
    def test_what_is_left_out_is_not_tagged(
        self, tag: RunTag, library: Path, db: Path, patterns: list[str], names: str
    ) -> None:
        report = tag(library, exclude=[pattern.format(library=library) for pattern in patterns])
        assert report.complete
        assert set(photos_by_name(db)) == {f"{name}.jpg" for name in names}

    def test_known_photos_that_are_left_out_are_not_missing(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        (library / "0" / "0.jpg").unlink()
        (library / "1" / "1.jpg").unlink()
        report = tag(library, exclude=["0"])
        assert (report.photos, report.unchanged, report.missing) == (3, 3, 1)
        assert set(photos_by_name(db, state=PhotoState.MISSING)) == {"1.jpg"}
        assert tag(library).missing == 1

    def test_leaving_out_everything_is_no_unmounted_disk(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        report = tag(library, exclude=["*.jpg"])
        assert report.complete
        assert (report.photos, report.missing) == (0, 0)

    def test_an_empty_pattern_is_wrong_use(self, run_phototag: RunCommand, library: Path, quick_model: Path) -> None:
        result = run_phototag("tag", library, "--model", quick_model, "--exclude", "/")
        assert result.exit_code == 2
        assert "an empty pattern" in result.stderr

    def test_the_command_takes_several(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        options = ["--model", quick_model, "--db", db]
        result = run_phototag("tag", library, *options, "--exclude", "0.jpg", "--exclude", "1/*")
        assert result.exit_code == 0
        assert set(photos_by_name(db)) == {"2.jpg", "4.jpg", "6.jpg"}

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ('[tag]\nexclude = ["0.jpg", "1"]', "246"),
            ('[tag]\nexclude = "1"', "0246"),
            ('exclude = ["0"]', "1357"),
            ("[tag]\nexclude = []", "01234567"),
        ],
    )
    def test_the_configuration_file_may_name_them(
        self,
        run_phototag: RunCommand,
        library: Path,
        quick_model: Path,
        db: Path,
        home: Path,
        text: str,
        names: str,
    ) -> None:
        (home / "config").mkdir()
        (home / "config" / "config.toml").write_text(text)
        assert run_phototag("tag", library, "--model", quick_model, "--db", db).exit_code == 0
        assert set(photos_by_name(db)) == {f"{name}.jpg" for name in names}


class TestOptionsOfTheEngine:
    def test_jobs_bound_the_cores(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not hasattr(os, "sched_setaffinity"):
            pytest.skip("this system does not tie processes to cores")
        tied: list[int] = []
        monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: tied.append(len(cores)))
        for option in (("--jobs", "1"), ("-j", "1")):
            assert run_phototag("tag", library, "--model", quick_model, *option, "--force").exit_code == 0
        assert tied == [1, 1]
        assert run_phototag("tag", library, "--model", quick_model).exit_code == 0
        assert tied == [1, 1], "without the option nothing is tied"
        assert Tagger(quick_model, jobs=1).workers == 1
        assert Tagger(quick_model, jobs=1, workers=3).workers == 3

    def test_tags_do_not_depend_on_jobs_workers_and_batches(
        self, quick_model: Path, library: Path, make_picture: MakePicture
    ) -> None:
        found = []
        for options in ({}, {"jobs": 1}, {"workers": 1, "batch_size": 1}, {"workers": 5, "batch_size": 3}):
            with Tagger(quick_model, precision="f32", **options) as tagger:
                found.append(dict(tagger.predict(library)))
        for other in found[1:]:
            assert list(other) == list(found[0])
            for path, tag in other.items():
                first = found[0][path]
                assert isinstance(tag, Tag) and isinstance(first, Tag)
                assert (tag.superclass, tag.subclass) == (first.superclass, first.subclass)
                assert tag.subclass_score == pytest.approx(first.subclass_score, abs=1e-4)

    def test_a_picture_that_is_too_large_fails_and_a_higher_limit_takes_it(
        self, run_phototag: RunCommand, tmp_path: Path, quick_model: Path, make_picture: MakePicture
    ) -> None:
        make_picture(tmp_path / "large" / "a.jpg", size=(1300, 1000))
        make_picture(tmp_path / "large" / "b.jpg")
        result = run_phototag("tag", tmp_path / "large", "--model", quick_model, "--max-megapixels", "1")
        assert result.exit_code == 1
        assert "1 tagged" in result.stderr and "1 failed (1 too large)" in result.stderr
        assert "a.jpg: " in result.stderr
        result = run_phototag("tag", tmp_path / "large", "--model", quick_model, "--max-megapixels", "2")
        assert result.exit_code == 0
        assert "1 tagged, 1 unchanged" in result.stderr

    def test_the_configuration_file_may_name_them(
        self, run_phototag: RunCommand, tmp_path: Path, quick_model: Path, make_picture: MakePicture, home: Path
    ) -> None:
        make_picture(tmp_path / "large" / "a.jpg", size=(1300, 1000))
        (home / "config").mkdir()
        (home / "config" / "config.toml").write_text(
            'max-megapixels = 1\nruntime-precision = "f32"\n[tag]\nworkers = 1\nbatch-size = 2\n'
        )
        assert "too large" in run_phototag("tag", tmp_path / "large", "--model", quick_model).stderr
        result = run_phototag("tag", tmp_path / "large", "--model", quick_model, "--max-megapixels", "2")
        assert result.exit_code == 0, "what is typed wins"

    @pytest.mark.parametrize("precision", ["f32", "auto"])
    def test_a_precision_may_be_named(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, precision: str
    ) -> None:
        result = run_phototag("tag", library, "--model", quick_model, "--runtime-precision", precision)
        assert result.exit_code == 0
        assert "8 tagged" in result.stderr


MOUNTS = """
import json, shutil, subprocess, sys
from pathlib import Path
from phototag.tagging.tagger import Tagger
from phototag.store import Query, Store

model, base = sys.argv[1], Path(sys.argv[2])
library, disk, medium = base / "library", base / "library" / "a" / "disk", base / "medium"


def run(*words):
    subprocess.run(words, check=True)


def look():
    with Store.open(base / "photos.db") as store, Tagger(model, precision="f32") as tagger:
        report = tagger.tag([library], store)
        states = {photo.path.name: str(photo.state) for photo in store.query(Query())}
        print(json.dumps([report.unchanged, report.missing, report.problems, states]))


run("mount", "-t", "tmpfs", "tmpfs", medium)
for name in ("x.jpg", "y.jpg"):
    shutil.copy(base / name, medium / name)
run("mount", "--bind", medium, disk)
look()
run("umount", disk)
(library / "gone.jpg").unlink()
look()
look()
run("mount", "--bind", medium, disk)
look()
(disk / "y.jpg").unlink()
look()
run("umount", disk)
shutil.copy(base / "x.jpg", disk / "copied.jpg")
look()
"""


class TestMounts:
    @pytest.fixture
    def unshare(self) -> list[str]:
        """Runs a command where it may mount what it likes, and nobody else sees it."""
        words = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
            pytest.skip("no mount namespaces here")
        return words

    def test_a_disk_that_is_not_mounted_protects_its_photos(
        self, unshare: list[str], tmp_path: Path, make_picture: MakePicture, quick_model: Path
    ) -> None:
        for name in ("library/there.jpg", "library/gone.jpg", "x.jpg", "y.jpg"):
            make_picture(tmp_path / name)
        disk = tmp_path / "library" / "a" / "disk"
        for folder in (disk, tmp_path / "medium"):
            folder.mkdir(parents=True)
        words = [*unshare, sys.executable, "-c", MOUNTS, str(quick_model), str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        first, away, still_away, back, deleted, plain = map(json.loads, done.stdout.splitlines())
        everything = dict.fromkeys(["there.jpg", "gone.jpg", "x.jpg", "y.jpg"], "ok")
        assert first == [0, 0, [], everything]
        for report, missing in ((away, 1), (still_away, 0)):
            assert report[:2] == [1, missing], "what is gone beside the disk is missing"
            (problem,) = report[2]
            assert problem.startswith(f"{disk}: nothing is mounted there any more") and "2" in problem
            assert report[3] == everything | {"gone.jpg": "missing"}
        assert back == [3, 0, [], everything | {"gone.jpg": "missing"}]
        assert deleted == [2, 1, [], everything | {"gone.jpg": "missing", "y.jpg": "missing"}]
        # A folder like any other now: what was on the disk counts as gone.
        assert plain[:3] == [1, 1, []]
        assert (plain[3]["x.jpg"], plain[3]["copied.jpg"]) == ("missing", "ok")


class TestWrongUse:
    def check(self, result: Any, *words: str) -> None:
        assert result.exit_code == 2
        assert result.stdout == ""
        for word in words:
            assert word in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_missing_folder(self, run_phototag: RunCommand, library: Path, quick_model: Path, tmp_path: Path) -> None:
        result = run_phototag("tag", library, tmp_path / "nowhere", "--model", quick_model)
        self.check(result, "nowhere: no such file or folder")
        assert run_phototag("query", "--count").stdout in ("", "0\n"), "nothing was tagged"

    def test_no_path(self, run_phototag: RunCommand) -> None:
        self.check(run_phototag("tag"), "PATH...")

    def test_an_unknown_model(self, run_phototag: RunCommand, library: Path) -> None:
        self.check(run_phototag("tag", library, "--model", "nonesuch"), "nonesuch", "builtin")
        self.check(run_phototag("tag", library, "--model", "no/such.safetensors"), "no such model")
        self.check(run_phototag("tag", library, "--model", "what?"), "cannot name a model")

    def test_a_model_file_cut_in_half(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, tmp_path: Path
    ) -> None:
        half = tmp_path / "half.safetensors"
        content = quick_model.read_bytes()
        for length in (0, 4, 100, len(content) // 2, len(content) - 1):
            half.write_bytes(content[:length])
            self.check(run_phototag("tag", library, "--model", half), "half.safetensors")
        with pytest.raises(ModelError, match="cut short"):
            Tagger(half)

    def test_a_model_file_that_is_something_else(self, run_phototag: RunCommand, library: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.safetensors"
        other.write_bytes(os.urandom(5000))
        self.check(run_phototag("tag", library, "--model", other), "not a phototag model")
        self.check(run_phototag("tag", library, "--model", tmp_path), str(tmp_path))

    def test_a_database_that_is_a_text_file_is_left_as_it_was(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        db.write_text("dear diary\n" * 100)
        result = run_phototag("tag", library, "--model", quick_model, "--db", db)
        self.check(result, "photos.db: is not a database")
        assert db.read_text() == "dear diary\n" * 100

    def test_a_database_in_a_folder_that_does_not_exist(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, tmp_path: Path
    ) -> None:
        result = run_phototag("tag", library, "--model", quick_model, "--db", tmp_path / "none" / "photos.db")
        self.check(result, "none does not exist")
        assert not (tmp_path / "none").exists()

    def test_a_database_of_another_program(
        self, run_phototag: RunCommand, library: Path, quick_model: Path, db: Path
    ) -> None:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("CREATE TABLE songs (title TEXT)")
        self.check(run_phototag("tag", library, "--model", quick_model, "--db", db), "another program")

    def test_a_gpu_that_is_not_there(self, run_phototag: RunCommand, library: Path, quick_model: Path) -> None:
        import torch

        if torch.backends.mps.is_available():
            pytest.skip("this machine has an Apple GPU")
        result = run_phototag("tag", library, "--model", quick_model, "--device", "mps")
        self.check(result, "no mps device")

    def test_a_runtime_that_does_not_fit_the_device(
        self, run_phototag: RunCommand, library: Path, quick_model: Path
    ) -> None:
        result = run_phototag("tag", library, "--model", quick_model, "--device", "cuda", "--runtime", "openvino")
        self.check(result, "openvino")

    @pytest.mark.parametrize(
        "option",
        [
            *(("--batch-size", "0"), ("--workers", "0"), ("--device", "tpu"), ("--format", "paths")),
            *(("--jobs", "0"), ("--max-megapixels", "0"), ("--runtime-precision", "f64")),
        ],
    )
    def test_values_out_of_range(self, run_phototag: RunCommand, library: Path, option: tuple[str, str]) -> None:
        self.check(run_phototag("tag", library, *option), option[0])


class TestReport:
    def test_the_numbers_add_up(self, tag: RunTag, library: Path, make_picture: MakePicture) -> None:
        (library / "bad.jpg").write_bytes(b"x")
        tag(library)
        make_picture(library / "new.jpg")
        os.utime(library / "0" / "0.jpg")
        for options in ({}, {"force": True}, {"dry_run": True}):
            report = tag(library, **options)
            assert report.photos == report.tagged + report.unchanged + report.failed == 10
            assert report.inferred <= report.tagged
            assert report.given_up <= report.failed

    def test_every_batch_is_saved_before_it_is_told(self, quick_model: Path, library: Path, db: Path) -> None:
        told: set[str] = set()

        def look(batch: pipeline.Batch) -> None:
            told.update(item.photo.path.name for item in batch.items)
            assert told <= set(photos_by_name(db))

        with Store.open(db) as store, Tagger(quick_model, batch_size=3) as tagger:
            tagger.tag([library], store, sinks=[look])
        assert len(told) == 8

    def test_ranks_and_labels_fit(self, tag: RunTag, library: Path, db: Path, make_picture: MakePicture) -> None:
        for number in range(60):
            make_picture(library / "more" / f"m{number}.png")
        tag(library)
        ranks = {photo.rank for photo in photos_by_name(db).values()}
        assert Rank.SUBCLASS in ranks and len(ranks) > 1
        for photo in photos_by_name(db).values():
            assert (photo.superclass is None) == (photo.rank is Rank.NONE)
            assert (photo.subclass is not None) == (photo.rank is Rank.SUBCLASS)
