"""Pictures that tests draw: soft blots, and labelled folders of classes told apart by colour."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MakePicture = Callable[..., Path]
COLOURS = {
    ("warm", "red"): (200, 40, 40),
    ("warm", "yellow"): (230, 220, 50),
    ("cold", "blue"): (30, 50, 200),
    ("cold", "green"): (40, 170, 60),
}


def draw(path: Path, colour: tuple[int, int, int], *, seed: int, size: int = 40) -> Path:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 30, (size, size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def colour_folder(root: Path, counts: Mapping[str, int] | int = 8, *, first: int = 0) -> Path:
    """A folder superclass/subclass/*.png of four subclasses; `counts` of each, or by subclass, from `first` on."""
    for number, ((superclass, subclass), colour) in enumerate(COLOURS.items()):
        count = counts if isinstance(counts, int) else counts.get(subclass, 8)
        for index in range(count):
            draw(root / superclass / subclass / f"{index:03}.png", colour, seed=1000 * number + first + index)
    return root


def scene(size: tuple[int, int] = (120, 80), seed: int = 0) -> Image.Image:
    """Draw soft blots of colour with no symmetry."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return the bytes of a picture file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
