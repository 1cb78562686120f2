"""A tagger without a network: its scores are a simple function of the pixels, and tests of the rest load no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phototag.choices import Device, Precision, RuntimeName
from phototag.decision import Thresholds
from phototag.imaging import Preprocessing
from phototag.model.file import ModelHeader, write_tensors
from phototag.runtime.engine import Done, Outputs, Pending, Pictures
from phototag.runtime.runtime import Runtime, Target
from phototag.tagging.tagger import Tagger
from tests.support.models import TINY_BACKBONE, TINY_TAXONOMY


class PixelEngine:
    """Counts the pictures that it is given."""

    name, device, precision, batch_size = "pixels", "cpu", Precision.F32, 4

    def __init__(self) -> None:
        self.pictures = 0

    def start(self, pictures: Pictures) -> Pending:
        self.pictures += len(pictures)
        pixels = np.stack([picture.reshape(-1)[:8] for picture in pictures]).astype(np.float32) / 64
        outputs: Outputs = (pixels[:, :3], pixels[:, 3:])
        return Done(outputs)


def write_light_model(path: Path) -> Path:
    """Write a model file for it."""
    header = ModelHeader(
        backbone=TINY_BACKBONE,
        taxonomy=TINY_TAXONOMY,
        preprocessing=Preprocessing(size=32, crop=1.0),
        thresholds=Thresholds(superclass=0.4, subclass=0.25),
        metrics={},
        record={"source": "no weights, for tests"},
        created_at="2026-01-01T00:00:00+00:00",
    )
    write_tensors(path, {"none": np.zeros(1, dtype=np.float32)}, header.to_json())
    return path


def light_tagger(model: Path) -> Tagger:
    """Return a tagger with that model."""
    tagger = Tagger(model, device=Device.CPU, runtime=RuntimeName.TORCH, workers=1)
    tagger._runtime = Runtime(tagger.model, target=Target(Device.CPU, RuntimeName.TORCH), engine=PixelEngine())
    return tagger
