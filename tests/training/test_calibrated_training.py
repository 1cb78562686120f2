"""Trained models are calibrated and keep a target precision, and `model tune` changes thresholds alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phototag import settings
from phototag.choices import Tune
from phototag.errors import ModelError, UsageError
from phototag.evaluation.evaluation import evaluate
from phototag.evaluation.score_table import ValidationScores
from phototag.model.file import write_tensors
from phototag.model.registry import Model, active_reference, open_model, set_active
from phototag.training.config import TrainingConfig
from phototag.training.training import TrainingResult, train
from phototag.training.tuning import tune
from tests.support.models import TINY_BACKBONE
from tests.support.pictures import COLOURS, colour_folder, draw
from tests.support.trained_models import Interruption, assert_same_tensors, saved_tensors
from tests.support.training import in_home, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, so that validation has enough to calibrate and to promise something. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("plenty") / "colours", 60)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many, but one in four has a wrong label: no model is sure of those. Do not change it."""
    folder = colour_folder(tmp_path_factory.mktemp("doubtful") / "colours", 45)
    classes = list(COLOURS)
    for number, (superclass, subclass) in enumerate(classes):
        for index in range(15):
            wrong = COLOURS[classes[(number + 1 + index % 3) % len(classes)]]
            draw(folder / superclass / subclass / f"wrong{index}.png", wrong, seed=9000 + 100 * number + index)
    return folder


