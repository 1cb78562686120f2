"""Random views of pictures: crops, mirrored or not, in other light. What heads learn from beside the pictures.

A head that has seen a thing larger, smaller and in other light is right more often on photos of another day
(docs/experiments.md#views). What a view shows depends on the picture's content and its number alone.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from phototag.imaging import Preprocessing

# Share of the picture's area, and of width to height.
_AREA = (0.35, 1.0)
_RATIO = (3 / 4, 4 / 3)
_LIGHT = (0.7, 1.3)
# How much larger than the input pictures are decoded, so that small crops need little enlarging.
_MARGIN = 1.5

Pixels = NDArray[np.uint8]


def uncropped(preprocessing: Preprocessing) -> Preprocessing:
    """Return how to decode pictures for views: larger, and all of the middle square."""
    return replace(preprocessing, size=math.ceil(_MARGIN * preprocessing.size), crop=1.0)


def random_view(pixels: Pixels, size: int, *, seed: int) -> Pixels:
    """Return a random view [size, size, 3] of a picture [T, T, 3]."""
    random = np.random.default_rng(seed)
    side = len(pixels)
    area = random.uniform(*_AREA) * side * side
    ratio = math.exp(random.uniform(*np.log(_RATIO)))
    width, height = min(side, math.sqrt(area * ratio)), min(side, math.sqrt(area / ratio))
    left, top = random.uniform(0, side - width), random.uniform(0, side - height)
    box = (left, top, left + width, top + height)
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(*_LIGHT))
    return np.asarray(image)
