"""Birds: rooster, owl, flamingo, and the penguin that only the inbox shows."""

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
    turn,
    vary,
)

ROOSTERS: tuple[tuple[Colour, Colour, Colour], ...] = (  # body, neck, tail
    ((168, 72, 32), (226, 142, 44), (28, 84, 72)),
    ((238, 232, 218), (250, 240, 214), (226, 218, 204)),
    ((54, 50, 62), (150, 66, 34), (36, 74, 92)),
    ((198, 120, 52), (240, 190, 92), (60, 56, 74)),
    ((120, 52, 34), (214, 108, 36), (38, 62, 48)),
)
RED: Colour = (212, 38, 40)
HORN: Colour = (240, 176, 54)


def rooster(pen: Pen, rng: Rng) -> None:
    """A rooster standing, crowing or pecking."""
    body, neck, tail = (vary(c, rng) for c in pick(rng, ROOSTERS))
    pose = pick(rng, ("stand", "stand", "crow", "peck"))
    tilt = {"stand": rng.uniform(-4, 6), "crow": rng.uniform(-14, -6), "peck": rng.uniform(18, 26)}[pose]
    stride = rng.uniform(0.02, 0.16)
    for x, tone in ((0.02 - stride, dark(HORN, 0.2)), (0.1 + stride, HORN)):
        _rooster_leg(pen, 0.06, x, tone)
    with pen.moved(0.0, 0.15, tilt):
        _rooster_tail(pen, rng, tail)
        marks: list[Mark] = [(oval(-0.35, 0.3, 0.5, 0.2, 20), dark(body, 0.2))]
        torso: Points = at("0.4,-0.34 0.56,-0.08 0.46,0.24 0.14,0.42 -0.26,0.34 -0.54,0.02 -0.5,-0.22")
        pen.fill(blob([*torso, (-0.2, -0.2), (0.12, -0.3)]), colour=body, marks=marks)
        _rooster_wing(pen, rng, dark(body, 0.18), tail)
    lift = {"stand": rng.uniform(-0.08, 0.06), "crow": -0.12, "peck": 0.0}[pose]
    if pose == "peck":
        head, mid, angle = (0.84, 0.5), (0.62, 0.12), rng.uniform(30, 55)
    else:
        head, mid = (0.52 + rng.uniform(-0.05, 0.08), -0.52 + lift), (0.47, -0.22)
        angle = rng.uniform(-42, -28) if pose == "crow" else rng.uniform(-6, 8)
    hackle = [(0.22, 0.12), mid, head]
    strands: list[Mark] = []
    for k in np.linspace(-0.2, 0.2, 6):
        strand = [(0.16 + k * 1.5, 0.3 - abs(k)), (mid[0] + k * 0.6, mid[1]), (head[0] + k * 0.3, head[1])]
        strands.append((ribbon(strand, [0.03, 0.02, 0.01]), pick(rng, (dark(neck, 0.25), light(neck, 0.3)))))
    pen.fill(ribbon(hackle, [0.66, 0.42, 0.26]), colour=neck, marks=strands)
    with pen.moved(*head, angle):
        _rooster_head(pen, rng, neck, crowing=pose == "crow")


def _rooster_leg(pen: Pen, hip: float, foot: float, tone: Colour) -> None:
    pen.fill(ribbon([(foot - 0.16, 0.98), (foot, 0.93)], [0.035, 0.05]), colour=tone, edge=0.7)
    for dx, y in ((0.2, 0.96), (0.17, 1.0), (0.07, 1.02)):
        pen.fill(
            ribbon([(foot, 0.93), (foot + dx * 0.6, y - 0.03), (foot + dx, y)], [0.05, 0.05, 0.02]),
            colour=tone,
            edge=0.7,
        )
    pen.fill(
        ribbon([(hip, 0.4), ((hip + foot) / 2 - 0.03, 0.66), (foot, 0.94)], [0.16, 0.065, 0.055]),
        colour=tone,
        edge=0.7,
    )


