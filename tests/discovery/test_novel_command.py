"""`phototag novel`: from a tagged library to groups, contact sheets and labelled pictures."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.choices import ReviewOrigin
from phototag.dataset.labelled import load_data
from phototag.decision import gather, pack
from phototag.decision.novelty import SIGNALS, NoveltyModel, Space, Standardizer, Tier
from phototag.discovery.contact_sheet import PAGE_PICTURES, write_sheets
from phototag.model.file import read_header, read_tensors, write_tensors
from phototag.model.registry import Model, open_model
from phototag.records import Photo, Rank, Scores, Source, Tag
from phototag.store import Query, ReviewFilter, Store, StoredTag
from phototag.tagging.registration import register
from tests.support.commands import RunCommand
from tests.support.imports import HEAVY, NETWORKS, imported_by_command
from tests.support.models import TINY_TAXONOMY
from tests.support.pictures import MakePicture

AXES = 16
KINDS = {"kea": "bird", "saola": None, "tuatara": "reptile"}
COUNTS = {"kea": 30, "saola": 14, "tuatara": 10}


def novelty_model() -> NoveltyModel:
    random = np.random.default_rng(4)
    count = len(SIGNALS)
    return NoveltyModel(
        Space(
            random.normal(0, 5, (len(TINY_TAXONOMY.subclasses), AXES)).astype(np.float32),
            np.full(AXES, 30, dtype=np.float32),
        ),
        Standardizer(np.zeros(count), np.ones(count)),
        np.zeros((len(Tier), count)),
        np.zeros(len(Tier)),
    )


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Model:
    """The tiny model, with an embedding."""
    path = tmp_path / "animals.safetensors"
    novelty = novelty_model()
    header = replace(read_header(tiny_model), novelty=novelty.to_json(), embedding=AXES)
    write_tensors(path, {**read_tensors(tiny_model), **novelty.tensors()}, header.to_json())
    return open_model(path)


def stored(path: Path, blob: bytes, superclass: str | None, subclass: str | None = None) -> StoredTag:
    stat = path.stat()
    photo = Photo(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    rank = Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS
    tag = Tag(superclass, subclass, rank, 0.9, 0.5, 0.5)
    return StoredTag(photo, hashlib.sha256(path.read_bytes()).digest(), 96, 64, blob, tag)


def blobs(model: Model, embeddings: np.ndarray[Any, Any]) -> list[bytes]:
    random, count = np.random.default_rng(1), len(embeddings)
    shapes = len(TINY_TAXONOMY.superclasses), len(TINY_TAXONOMY.subclasses)
    logits = [random.normal(0, 2, (count, width)).astype(np.float32) for width in shapes]
    scores = Scores(logits[0], logits[1], embeddings.astype(np.float32))
    return pack(gather(scores, TINY_TAXONOMY, model.novelty))


def save(model: Model, tagged: Sequence[StoredTag]) -> None:
    with Store.open() as store, store.writing("test"):
        store.tags.save_batch(model_id=register(store, model), tagged=tagged)


@pytest.fixture
def library(model: Model, tmp_path: Path, make_picture: MakePicture) -> Path:
    """A tagged library: three kinds that the model does not know, some strangers, and photos of a known kind."""
    root, random = tmp_path / "photos", np.random.default_rng(9)
    tagged = []
    for kind, superclass in KINDS.items():
        points = random.normal(0, 5, AXES) + random.normal(0, 1.3, (COUNTS[kind], AXES))
        paths = [make_picture(root / kind / f"{kind}{number:02}.jpg") for number in range(COUNTS[kind])]
        tagged += [stored(path, blob, superclass) for path, blob in zip(paths, blobs(model, points), strict=True)]
    strangers = random.normal(0, 6, (5, AXES))
    paths = [make_picture(root / "other" / f"{number}.jpg") for number in range(5)]
    tagged += [stored(path, blob, None) for path, blob in zip(paths, blobs(model, strangers), strict=True)]
    known = np.repeat(novelty_model().space.means[:1], 12, axis=0)
    paths = [make_picture(root / "known" / f"{number}.jpg") for number in range(12)]
    tagged += [stored(path, blob, "bird", "hawk") for path, blob in zip(paths, blobs(model, known), strict=True)]
    save(model, tagged)
    return root


@pytest.fixture
def mistaken(model: Model, library: Path, make_picture: MakePicture) -> Path:
    """The library, with more photos of an unknown kind, tagged as a hawk, among photos of hawks."""
    random, kea = np.random.default_rng(2), np.random.default_rng(9).normal(0, 5, AXES)
    hawk = novelty_model().space.means[TINY_TAXONOMY.subclass_index["hawk"]]
    tagged = []
    for folder, mean, count in (("mistaken", kea, 12), ("hawks", hawk, 40)):
        points = mean + random.normal(0, 1.3, (count, AXES))
        paths = [make_picture(library / folder / f"{number:02}.jpg") for number in range(count)]
        tagged += [stored(path, blob, "bird", "hawk") for path, blob in zip(paths, blobs(model, points), strict=True)]
    save(model, tagged)
    return library


def listed(run: RunCommand, model: Model, *more: str | Path) -> Any:
    return json.loads(run("novel", "--model", model.path or "", "--no-sheets", "--format", "json", *more).stdout)


def paths_of(run: RunCommand, number: int) -> list[Path]:
    return [Path(line) for line in run("novel", "show", str(number)).stdout.splitlines()]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as source:
        return list(csv.DictReader(source))


class TestGrouping:
    def test_each_unknown_kind_is_a_group_the_largest_first(
        self, run_phototag: RunCommand, model: Model, library: Path
    ) -> None:
        found = listed(run_phototag, model)
        assert [entry["count"] for entry in found["groups"]] == [30, 14, 10]
        assert [entry["superclass"] for entry in found["groups"]] == ["bird", None, "reptile"]
        assert found["photos"] == 59
        assert found["grouped"] == 54
        for number, kind in enumerate(KINDS, start=1):
            assert {path.parent for path in paths_of(run_phototag, number)} == {library / kind}

    def test_the_closest_known_subclass_is_named_in_full(
        self, run_phototag: RunCommand, model: Model, library: Path
    ) -> None:
        known = {TINY_TAXONOMY.qualified(index) for index in range(len(TINY_TAXONOMY.subclasses))}
        assert {entry["closest"] for entry in listed(run_phototag, model)["groups"]} <= known

    def test_the_most_typical_come_first(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        examples = listed(run_phototag, model)["groups"][0]["examples"]
        shown = json.loads(run_phototag("novel", "show", "1", "--format", "json").stdout)
        distances = [photo["distance"] for photo in shown["photos"]]
        assert distances == sorted(distances)
        assert [photo["path"] for photo in shown["photos"]][: len(examples)] == examples
        assert [photo["number"] for photo in shown["photos"]] == list(range(1, 31))

    def test_again_gives_the_same(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        assert listed(run_phototag, model) == listed(run_phototag, model)

    def test_photos_that_a_human_tagged_are_left_out(
        self, run_phototag: RunCommand, model: Model, library: Path
    ) -> None:
        with Store.open() as store, store.writing("test"):
            for number in range(5):
                store.tags.set_human(library / "saola" / f"saola{number:02}.jpg", superclass="bovine")
        assert [entry["count"] for entry in listed(run_phototag, model)["groups"]] == [30, 10, 9]

    def test_missing_photos_are_left_out(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        with Store.open() as store, store.writing("test"):
            store.photos.mark_missing([known.id for known in store.photos.under([library / "kea"])])
        assert [entry["count"] for entry in listed(run_phototag, model)["groups"]] == [14, 10]

    @pytest.mark.parametrize(("tier", "counts"), [("superclass", [14]), ("subclass", [30, 10]), ("any", [30, 14, 10])])
    def test_a_tier_alone(
        self, run_phototag: RunCommand, model: Model, library: Path, tier: str, counts: list[int]
    ) -> None:
        assert [entry["count"] for entry in listed(run_phototag, model, "--tier", tier)["groups"]] == counts

    def test_a_folder_alone(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        assert [entry["count"] for entry in listed(run_phototag, model, "--under", library / "kea")["groups"]] == [30]

    def test_larger_groups_only(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        assert [entry["count"] for entry in listed(run_phototag, model, "--min-size", "12")["groups"]] == [30, 14]

    def test_a_limit_shows_fewer_but_keeps_all(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        assert len(listed(run_phototag, model, "--limit", "1")["groups"]) == 1
        assert len(paths_of(run_phototag, 3)) == 10

    def test_the_table_says_what_comes_next(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        result = run_phototag("novel", "--model", model.path or "", "--no-sheets")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0].split()[:5] == ["group", "photos", "of", "them", "tagged"]
        assert len(result.stdout.splitlines()) == 4
        assert "3 groups with 54 novel photos; 5 novel ones are like no others" in result.stderr
        assert "phototag novel name GROUP" in result.stderr

    def test_nothing_novel_is_no_error(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        result = run_phototag("novel", "--model", model.path or "", "--under", library / "known")
        assert result.exit_code == 0
        assert "No novel photos there" in result.stderr

    def test_none_alike_names_the_way_out(self, run_phototag: RunCommand, model: Model, library: Path) -> None:
        result = run_phototag("novel", "--model", model.path or "", "--under", library / "other")
        assert result.exit_code == 0
        assert "smaller --min-size" in result.stderr

    def test_the_settings_of_the_file_hold_for_the_list_and_what_is_below(
        self, run_phototag: RunCommand, model: Model, library: Path, home: Path, tmp_path: Path
    ) -> None:
        database = tmp_path / "elsewhere.db"
        with Store.open() as store:
            assert store.location.path is not None
            source = store.location.path
        source.rename(database)
        (home / "config").mkdir(exist_ok=True)
        (home / "config" / "config.toml").write_text(f'db = "{database}"\nmodel = "{model.path}"\n[novel]\nlimit = 2\n')
        found = run_phototag("novel", "--no-sheets", "--format", "json")
        assert len(json.loads(found.stdout)["groups"]) == 2
        assert len(paths_of(run_phototag, 3)) == 10


class TestTaggedAsKnown:
    def test_those_that_fit_a_group_better_are_taken_in(
        self, run_phototag: RunCommand, model: Model, mistaken: Path
    ) -> None:
        found = listed(run_phototag, model)
        assert [(entry["count"], entry["tagged"]) for entry in found["groups"]] == [(42, 12), (14, 0), (10, 0)]
        assert (found["grouped"], found["tagged"]) == (54, 12)
        assert {path.parent.name for path in paths_of(run_phototag, 1)} == {"kea", "mistaken"}

    def test_what_they_were_tagged_with_is_shown(self, run_phototag: RunCommand, model: Model, mistaken: Path) -> None:
        listed(run_phototag, model)
        shown = json.loads(run_phototag("novel", "show", "1", "--format", "json").stdout)
        assert shown["tagged"] == 12
        for photo in shown["photos"]:
            assert photo["tagged"] == ("bird/hawk" if Path(photo["path"]).parent.name == "mistaken" else None)

    def test_the_table_counts_them(self, run_phototag: RunCommand, model: Model, mistaken: Path) -> None:
        result = run_phototag("novel", "--model", model.path or "", "--no-sheets")
        head, first, *_ = result.stdout.splitlines()
        assert "of them tagged" in head
        assert first.split()[:3] == ["1", "42", "12"]
        assert "54 novel photos, and 12 that were tagged with a known subclass; 5 novel ones" in result.stderr

    def test_they_can_be_left_out(self, run_phototag: RunCommand, model: Model, mistaken: Path) -> None:
        found = listed(run_phototag, model, "--novel-only")
        assert [(entry["count"], entry["tagged"]) for entry in found["groups"]] == [(30, 0), (14, 0), (10, 0)]

    def test_a_human_tag_is_left_alone(self, run_phototag: RunCommand, model: Model, mistaken: Path) -> None:
        with Store.open() as store, store.writing("test"):
            store.tags.set_human(mistaken / "mistaken" / "03.jpg", superclass="bird", subclass="hawk")
        assert listed(run_phototag, model)["tagged"] == 11

    def test_so_is_what_lies_elsewhere(self, run_phototag: RunCommand, model: Model, mistaken: Path) -> None:
        assert listed(run_phototag, model, "--under", mistaken / "kea")["tagged"] == 0

    def test_a_class_that_only_a_later_model_knows_is_no_known_one(
        self, run_phototag: RunCommand, model: Model, library: Path, make_picture: MakePicture
    ) -> None:
        kea = np.random.default_rng(9).normal(0, 5, AXES)
        path = make_picture(library / "later" / "one.jpg")
        save(model, [stored(path, blobs(model, kea[None])[0], "bird", "kea")])
        assert listed(run_phototag, model)["tagged"] == 0

    def test_they_are_named_with_the_others(
        self, run_phototag: RunCommand, model: Model, mistaken: Path, home: Path
    ) -> None:
        listed(run_phototag, model)
        run_phototag("novel", "name", "1", "bird/kea")
        rows = rows_of(home / "data" / "novel-labels.csv")
        assert sum(Path(row["filepath"]).parent.name == "mistaken" for row in rows) == 12


class TestModelsWithoutEmbedding:
    def test_the_built_in_one_is_refused_with_the_way_out(self, run_phototag: RunCommand, library: Path) -> None:
        result = run_phototag("novel")
        assert result.exit_code == 2
        assert "gives no embeddings" in result.stderr
        assert "phototag train DATA" in result.stderr

    def test_an_older_model_is_refused(self, run_phototag: RunCommand, library: Path, tiny_model: Path) -> None:
        result = run_phototag("novel", "--model", tiny_model)
        assert result.exit_code == 2
        assert "model tiny gives no embeddings" in result.stderr

    def test_photos_scored_by_another_model_are_counted(
        self, run_phototag: RunCommand, model: Model, tiny_model: Path, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        path = make_picture(tmp_path / "photos" / "one.jpg")
        save(open_model(tiny_model), [stored(path, b"anything", None)])
        result = run_phototag("novel", "--model", model.path or "")
        assert result.exit_code == 2
        assert "No scores of model animals: 1 photos, tagged by tiny 1" in result.stderr

    def test_scores_from_before_embeddings_are_counted(
        self, run_phototag: RunCommand, model: Model, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        path = make_picture(tmp_path / "photos" / "one.jpg")
        shapes = len(TINY_TAXONOMY.superclasses), len(TINY_TAXONOMY.subclasses)
        plain = pack(gather(Scores(*(np.zeros((1, width), np.float32) for width in shapes)), TINY_TAXONOMY))
        save(model, [stored(path, plain[0], None)])
        result = run_phototag("novel", "--model", model.path or "")
        assert result.exit_code == 2
        assert "phototag tag --force" in result.stderr


class TestSheets:
    def test_every_group_gets_one_in_the_data_folder(
        self, run_phototag: RunCommand, model: Model, library: Path, home: Path
    ) -> None:
        result = run_phototag("novel", "--model", model.path or "", "--format", "json")
        folder = home / "data" / "novel-sheets"
        groups = json.loads(result.stdout)["groups"]
        sheets = [Path(sheet) for entry in groups for sheet in entry["sheets"]]
        assert sorted(folder.iterdir()) == sorted(sheets)
        assert [entry["sheet"] for entry in groups] == [entry["sheets"][0] for entry in groups]
        for sheet in sheets:
            with Image.open(sheet) as image:
                assert image.format == "JPEG"
        assert str(folder) in result.stderr

    def test_those_of_an_earlier_grouping_go(
        self, run_phototag: RunCommand, model: Model, library: Path, home: Path
    ) -> None:
        run_phototag("novel", "--model", model.path or "")
        run_phototag("novel", "--model", model.path or "", "--min-size", "20")
        assert [path.name for path in (home / "data" / "novel-sheets").iterdir()] == ["novel-group-01.jpg"]

    def test_a_folder_of_ones_own(self, run_phototag: RunCommand, model: Model, library: Path, tmp_path: Path) -> None:
        run_phototag("novel", "--model", model.path or "", "--sheets", tmp_path / "a" / "b")
        assert len(list((tmp_path / "a" / "b").glob("*.jpg"))) == 3

    def test_a_folder_that_cannot_be_made_is_an_error(
        self, run_phototag: RunCommand, model: Model, library: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        result = run_phototag("novel", "--model", model.path or "", "--sheets", tmp_path / "file" / "b")
        assert result.exit_code == 2
        assert "--no-sheets" in result.stderr

    def test_pictures_that_cannot_be_read_are_left_out(self, tmp_path: Path, make_picture: MakePicture) -> None:
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        bad = [(2, tmp_path / "bad.jpg"), (3, tmp_path / "gone.jpg")]
        good = [(number, make_picture(tmp_path / f"{number}.png")) for number in (1, 4)]
        whole = [good[0], *bad, good[1]]
        assert write_sheets(tmp_path / "sheet.jpg", whole, heading="h") == [tmp_path / "sheet.jpg"]
        write_sheets(tmp_path / "same.jpg", good, heading="h")
        assert (tmp_path / "sheet.jpg").read_bytes() == (tmp_path / "same.jpg").read_bytes()
        assert write_sheets(tmp_path / "none.jpg", bad, heading="h") == []
        assert not (tmp_path / "none.jpg").exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
    def test_what_is_no_file_any_more_is_left_out_at_once(self, tmp_path: Path, make_picture: MakePicture) -> None:
        os.mkfifo(tmp_path / "1.png")
        (tmp_path / "2.png").symlink_to("/dev/zero")
        others = [(number, tmp_path / f"{number}.png") for number in (1, 2)]
        whole = [*others, (3, make_picture(tmp_path / "3.tif"))]
        assert write_sheets(tmp_path / "none.jpg", others, heading="h") == []
        assert write_sheets(tmp_path / "sheet.jpg", whole, heading="h") == [tmp_path / "sheet.jpg"]

    def test_all_photos_of_a_group_stand_on_pages_under_a_heading(
        self, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        picture = make_picture(tmp_path / "1.png")
        told: list[int] = []
        pictures = [(number, picture) for number in range(1, 2 * PAGE_PICTURES + 2)]
        pages = write_sheets(tmp_path / "group.jpg", pictures, heading="Group 1", told=told.append)
        assert [page.name for page in pages] == ["group.jpg", "group-page-2.jpg", "group-page-3.jpg"]
        assert sum(told) == len(pictures)
        with Image.open(pages[0]) as first, Image.open(pages[2]) as last:
            assert first.width == last.width
            assert first.height > last.height > 160
            heading = np.asarray(last.convert("L"))[:32]
        assert heading.max() > 200  # white letters on the dark ground

    def test_a_star_marks_a_number(self, tmp_path: Path, make_picture: MakePicture) -> None:
        pictures = [(1, make_picture(tmp_path / "1.png"))]
        write_sheets(tmp_path / "plain.jpg", pictures, heading="h")
        write_sheets(tmp_path / "star.jpg", pictures, heading="h", marked={1})
        assert (tmp_path / "plain.jpg").read_bytes() != (tmp_path / "star.jpg").read_bytes()


@pytest.fixture
def grouped(run_phototag: RunCommand, model: Model, library: Path) -> Path:
    """The library, with its groups kept."""
    listed(run_phototag, model)
    return library


@pytest.fixture
def labels(home: Path) -> Path:
    return home / "data" / "novel-labels.csv"


class TestNaming:
    def test_a_group_becomes_labelled_pictures_that_training_reads(
        self, run_phototag: RunCommand, grouped: Path, labels: Path, model: Model
    ) -> None:
        result = run_phototag("novel", "name", "1", "bird/kea")
        assert result.exit_code == 0
        data = load_data(labels)
        assert {picture.path for picture in data.pictures} == set((grouped / "kea").iterdir())
        assert {(picture.superclass, picture.subclass) for picture in data.pictures} == {("bird", "kea")}
        assert f"phototag train --extend {model.path} {labels}" in result.stderr

    def test_numbers_leave_out_or_choose(self, run_phototag: RunCommand, grouped: Path, labels: Path) -> None:
        order = [str(path) for path in paths_of(run_phototag, 2)]
        run_phototag("novel", "name", "2", "bovine/saola", "--except", "1,3-4")
        assert [row["filepath"] for row in rows_of(labels)] == [order[1], *order[4:]]
        run_phototag("novel", "name", "2", "bovine/saola", "--only", "3")
        assert order[2] in [row["filepath"] for row in rows_of(labels)]
        result = run_phototag("novel", "name", "2", "bovine/saola", "--only", "3", "--except", "3")
        assert result.exit_code == 2
        assert "leave no photo" in result.stderr

    def test_named_again_a_photo_gets_the_new_label_once(
        self, run_phototag: RunCommand, grouped: Path, labels: Path
    ) -> None:
        run_phototag("novel", "name", "3", "reptile/tautara")
        run_phototag("novel", "name", "1", "bird/kea")
        result = run_phototag("novel", "name", "3", "reptile/tuatara")
        assert "10 had another label" in result.stderr
        rows = rows_of(labels)
        assert len(rows) == len({row["filepath"] for row in rows}) == 40
        assert {row["subclass"] for row in rows} == {"kea", "tuatara"}
        assert "10 had it already" in run_phototag("novel", "name", "3", "reptile/tuatara").stderr

    def test_only_with_tag_are_they_tagged(self, run_phototag: RunCommand, grouped: Path) -> None:
        run_phototag("novel", "name", "1", "bird/kea")
        with Store.open() as store:
            assert store.count(Query(source=Source.HUMAN)) == 0
        run_phototag("novel", "name", "1", "bird/kea", "--tag", "--except", "1")
        with Store.open() as store:
            assert store.count(Query(source=Source.HUMAN, subclass="bird/kea")) == 29

    def test_a_slip_of_the_pen_can_be_put_right_with_tags_too(
        self, run_phototag: RunCommand, grouped: Path, labels: Path
    ) -> None:
        run_phototag("novel", "name", "1", "bird/kae", "--tag")
        run_phototag("novel", "name", "1", "bird/kea", "--tag")
        with Store.open() as store:
            assert store.count(Query(source=Source.HUMAN, subclass="bird/kea")) == 30
        assert {row["subclass"] for row in rows_of(labels)} == {"kea"}

    def test_tags_of_a_group_can_be_taken_back(self, run_phototag: RunCommand, grouped: Path) -> None:
        with Store.open() as store:
            before = list(store.query(Query()))
        run_phototag("novel", "name", "1", "bird/kae", "--tag")
        run_phototag("novel", "name", "1", "bird/kea", "--tag")
        run_phototag("novel", "name", "1", "bird/kea", "--tag")  # said already
        with Store.open() as store, store.writing("test"):
            reviews = list(store.reviews.find_all(ReviewFilter(origins=(ReviewOrigin.NAMED,), current=False)))
            assert len(reviews) == 60
            for review in reversed(reviews):
                store.reviews.undo(review.id)
            assert list(store.query(Query())) == before

    def test_what_a_human_said_meanwhile_stays(self, run_phototag: RunCommand, grouped: Path, labels: Path) -> None:
        path = grouped / "kea" / "kea03.jpg"
        with Store.open() as store, store.writing("test"):
            store.tags.set_human(path, superclass="bird", subclass="hawk")
        result = run_phototag("novel", "name", "1", "bird/kea", "--tag")
        assert "Left out: 1 tagged otherwise by a human since" in result.stderr
        assert str(path) not in [row["filepath"] for row in rows_of(labels)]
        with Store.open() as store:
            assert store.count(Query(subclass="bird/hawk", source=Source.HUMAN)) == 1

    def test_photos_that_are_gone_or_changed_are_left_out(
        self, run_phototag: RunCommand, grouped: Path, labels: Path
    ) -> None:
        (grouped / "kea" / "kea00.jpg").unlink()
        (grouped / "kea" / "kea01.jpg").write_bytes(b"something else")
        result = run_phototag("novel", "name", "1", "bird/kea")
        assert "Left out: 1 gone." in result.stderr
        assert "Left out: 1 changed since they were grouped." in result.stderr
        assert len(rows_of(labels)) == 28

    def test_if_none_is_left_nothing_is_written(self, run_phototag: RunCommand, grouped: Path, labels: Path) -> None:
        for path in (grouped / "kea").iterdir():
            path.unlink()
        result = run_phototag("novel", "name", "1", "bird/kea")
        assert result.exit_code == 2
        assert "30 gone" in result.stderr
        assert not labels.exists()

    def test_a_known_class_gets_more_examples(self, run_phototag: RunCommand, grouped: Path, labels: Path) -> None:
        result = run_phototag("novel", "name", "1", "bird/hawk")
        assert result.exit_code == 0
        assert "knows bird/hawk already" in result.stderr

    def test_a_new_superclass_is_pointed_out(self, run_phototag: RunCommand, grouped: Path) -> None:
        assert "bovine is a new superclass" in run_phototag("novel", "name", "2", "bovine/saola").stderr

    @pytest.mark.parametrize(
        ("label", "words"),
        [
            ("mammal/hawk", "knows 'hawk' as bird/hawk"),
            ("kea", "write superclass/subclass"),
            ("bird/", "is empty"),
            ("bird/a/b", "holds a slash"),
        ],
    )
    def test_a_label_that_cannot_be_is_refused(
        self, run_phototag: RunCommand, grouped: Path, labels: Path, label: str, words: str
    ) -> None:
        result = run_phototag("novel", "name", "1", label)
        assert result.exit_code == 2
        assert words in result.stderr
        assert not labels.exists()

    def test_a_group_that_is_not_there_is_refused(self, run_phototag: RunCommand, grouped: Path) -> None:
        for words in (["show", "9"], ["name", "9", "bird/kea"]):
            result = run_phototag("novel", *words)
            assert result.exit_code == 2
            assert "no group 9: there are 1 to 3" in result.stderr

    def test_without_a_grouping_the_command_for_it_is_named(self, run_phototag: RunCommand, library: Path) -> None:
        result = run_phototag("novel", "show", "1")
        assert result.exit_code == 2
        assert "make them with: phototag novel" in result.stderr

    def test_a_damaged_note_is_as_none(self, run_phototag: RunCommand, grouped: Path) -> None:
        with Store.open() as store, store.writing("test"):
            store.notes.write("novel-groups", {"version": 1, "groups": 5})
        assert run_phototag("novel", "show", "1").exit_code == 2

    def test_paths_for_piping_may_end_in_nul(self, run_phototag: RunCommand, grouped: Path) -> None:
        result = run_phototag("novel", "show", "3", "--print0")
        assert sorted(result.stdout_bytes.split(b"\0")[:-1]) == sorted(
            map(os.fsencode, (grouped / "tuatara").iterdir())
        )


@pytest.mark.parametrize("words", ["novel --help", "novel name --help", "novel show --help"])
def test_help_imports_no_library_but_click(words: str) -> None:
    assert not imported_by_command(*words.split()) & (HEAVY | {"sqlalchemy"})


def test_grouping_imports_no_network(model: Model, library: Path) -> None:
    assert not imported_by_command("novel", "--model", model.path or "", "--no-sheets") & NETWORKS
