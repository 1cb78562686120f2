"""Puts an animal into a place: framing, shadows, reflections and the final light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _birds import flamingo, penguin, perched_owl, rooster, standing_owl
from _brushes import Size, relight, tinted
from _canvas import Pen, Rng, pick
from _dogs import dachshund, dalmatian, poodle
from _others import clownfish, sailing_boat
from _reptiles import coiled_snake, gecko, gliding_snake, sea_turtle, turtle
from _scenes import PLACES, Scene
from PIL import Image, ImageDraw, ImageFilter

OVERSAMPLING = 3
SIZES: tuple[Size, ...] = ((320, 240), (300, 260), (280, 280), (340, 250), (360, 240), (260, 320), (240, 320))


@dataclass(frozen=True, slots=True)
class Subject:
    """What can be drawn, where it may be seen, and how far the picture may turn it (degrees)."""

    draw: Callable[[Pen, Rng], None]
    places: tuple[str, ...]
    turns: float = 3.0
    floats: bool = False
    closeups: float = 0.11


LAND = ("meadow", "farmyard", "beach", "desert", "forest", "studio", "snow", "night")
HOME = ("indoors", "indoors", "meadow", "beach", "forest", "studio", "farmyard", "snow")
ABOVE = ("floor", "floor", "wall", "leaf")

SUBJECTS: dict[str, tuple[Subject, ...]] = {
    "bird/rooster": (Subject(rooster, ("farmyard", "farmyard", *LAND)),),
    "bird/owl": (
        Subject(perched_owl, ("forest", "night", "night", "sky", "snow", "studio"), floats=True),
        Subject(perched_owl, ("forest", "night", "meadow", "sky"), floats=True),
        Subject(standing_owl, ("snow", "meadow", "farmyard", "night", "desert")),
    ),
    "bird/flamingo": (Subject(flamingo, ("lake", "lake", "lake", "beach", "studio", "meadow", "night"), closeups=0),),
    "dog/dalmatian": (Subject(dalmatian, HOME),),
    "dog/dachshund": (Subject(dachshund, HOME),),
    "dog/poodle": (Subject(poodle, (*HOME, "night")),),
    "reptile/turtle": (
        Subject(turtle, ("meadow", "beach", "desert", "forest", "studio", "indoors", "lake")),
        Subject(turtle, ("meadow", "beach", "desert", "forest", "farmyard")),
        Subject(sea_turtle, ("underwater",), turns=70, closeups=0),
    ),
    "reptile/snake": (
        Subject(gliding_snake, (*ABOVE, "floor"), turns=50, closeups=0.05),
        Subject(coiled_snake, ("desert", "forest", "meadow", "studio", "beach", "night", "indoors")),
    ),
    "reptile/gecko": (Subject(gecko, (*ABOVE, "leaf", "wall"), turns=180, closeups=0.1),),
    "bird/penguin": (Subject(penguin, ("snow", "snow", "beach")),),
    "fish/clownfish": (Subject(clownfish, ("underwater",), turns=14, closeups=0),),
    "boat/sailing": (Subject(sailing_boat, ("lake",), turns=4, closeups=0),),
}


def picture(kind: str, rng: Rng, size: Size | None = None) -> Image.Image:
    """Draw one finished RGB picture of the kind (a key of SUBJECTS)."""
    subject = pick(rng, SUBJECTS[kind])
    chosen = size or pick(rng, SIZES)
    large = (chosen[0] * OVERSAMPLING, chosen[1] * OVERSAMPLING)
    scene = PLACES[pick(rng, subject.places)](large, rng)
    layer = tinted(_staged(subject, scene, large, rng), scene.ambient)
    back = scene.back.copy()
    if not subject.floats:
        _cast(back, layer, scene, rng)
    back.paste(layer, (0, 0), layer)
    if scene.stand == "water" and not subject.floats:
        _ripple(back, layer, scene, rng)
    if scene.front is not None:
        back.paste(scene.front, (0, 0), scene.front)
    return relight(back.resize(chosen, Image.Resampling.LANCZOS), rng)


def cutout(kind: str, rng: Rng, size: Size) -> Image.Image:
    """Draw one RGBA picture of the kind on a transparent background."""
    subject = SUBJECTS[kind][0]
    large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    place = Scene(Image.new("RGB", (1, 1)), "free")
    return _staged(subject, place, large, rng).resize(size, Image.Resampling.LANCZOS)


def _staged(subject: Subject, scene: Scene, size: Size, rng: Rng) -> Image.Image:
    """Return the animal on a transparent layer of the picture's size, framed for the place."""
    w, h = size
    flip, degrees = bool(rng.random() < 0.5), float(rng.uniform(-subject.turns, subject.turns))
    seed = int(rng.integers(2**31))
    sketch = Pen(flip=flip, degrees=degrees)
    # Drawn twice from the same seed: once only to be measured, then in its place.
    subject.draw(sketch, np.random.default_rng(seed))
    low, extent = sketch.low, sketch.high - sketch.low
    foot = scene.ground if scene.stand in ("ground", "water") and not subject.floats else 0.97
    scale = rng.uniform(0.7, 0.98) * min(0.94 * w / extent[0], (foot - 0.05) * h / extent[1])
    middle = low + extent / 2
    if sketch.focus is not None and rng.random() < subject.closeups:
        scale *= rng.uniform(1.5, 1.9)
        middle = np.array(sketch.focus) * 0.8 + middle * 0.2
        x, y = (0.5 + rng.uniform(-0.08, 0.08)) * w, (0.45 + rng.uniform(-0.05, 0.05)) * h
    else:
        spare = max(0.0, 0.97 * w - extent[0] * scale) / 2
        x = w / 2 + rng.uniform(-0.8, 0.8) * spare
        spare = max(0.0, (foot - 0.03) * h - extent[1] * scale) / 2
        y = foot * h - extent[1] * scale / 2
        if foot > 0.96:
            y = h / 2 + rng.uniform(-0.7, 0.7) * spare
    side = -1.0 if rng.random() < 0.5 else 1.0
    pen = Pen(
        size,
        scale=scale,
        origin=(x - middle[0] * scale, y - middle[1] * scale),
        flip=flip,
        degrees=degrees,
        light_from=(side * rng.uniform(0.2, 0.7), -0.85),
    )
    subject.draw(pen, np.random.default_rng(seed))
    if pen.layer is None:
        raise RuntimeError("a pen with a size always has a layer")
    return pen.layer


