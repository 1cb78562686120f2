"""Charts as SVG text, with no library and no colours.

Colours are CSS classes and variables of the page (see `page`), so that charts follow its light and dark. Series are
told apart by dashes and marks as well as by colour. Every chart carries a title and a description for screen readers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from phototag.evaluation import Calibrated
from phototag.report.markup import block
from phototag.text import display_width, percent, shorten

SERIES = 6
"""So many series have their own colour; further ones start again, with other dashes."""

_WIDTH, _HEIGHT = 440.0, 290.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 22.0, 12.0, 46.0
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 2", "12 4")
_ROW = 44.0
_CELL = 13.0
_LABEL_CHARACTERS = 22
_WHOLE = 1e-9


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from `low` to `high`; with `percent` the values are shares, and written as percentages.

    With `whole` only whole numbers are marked.
    """

    label: str
    low: float
    high: float
    percent: bool = False
    whole: bool = False

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round numbers within the range."""
        step = _round_step((self.high - self.low) / max(count, 1))
        if self.whole:
            step = max(1.0, step)
        first = math.ceil(self.low / step - _WHOLE)
        last = math.floor(self.high / step + _WHOLE)
        return [number * step for number in range(first, last + 1)]

    def text(self, value: float) -> str:
        """Return a value as it stands at the axis, with as many digits as the steps between ticks need."""
        scale = 100 if self.percent else 1
        step = _round_step((self.high - self.low) / 5) * scale
        if self.whole:
            step = max(1.0, step)
        decimals = max(0, -math.floor(math.log10(step) + _WHOLE))
        return f"{value * scale:.{decimals}f}{' %' if self.percent else ''}"

    @classmethod
    def around(cls, label: str, values: Sequence[float], *, percent: bool = False, least: float = 0.0) -> Axis:
        """Return an axis with all values and some room around them, at least `least` long; shares stay in [0, 1]."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = max((high - low) * 0.08, (least - (high - low)) / 2, 1e-6)
        low, high = low - room, high + room
        if percent:
            low, high = max(0.0, low), min(1.0, high)
        step = _round_step((high - low) / 5)
        low, high = math.floor(low / step + _WHOLE) * step, math.ceil(high / step - _WHOLE) * step
        return cls(label, max(0.0, low) if percent else low, min(1.0, high) if percent else high, percent)


@dataclass(frozen=True, slots=True)
class Series:
    """A line: x and y [K], with a band from `low` to `high` [K] if given; `marked` puts a mark on each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """An element of a drawing, its text, and what shows on hovering."""

    tag: str
    attributes: Mapping[str, str | None]
    text: str = ""
    tip: str | None = None


def _shape(tag: str, *, text: str = "", tip: str | None = None, **attributes: str | None) -> Shape:
    """Return a shape: underscores in the names of attributes become hyphens, one at the end is dropped."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    return Shape(tag, named, text, tip)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


def line_chart(
    series: Sequence[Series], *, title: str, description: str, x: Axis, y: Axis, diagonal: bool = False
) -> Markup:
    """Draw lines over numbers, with bands where series have them. `diagonal` draws y = x for comparison."""
    frame = _Frame(x, y)
    parts = [*frame.grid()]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(frame.line(low, low, high, high, class_="diagonal"))
    for number, one in enumerate(series):
        if one.low is not None and one.high is not None and len(one.x) > 1:
            around = [*zip(one.x, one.high, strict=True), *reversed([*zip(one.x, one.low, strict=True)])]
            parts.append(_shape("path", class_=f"band {color_class(number)}", d=frame.path(around) + "Z"))
    for number, one in enumerate(series):
        points = list(zip(one.x, one.y, strict=True))
        if len(points) > 1:
            parts.append(_stroke(frame.path(points), number))
        if one.marked or len(points) == 1:
            parts += [mark(frame.x(a), frame.y(b), number, tip=f"{one.name}: {y.text(b)}") for a, b in points]
    return _svg(parts, _WIDTH, _HEIGHT, title, description)


