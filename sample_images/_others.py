"""What the inbox shows and no label covers: a fish and a boat."""

from __future__ import annotations

import numpy as np
from _canvas import Colour, Mark, Pen, Points, Rng, at, blob, dark, light, oval, pick, ribbon, spline, vary


def clownfish(pen: Pen, rng: Rng) -> None:
    """An orange fish with white bands."""
    orange = vary((244, 118, 32), rng, 10)
    flap = rng.uniform(-0.08, 0.08)
    fins: tuple[Points, ...] = (
        [
            (-0.62, 0.0),
            (-0.86, -0.26 + flap),
            (-1.1, -0.24 + flap),
            (-1.06, 0.0),
            (-1.1, 0.26 + flap),
            (-0.86, 0.26 + flap),
        ],
        at("-0.5,-0.3 -0.3,-0.56 0,-0.56 0.16,-0.66 0.36,-0.5 0.4,-0.3"),
        at("-0.46,0.28 -0.4,0.58 -0.14,0.54 -0.02,0.3"),
        at("0.1,0.34 0.1,0.66 0.3,0.62 0.34,0.36"),
    )
    for fin in fins:
        centre = np.mean(np.array(fin), axis=0)
        rim = blob(np.array(fin))
        inner = (rim - centre) * 0.78 + centre * (0.94, 0.86)
        pen.fill(rim, colour=(40, 32, 40), marks=[(inner, orange)], shade=0.6)
    body = blob(at("0.86,0.02 0.66,-0.26 0.2,-0.44 -0.3,-0.36 -0.7,-0.1 -0.7,0.12 -0.3,0.36 0.2,0.42 0.64,0.28"))
    marks: list[Mark] = []
    for x, w, lean in ((0.42, 0.17, 0.08), (-0.08, 0.2, 0.12), (-0.58, 0.1, 0.04)):
        band: Points = [(x - lean, -0.6), (x + lean * 0.8, 0.0), (x - lean, 0.6)]
        marks += [(ribbon(band, [w + 0.09] * 3), (40, 32, 40)), (ribbon(band, [w] * 3), (252, 250, 246))]
    pen.fill(body, colour=orange, marks=marks)
    pen.fill(blob(at("0.16,0.04 -0.02,-0.08 -0.12,0.06 -0.04,0.2")), colour=light(orange, 0.15))
    pen.line(at("0.84,0.08 0.74,0.11 0.66,0.08"), 0.025, dark(orange, 0.6))
    pen.eye(0.66, -0.08, 0.07, (70, 40, 24), ring=(250, 200, 120))
    pen.look_at(0.6, 0.0)


def sailing_boat(pen: Pen, rng: Rng) -> None:
    """A small boat under sail."""
    hull: Colour = vary(pick(rng, ((168, 62, 50), (44, 92, 140), (238, 236, 226))), rng)
    sail: Colour = vary((250, 244, 230), rng, 5)
    belly = rng.uniform(0.05, 0.16)
    pen.fill(ribbon([(0.0, 0.7), (0.0, -1.1)], [0.06, 0.04]), colour=(126, 86, 54), edge=0.7)
    jib = np.vstack([spline([(0.06, -0.92), (0.4 + belly, -0.3), (0.82, 0.44)]), [(0.08, 0.5)]])
    stripes: list[Mark] = [(ribbon([(-1, y), (1, y)], [0.09, 0.09]), light(hull, 0.1)) for y in (0.1, 0.28)]
    pen.fill(jib, colour=sail, marks=stripes)
    leech: Points = [(-0.05, -1.0), (-0.42 - belly, -0.3), (-0.86, 0.46)]
    pen.fill(np.vstack([spline(leech), [(-0.05, 0.5)]]), colour=sail)
    pen.fill(ribbon([(-0.92, 0.52), (0.04, 0.54)], [0.04, 0.05]), colour=(150, 104, 66), edge=0.7)
    shape = at("-0.96,0.68 0,0.72 1.08,0.6 0.84,0.9 0.5,1.02 -0.6,1.02 -0.88,0.9")
    pen.fill(blob(shape), colour=hull, marks=[(ribbon([(-1.2, 0.8), (1.2, 0.74)], [0.06, 0.06]), (250, 240, 214))])
    pen.fill(oval(-0.3, 0.86, 0.05, 0.05), colour=(222, 206, 160), edge=0.7)
    pen.look_at(0.0, 0.0)
