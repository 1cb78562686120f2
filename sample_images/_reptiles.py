"""Reptiles: turtle, snake and gecko."""

from __future__ import annotations

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
    dark,
    light,
    mix,
    oval,
    pick,
    ribbon,
    scatter,
    spline,
    vary,
)

SHELLS: tuple[tuple[Colour, Colour], ...] = (  # shell, skin
    ((122, 92, 48), (146, 156, 84)),
    ((92, 110, 62), (160, 170, 96)),
    ((150, 110, 60), (182, 160, 112)),
    ((86, 78, 60), (126, 134, 100)),
    ((70, 104, 88), (122, 168, 138)),
)


def turtle(pen: Pen, rng: Rng) -> None:
    """A turtle seen from the side, walking or drawn in."""
    shell, skin = (vary(c, rng) for c in pick(rng, SHELLS))
    stride = rng.uniform(-0.1, 0.14)
    for x, k in ((-0.42, -stride), (0.56, stride)):
        _turtle_leg(pen, rng, x, k, dark(skin, 0.25))
    pen.fill(ribbon(at("-0.72,0.66 -0.9,0.74 -1.04,0.82"), [0.16, 0.1, 0.02]), colour=skin)
    reach, rise = rng.uniform(0.0, 0.22), rng.uniform(-0.3, 0.28)
    head = (1.06 + reach, 0.36 + rise)
    neck = ribbon([(0.55, 0.6), (0.88 + reach * 0.3, 0.56 + rise * 0.3), head], [0.34, 0.26, 0.24])
    wrinkles: list[Mark] = [
        (ribbon([(x, 0.2), (x + 0.03, 0.8)], [0.012, 0.012]), dark(skin, 0.25)) for x in (0.8, 0.88, 0.96)
    ]
    pen.fill(neck, colour=skin, marks=wrinkles)
    _turtle_head(pen, rng, head, skin)
    dome = rng.uniform(0.9, 1.1)
    _turtle_shell(pen, rng, shell, float(dome))
    for x, k in ((-0.56, stride), (0.42, -stride)):
        _turtle_leg(pen, rng, x, k, skin)


def _turtle_leg(pen: Pen, rng: Rng, x: float, k: float, tone: Colour) -> None:
    shape = ribbon([(x, 0.62), (x + k * 0.5, 0.8), (x + k, 0.94)], [0.3, 0.24, 0.22])
    pen.fill(shape, colour=tone, marks=scatter(shape, rng, 0.09, (0.012, 0.025), dark(tone, 0.2)))
    for dx in (-0.05, 0.02, 0.09):
        pen.fill(oval(x + k + dx, 1.0, 0.032, 0.036), colour=light(tone, 0.5), edge=0.5)


def _turtle_head(pen: Pen, rng: Rng, neck: tuple[float, float], skin: Colour) -> None:
    with pen.moved(*neck, rng.uniform(-18, 14)):
        pen.look_at(0, 0)
        outline = blob(at("-0.16,0 -0.1,-0.16 0.08,-0.18 0.22,-0.08 0.24,0.06 0.12,0.15 -0.1,0.14"))
        pen.fill(outline, colour=skin, marks=scatter(outline, rng, 0.11, (0.008, 0.02), dark(skin, 0.18)))
        pen.line(at("0.24,0.05 0.12,0.075 0,0.04"), 0.02, dark(skin, 0.6))
        pen.eye(0.1, -0.05, 0.048, (52, 34, 22), ring=light(skin, 0.4))
        pen.fill(oval(0.21, -0.03, 0.01, 0.01), colour=dark(skin, 0.6), shade=0, edge=0)