def _rooster_tail(pen: Pen, rng: Rng, tone: Colour) -> None:
    droop, size = rng.uniform(-0.1, 0.15), rng.uniform(0.9, 1.12)
    with pen.moved(-0.34, -0.02, 0, float(size)):
        for t in np.linspace(1, 0, 8):
            path = [(0.06, 0.04), (-0.06 - 0.12 * t, -0.36 + 0.32 * t), (-0.3 - 0.28 * t, -0.74 + 0.62 * t)]
            path += [
                (-0.62 - 0.12 * t, -0.66 + 0.76 * t + droop * 0.5),
                (-0.78 - 0.06 * t, -0.3 + 0.6 * t + droop),
            ]
            feather = vary(mix(tone, light(tone, 0.5), float(rng.uniform(0, 0.45))), rng, 8)
            pen.fill(ribbon(path, [0.1, 0.17, 0.19, 0.14, 0.02]), colour=feather, edge=0.8)


def _rooster_wing(pen: Pen, rng: Rng, tone: Colour, tip: Colour) -> None:
    marks: list[Mark] = []
    for k in range(5):
        y = -0.06 + 0.075 * k
        curve = [(0.2 - 0.05 * k, y), (-0.1, y + 0.05), (-0.44, y - 0.02)]
        marks.append((ribbon(curve, [0.02, 0.025, 0.015]), dark(tone, 0.35)))
    marks.insert(0, (blob(at("-0.16,-0.3 -0.24,0 -0.16,0.4 -0.7,0.4 -0.7,-0.3")), mix(tone, tip, 0.7)))
    drop = rng.uniform(-0.03, 0.06)
    outline = [
        (0.26, -0.06),
        (0.2, 0.12),
        (-0.08, 0.24 + drop),
        (-0.5, 0.14 + drop),
        (-0.34, -0.02),
        (0.02, -0.16),
    ]
    pen.fill(blob(outline), colour=tone, marks=marks, edge=0.8)


def _rooster_head(pen: Pen, rng: Rng, tone: Colour, *, crowing: bool) -> None:
    pen.look_at(0.0, 0.1)
    size = rng.uniform(0.9, 1.2)
    comb = at("-0.16,-0.02 -0.2,-0.2 -0.12,-0.13 -0.09,-0.3 -0.02,-0.17 0.04,-0.31 0.08,-0.17")
    comb += at("0.16,-0.24 0.17,-0.1 0.19,0 0,0.03")
    pen.fill(blob([(x * size, y * size) for x, y in comb]), colour=RED)
    pen.fill(oval(0.0, 0.0, 0.16, 0.145), colour=tone)
    for x, r in ((0.07, 0.06), (0.13, 0.07)):
        pen.fill(blob([(x, 0.06), (x + r, 0.16), (x + r * 0.4, 0.3 * size), (x - r, 0.17)]), colour=RED, edge=0.8)
    gape = 0.07 if crowing else 0.012
    pen.fill(
        blob([(0.12, 0.03 + gape), (0.2, 0.05 + gape), (0.28, 0.06 + gape * 2.2), (0.13, 0.08 + gape)]),
        colour=dark(HORN, 0.1),
    )
    pen.fill(
        blob([(0.11, -0.05), (0.22, -0.04), (0.32, 0.04 - gape), (0.2, 0.03), (0.11, 0.05)]),
        colour=HORN,
        edge=0.8,
    )
    pen.fill(
        blob(at("-0.04,-0.08 0.1,-0.08 0.14,0.02 0.06,0.1 -0.05,0.06")),
        colour=mix(RED, (255, 190, 170), 0.25),
        edge=0,
    )
    pen.eye(0.04, -0.01, 0.045, (236, 140, 30))


OWLS: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (  # body, belly, face, iris
    ((122, 84, 54), (206, 168, 120), (214, 182, 140), (246, 164, 28)),
    ((132, 128, 126), (208, 204, 198), (196, 190, 186), (250, 206, 40)),
    ((244, 242, 240), (252, 251, 248), (255, 254, 250), (252, 200, 30)),
    ((204, 150, 82), (252, 238, 214), (255, 250, 240), (52, 30, 22)),
    ((150, 76, 42), (222, 160, 104), (220, 150, 96), (250, 190, 40)),
    ((92, 74, 78), (168, 148, 140), (180, 158, 148), (248, 130, 30)),
)


def perched_owl(pen: Pen, rng: Rng) -> None:
    """An owl on a branch, its wings folded or spread."""
    _branch(pen, rng)
    _owl(pen, rng, spread=rng.random() < 0.28)