@pytest.fixture(scope="module")
def _trained(plenty: Path, weights: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = in_home(tmp_path_factory.mktemp("trained"), plenty, tiny_config(weights=weights, val_fraction=0.3))
    assert made.model.path is not None
    return made.model.path


@pytest.fixture
def trained(_trained: Path, home: Path) -> Model:
    """A model of `plenty` in this test's home, active there."""
    settings.models_folder().mkdir(parents=True)
    shutil.copy(_trained, settings.models_folder() / "trained.safetensors")
    set_active(open_model("trained"))
    return open_model("trained")


@pytest.fixture(scope="module")
def promising(
    plenty: Path, weights: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    """The same, trained for a target precision at once."""
    config = tiny_config(weights=weights, val_fraction=0.3, target_precision=0.9)
    return in_home(tmp_path_factory.mktemp("promising"), plenty, config)


def test_scores_are_calibrated_and_the_record_tells_by_how_much(doubtful: Path, weights: Path) -> None:
    result = train(doubtful, config=tiny_config(weights=weights, val_fraction=0.3))
    record = result.model.header.record["calibration"]
    assert record["temperatures"]["subclass"] != 1.0
    for level in ("superclass", "subclass"):
        assert record[level]["ece_after"] == pytest.approx(getattr(result.metrics, f"{level}_ece"), abs=1e-6)
        # The fit is by likelihood, and over 72 pictures the error itself is uncertain by as much.
        assert record[level]["ece_after"] <= record[level]["ece_before"] + 0.05
        assert sum(entry["count"] for entry in record[level]["bins"]) == result.metrics.photos


def test_calibration_lies_in_the_weights_so_that_tagging_needs_to_know_nothing(
    doubtful: Path, weights: Path, tmp_path: Path
) -> None:
    plenty = colour_folder(tmp_path, 60, first=100)
    result = train(doubtful, val=plenty, config=tiny_config(weights=weights))
    assert result.model.header.record["calibration"]["temperatures"]["subclass"] != 1.0
    # The stored heads are those that were judged: what tags gives their calibrated scores.
    metrics = evaluate(plenty, model=result.model, runtime="torch", device="cpu")
    assert metrics.subclass_ece == pytest.approx(result.metrics.subclass_ece, abs=1e-3)
    assert metrics.superclass_ece == pytest.approx(result.metrics.superclass_ece, abs=1e-3)


def test_gradient_training_is_calibrated_too(doubtful: Path, weights: Path) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=1, val_fraction=0.3)
    record = train(doubtful, config=config).model.header.record["calibration"]
    assert record["temperatures"]["subclass"] != 1.0


def test_few_validation_pictures_calibrate_and_promise_nothing(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(colour_folder(tmp_path / "few", 6), config=tiny_config(weights=weights, target_precision=0.95))
    header = result.model.header
    assert header.record["calibration"]["temperatures"] == {"superclass": 1.0, "subclass": 1.0}
    assert (header.thresholds.superclass, header.thresholds.subclass) == (1.0, 1.0)
    assert "too few, it takes 45 or more" in caplog.text


def test_target_precision_is_kept_and_recorded(promising: TrainingResult) -> None:
    result = promising
    assert result.metrics.subclass_precision_given is not None
    assert result.metrics.subclass_precision_given >= 0.9
    header = result.model.header
    assert header.thresholds.subclass >= header.thresholds.superclass
    assert header.record["promise"]["target_precision"] == 0.9
    table = ValidationScores.from_json(header.record["validation_scores"]).subclass
    precision, coverage = table.at(header.thresholds.subclass)
    assert precision == pytest.approx(result.metrics.subclass_precision_given)
    assert coverage == pytest.approx(result.metrics.subclass_coverage)


def test_target_precision_is_checked() -> None:
    for target in (0.4, 1.0, float("nan")):
        with pytest.raises(UsageError, match="target precision"):
            TrainingConfig(target_precision=target)
        with pytest.raises(UsageError, match="target precision"):
            tune("builtin", target_precision=target)


def test_interrupted_run_goes_on_with_another_target(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), output="stopped")
    interruption.epoch = -1
    result = train(data, config=tiny_config(epochs=2, target_precision=0.9), output="stopped", resume=True)
    assert not result.interrupted
    assert result.model.header.record["promise"]["target_precision"] == 0.9


def test_tuned_model_has_the_same_tensors_and_other_thresholds(trained: Model, promising: TrainingResult) -> None:
    tuned = tune("trained", target_precision=0.9).model
    assert tuned.name == "trained-p90"
    assert active_reference() == "trained"
    assert trained.path is not None
    assert tuned.path is not None
    assert_same_tensors(saved_tensors(trained.path), saved_tensors(tuned.path))
    assert tuned.header.taxonomy == trained.header.taxonomy
    assert tuned.header.record["tuned_from"] == {"name": "trained", "hash": trained.hash}
    at_once = promising.model
    assert tuned.header.thresholds == at_once.header.thresholds
    for name, value in at_once.header.metrics.items():
        assert tuned.header.metrics[name] == pytest.approx(value), name
    again = tune("trained-p90", target_precision=0.8, output="again").model
    assert again.header.thresholds.subclass <= tuned.header.thresholds.subclass


def test_tuning_never_replaces_a_model_unasked(trained: Model) -> None:
    with pytest.raises(UsageError, match="exists already"):
        tune("trained", target_precision=0.9, output="trained")
    replaced = tune("trained", target_precision=0.9, output="trained", overwrite=True).model
    assert replaced.path == trained.path
    assert replaced.header.record["promise"]["target_precision"] == 0.9


def test_model_without_validation_scores_is_tuned_by_labelled_pictures(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--data"):
        tune(tiny_model, target_precision=0.9, output=tmp_path / "tuned.safetensors")
    rows = ["filepath,superclass,subclass"]
    for index in range(60):
        draw(tmp_path / f"{index}.png", (index * 4, 90, 200 - index), seed=index)
        rows.append(f"{index}.png,dog,{'beagle' if index % 2 else 'boxer'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = tune(
        tiny_model,
        target_precision=0.9,
        data=tmp_path / "labels.csv",
        output=tmp_path / "tuned.safetensors",
    )
    header = result.model.header
    # Its weights are random: nothing can be promised.
    assert header.thresholds.subclass == 1.0
    assert header.metrics["photos"] == 60
    assert header.record["promise"]["pictures"] == 60
    assert result.scores.subclass.total == 60


def test_damaged_validation_scores_are_told(trained: Model, tmp_path: Path) -> None:
    record = {**trained.header.record, "validation_scores": {"superclass": [], "subclass": 3}}
    broken = tmp_path / "broken.safetensors"
    write_tensors(broken, trained.tensors(), replace(trained.header, record=record).to_json())
    with pytest.raises(ModelError, match="validation scores"):
        tune(broken, target_precision=0.9, output=tmp_path / "tuned.safetensors")


def test_commands_tell_calibration_coverage_and_promise(
    plenty: Path, weights: Path, run_phototag: Callable[..., Any]
) -> None:
    common = ("--backbone", TINY_BACKBONE, "--weights", weights, "--img-size", "32", "--device", "cpu")
    trained = run_phototag(
        "train", plenty, *common, "--val-fraction", "0.3", "--output", "m", "--target-precision", "0.9"
    )
    assert trained.exit_code == 0, trained.output
    assert "Coverage at a precision of" in trained.stdout
    assert "alibrated" in trained.stderr
    assert "ECE superclass" in trained.stderr
    shown = run_phototag("model", "show", "m")
    assert "0.9, by 240 validation pictures" in shown.stdout
    assert "subclass stored" in shown.stdout
    tuned = run_phototag("model", "tune", "m", "--target-precision", "0.95")
    assert tuned.exit_code == 0, tuned.output
    assert "thresholds: superclass" in tuned.stdout
    assert "phototag model use m-p95" in tuned.stderr
    described = json.loads(run_phototag("model", "show", "m-p95", "--format", "json").stdout)
    assert described["record"]["promise"]["target_precision"] == 0.95
    assert "validation_scores" not in described["record"]
    assert run_phototag("model", "tune", "m", "--target-precision", "0.2").exit_code == 2
    assert run_phototag("model", "tune", "m", "--target-precision", "0.95").exit_code == 2


def test_tuned_model_keeps_its_limits_on_novelty_and_can_be_extended(plenty: Path, trained: Model) -> None:
    kept = trained.header.record["novelty"]["limits_with_target"]
    for data in (None, plenty):
        tuned = tune("trained", target_precision=0.9, data=data, output="tuned", overwrite=True).model
        limits = tuned.header.thresholds
        assert 0 < limits.novel_superclass < 1
        assert [limits.novel_superclass, limits.novel_subclass] == tuned.header.record["novelty"]["limits_with_target"]
        if data is None:
            assert [limits.novel_superclass, limits.novel_subclass] == kept
    assert train(plenty, extend=tuned, config=TrainingConfig(workers=0), activate=False).extension is not None
