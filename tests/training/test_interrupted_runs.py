"""Runs that are killed or stopped, and how they go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phototag import settings
from phototag.choices import Balance, Tune
from phototag.errors import DataError, ModelError, UsageError
from phototag.model.registry import open_model
from phototag.training.config import TrainingConfig
from phototag.training.finetune.trainer import Trainer
from phototag.training.training import train
from tests.support.models import TINY_BACKBONE
from tests.support.pictures import COLOURS, colour_folder, draw
from tests.support.trained_models import Interruption, assert_same_tensors, curves, saved_tensors, state_of
from tests.support.training import tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")
LONG = {"epochs": 4, "batch_size": 4, "patience": 99}
# Stands still within its third epoch until it is told to end, so that it cannot be through before.
HELD = """
import sys, time
from phototag.cli.main import main
from phototag.training.finetune.trainer import Trainer
step = Trainer._step
def held(trainer, batch, number):
    while number == 2 * trainer._batches + 1 and not trainer.stopping:
        time.sleep(0.01)
    return step(trainer, batch, number)
Trainer._step = held
sys.argv[0] = "phototag"
main()
"""


def start(data: Path, output: Path, *, workers: int, weights: Path | None) -> subprocess.Popen[bytes]:
    """`phototag train` with the settings of LONG, as a process group of its own."""
    how = ["--weights", weights] if weights is not None else ["--no-pretrained"]
    words = ["train", data, "--output", output, "--tune", "full", "--backbone", TINY_BACKBONE, "--img-size", 32, *how]
    words += [
        "--epochs",
        LONG["epochs"],
        "--batch-size",
        LONG["batch_size"],
        "--workers",
        workers,
        "--device",
        "cpu",
        "--no-amp",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", HELD, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], output: Path, how: int) -> bytes:
    """End the process group once its first whole epoch is saved; what it wrote to stderr."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if state_of(output).exists() and read_epoch(state_of(output)) >= 1:
            os.killpg(process.pid, how)
            break
        time.sleep(0.005)
    _, errors = process.communicate(timeout=120)
    return errors


def read_epoch(state: Path) -> int:
    from phototag.model.file import read_json_header

    return int(read_json_header(state)["progress"]["epoch"])


def default_long_config(weights: Path | None) -> TrainingConfig:
    how: dict[str, Any] = {"weights": weights} if weights is not None else {}
    # The command line has no --patience: the default holds in the process and has to here.
    long = {**LONG, "patience": TrainingConfig().patience}
    return tiny_config(tune=Tune.FULL, **long, **how)


@pytest.mark.slow
def test_killed_run_goes_on_to_the_result_of_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    config = default_long_config(None)
    whole = train(data, config=config, output=tmp_path / "whole.safetensors", activate=False)
    output = tmp_path / "killed.safetensors"
    end(start(data, output, workers=2, weights=None), output, signal.SIGKILL)
    assert not output.exists()
    epoch = read_epoch(state_of(output))
    assert 1 <= epoch < config.epochs
    with pytest.raises(UsageError, match="interrupted run lies beside it"):
        train(data, config=config, output=output)
    # Decoding without worker processes now: how many there are changes nothing.
    resumed = train(data, config=config, output=output, resume=True)
    assert_same_tensors(saved_tensors(whole), saved_tensors(resumed))
    assert curves(resumed.model) == curves(whole.model)
    assert resumed.metrics == whole.metrics
    assert not resumed.interrupted
    assert not state_of(output).exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process group")
def test_ctrl_c_keeps_the_best_model_and_the_run_goes_on(data: Path, tmp_path: Path, weights: Path) -> None:
    config = default_long_config(weights)
    whole = train(data, config=config, output=tmp_path / "whole.safetensors", activate=False)
    output = tmp_path / "stopped.safetensors"
    process = start(data, output, workers=1, weights=weights)
    errors = end(process, output, signal.SIGINT)
    assert process.returncode == 1, errors.decode()
    assert b"Traceback" not in errors
    assert b"--resume" in errors
    stopped = open_model(output)
    assert stopped.header.record["interrupted"] is True
    assert stopped.header.metrics["subclass_accuracy"] == 1.0
    assert 1 <= len(curves(stopped)) < len(curves(whole.model))
    resumed = train(data, config=config, output=output, resume=True)
    assert_same_tensors(saved_tensors(whole), saved_tensors(resumed))
    assert curves(resumed.model) == curves(whole.model)
    assert open_model(output).header.record["interrupted"] is False