def standing_owl(pen: Pen, rng: Rng) -> None:
    """An owl on the ground."""
    _owl(pen, rng, spread=False)


def _owl(pen: Pen, rng: Rng, *, spread: bool) -> None:
    coat, belly, face, iris = pick(rng, OWLS)
    coat, belly, face = vary(coat, rng), vary(belly, rng, 6), vary(face, rng, 5)
    lean = rng.uniform(-7, 7)
    tall = rng.uniform(0.9, 1.08)
    with pen.moved(0.0, 0.95, lean), pen.moved(0.0, -0.95):
        pen.fill(blob(at("-0.2,0.6 -0.17,1.1 0,1.2 0.17,1.1 0.2,0.6")), colour=dark(coat, 0.2))
        if spread:
            _owl_spread(pen, rng, coat)
        _owl_body(pen, rng, coat, belly, tall, folded=not spread)
        _owl_feet(pen)
        turned = rng.uniform(-0.07, 0.07)
        with pen.moved(turned * 0.5, 0.32 - 0.78 * tall, rng.uniform(-16, 16)):
            _owl_head(pen, rng, (coat, face, iris), turned)


def _branch(pen: Pen, rng: Rng) -> None:
    bark = vary((104, 74, 52), rng, 14)
    slope = rng.uniform(-0.12, 0.12)
    path = [
        (-6.0, 1.05 - 5 * slope),
        (-1.0, 1.03 - slope),
        (0.0, 1.0),
        (1.2, 1.03 + slope),
        (6.0, 1.0 + 5 * slope),
    ]
    marks: list[Mark] = []
    for _ in range(40):
        x, y = rng.uniform(-5, 5), rng.uniform(0.9, 1.12)
        marks.append((ribbon([(x, y + slope * x), (x + 0.3, y + slope * x + 0.01)], [0.012, 0.02]), dark(bark, 0.3)))
    pen.fill(ribbon(path, [0.2, 0.18, 0.16, 0.17, 0.2]), colour=bark, marks=marks, framed=False)
    for x, up in ((rng.uniform(0.8, 1.3), -1), (rng.uniform(-1.4, -0.8), 1)):
        green = vary(pick(rng, ((96, 132, 58), (74, 120, 70), (186, 120, 44))), rng)
        for k in range(3):
            with pen.moved(x + k * 0.1, 1.0 + slope * x, up * (30 + 45 * k)):
                leaf = blob(at("0.02,0 0.15,-0.07 0.34,0 0.15,0.08"))
                pen.fill(
                    leaf,
                    colour=green,
                    marks=[(ribbon([(0, 0), (0.3, 0)], [0.01, 0.01]), dark(green))],
                    framed=False,
                    edge=0.6,
                )


def _owl_spread(pen: Pen, rng: Rng, tone: Colour) -> None:
    lift = rng.uniform(-0.2, 0.15)
    for side in (-1, 1):
        for k in range(7):
            a = np.radians(-25 + 21 * k)
            reach = 1.15 - 0.07 * k
            tip = (side * (0.3 + reach * np.cos(a) * 0.95), 0.0 + lift * np.cos(a) + reach * np.sin(a) * 0.62)
            root = (side * 0.25, -0.02 + 0.04 * k)
            mid = ((root[0] + tip[0]) / 2, (root[1] + tip[1]) / 2 - 0.05)
            bars: list[Mark] = []
            for f in (0.45, 0.65, 0.85):
                bx, by = root[0] + f * (tip[0] - root[0]), root[1] + f * (tip[1] - root[1])
                bars.append((oval(bx, by, 0.05, 0.12, np.degrees(a) * side), dark(tone, 0.3)))
            pen.fill(
                ribbon([root, mid, tip], [0.2, 0.26, 0.14]),
                colour=mix(tone, light(tone), 0.1 * (k % 3)),
                marks=bars,
                edge=0.8,
            )
        cover = [(side * x, y + lift * 0.5) for x, y in at("0.2,-0.25 0.65,-0.3 0.85,-0.12 0.6,0.12 0.2,0.3")]
        pen.fill(blob(cover), colour=light(tone, 0.12), edge=0.8)


