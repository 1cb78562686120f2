"""`phototag retag`: other thresholds, the same scores; and whose scores are whose."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phototag.decision import Thresholds, decide, gather, pack, unpack
from phototag.errors import LockedError, ModelError, StoreError
from phototag.model.file import read_header, read_tensors, weights_hash, write_tensors
from phototag.model.registry import Model, open_model
from phototag.records import Failure, FailureKind, Photo, Rank, Scores, Source, TaggedPhoto
from phototag.runtime.runtime import Runtime
from phototag.store import Query, Store, StoredTag
from phototag.store.tags import Tags
from phototag.tagging.changes import UNCHANGED
from phototag.tagging.registration import register
from phototag.tagging.retagging import RetagReport, retag
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand
from tests.support.imports import NETWORKS, imported_by_command
from tests.support.models import TINY_TAXONOMY
from tests.support.pictures import MakePicture

LIBRARY = Path("/library")
STRICT = Thresholds(superclass=0.9, subclass=0.8)
LAX = Thresholds(superclass=0.0, subclass=0.0)


def retuned(source: Path, target: Path, thresholds: Thresholds) -> Path:
    """The same model with other thresholds in its header."""
    header = replace(read_header(source), thresholds=thresholds)
    write_tensors(target, read_tensors(source), header.to_json())
    return target


def scores(number: int, *, seed: int = 7) -> Scores:
    random = np.random.default_rng(seed)
    shape = len(TINY_TAXONOMY.superclasses), len(TINY_TAXONOMY.subclasses)
    return Scores(*(random.normal(0, 2, (number, width)).astype(np.float32) for width in shape))


def photo(name: str) -> Photo:
    return Photo(LIBRARY / name, 10, 1, 2, 3)


def scored(model: Model, names: Iterable[str], *, seed: int = 7) -> list[StoredTag]:
    """Photos that a model scored at random and tagged with its own thresholds."""
    names = list(names)
    evidence = gather(scores(len(names), seed=seed), TINY_TAXONOMY)
    tags = decide(evidence, TINY_TAXONOMY, model.header.thresholds)
    return [
        StoredTag(photo(name), hashlib.sha256(name.encode()).digest(), 40, 30, blob, tag)
        for name, blob, tag in zip(names, pack(evidence), tags, strict=True)
    ]


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture
def filled(model: Model) -> None:
    """The default database with 300 photos that the tiny model tagged, in two folders."""
    fill(model, [f"{number % 2}/{number:03}.jpg" for number in range(300)])


def fill(model: Model, names: Iterable[str], *, seed: int = 7) -> None:
    with Store.open() as store, store.writing("test"):
        store.tags.save_batch(model_id=register(store, model), tagged=scored(model, names, seed=seed))


def rows(**wanted: Any) -> dict[str, TaggedPhoto]:
    with Store.open(create=False) as store:
        return {str(row.path.relative_to(LIBRARY)): row for row in store.query(Query(**wanted))}


def content() -> list[tuple[Any, ...]]:
    """All that a retag may change, in the order of paths."""
    with Store.open(create=False) as store:
        return [(row, store.photos.find(row.path)) for row in store.query(Query())]


def again(model: Model, thresholds: Thresholds, **options: Any) -> RetagReport:
    with Store.open() as store:
        return retag(store, model, thresholds, **options)


@pytest.mark.usefixtures("filled")
class TestDecidingAgain:
    def test_a_tag_has_the_reason_of_the_thresholds_that_gave_it(self, model: Model) -> None:
        before = {path: row.reason for path, row in rows().items()}
        again(model, STRICT, under=LIBRARY / "1")
        found = rows()
        names = [f"{number % 2}/{number:03}.jpg" for number in range(300)]
        wanted = decide(gather(scores(300), TINY_TAXONOMY), TINY_TAXONOMY, STRICT)
        decided = {name: tag.reason for name, tag in zip(names, wanted, strict=True)}
        for name, row in found.items():
            assert row.reason is not None
            assert row.reason.rank is row.rank
            assert row.reason is (decided[name] if name.startswith("1/") else before[name])
        assert before != {name: row.reason for name, row in found.items()}

    def test_the_tags_are_those_that_the_thresholds_give(self, model: Model) -> None:
        report = again(model, STRICT)
        names = [f"{number % 2}/{number:03}.jpg" for number in range(300)]
        wanted = decide(gather(scores(300), TINY_TAXONOMY), TINY_TAXONOMY, STRICT)
        found = rows()
        assert report.decided == 300
        assert report.changed == report.saved > 50
        for name, tag in zip(names, wanted, strict=True):
            row = found[name]
            assert (row.superclass, row.subclass, row.rank) == (tag.superclass, tag.subclass, tag.rank)
            assert row.superclass_score == pytest.approx(tag.superclass_score)
            assert (row.source, row.model) == (Source.MODEL, "tiny")

    def test_a_second_run_finds_nothing_to_change_and_the_way_back_is_open(self, model: Model) -> None:
        before = {name: (row.superclass, row.subclass) for name, row in rows().items()}
        again(model, STRICT)
        stored = content()
        report = again(model, STRICT)
        assert (report.changed, report.saved, report.transitions[UNCHANGED]) == (0, 0, 300)
        assert content() == stored, "not even the time of the tags changes"
        again(model, model.header.thresholds)
        assert {name: (row.superclass, row.subclass) for name, row in rows().items()} == before

    def test_the_report_counts_what_the_database_shows(self, model: Model) -> None:
        before = {name: row.rank for name, row in rows().items()}
        report = again(model, STRICT)
        after = rows()
        wanted = Counter(
            UNCHANGED if before[name] == row.rank else f"{before[name]} -> {row.rank}" for name, row in after.items()
        )
        assert report.transitions == wanted
        assert len(wanted) >= 3
        flows = report.superclasses
        assert sum(flow.before for flow in flows.values()) == sum(flow.after for flow in flows.values()) == 300
        for superclass in (*TINY_TAXONOMY.superclasses, None):
            assert flows[superclass].after == sum(row.superclass == superclass for row in after.values())
        assert flows[None].changed == sum(wanted[f"{rank} -> none"] for rank in Rank)
        for name, examples in report.examples.items():
            assert 1 <= len(examples) <= 3
            for example in examples:
                row = after[str(example.path.relative_to(LIBRARY))]
                assert f"{before[str(example.path.relative_to(LIBRARY))]} -> {row.rank}" == name
                assert (example.tag.superclass, example.tag.subclass) == (row.superclass, row.subclass)

    def test_only_the_photos_below_a_path_are_decided_again(self, model: Model) -> None:
        before = rows()
        report = again(model, STRICT, under=LIBRARY / "1")
        assert report.decided == 150
        after = rows()
        assert {name for name in after if after[name] != before[name]} <= {name for name in after if name[0] == "1"}
        assert report.changed == sum(after[name] != before[name] for name in after) > 0
        assert again(model, STRICT, under=LIBRARY / "1" / "001.jpg").decided == 1
        assert again(model, STRICT, under=Path("/elsewhere")).decided == 0

    def test_pages_do_not_show(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = again(model, STRICT, dry_run=True)
        monkeypatch.setattr("phototag.database.database.PAGE_ROWS", 7)
        report = again(model, STRICT)
        assert (report.decided, report.transitions) == (wanted.decided, wanted.transitions)
        assert again(model, STRICT).changed == 0

    def test_a_dry_run_writes_nothing_and_foretells_the_run(self, model: Model, tmp_path: Path) -> None:
        tuned = open_model(retuned(file_of(model), tmp_path / "tuned.safetensors", STRICT))
        stored = content()
        with Store.open() as other, other.writing("phototag tag"):
            foretold = again(tuned, STRICT, dry_run=True)  # needs no lock
        assert content() == stored
        with Store.open() as store:
            assert [known.name for known in store.models.find_all()] == ["tiny"]
        report = again(tuned, STRICT)
        assert report.transitions == foretold.transitions
        assert report.superclasses == foretold.superclasses
        assert (foretold.saved, report.saved) == (0, 300), "all are this file's tags now"

    def test_a_human_tag_stays(self, model: Model) -> None:
        path = LIBRARY / "0" / "000.jpg"
        with Store.open() as store, store.writing("test"):
            store.tags.set_human(path, superclass="dog", subclass="boxer")
        before = rows()["0/000.jpg"]
        for thresholds in (STRICT, LAX):
            report = again(model, thresholds)
            assert (report.decided, report.human) == (299, 1)
            assert rows()["0/000.jpg"] == before

    def test_photos_that_are_missing_or_failed_later_are_decided_by_what_is_known_of_them(self, model: Model) -> None:
        with Store.open() as store, store.writing("test"):
            gone = store.photos.find(LIBRARY / "0" / "000.jpg")
            assert gone is not None
            store.photos.mark_missing([gone.id])
            failure = Failure(replace(photo("1/001.jpg"), size_bytes=99), FailureKind.TRUNCATED, "cut short")
            store.tags.save_batch(model_id=register(store, model), tagged=[], failures=[failure])
        assert again(model, LAX).decided == 299, "another content that cannot be read has no tag"
        assert rows()["0/000.jpg"].rank is Rank.SUBCLASS
        assert rows()["1/001.jpg"].rank is None

    def test_ctrl_c_keeps_what_is_saved_and_the_next_run_does_the_rest(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("phototag.database.database.PAGE_ROWS", 50)
        total = again(model, STRICT, dry_run=True).changed
        save = Tags.save
        saves: list[dict[str, Any]] = []

        def interrupted(self: Tags, **values: Any) -> None:
            if len(saves) == 2:
                raise KeyboardInterrupt
            saves.append(values)
            save(self, **values)

        with monkeypatch.context() as patch:
            patch.setattr(Tags, "save", interrupted)
            first = again(model, STRICT)
        assert first.interrupted
        assert first.decided == 100
        second = again(model, STRICT)
        assert not second.interrupted
        assert first.changed > 0
        assert first.changed + second.changed == total

    def test_another_writer_or_tagger_is_in_the_way(self, model: Model) -> None:
        for hold in (Store.writing, Store.tagging):
            with Store.open() as other, hold(other, "phototag watch"), pytest.raises(LockedError, match="watch"):
                again(model, STRICT)


def file_of(model: Model) -> Path:
    assert model.path is not None
    return model.path


class TestWhoseScores:
    def test_thresholds_leave_the_weights_hash_as_it_is_and_weights_do_not(
        self, tiny_model: Path, other_model: Path, tmp_path: Path
    ) -> None:
        tuned = retuned(tiny_model, tmp_path / "tuned.safetensors", STRICT)
        tiny, same, other = open_model(tiny_model), open_model(tuned), open_model(other_model)
        assert tiny.hash != same.hash
        assert tiny.weights_hash == same.weights_hash != other.weights_hash
        assert len(tiny.weights_hash) == 64

    @pytest.mark.parametrize("change", ["value", "name", "shape"])
    def test_whatever_shapes_the_scores_changes_the_weights_hash(
        self, tiny_model: Path, tmp_path: Path, change: str
    ) -> None:
        tensors, header = read_tensors(tiny_model), read_header(tiny_model)
        name = max(tensors, key=lambda key: tensors[key].ndim)
        if change == "value":
            tensors[name] = tensors[name].copy()
            tensors[name].flat[0] += 1
        elif change == "name":
            tensors[f"{name}2"] = tensors.pop(name)
        else:
            tensors[name] = tensors[name].reshape(-1)
        target = tmp_path / "changed.safetensors"
        write_tensors(target, tensors, header.to_json())
        assert weights_hash(target, header) != weights_hash(tiny_model, header)

    def test_what_the_header_says_of_the_input_and_the_classes_belongs_to_it(self, tiny_model: Path) -> None:
        header = read_header(tiny_model)
        others = [
            replace(header, preprocessing=replace(header.preprocessing, size=64)),
            replace(header, taxonomy=replace(header.taxonomy, superclasses=("bird", "dog", "snake"))),
            replace(header, superclass_head=False),
        ]
        assert len({weights_hash(tiny_model, each) for each in (header, *others)}) == 4
        assert weights_hash(tiny_model, replace(header, metrics={}, record={"a": 1})) == weights_hash(
            tiny_model, header
        )

    def test_a_damaged_file_is_refused(self, tiny_model: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(tiny_model.read_bytes()[:-1])
        with pytest.raises(ModelError, match="cut short"):
            weights_hash(cut, read_header(tiny_model))

    @pytest.mark.parametrize("damage", ["no JSON", "[1]"])
    def test_a_damaged_row_of_a_model_is_said_to_be_one(self, model: Model, damage: str) -> None:
        fill(model, ["a.jpg"])
        with Store.open() as store:
            assert store.location.path is not None
            with closing(sqlite3.connect(store.location.path)) as raw, raw:
                raw.execute("UPDATE models SET metrics = ?", [damage])
        with Store.open() as store, store.writing("test"), pytest.raises(StoreError, match="did not write"):
            register(store, model)
        if damage == "no JSON":
            with pytest.raises(StoreError, match="did not write"):
                again(model, STRICT)

    def test_scores_of_other_weights_are_never_taken(self, model: Model, other_model: Path) -> None:
        fill(model, ["a.jpg", "b.jpg"])
        before = rows()
        report = again(open_model(other_model), STRICT)
        assert (report.decided, report.without_scores) == (0, {"tiny": 2})
        assert rows() == before

    def test_a_model_registered_before_weights_had_a_hash_keeps_its_scores_to_itself(
        self, model: Model, tmp_path: Path
    ) -> None:
        names = ["a.jpg", "b.jpg"]
        with Store.open() as store, store.writing("test"):
            header = model.header
            old = store.models.register(
                hash=model.hash, name="old", backbone="b", taxonomy=header.taxonomy, metrics=header.metrics
            )
            store.tags.save_batch(model_id=old, tagged=scored(model, names))
        tuned = open_model(retuned(file_of(model), tmp_path / "tuned.safetensors", STRICT))
        assert again(tuned, STRICT).without_scores == {"old": 2}
        assert again(model, LAX).decided == 2, "the file itself is known, and now its weights are"
        assert again(tuned, STRICT).decided == 2

    def test_tags_of_another_model_are_decided_again_by_a_model_that_scored_the_photo(
        self, model: Model, other_model: Path
    ) -> None:
        other = open_model(other_model)
        names = [f"{number}.jpg" for number in range(40)]
        fill(model, names, seed=1)
        fill(other, [*names, "new.jpg"], seed=2)
        assert {row.model for row in rows().values()} == {"other"}
        report = again(model, model.header.thresholds)
        assert (report.decided, report.saved, report.without_scores) == (40, 40, {"other": 1})
        assert Counter(row.model for row in rows().values()) == {"tiny": 40, "other": 1}
        assert report.transitions["other subclass"] > 0
        wanted = decide(gather(scores(40, seed=1), TINY_TAXONOMY), TINY_TAXONOMY, model.header.thresholds)
        assert [rows()[name].subclass for name in names] == [tag.subclass for tag in wanted]

    def test_scores_of_a_content_that_a_photo_no_longer_has_are_not_taken(
        self, model: Model, other_model: Path
    ) -> None:
        fill(model, ["a.jpg"])
        with Store.open() as store, store.writing("test"):
            (changed,) = scored(open_model(other_model), ["a.jpg"])
            changed = replace(changed, content_hash=hashlib.sha256(b"changed").digest())
            store.tags.save_batch(model_id=register(store, open_model(other_model)), tagged=[changed])
        assert again(model, LAX).without_scores == {"other": 1}

    def test_a_copy_is_decided_by_the_scores_that_are_stored_under_another_name(
        self, model: Model, other_model: Path
    ) -> None:
        other = open_model(other_model)
        fill(model, ["a.jpg"])
        (first,) = scored(other, ["a.jpg"])
        with Store.open() as store, store.writing("test"):
            copy = replace(first, photo=photo("copy.jpg"))
            store.tags.save_batch(model_id=register(store, other), tagged=[copy])
        assert again(model, LAX).decided == 2
        assert rows()["copy.jpg"].subclass == rows()["a.jpg"].subclass

    def test_files_of_the_same_weights_share_what_is_stored(self, model: Model, tmp_path: Path) -> None:
        tuned = open_model(retuned(file_of(model), tmp_path / "tuned.safetensors", STRICT))
        with Store.open() as store, store.writing("test"):
            first, second = register(store, model), register(store, tuned)
            assert first != second
            (a, b) = scored(model, ["a.jpg", "b.jpg"])
            store.tags.save_batch(model_id=first, tagged=[a])
            store.tags.save_batch(model_id=second, tagged=[b])
            for number in (first, second):
                hashes = [a.content_hash, b.content_hash]
                assert store.scores.of_contents(number, hashes) == {a.content_hash: a.scores, b.content_hash: b.scores}
                assert set(store.scores.hashes(number)) == set(hashes)
                found = store.scores.known_contents(number, hashes)
                assert {content: each.scores for content, each in found.items()} == {
                    a.content_hash: a.scores,
                    b.content_hash: b.scores,
                }
            # For audits: the tag is each file's own, the scores are found for both.
            behind = {path: (number, blob) for path, number, blob in store.scores.behind_tags(LIBRARY)}
            assert behind[bytes(b.photo.path)] == (second, b.scores)
            assert behind[bytes(a.photo.path)] == (first, a.scores)
            assert unpack([b.scores], TINY_TAXONOMY)


class TestTagWithATunedModel:
    def test_no_photo_goes_through_the_network_again(
        self,
        quick_model: Path,
        make_picture: MakePicture,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        photos = tmp_path / "photos"
        for number in range(4):
            make_picture(photos / f"{number}.jpg")
        tuned = retuned(quick_model, tmp_path / "tuned.safetensors", Thresholds(superclass=1.0, subclass=1.0))
        with Store.open() as store:
            assert Tagger(quick_model).tag([photos], store).inferred == 4

        def run(self: Runtime, pictures: Any) -> None:
            raise AssertionError("the network ran")

        monkeypatch.setattr(Runtime, "start", run)
        with Store.open() as store:
            foretold = Tagger(tuned).tag([photos], store, dry_run=True)
            assert (foretold.tagged, foretold.inferred) == (4, 0)
            report = Tagger(tuned).tag([photos], store)
            assert (report.tagged, report.inferred) == (4, 0)
            assert {(row.rank, row.model) for row in store.query(Query())} == {(Rank.NONE, "tuned")}
            assert Tagger(tuned).tag([photos], store).unchanged == 4
            # And what retag decides is what tag would.
            assert retag(store, open_model(quick_model), open_model(quick_model).header.thresholds).saved == 4
            assert Tagger(quick_model).tag([photos], store).unchanged == 4


@pytest.mark.usefixtures("filled")
class TestCommand:
    def test_the_summary_says_what_changed(self, run_phototag: RunCommand, tiny_model: Path) -> None:
        words = ["retag", "--model", tiny_model, "--superclass-threshold", "0.9", "--subclass-threshold", "0.8"]
        foretold = run_phototag(*words, "--dry-run")
        assert foretold.exit_code == 0
        assert "Dry run: nothing was stored." in foretold.stderr
        assert "subclass -> superclass" in foretold.stdout
        assert "/library/" in foretold.stdout
        done = run_phototag(*words)
        assert (done.exit_code, done.stdout) == (0, foretold.stdout)
        assert "300 decided again" in done.stderr
        assert "superclass 0.9, subclass 0.8" in done.stderr
        assert "300 decided again, 0 changed" in run_phototag(*words).stderr

    def test_json_holds_the_whole_report(self, run_phototag: RunCommand, tiny_model: Path) -> None:
        result = run_phototag(
            "retag", "--model", tiny_model, "--superclass-threshold", "0.9", "--format", "json", "--under", "/library/0"
        )
        found = json.loads(result.stdout)
        limits = {"superclass": 0.9, "subclass": 0.25, "novel_superclass": 1.0, "novel_subclass": 1.0}
        assert found["thresholds"] == limits
        assert (found["model"], found["dry_run"], found["decided"]) == ("tiny", False, 150)
        assert sum(found["transitions"].values()) == 150
        assert found["saved"] == found["changed"] == 150 - found["transitions"]["unchanged"]
        assert found["superclasses"][-1]["superclass"] is None
        assert {row["transition"] for row in found["examples"]} == set(found["transitions"]) - {"unchanged"}

    def test_the_thresholds_of_the_file_are_the_default(
        self, run_phototag: RunCommand, tiny_model: Path, tmp_path: Path
    ) -> None:
        tuned = retuned(tiny_model, tmp_path / "tuned.safetensors", STRICT)
        assert run_phototag("model", "use", tuned).exit_code == 0
        assert "model tuned, superclass 0.9, subclass 0.8" in run_phototag("retag").stderr
        assert {row.model for row in rows().values()} == {"tuned"}
        checked = run_phototag("db", "check")
        assert checked.exit_code == 0
        assert "wait for a tag" not in checked.stderr

    def test_photos_without_scores_are_named(self, run_phototag: RunCommand, other_model: Path) -> None:
        result = run_phototag("retag", "--model", other_model)
        assert result.exit_code == 2, "nothing could be done"
        assert result.stdout == ""
        assert "300 photos, tagged by tiny 300; run: phototag tag" in result.stderr

    @pytest.mark.parametrize(
        "words", ["--superclass-threshold 1.1", "--subclass-threshold=-1", "--subclass-threshold nan"]
    )
    def test_a_threshold_out_of_range_is_refused(self, run_phototag: RunCommand, tiny_model: Path, words: str) -> None:
        before = rows()
        result = run_phototag("retag", "--model", tiny_model, *words.split())
        assert result.exit_code == 2
        assert rows() == before

    def test_it_imports_no_network(self, tiny_model: Path) -> None:
        assert not imported_by_command("retag", "--model", tiny_model) & NETWORKS


def test_without_a_database_there_is_nothing_to_decide(run_phototag: RunCommand, tiny_model: Path) -> None:
    result = run_phototag("retag", "--model", tiny_model)
    assert result.exit_code == 2
    assert "phototag" in result.stderr


def test_an_empty_database_is_no_error(run_phototag: RunCommand, tiny_model: Path) -> None:
    with Store.open():
        pass
    result = run_phototag("retag", "--model", tiny_model)
    assert result.exit_code == 0
    assert "No photos" in result.stderr
