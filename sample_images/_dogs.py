"""Dogs: one skeleton, standing or sitting, with the build and the coat of each breed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _canvas import (
    Array,
    Colour,
    Mark,
    Pen,
    Points,
    Rng,
    at,
    blob,
    cloud,
    dark,
    light,
    mix,
    oval,
    pick,
    ribbon,
    scatter,
    vary,
)

NOSE: Colour = (46, 36, 40)
COLLARS: tuple[Colour, ...] = ((206, 44, 48), (48, 104, 186), (60, 150, 92), (240, 180, 40), (150, 70, 160))
Marker = Callable[[Array], list[Mark]]


@dataclass(frozen=True, slots=True)
class Build:
    """The proportions of a breed, in animal units."""

    length: float
    legs: float
    girth: float
    snout: float
    limb: float = 1.0


@dataclass(frozen=True, slots=True)
class Coat:
    """The colours of one dog: marks(outline) returns what is painted onto each part."""

    base: Colour
    legs: Colour
    muzzle: Colour
    ear: Colour
    marks: Marker


def dalmatian(pen: Pen, rng: Rng) -> None:
    """A white dog with dark spots."""
    base = vary((248, 246, 242), rng, 5)
    spot: Colour = vary(pick(rng, ((30, 28, 34), (30, 28, 34), (92, 54, 36))), rng, 8)
    step, big = rng.uniform(0.105, 0.15), rng.uniform(0.03, 0.045)
    coat = Coat(base, base, base, spot, lambda shape: scatter(shape, rng, step, (0.008, big), spot))
    build = Build(length=0.5, legs=0.68, girth=0.5, snout=0.2)
    _dog(pen, rng, build, coat, sitting=rng.random() < 0.4)


def dachshund(pen: Pen, rng: Rng) -> None:
    """A long low dog, brown, or black with tan."""
    kind = pick(rng, ("red", "red", "black", "chocolate"))
    base = vary({"red": (172, 92, 42), "black": (48, 42, 46), "chocolate": (98, 58, 40)}[kind], rng)
    tan = vary((204, 130, 66), rng, 10)
    points = light(base, 0.12) if kind == "red" else tan
    coat = Coat(base, points, points, dark(base, 0.25), lambda shape: [])
    build = Build(length=0.84, legs=0.3, girth=0.48, snout=0.3, limb=1.2)
    _dog(pen, rng, build, coat, sitting=rng.random() < 0.18)


def _dog(pen: Pen, rng: Rng, build: Build, coat: Coat, *, sitting: bool) -> None:
    body = _sitting_body if sitting else _standing_body
    head = body(pen, rng, build, coat)
    with pen.moved(*head, rng.uniform(-16, 16)):
        _dog_head(pen, rng, build, coat)


def _paw(pen: Pen, coat: Coat, foot: tuple[float, float], *, far: bool) -> None:
    tone = dark(coat.legs, 0.22) if far else coat.legs
    pen.fill(oval(foot[0] + 0.05, foot[1] + 0.01, 0.11, 0.055), colour=tone, edge=0.8)
    if not far:
        for dx in (0.07, 0.12):
            pen.line([(foot[0] + dx, foot[1]), (foot[0] + dx + 0.01, foot[1] + 0.05)], 0.014, dark(tone, 0.5))


def _leg(pen: Pen, coat: Coat, path: Points, widths: list[float], *, far: bool) -> None:
    _paw(pen, coat, path[-1], far=far)
    shape = ribbon(path, widths)
    pen.fill(shape, colour=dark(coat.legs, 0.22) if far else coat.legs, marks=coat.marks(shape), edge=0.8)


def _leg_paths(b: Build, stride: float, *, far: bool) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The paths of the front and the hind leg of one side, from hip to foot."""
    hy, x = 1 - b.legs - b.girth / 2, b.length
    k = -stride if far else stride
    shift = 0.12 if far else 0.0
    knee = hy + 0.5 * (0.94 - hy)
    f, h = x * 0.76 + shift, -x + shift
    front = [(f, hy), (f + k * 0.4, knee), (f + k, 0.94)]
    hind = [
        (h + 0.1 * x, hy),
        (h + 0.2 * x - k * 0.2, knee),
        (h - 0.03 - k, 0.94 - 0.3 * b.legs),
        (h + 0.02 - k, 0.94),
    ]
    return front, hind