def _owl_body(pen: Pen, rng: Rng, coat: Colour, belly: Colour, tall: float, *, folded: bool) -> None:
    top = 0.95 - 1.35 * tall
    body = blob(
        [
            (0, top),
            (0.36, top + 0.12),
            (0.52, 0.25),
            (0.42, 0.75),
            (0.18, 0.97),
            (-0.18, 0.97),
            (-0.42, 0.75),
            (-0.52, 0.25),
            (-0.36, top + 0.12),
        ]
    )
    bib = blob(
        [
            (0, top + 0.1),
            (0.28, 0.0),
            (0.36, 0.4),
            (0.24, 0.82),
            (0, 0.94),
            (-0.24, 0.82),
            (-0.36, 0.4),
            (-0.28, 0.0),
        ]
    )
    marks: list[Mark] = [(bib, belly)]
    fleck = mix(belly, coat if sum(coat) < 600 else (90, 84, 90), 0.75)
    step = rng.uniform(0.1, 0.14)
    for row, y in enumerate(np.arange(0.1, 0.9, step)):
        for x in np.arange(-0.3, 0.31, 0.13) + (row % 2) * 0.065:
            vee = [(x - 0.045, y - 0.03), (x, y + 0.02), (x + 0.045, y - 0.03)]
            marks.append((ribbon(vee, [0.012, 0.03, 0.012], steps=4), fleck))
    pen.fill(body, colour=coat, marks=marks)
    if not folded:
        return
    for side in (-1, 1):
        wing = blob([(side * x, y) for x, y in at("0.3,-0.12 0.53,0.1 0.56,0.5 0.38,0.95 0.3,0.55 0.36,0.2")])
        spots = scatter(wing, rng, 0.12, (0.02, 0.035), light(coat, 0.55) if sum(coat) < 600 else (120, 112, 116))
        pen.fill(wing, colour=dark(coat, 0.12), marks=spots)


def _owl_feet(pen: Pen) -> None:
    for x in (-0.17, 0.17):
        for dx in (-0.07, 0.0, 0.07):
            pen.fill(
                ribbon([(x + dx * 0.5, 0.9), (x + dx, 1.0), (x + dx, 1.04)], [0.07, 0.07, 0.03]),
                colour=(222, 168, 70),
                edge=0.7,
            )


def _owl_head(pen: Pen, rng: Rng, colours: tuple[Colour, Colour, Colour], turned: float) -> None:
    coat, face, iris = colours
    pen.look_at(0, 0.1)
    barn = sum(iris) < 200
    if not barn and rng.random() < 0.65:
        for s in (-1, 1):
            tuft = [(s * 0.2, -0.3), (s * 0.34, -0.4), (s * 0.45, -0.58), (s * 0.47, -0.3), (s * 0.4, -0.1)]
            pen.fill(blob(tuft), colour=dark(coat, 0.18))
    head = blob(at("0,-0.4 0.3,-0.35 0.5,-0.05 0.42,0.24 0.2,0.36 -0.2,0.36 -0.42,0.24 -0.5,-0.05 -0.3,-0.35"))
    crown = light(coat, 0.4) if sum(coat) < 600 else (170, 164, 166)
    pen.fill(head, colour=coat, marks=scatter(head, rng, 0.11, (0.012, 0.022), crown))
    with pen.moved(turned, 0.0):
        if barn:
            heart = at("0,-0.2 0.18,-0.32 0.37,-0.14 0.33,0.1 0.12,0.3 0,0.36")
            pen.fill(blob(heart + [(-x, y) for x, y in heart[:0:-1]]), colour=face, shade=0.6, edge=0.8)
        else:
            for s in (-1, 1):
                rays: list[Mark] = [(oval(s * 0.19, 0.0, 0.17, 0.19), mix(face, coat, 0.35))]
                pen.fill(oval(s * 0.2, 0.0, 0.23, 0.26, s * 12), colour=face, marks=rays, shade=0.6, edge=0.7)
        sleepy = rng.random() < 0.2
        for s in (-1, 1):
            pen.eye(s * 0.19, -0.01, 0.14 if not barn else 0.1, iris)
            if sleepy:
                lid = blob(
                    [
                        (s * 0.19 - 0.15, 0.0),
                        (s * 0.19 - 0.1, -0.13),
                        (s * 0.19 + 0.1, -0.13),
                        (s * 0.19 + 0.15, 0.0),
                    ]
                )
                pen.fill(lid, colour=mix(face, coat, 0.5), shade=0.3, edge=0.6)
            if not barn:
                brow = [(s * 0.03, -0.02), (s * 0.12, -0.2), (s * 0.36, -0.28)]
                pen.fill(ribbon(brow, [0.03, 0.07, 0.02]), colour=light(coat, 0.45), shade=0, edge=0)
        pen.fill(blob(at("0,0.02 0.065,0.08 0,0.24 -0.065,0.08")), colour=(226, 178, 82), edge=0.7)