def test_first_ctrl_c_lets_the_step_finish_and_the_second_does_not(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    step = Trainer._step

    def interrupted(self: Trainer, batch: Any, number: int) -> Any:
        if number == 12:
            signal.raise_signal(signal.SIGINT)
        outcome = step(self, batch, number)
        done.append(number)
        return outcome

    monkeypatch.setattr(Trainer, "_step", interrupted)
    usual = signal.getsignal(signal.SIGINT)
    assert train(data, config=tiny_config(epochs=3), output="once").interrupted  # 5 steps an epoch
    assert done[-1] == 12
    assert signal.getsignal(signal.SIGINT) is usual

    def impatient(self: Trainer, batch: Any, number: int) -> Any:
        if number == 12:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", impatient)
    done.clear()
    assert train(data, config=tiny_config(epochs=3), output="twice").interrupted
    assert signal.getsignal(signal.SIGINT) is usual


def test_run_stopped_in_any_epoch_goes_on(data: Path, weights: Path, interruption: Interruption) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=3, lr=1e-3)
    whole = train(data, config=config, output="whole")
    for epoch in range(3):
        interruption.epoch = epoch
        assert train(data, config=config, output="stopped", resume=epoch > 0, overwrite=epoch == 0).interrupted
    interruption.epoch = None
    resumed = train(data, config=config, output="stopped", resume=True)
    assert_same_tensors(saved_tensors(whole), saved_tensors(resumed))
    assert curves(resumed.model) == curves(whole.model)


def test_stop_before_there_is_any_model_writes_none(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 0
    with pytest.raises(KeyboardInterrupt):
        train(data, config=tiny_config(), output="stopped")
    assert not list(settings.models_folder().iterdir())


def test_default_name_finds_its_interrupted_run(data: Path, interruption: Interruption) -> None:
    config = tiny_config(epochs=2)
    first = train(data, config=config)
    interruption.epoch = 1
    stopped = train(data, config=config)
    assert stopped.model.name == f"{first.model.name}-2"
    interruption.epoch = None
    resumed = train(data, config=config, resume=True)
    assert resumed.model.name == stopped.model.name
    assert train(data, config=config).model.name == f"{first.model.name}-3"
    assert_same_tensors(saved_tensors(first), saved_tensors(resumed))


def test_resume_with_nothing_to_resume_starts_from_the_beginning(data: Path) -> None:
    assert not train(data, config=tiny_config(epochs=1), output="new", resume=True).interrupted


def test_complete_model_is_not_resumed(data: Path) -> None:
    train(data, config=tiny_config(epochs=1), output="done")
    with pytest.raises(UsageError, match="complete already"):
        train(data, config=tiny_config(epochs=1), output="done", resume=True)


def test_resume_with_other_options_or_data_is_refused(data: Path, tmp_path: Path, interruption: Interruption) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    config = tiny_config(epochs=2)
    interruption.epoch = 1
    stopped = train(copy, config=config, output="stopped")
    interruption.epoch = None
    for change in ({"epochs": 3}, {"seed": 1}, {"batch_size": 4}, {"lr": 1e-5}, {"balance": Balance.LOSS}):
        with pytest.raises(DataError, match=r"other data or options.*--overwrite"):
            train(copy, config=replace(config, **change), output="stopped", resume=True)  # type: ignore[arg-type]
    draw(copy / "warm" / "red" / "more.png", COLOURS["warm", "red"], seed=7007)
    with pytest.raises(DataError, match="other data or options"):
        train(copy, config=config, output="stopped", resume=True)
    (copy / "warm" / "red" / "more.png").unlink()
    # The refusals left the run as it was, and where the data lie does not matter.
    assert stopped.model.path is not None
    assert state_of(stopped.model.path).exists()
    assert not train(data, config=config, output="stopped", resume=True).interrupted


def test_resume_with_training_and_validation_data_swapped_is_refused(
    data: Path, tmp_path: Path, interruption: Interruption
) -> None:
    other = colour_folder(tmp_path / "other", 4, first=100)
    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), val=other, output="stopped")
    interruption.epoch = None
    with pytest.raises(DataError, match="other data or options"):
        train(other, config=tiny_config(epochs=2), val=data, output="stopped", resume=True)


def test_damaged_state_names_the_way_out(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 1
    stopped = train(data, config=tiny_config(epochs=2), output="stopped")
    interruption.epoch = None
    assert stopped.model.path is not None
    state = state_of(stopped.model.path)
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ModelError, match="--overwrite starts again"):
        train(data, config=tiny_config(epochs=2), output="stopped", resume=True)
    assert not train(data, config=tiny_config(epochs=2), output="stopped", overwrite=True).interrupted
    assert not state.exists()


def test_interrupted_run_does_not_show_among_the_models(data: Path, interruption: Interruption) -> None:
    from phototag.model.registry import list_models

    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), output="stopped")
    models, broken = list_models()
    assert [model.name for model in models] == ["builtin", "stopped"]
    assert broken == []
