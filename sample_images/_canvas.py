"""Curves and a shading pen: the geometry that every animal is built from.

Animals are drawn in their own units: x to the right, y down, the ground at y = 1, about two units tall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Array = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
Mark = tuple[Array, Colour]
Rng = np.random.Generator
Points = Sequence[tuple[float, float]]
T = TypeVar("T")

SHADE_REDUCTION = 4  # Shading is soft, so a quarter of the resolution loses nothing and is much faster.


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that is `share` of the way from first to second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def dark(colour: Colour, share: float = 0.35) -> Colour:
    """Return a deeper, slightly cooler tone: pure black outlines look dead next to colour."""
    return mix(colour, (28, 16, 30), share)


def light(colour: Colour, share: float = 0.35) -> Colour:
    """Return a lighter, slightly warmer tone."""
    return mix(colour, (255, 250, 236), share)


def vary(colour: Colour, rng: Rng, spread: int = 12) -> Colour:
    """Return the colour moved a little, so that no two pictures share exact values."""
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return red, green, blue


def pick(rng: Rng, options: Sequence[T]) -> T:
    """Return one of the options."""
    return options[int(rng.integers(len(options)))]


def at(text: str) -> list[tuple[float, float]]:
    """Return the points written as "x,y x,y ...": outlines stay short enough to be read and compared."""
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def spline(points: Points | Array, *, closed: bool = False, steps: int = 12) -> Array:
    """Return a Catmull-Rom curve [N, 2] through the points."""
    p = np.asarray(points, dtype=np.float64)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.vstack([before, p, after])
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat: Array = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, p[-2:-1]])


def blob(points: Points | Array) -> Array:
    """Return a smooth closed outline through the points."""
    return spline(points, closed=True)


def oval(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> Array:
    """Return the outline of an ellipse turned clockwise by degrees."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring: Array = turn(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), degrees) + np.array([x, y])
    return ring


def turn(points: Array, degrees: float) -> Array:
    """Return the points turned clockwise (as seen, since y points down) about the origin."""
    a = np.radians(degrees)
    turned: Array = points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return turned


