"""Backgrounds: each paints a place, and says where feet stand and how the light falls there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from _brushes import Size, blades, clouds, glow, gradient, hills, paint, specks
from _canvas import Colour, Rng, cloud, dark, light, mix, pick, ribbon, vary
from PIL import Image, ImageDraw, ImageFilter

Stand = Literal["ground", "water", "wall", "free"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A painted place: feet stand at `ground` (share of the height), `ambient` colours the animal."""

    back: Image.Image
    stand: Stand
    ground: float = 0.9
    ambient: Colour = (255, 255, 255)
    front: Image.Image | None = None


SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 168, 226), (208, 232, 242)),
    ((126, 184, 214), (240, 236, 214)),
    ((244, 168, 112), (252, 226, 172)),
    ((150, 172, 190), (218, 224, 226)),
    ((112, 134, 190), (248, 204, 188)),
)


def meadow(size: Size, rng: Rng) -> Scene:
    """Hills, grass and flowers."""
    top, low = pick(rng, SKIES)
    image = gradient(size, (vary(top, rng), vary(low, rng), vary(low, rng)))
    clouds(image, rng, int(rng.integers(0, 4)))
    green = vary(pick(rng, ((116, 168, 76), (142, 178, 84), (92, 150, 84), (186, 172, 90))), rng)
    horizon = rng.uniform(0.5, 0.66)
    hills(image, rng, horizon, 0.16, mix(green, low, 0.55))
    hills(image, rng, horizon + 0.06, 0.09, mix(green, low, 0.28))
    hills(image, rng, horizon + 0.12, 0.05, green)
    hills(image, rng, 0.98, 0.08, dark(green, 0.12))
    petals: tuple[Colour, ...] = ((250, 240, 236), (244, 206, 70), (226, 100, 110), (170, 120, 200))
    specks(image, rng, horizon + 0.16, int(rng.integers(0, 40)), petals, 0.011)
    front = blades(size, rng, 0.98, dark(green, 0.1), 60, 0.1) if rng.random() < 0.6 else None
    return Scene(image, "ground", rng.uniform(0.86, 0.93), front=front)


