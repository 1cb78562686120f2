"""Drift: scores that moved are found, a mix of classes that moved is told apart, and chance raises no alarm."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from phototag import settings
from phototag.audit.drift import LabelShift, Shift, label_shift, recent_shift, score_shift
from phototag.audit.library_drift import LibraryDrift, library_drift, looks_novel
from phototag.audit.sampling import Scope
from phototag.evaluation.score_table import ScoreTable, ValidationScores
from phototag.model.file import read_header, read_tensors, write_tensors
from phototag.model.registry import open_model
from phototag.records import Photo, Rank, Tag
from phototag.store import Store, StoredTag

Floats = NDArray[np.float64]
NAMES = ("bird", "dog", "reptile")
EASE = np.array([4.0, 2.5, 1.0])
"""Birds are easy, reptiles hard."""


def photos(
    count: int, mix: tuple[float, ...], seed: int, *, harder: float = 0.0
) -> tuple[Floats, list[str], NDArray[np.bool_]]:
    """Scores, classes, and whether the labels are right, of photos with that mix of classes."""
    random = np.random.default_rng(seed)
    classes = random.choice(3, count, p=mix)
    scores = special.expit(random.normal(EASE[classes] - harder, 1.2))
    return scores, [NAMES[index] for index in classes], random.random(count) < scores


def reference(count: int = 1500, seed: int = 0) -> ScoreTable:
    scores, _, right = photos(count, (1 / 3, 1 / 3, 1 / 3), seed)
    return ScoreTable.of(scores, right)


class TestAgainstTraining:
    @pytest.mark.parametrize("mix", [(1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)])
    def test_photos_like_those_of_the_training_raise_no_alarm_whatever_the_mix(self, mix: tuple[float, ...]) -> None:
        for seed in range(40):
            scores, classes, _ = photos(2000, mix, seed + 1)
            assert score_shift("subclass", scores, classes, reference(seed=seed)).shift is Shift.NONE

    def test_another_mix_of_classes_is_explained_away(self) -> None:
        scores, classes, _ = photos(20_000, (0.05, 0.05, 0.9), 1)
        found = score_shift("subclass", scores, classes, reference())
        assert found.distance is not None
        assert found.unexplained is not None
        assert found.distance > 0.25, "plainly other scores"
        assert found.unexplained < 0.06
        assert found.shift is Shift.NONE

    def test_harder_photos_of_every_class_are_found(self) -> None:
        scores, classes, _ = photos(2000, (0.3, 0.4, 0.3), 1, harder=2.0)
        found = score_shift("subclass", scores, classes, reference())
        assert found.shift in (Shift.SOME, Shift.STRONG)
        scores, classes, _ = photos(2000, (0.3, 0.4, 0.3), 1, harder=4.0)
        found = score_shift("subclass", scores, classes, reference())
        assert found.shift is Shift.STRONG
        assert found.mean is not None
        assert found.mean_reference is not None
        assert found.mean < found.mean_reference - 0.3

    def test_the_distance_of_one_class_is_that_of_kolmogorov_and_smirnov(self) -> None:
        random = np.random.default_rng(1)
        # Whole steps of the table, so that it loses nothing.
        one, other = (random.integers(0, 9000 + extra, 400) / 10_000 for extra in (0, 1000))
        table = ScoreTable.of(other, np.ones(400, dtype=np.bool_))
        found = score_shift("subclass", one, ["dog"] * 400, table)
        assert found.distance == pytest.approx(stats.ks_2samp(one, other).statistic, abs=1e-9)
        assert found.unexplained == pytest.approx(found.distance)

    def test_few_photos_say_nothing(self) -> None:
        scores, classes, _ = photos(30, (0.3, 0.4, 0.3), 1, harder=6.0)
        assert score_shift("subclass", scores, classes, reference()).shift is Shift.UNKNOWN

    def test_a_few_hundred_photos_are_enough_for_a_strong_shift(self) -> None:
        scores, classes, _ = photos(300, (0.3, 0.4, 0.3), 1, harder=5.0)
        assert score_shift("subclass", scores, classes, reference(600)).shift is Shift.STRONG


class TestAgainstOlderPhotos:
    def test_a_new_mix_of_classes_raises_no_alarm_about_scores(self) -> None:
        for seed in range(30):
            old, new = photos(2000, (0.6, 0.3, 0.1), seed), photos(500, (0.1, 0.3, 0.6), seed + 100)
            recent = np.repeat([False, True], [2000, 500])
            found = recent_shift("subclass", np.concatenate([old[0], new[0]]), [*old[1], *new[1]], recent)
            assert found.shift is Shift.NONE
            assert found.distance is not None
            assert found.distance > 0.2

    def test_worse_photos_are_found(self) -> None:
        old, new = photos(2000, (0.6, 0.3, 0.1), 1), photos(500, (0.6, 0.3, 0.1), 2, harder=3.0)
        recent = np.repeat([False, True], [2000, 500])
        found = recent_shift("subclass", np.concatenate([old[0], new[0]]), [*old[1], *new[1]], recent)
        assert found.shift is Shift.STRONG

    def test_classes_that_are_all_new_have_nothing_to_be_compared_with(self) -> None:
        recent = np.repeat([False, True], [100, 100])
        found = recent_shift("subclass", np.full(200, 0.9), ["dog"] * 100 + ["cat"] * 100, recent)
        assert found.shift is Shift.UNKNOWN


class TestMixOfClasses:
    def test_the_same_mix_raises_an_alarm_as_seldom_as_promised(self) -> None:
        random = np.random.default_rng(0)
        shares = random.dirichlet(np.ones(30))
        alarms = 0
        for _ in range(200):
            new, old = (random.multinomial(size, shares) for size in (300, 2000))
            found = label_shift(*({str(place): int(count) for place, count in enumerate(part)} for part in (new, old)))
            alarms += found.shift is not Shift.NONE
        assert alarms <= 8

    def test_another_mix_is_found_and_told(self) -> None:
        found = label_shift({"bird": 800, "dog": 200}, {"bird": 300, "dog": 600, "cat": 100})
        assert found.shift is Shift.STRONG
        assert found.grown[0] == ("bird", 0.8, 0.3)
        assert [name for name, _, _ in found.shrunk] == ["dog", "cat"]

    def test_the_divergence_is_that_of_jensen_and_shannon(self) -> None:
        from scipy.spatial.distance import jensenshannon

        found = label_shift({"a": 60, "b": 40}, {"a": 30, "b": 50, "c": 20})
        assert found.divergence == pytest.approx(jensenshannon([0.6, 0.4, 0], [0.3, 0.5, 0.2], base=2) ** 2)


# ---- a whole library


def trained(tiny_model: Path, name: str = "field") -> Path:
    """A model file in the models folder whose record holds validation scores."""
    header = read_header(tiny_model)
    tables = ValidationScores(reference(seed=1), reference(seed=2))
    path = settings.models_folder() / f"{name}.safetensors"
    record = {**header.record, "validation_scores": tables.to_json(), "class_pictures": {"bird/hawk": 500}}
    write_tensors(path, read_tensors(tiny_model), replace(header, record=record).to_json())
    return path


def library(
    store: Store, name: str, scores: Floats, classes: list[str], *, folder: str = "old", hash_: str | None = None
) -> None:
    subclasses = {"bird": "hawk", "dog": "boxer", "reptile": "gecko"}
    model = open_model(name)
    with store.writing("test"):
        model_id = store.models.register(
            hash=hash_ or model.hash, name=name, backbone="b", taxonomy=model.header.taxonomy, metrics={}
        )
        rows = []
        for index, (score, top) in enumerate(zip(scores.tolist(), classes, strict=True)):
            path = Path(f"/lib/{folder}/{index}.jpg")
            tag = Tag(top, subclasses[top], Rank.SUBCLASS, score, score, 1 - score)
            content = hashlib.sha256(str(path).encode()).digest()
            rows.append(StoredTag(Photo(path, 1, 1, 1, 1), content, 4, 3, b"", tag))
        store.tags.save_batch(model_id=model_id, tagged=rows)


def drift_of(store: Store) -> LibraryDrift:
    found = library_drift(store, Scope())
    assert found is not None
    return found


class TestLibrary:
    def test_a_library_like_the_training_can_be_trusted(self, tiny_model: Path) -> None:
        trained(tiny_model)
        with Store.open() as store:
            scores, classes, _ = photos(1500, (0.7, 0.2, 0.1), 5)
            library(store, "field", scores, classes)
            found = drift_of(store)
        assert found.trusted is True
        assert "Nothing speaks against trusting the scores." in found.advice
        assert found.classes.shift is Shift.STRONG, "the model learned hawks alone"
        assert any("That alone is no reason" in line for line in found.advice)

    def test_scores_that_moved_are_told_with_what_to_do(self, tiny_model: Path) -> None:
        trained(tiny_model)
        with Store.open() as store:
            scores, classes, _ = photos(1500, (0.4, 0.3, 0.3), 5, harder=4.0)
            library(store, "field", scores, classes)
            found = drift_of(store)
        assert found.trusted is False
        text = " ".join(found.advice)
        assert "The subclass scores are lower than those of the training's validation pictures" in text
        assert "phototag audit sample --by score" in text
        assert found.to_json()["trusted"] is False

    def test_a_model_that_is_not_here_any_more(self, tiny_model: Path) -> None:
        trained(tiny_model)
        with Store.open() as store:
            scores, classes, _ = photos(200, (0.4, 0.3, 0.3), 5)
            library(store, "field", scores, classes, hash_="f" * 64)
            found = drift_of(store)
        assert found.trusted is None
        assert found.advice == (
            "The file of model field is not here, so the library cannot be compared with its training.",
        )

    @pytest.mark.parametrize(("count", "share", "said"), [(3, 1.0, False), (60, 0.25, False), (400, 0.25, True)])
    def test_few_novel_looking_photos_prove_nothing(self, count: int, share: float, said: bool) -> None:
        nothing = LabelShift(Shift.UNKNOWN, 0)
        found = LibraryDrift("m", count, (), nothing, datetime.now(UTC), (), nothing, share, 0.06, ())
        assert looks_novel(found) is said

    def test_a_model_without_validation_scores(self, tiny_model: Path) -> None:
        path = settings.models_folder() / "plain.safetensors"
        write_tensors(path, read_tensors(tiny_model), read_header(tiny_model).to_json())
        with Store.open() as store:
            scores, classes, _ = photos(200, (0.4, 0.3, 0.3), 5)
            library(store, "plain", scores, classes)
            found = drift_of(store)
        assert found.trusted is None
        assert "too little to compare the scores" in found.advice[0]

    def test_recent_photos_are_those_of_the_last_month(self, tiny_model: Path, tmp_path: Path) -> None:
        import sqlite3

        trained(tiny_model)
        with Store.open(tmp_path / "a.db") as store:
            library(store, "field", *photos(800, (0.4, 0.3, 0.3), 5)[:2])
            library(store, "field", *photos(400, (0.4, 0.3, 0.3), 6, harder=4.0)[:2], folder="new")
        earlier = (datetime.now(UTC) - timedelta(days=90)).strftime("%Y-%m-%d %H:%M:%S.%f")
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute(
                "UPDATE tags SET tagged_at = ? WHERE photo_id IN (SELECT id FROM photos WHERE path_text LIKE '%old%')",
                (earlier,),
            )
        with Store.open(tmp_path / "a.db") as store:
            found = drift_of(store)
        assert [one.photos for one in found.recent_scores] == [400, 400]
        assert found.recent_scores[1].shift is Shift.STRONG
        assert any("scores of recent photos are lower" in line for line in found.advice)

    def test_no_photos_are_no_drift(self) -> None:
        with Store.open() as store:
            assert library_drift(store, Scope()) is None


def test_counts_of_one_side_alone_say_nothing() -> None:
    assert label_shift(Counter({"a": 100}), Counter()).shift is Shift.UNKNOWN
