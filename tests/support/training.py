"""Configurations and trainers that learn the classes of `tests.support.pictures` within a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from phototag.choices import Device, Tune
from phototag.dataset.labelled import load_data, training_taxonomy
from phototag.dataset.series import split
from phototag.model.backbones import create_backbone, default_preprocessing
from phototag.model.network import DualHead, pooled_stages
from phototag.training.config import TrainingConfig
from phototag.training.finetune.trainer import Trainer
from phototag.training.training import TrainingResult, train
from tests.support.models import TINY_BACKBONE

COUNTS = {"red": 14, "yellow": 9, "blue": 9, "green": 6}


def tiny_config(**changes: Any) -> TrainingConfig:
    """A configuration that trains the smallest backbone from random weights within a second or two."""
    plain: dict[str, Any] = {
        "backbone": TINY_BACKBONE,
        "pretrained": "weights" in changes,
        "img_size": 32,
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "device": Device.CPU,
        "amp": False,  # so that steps come to the same everywhere, to the last decimals
        "groups": "none",
    }
    return TrainingConfig(**{**plain, **changes})


def in_home(folder: Path, data: Path, config: TrainingConfig) -> TrainingResult:
    """Train `trained.safetensors` in a folder, with a home of its own there: for fixtures that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOTAG_HOME", str(folder / "home"))
        return train(data, config=config, output=folder / "trained.safetensors")


def make_trainer(data: Path, *, pretrained: bool = True, backbone: str = TINY_BACKBONE, **changes: Any) -> Trainer:
    """A trainer of a network that is always the same, taken for pretrained unless told otherwise."""
    pictures = load_data(data)
    training, validation = split(pictures.pictures, fraction=0.2, seed=0)
    how: dict[str, Any] = {"weights": Path("unused.pth"), "mixup": 0.2, "cutmix": 0.5} if pretrained else {}
    config = tiny_config(**{"backbone": backbone, "tune": Tune.FULL, "patience": 99, **how, **changes})
    torch.manual_seed(3)
    made = create_backbone(backbone)
    return Trainer(
        DualHead(made, superclasses=2, subclasses=4, stages=pooled_stages(made)),
        training_taxonomy(pictures),
        default_preprocessing(made, 32),
        training=training,
        validation=validation,
        config=config.finetuning,
        device=config.device,
    )


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all tensors of a network by name."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, atol: float = 5e-5) -> None:
    """Fail unless both hold the same names and, but for `atol`, the same values."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