def farmyard(size: Size, rng: Rng) -> Scene:
    """A fence or a barn wall behind trodden earth."""
    w, h = size
    top, low = pick(rng, SKIES)
    image = gradient(size, (top, low, low))
    draw = ImageDraw.Draw(image)
    earth = vary(pick(rng, ((194, 162, 116), (170, 136, 100), (160, 164, 96))), rng)
    wood = vary(pick(rng, ((158, 72, 60), (140, 102, 70), (196, 186, 168), (108, 122, 132))), rng)
    floor = rng.uniform(0.62, 0.72)
    barn = rng.random() < 0.5
    if not barn:
        hills(image, rng, floor - 0.04, 0.14, mix((110, 158, 84), low, 0.35))
    plank = w / int(rng.integers(7, 12))
    for k in range(14):
        x = k * plank
        y = 0.0 if barn else (floor - 0.3 + 0.02 * (k % 2)) * h
        right = x + plank * (0.97 if barn else 0.5)
        draw.rectangle((x, y, right, floor * h), fill=vary(wood, rng, 7))
        draw.line((x, y, x, floor * h), fill=dark(wood, 0.3), width=max(1, w // 200))
    if not barn:
        for y in (floor - 0.22, floor - 0.09):
            draw.rectangle((0, y * h, w, (y + 0.045) * h), fill=dark(wood, 0.12))
    draw.rectangle((0, floor * h, w, h), fill=earth)
    hills(image, rng, floor + 0.04, 0.03, light(earth, 0.1))
    specks(image, rng, floor + 0.05, 26, (dark(earth, 0.15), light(earth, 0.3), (226, 200, 120)), 0.012)
    return Scene(image, "ground", rng.uniform(0.88, 0.94))


def beach(size: Size, rng: Rng) -> Scene:
    """Sea, a white line of foam, and sand."""
    w, h = size
    top, low = pick(rng, SKIES)
    image = gradient(size, (top, low, low))
    clouds(image, rng, int(rng.integers(0, 3)))
    if rng.random() < 0.5:
        image = glow(image, rng.uniform(0, w), rng.uniform(0.1, 0.4) * h, 0.3 * w, (255, 248, 214), 0.9)
    horizon, shore = rng.uniform(0.36, 0.46), rng.uniform(0.58, 0.68)
    sea = vary(pick(rng, ((52, 140, 172), (70, 160, 178), (60, 112, 150))), rng)
    band = gradient((w, max(1, int((shore - horizon + 0.08) * h))), (mix(sea, low, 0.35), sea, light(sea, 0.45)))
    image.paste(band, (0, int(horizon * h)))
    sand = vary(pick(rng, ((236, 212, 160), (226, 196, 146), (240, 224, 190))), rng)
    for y, tone in ((shore + 0.05, (250, 250, 246)), (shore + 0.07, dark(sand, 0.14)), (shore + 0.1, sand)):
        hills(image, rng, y, 0.04, tone)
    specks(
        image,
        rng,
        shore + 0.14,
        int(rng.integers(6, 26)),
        (light(sand, 0.6), dark(sand, 0.2), (222, 150, 130)),
        0.01,
    )
    return Scene(image, "ground", rng.uniform(0.86, 0.93))


def desert(size: Size, rng: Rng) -> Scene:
    """Dunes or red rock under a large sun."""
    w, h = size
    sky = pick(
        rng,
        (
            ((108, 172, 214), (246, 226, 190)),
            ((238, 150, 96), (252, 220, 150)),
            ((146, 110, 150), (250, 180, 130)),
        ),
    )
    image = gradient(size, (sky[0], sky[1], sky[1]))
    image = glow(image, rng.uniform(0.1, 0.9) * w, rng.uniform(0.15, 0.4) * h, 0.16 * w, (255, 250, 226), 1.4)
    sand = vary(pick(rng, ((232, 184, 112), (222, 148, 92), (214, 168, 120))), rng)
    hills(image, rng, 0.56, 0.18, mix(dark(sand, 0.3), sky[1], 0.4))
    hills(image, rng, 0.64, 0.1, dark(sand, 0.12))
    hills(image, rng, 0.72, 0.08, sand)
    hills(image, rng, 0.9, 0.08, light(sand, 0.14))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 4))):
        x, y, s = rng.uniform(0, w), rng.uniform(0.64, 0.74) * h, rng.uniform(0.08, 0.16) * h
        green = vary((88, 130, 80), rng)
        for path in (
            ((x, y), (x, y - 2 * s)),
            ((x, y - s * 0.8), (x + s * 0.5, y - s), (x + s * 0.5, y - 1.6 * s)),
        ):
            paint(draw, ribbon(path, [0.3 * s] * len(path)), green)
    specks(image, rng, 0.76, 16, (dark(sand, 0.25), light(sand, 0.3)), 0.012)
    return Scene(image, "ground", rng.uniform(0.86, 0.93), ambient=mix((255, 255, 255), sky[1], 0.18))


def forest(size: Size, rng: Rng) -> Scene:
    """Trunks fading into haze, with soft spots of light."""
    w, h = size
    haze = vary(pick(rng, ((206, 226, 180), (226, 216, 160), (172, 206, 196), (230, 190, 140))), rng)
    image = gradient(size, (dark(haze, 0.3), haze, light(haze, 0.2)))
    draw = ImageDraw.Draw(image)
    for layer in range(3):
        bark = mix(haze, (72, 56, 48), 0.25 + 0.25 * layer)
        for _ in range(5 - layer):
            x, r = rng.uniform(0, w), w * (0.012 + 0.012 * layer)
            tilt = rng.uniform(-0.03, 0.03) * w
            paint(
                draw,
                np.array([(x - r + tilt, 0), (x + r + tilt, 0), (x + r * 1.4, 0.78 * h), (x - r * 1.4, 0.78 * h)]),
                bark,
            )
        leaf = mix(haze, (60, 104, 56), 0.25 + 0.2 * layer)
        for _ in range(5):
            x, y, r = rng.uniform(0, w), rng.uniform(-0.05, 0.16) * h, rng.uniform(0.1, 0.2) * w
            paint(draw, cloud(x, y, r, r * 0.6, 11, rng), leaf)
    image = image.filter(ImageFilter.GaussianBlur(w * rng.uniform(0.003, 0.012)))
    for _ in range(int(rng.integers(3, 8))):
        image = glow(
            image,
            rng.uniform(0, w),
            rng.uniform(0.1, 0.6) * h,
            rng.uniform(0.03, 0.08) * w,
            light(haze, 0.7),
            0.5,
        )
    moss = vary(pick(rng, ((96, 116, 58), (124, 100, 62), (92, 128, 74))), rng)
    hills(image, rng, 0.74, 0.06, mix(moss, haze, 0.25))
    hills(image, rng, 0.86, 0.06, moss)
    specks(image, rng, 0.78, 30, (dark(moss, 0.2), (190, 120, 60), light(moss, 0.25)), 0.012)
    front = blades(size, rng, 0.99, dark(moss, 0.1), 40, 0.09) if rng.random() < 0.5 else None
    return Scene(image, "ground", rng.uniform(0.88, 0.94), ambient=mix((255, 255, 255), haze, 0.25), front=front)