def _leg_shapes(b: Build, stride: float, *, far: bool) -> tuple[Array, Array]:
    front, hind = _leg_paths(b, stride, far=far)
    g, w = b.girth, 0.16 * b.limb
    return ribbon(front, [g * 0.5, w * 1.2, w * 0.92]), ribbon(hind, [g * 0.8, g * 0.5, w * 0.85, w * 0.85])


def _standing_body(pen: Pen, rng: Rng, b: Build, coat: Coat) -> tuple[float, float]:
    hy, g, x = 1 - b.legs - b.girth / 2, b.girth, b.length
    stride = rng.uniform(-0.16, 0.16) * min(1.0, b.legs * 1.8)
    for path, shape in zip(_leg_paths(b, stride, far=True), _leg_shapes(b, stride, far=True), strict=True):
        _paw(pen, coat, path[-1], far=True)
        pen.fill(shape, colour=dark(coat.legs, 0.22), marks=coat.marks(shape), edge=0.8)
    wag = rng.uniform(-0.45, 0.3)
    tail = ribbon(
        [(-x * 0.95, hy - 0.24 * g), (-x - 0.22, hy - 0.3 * g + wag * 0.3), (-x - 0.42, hy - 0.2 + wag)],
        [0.13, 0.09, 0.03],
    )
    pen.fill(tail, colour=coat.base, marks=coat.marks(tail))
    top: Points = [
        (-x - 0.12, hy - 0.2 * g),
        (-x * 0.6, hy - 0.46 * g),
        (x * 0.4, hy - 0.44 * g),
        (x + 0.02, hy - 0.46 * g),
    ]
    low: Points = [
        (x + 0.2, hy - 0.02),
        (x * 0.82, hy + 0.56 * g),
        (0.0, hy + 0.4 * g),
        (-x * 0.55, hy + 0.22 * g),
        (-x - 0.12, hy + 0.2 * g),
    ]
    rise = rng.uniform(-0.1, 0.14)
    head = (x + 0.3 - rise * 0.4, hy - 0.52 - rise)
    throat = (x + 0.12, hy - 0.3 - rise * 0.4)
    body = blob([*top, *low])
    neck = ribbon([(x * 0.84, hy - 0.02 * g), throat, (head[0] - 0.02, head[1] + 0.02)], [g * 0.85, 0.29, 0.25])
    legs = _leg_shapes(b, stride, far=False)
    for path in _leg_paths(b, stride, far=False):
        _paw(pen, coat, path[-1], far=False)
    marks: list[Mark] = [(leg, coat.legs) for leg in legs] + [(body, coat.base), (neck, coat.base)]
    marks.append((oval(x + 0.16, hy + 0.25 * g, 0.12, 0.2), mix(coat.base, coat.muzzle, 0.9)))
    whole = np.vstack([body, neck, *legs])
    pen.fill(body, neck, *legs, colour=coat.base, marks=marks + coat.marks(whole))
    elbow = x * 0.76 - g * 0.24
    pen.line(
        [(elbow, hy + 0.05 * g), (elbow - 0.01, hy + 0.3 * g), (elbow + 0.06, hy + 0.5 * g)],
        0.014,
        dark(coat.base, 0.4),
    )
    pen.line(
        [(-x * 0.58, hy - 0.1 * g), (-x * 0.5, hy + 0.2 * g), (-x * 0.62, hy + 0.5 * g)],
        0.014,
        dark(coat.base, 0.4),
    )
    _collar(pen, rng, throat, head, 0.29)
    return head