def _cast(back: Image.Image, layer: Image.Image, scene: Scene, rng: Rng) -> None:
    """Darken the place where the animal keeps the light away: without it, animals seem to hover."""
    alpha = layer.getchannel("A")
    box = alpha.getbbox()
    if box is None or scene.stand in ("free", "water"):
        return
    w, h = back.size
    shadow = Image.new("L", back.size)
    if scene.stand == "wall":
        shadow.paste(alpha, (round(rng.uniform(-0.012, 0.012) * w), round(rng.uniform(0.012, 0.024) * h)))
        soft, strength = shadow.filter(ImageFilter.GaussianBlur(w * 0.009)), 0.5
    else:
        x0, y0, x1, y1 = box
        feet = alpha.crop((x0, y1 - max(1, (y1 - y0) // 8), x1, y1)).getbbox() or (0, 0, x1 - x0, 0)
        left, right = x0 + feet[0] - 0.03 * w, x0 + feet[2] + 0.03 * w
        tall = max(0.02 * h, 0.09 * (right - left))
        draw = ImageDraw.Draw(shadow)
        draw.ellipse((left, y1 - tall, right, y1 + tall * 0.6), fill=255)
        soft, strength = shadow.filter(ImageFilter.GaussianBlur(w * 0.012)), rng.uniform(0.34, 0.52)
    back.paste((26, 22, 44), (0, 0), soft.point([int(v * strength) for v in range(256)]))


def _ripple(back: Image.Image, layer: Image.Image, scene: Scene, rng: Rng) -> None:
    """Mirror the animal in the water below its feet, with rings around the legs."""
    w, h = back.size
    line = int((scene.ground - 0.012) * h)
    below = Image.new("RGBA", back.size, (0, 0, 0, 0))
    below.paste(layer.crop((0, 0, w, line)).transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, line))
    below = below.filter(ImageFilter.GaussianBlur(w * 0.004))
    fade = below.getchannel("A").point([int(v * 0.42) for v in range(256)])
    water = scene.back.crop((0, line, w, h))
    back.paste(water, (0, line))
    back.paste(below, (0, 0), fade)
    box = layer.getchannel("A").crop((0, line - h // 40, w, line)).getbbox()
    if box is None:
        return
    draw = ImageDraw.Draw(back)
    x, r = (box[0] + box[2]) / 2, max(0.05 * w, (box[2] - box[0]) * 0.6)
    for k in (1.0, 1.35):
        rx, ry = r * k, r * k * rng.uniform(0.14, 0.18)
        draw.arc((x - rx, line - ry, x + rx, line + ry), 15, 165, fill=(236, 246, 248), width=max(2, w // 300))