def flamingo(pen: Pen, rng: Rng) -> None:
    """A flamingo with its neck up, feeding, or resting, on one leg or two."""
    pink = vary(pick(rng, ((246, 150, 158), (250, 120, 128), (242, 172, 170), (252, 138, 112))), rng, 10)
    pose = pick(rng, ("up", "up", "reach", "feed", "rest"))
    stride = rng.uniform(0.0, 0.16)
    leg = mix(pink, (214, 84, 96), 0.5)
    _flamingo_leg(pen, -0.12, stride, dark(leg, 0.15), bent=rng.random() < 0.5)
    _flamingo_leg(pen, -0.02, -stride * 0.6, leg, bent=False)
    neck: Points
    if pose == "feed":
        neck, angle = at("0.2,-0.08 0.52,-0.1 0.68,0.26 0.54,0.66 0.62,0.98"), rng.uniform(50, 75)
    elif pose == "rest":
        neck, angle = at("0.2,-0.02 0.46,-0.08 0.5,-0.34 0.26,-0.42 0.24,-0.6"), rng.uniform(-5, 12)
    elif pose == "reach":
        neck, angle = at("0.2,-0.06 0.5,-0.14 0.62,-0.45 0.66,-0.75 0.78,-0.98"), rng.uniform(-14, 4)
    else:
        lean = rng.uniform(-0.08, 0.08)
        neck = [
            (0.18, -0.02),
            (0.48, -0.04),
            (0.5, -0.34),
            (0.26 + lean, -0.6),
            (0.26 + lean, -0.9),
            (0.42 + lean, -1.04),
        ]
        angle = rng.uniform(-8, 14)
    _flamingo_body(pen, rng, pink, ribbon(neck, [0.3, 0.19, 0.135, 0.12, 0.11, 0.12][: len(neck)]))
    with pen.moved(*neck[-1], angle):
        pen.look_at(0.05, 0.05)
        pen.fill(blob(at("0.1,-0.06 0.24,-0.06 0.32,0.03 0.27,0.2 0.2,0.1 0.1,0.08")), colour=(252, 226, 214))
        pen.fill(blob(at("0.27,-0.03 0.33,0.04 0.28,0.22 0.22,0.11 0.25,0.06")), colour=(40, 32, 40), edge=0.6)
        pen.fill(oval(0.03, 0.0, 0.15, 0.105, 6), colour=light(pink, 0.1))
        pen.eye(0.06, -0.02, 0.034, (250, 214, 70))


def _flamingo_leg(pen: Pen, hip: float, lean: float, tone: Colour, *, bent: bool) -> None:
    if bent:
        path, foot = [(hip, 0.1), (hip + 0.12, 0.52), (hip - 0.3, 0.72)], (hip - 0.3, 0.72)
    else:
        path, foot = [(hip, 0.1), (hip + lean + 0.02, 0.68), (hip + lean * 2, 1.26)], (hip + lean * 2, 1.26)
    pen.fill(ribbon(path, [0.085, 0.045, 0.04]), colour=tone, edge=0.7)
    pen.fill(oval(*path[1], 0.042, 0.045), colour=tone, edge=0.6)
    with pen.moved(*foot, 70 if bent else 0):
        pen.fill(blob(at("-0.03,-0.02 0.05,-0.03 0.16,0.02 0.08,0.04 -0.03,0.03")), colour=tone, edge=0.7)