def _turtle_shell(pen: Pen, rng: Rng, shell: Colour, dome: float) -> None:
    top = 0.66 - 0.78 * dome
    arch = [
        (-0.84, 0.66),
        (-0.76, 0.36),
        (-0.48, top + 0.14),
        (0.0, top),
        (0.46, top + 0.16),
        (0.74, 0.4),
        (0.84, 0.66),
        (0.4, 0.74),
        (-0.4, 0.74),
    ]
    seam, plate = dark(shell, 0.45), light(shell, 0.2)
    marks: list[Mark] = []
    pattern = pick(rng, ("plates", "plates", "rays"))
    for row, (y, count, w) in enumerate(((top + 0.16, 3, 0.34), (top + 0.44, 4, 0.37), (top + 0.7, 5, 0.36))):
        for k in range(count):
            x = (k - (count - 1) / 2) * w * 1.04
            lean = -x * 18
            hexagon = np.array([(np.cos(a), np.sin(a)) for a in np.radians([0, 60, 120, 180, 240, 300])])
            for r, tone in ((0.19, plate), (0.13, mix(plate, shell, 0.6)), (0.07, light(plate, 0.2))):
                shape = hexagon * (r, r * (0.78 - 0.08 * row)) + (x, y)
                marks.append((shape, tone))
            if pattern == "rays":
                for a in np.radians(np.arange(0, 360, 60) + lean):
                    ray = [(x, y), (x + 0.17 * np.cos(a), y + 0.12 * np.sin(a))]
                    marks.append((ribbon(ray, [0.035, 0.02]), (226, 190, 96)))
    pen.fill(blob(arch), colour=seam, marks=marks)
    rim = ribbon(at("-0.88,0.62 -0.5,0.72 0,0.75 0.5,0.72 0.88,0.62"), [0.1, 0.15, 0.16, 0.15, 0.1])
    ticks: list[Mark] = [
        (ribbon([(x, 0.55), (x * 1.04, 0.9)], [0.014, 0.014]), seam) for x in np.linspace(-0.8, 0.8, 10)
    ]
    pen.fill(rim, colour=light(shell, 0.12), marks=ticks)


def sea_turtle(pen: Pen, rng: Rng) -> None:
    """A turtle swimming, seen from above."""
    shell, skin = (vary(c, rng) for c in pick(rng, SHELLS[1:]))
    skin = mix(skin, (84, 140, 140), 0.25)
    flap = rng.uniform(-0.25, 0.25)
    for s in (-1, 1):
        front = ribbon([(0.42, s * 0.4), (0.5 - flap, s * 0.86), (0.05 - flap, s * 1.18)], [0.3, 0.3, 0.08])
        hind = ribbon([(-0.52, s * 0.34), (-0.84, s * 0.5), (-1.0 + flap * 0.3, s * 0.58)], [0.22, 0.2, 0.06])
        for shape in (front, hind):
            pen.fill(shape, colour=skin, marks=scatter(shape, rng, 0.11, (0.025, 0.045), dark(skin, 0.4)))
    pen.fill(ribbon([(-0.7, 0.0), (-0.96, 0.0)], [0.14, 0.02]), colour=skin)
    with pen.moved(0.86, 0.0, rng.uniform(-22, 22)):
        pen.look_at(0.1, 0)
        head = blob(at("-0.22,0.12 0,0.17 0.2,0.13 0.34,0 0.2,-0.13 0,-0.17 -0.22,-0.12"))
        pen.fill(head, colour=skin, marks=scatter(head, rng, 0.12, (0.025, 0.045), dark(skin, 0.4)))
        for s in (-1, 1):
            pen.eye(0.17, s * 0.105, 0.04, (40, 28, 24))
    seam, marks = dark(shell, 0.45), []
    turned = np.radians([0, 60, 120, 180, 240, 300])
    hexagon = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    for x in (-0.52, -0.26, 0.0, 0.26, 0.52):
        marks += _plates(hexagon, x, 0.0, 0.155, shell)
        for s in (-1, 1):
            marks += _plates(hexagon, x - 0.13, s * 0.27, 0.155, shell)
    outline = at("0.76,0 0.6,0.36 0.1,0.54 -0.5,0.42 -0.8,0 -0.5,-0.42 0.1,-0.54 0.6,-0.36")
    pen.fill(blob(np.array(outline) * (1.06, 1.1)), colour=light(shell, 0.25))
    pen.fill(blob(np.array(outline) * (0.94, 0.92)), colour=seam, marks=marks, edge=0.6)


def _plates(hexagon: Array, x: float, y: float, r: float, shell: Colour) -> list[Mark]:
    return [(hexagon * r + (x, y), light(shell, 0.1)), (hexagon * (r * 0.6) + (x, y), light(shell, 0.32))]


