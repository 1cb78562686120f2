"""Small labelled data for the tests of learning: classes told apart by colour, and settings that train in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from phototag.inference.names import Device
from phototag.learning.config import TrainingConfig
from PIL import Image

COLOURS = {
    ("warm", "red"): (200, 40, 40),
    ("warm", "yellow"): (230, 220, 50),
    ("cold", "blue"): (30, 50, 200),
    ("cold", "green"): (40, 170, 60),
}
BACKBONE = "test_efficientnet"


def draw(path: Path, colour: tuple[int, int, int], *, seed: int, size: int = 40) -> Path:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 30, (size, size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def colour_folder(root: Path, counts: Mapping[str, int] | int = 8) -> Path:
    """A folder superclass/subclass/*.png of four subclasses; `counts` of each, or by subclass."""
    for number, ((superclass, subclass), colour) in enumerate(COLOURS.items()):
        count = counts if isinstance(counts, int) else counts.get(subclass, 8)
        for index in range(count):
            draw(root / superclass / subclass / f"{index:03}.png", colour, seed=1000 * number + index)
    return root


def random_weights(path: Path, backbone: str = BACKBONE, *, seed: int = 7) -> Path:
    """A weights file of a whole timm classifier, random, that serves as "pretrained" with no network."""
    import timm

    torch.manual_seed(seed)
    torch.save(timm.create_model(backbone, pretrained=False).state_dict(), path)
    return path


def tiny_config(**changes: Any) -> TrainingConfig:
    """A configuration that trains the smallest backbone from random weights within a second or two."""
    plain: dict[str, Any] = {
        "backbone": BACKBONE,
        "pretrained": "weights" in changes,
        "img_size": 32,
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "device": Device.CPU,
    }
    return TrainingConfig(**{**plain, **changes})
