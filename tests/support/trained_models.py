"""Tensors and figures of trained models, and an interruption of their training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.model.file import read_header, read_tensors
from phototag.model.registry import Model
from phototag.training.finetune.trainer import Trainer
from phototag.training.training import TrainingResult

UNEVEN = {"red": 40, "yellow": 10, "blue": 10, "green": 5}
Tensors = dict[str, NDArray[np.float32]]


def saved_tensors(result: TrainingResult | Path) -> Tensors:
    """Return the tensors of a model file."""
    path = result if isinstance(result, Path) else result.model.path
    assert path is not None
    return read_tensors(path)


def assert_same_tensors(one: Tensors, other: Tensors) -> None:
    """Fail unless both hold the same names and, up to rounding, the same values."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=1e-6, rtol=0, err_msg=name)


def assert_different_tensors(one: Tensors, other: Tensors) -> None:
    """Fail where no tensor differs."""
    assert any(not np.array_equal(value, other[name]) for name, value in one.items())


def state_of(model: Path) -> Path:
    """Return where the state of an interrupted run lies, beside its model."""
    return model.with_name(f".{model.stem}.run.safetensors")


def curves(model: Model | Path) -> list[dict[str, float]]:
    """Return the figures of each epoch of a trained model."""
    path = model if isinstance(model, Path) else model.path
    assert path is not None
    result: list[dict[str, float]] = read_header(path).record["curves"]
    return result


class Interruption:
    """Makes the training stop as by Ctrl-C in the epoch of that number, counted from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epoch: int | None = None
        run_epoch = Trainer._run_epoch

        def interrupted(trainer: Trainer, epoch: int) -> float:
            if epoch == self.epoch:
                raise KeyboardInterrupt
            return run_epoch(trainer, epoch)

        monkeypatch.setattr(Trainer, "_run_epoch", interrupted)
