"""`phototag audit truth`: the numbers of a small case worked out by hand, the gates, and what has no tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from phototag.audit.truth import compare_with_truth
from phototag.errors import DataError
from phototag.records import Photo, Rank, Tag
from phototag.store import Store, StoredTag
from phototag.tagging.tagger import Tagger
from phototag.taxonomy import Taxonomy
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture

Label = tuple[str | None, str | None]
Write = Callable[[Mapping[str, Label], Sequence[tuple[str, str, str]]], Path]
TAXONOMY = Taxonomy.from_pairs(
    [("bird", "rooster"), ("bird", "hawk"), ("dog", "beagle"), ("dog", "boxer"), ("reptile", "gecko")]
)
# Four photos whose metrics are known.
TRUTH = [("a", "bird", "rooster"), ("b", "dog", "beagle"), ("c", "reptile", "gecko"), ("d", "bird", "hawk")]
TAGS: dict[str, Label] = {"a": ("bird", "rooster"), "b": ("dog", "boxer"), "c": ("dog", "beagle"), "d": ("bird", None)}


def as_tag(label: Label) -> Tag:
    superclass, subclass = label
    rank = Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS
    return Tag(superclass, subclass, rank, 0.8, 0.6, 0.4)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that stores tags by file name and writes labels to a CSV, with the files they need."""

    def make(tags: Mapping[str, Label], truth: Sequence[tuple[str, str, str]]) -> Path:
        for name in {*tags, *(row[0] for row in truth)}:
            (tmp_path / f"{name}.jpg").touch()
        with Store.open() as store, store.writing("test"):
            model = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            rows = [
                StoredTag(
                    Photo(tmp_path / f"{name}.jpg", 1, 1, 1, 1),
                    hashlib.sha256(name.encode()).digest(),
                    width=4,
                    height=3,
                    scores=b"",
                    tag=as_tag(label),
                )
                for name, label in tags.items()
            ]
            store.tags.save_batch(model_id=model, tagged=rows)
        lines = ["filepath,superclass,subclass", *(f"{name}.jpg,{top},{sub}" for name, top, sub in truth)]
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


@pytest.fixture
def audit(run_phototag: RunCommand) -> Callable[..., Result]:
    def run(labels: Path, *words: str) -> Result:
        return run_phototag("audit", "truth", labels, *words)

    return run


Audit = Callable[..., Result]


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1), result.stderr
    value: dict[str, Any] = json.loads(result.stdout)
    return value


