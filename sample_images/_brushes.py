"""Brushes for backgrounds, and the light that falls on a finished picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _canvas import Array, Colour, Rng, light, mix, pick, ribbon, spline, vary
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Size = tuple[int, int]


def gradient(size: Size, stops: Sequence[Colour]) -> Image.Image:
    """Return a smooth vertical blend of the stops."""
    strip = Image.new("RGB", (1, len(stops)))
    strip.putdata(list(stops))
    # Bicubic over the pixel centres, so that the first and last stops reach the edges.
    return strip.resize(size, Image.Resampling.BICUBIC, box=(0, 0.5, 1, len(stops) - 0.5))


def paint(draw: ImageDraw.ImageDraw, points: Array, colour: Colour) -> None:
    """Fill an outline in pixels."""
    draw.polygon([(float(x), float(y)) for x, y in points], fill=colour)


def glow(image: Image.Image, x: float, y: float, radius: float, tone: Colour, strength: float) -> Image.Image:
    """Add a soft round light; done at a sixteenth of the size because nothing in it is sharp."""
    w, h = max(2, image.width // 16), max(2, image.height // 16)
    gy, gx = np.mgrid[0:h, 0:w].astype(np.float64)
    distance = np.hypot(gx - x / 16, gy - y / 16) / (radius / 16)
    amount = np.clip(np.exp(-(distance**2)) * 255 * strength, 0, 255).astype(np.uint8)
    mask = Image.fromarray(amount).resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", image.size, tone), image, mask)


def hills(image: Image.Image, rng: Rng, y: float, height: float, colour: Colour) -> None:
    """Fill everything below a rolling line, whose lowest point is at y."""
    w, h = image.size
    x = np.linspace(-0.1, 1.1, 7) * w
    top = (y - rng.uniform(0, height, 7)) * h
    line = spline(np.stack([x, top], axis=1))
    paint(ImageDraw.Draw(image), np.vstack([line, [(1.1 * w, h), (-0.1 * w, h)]]), colour)


def clouds(image: Image.Image, rng: Rng, count: int, colour: Colour = (255, 255, 255)) -> None:
    """Add soft white clouds to the upper part."""
    w, h = image.size
    layer = Image.new("L", image.size)
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        x, y, r = rng.uniform(0, w), rng.uniform(0.05, 0.35) * h, rng.uniform(0.05, 0.1) * w
        for k in range(5):
            rx = r * rng.uniform(0.6, 1.1)
            cx, cy = x + (k - 2) * r * 0.7, y - rx * 0.25 * (2 - abs(k - 2))
            draw.ellipse((cx - rx, cy - rx * 0.5, cx + rx, cy + rx * 0.5), fill=int(rng.integers(150, 220)))
    soft = layer.filter(ImageFilter.GaussianBlur(w * 0.008))
    image.paste(Image.new("RGB", image.size, colour), (0, 0), soft)


def blades(size: Size, rng: Rng, y: float, colour: Colour, count: int, height: float) -> Image.Image:
    """Grass in front of the feet: what stands in it looks as if it belonged there."""
    w, h = size
    layer = Image.new("RGBA", size)
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        x, up, lean = rng.uniform(0, w), rng.uniform(0.4, 1) * height * h, rng.uniform(-0.5, 0.5) * height * h
        base = (y + rng.uniform(0.0, 0.06)) * h
        tone = vary(mix(colour, light(colour, 0.4), float(rng.uniform(0, 0.6))), rng, 10)
        points = [(x, base), (x + lean * 0.3, base - up * 0.6), (x + lean, base - up)]
        shape = ribbon(points, [0.018 * h, 0.012 * h, 0.002 * h], steps=5)
        draw.polygon([(float(a), float(b)) for a, b in shape], fill=(*tone, 255))
    return layer


def specks(image: Image.Image, rng: Rng, low: float, count: int, tones: Sequence[Colour], size: float) -> None:
    """Pebbles, flowers or fallen leaves, larger towards the viewer."""
    w, h = image.size
    draw = ImageDraw.Draw(image)
    for y in np.sort(rng.uniform(low, 1.0, count)):
        x, r = rng.uniform(0, w), size * h * (0.3 + (y - low) / (1 - low + 1e-6))
        draw.ellipse((x - r, y * h - r * 0.6, x + r, y * h + r * 0.6), fill=vary(pick(rng, tones), rng, 8))


def relight(image: Image.Image, rng: Rng) -> Image.Image:
    """Give the finished picture its own light: warmth, brightness, a slope of light and a vignette."""
    w, h = image.size
    warmth, gain = rng.normal(0, 0.04), rng.uniform(0.88, 1.12)
    gy, gx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    a = rng.uniform(0, 2 * np.pi)
    slope = 1 + rng.uniform(0, 0.16) * (gx * np.cos(a) + gy * np.sin(a))
    vignette = 1 - rng.uniform(0, 0.26) * np.clip((gx**2 + gy**2) / 2, 0, 1) ** 1.5
    balance = np.array([1 + warmth, 1.0, 1 - warmth]) * gain
    pixels = np.asarray(image, dtype=np.float64) * (slope * vignette)[:, :, None] * balance
    # A soft shoulder keeps bright skies from clipping to flat white.
    pixels = np.where(pixels > 225, 225 + 30 * np.tanh((pixels - 225) / 30), pixels)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def tinted(layer: Image.Image, ambient: Colour) -> Image.Image:
    """Return the RGBA layer in the colour of the place's light."""
    lit = ImageChops.multiply(layer.convert("RGB"), Image.new("RGB", layer.size, ambient))
    lit.putalpha(layer.getchannel("A"))
    return lit