SNAKES: tuple[tuple[Colour, Colour, Colour], ...] = (  # back, pattern, edge of the pattern
    ((84, 150, 70), (46, 96, 52), (220, 214, 110)),
    ((206, 60, 44), (34, 30, 36), (248, 222, 120)),
    ((196, 152, 88), (116, 74, 42), (238, 212, 160)),
    ((232, 190, 66), (150, 92, 34), (252, 236, 170)),
    ((92, 116, 132), (50, 60, 78), (190, 206, 210)),
    ((120, 160, 60), (224, 216, 90), (60, 90, 40)),
)


def _snake_look(rng: Rng) -> tuple[tuple[Colour, Colour, Colour], str]:
    back, pattern, edge = pick(rng, SNAKES)
    return (vary(back, rng), vary(pattern, rng), vary(edge, rng)), pick(rng, ("bands", "diamonds", "saddles"))


def gliding_snake(pen: Pen, rng: Rng) -> None:
    """A snake seen from above, in waves or rolled up."""
    tones, pattern = _snake_look(rng)
    _snake_gliding(pen, rng, tones, pattern, rolled=rng.random() < 0.35)


def coiled_snake(pen: Pen, rng: Rng) -> None:
    """A snake on its coils, head raised."""
    tones, pattern = _snake_look(rng)
    _snake_coiled(pen, rng, tones, pattern)