def ribbon(points: Points | Array, widths: Sequence[float], *, steps: int = 12) -> Array:
    """Return the outline of a limb: a curve through the points, `widths` wide at each, with round ends."""
    centre = spline(points, steps=steps)
    along_widths = np.linspace(0, len(widths) - 1, len(centre))
    half = spline([(i, w) for i, w in enumerate(widths)], steps=24)
    radius = np.maximum(np.interp(along_widths, half[:, 0], half[:, 1]) / 2, 0.002)[:, None]
    along = np.gradient(centre, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    t = np.linspace(0, np.pi, 9)[1:-1, None]
    end = centre[-1] + radius[-1] * (np.cos(t) * normal[-1] + np.sin(t) * along[-1])
    start = centre[0] + radius[0] * (-np.cos(t) * normal[0] - np.sin(t) * along[0])
    return np.vstack([centre + normal * radius, end, (centre - normal * radius)[::-1], start])


def cloud(x: float, y: float, rx: float, ry: float, bumps: int, rng: Rng) -> Array:
    """Return a scalloped outline, as of curly fur or of foliage."""
    t = np.linspace(0, 2 * np.pi, 14 * bumps, endpoint=False)
    radius = 0.86 + 0.17 * np.abs(np.sin(t * bumps / 2 + rng.uniform(0, 3))) + 0.04 * np.sin(t * 2 + rng.uniform(0, 6))
    return np.stack([x + rx * radius * np.cos(t), y + ry * radius * np.sin(t)], axis=1)


def scatter(outline: Array, rng: Rng, step: float, size: tuple[float, float], colour: Colour) -> list[Mark]:
    """Return blotches on a jittered grid over the outline's box: even cover without the look of a grid."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    marks: list[Mark] = []
    for row, y in enumerate(np.arange(low[1], high[1] + step, step)):
        for x in np.arange(low[0] + (row % 2) * step / 2, high[0] + step, step):
            r = rng.uniform(*size)
            dx, dy = rng.uniform(-0.3, 0.3, 2) * step
            shape = oval(x + dx, y + dy, r, r * rng.uniform(0.7, 1.0), rng.uniform(0, 180))
            marks.append((shape, colour))
    return marks


class Pen:
    """Draws shaded, outlined shapes in animal units on a transparent layer.

    Without a size it draws nothing and only measures, so that a picture can be framed before it is drawn.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        *,
        scale: float = 1.0,
        origin: tuple[float, float] = (0.0, 0.0),
        flip: bool = False,
        degrees: float = 0.0,
        light_from: tuple[float, float] = (-0.5, -0.85),
    ) -> None:
        self.layer = None if size is None else Image.new("RGBA", size, (0, 0, 0, 0))
        self.light_from = light_from
        self.focus: tuple[float, float] | None = None
        self.low, self.high = np.full(2, np.inf), np.full(2, -np.inf)
        self._scale = scale
        base = turn(np.array([[-1.0 if flip else 1.0, 0.0], [0.0, 1.0]]), degrees)
        self._stack: list[tuple[Array, Array]] = [(base * scale, np.array(origin))]

    @contextmanager
    def moved(self, x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> Iterator[None]:
        """Draw inside the block as if the origin lay at (x, y), turned and scaled: heads hang on this."""
        matrix, offset = self._stack[-1]
        inner = turn(np.eye(2), degrees) * scale
        self._stack.append((inner @ matrix, np.array([x, y]) @ matrix + offset))
        try:
            yield
        finally:
            self._stack.pop()

    def look_at(self, x: float, y: float) -> None:
        """Say where the head is: close-ups are framed around it."""
        px, py = self._pixels(np.array([[x, y]]))[0]
        self.focus = (float(px), float(py))

    def _pixels(self, points: Array) -> Array:
        matrix, offset = self._stack[-1]
        return points @ matrix + offset

    def fill(
        self,
        *outlines: Array,
        colour: Colour,
        shade: float = 1.0,
        edge: float = 1.0,
        marks: Sequence[Mark] = (),
        framed: bool = True,
    ) -> None:
        """Fill the union of the outlines; marks are clipped to it.

        framed=False keeps scenery out of the measured size.
        """
        parts = [self._pixels(outline) for outline in outlines]
        points = np.vstack(parts)
        if framed:
            self.low = np.minimum(self.low, points.min(axis=0))
            self.high = np.maximum(self.high, points.max(axis=0))
        if self.layer is None:
            return
        reach = 1.0 + max(_thickness(part) for part in parts)
        pad = int(3 * reach) + 4
        x0, y0 = (int(v) for v in np.maximum(points.min(axis=0) - pad, -pad))
        x1, y1 = (int(v) for v in np.minimum(points.max(axis=0) + pad, np.array(self.layer.size) + pad))
        if x1 - x0 <= 2 * pad or y1 - y0 <= 2 * pad:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        for part in parts:
            # Outlines first, fill on top: lines inside the union vanish.
            if edge:
                self._outline(part, dark(colour, 0.62), edge)
            _polygon(ImageDraw.Draw(mask), part - (x0, y0), 255)
        body = Image.new("RGB", mask.size, colour)
        draw = ImageDraw.Draw(body)
        for shape, tone in marks:
            _polygon(draw, self._pixels(shape) - (x0, y0), tone)
        if shade:
            body = self._shaded(body, mask, reach, shade)
        self.layer.paste(body, (x0, y0), mask)

    def line(self, points: Points, width: float, colour: Colour, *, taper: bool = True) -> None:
        """Draw an unshaded curve, for mouths, feathers and whiskers; tapered ends look drawn by hand."""
        n = len(points)
        widths = [width * (0.35 if taper and i in (0, n - 1) else 1.0) for i in range(n)]
        self.fill(ribbon(points, widths), colour=colour, shade=0, edge=0)

    def eye(self, x: float, y: float, r: float, iris: Colour = (60, 36, 22), *, ring: Colour | None = None) -> None:
        """Draw a round eye with a glint; the glint is what makes an animal look alive."""
        if ring is not None:
            self.fill(oval(x, y, r * 1.4, r * 1.4), colour=ring, shade=0, edge=0)
        self.fill(oval(x, y, r, r), colour=iris, shade=0, edge=0.5)
        self.fill(oval(x, y, r * 0.62, r * 0.62), colour=(18, 12, 16), shade=0, edge=0)
        self.fill(oval(x - r * 0.28, y - r * 0.34, r * 0.27, r * 0.27), colour=(255, 255, 255), shade=0, edge=0)

    def _outline(self, points: Array, colour: Colour, edge: float) -> None:
        if self.layer is None:
            return
        width = max(1, round(self._scale * 0.03 * edge))
        ring = [(float(x), float(y)) for x, y in np.vstack([points, points[:2]])]
        ImageDraw.Draw(self.layer).line(ring, fill=(*colour, 255), width=width, joint="curve")

    def _shaded(self, body: Image.Image, mask: Image.Image, reach: float, strength: float) -> Image.Image:
        """Darken the side away from the light and lift the side towards it, softly."""
        small = mask.reduce(SHADE_REDUCTION)
        step = max(1.0, reach / SHADE_REDUCTION)
        soft = small.filter(ImageFilter.GaussianBlur(step))
        dx, dy = round(self.light_from[0] * step), round(self.light_from[1] * step)
        away = ImageChops.invert(ImageChops.offset(soft, dx, dy))
        towards = ImageChops.invert(ImageChops.offset(soft, -dx, -dy))
        shadow, glow = 0.68 * strength, 0.4 * strength
        low = away.point(lambda v: min(255, int(v * shadow))).resize(mask.size, Image.Resampling.BILINEAR)
        high = towards.point(lambda v: min(255, int(v * glow))).resize(mask.size, Image.Resampling.BILINEAR)
        body = Image.composite(Image.blend(body, Image.new("RGB", body.size, (34, 18, 52)), 0.55), body, low)
        return Image.composite(Image.new("RGB", body.size, (255, 252, 238)), body, high)


def _polygon(draw: ImageDraw.ImageDraw, points: Array, fill: int | Colour) -> None:
    draw.polygon([(float(x), float(y)) for x, y in points], fill=fill)


def _thickness(points: Array) -> float:
    """How far shading reaches into a shape: area over outline, so that thin limbs stay bright."""
    ahead = np.roll(points, -1, axis=0)
    area = 0.5 * abs(float(np.sum(points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0])))
    return 0.62 * area / (float(np.sum(np.linalg.norm(ahead - points, axis=1))) + 1e-9)
