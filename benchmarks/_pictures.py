"""Pictures for benchmarks: drawn from a seed, and about as hard to decode as photographs of their size.

Each is a gradient as of a sky, texture with the falling spectrum of natural scenes, shapes with hard edges, and the
grain of a sensor. The grain of each kind is set so that its JPEG files are as large as a camera's or a web site's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]

SEED = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """Pictures of some sizes in pixels, in turns; `grain` is the standard deviation of the noise in a pixel, of 255.

    `quality` is that of JPEG files; None makes PNG files.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    grain: float
    quality: int | None
    photos: int  # unless told otherwise

    @property
    def described(self) -> str:
        """Format and sizes, for a title."""
        sizes = " and ".join(f"{width} x {height}" for width, height in self.sizes)
        return f"{'PNG' if self.quality is None else 'JPEG'} files, {sizes} px"


# Whole batches of 32: a last batch that is not full costs phototag as much as a full one, which no library of
# thousands of photos notices.
KINDS = (
    Kind("64px", ((64, 64),), grain=4.0, quality=90, photos=96),
    Kind("500px", ((500, 375),), grain=10.0, quality=90, photos=96),
    Kind("12mp", ((4000, 3000),), grain=10.0, quality=90, photos=64),
    Kind("24mp", ((6000, 4000),), grain=10.0, quality=90, photos=64),
    Kind("png", ((500, 375), (1600, 1200)), grain=4.0, quality=None, photos=64),
)


def ensure(kind: Kind, photos: int, root: Path, *, on_picture: Callable[[], None]) -> Path:
    """The folder under `root` that holds exactly so many pictures of a kind; made unless it is there."""
    folder = root / f"{kind.name}-{photos}"
    if folder.is_dir():
        return folder
    partial = root / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def make(number: int) -> None:
        picture = draw(kind, number)
        if kind.quality is None:
            picture.save(partial / f"{number:05d}.png")
        else:
            picture.save(partial / f"{number:05d}.jpg", quality=kind.quality)
        on_picture()

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(make, range(photos)))
    partial.rename(folder)
    return folder


def draw(kind: Kind, number: int) -> Image.Image:
    """The picture of that number; the same for the same seed."""
    width, height = kind.sizes[number % len(kind.sizes)]
    random = np.random.default_rng((SEED, width, number))
    shape = (height, width)
    texture = _texture(random, shape)
    canvas = np.empty((*shape, 3), dtype=np.uint8)
    down, right = (np.linspace(0, 1, length, dtype=np.float32) for length in shape)
    grain = random.standard_normal(shape, dtype=np.float32) * kind.grain
    for channel in range(3):
        corner, along, across = random.uniform((70, -60, -60), (180, 60, 60)).astype(np.float32)
        plane = texture * np.float32(random.uniform(0.6, 1.0))
        plane += corner + along * down[:, None] + across * right[None, :]
        plane += grain
        canvas[..., channel] = np.clip(plane, 0, 255)
    return _with_shapes(Image.fromarray(canvas), random)


def _texture(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Octaves of smooth noise [H, W], each about half as strong as the one twice its size: amplitude as 1/f."""
    height, width = shape
    texture = np.zeros((1, 1), dtype=np.float32)
    side, strength = 4, 34.0
    while side < height:
        # Doubling what there is costs far less than blowing every octave up to the full size.
        octave = (side, max(1, side * width // height))
        noise = random.standard_normal(octave, dtype=np.float32) * np.float32(strength)
        texture = _resized(texture, octave) + noise
        side, strength = side * 2, strength / 1.9
    return _resized(texture, shape)


def _resized(plane: Floats, shape: tuple[int, int]) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _with_shapes(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Half-transparent discs and triangles on the picture, so that the texture goes on in them."""
    layer = Image.new("RGB", image.size)
    mask = Image.new("L", image.size)
    paint, cover = ImageDraw.Draw(layer), ImageDraw.Draw(mask)
    shortest = min(image.size)
    for _ in range(int(random.integers(4, 12))):
        x, y = random.uniform((0, 0), image.size)
        reach = random.uniform(0.04, 0.25) * shortest
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        corners = [(x + reach * np.cos(a), y + reach * np.sin(a)) for a in random.uniform(0, 2 * np.pi, 3)]
        for pen, ink in ((paint, colour), (cover, 190)):
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=ink)
            pen.polygon(corners, fill=ink if pen is cover else tuple(255 - value for value in colour))
    return Image.composite(layer, image, mask)
