"""Parts that pages about models have in common: charts of curves, tables of classes, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation import Calibrated, RiskCoverage
from phototag.records import LEVELS
from phototag.report.page import Block, Cell, figure, figures, folded, paragraph, percent, share_cell, table
from phototag.report.plots import Axis, Estimate, Series, heat_map, interval_chart, line_chart
from phototag.report.plots import reliability_diagram as diagram
from phototag.taxonomy import NO_LABEL, NO_SUBCLASS, as_written

HEAT_MAP_CLASSES = 120
"""A heat map of more classes can no longer be read: then it shows those that are confused most."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in a table: `name` in full, `support` pictures, and shares or None."""

    name: str
    support: int
    values: tuple[float | None, ...]


def class_text(name: str | None, level: str) -> str:
    """Return a class of a level as people write it; None is a label that names none there."""
    return as_written(name) if name is not None else NO_LABEL if level == LEVELS[0] else NO_SUBCLASS


def accuracy_chart(estimates: Sequence[Estimate], *, level: str | None, caption: str) -> Block:
    """Return accuracies with their intervals; `level` is that of all of them, if it is one."""
    name = "accuracy" if level is None else f"{level} accuracy"
    ends = [end for one in estimates for end in (one.low, one.high)]
    drawn = interval_chart(
        estimates,
        title=name.capitalize(),
        description="; ".join(
            f"{one.name}: {percent(one.value)}, 95 % interval {percent(one.low)} to {percent(one.high)}"
            for one in estimates
        ),
        axis=Axis.around(name, ends, percent=True, least=0.02),
    )
    return figure(drawn, title=name.capitalize(), caption=caption)


def reliability_chart(curves: Sequence[Calibrated], *, level: str, caption: str) -> Block:
    """Return the reliability diagram of a level."""
    title = f"Reliability, {level}"
    description = "Share of right labels over their mean score, in bins of equally many. " + "; ".join(
        _told(curve) for curve in curves
    )
    drawn = diagram(curves, title=title, description=description)
    return figure(drawn, title=title, caption=caption, names=[curve.name for curve in curves])


def _told(curve: Calibrated) -> str:
    points = zip(curve.confidence, curve.accuracy, strict=True)
    return f"{curve.name}: " + ", ".join(f"{percent(score, 0)} right {percent(share, 0)}" for score, share in points)


def risk_chart(curves: Sequence[tuple[str, Sequence[RiskCoverage]]], *, level: str, caption: str) -> Block:
    """Return risk over coverage of each name, as the mean of its curves with a band from least to most."""
    series = []
    for name, each in curves:
        grid = np.array(max((curve.coverage for curve in each), key=len))
        rows = np.stack([np.interp(grid, curve.coverage, curve.risk) for curve in each])
        band = len(each) > 1
        series.append(
            Series(
                name,
                grid.tolist(),
                rows.mean(axis=0).tolist(),
                low=rows.min(axis=0).tolist() if band else None,
                high=rows.max(axis=0).tolist() if band else None,
            )
        )
    most = max((value for one in series for value in (*one.y, *(one.high or ()))), default=1.0)
    title = f"Risk and coverage, {level}"
    told = "; ".join(f"{one.name}: {percent(one.y[-1])} wrong at full coverage" for one in series if one.y)
    drawn = line_chart(
        series,
        title=title,
        description=f"Share of wrong labels among the best-scored part of the pictures. {told}",
        x=Axis("share of pictures that keep their label", 0, 1, percent=True),
        y=Axis.around("wrong labels among them", [0.0, max(most, 0.01)], percent=True),
    )
    return figure(drawn, title=title, caption=caption, names=[one.name for one in series])


def class_table(rows: Sequence[ClassRow], columns: Sequence[str], *, caption: str) -> Block:
    """Return classes with their shares, the one with the lowest last share first; sortable."""
    ordered = sorted(rows, key=lambda row: (row.values[-1] if row.values[-1] is not None else 2.0, row.name))
    cells: list[list[Cell | str | None]] = [
        [as_written(row.name), Cell(f"{row.support:,}", row.support), *map(share_cell, row.values)] for row in ordered
    ]
    return table(["class", "pictures", *columns], cells, caption=caption, sortable=True)


def confused_table(pairs: Sequence[tuple[str, str, int, int]], *, caption: str) -> Block:
    """Return truth, label, how often, and of how many, as a table."""
    rows: list[list[Cell | str | None]] = [
        [as_written(truth), as_written(found), Cell(f"{number:,} of {of:,}", number)]
        for truth, found, number, of in pairs
    ]
    return table(["is a", "predicted as", "times"], rows, caption=caption, sortable=True, numbers_from=2)


def confusion_map(counts: NDArray[np.int64], names: Sequence[str], *, title: str) -> list[Block]:
    """Return the heat map of subclasses named in full, or of those confused most where there are too many to read."""
    chosen = np.arange(len(names))
    note = []
    if len(names) > HEAT_MAP_CLASSES:
        wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * counts.diagonal()
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:HEAT_MAP_CLASSES])
        note = [paragraph(f"The {HEAT_MAP_CLASSES} of {len(names):,} subclasses that are confused most.", note=True)]
    part = counts[np.ix_(chosen, chosen)]
    shown = [names[index] for index in chosen.tolist()]
    drawn = heat_map(
        part,
        [as_written(name.partition("/")[2] or name) for name in shown],
        groups=[name.partition("/")[0] for name in shown],
        title=title,
        description="Each cell is darker the larger the share of the row's pictures is; the tables hold the numbers.",
    )
    caption = (
        "Rows are true subclasses, columns the labels given; blue is right, orange wrong. Lines separate superclasses: "
        "orange outside the squares on the diagonal is a wrong superclass."
    )
    return [*note, figure(drawn, title=title, caption=caption, wide=True)]


def curve_figures(series: Sequence[tuple[str, Sequence[Series]]]) -> Block:
    """Return charts over epochs: a title and the lines of each; of accuracies, if the title says so, in percent."""
    drawn = []
    for title, lines in series:
        values = [value for one in lines for value in (*one.y, *(one.low or ()), *(one.high or ()))]
        last = max((max(one.x) for one in lines), default=1.0)
        first = min((min(one.x) for one in lines), default=0.0)
        shares = "accuracy" in title
        chart = line_chart(
            lines,
            title=title,
            description=f"{title} over epochs; the figures of every epoch stand in the model's training record.",
            x=Axis("epoch", first, last if last > first else first + 1, whole=True),
            y=Axis.around(title, values, percent=shares),
        )
        drawn.append(figure(chart, title=title, names=[one.name for one in lines]))
    return figures(*drawn)


def folded_map(counts: NDArray[np.int64], names: Sequence[str], *, title: str, shown: bool) -> Block:
    """Return `confusion_map` behind a click."""
    return folded(title, *confusion_map(counts, names, title=title), shown=shown)
