"""`phototag tag` and the Tagger: what is tagged, what is left alone, and what a run leaves behind when it is cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, MakePicture, RunCommand, RunProcess
from phototag.inference import pipeline
from phototag.inference.runtime import Runtime
from phototag.inference.tagger import Tagger, TagReport
from PIL import Image

from phototag.errors import DecodeError, LockedError, ModelError, UsageError
from phototag.records import FailureKind, PhotoState, Rank, Source, Tag, TaggedPhoto
from phototag.store import Query, Store

RunTag = Callable[..., TagReport]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "photos.db"


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Path:
    """A folder of eight pictures in two folders."""
    folder = tmp_path / "library"
    for number in range(8):
        make_picture(folder / f"{number % 2}" / f"{number}.jpg")
    return folder


@pytest.fixture
def tag(quick_model: Path, db: Path) -> RunTag:
    """Tag folders with the tiny model, or another."""

    def run(*paths: Path, model: Path = quick_model, **options: Any) -> TagReport:
        with Store.open(db) as store:
            return Tagger(model, batch_size=4).tag(paths, store, **options)

    return run


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on a network that runs fails the test."""

    def forbid() -> None:
        def run(self: Runtime, pictures: Sequence[np.ndarray]) -> None:
            raise AssertionError(f"the network ran on {len(pictures)} photos")

        monkeypatch.setattr(Runtime, "start", run)

    return forbid


def stored(db: Path, **wanted: Any) -> dict[str, TaggedPhoto]:
    """The photos of a database by file name."""
    with Store.open(db, create=False) as store:
        return {photo.path.name: photo for photo in store.query(Query(**wanted))}


def labels(db: Path) -> dict[str, tuple[str | None, str | None]]:
    return {name: (photo.superclass, photo.subclass) for name, photo in stored(db).items()}


def human_tag(db: Path, path: Path, *labels: str) -> None:
    with Store.open(db) as store, store.writing("test"):
        store.set_human_tag(path, superclass=labels[0], subclass=labels[1])