def indoors(size: Size, rng: Rng) -> Scene:
    """A wall, a skirting board and a wooden floor or a carpet."""
    w, h = size
    wall = vary(pick(rng, ((226, 214, 196), (168, 192, 190), (204, 176, 168), (150, 160, 186), (232, 204, 140))), rng)
    image = gradient(size, (light(wall, 0.1), wall, dark(wall, 0.1)))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.4:
        for x in np.arange(0, w, w / 9):
            draw.rectangle((x, 0, x + w / 18, h), fill=light(wall, 0.16))
    if rng.random() < 0.6:
        x, y, s = rng.uniform(0.05, 0.7) * w, rng.uniform(0.02, 0.12) * h, rng.uniform(0.22, 0.34) * h
        draw.rectangle((x, y, x + s * 0.9, y + s), fill=(250, 248, 240))
        picture = gradient((int(s * 0.74), int(s * 0.84)), ((150, 200, 232), (214, 234, 240), (150, 190, 120)))
        image.paste(picture, (int(x + s * 0.08), int(y + s * 0.08)))
    floor = rng.uniform(0.64, 0.74)
    wood = vary(pick(rng, ((186, 132, 82), (150, 100, 66), (206, 170, 124), (150, 146, 142))), rng)
    draw.rectangle((0, (floor - 0.05) * h, w, floor * h), fill=(244, 240, 232))
    for k in range(6):
        y0, y1 = floor + (1 - floor) * (k / 6) ** 1.3, floor + (1 - floor) * ((k + 1) / 6) ** 1.3
        draw.rectangle((0, y0 * h, w, y1 * h), fill=vary(wood, rng, 6))
        draw.line((0, y0 * h, w, y0 * h), fill=dark(wood, 0.3), width=max(1, h // 240))
    if rng.random() < 0.55:
        rug = vary(pick(rng, ((176, 60, 64), (70, 110, 150), (220, 200, 170), (96, 130, 96))), rng)
        for grow, tone in ((1.0, rug), (0.88, light(rug, 0.45)), (0.8, rug)):
            rx, ry = 0.46 * w * grow, 0.1 * h * grow
            draw.ellipse((w / 2 - rx, 0.88 * h - ry, w / 2 + rx, 0.88 * h + ry), fill=tone)
    if rng.random() < 0.5:
        image = glow(image, rng.uniform(0, w), 0.2 * h, 0.5 * w, (255, 240, 206), 0.5)
    return Scene(image, "ground", rng.uniform(0.87, 0.93))


def lake(size: Size, rng: Rng) -> Scene:
    """Shallow water with ripples, reeds and a far shore."""
    w, h = size
    top, low = pick(rng, SKIES)
    horizon = rng.uniform(0.4, 0.56)
    image = gradient(size, (top, low, low))
    hills(image, rng, horizon, 0.1, mix((96, 130, 110), low, 0.45))
    water = mix(vary(pick(rng, ((90, 160, 180), (110, 170, 160), (90, 130, 170))), rng), top, 0.25)
    image.paste(
        gradient((w, h - int(horizon * h)), (mix(water, low, 0.6), water, dark(water, 0.2))),
        (0, int(horizon * h)),
    )
    draw = ImageDraw.Draw(image)
    for _ in range(26):
        y = rng.uniform(horizon + 0.02, 1.0)
        x, r = rng.uniform(0, w), w * rng.uniform(0.02, 0.1) * (0.4 + y)
        path = [(x - r, y * h), (x, y * h - 0.004 * h), (x + r, y * h)]
        paint(
            draw,
            ribbon(path, [0.002 * h, 0.008 * h, 0.002 * h], steps=5),
            light(water, float(rng.uniform(0.2, 0.6))),
        )
    front = blades(size, rng, 1.02, (96, 126, 66), 22, 0.26) if rng.random() < 0.35 else None
    return Scene(image, "water", rng.uniform(0.82, 0.9), front=front)


def night(size: Size, rng: Rng) -> Scene:
    """Moon, stars and dark hills."""
    w, h = size
    top = vary(pick(rng, ((18, 26, 62), (30, 24, 66), (14, 40, 66))), rng, 6)
    image = gradient(size, (top, mix(top, (70, 96, 150), 0.4), mix(top, (120, 130, 170), 0.5)))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.7) * h, w * rng.uniform(0.0012, 0.004)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(236, 236, 220))
    x, y, r = rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.34) * h, rng.uniform(0.06, 0.12) * w
    image = glow(image, x, y, r * 2.6, (190, 206, 236), 0.6)
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 246, 222))
    for dx, dy, s in ((-0.3, -0.2, 0.2), (0.3, 0.25, 0.26), (0.1, -0.45, 0.13)):
        draw.ellipse((x + (dx - s) * r, y + (dy - s) * r, x + (dx + s) * r, y + (dy + s) * r), fill=(232, 226, 200))
    hills(image, rng, 0.76, 0.16, mix(top, (60, 84, 110), 0.5))
    hills(image, rng, 0.86, 0.08, mix(top, (40, 62, 70), 0.5))
    return Scene(image, "ground", rng.uniform(0.86, 0.93), ambient=(186, 196, 232))


