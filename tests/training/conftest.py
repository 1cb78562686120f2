"""Labelled pictures, weights and trainers that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phototag.choices import Tune
from phototag.dataset.labelled import load_data, training_taxonomy
from phototag.dataset.series import split
from phototag.model.network import DualHead
from phototag.training.finetune.trainer import Trainer
from tests.support.models import TINY_BACKBONE, random_weights
from tests.support.pictures import colour_folder
from tests.support.trained_models import UNEVEN, Interruption
from tests.support.training import tiny_config


@pytest.fixture(autouse=True, scope="module")
def _converted_once(converted_once: None) -> None:
    """The same few backbones with the same weights are trained over and over."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of four classes that differ in colour. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("data") / "colours", 12)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., Trainer]]:
    """A function that makes a trainer on uneven classes."""
    pictures = load_data(colour_folder(tmp_path / "uneven", UNEVEN))
    taxonomy = training_taxonomy(pictures)
    training, validation = split(pictures.pictures, fraction=0.2, seed=0)

    def make(**changes: Any) -> Trainer:
        from phototag.model.backbones import create_backbone, default_preprocessing

        config = tiny_config(**changes)
        backbone = create_backbone(TINY_BACKBONE)
        return Trainer(
            DualHead(backbone, superclasses=2, subclasses=4),
            taxonomy,
            default_preprocessing(backbone, 32),
            training=training,
            validation=validation,
            config=replace(config, tune=Tune.FULL).finetuning,
            device=config.device,
        )

    yield make


@pytest.fixture
def interruption(monkeypatch: pytest.MonkeyPatch) -> Interruption:
    return Interruption(monkeypatch)