class TestWhatIsTagged:
    def test_every_photo_below_the_folder_gets_a_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        report = tag(library)
        assert (report.photos, report.tagged, report.inferred, report.failed) == (8, 8, 8, 0)
        assert report.complete
        photos = stored(db)
        assert set(photos) == {f"{number}.jpg" for number in range(8)}
        for photo in photos.values():
            assert photo.path.is_absolute()
            assert photo.state is PhotoState.OK
            assert photo.source is Source.MODEL
            assert photo.model == "tiny"
            assert photo.rank is not None
            assert photo.superclass_score is not None and 0 < photo.superclass_score <= 1
        assert len(set(labels(db).values())) > 1, "the pictures differ, so should their tags"

    def test_every_format_is_read(self, tag: RunTag, make_picture: MakePicture, tmp_path: Path, db: Path) -> None:
        names = ["a.jpg", "b.jpeg", "c.png", "d.webp", "e.tif", "f.tiff", "g.gif", "h.bmp", "i.avif", "j.JPG", "k.PNG"]
        for name in names:
            make_picture(tmp_path / "formats" / name, seed=3, size=(200, 150))
        assert tag(tmp_path / "formats").tagged == len(names)
        assert len(set(labels(db).values())) == 1, "it is the same picture in every format"

    def test_unusual_pixels_are_read(self, tag: RunTag, tmp_path: Path, db: Path) -> None:
        folder = tmp_path / "modes"
        folder.mkdir()
        colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
        ramp = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27
        colour.convert("L").save(folder / "gray.jpg")
        colour.convert("CMYK").save(folder / "cmyk.jpg")
        colour.convert("RGBA").save(folder / "alpha.png")
        colour.convert("LA").save(folder / "gray-alpha.png")
        colour.convert("1").save(folder / "bits.png")
        colour.convert("P").save(folder / "palette.png")
        colour.quantize(16).save(folder / "transparent.png", transparency=3)
        Image.fromarray(ramp).save(folder / "16bit.png")
        Image.fromarray(ramp).save(folder / "16bit.tif")
        Image.fromarray(ramp.astype(np.float32)).save(folder / "float.tif")
        colour.convert("CMYK").save(folder / "cmyk.tif")
        colour.save(folder / "phone.jpg", format="MPO", save_all=True, append_images=[colour.rotate(180)])
        colour.save(folder / "moving.gif", save_all=True, append_images=[colour.rotate(180)])
        colour.save(folder / "moving.webp", save_all=True, append_images=[colour.rotate(180)])
        colour.save(folder / "moving.png", save_all=True, append_images=[colour.rotate(180)])
        colour.resize((1, 1)).save(folder / "dot.png")
        colour.resize((3000, 2)).save(folder / "wide.png")
        report = tag(folder)
        assert [(failure.photo.path.name, failure.reason) for failure in report.failures] == []
        assert report.tagged == len(list(folder.iterdir())) == 17

    def test_odd_names_are_tagged_under_their_own_name(
        self, tag: RunTag, make_picture: MakePicture, tmp_path: Path, db: Path
    ) -> None:
        names = [b"caf\xe9.jpg", b"new\nline.jpg", "🦎.jpg".encode(), b" blank .jpg", b"%s {x} 'q' \"d\".jpg"]
        source = make_picture(tmp_path / "one.jpg")
        folder = tmp_path / "odd"
        folder.mkdir()
        for name in names:
            shutil.copy(source, os.fsencode(folder) + b"/" + name)
        assert tag(folder).tagged == len(names)
        assert {os.fsencode(name) for name in stored(db)} == set(names)

    def test_single_files_can_be_named(self, tag: RunTag, library: Path, db: Path) -> None:
        assert tag(library / "0" / "0.jpg", library / "1" / "3.jpg").tagged == 2
        assert set(stored(db)) == {"0.jpg", "3.jpg"}

    def test_folders_named_twice_are_tagged_once(self, tag: RunTag, library: Path) -> None:
        assert tag(library, library / "0", library / "0" / "0.jpg", library).photos == 8

    def test_a_rotated_photo_is_tagged_as_its_upright_twin(self, tag: RunTag, tmp_path: Path, db: Path) -> None:
        folder = tmp_path / "rotated"
        folder.mkdir()
        upright = Image.fromarray(np.random.default_rng(5).integers(0, 256, (3, 5, 3), dtype=np.uint8)).resize(
            (120, 80)
        )
        upright.save(folder / "upright.png")
        turned = Image.Exif()
        turned[0x0112] = 6  # a quarter turn clockwise makes it upright
        upright.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=turned)
        tag(folder)
        one, other = stored(db).values()
        assert (one.superclass, one.subclass) == (other.superclass, other.subclass)
        # Resizing first across and then down rounds otherwise than first down and then across.
        assert one.superclass_score == pytest.approx(other.superclass_score, abs=0.01)
        with closing(sqlite3.connect(db)) as connection:
            assert connection.execute("SELECT DISTINCT width, height FROM photos").fetchall() == [(120, 80)]

    def test_both_runtimes_give_the_same_tags(
        self, library: Path, quick_model: Path, make_picture: MakePicture, tmp_path: Path
    ) -> None:
        for number in range(40):
            make_picture(library / "more" / f"{number}.png")
        ways = [
            dict(Tagger(quick_model, runtime=runtime, batch_size=16).predict(library))
            for runtime in ("openvino", "torch")
        ]
        for path, tag in ways[0].items():
            other = ways[1][path]
            assert isinstance(tag, Tag) and isinstance(other, Tag)
            assert (tag.superclass, tag.subclass) == (other.superclass, other.subclass)
            assert tag.superclass_score == pytest.approx(other.superclass_score, abs=0.01)
            assert tag.subclass_score == pytest.approx(other.subclass_score, abs=0.01)

    def test_the_sample_inbox_is_tagged_but_for_the_truncated_photo(self, tag: RunTag, db: Path) -> None:
        inbox = ROOT / "sample_images" / "inbox"
        report = tag(inbox)
        assert [failure.photo.path.name for failure in report.failures] == ["IMG_0431_truncated.jpg"]
        assert report.tagged == report.photos - 1 > 20

    def test_real_photographs_are_read(self, tag: RunTag, shared: Path) -> None:
        report = tag(shared / "data" / "photos")
        assert report.complete
        assert report.tagged == 80

    def test_predict_needs_no_database(self, quick_model: Path, library: Path, home: Path) -> None:
        (library / "0" / "broken.jpg").write_bytes(b"no picture")
        outcomes = dict(Tagger(quick_model).predict(library))
        assert len(outcomes) == 9
        assert [path.name for path, tag in outcomes.items() if not isinstance(tag, Tag)] == ["broken.jpg"]
        assert not (home / "data" / "phototag.db").exists()