def snow(size: Size, rng: Rng) -> Scene:
    """Snowfields under a pale sky, sometimes with falling flakes."""
    top = vary(pick(rng, ((140, 176, 214), (178, 190, 204), (226, 190, 190))), rng)
    image = gradient(size, (top, mix(top, (248, 248, 250), 0.7), (248, 248, 250)))
    for y, k in ((0.56, 0.5), (0.66, 0.3), (0.78, 0.1)):
        hills(image, rng, y, 0.14, mix((244, 248, 252), top, k))
    if rng.random() < 0.6:
        specks(image, rng, 0.02, 60, ((255, 255, 255),), 0.008)
    return Scene(image, "ground", rng.uniform(0.87, 0.93), ambient=(236, 242, 255))


def studio(size: Size, rng: Rng) -> Scene:
    """A plain sweep of colour."""
    w, h = size
    tone = vary(
        pick(
            rng,
            (
                (214, 220, 214),
                (238, 206, 160),
                (160, 196, 206),
                (226, 180, 176),
                (196, 190, 220),
                (120, 128, 140),
            ),
        ),
        rng,
    )
    image = gradient(size, (dark(tone, 0.12), tone, light(tone, 0.25), dark(tone, 0.06)))
    image = glow(image, rng.uniform(0.3, 0.7) * w, 0.45 * h, 0.42 * w, light(tone, 0.6), 0.8)
    return Scene(image, "ground", rng.uniform(0.84, 0.92))


def sky(size: Size, rng: Rng) -> Scene:
    """Open sky with clouds."""
    top, low = pick(rng, SKIES)
    image = gradient(size, (vary(top, rng), mix(top, low, 0.6), vary(low, rng)))
    clouds(image, rng, int(rng.integers(2, 6)))
    return Scene(image, "free")