def _sitting_body(pen: Pen, rng: Rng, b: Build, coat: Coat) -> tuple[float, float]:
    wag = rng.uniform(-0.3, 0.05)
    tail = ribbon([(-0.42, 0.84), (-0.68, 0.9 + wag * 0.4), (-0.88, 0.84 + wag)], [0.13, 0.1, 0.03])
    pen.fill(tail, colour=coat.base, marks=coat.marks(tail))
    _leg(pen, coat, at("0.26,0.1 0.34,0.5 0.36,0.94"), [0.24, 0.16, 0.14], far=True)
    outline = at("0.1,-0.5 0.32,-0.26 0.42,0.1 0.32,0.5 0.1,0.9 -0.36,0.96 -0.56,0.72 -0.44,0.3 -0.22,-0.1 -0.1,-0.4")
    body = blob(outline)
    marks: list[Mark] = [(oval(0.4, 0.1, 0.14, 0.34, 8), mix(coat.base, coat.muzzle, 0.9))]
    pen.fill(body, colour=coat.base, marks=marks + coat.marks(body))
    _leg(pen, coat, at("0.2,0.16 0.24,0.52 0.22,0.94"), [0.2, 0.18, 0.15], far=False)
    thigh = blob(at("-0.3,0.4 -0.02,0.52 0.04,0.78 -0.1,0.96 -0.4,0.96 -0.52,0.72"))
    foot = ribbon([(-0.24, 0.95), (0.0, 0.95)], [0.13, 0.12])
    pen.fill(foot, colour=coat.legs, edge=0.8)
    pen.fill(thigh, colour=coat.base, marks=coat.marks(thigh), edge=0.8)
    head = (0.2 + rng.uniform(-0.04, 0.05), -0.66 + rng.uniform(-0.05, 0.04))
    neck = ribbon([(0.06, -0.2), (0.12, -0.42), head], [0.42, 0.3, 0.27])
    pen.fill(neck, colour=coat.base, marks=coat.marks(neck), edge=0)
    _collar(pen, rng, (0.08, -0.32), head, 0.34)
    return head


def _collar(pen: Pen, rng: Rng, low: tuple[float, float], high: tuple[float, float], width: float) -> None:
    if rng.random() < 0.35:
        return
    tone = vary(pick(rng, COLLARS), rng)
    along = np.subtract(high, low)
    along = along / np.linalg.norm(along)
    x, y = np.add(low, along * 0.02)
    across = np.array([-along[1], along[0]]) * width * 0.52
    a, c = (x - across[0], y - across[1]), (x + across[0], y + across[1])
    sag = (x - along[0] * 0.05, y - along[1] * 0.05)
    pen.fill(ribbon([a, sag, c], [0.065, 0.07, 0.065]), colour=tone, edge=0.7)
    tag = max((a, c), key=lambda p: p[0])
    pen.fill(oval(tag[0] - 0.03, tag[1] + 0.07, 0.045, 0.05), colour=(244, 204, 84), edge=0.6)


def _dog_head(pen: Pen, rng: Rng, b: Build, coat: Coat) -> None:
    pen.look_at(0.1, 0.0)
    s = b.snout
    ear_length = rng.uniform(0.34, 0.42)
    swing = rng.uniform(-0.05, 0.08)
    if rng.random() < 0.4:
        tongue = [(0.16 + s * 0.5, 0.1), (0.19 + s * 0.6, 0.2), (0.17 + s * 0.6, 0.26)]
        pen.fill(ribbon(tongue, [0.07, 0.08, 0.06]), colour=(236, 120, 130), edge=0.6)
    skull: Points = [
        (-0.22, 0.0),
        (-0.16, -0.18),
        (0.0, -0.25),
        (0.14, -0.18),
        (0.22, -0.1),
        (0.2 + s * 0.7, -0.07),
    ]
    jaw: Points = [(0.24 + s, -0.02), (0.23 + s, 0.07), (0.15 + s * 0.5, 0.13), (0.06, 0.18), (-0.12, 0.18)]
    outline = blob([*skull, *jaw])
    marks: list[Mark] = [
        (oval(0.26 + s * 0.6, 0.1, 0.13 + s * 0.5, 0.13, -6), coat.muzzle),
        (oval(0.1, -0.15, 0.04, 0.028), coat.muzzle),
    ]
    pen.fill(outline, colour=coat.base, marks=marks + coat.marks(outline))
    pen.line([(0.24 + s, 0.06), (0.14 + s * 0.6, 0.075), (0.14, 0.06)], 0.02, dark(coat.muzzle, 0.6))
    pen.fill(oval(0.23 + s, -0.035, 0.058, 0.05, 15), colour=NOSE, shade=0.6, edge=0.5)
    pen.fill(oval(0.215 + s, -0.055, 0.016, 0.01), colour=(200, 196, 204), shade=0, edge=0)
    pen.eye(0.1, -0.07, 0.048, (74, 42, 24))
    ear = [(-0.12, -0.16), (-0.16 - swing, -0.16 + ear_length * 0.5), (-0.1 - swing, -0.16 + ear_length)]
    shape = ribbon(ear, [0.16, 0.24, 0.15])
    pen.fill(shape, colour=coat.ear)


