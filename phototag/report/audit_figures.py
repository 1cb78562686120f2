"""The parts of a report from reviewed samples that show what is confused, calibration, and risk-coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from phototag.audit import FEW, NONE, AuditReport, Confused, Confusion, Estimate, ScoreCurves
from phototag.evaluation import Calibrated
from phototag.records import LEVELS
from phototag.report.blocks import class_text
from phototag.report.page import (
    Block,
    Cell,
    Section,
    figure,
    figures,
    folded,
    heading,
    matrix,
    paragraph,
    percent,
    span_of,
    table,
)
from phototag.report.plots import Axis, Series, line_chart, reliability_diagram
from phototag.taxonomy import NO_SUBCLASS

CellLink = Callable[[str, str, str], str]
"""The address of the photos of a true class that are tagged as another (or the same), by level, truth and tag."""

Point = TypeVar("Point")

_CLASSES = 16
_PAIRS = 60


def named(name: str, level: str) -> str:
    """Return a class of a level as it is shown."""
    return class_text(None if name == NONE else name, level)


def confusion_section(report: AuditReport, cell: CellLink | None) -> Section:
    """Return what is confused with what: superclasses as a matrix, subclasses as a list."""
    superclasses, subclasses = (report.confusions[level] for level in LEVELS)
    blocks = [_matrix(superclasses, cell), heading("Subclasses that are confused"), _pairs(subclasses, cell)]
    if cell is not None:
        blocks.insert(0, paragraph("A number leads to its photos.", note=True))
    return Section("What is confused with what", "confusion", blocks)


def _matrix(found: Confusion, cell: CellLink | None) -> Block:
    names = found.names(_CLASSES)
    left = len({name for one in found.cells for name in (one.truth, one.tag)}) - len(names)
    most = f" The {len(names)} that are confused most; {left:,} others are left out." if left else ""

    def link(row: int, column: int) -> str:
        return "" if cell is None else cell(found.level, names[row], names[column])

    return matrix(
        found.matrix(names),
        [named(name, found.level) for name in names],
        caption=f"Reviewed photos by true superclass (rows) and tag (columns), with shares of the row.{most}",
        link=None if cell is None else link,
    )


def _pairs(found: Confusion, cell: CellLink | None) -> Block:
    wrong = found.wrong
    if not wrong:
        return paragraph("None among the reviewed photos.")
    most = f" The {_PAIRS} most frequent of {len(wrong):,}." if len(wrong) > _PAIRS else ""
    rows: list[list[Cell | str | None]] = [_pair(found.level, one, cell) for one in wrong[:_PAIRS]]
    caption = f"Reviewed photos whose subclass tag is wrong; “{NO_SUBCLASS}”: superclass only, or no label.{most}"
    columns = ["is", "tagged as", "photos", "of all photos of the library"]
    return table(columns, rows, caption=caption, sortable=True, numbers_from=2)


def _pair(level: str, one: Confused, cell: CellLink | None) -> list[Cell | str | None]:
    text = f"{one.count:,} of {one.of:,}"
    link = None if cell is None else cell(level, one.truth, one.tag)
    return [
        named(one.truth, level),
        named(one.tag, level),
        Cell(text, one.count, link=link),
        Cell(percent(one.share, 2), one.share),
    ]


def curves_section(report: AuditReport) -> Section:
    """Return calibration and risk-coverage of both levels."""
    known = [(level, report.curves[level]) for level in reversed(LEVELS) if report.curves[level].risk]
    if not known:
        return Section("Calibration and risk", "scores", [paragraph("Too few reviewed photos have a tag for curves.")])
    blocks: list[Block] = []
    fewest = min(curves.reviewed for _, curves in known)
    if fewest < FEW:
        blocks.append(paragraph(f"Only {fewest:,} reviewed photos: these curves are rough.", note=True))
    blocks.append(figures(*(_reliability(level, curves) for level, curves in known)))
    blocks.append(figures(*(_risk(level, curves) for level, curves in known)))
    blocks += [folded(f"The {level} curves as tables", *_tables(level, curves)) for level, curves in known]
    return Section("Calibration and risk", "scores", blocks)


def _reliability(level: str, curves: ScoreCurves) -> Block:
    points = curves.reliability
    drawn = Calibrated(
        level,
        confidence=[point.score for point in points],
        accuracy=[point.right.value or 0.0 for point in points],
        counts=[point.right.reviewed for point in points],
        low=[_low(point.right) for point in points],
        high=[_high(point.right) for point in points],
    )
    title = f"Reliability, {level}"
    told = ", ".join(f"score {percent(point.score, 0)} right {percent(point.right.value, 0)}" for point in points)
    chart = reliability_diagram([drawn], title=title, description=f"Share of right tags over their mean score: {told}.")
    caption = (
        "Tags in groups of about the same score, with 95 % intervals: on the diagonal scores are calibrated, "
        "below it they are overconfident."
    )
    return figure(chart, title=title, caption=caption)


def _risk(level: str, curves: ScoreCurves) -> Block:
    points = curves.risk
    ends = [_high(point.risk) for point in points]
    drawn = Series(
        level,
        [point.coverage for point in points],
        [point.risk.value or 0.0 for point in points],
        low=[_low(point.risk) for point in points],
        high=ends,
        marked=len(points) == 1,
    )
    title = f"Risk and coverage, {level}"
    told = "; ".join(
        f"{percent(point.risk.value)} wrong among the best-scored {percent(point.coverage, 0)}"
        for point in _some(points, 4)
    )
    chart = line_chart(
        [drawn],
        title=title,
        description=f"Share of wrong tags among the best-scored part: {told}.",
        x=Axis("share of tags that are kept, best scores first", 0, 1, percent=True),
        y=Axis.around("wrong tags among them", [0.0, max(0.01, *ends)], percent=True),
    )
    caption = "How wrong tags are when only the best-scored ones are relied on; the band holds the 95 % intervals."
    return figure(chart, title=title, caption=caption)


def _tables(level: str, curves: ScoreCurves) -> list[Block]:
    reliability: list[list[Cell | str | None]] = [
        [percent(point.score), percent(point.right.value), _between(point.right), f"{point.right.reviewed:,}"]
        for point in curves.reliability
    ]
    risk: list[list[Cell | str | None]] = [
        [percent(point.coverage), f"{point.score:.3f}", percent(point.risk.value), _between(point.risk)]
        for point in _some(curves.risk, 12)
    ]
    return [
        table(["mean score", "right", "95 % interval", "photos"], reliability, caption=f"Reliability, {level}"),
        table(["kept", "score at least", "wrong", "95 % interval"], risk, caption=f"Risk and coverage, {level}"),
    ]


def _some(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many of them, evenly spread, the last one included."""
    step = max(1, -(-len(points) // most))
    return list(reversed(list(reversed(points))[::step]))


def _low(one: Estimate) -> float:
    return 0.0 if one.low is None else one.low


def _high(one: Estimate) -> float:
    return 1.0 if one.high is None else one.high


def _between(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else span_of(one.low, one.high)
