"""`phototag train`: its figures, the active model, and options that contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phototag.choices import Tune
from phototag.errors import UsageError
from phototag.model.registry import active_reference
from phototag.training.finetune import trainer as trainer_module
from phototag.training.finetune.trainer import Trainer
from phototag.training.training import train
from tests.support.models import TINY_BACKBONE
from tests.support.trained_models import Interruption, state_of
from tests.support.training import tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_command_prints_the_figures_and_makes_the_model_active(
    data: Path, weights: Path, run_phototag: Callable[..., Any]
) -> None:
    common = ("--backbone", TINY_BACKBONE, "--weights", weights, "--img-size", "32", "--device", "cpu")
    result = run_phototag("train", data, *common)
    assert result.exit_code == 0, result.output
    assert "subclass" in result.stdout
    assert f"colours-{TINY_BACKBONE}" in result.stderr
    assert active_reference() == f"colours-{TINY_BACKBONE}"
    again = run_phototag("train", data, *common, "--output", f"colours-{TINY_BACKBONE}")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_start_method_of_workers_takes_the_pictures_as_they_are(trainer: Callable[..., Trainer]) -> None:
    # Not every system forks: what goes to the workers has to be picklable.
    import pickle

    loader = trainer()._training_loader(0)
    pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
    assert trainer_module.TrainingPictures.__name__ == type(loader.dataset).__name__


def test_resume_never_replaces_a_run_by_gradient_with_heads(
    data: Path, weights: Path, interruption: Interruption
) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=2)
    interruption.epoch = 1
    stopped = train(data, config=config, output="stopped")
    assert stopped.model.path is not None
    before = stopped.model.path.read_bytes()
    with pytest.raises(UsageError, match="trained by gradient"):
        train(data, config=replace(config, tune=Tune.HEADS), output="stopped", resume=True)
    assert stopped.model.path.read_bytes() == before
    assert state_of(stopped.model.path).exists()


def test_overwrite_without_a_name_replaces_the_model_of_the_same_data(data: Path) -> None:
    first = train(data, config=tiny_config(epochs=1))
    assert train(data, config=tiny_config(epochs=1), overwrite=True).model.path == first.model.path


def test_options_that_heads_do_not_use_are_named(data: Path, weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(data, config=tiny_config(weights=weights, tune=Tune.HEADS, lr=1e-3), output="heads")
    assert "--lr" in caplog.text
    assert "no effect on heads" in caplog.text
