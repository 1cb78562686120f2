"""`phototag export labels`, and `audit truth --import`: reviews out as labels, and labels in as reviews."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from phototag.audit.truth import import_truth
from phototag.choices import ReviewOrigin
from phototag.dataset.labelled import load_data
from phototag.export.labels import CHANGED, GONE, SAMPLED, STALE, UNLABELLED, collect
from phototag.library.scanner import ScanProblems, scan
from phototag.records import CaptureFacts, Rank, Source, Tag
from phototag.store import (
    Capture,
    Design,
    NewSample,
    Query,
    Review,
    ReviewFilter,
    SampledPhoto,
    Store,
    StoredTag,
    Stratum,
)
from tests.support.commands import RunCommand, RunProcess
from tests.support.pictures import MakePicture
from tests.support.stored_photos import register

ROOSTER = Tag("bird", "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.1)
HEADER = "filepath,superclass,subclass,taken_at,camera,latitude,longitude\n"
NAMES = [b"a.png", b"b.png", b"c.png", b"caf\xe9, d.png", b"e.png"]


@pytest.fixture
def photos(tmp_path: Path, make_picture: MakePicture) -> list[Path]:
    """Five pictures, one of whose names is not UTF-8 and holds a comma."""
    folder = tmp_path / "photos"
    return [make_picture(folder / os.fsdecode(name), seed=number) for number, name in enumerate(NAMES)]


@pytest.fixture
def store(photos: list[Path]) -> Iterator[Store]:
    """The default database with these pictures, all tagged as roosters."""
    with Store.open() as opened, opened.writing("tag"):
        save(opened, photos[0].parent)
        yield opened


def save(store: Store, folder: Path) -> None:
    tagged = [
        StoredTag(photo.photo(), hashlib.sha256(photo.path.read_bytes()).digest(), 96, 64, b"scores", ROOSTER)
        for photo in scan([folder], ScanProblems())
    ]
    store.tags.save_batch(model_id=register(store), tagged=tagged)


def review(store: Store, path: Path, superclass: str | None, subclass: str | None, **more: object) -> int:
    known = store.photos.find(path)
    assert known is not None
    return store.reviews.save(
        Review(photo_id=known.id, superclass=superclass, subclass=subclass, **more)  # type: ignore[arg-type]
    )


def draw(store: Store, path: Path) -> int:
    known = store.photos.find(path)
    assert known is not None and known.content_hash is not None
    item = SampledPhoto(
        photo_id=known.id,
        stratum="all",
        inclusion_probability=0.2,
        content_hash=known.content_hash,
        tag=ROOSTER,
        model_id=1,
    )
    return store.samples.save(
        NewSample(
            name="s",
            design=Design.SIMPLE,
            seed=1,
            for_estimation=True,
            items=[item],
            strata=[Stratum("all", 5, 1)],
        )
    )


class TestExport:
    def test_training_reads_what_is_exported(
        self, store: Store, photos: list[Path], run_phototag: RunCommand, tmp_path: Path
    ) -> None:
        for path, subclass in zip(photos, ["hawk", "hawk", "beagle", "beagle", "beagle"], strict=True):
            review(store, path, "bird" if subclass == "hawk" else "dog", subclass)
        store.close()
        file = tmp_path / "labels.csv"
        result = run_phototag("export", "labels", "--output", file)
        assert (result.exit_code, result.stdout) == (0, "")
        assert f"5 labelled photos to {file}" in result.stderr
        data = load_data(file)
        found = {picture.path: (picture.superclass, picture.subclass) for picture in data.pictures}
        assert found[photos[0]] == ("bird", "hawk")
        assert found[photos[3]] == ("dog", "beagle")
        assert sorted(found) == sorted(photos)
        assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

    def test_names_that_are_not_utf8_keep_their_bytes_on_stdout(
        self, store: Store, photos: list[Path], phototag_process: RunProcess
    ) -> None:
        review(store, photos[3], "dog", "beagle")
        store.close()
        done = phototag_process("export", "labels")
        path = os.fsencode(photos[3])
        assert done.stdout == HEADER.encode() + b'"' + path + b'",dog,beagle,,,,\n'
        assert done.stderr == b"1 labelled photos.\n"

    def test_only_what_counts_is_given(self, store: Store, photos: list[Path]) -> None:
        review(store, photos[0], "bird", "hawk")
        review(store, photos[0], "dog", "boxer")
        store.reviews.undo(review(store, photos[1], "bird", "hawk"))
        review(store, photos[2], "bird", None)
        review(store, photos[4], None, None)
        found = collect(store)
        assert [(label.path, label.superclass, label.subclass) for label in found.labels] == [
            (photos[0], "dog", "boxer")
        ]
        assert found.left_out == {UNLABELLED: 2}

    def test_photos_drawn_for_estimation_are_kept_back_and_so_are_their_copies(
        self, store: Store, photos: list[Path], run_phototag: RunCommand
    ) -> None:
        copy = photos[0].with_name("copy.png")
        copy.write_bytes(photos[0].read_bytes())
        save(store, photos[0].parent)
        sample_id = draw(store, photos[0])
        review(store, photos[0], "bird", "hawk", sample_id=sample_id)
        review(store, copy, "bird", "hawk")
        review(store, photos[1], "dog", "beagle")
        store.close()
        result = run_phototag("export", "labels")
        assert [row["filepath"] for row in csv.DictReader(result.stdout.splitlines())] == [str(photos[1])]
        assert "2 that were sampled to estimate accuracy are left out: photos used for training cannot" in result.stderr
        with Store.open() as again:
            assert collect(again).left_out == {SAMPLED: 2}
            everything = collect(again, include_samples=True)
            assert len(everything.labels) == 2
            assert everything.left_out == {STALE: 1}, "the same picture twice is one example"
        assert "drawn" not in run_phototag("export", "labels", "--include-samples").stderr

    def test_files_that_are_gone_or_changed_are_left_out_and_moved_ones_are_found(
        self, store: Store, photos: list[Path], make_picture: MakePicture
    ) -> None:
        for path in photos:
            review(store, path, "dog", "beagle")
        photos[0].unlink()
        make_picture(photos[1], seed=77)
        moved = photos[2].rename(photos[2].with_name("moved.png"))
        found = collect(store)
        assert found.left_out == {GONE: 2, CHANGED: 1}, "the database does not know yet where the third went"
        save(store, photos[0].parent)
        found = collect(store)
        assert {label.path for label in found.labels} == {moved, photos[3], photos[4]}
        assert found.left_out == {GONE: 1}, "of the changed one the review no longer counts"

    def test_options_narrow_it_down(self, store: Store, photos: list[Path], run_phototag: RunCommand) -> None:
        review(store, photos[0], "bird", "hawk")
        review(store, photos[1], "bird", "kite", origin=ReviewOrigin.IMPORT)
        store.close()
        assert "kite" not in run_phototag("export", "labels", "--origin", "review", "--origin", "named").stdout
        assert "hawk" not in run_phototag("export", "labels", "--under", photos[1]).stdout
        nothing = run_phototag("export", "labels", "--origin", "named")
        assert (nothing.exit_code, nothing.stdout) == (1, HEADER)
        assert "Nothing to train on" in nothing.stderr

    def test_a_subclass_under_two_superclasses_is_named(
        self, store: Store, photos: list[Path], run_phototag: RunCommand
    ) -> None:
        review(store, photos[0], "bird", "crane")
        review(store, photos[1], "machine", "crane")
        store.close()
        assert "which training refuses: crane" in run_phototag("export", "labels").stderr

    def test_a_file_that_cannot_be_written_is_named(
        self, store: Store, photos: list[Path], run_phototag: RunCommand, tmp_path: Path
    ) -> None:
        review(store, photos[0], "bird", "hawk")
        store.close()
        (tmp_path / "file").write_text("no folder")
        result = run_phototag("export", "labels", "--output", tmp_path / "file" / "labels.csv")
        assert result.exit_code == 2
        assert "cannot be written" in result.stderr


def test_what_files_say_of_their_capture_stands_in_further_columns(store: Store, photos: list[Path]) -> None:
    review(store, photos[0], "dog", "beagle")
    review(store, photos[1], "dog", "beagle")
    known = store.photos.find(photos[0])
    assert known is not None
    facts = CaptureFacts(taken_at=datetime(2026, 5, 3, 14, 22, 1), camera="NIKON D850", latitude=52.5, longitude=-13.4)
    store.captures.save({known.id: Capture(known.modified_ns, facts)})
    lines = collect(store).csv().decode().splitlines()
    assert lines[0] + "\n" == HEADER
    assert [line.partition(",dog,beagle,")[2] for line in lines[1:]] == [
        "2026-05-03T14:22:01,NIKON D850,52.5,-13.4",
        ",,,",
    ]


class TestImport:
    @pytest.fixture
    def labels(self, photos: list[Path], tmp_path: Path) -> Path:
        """True labels of three of the pictures."""
        file = tmp_path / "truth.csv"
        file.write_text(
            f"filepath,superclass,subclass\n{photos[0]},bird,rooster\n{photos[1]},dog,beagle\n{photos[2]},,\n"
        )
        return file

    def test_labels_become_reviews_once(self, store: Store, labels: Path, run_phototag: RunCommand) -> None:
        store.close()
        first = run_phototag("audit", "truth", labels, "--import", "--format", "json")
        assert first.exit_code == 0
        assert '"subclass_accuracy": 0.5' in first.stdout, "judged before the labels become tags"
        assert "Stored as reviews: 3\n" in first.stderr
        again = run_phototag("audit", "truth", labels, "--import")
        assert "Stored as reviews: 0, 3 were known" in again.stderr
        assert "3 by human" in again.stderr
        with Store.open() as opened:
            reviews = list(opened.reviews.find_all(ReviewFilter(current=False)))
            assert [review.origin for review in reviews] == [ReviewOrigin.IMPORT] * 3
            assert [review.verdict for review in reviews] == ["right", "superclass_wrong", "none"]
            assert opened.count(Query(source=Source.HUMAN)) == 3

    def test_what_somebody_reviewed_since_or_before_stays(self, store: Store, labels: Path, photos: list[Path]) -> None:
        review(store, photos[0], "bird", "hawk")
        assert (import_truth(store, labels).saved, import_truth(store, labels).kept) == (2, 1)
        review(store, photos[1], "dog", "boxer")
        report = import_truth(store, labels)
        assert (report.saved, report.known, report.kept) == (0, 2, 1)
        tags = {row.path: row.subclass for row in store.query(Query())}
        assert (tags[photos[0]], tags[photos[1]]) == ("hawk", "boxer")

    def test_corrected_labels_take_the_place_of_the_imported(
        self, store: Store, labels: Path, photos: list[Path]
    ) -> None:
        import_truth(store, labels)
        labels.write_text(f"filepath,superclass,subclass\n{photos[1]},dog,boxer\n")
        assert import_truth(store, labels).saved == 1
        assert {row.path: row.subclass for row in store.query(Query())}[photos[1]] == "boxer"

    def test_an_undone_import_can_be_made_again(self, store: Store, labels: Path) -> None:
        import_truth(store, labels)
        store.reviews.undo(next(store.reviews.find_all()).id)
        assert import_truth(store, labels).saved == 1

    def test_pictures_that_were_never_tagged_are_counted(
        self, store: Store, labels: Path, make_picture: MakePicture, tmp_path: Path
    ) -> None:
        with labels.open("a") as file:
            file.write(f"{make_picture(tmp_path / 'elsewhere.png')},dog,beagle\n")
        report = import_truth(store, labels)
        assert (report.saved, report.unknown) == (3, 1)


def test_names_that_differ_only_in_spelling_are_noted(store: Store, photos: list[Path]) -> None:
    for path, name in zip(photos, ("Rooster", "rooster"), strict=False):
        review(store, path, "bird", name)
    assert collect(store).apart == ("rooster and Rooster",)