def underwater(size: Size, rng: Rng) -> Scene:
    """Blue depth with slanting light, bubbles and weed."""
    w, h = size
    blue = vary(pick(rng, ((30, 120, 170), (24, 140, 160), (40, 96, 160))), rng)
    image = gradient(size, (light(blue, 0.5), blue, dark(blue, 0.3)))
    beams = Image.new("L", size)
    draw = ImageDraw.Draw(beams)
    for _ in range(5):
        x, r, lean = rng.uniform(0, w), rng.uniform(0.02, 0.06) * w, rng.uniform(0.1, 0.3) * w
        draw.polygon([(x, 0), (x + r, 0), (x + r * 2 + lean, h), (x + lean, h)], fill=int(rng.integers(30, 70)))
    image.paste((236, 252, 250), (0, 0), beams.filter(ImageFilter.GaussianBlur(w * 0.02)))
    draw = ImageDraw.Draw(image)
    sand = mix((226, 206, 160), blue, 0.4)
    hills(image, rng, 0.96, 0.06, sand)
    for _ in range(int(rng.integers(3, 10))):
        x, up = rng.uniform(0, w), rng.uniform(0.12, 0.3) * h
        weed = mix(pick(rng, ((70, 150, 90), (220, 110, 120), (150, 120, 190))), blue, 0.3)
        path = [(x, h), (x + 0.02 * w, h - up * 0.4), (x - 0.02 * w, h - up * 0.7), (x + 0.015 * w, h - up)]
        paint(draw, ribbon(path, [0.03 * w, 0.026 * w, 0.02 * w, 0.008 * w]), weed)
    for _ in range(int(rng.integers(5, 14))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.9) * h, rng.uniform(0.004, 0.014) * w
        draw.ellipse((x - r, y - r, x + r, y + r), outline=(220, 244, 250), width=max(1, w // 260))
    return Scene(image, "free", ambient=(214, 240, 248))


def wall(size: Size, rng: Rng) -> Scene:
    """Plaster, boards or bricks, seen head on."""
    w, h = size
    tone = vary(pick(rng, ((226, 216, 196), (190, 110, 84), (150, 164, 160), (206, 180, 120), (120, 100, 86))), rng)
    image = Image.new("RGB", size, tone)
    draw = ImageDraw.Draw(image)
    kind = pick(rng, ("bricks", "boards", "plaster"))
    if kind == "bricks":
        step = h / int(rng.integers(6, 9))
        for row in range(10):
            for k in range(-1, 9):
                x, y, gap = (k + 0.5 * (row % 2)) * step * 2, row * step, step * 0.07
                draw.rectangle(
                    (x + gap, y + gap, x + 2 * step - gap, y + step - gap),
                    fill=vary(dark(tone, 0.12), rng, 9),
                )
    elif kind == "boards":
        step = w / int(rng.integers(4, 8))
        for k in range(9):
            draw.rectangle((k * step, 0, (k + 0.97) * step, h), fill=vary(light(tone, 0.1), rng, 9))
            draw.line((k * step, 0, k * step, h), fill=dark(tone, 0.4), width=max(1, w // 160))
    else:
        for _ in range(10):
            x, y = rng.uniform(0, w), rng.uniform(0, h)
            image = glow(image, x, y, rng.uniform(0.08, 0.25) * w, pick(rng, (dark(tone, 0.2), light(tone, 0.5))), 0.3)
    return Scene(image, "wall")


def leaf(size: Size, rng: Rng) -> Scene:
    """One large leaf with its veins, over blurred green."""
    w, h = size
    green = vary(pick(rng, ((104, 158, 66), (72, 134, 84), (150, 176, 72), (180, 120, 70))), rng)
    image = gradient(size, (dark(green, 0.45), dark(green, 0.3), dark(green, 0.5)))
    for _ in range(6):
        image = glow(image, rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.06, 0.16) * w, light(green, 0.5), 0.5)
    draw = ImageDraw.Draw(image)
    slope = rng.uniform(-0.3, 0.3)
    start, end = np.array([-0.1 * w, (0.5 + slope) * h]), np.array([1.1 * w, (0.5 - slope) * h])
    paint(draw, ribbon(np.array([start, (start + end) / 2, end]), [0.5 * h, 1.05 * h, 0.35 * h]), green)
    vein = light(green, 0.3)
    paint(draw, ribbon(np.array([start, end]), [0.03 * h, 0.014 * h]), vein)
    for t in np.linspace(0.1, 0.9, 8):
        x, y = start + (end - start) * t
        for side in (-1, 1):
            path = [(x, y), (x + 0.07 * w, y + side * 0.24 * h), (x + 0.17 * w, y + side * 0.44 * h)]
            paint(draw, ribbon(path, [0.012 * h, 0.01 * h, 0.002 * h], steps=6), vein)
    return Scene(image, "wall", ambient=mix((255, 255, 255), green, 0.12))


def floor(size: Size, rng: Rng) -> Scene:
    """Sand, gravel or leaf litter seen from above."""
    tone = vary(pick(rng, ((226, 196, 146), (170, 150, 126), (150, 112, 74), (128, 146, 84), (196, 120, 84))), rng)
    image = gradient(size, (light(tone, 0.12), tone, dark(tone, 0.12)))
    w, h = size
    if rng.random() < 0.5:
        draw = ImageDraw.Draw(image)
        for y in np.arange(-0.1, 1.2, rng.uniform(0.09, 0.15)):
            xs = np.linspace(-0.05, 1.05, 8)
            path = np.stack([xs * w, (y + 0.03 * np.sin(xs * 9 + y * 7)) * h], axis=1)
            paint(draw, ribbon(path, [0.02 * h] * 8, steps=6), mix(tone, light(tone), 0.35))
    tones: tuple[Colour, ...] = (dark(tone, 0.18), light(tone, 0.28), mix(tone, (120, 130, 120), 0.4))
    specks(image, rng, -0.4, int(rng.integers(20, 60)), tones, rng.uniform(0.008, 0.022))
    return Scene(image, "wall")


PLACES: dict[str, Callable[[Size, Rng], Scene]] = {
    f.__name__: f
    for f in (
        meadow,
        farmyard,
        beach,
        desert,
        forest,
        indoors,
        lake,
        night,
        snow,
        studio,
        sky,
        underwater,
        wall,
        leaf,
        floor,
    )
}