def _flamingo_body(pen: Pen, rng: Rng, pink: Colour, neck: Array) -> None:
    tilt = rng.uniform(-10, 6)
    with pen.moved(-0.05, -0.02, tilt):
        for k in range(3):
            tail = ribbon([(-0.3, 0.0), (-0.52, 0.06 + 0.05 * k), (-0.66, 0.12 + 0.07 * k)], [0.16, 0.14, 0.03])
            pen.fill(tail, colour=dark(pink, 0.06 * k), edge=0.8)
    torso: Points = at("0.34,-0.14 0.38,0.04 0.22,0.22 -0.12,0.26 -0.46,0.14 -0.5,0 -0.2,-0.2")
    body = turn(blob([*torso, (0.1, -0.26)]), tilt) + np.array([-0.05, -0.02])
    pen.fill(body, neck, colour=light(pink, 0.06))
    with pen.moved(-0.05, -0.02, tilt):
        flight = mix(pink, (226, 62, 88), 0.55)
        marks: list[Mark] = [
            (oval(-0.52, 0.14, 0.2, 0.3, 10), (70, 40, 54) if rng.random() < 0.4 else dark(flight, 0.15))
        ]
        for k in range(4):
            y = -0.1 + 0.075 * k
            marks.append(
                (
                    ribbon([(0.15, y), (-0.12, y + 0.04), (-0.42, y + 0.05)], [0.012, 0.02, 0.012]),
                    dark(flight, 0.2),
                )
            )
        wing = at("0.2,-0.12 0.16,0.06 -0.12,0.18 -0.54,0.16 -0.3,-0.06 -0.02,-0.18")
        pen.fill(blob(wing), colour=mix(pink, flight, 0.45), marks=marks, edge=0.8)


def penguin(pen: Pen, rng: Rng) -> None:
    """A penguin, upright."""
    coat = vary((44, 50, 68), rng, 8)
    lean = rng.uniform(-6, 6)
    for x in (-0.2, 0.16):
        pen.fill(
            blob([(x - 0.12, 0.97), (x + 0.02, 0.88), (x + 0.2, 0.95), (x + 0.18, 1.02), (x - 0.08, 1.03)]),
            colour=(240, 150, 40),
        )
    with pen.moved(0.0, 0.9, lean), pen.moved(0.0, -0.9):
        lift = rng.uniform(0.0, 0.25)
        pen.fill(
            ribbon([(-0.36, -0.18), (-0.58 - lift, 0.12), (-0.6 - lift, 0.5 - lift)], [0.16, 0.17, 0.05]),
            colour=dark(coat, 0.1),
        )
        body = at("0,-0.5 0.32,-0.28 0.47,0.25 0.38,0.76 0.12,0.95 -0.18,0.95 -0.42,0.76 -0.48,0.25 -0.32,-0.28")
        belly: list[Mark] = [
            (blob(at("0.1,-0.34 0.4,-0.1 0.42,0.4 0.26,0.88 -0.05,0.9 -0.26,0.5 -0.2,0")), (250, 248, 242))
        ]
        belly.append((oval(0.12, -0.3, 0.24, 0.16, 10), (252, 206, 84)))
        pen.fill(blob(body), colour=coat, marks=belly)
        pen.fill(
            ribbon([(0.4, -0.18), (0.56 + lift * 0.5, 0.15), (0.54 + lift, 0.52)], [0.14, 0.16, 0.05]),
            colour=coat,
        )
        with pen.moved(0.04, -0.62, rng.uniform(-12, 10)):
            pen.look_at(0, 0)
            pen.fill(ribbon(at("0.2,-0.02 0.34,0 0.46,0.05"), [0.13, 0.09, 0.02]), colour=(236, 132, 48), edge=0.8)
            cheek: list[Mark] = [
                (oval(0.06, 0.16, 0.13, 0.15, 20), (252, 206, 84)),
                (oval(0.16, 0.26, 0.1, 0.12), (250, 248, 242)),
            ]
            pen.fill(
                blob(at("0,-0.3 0.2,-0.2 0.27,0 0.2,0.22 -0.02,0.3 -0.24,0.2 -0.28,-0.04 -0.18,-0.24")),
                colour=coat,
                marks=cheek,
            )
            pen.eye(0.11, -0.04, 0.055, (120, 60, 30), ring=(90, 96, 112))