class TestNumbers:
    def test_a_case_worked_out_by_hand(self, write: Write, audit: Audit) -> None:
        found = figures(audit(write(TAGS, TRUTH), "--format", "json"))
        assert found["photos"] == 4
        assert found["superclass_accuracy"] == 0.75
        assert found["subclass_accuracy"] == 0.25
        assert found["hierarchical_precision"] == pytest.approx(4 / 7)
        assert found["hierarchical_recall"] == pytest.approx(0.5)
        assert found["hierarchical_f1"] == pytest.approx(8 / 15)
        assert found["hierarchical_sample_precision"] == pytest.approx(0.625)
        assert found["hierarchical_sample_recall"] == pytest.approx(0.5)
        assert found["hierarchical_sample_f1"] == pytest.approx(0.5417, abs=1e-4)
        assert found["subclass_coverage"] == 0.75
        assert (found["labelled"], found["untagged"], found["unknown_labels"]) == (4, 0, [])

    def test_all_right_is_all_one(self, write: Write, audit: Audit) -> None:
        tags = {name: (top, sub) for name, top, sub in TRUTH}
        found = figures(audit(write(tags, TRUTH), "--format", "json"))
        for name in ("superclass_accuracy", "subclass_accuracy", "superclass_macro_f1", "subclass_macro_f1"):
            assert found[name] == 1.0
        assert found["hierarchical_f1"] == 1.0
        assert found["hierarchical_distance"] == 0.0

    def test_a_table_shows_them_for_people(self, write: Write, audit: Audit) -> None:
        result = audit(write(TAGS, TRUTH))
        assert result.exit_code == 0
        for words in ("75.0 %", "25.0 %", "57.1 %", "53.3 %", "superclass", "subclass"):
            assert words in result.stdout
        assert result.stderr.strip() == "Tags compared: 4 by m"

    def test_a_labelled_folder_says_the_same_as_a_csv(self, audit: Audit, tmp_path: Path) -> None:
        with Store.open() as store, store.writing("test"):
            model = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            rows = []
            for name, top, sub in TRUTH:
                path = tmp_path / "truth" / top / sub / f"{name}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                content = hashlib.sha256(name.encode()).digest()
                rows.append(StoredTag(Photo(path, 1, 1, 1, 1), content, 4, 3, b"", as_tag(TAGS[name])))
            store.tags.save_batch(model_id=model, tagged=rows)
        found = figures(audit(tmp_path / "truth", "--format", "json"))
        assert (found["superclass_accuracy"], found["subclass_accuracy"]) == (0.75, 0.25)

    def test_a_humans_tag_is_what_is_judged(self, write: Write, audit: Audit, tmp_path: Path) -> None:
        labels = write(TAGS, TRUTH)
        with Store.open() as store, store.writing("test"):
            store.tags.set_human(tmp_path / "c.jpg", superclass="reptile", subclass="gecko")
        assert figures(audit(labels, "--format", "json"))["superclass_accuracy"] == 1.0

    def test_relative_labels_and_dots_in_paths_find_their_photos(
        self, write: Write, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(TAGS, TRUTH)
        (tmp_path / "inner").mkdir()
        labels = tmp_path / "inner" / "labels.csv"
        labels.write_text("filepath,superclass,subclass\n../a.jpg,bird,rooster\n../inner/../b.jpg,dog,beagle\n")
        monkeypatch.chdir(tmp_path)
        found = figures(audit(Path("inner/labels.csv"), "--format", "json"))
        assert (found["labelled"], found["untagged"]) == (2, 0)


class TestContradictions:
    def test_two_labels_for_a_photo_are_refused_and_nothing_is_stored(self, write: Write, audit: Audit) -> None:
        labels = write(TAGS, [*TRUTH, ("a", "dog", "beagle")])
        result = audit(labels, "--import")
        assert result.exit_code == 2
        assert "line 6: a.jpg is dog/beagle here and bird/rooster in" in result.stderr
        with Store.open() as store:
            assert list(store.reviews.find_all()) == []

    def test_copies_with_two_labels_are_left_out_and_said_once(
        self, write: Write, audit: Audit, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        labels = write(TAGS, TRUTH)
        for name in "ab":
            (tmp_path / f"{name}.jpg").write_bytes(b"the same picture" * 10)
        found = figures(audit(labels, "--import", "--format", "json"))
        assert found["labelled"] == 2
        assert caplog.text.count("contradict each other") == 1

    @pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-16")])
    def test_labels_come_as_a_spreadsheet_writes_them(
        self, write: Write, audit: Audit, separator: str, encoding: str
    ) -> None:
        labels = write(TAGS, TRUTH)
        text = labels.read_text().replace("filepath", "FilePath").replace(",", separator)
        labels.write_text(text + 2 * separator + "\n", encoding=encoding)
        assert figures(audit(labels, "--format", "json"))["superclass_accuracy"] == 0.75


class TestEmptyLabels:
    """An empty label is a statement: of none of the known classes at that level."""

    def test_a_tag_where_nothing_is_known_counts_as_wrong(self, write: Write, audit: Audit) -> None:
        truth = [("car", "", ""), ("rock", "", ""), ("owl", "bird", ""), ("crow", "bird", "")]
        tags: dict[str, Label] = {
            "car": (None, None),
            "rock": ("reptile", "gecko"),
            "owl": ("bird", None),
            "crow": ("bird", "hawk"),
        }
        found = figures(audit(write(tags, truth), "--format", "json"))
        assert found["novel_photos"] == 4
        assert found["novel_superclass_rejected"] == 0.5
        assert found["novel_subclass_rejected"] == 0.5
        assert found["superclass_accuracy"] == 1.0, "of the two birds"
        assert found["subclass_accuracy"] is None, "no photo has a true subclass"
        assert found["subclass_precision_given"] == 0.0
        assert found["superclass_precision_given"] == pytest.approx(2 / 3)
        assert found["hierarchical_precision"] == pytest.approx(2 / 5), "gecko, reptile and hawk are too much"

    def test_a_subclass_without_its_superclass_is_refused(self, write: Write, audit: Audit) -> None:
        result = audit(write(TAGS, [("a", "", "rooster")]))
        assert result.exit_code == 2
        assert "line 2: subclass 'rooster' without a superclass" in result.stderr


class TestUntagged:
    def test_photos_without_a_tag_are_counted_and_one_is_named(
        self, write: Write, audit: Audit, tmp_path: Path
    ) -> None:
        labels = write({"a": ("bird", "rooster")}, TRUTH)
        result = audit(labels, "--format", "json")
        assert result.exit_code == 0
        found = figures(result)
        assert (found["photos"], found["labelled"], found["untagged"]) == (1, 4, 3)
        assert found["superclass_accuracy"] == 1.0, "over those that have a tag"
        assert "3 of 4 labelled photos have no tag" in result.stderr
        assert str(tmp_path / "b.jpg") in result.stderr

    def test_a_tag_of_no_class_is_a_tag(self, write: Write, audit: Audit) -> None:
        found = figures(audit(write({"a": (None, None)}, [("a", "bird", "rooster")]), "--format", "json"))
        assert (found["untagged"], found["superclass_accuracy"], found["superclass_coverage"]) == (0, 0.0, 0.0)

    def test_none_at_all_is_an_error_with_the_way_out(self, write: Write, audit: Audit, tmp_path: Path) -> None:
        result = audit(write({}, TRUTH))
        assert result.exit_code == 2
        assert "none of its 4 photos has a tag" in result.stderr
        assert f"phototag tag {tmp_path}" in result.stderr

    def test_photos_outside_the_labels_do_not_count(self, write: Write, audit: Audit) -> None:
        tags = {**TAGS, "other": ("dog", "boxer")}
        assert figures(audit(write(tags, TRUTH), "--format", "json"))["photos"] == 4

    def test_labels_that_no_model_knows_are_named(self, write: Write, audit: Audit) -> None:
        result = audit(
            write(TAGS, [("a", "bird", "rooster"), ("b", "cat", "tabby"), ("c", "dog", "poodle")]), "--format", "json"
        )
        assert result.exit_code == 0
        assert figures(result)["unknown_labels"] == ["cat", "poodle", "tabby"]
        assert "cat, poodle, tabby" in result.stderr
        assert figures(result)["superclass_accuracy"] == pytest.approx(2 / 3)


class TestGates:
    @pytest.mark.parametrize("gate", ["superclass_accuracy=0.75", "superclass_accuracy=75%", "hierarchical_f1=0.5"])
    def test_a_gate_that_is_met_exits_with_0(self, write: Write, audit: Audit, gate: str) -> None:
        result = audit(write(TAGS, TRUTH), "--fail-under", gate)
        assert result.exit_code == 0
        assert "Gate" not in result.stderr

    def test_a_gate_that_is_missed_exits_with_1_and_says_by_how_much(self, write: Write, audit: Audit) -> None:
        words = ("--fail-under", "superclass_accuracy=0.8", "--fail-under", "subclass_accuracy=20%")
        result = audit(write(TAGS, TRUTH), *words)
        assert result.exit_code == 1
        assert "Gate missed: superclass_accuracy is 75.0 %, below the gate of 80 %" in result.stderr
        assert "subclass_accuracy is" not in result.stderr
        assert "75.0 %" in result.stdout, "the report is printed all the same"

    def test_a_metric_that_cannot_be_known_misses_its_gate(self, write: Write, audit: Audit) -> None:
        result = audit(write(TAGS, [("a", "bird", "")]), "--fail-under", "subclass_accuracy=0.1")
        assert result.exit_code == 1
        assert "subclass_accuracy cannot be known" in result.stderr

    @pytest.mark.parametrize(
        ("gate", "said"),
        [
            ("superclas_accuracy=0.9", "did you mean superclass_accuracy?"),
            ("superclass_accuracy", "metric=value"),
            ("superclass_accuracy=high", "'high' is not a number"),
            ("superclass_accuracy=90", "did you mean 90%?"),
            ("subclass_ece=0.1", "lower is better"),
            ("photos=4", "cannot be a gate"),
        ],
    )
    def test_a_gate_that_makes_no_sense_exits_with_2_before_anything_is_read(
        self, audit: Audit, tmp_path: Path, gate: str, said: str
    ) -> None:
        result = audit(tmp_path / "not-there.csv", "--fail-under", gate)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr


class TestLibrary:
    def test_the_report_is_a_value(self, write: Write) -> None:
        labels = write({"a": ("bird", "rooster")}, TRUTH)
        with Store.open() as store:
            report = compare_with_truth(store, labels)
            assert (report.labelled, report.untagged, report.metrics.photos) == (4, 3, 1)
            assert json.loads(report.json_text())["untagged"] == 3
            with pytest.raises(DataError, match="no such folder or CSV"):
                compare_with_truth(store, labels.with_name("none.csv"))


def test_stored_scores_give_the_metrics_beyond_the_tag(
    quick_model: Path, make_picture: MakePicture, tmp_path: Path
) -> None:
    rows = ["filepath,superclass,subclass"]
    for index in range(3):
        path = make_picture(tmp_path / "photos" / f"{index}.png", seed=index)
        rows.append(f"photos/{path.name},bird,hawk")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    with Store.open() as store:
        Tagger(quick_model).tag([tmp_path / "photos"], store)
        report = compare_with_truth(store, labels)
    # Five subclasses: the right one is always among the five best.
    assert report.metrics.subclass_top5_accuracy == 1.0
    assert report.metrics.inconsistent_share is not None
    assert dict(report.by) == {quick_model.stem: 3}