class TestRerun:
    def test_a_second_run_does_no_inference(
        self, tag: RunTag, library: Path, db: Path, no_inference: Callable[[], None]
    ) -> None:
        tag(library)
        before = stored(db)
        no_inference()
        report = tag(library)
        assert (report.photos, report.unchanged, report.tagged, report.inferred) == (8, 8, 0, 0)
        assert report.complete
        assert stored(db) == before

    def test_a_second_run_does_not_even_load_the_model(
        self, tag: RunTag, library: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tag(library)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("the network was loaded")

        monkeypatch.setattr(Runtime, "__init__", refuse)
        assert tag(library).unchanged == 8

    def test_only_new_photos_are_tagged(self, tag: RunTag, library: Path, make_picture: MakePicture) -> None:
        tag(library)
        make_picture(library / "new" / "9.jpg")
        report = tag(library)
        assert (report.photos, report.unchanged, report.tagged, report.inferred) == (9, 8, 1, 1)

    def test_changed_content_is_tagged_again(
        self, tag: RunTag, library: Path, make_picture: MakePicture, db: Path
    ) -> None:
        tag(library)
        before = stored(db)["0.jpg"]
        make_picture(library / "0" / "0.jpg", seed=1234)
        report = tag(library)
        assert (report.unchanged, report.tagged, report.inferred) == (7, 1, 1)
        assert stored(db)["0.jpg"].superclass_score != before.superclass_score

    def test_content_changed_behind_an_old_date_and_the_same_size_is_noticed(
        self, tag: RunTag, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        photo = make_picture(tmp_path / "library" / "a.bmp", seed=1)
        tag(tmp_path / "library")
        stat = photo.stat()
        make_picture(photo, seed=2)
        os.utime(photo, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert photo.stat().st_size == stat.st_size
        assert tag(tmp_path / "library").inferred == 1

    def test_a_touched_file_with_the_same_content_needs_no_inference(
        self, tag: RunTag, library: Path, db: Path, no_inference: Callable[[], None]
    ) -> None:
        tag(library)
        before = labels(db)
        for photo in library.rglob("*.jpg"):
            os.utime(photo)
        no_inference()
        report = tag(library)
        assert (report.tagged, report.inferred) == (8, 0)
        assert labels(db) == before
        assert tag(library).unchanged == 8, "the new stat is remembered"

    def test_a_moved_photo_keeps_its_tag_without_inference(
        self, tag: RunTag, library: Path, db: Path, no_inference: Callable[[], None]
    ) -> None:
        tag(library)
        before = stored(db)["0.jpg"]
        (library / "elsewhere").mkdir()
        (library / "0" / "0.jpg").rename(library / "elsewhere" / "renamed.jpg")
        no_inference()
        report = tag(library)
        assert (report.tagged, report.inferred, report.missing) == (1, 0, 1)
        moved = stored(db)["renamed.jpg"]
        assert (moved.superclass, moved.subclass) == (before.superclass, before.subclass)
        assert moved.superclass_score == before.superclass_score
        assert stored(db)["0.jpg"].state is PhotoState.MISSING

    def test_a_moved_tree_keeps_all_its_tags(
        self, tag: RunTag, library: Path, db: Path, no_inference: Callable[[], None]
    ) -> None:
        tag(library)
        before = labels(db)
        library.rename(library.with_name("moved"))
        no_inference()
        assert tag(library.with_name("moved")).tagged == 8
        after = {n: (p.superclass, p.subclass) for n, p in stored(db, under=library.with_name("moved")).items()}
        assert after == before

    def test_a_copy_needs_no_inference(self, tag: RunTag, library: Path, no_inference: Callable[[], None]) -> None:
        tag(library)
        shutil.copy(library / "0" / "0.jpg", library / "copy.jpg")
        no_inference()
        assert tag(library).tagged == 1

    def test_another_model_tags_again_and_the_first_one_needs_no_inference_then(
        self,
        tag: RunTag,
        library: Path,
        db: Path,
        other_model: Path,
        quick_model: Path,
        no_inference: Callable[[], None],
    ) -> None:
        tag(library)
        first = labels(db)
        report = tag(library, model=other_model)
        assert (report.unchanged, report.tagged, report.inferred) == (0, 8, 8)
        assert {photo.model for photo in stored(db).values()} == {"other"}
        no_inference()
        report = tag(library, model=quick_model)
        assert (report.tagged, report.inferred) == (8, 0)
        assert labels(db) == first
        assert {photo.model for photo in stored(db).values()} == {"tiny"}

    def test_a_renamed_model_file_is_the_same_model(
        self, tag: RunTag, library: Path, db: Path, quick_model: Path, tmp_path: Path
    ) -> None:
        tag(library)
        twin = shutil.copy(quick_model, tmp_path / "twin.safetensors")
        assert tag(library, model=twin).unchanged == 8
        assert {photo.model for photo in stored(db).values()} == {"twin"}

    def test_force_runs_the_network_on_everything(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        before = labels(db)
        report = tag(library, force=True)
        assert (report.unchanged, report.tagged, report.inferred) == (0, 8, 8)
        assert labels(db) == before

    def test_a_photo_that_comes_back_is_no_longer_missing(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        photo = library / "0" / "0.jpg"
        photo.rename(library.with_name("aside.jpg"))
        assert tag(library).missing == 1
        assert tag(library).missing == 0, "it is marked already"
        library.with_name("aside.jpg").rename(photo)
        tag(library)
        assert {photo.state for photo in stored(db).values()} == {PhotoState.OK}


class TestMissing:
    def test_a_deleted_photo_is_marked_and_keeps_its_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        before = stored(db)["0.jpg"]
        (library / "0" / "0.jpg").unlink()
        report = tag(library)
        assert (report.photos, report.unchanged, report.missing) == (7, 7, 1)
        assert report.complete
        gone = stored(db)["0.jpg"]
        assert (gone.state, gone.superclass, gone.subclass) == (PhotoState.MISSING, before.superclass, before.subclass)

    def test_photos_elsewhere_are_not_marked(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        (library / "0" / "0.jpg").unlink()
        assert tag(library / "1").missing == 0
        assert stored(db)["0.jpg"].state is PhotoState.OK

    def test_an_emptied_folder_marks_nothing(self, tag: RunTag, library: Path, db: Path) -> None:
        """An unmounted disk looks like this."""
        tag(library)
        shutil.rmtree(library)
        library.mkdir()
        report = tag(library)
        assert report.missing == 0
        assert not report.complete
        assert "mounted" in report.problems[0] and str(library) in report.problems[0]
        assert {photo.state for photo in stored(db).values()} == {PhotoState.OK}

    def test_an_emptied_folder_beside_a_full_one_marks_nothing(
        self, tag: RunTag, library: Path, tmp_path: Path, make_picture: MakePicture, db: Path
    ) -> None:
        other = tmp_path / "other"
        make_picture(other / "there.jpg")
        make_picture(other / "gone.jpg")
        tag(library, other)
        shutil.rmtree(library)
        library.mkdir()
        (other / "gone.jpg").unlink()
        report = tag(library, other)
        assert (report.photos, report.missing) == (1, 1)
        assert len(report.problems) == 1 and str(library) in report.problems[0]
        assert set(stored(db, state=PhotoState.MISSING)) == {"gone.jpg"}

    def test_a_folder_that_was_deleted_marks_nothing(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        shutil.rmtree(library)
        with pytest.raises(UsageError, match="no such file or folder"):
            tag(library)
        assert {photo.state for photo in stored(db).values()} == {PhotoState.OK}


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
        row = stored(db)["0.jpg"]
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
        assert not tries[-1].complete
        assert tag(library, force=True).given_up == 0

    def test_a_repaired_file_is_tagged(
        self, tag: RunTag, library: Path, broken: Path, db: Path, make_picture: MakePicture
    ) -> None:
        for _ in range(4):
            tag(library)
        make_picture(broken)
        report = tag(library)
        assert (report.tagged, report.failed) == (1, 0)
        assert stored(db)["0.jpg"].state is PhotoState.OK
        assert stored(db)["0.jpg"].error is None

    def test_a_tagged_photo_that_gets_damaged_loses_the_models_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        photo = library / "0" / "0.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        tag(library)
        assert stored(db)["0.jpg"].state is PhotoState.UNREADABLE
        assert stored(db)["0.jpg"].superclass is None

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
        assert {(photo.state, photo.error) for photo in stored(db).values()} == {(PhotoState.OK, None)}
        assert tag(library).unchanged == 8

    def test_a_photo_that_vanishes_before_it_is_read_is_a_failure_of_its_own_kind(
        self, quick_model: Path, library: Path
    ) -> None:
        tagger = Tagger(quick_model)
        from phototag.library.scan import ScanProblems, scan

        photos = list(scan([library], ScanProblems()))
        photos[3].path.unlink()
        batches = list(pipeline.process(photos, tagger.runtime, tagger.decode))
        assert [failure.kind for batch in batches for failure in batch.failures] == [FailureKind.GONE]
        assert sum(len(batch.tagged) for batch in batches) == 7


class TestHumanTags:
    @pytest.fixture
    def reviewed(self, tag: RunTag, library: Path, db: Path) -> Path:
        tag(library)
        human_tag(db, library / "0" / "0.jpg", "reptile", "iguana")
        return library / "0" / "0.jpg"

    @staticmethod
    def survives(db: Path, name: str = "0.jpg") -> bool:
        photo = stored(db)[name]
        return (photo.superclass, photo.subclass, photo.source) == ("reptile", "iguana", Source.HUMAN)

    def test_they_survive_every_way_of_tagging_again(
        self, tag: RunTag, library: Path, reviewed: Path, db: Path, other_model: Path
    ) -> None:
        assert tag(library).unchanged == 8
        for options in ({}, {"force": True}, {"model": other_model}, {"model": other_model, "force": True}):
            tag(library, **options)
            assert self.survives(db)
        os.utime(reviewed)
        tag(library)
        assert self.survives(db)

    def test_they_are_counted_in_the_summary(
        self, run_phototag: RunCommand, library: Path, reviewed: Path, db: Path, quick_model: Path
    ) -> None:
        result = run_phototag("tag", library, "--db", db, "--model", quick_model, "--force")
        assert "1 keeps a human's tag" in result.stderr
        elsewhere = run_phototag("tag", library, "--db", db, "--model", quick_model, "--exclude", reviewed.name)
        assert "human" not in elsewhere.stderr

    def test_they_move_with_the_photo(self, tag: RunTag, library: Path, reviewed: Path, db: Path) -> None:
        reviewed.rename(library / "moved.jpg")
        tag(library)
        assert self.survives(db, "moved.jpg")

    def test_a_reviewed_photo_is_not_inferred_again_each_time(
        self, tag: RunTag, library: Path, reviewed: Path, no_inference: Callable[[], None]
    ) -> None:
        no_inference()
        report = tag(library)
        assert (report.unchanged, report.tagged) == (8, 0)


class TestDryRun:
    def test_it_writes_nothing(self, tag: RunTag, library: Path, db: Path, make_picture: MakePicture) -> None:
        tag(library)
        make_picture(library / "new.jpg")
        (library / "0" / "0.jpg").unlink()
        before = db.read_bytes()
        batches: list[pipeline.Batch] = []
        report = tag(library, dry_run=True, on_batch=batches.append)
        assert (report.tagged, report.unchanged) == (1, 7)
        assert [item.photo.path.name for batch in batches for item in batch.tagged] == ["new.jpg"]
        assert db.read_bytes() == before
        assert set(stored(db)) == {f"{number}.jpg" for number in range(8)}

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


class TestCopies:
    """What has the same content is scored once, also before anything is stored."""

    def test_copies_in_a_first_run_are_inferred_once(
        self, tag: RunTag, tmp_path: Path, make_picture: MakePicture, db: Path
    ) -> None:
        folder = tmp_path / "copies"
        for number in range(3):
            make_picture(folder / "0" / f"{number}.jpg")
        for copy in range(1, 12):
            shutil.copytree(folder / "0", folder / f"{copy}")
        shutil.copy(folder / "0" / "0.jpg", folder / "z.jpg")
        report = tag(folder)
        assert (report.photos, report.tagged, report.inferred) == (37, 37, 3)
        with closing(sqlite3.connect(db)) as connection:
            rows = connection.execute(
                "SELECT content_hash, count(*), count(DISTINCT superclass_score), count(DISTINCT width) FROM photos "
                "JOIN tags ON tags.photo_id = photos.id GROUP BY content_hash ORDER BY count(*)"
            ).fetchall()
        assert [row[1:] for row in rows] == [(12, 1, 1), (12, 1, 1), (13, 1, 1)]
        assert tag(folder).unchanged == 37

    def test_copies_of_a_broken_photo_all_fail(self, tag: RunTag, tmp_path: Path) -> None:
        (tmp_path / "broken").mkdir()
        for number in range(10):
            (tmp_path / "broken" / f"{number}.jpg").write_bytes(b"the same nonsense")
        report = tag(tmp_path / "broken")
        assert (report.tagged, report.failed, report.inferred) == (0, 10, 0)

    def test_copies_in_a_dry_run_are_inferred_once(self, tag: RunTag, library: Path) -> None:
        shutil.copytree(library / "0", library / "copy")
        report = tag(library, dry_run=True)
        assert (report.tagged, report.inferred) == (12, 8)

    def test_force_infers_each_content_once(self, tag: RunTag, library: Path) -> None:
        shutil.copytree(library / "0", library / "copy")
        tag(library)
        report = tag(library, force=True)
        assert (report.tagged, report.inferred) == (12, 8)

    def test_moves_and_copies_and_new_photos_in_one_run(
        self, tag: RunTag, library: Path, make_picture: MakePicture, db: Path
    ) -> None:
        tag(library)
        before = labels(db)
        (library / "0").rename(library / "moved")
        for copy in ("a", "b"):
            shutil.copytree(library / "moved", library / copy)
            make_picture(library / copy / "new.jpg", seed=77)
        report = tag(library)
        assert (report.unchanged, report.tagged, report.inferred, report.missing) == (4, 14, 1, 4)
        for folder in ("moved", "a", "b"):
            found = stored(db, under=library / folder)
            for name in ("0.jpg", "2.jpg", "4.jpg", "6.jpg"):
                assert (found[name].superclass, found[name].subclass) == before[name]

    def test_a_copy_of_what_another_model_saw_has_its_own_size(
        self, tag: RunTag, tmp_path: Path, make_picture: MakePicture, other_model: Path, db: Path
    ) -> None:
        """The first model's scores belong to a content that the name no longer has."""
        folder = tmp_path / "sizes"
        small = make_picture(folder / "a.png", seed=1, size=(40, 30))
        aside = shutil.copy(small, tmp_path / "aside.png")
        tag(folder)
        make_picture(small, seed=2, size=(90, 80))
        tag(folder, model=other_model)
        shutil.copy(aside, folder / "b.png")
        tag(folder)
        with closing(sqlite3.connect(db)) as connection:
            sizes = connection.execute("SELECT width, height FROM photos ORDER BY path_text").fetchall()
        assert sizes == [(90, 80), (40, 30)]


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
        assert set(stored(db)) == {f"{name}.jpg" for name in names}

    def test_known_photos_that_are_left_out_are_not_missing(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        (library / "0" / "0.jpg").unlink()
        (library / "1" / "1.jpg").unlink()
        report = tag(library, exclude=["0"])
        assert (report.photos, report.unchanged, report.missing) == (3, 3, 1)
        assert set(stored(db, state=PhotoState.MISSING)) == {"1.jpg"}
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
        assert set(stored(db)) == {"2.jpg", "4.jpg", "6.jpg"}

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
        assert set(stored(db)) == {f"{name}.jpg" for name in names}


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
from phototag.inference.tagger import Tagger
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
            done = subprocess.run(words, capture_output=True, timeout=60, check=False)
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
            give_up = time.monotonic() + 60
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
            for name, photo in stored(db).items()
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
        _, said = process.communicate(timeout=30)
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
        _, said = first.communicate(timeout=60)
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
            assert told <= set(stored(db))

        with Store.open(db) as store, Tagger(quick_model, batch_size=3) as tagger:
            tagger.tag([library], store, on_batch=look)
        assert len(told) == 8

    def test_ranks_and_labels_fit(self, tag: RunTag, library: Path, db: Path, make_picture: MakePicture) -> None:
        for number in range(60):
            make_picture(library / "more" / f"m{number}.png")
        tag(library)
        ranks = {photo.rank for photo in stored(db).values()}
        assert Rank.SUBCLASS in ranks and len(ranks) > 1
        for photo in stored(db).values():
            assert (photo.superclass is None) == (photo.rank is Rank.NONE)
            assert (photo.subclass is not None) == (photo.rank is Rank.SUBCLASS)