def reliability_diagram(curves: Sequence[Calibrated], *, title: str, description: str) -> Markup:
    """Draw the share of right labels over the mean score, bin by bin; on the diagonal scores are calibrated.

    Each bin is a mark with its interval. No line joins them: between two bins nothing was measured.
    """
    known = [value for curve in curves for value in (*curve.confidence, *curve.low)]
    # Most scores are high ones: the axes begin where the labels do.
    least = min(0.8, math.floor(10 * min(known, default=0.0)) / 10)
    x, y = Axis("score", least, 1, percent=True), Axis("share right", least, 1, percent=True)
    frame = _Frame(x, y)
    parts = [*frame.grid(), frame.line(least, least, 1, 1, class_="diagonal")]
    for number, curve in enumerate(curves):
        bins = zip(curve.confidence, curve.accuracy, curve.low, curve.high, curve.counts, strict=True)
        for score, share, low, high, count in bins:
            ends = f"{y.text(low)} to {y.text(high)}"
            tip = f"{curve.name}: score {x.text(score)}, right {y.text(share)} ({ends}), {count:,} labels"
            parts.append(frame.line(score, low, score, high, class_=f"whisker {color_class(number)}"))
            parts.append(mark(frame.x(score), frame.y(share), number, tip=tip))
    return _svg(parts, _WIDTH, _HEIGHT, title, description)


def interval_chart(estimates: Sequence[Estimate], *, title: str, description: str, axis: Axis) -> Markup:
    """Draw a row for each estimate: a mark at the value, a line over its interval, the name and the numbers above."""
    height = _TOP + len(estimates) * _ROW + _BOTTOM
    frame = _Frame(axis, Axis("", 0, 1), height=height, left=16)
    parts = [*frame.vertical_grid()]
    for number, one in enumerate(estimates):
        middle = _TOP + number * _ROW + 31
        numbers = f"{_precise(one.value, axis)} ({_precise(one.low, axis)} to {_precise(one.high, axis)})"
        left, right, center = (_f(frame.x(value)) for value in (one.low, one.high, one.value))
        parts += [
            _shape("text", text=shorten(one.name, 30), class_="name", x=_f(frame.left), y=_f(middle - 13)),
            _shape("text", text=numbers, class_="number", x=_f(_WIDTH - _RIGHT), y=_f(middle - 13), text_anchor="end"),
            _shape("line", class_=f"interval {color_class(number)}", x1=left, x2=right, y1=_f(middle), y2=_f(middle)),
            mark(float(center), middle, number, tip=f"{one.name}: {numbers}"),
        ]
    return _svg(parts, _WIDTH, height, title, description)


def _precise(value: float, axis: Axis) -> str:
    """Return a value with at least a digit more than the axis has: neighbours are to be told apart."""
    if axis.percent:
        return percent(value)
    return Axis("", axis.low, axis.low + (axis.high - axis.low) / 10).text(value)


def heat_map(
    counts: NDArray[np.int64],
    names: Sequence[str],
    *,
    title: str,
    description: str,
    groups: Sequence[str] | None = None,
) -> Markup:
    """Draw counts [truth, prediction] as a square of cells, each as dark as its share of its row.

    `names` are those of rows and columns, which stay in sight while the cells scroll; lines separate neighbours of
    different `groups`.
    """
    labels = [shorten(name, _LABEL_CHARACTERS) for name in names]
    margin = 14 + 6.2 * max((display_width(label) for label in labels), default=0)
    side = _CELL * len(names)
    totals = counts.sum(axis=1)
    cells: list[Shape] = [_shape("rect", class_="sheet", x="0", y="0", width=_f(side), height=_f(side))]
    for row, column in zip(*(axis.tolist() for axis in np.nonzero(counts)), strict=True):
        share = counts[row, column] / totals[row]
        kind = "right" if row == column else "wrong"
        tip = f"{names[row]} predicted as {names[column]}: {counts[row, column]:,} of {totals[row]:,}"
        cells.append(
            _shape(
                "rect",
                tip=tip,
                class_=f"cell {kind}",
                x=_f(column * _CELL),
                y=_f(row * _CELL),
                width=_f(_CELL),
                height=_f(_CELL),
                # The root lifts rare confusions, which are what one looks for.
                fill_opacity=f"{max(0.08, math.sqrt(share)):.2f}",
            )
        )
    rows, columns = [], []
    for number, label in enumerate(labels):
        place, end = _f((number + 0.5) * _CELL + 3.5), _f(margin - 5)
        rows.append(_shape("text", text=label, class_="tick", x=end, y=place, text_anchor="end"))
        columns.append(_shape("text", text=label, class_="tick", transform=f"translate({place} {end}) rotate(-90)"))
    for number in range(1, len(names)):
        if groups is not None and groups[number] != groups[number - 1]:
            at, end = _f(number * _CELL), _f(side)
            cells.append(_shape("line", class_="border", x1=at, x2=at, y1="0", y2=end))
            cells.append(_shape("line", class_="border", y1=at, y2=at, x1="0", x2=end))
    drawn = _svg(cells, side, side, title, description, natural=True)
    return block("heat_map", rows=rows, columns=columns, cells=drawn, margin=_f(margin), side=_f(side))