POODLES: tuple[Colour, ...] = (
    (246, 242, 236),
    (224, 172, 120),
    (58, 54, 62),
    (150, 148, 156),
    (132, 88, 62),
    (244, 206, 176),
)


def poodle(pen: Pen, rng: Rng) -> None:
    """A poodle in show trim: bare legs between pompons of curls."""
    fur = vary(pick(rng, POODLES), rng, 9)
    skin = mix(fur, (214, 160, 146), 0.22) if sum(fur) > 300 else light(fur, 0.12)
    build = Build(length=0.42, legs=0.74, girth=0.34, snout=0.26, limb=0.85)
    sitting = rng.random() < 0.35
    bare = Coat(skin, skin, skin, fur, lambda shape: [])
    body = _poodle_sitting if sitting else _poodle_standing
    head = body(pen, rng, fur, build, bare)
    with pen.moved(*head, rng.uniform(-14, 10)):
        _poodle_head(pen, rng, build, fur, skin)


def _curls(pen: Pen, rng: Rng, x: float, y: float, rx: float, ry: float, fur: Colour) -> None:
    """A pompon: a scalloped outline with little hooks of lighter and darker fur."""
    marks: list[Mark] = []
    for _ in range(int(18 * (rx + ry) / 0.5)):
        a, r = rng.uniform(0, 6.28), np.sqrt(rng.uniform(0, 0.85))
        cx, cy, s = x + rx * r * np.cos(a), y + ry * r * np.sin(a), rng.uniform(0.022, 0.036)
        hook = [
            (cx - s, cy + s * 0.3),
            (cx - s * 0.4, cy - s),
            (cx + s, cy - s * 0.3),
            (cx + s * 0.4, cy + s * 0.7),
        ]
        marks.append(
            (
                ribbon(hook, [0.008, 0.014, 0.014, 0.006], steps=6),
                pick(rng, (dark(fur, 0.2), dark(fur, 0.12), light(fur, 0.45))),
            )
        )
    pen.fill(cloud(x, y, rx, ry, max(7, int(24 * (rx + ry))), rng), colour=fur, marks=marks, edge=0.9)


def _poodle_standing(pen: Pen, rng: Rng, fur: Colour, b: Build, bare: Coat) -> tuple[float, float]:
    hy, x, g = 1 - b.legs - b.girth / 2, b.length, b.girth
    stride = rng.uniform(-0.12, 0.12)
    lift = rng.uniform(-0.06, 0.1)
    tip = (-x - 0.3, hy - 0.5 - lift)
    pen.fill(
        ribbon([(-x * 0.9, hy - 0.1), (-x - 0.14, hy - 0.3), tip], [0.08, 0.06, 0.06]),
        colour=bare.base,
        edge=0.8,
    )
    _curls(pen, rng, *tip, 0.15, 0.15, fur)
    for far in (True, False):
        tone = dark(fur, 0.16) if far else fur
        if not far:
            top: Points = [(-x - 0.1, hy - 0.3 * g), (0.0, hy - 0.45 * g), (x, hy - 0.45 * g), (x + 0.12, hy)]
            pen.fill(
                blob([*top, (x * 0.7, hy + 0.5 * g), (0.0, hy + 0.3 * g), (-x * 0.8, hy + 0.35 * g)]),
                colour=bare.base,
            )
        front, hind = _leg_paths(b, stride, far=far)
        for path, shape in zip((front, hind), _leg_shapes(b, stride, far=far), strict=True):
            _paw(pen, bare, path[-1], far=far)
            pen.fill(shape, colour=dark(bare.legs, 0.2) if far else bare.legs, edge=0.8)
            _curls(pen, rng, path[-1][0], 0.82, 0.13, 0.13, tone)
    _curls(pen, rng, -x * 0.92, hy + 0.05, 0.24, 0.23, fur)
    rise = rng.uniform(-0.04, 0.08)
    head = (x + 0.16, hy - 0.66 - rise)
    pen.fill(ribbon([(x * 0.8, hy), head], [0.3, 0.22]), colour=fur, edge=0.9)
    _curls(pen, rng, x * 0.78, hy - 0.02, 0.34, 0.34, fur)
    _curls(pen, rng, x * 0.92, hy - 0.3, 0.24, 0.24, fur)
    return head


