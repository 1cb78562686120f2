"""`phototag model diff`: counts that add up, a verdict that the reviews support, and models with different classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.audit.model_diff import ModelDiff, compare_models
from phototag.choices import Scored
from phototag.decision import Thresholds, gather, pack
from phototag.imaging.preprocessing import Preprocessing
from phototag.model.file import ModelHeader
from phototag.model.registry import Model, open_model
from phototag.records import Rank, Scores, Source, Tag
from phototag.store import Design, NewSample, Query, Review, SampledPhoto, Store, StoredTag, Stratum
from phototag.tagging.changes import UNCHANGED, kind_of
from phototag.tagging.registration import register
from phototag.tagging.tagger import Tagger
from phototag.tagging.unscored import score_missing
from phototag.taxonomy import Taxonomy
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.stored_photos import digest, photo

OLD = Taxonomy.from_pairs(
    [("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("dog", "boxer"), ("fish", "cod"), ("fish", "eel")]
)
NEW = Taxonomy.from_pairs([("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("cat", "tabby")])
Label = tuple[str | None, str | None]


def model(name: str, taxonomy: Taxonomy, **thresholds: float) -> Model:
    """A model that is only a header; scores of it are made up."""
    header = ModelHeader(
        backbone="none",
        taxonomy=taxonomy,
        preprocessing=Preprocessing(size=32, crop=1.0),
        thresholds=Thresholds(**({"superclass": 0.5, "subclass": 0.5} | thresholds)),
        metrics={},
        record={},
        created_at="2026-01-01T00:00:00+00:00",
    )
    made = Model(name, Path(f"/models/{name}.safetensors"), header)
    # Cached properties: there is no file to read them from.
    made.__dict__["hash"] = made.__dict__["weights_hash"] = digest(name).hex()
    return made


def blobs(taxonomy: Taxonomy, labels: Sequence[Label]) -> list[bytes]:
    """Packed scores that become these labels at thresholds of a half."""
    superclass = np.zeros((len(labels), len(taxonomy.superclasses)), dtype=np.float32)
    subclass = np.zeros((len(labels), len(taxonomy.subclasses)), dtype=np.float32)
    for row, (top, sub) in enumerate(labels):
        if top is not None:
            superclass[row, taxonomy.superclass_index[top]] = 9
            children = taxonomy.children[taxonomy.superclass_index[top]]
            subclass[row, list(children)] = 9
        if sub is not None:
            subclass[row, taxonomy.subclass_index[sub]] = 18
    return pack(gather(Scores(superclass, subclass), taxonomy))


def save(store: Store, of: Model, labels: Mapping[str, Label], *, tag: Tag | None = None) -> None:
    """Save what a model says of photos, by name."""
    unknown = Tag(None, None, Rank.NONE, 0.1, 0.1, 0.9)
    rows = [
        StoredTag(photo(f"/p/{name}.jpg"), digest(name), 40, 30, scores, tag or unknown)
        for name, scores in zip(labels, blobs(of.header.taxonomy, list(labels.values())), strict=True)
    ]
    store.tags.save_batch(model_id=register(store, of), tagged=rows)


def review(store: Store, truth: Mapping[str, Label]) -> None:
    for name, (superclass, subclass) in truth.items():
        known = store.photos.find(Path(f"/p/{name}.jpg"))
        assert known is not None
        store.reviews.save(Review(photo_id=known.id, superclass=superclass, subclass=subclass))


def consistent(diff: ModelDiff) -> bool:
    """Whether all counts add up."""
    return (
        diff.photos == diff.human + diff.without.total() + diff.decided
        and diff.changed == diff.decided - diff.kinds[UNCHANGED]
        and sum(flow.before for flow in diff.superclasses.values()) == diff.decided
        and sum(flow.after for flow in diff.superclasses.values()) == diff.decided
        and all(outcome.photos == diff.judged for outcome in diff.outcomes.values())
        and diff.sampled <= diff.judged <= diff.reviewed
    )


@pytest.fixture(scope="module")
def opened() -> Iterator[Store]:
    with Store.open("sqlite://") as store, store.writing("tag"):
        yield store


def emptied(store: Store) -> Store:
    with store._database.write() as connection:
        for table in ("samples", "photos", "models"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return store


@pytest.fixture
def store(opened: Store) -> Store:
    """An empty store in memory; making one takes longer than all else."""
    return emptied(opened)


HAWK, ROOSTER, BEAGLE, TABBY = ("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("cat", "tabby")
BIRD: Label = ("bird", None)
NOTHING: Label = (None, None)


class TestChanges:
    def test_a_small_case_worked_out_by_hand(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        save(store, old, {"a": HAWK, "b": HAWK, "c": HAWK, "d": BIRD, "e": ("dog", "boxer"), "f": NOTHING, "g": HAWK})
        save(store, new, {"a": HAWK, "b": ROOSTER, "c": BIRD, "d": HAWK, "e": TABBY, "f": HAWK, "h": HAWK})
        save(store, model("third", OLD), {"i": HAWK})
        review(store, {"a": HAWK})
        found = compare_models(store, old, new)
        assert (found.photos, found.human, found.decided, found.changed) == (9, 1, 5, 5)
        assert found.without == {"second": 1, "first": 1, "both": 1}
        assert found.kinds == {
            "other subclass": 1,
            "subclass -> superclass": 1,
            "superclass -> subclass": 1,
            "other superclass": 1,
            "none -> subclass": 1,
        }
        flows = {name: (flow.before, flow.after, flow.changed) for name, flow in found.superclasses.items()}
        assert flows == {"bird": (3, 4, 4), "dog": (1, 0, 1), "cat": (0, 1, 1), None: (1, 0, 1)}
        assert [change.path.stem for change in found.changes] == ["b", "c", "d", "e", "f"]
        assert consistent(found)
        few = compare_models(store, old, new, most_changes=2)
        assert (len(few.changes), few.changed) == (2, 5)

    def test_a_model_against_itself_changes_nothing(self, store: Store) -> None:
        old = model("old", OLD)
        save(store, old, {"a": HAWK, "b": BIRD, "c": NOTHING})
        found = compare_models(store, old, old)
        assert (found.decided, found.changed, found.kinds) == (3, 0, {UNCHANGED: 3})

    def test_copies_are_decided_by_the_scores_of_their_content(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        save(store, old, {"a": HAWK})
        copy = StoredTag(
            photo("/q/copy.jpg"), digest("a"), 40, 30, blobs(NEW, [ROOSTER])[0], Tag(*ROOSTER, Rank.SUBCLASS, 1, 1, 0)
        )
        store.tags.save_batch(model_id=register(store, new), tagged=[copy])
        found = compare_models(store, old, new)
        assert (found.decided, found.kinds) == (2, {"other subclass": 2})
        assert compare_models(store, old, new, under=Path("/q")).photos == 1

    def test_missing_photos_are_not_counted_but_their_reviews_are(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        for one in (old, new):
            save(store, one, {"a": HAWK, "b": HAWK})
        review(store, {"a": HAWK})
        store.photos.mark_missing([1, 2])
        found = compare_models(store, old, new)
        assert (found.photos, found.judged) == (0, 1)

    @pytest.mark.parametrize(
        ("before", "after", "kind"),
        [
            (HAWK, HAWK, UNCHANGED),
            (NOTHING, NOTHING, UNCHANGED),
            (BIRD, BIRD, UNCHANGED),
            (HAWK, BEAGLE, "other superclass"),
            (HAWK, ("dog", None), "other superclass"),
            (BIRD, ("dog", None), "other superclass"),
            (HAWK, NOTHING, "subclass -> none"),
            (NOTHING, BIRD, "none -> superclass"),
        ],
    )
    def test_kinds(self, before: Label, after: Label, kind: str) -> None:
        def tag(label: Label) -> Tag:
            rank = Rank.NONE if label[0] is None else Rank.SUPERCLASS if label[1] is None else Rank.SUBCLASS
            return Tag(*label, rank, 0.5, 0.5, 0.5)

        assert kind_of(tag(before), tag(after)) == kind


class TestVerdict:
    def test_reviews_say_what_is_fixed_and_what_is_broken(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        truth = {"a": HAWK, "b": HAWK, "c": TABBY, "d": BEAGLE, "e": NOTHING, "f": BIRD, "g": HAWK}
        save(store, old, {"a": HAWK, "b": ROOSTER, "c": BEAGLE, "d": BEAGLE, "e": HAWK, "f": BIRD, "g": HAWK})
        save(store, new, {"a": HAWK, "b": HAWK, "c": TABBY, "d": TABBY, "e": NOTHING, "f": ROOSTER})
        review(store, truth)
        found = compare_models(store, old, new)
        subclass, superclass = found.outcomes["subclass"], found.outcomes["superclass"]
        assert (subclass.both_right, subclass.fixed, subclass.broken, subclass.both_wrong) == (1, 3, 2, 0)
        assert (superclass.both_right, superclass.fixed, superclass.broken, superclass.both_wrong) == (3, 2, 1, 0)
        assert (found.reviewed, found.judged) == (7, 6)
        assert subclass.p == pytest.approx(1.0)
        assert {name: [review.path.stem for review, _, _ in some] for name, some in found.examples.items()} == {
            "fixed": ["b", "c", "e"],
            "broken": ["d", "f"],
        }
        assert found.verdict("subclass").startswith(
            "No difference can be shown at the subclass: 3 fixed, 2 broken of 6"
        )
        assert consistent(found)

    def test_a_clear_difference_is_called_one_in_both_directions(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        names = [f"{number}" for number in range(12)]
        save(store, old, dict.fromkeys(names, ROOSTER))
        save(store, new, dict.fromkeys(names, HAWK))
        review(store, dict.fromkeys(names, HAWK))
        found = compare_models(store, old, new)
        assert found.outcomes["subclass"].p == pytest.approx(2 / 2**12)
        assert found.corrected_p["subclass"] == pytest.approx(4 / 2**12)
        assert found.verdict("subclass") == (
            "new is better than old at the subclass: 12 fixed, 0 broken of 12 reviewed photos, p = 0.00098."
        )
        assert found.verdict("superclass").startswith("No difference can be shown at the superclass: 0 fixed, 0 broken")
        assert compare_models(store, new, old).verdict("subclass").startswith("new is better than old")

    def test_only_reviews_that_count_judge(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        for one, label in ((old, HAWK), (new, ROOSTER)):
            save(store, one, {"a": label, "b": label})
        review(store, {"a": HAWK, "b": HAWK})
        store.reviews.undo(1)
        changed = StoredTag(
            photo("/p/b.jpg"), digest("other"), 40, 30, blobs(OLD, [HAWK])[0], Tag(*HAWK, Rank.SUBCLASS, 1, 1, 0)
        )
        store.tags.save_batch(model_id=register(store, old), tagged=[changed])
        found = compare_models(store, old, new)
        assert (found.reviewed, found.judged) == (0, 0)
        assert "nothing says which is better" in found.verdict("subclass")

    def test_judging_by_drawn_photos_only(self, store: Store) -> None:
        old, new = model("old", OLD), model("new", NEW)
        for one, label in ((old, HAWK), (new, ROOSTER)):
            save(store, one, {"a": label, "b": label})
        item = SampledPhoto(
            photo_id=2,
            stratum="all",
            inclusion_probability=0.5,
            content_hash=digest("b"),
            tag=Tag(*HAWK, Rank.SUBCLASS, 1, 1, 0),
            model_id=None,
        )
        store.samples.save(
            NewSample(
                name="s", design=Design.SIMPLE, seed=1, for_estimation=True, items=[item], strata=[Stratum("all", 2, 1)]
            )
        )
        review(store, {"a": HAWK, "b": ROOSTER})
        every, drawn = (compare_models(store, old, new, sampled_only=only) for only in (False, True))
        assert (every.judged, every.sampled) == (2, 1)
        assert (drawn.judged, drawn.sampled, drawn.outcomes["subclass"].fixed) == (1, 1, 1)


LABELS = st.sampled_from([HAWK, ROOSTER, BEAGLE, BIRD, NOTHING])
PHOTOS = st.lists(st.tuples(st.none() | LABELS, st.none() | LABELS, st.none() | LABELS), min_size=1, max_size=12)


@given(PHOTOS)
@settings(max_examples=25, deadline=None)
def test_counts_always_add_up(opened: Store, rows: list[tuple[Label | None, Label | None, Label | None]]) -> None:
    """What a model says and what is known of each photo, None for nothing."""
    old, new, third = model("old", OLD), model("new", NEW), model("third", OLD)
    store = emptied(opened)
    save(store, third, {str(number): HAWK for number in range(len(rows))})
    for one, column in ((old, 0), (new, 1)):
        said = {str(number): row[column] for number, row in enumerate(rows)}
        save(store, one, {name: label for name, label in said.items() if label is not None})
    review(store, {str(number): row[2] for number, row in enumerate(rows) if row[2] is not None})
    found = compare_models(store, old, new)
    assert consistent(found)
    both = [(a, b, truth) for a, b, truth in rows if a is not None and b is not None]
    assert found.decided == sum(truth is None for _, _, truth in both)
    assert found.changed == sum(a != b for a, b, truth in both if truth is None)
    assert found.outcomes["subclass"].fixed == sum(b == truth != a for a, b, truth in both if truth is not None)
    assert found.reviewed == sum(row[2] is not None for row in rows)


class TestCommand:
    @pytest.fixture
    def photos(self, make_picture: MakePicture, tmp_path: Path) -> list[Path]:
        return [make_picture(tmp_path / "photos" / f"{number}.png", seed=number) for number in range(8)]

    @pytest.fixture
    def figures(self, run_phototag: RunCommand) -> Callable[..., dict[str, Any]]:
        def run(*words: str | Path) -> dict[str, Any]:
            result = run_phototag("model", "diff", *words, "--format", "json")
            assert result.exit_code == 0, result.stderr
            value: dict[str, Any] = json.loads(result.stdout)
            return value

        return run

    def test_a_model_scores_what_it_has_not_seen_and_no_tag_changes(
        self,
        quick_model: Path,
        other_model: Path,
        photos: list[Path],
        figures: Callable[..., dict[str, Any]],
        run_phototag: RunCommand,
    ) -> None:
        with Store.open() as store:
            Tagger(quick_model).tag([photos[0].parent], store)
            with store.writing("audit"):
                for number in (1, 2, 3):
                    store.reviews.save(Review(photo_id=number, superclass="bird", subclass="hawk"))
            before = list(store.query(Query()))
        missing = run_phototag("model", "diff", quick_model, other_model)
        assert (missing.exit_code, missing.stdout) == (2, "")
        assert "No scores of other: 5 photos; --score all runs it on them" in missing.stderr
        assert "3 reviewed photos lack scores of a model; --score reviewed" in missing.stderr
        found = figures(quick_model, other_model, "--score", "reviewed")
        assert (found["judged"], found["reviewed"], found["decided"]) == (3, 3, 0)
        found = figures(quick_model, other_model, "--score", "all")
        assert (found["photos"], found["human"], found["decided"], found["judged"]) == (8, 3, 5, 3)
        assert sum(found["kinds"].values()) == 5
        assert len(found["changes"]) == found["changed"]
        for level in found["levels"].values():
            assert sum(level[name] for name in ("both_right", "fixed", "broken", "both_wrong")) == 3
        assert figures(quick_model, other_model) == found, "now without the network"
        table = run_phototag("model", "diff", quick_model, other_model, "--limit", "1")
        assert table.exit_code == 0
        assert "reviewed photos" in table.stdout and "both right" in table.stdout
        assert "3 of these photos were not sampled" in table.stderr
        with Store.open() as store:
            assert list(store.query(Query())) == before
            with store.writing("audit"):
                store.reviews.undo(1)
            assert store.count(Query(source=Source.HUMAN)) == 2

    def test_stored_scores_give_what_tagging_would(
        self, quick_model: Path, other_model: Path, photos: list[Path], tmp_path: Path
    ) -> None:
        first, second = open_model(quick_model), open_model(other_model)
        with Store.open(tmp_path / "photos.db") as store:
            Tagger(first).tag([photos[0].parent], store)
            assert score_missing(store, second, Scored.ALL).scored == 8
            assert score_missing(store, second, Scored.ALL).scored == 0
            before = {row.path: row for row in store.query(Query())}
            found = compare_models(store, first, second)
            Tagger(second).tag([photos[0].parent], store)
            after = {row.path: row for row in store.query(Query())}
        told = {change.path: (change.after.superclass, change.after.subclass) for change in found.changes}
        real = {
            path: (row.superclass, row.subclass)
            for path, row in after.items()
            if (row.superclass, row.subclass) != (before[path].superclass, before[path].subclass)
        }
        assert told == real

    def test_files_that_changed_or_broke_are_counted_and_not_scored(
        self, quick_model: Path, other_model: Path, photos: list[Path], make_picture: MakePicture, tmp_path: Path
    ) -> None:
        with Store.open(tmp_path / "photos.db") as store:
            Tagger(quick_model).tag([photos[0].parent], store)
            make_picture(photos[0], seed=50)
            photos[1].write_bytes(b"no picture")
            photos[2].unlink()
            report = score_missing(store, open_model(other_model), Scored.ALL)
            assert (report.scored, report.changed, report.failed) == (5, 1, 2)

    def test_without_a_database_there_is_nothing_to_compare(self, run_phototag: RunCommand, quick_model: Path) -> None:
        result = run_phototag("model", "diff", quick_model, "builtin")
        assert result.exit_code == 2
        assert "no database yet" in result.stderr