def legend(names: Sequence[str]) -> Markup:
    """Return the names of series with their marks, as an HTML list that wraps where the page is narrow."""
    entries = [(name, (_stroke("M1 7L29 7", number), mark(15, 7, number))) for number, name in enumerate(names)]
    return block("legend", entries=entries)


def color_class(number: int) -> str:
    """Return the CSS class that colours a series."""
    return f"s{number % SERIES + 1}"


def mark(x: float, y: float, number: int, *, tip: str | None = None) -> Shape:
    """Return a series' mark at a place: circle, square, triangle or diamond; `tip` shows on hovering."""
    shapes = (
        "M{x} {y}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
        "M{x} {y}m-3.6 -3.6h7.2v7.2h-7.2z",
        "M{x} {y}m0 -4.8l4.6 8h-9.2z",
        "M{x} {y}m0 -5l5 5l-5 5l-5 -5z",
    )
    drawn = shapes[number % len(shapes)].format(x=_f(x), y=_f(y))
    return _shape("path", tip=tip, d=drawn, class_=f"mark {color_class(number)}")


class _Frame:
    """Where values lie in the drawing, and the axes around them."""

    def __init__(self, x: Axis, y: Axis, *, height: float = _HEIGHT, left: float = _LEFT) -> None:
        self._x, self._y, self._height, self.left = x, y, height, left

    def x(self, value: float) -> float:
        share = (value - self._x.low) / (self._x.high - self._x.low)
        return self.left + min(1.0, max(0.0, share)) * (_WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self._y.low) / (self._y.high - self._y.low)
        return self._height - _BOTTOM - min(1.0, max(0.0, share)) * (self._height - _TOP - _BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{_f(self.x(a))} {_f(self.y(b))}" for a, b in points)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, class_: str) -> Shape:
        ends = {"x1": self.x(x1), "y1": self.y(y1), "x2": self.x(x2), "y2": self.y(y2)}
        return _shape("line", class_=class_, **{name: _f(value) for name, value in ends.items()})

    def vertical_grid(self) -> list[Shape]:
        """Return lines upwards from the horizontal axis' ticks, their numbers, and the axis' label."""
        bottom = self._height - _BOTTOM
        parts = []
        for tick in self._x.ticks():
            at = _f(self.x(tick))
            parts.append(_shape("line", class_="grid", x1=at, x2=at, y1=_f(_TOP), y2=_f(bottom)))
            text = self._x.text(tick)
            parts.append(_shape("text", text=text, class_="tick", x=at, y=_f(bottom + 16), text_anchor="middle"))
        middle = (self.left + _WIDTH - _RIGHT) / 2
        label = _shape(
            "text", text=self._x.label, class_="label", x=_f(middle), y=_f(bottom + 36), text_anchor="middle"
        )
        return [*parts, label]

    def grid(self) -> list[Shape]:
        """Return both axes."""
        parts = self.vertical_grid()
        for tick in self._y.ticks():
            at = self.y(tick)
            ends = {"x1": _f(self.left), "x2": _f(_WIDTH - _RIGHT)}
            parts.append(_shape("line", class_="grid", y1=_f(at), y2=_f(at), **ends))
            text = self._y.text(tick)
            parts.append(_shape("text", text=text, class_="tick", x=_f(self.left - 6), y=_f(at + 4), text_anchor="end"))
        middle = (_TOP + self._height - _BOTTOM) / 2
        turned = f"translate(13 {_f(middle)}) rotate(-90)"
        return [*parts, _shape("text", text=self._y.label, class_="label", transform=turned, text_anchor="middle")]


def _svg(
    parts: Sequence[Shape], width: float, height: float, title: str, description: str, *, natural: bool = False
) -> Markup:
    """Return the drawing; with `natural` it keeps its size in pixels instead of filling the width there is."""
    key = f"c{zlib.crc32(f'{title}|{description}|{len(parts)}'.encode('utf-8', 'replace')):08x}"
    return block(
        "svg",
        drawn=parts,
        title=title,
        description=description,
        key=key,
        width=_f(width),
        height=_f(height),
        natural=natural,
    )


def _stroke(path: str, number: int) -> Shape:
    dashes = _DASHES[number % len(_DASHES)]
    return _shape("path", class_=f"line {color_class(number)}", d=path, stroke_dasharray=dashes)


def _round_step(step: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(max(step, 1e-12)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - _WHOLE))


def _f(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
