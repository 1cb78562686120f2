"""The Tagger: what is tagged, tagged again, or left alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phototag.errors import UsageError
from phototag.records import PhotoState, Source, Tag
from phototag.runtime.runtime import Runtime
from phototag.store import Store
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.project import ROOT
from tests.support.tagged_photos import RunTag, labels, photos_by_name


def human_tag(db: Path, path: Path, *labels: str) -> None:
    with Store.open(db) as store, store.writing("test"):
        store.tags.set_human(path, superclass=labels[0], subclass=labels[1])


class TestWhatIsTagged:
    def test_every_photo_below_the_folder_gets_a_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        report = tag(library)
        assert (report.photos, report.tagged, report.inferred, report.failed) == (8, 8, 8, 0)
        assert report.complete
        photos = photos_by_name(db)
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
        assert {os.fsencode(name) for name in photos_by_name(db)} == set(names)

    def test_single_files_can_be_named(self, tag: RunTag, library: Path, db: Path) -> None:
        assert tag(library / "0" / "0.jpg", library / "1" / "3.jpg").tagged == 2
        assert set(photos_by_name(db)) == {"0.jpg", "3.jpg"}

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
        one, other = photos_by_name(db).values()
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
        before = photos_by_name(db)
        no_inference()
        report = tag(library)
        assert (report.photos, report.unchanged, report.tagged, report.inferred) == (8, 8, 0, 0)
        assert report.complete
        assert photos_by_name(db) == before

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
        before = photos_by_name(db)["0.jpg"]
        make_picture(library / "0" / "0.jpg", seed=1234)
        report = tag(library)
        assert (report.unchanged, report.tagged, report.inferred) == (7, 1, 1)
        assert photos_by_name(db)["0.jpg"].superclass_score != before.superclass_score

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
        assert {photo.model for photo in photos_by_name(db).values()} == {"other"}
        no_inference()
        report = tag(library, model=quick_model)
        assert (report.tagged, report.inferred) == (8, 0)
        assert labels(db) == first
        assert {photo.model for photo in photos_by_name(db).values()} == {"tiny"}

    def test_a_renamed_model_file_is_the_same_model(
        self, tag: RunTag, library: Path, db: Path, quick_model: Path, tmp_path: Path
    ) -> None:
        tag(library)
        twin = shutil.copy(quick_model, tmp_path / "twin.safetensors")
        assert tag(library, model=twin).unchanged == 8
        assert {photo.model for photo in photos_by_name(db).values()} == {"twin"}

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
        assert {photo.state for photo in photos_by_name(db).values()} == {PhotoState.OK}


class TestMissing:
    def test_a_deleted_photo_is_marked_and_keeps_its_tag(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        before = photos_by_name(db)["0.jpg"]
        (library / "0" / "0.jpg").unlink()
        report = tag(library)
        assert (report.photos, report.unchanged, report.missing) == (7, 7, 1)
        assert report.complete
        gone = photos_by_name(db)["0.jpg"]
        assert (gone.state, gone.superclass, gone.subclass) == (PhotoState.MISSING, before.superclass, before.subclass)

    def test_photos_elsewhere_are_not_marked(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        (library / "0" / "0.jpg").unlink()
        assert tag(library / "1").missing == 0
        assert photos_by_name(db)["0.jpg"].state is PhotoState.OK

    def test_an_emptied_folder_marks_nothing(self, tag: RunTag, library: Path, db: Path) -> None:
        """An unmounted disk looks like this."""
        tag(library)
        shutil.rmtree(library)
        library.mkdir()
        report = tag(library)
        assert report.missing == 0
        assert not report.complete
        assert "mounted" in report.problems[0] and str(library) in report.problems[0]
        assert {photo.state for photo in photos_by_name(db).values()} == {PhotoState.OK}

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
        assert set(photos_by_name(db, state=PhotoState.MISSING)) == {"gone.jpg"}

    def test_a_folder_that_was_deleted_marks_nothing(self, tag: RunTag, library: Path, db: Path) -> None:
        tag(library)
        shutil.rmtree(library)
        with pytest.raises(UsageError, match="no such file or folder"):
            tag(library)
        assert {photo.state for photo in photos_by_name(db).values()} == {PhotoState.OK}


class TestHumanTags:
    @pytest.fixture
    def reviewed(self, tag: RunTag, library: Path, db: Path) -> Path:
        tag(library)
        human_tag(db, library / "0" / "0.jpg", "reptile", "iguana")
        return library / "0" / "0.jpg"

    @staticmethod
    def survives(db: Path) -> bool:
        photo = photos_by_name(db)["0.jpg"]
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

    def test_a_reviewed_photo_is_not_inferred_again_each_time(
        self, tag: RunTag, library: Path, reviewed: Path, no_inference: Callable[[], None]
    ) -> None:
        no_inference()
        report = tag(library)
        assert (report.unchanged, report.tagged) == (8, 0)


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
        assert (report.unchanged, report.moved, report.tagged, report.inferred, report.missing) == (8, 4, 10, 1, 0)
        for folder in ("moved", "a", "b"):
            found = photos_by_name(db, under=library / folder)
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