def _poodle_sitting(pen: Pen, rng: Rng, fur: Colour, _: Build, bare: Coat) -> tuple[float, float]:
    wag = rng.uniform(-0.2, 0.1)
    pen.fill(
        ribbon([(-0.36, 0.8), (-0.6, 0.74 + wag), (-0.68, 0.56 + wag)], [0.08, 0.06, 0.06]),
        colour=bare.base,
        edge=0.8,
    )
    _curls(pen, rng, -0.7, 0.48 + wag, 0.15, 0.15, fur)
    _leg(pen, bare, at("0.22,0.2 0.32,0.6 0.34,0.94"), [0.14, 0.12, 0.1], far=True)
    _curls(pen, rng, 0.34, 0.8, 0.13, 0.13, dark(fur, 0.16))
    pen.fill(blob(at("0,-0.3 0.24,0 0.22,0.5 0.05,0.9 -0.34,0.95 -0.5,0.7 -0.34,0.2")), colour=bare.base)
    _leg(pen, bare, at("0.14,0.2 0.18,0.6 0.17,0.94"), [0.16, 0.13, 0.11], far=False)
    _curls(pen, rng, 0.18, 0.8, 0.14, 0.14, fur)
    pen.fill(ribbon([(-0.3, 0.95), (0.0, 0.95)], [0.12, 0.11]), colour=bare.legs, edge=0.8)
    _curls(pen, rng, -0.26, 0.76, 0.27, 0.22, fur)
    _curls(pen, rng, 0.06, 0.1, 0.36, 0.38, fur)
    _curls(pen, rng, 0.1, -0.24, 0.27, 0.26, fur)
    return 0.17 + float(rng.uniform(-0.03, 0.05)), -0.62


def _poodle_head(pen: Pen, rng: Rng, b: Build, fur: Colour, skin: Colour) -> None:
    pen.look_at(0.1, -0.05)
    s = b.snout
    _curls(pen, rng, -0.2, 0.08, 0.14, 0.26, dark(fur, 0.14))
    face: Points = [
        (-0.16, 0.0),
        (-0.1, -0.2),
        (0.1, -0.18),
        (0.2, -0.09),
        (0.2 + s * 0.7, -0.05),
        (0.24 + s, 0.0),
    ]
    pen.fill(blob([*face, (0.22 + s, 0.07), (0.15 + s * 0.5, 0.1), (0.04, 0.16), (-0.12, 0.14)]), colour=skin)
    pen.line([(0.23 + s, 0.05), (0.15 + s * 0.6, 0.06), (0.16, 0.04)], 0.018, dark(skin, 0.55))
    pen.fill(oval(0.23 + s, -0.02, 0.05, 0.044, 15), colour=NOSE, shade=0.6, edge=0.5)
    pen.eye(0.1, -0.06, 0.046, (58, 34, 26))
    _curls(pen, rng, -0.03, -0.27, 0.25, 0.21, fur)
    _curls(pen, rng, -0.17, 0.08, 0.14, 0.28, fur)
    if rng.random() < 0.3:
        bow = vary(pick(rng, COLLARS), rng)
        for side in (-1, 1):
            x = -0.17 + side * 0.11
            pen.fill(blob([(-0.17, -0.17), (x, -0.25), (x, -0.09)]), colour=bow, edge=0.7)
        pen.fill(oval(-0.17, -0.17, 0.03, 0.03), colour=light(bow, 0.2), edge=0.6)
