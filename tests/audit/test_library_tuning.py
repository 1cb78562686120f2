"""`model tune --reviews` fits thresholds to a library by a reviewed sample of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.audit.sample_creation import create_sample, focus_sample
from phototag.audit.sampling import Scope
from phototag.audit.scored_reviews import read_library_scores
from phototag.choices import Focus, PrecisionBasis, StrataBy
from phototag.decision import Thresholds
from phototag.errors import UsageError
from phototag.evaluation import LibraryScores, choose_for_library, crossfitted_figures, figures_at
from phototag.model.registry import open_model
from phototag.store import Review, Store
from phototag.training.tuning import tune, tune_for_library
from tests.support.commands import RunCommand
from tests.support.reviewed_library import ReviewedLibrary
from tests.support.web import application, logged_in, not_logged_in

LOW = Thresholds(superclass=0.3, subclass=0.2)


def library_of(
    count: int = 2000, reviewed: int = 200, *, seed: int = 0, lapse: float = 0.02
) -> tuple[LibraryScores, NDArray[np.bool_]]:
    """A library whose scores are too high: a score s is right as often as sigmoid(0.8 logit(s))."""
    random = np.random.default_rng(seed)
    subclass = 1 / (1 + np.exp(-random.normal(3, 2.5, count)))
    scores = np.stack([np.sqrt(subclass), subclass], axis=1)
    chances = (1 - lapse) / (1 + ((1 - scores) / scores) ** 0.8)
    right = random.random((count, 1)) < chances
    return LibraryScores(
        sample="first",
        scores=scores,
        novelty=np.full((count, 2), np.nan),
        reviewed=np.arange(reviewed),
        right=right[:reviewed],
        weights=np.full(reviewed, count / reviewed),
        groups=np.arange(reviewed) // 2,
    ), right


class TestChoice:
    def test_target_holds_in_the_rest_of_the_library(self) -> None:
        for seed in range(5):
            library, right = library_of(seed=seed)
            given = right[200:, 1][library.stored(LOW)[1][200:]].mean()
            stored = library.stored(choose_for_library(library, 0.9, LOW).thresholds)[1][200:]
            assert given < 0.85 < 0.9 <= right[200:, 1][stored].mean()
            assert stored.mean() > 0.4

    def test_few_mistakes_are_certified_and_doubts_are_named(self) -> None:
        library, _ = library_of()
        perfect = replace(library, right=np.ones_like(library.right))
        choice = choose_for_library(perfect, 0.9, LOW)
        assert [level.basis for level in choice.levels] == [PrecisionBasis.CERTIFIED] * 2
        # The exact tests take every photo for one: not those of a sample that takes more of some parts.
        weights = np.where(np.arange(200) % 2, 1.0, 5.0)
        unequal = choose_for_library(replace(perfect, weights=weights), 0.9, LOW)
        assert PrecisionBasis.CERTIFIED not in [level.basis for level in unequal.levels]
        hopeless = choose_for_library(library, 0.995, LOW)
        assert hopeless.levels[1].basis is PrecisionBasis.NONE
        assert hopeless.thresholds.subclass == 1.0
        assert "reviews like these 200 would" in hopeless.levels[1].advice

    def test_limits_on_novelty_give_way_where_they_lose_labels_for_nothing(self) -> None:
        library, _ = library_of()
        taken_otherwise = np.full((2000, 2), 0.95)
        taken_otherwise[::10] = 0.1
        strict = Thresholds(0.3, 0.2, 0.5, 0.5)
        novel = replace(library, novelty=taken_otherwise)
        thresholds = choose_for_library(novel, 0.9, strict).thresholds
        assert thresholds.novel_subclass > 0.9
        assert novel.stored(thresholds)[1].mean() > 3 * novel.stored(strict)[1].mean()

    def test_figures_are_not_flattered_by_copies(self) -> None:
        library, right = library_of(reviewed=60)
        # Twenty times the same three photos: as many reviews, and nothing learned of the others.
        rows = np.arange(60) % 3
        copies = replace(library, reviewed=rows, right=right[rows], groups=rows, weights=np.ones(60))
        figures = crossfitted_figures(copies, 0.9, LOW)
        assert figures[0].low is None or figures[0].low < 0.6
        before = figures_at(library, Thresholds(0.0, 0.0))
        assert before[1].coverage == 1.0
        assert before[1].precision == pytest.approx(library.right[:, 1].mean())


def test_tuned_model_reaches_the_target_once_photos_are_decided_again(run_phototag: RunCommand) -> None:
    library = ReviewedLibrary()
    before = library.rest()
    assert before["subclass"][0] < 0.85
    result = run_phototag("model", "tune", "tiny", "--reviews", "first", "--target-precision", "0.85")
    assert result.exit_code == 0, result.stderr
    assert "200 reviewed of 1,200 photos; target 0.85" in result.stdout
    assert "phototag model use tiny-reviewed\n" in result.stderr
    assert "phototag retag" in result.stderr
    # The same scores: nothing has to be read again.
    assert run_phototag("retag", "--model", "tiny-reviewed").exit_code == 0
    rest = library.rest()
    for level in ("superclass", "subclass"):
        assert rest[level][0] >= 0.85
        assert rest[level][1] > 0.25 * before[level][1]
    shown = run_phototag("model", "show", "tiny-reviewed").stdout
    assert "0.85, by 200 reviewed photos" in shown
    record = open_model("tiny-reviewed").header.record
    assert record["reviews"]["sample"] == "first"
    after = record["reviews"]["after"]["subclass"]
    assert after["low"] < rest["subclass"][0] < after["high"] + 0.03


def test_names_that_are_taken_and_targets_that_are_known() -> None:
    library = ReviewedLibrary(400, reviewed=80)
    with Store.open() as store:
        scores = read_library_scores(store, "first", library.model)
    first = tune_for_library("tiny", scores)
    assert (first.model.name, first.target) == ("tiny-reviewed", 0.9)
    second = tune_for_library("tiny-reviewed", scores, target_precision=0.8)
    assert second.model.name == "tiny-reviewed-2"
    assert tune_for_library("tiny-reviewed-2", scores, output="third").target == 0.8
    with pytest.raises(UsageError, match="exists already"):
        tune_for_library("tiny", scores, output="third")
    with pytest.raises(UsageError, match="target precision"):
        tune_for_library("tiny", scores, target_precision=1.0)
    with pytest.raises(UsageError, match=r"are right: [0-9]+ reviews like these 80 would"):
        tune_for_library("tiny", scores, target_precision=0.999)


def test_what_people_say_counts_at_its_level() -> None:
    library = ReviewedLibrary(300, reviewed=100, by=StrataBy.SCORE)
    with Store.open() as store:
        sample = store.samples.find("first")
        assert sample is not None
        items = store.samples.items(sample.id)
        # A superclass alone says that the subclass is none that the model knows.
        alone = next(item for item in items if item.tag.subclass and item.tag.superclass == library.truth[item.path][0])
        with store.writing("test"):
            store.reviews.save(Review(photo_id=alone.photo_id, superclass=alone.tag.superclass, sample_id=sample.id))
        scores = read_library_scores(store, "first", library.model)
    assert scores.right[items.index(alone)].tolist() == [True, False]
    fish = [place for place, item in enumerate(items) if library.truth[item.path][0] == "fish"]
    assert fish
    assert not scores.right[fish].any()
    # Strata of the same size in the sample stand for parts of the library of different sizes.
    assert scores.weights.sum() == pytest.approx(300)
    assert len(scores.scores) == 300
    assert np.unique(scores.weights).size > 1


def test_samples_that_say_too_little_are_refused(run_phototag: RunCommand) -> None:
    library = ReviewedLibrary(300, reviewed=40)
    with Store.open() as store:
        focus_sample(store, Focus.LOWEST, size=60, name="doubtful")
        create_sample(store, size=60, name="birds", scope=Scope(superclass="bird"), seed=1)
    for name, words in (
        ("first", "40 of its photos are reviewed, and thresholds need at least 50; 200 are a good number; add some: "),
        ("doubtful", "says nothing of the library; take one: phototag audit sample"),
        ("birds", "only photos tagged as bird"),
        ("nothing", "there is no sample 'nothing'"),
    ):
        result = run_phototag("model", "tune", "tiny", "--reviews", name)
        assert result.exit_code == 2
        assert words in result.stderr
    assert "exclude each other" in run_phototag("model", "tune", "--reviews", "first", "--data", ".").stderr
    assert "--target-precision is needed" in run_phototag("model", "tune", "tiny").stderr
    assert library.model.path is not None


def test_model_that_scored_nothing_names_the_one_that_did() -> None:
    ReviewedLibrary(200, reviewed=60)
    with Store.open() as store, pytest.raises(UsageError, match="name the model that did: tiny"):
        read_library_scores(store, "first", open_model("builtin"))


def test_other_thresholds_forget_the_reviews() -> None:
    library = ReviewedLibrary(200, reviewed=60)
    with Store.open() as store:
        tuned = tune_for_library("tiny", read_library_scores(store, "first", library.model)).model
    with pytest.raises(Exception, match="keeps no validation scores"):
        tune(tuned.name, target_precision=0.9)


def test_the_page_makes_the_model_and_the_report_names_the_way(run_phototag: RunCommand) -> None:
    ReviewedLibrary(300, reviewed=100)
    report = run_phototag("audit", "report")
    assert "Fit the model to this library: phototag model tune --reviews first\n" in report.stderr
    with Store.open() as store, application(store) as app:
        client = logged_in(app)
        page = client.get("/audit").text
        assert '<form method="post" action="/audit/tune"><input type="hidden" name="sample" value="first">' in page
        made = client.post("/audit/tune", data={"sample": "first"})
        assert (made.status_code, made.headers["location"]) == (303, "/audit/tuned/tiny-reviewed")
        tuned = client.get("/audit/tuned/tiny-reviewed").text
        assert "phototag model use tiny-reviewed\nphototag retag" in tuned
        assert "by 100 reviewed photos of <bdi>first</bdi>" in tuned
        assert client.get("/audit/tuned/tiny").status_code == 404
        refused = client.post("/audit/tune", data={"sample": "<b>"})
        assert refused.status_code == 400
        assert "<b>" not in refused.text.replace("<bdi>", "")
        assert not_logged_in(app).post("/audit/tune", data={"sample": "first"}).status_code == 403