def _snake_pattern(path: Array, width: float, tones: tuple[Colour, Colour, Colour], kind: str) -> list[Mark]:
    """Marks across the body at even distances along its path [N, 2]."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    marks: list[Mark] = []
    gap = width * (1.05 if kind == "bands" else 0.9)
    for place in np.arange(gap, along[-1] - gap * 0.6, gap):
        x, y = np.interp(place, along, path[:, 0]), np.interp(place, along, path[:, 1])
        dx = np.interp(place + 0.02, along, path[:, 0]) - np.interp(place - 0.02, along, path[:, 0])
        dy = np.interp(place + 0.02, along, path[:, 1]) - np.interp(place - 0.02, along, path[:, 1])
        a = float(np.degrees(np.arctan2(dy, dx)))
        for grow, tone in ((1.0, tones[2]), (0.68, tones[1])):
            if kind == "bands":
                shape = oval(0, 0, width * 0.3 * grow, width * 1.2)
            elif kind == "diamonds":
                shape = np.array(at("-0.5,0 0,-0.42 0.5,0 0,0.42")) * width * grow
            else:
                shape = blob(np.array(at("-0.36,-0.3 0,-0.2 0.36,-0.3 0.3,0.32 -0.3,0.32")) * width * grow)
            c, s = np.cos(np.radians(a)), np.sin(np.radians(a))
            marks.append((shape @ np.array([[c, s], [-s, c]]) + (x, y), tone))
    return marks


def _snake_path(rng: Rng, *, rolled: bool) -> Array:
    """The line of the body seen from above, tail first: waves, or a spiral with the head outside."""
    if rolled:
        turns = np.linspace(0.25, rng.uniform(1.9, 2.3), 60)
        radius = 0.08 + 0.36 * turns
        a = 2 * np.pi * turns + rng.uniform(0, 6.28)
        return np.stack([radius * np.cos(a), radius * np.sin(a)], axis=1)
    waves, height = rng.uniform(1.3, 2.3), rng.uniform(0.3, 0.5)
    x = np.linspace(-1.1, 0.9, 40)
    swell = height * (0.4 + 0.6 * np.sin(np.linspace(0.4, 2.6, 40)))
    y = 0.4 + swell * np.sin((x + 1.1) * waves * 3.14 + rng.uniform(0, 6.28))
    return spline(np.stack([x, y], axis=1), steps=4)


def _snake_gliding(pen: Pen, rng: Rng, tones: tuple[Colour, Colour, Colour], kind: str, *, rolled: bool) -> None:
    path, w = _snake_path(rng, rolled=rolled), rng.uniform(0.22, 0.28)
    widths = [0.02, w * 0.45, w * 0.8, w, w * 1.08, w * 1.05, w, w * 0.8, w * 0.66]
    body = ribbon(path, widths, steps=2)
    pen.fill(body, colour=tones[0], marks=_snake_pattern(path, w, tones, kind))
    end, before = path[-1], path[-3 if rolled else -8]
    angle = float(np.degrees(np.arctan2(end[1] - before[1], end[0] - before[0])))
    with pen.moved(float(end[0]), float(end[1]), angle):
        _snake_head_above(pen, rng, tones, w)


def _tongue(pen: Pen, x: float, y: float, reach: float) -> None:
    red: Colour = (206, 36, 56)
    pen.line([(x, y), (x + reach * 0.6, y + 0.02)], 0.03, red, taper=False)
    for s in (-1, 1):
        pen.line(
            [
                (x + reach * 0.58, y + 0.02),
                (x + reach * 0.8, y + 0.03 * s + 0.02),
                (x + reach, y + 0.07 * s + 0.02),
            ],
            0.024,
            red,
        )


def _snake_head_above(pen: Pen, rng: Rng, tones: tuple[Colour, Colour, Colour], w: float) -> None:
    pen.look_at(0.1, 0)
    k = w / 0.24
    if rng.random() < 0.75:
        _tongue(pen, 0.3 * k, 0.0, 0.24)
    outline = blob(np.array(at("-0.1,0.08 0.04,0.16 0.2,0.13 0.34,0 0.2,-0.13 0.04,-0.16 -0.1,-0.08")) * k)
    marks: list[Mark] = [(blob(at("-0.1,0.03 0.1,0.06 0.2,0 0.1,-0.06 -0.1,-0.03")), tones[1])]
    pen.fill(outline, colour=tones[0], marks=marks)
    for s in (-1, 1):
        pen.eye(0.15 * k, s * 0.1 * k, 0.042 * k, (250, 206, 60))


def _snake_coiled(pen: Pen, rng: Rng, tones: tuple[Colour, Colour, Colour], kind: str) -> None:
    w = rng.uniform(0.27, 0.32)
    pen.fill(ribbon(at("-0.5,0.94 -0.85,0.98 -1.12,0.9"), [w * 0.8, w * 0.5, 0.02]), colour=tones[0])
    sway = rng.uniform(-0.05, 0.05)
    for k, (rx, ry) in enumerate(((0.86, 0.3), (0.66, 0.24), (0.46, 0.18))):
        y = 0.78 - 0.25 * k
        ring = oval(sway * k, y - 0.06, rx * 0.86, ry * 0.62)
        front = np.array([p for p in np.roll(ring, -1, axis=0) if p[1] >= y - 0.07])
        order = front[np.argsort(front[:, 0])]
        marks = _snake_pattern(order + np.array([0.0, 0.1]), w, tones, kind)
        pen.fill(oval(sway * k, y, rx, ry + 0.02), colour=tones[0], marks=marks)
        pen.fill(oval(sway * k, y - 0.13, rx * 0.62, ry * 0.36), colour=dark(tones[0], 0.5), shade=0, edge=0.5)
    rise = rng.uniform(-0.08, 0.18)
    neck: Points = [(-0.05, 0.2), (-0.26, -0.05), (-0.12, -0.36 - rise), (0.14, -0.52 - rise)]
    path = spline(neck)
    pen.fill(
        ribbon(neck, [w * 0.9, w * 0.9, w * 0.82, w * 0.7]),
        colour=tones[0],
        marks=_snake_pattern(path, w, tones, kind),
    )
    with pen.moved(*neck[-1], rng.uniform(-16, 18)):
        pen.look_at(0.1, 0)
        if rng.random() < 0.8:
            _tongue(pen, 0.3, 0.06, 0.26)
        pen.fill(
            blob(at("-0.14,0.02 -0.06,-0.14 0.12,-0.16 0.3,-0.06 0.34,0.05 0.18,0.12 -0.06,0.14")),
            colour=tones[0],
        )
        pen.line(at("0.33,0.05 0.18,0.07 0.02,0.03"), 0.018, dark(tones[0], 0.6))
        pen.eye(0.12, -0.055, 0.052, (250, 206, 60))


GECKOS: tuple[tuple[Colour, Colour, Colour], ...] = (  # skin, spots, iris
    ((112, 186, 72), (222, 84, 52), (236, 180, 60)),
    ((240, 200, 86), (84, 58, 44), (196, 140, 60)),
    ((224, 128, 62), (250, 214, 150), (240, 200, 90)),
    ((124, 160, 176), (228, 110, 60), (232, 200, 70)),
    ((168, 148, 120), (96, 78, 64), (214, 170, 80)),
    ((70, 170, 130), (240, 224, 110), (240, 150, 50)),
)


def gecko(pen: Pen, rng: Rng) -> None:
    """A gecko seen from above, its toes spread; the picture turns it any way."""
    colours = pick(rng, GECKOS)
    skin, spot, iris = vary(colours[0], rng), vary(colours[1], rng), colours[2]
    bend, curl = rng.uniform(-0.22, 0.22), rng.uniform(-0.7, 0.7)
    gait = rng.uniform(-0.14, 0.14)
    for s in (-1, 1):
        _gecko_leg(
            pen,
            (0.4, s * 0.1 + bend * 0.3),
            (0.46 + s * gait, s * 0.42),
            (0.72 + s * gait, s * 0.56),
            skin,
            s,
        )
        _gecko_leg(pen, (-0.3, s * 0.12), (-0.2 - s * gait, s * 0.46), (-0.46 - s * gait, s * 0.64), skin, s)
    spine: Points = [(0.66, bend), (0.42, bend * 0.4), (0.05, -bend * 0.3), (-0.34, 0.0), (-0.62, bend * 0.3)]
    tail: Points = [
        (-0.92, bend * 0.4 + curl * 0.15),
        (-1.2, curl * 0.45),
        (-1.36, curl * 0.95),
        (-1.22 - abs(curl) * 0.1, curl * 1.3),
    ]
    body = ribbon([*spine, *tail], [0.2, 0.22, 0.36, 0.25, 0.2, 0.22, 0.16, 0.09, 0.03])
    marks = scatter(body, rng, rng.uniform(0.11, 0.17), (0.018, 0.042), spot)
    if rng.random() < 0.4:
        marks += [(ribbon([*spine, *tail], [0.03] * 9), light(skin, 0.45))]
    pen.fill(body, colour=skin, marks=marks)
    with pen.moved(0.66, bend, float(np.degrees(np.arctan2(bend * 0.6, 0.24))) * 0.8 + rng.uniform(-10, 10)):
        pen.look_at(0.1, 0)
        head = blob(at("-0.12,0.1 0.02,0.2 0.2,0.18 0.4,0.08 0.44,0 0.4,-0.08 0.2,-0.18 0.02,-0.2 -0.12,-0.1"))
        pen.fill(head, colour=skin, marks=scatter(head, rng, 0.12, (0.012, 0.026), spot))
        for s in (-1, 1):
            pen.eye(0.16, s * 0.155, 0.072, iris, ring=light(skin, 0.3))
            pen.fill(oval(0.38, s * 0.03, 0.011, 0.009), colour=dark(skin, 0.5), shade=0, edge=0)
        pen.line(at("0.28,0.15 0.42,0.06 0.445,0 0.42,-0.06 0.28,-0.15"), 0.014, dark(skin, 0.4))


def _gecko_leg(
    pen: Pen,
    hip: tuple[float, float],
    knee: tuple[float, float],
    foot: tuple[float, float],
    skin: Colour,
    side: int,
) -> None:
    pen.fill(ribbon([hip, knee, foot], [0.17, 0.12, 0.09]), colour=skin, edge=0.8)
    out = np.degrees(np.arctan2(foot[1] - knee[1], foot[0] - knee[0]))
    for spread in (-75, -38, 0, 38, 75):
        a = np.radians(out + spread)
        tip = (foot[0] + 0.15 * np.cos(a), foot[1] + 0.15 * np.sin(a))
        pen.fill(ribbon([foot, tip], [0.05, 0.035]), colour=skin, shade=0, edge=0.6)
        pen.fill(oval(*tip, 0.038, 0.038), colour=light(skin, 0.25), shade=0.5, edge=0.6)
    pen.fill(oval(*foot, 0.06, 0.055), colour=skin, shade=0, edge=0)
