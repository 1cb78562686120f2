"""The report from reviewed samples as a table for a terminal, and in sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial

from phototag.audit import AuditReport, Estimate, Plan, part_text
from phototag.choices import By
from phototag.records import LEVELS
from phototag.text import Column, numbers, percent, percent_range, printable, table

_ROWS = 40
_NAME = 36
_SHORT_NAME = 24
_WIDTH = 100


def audit_text(report: AuditReport) -> str:
    """Return the report for a terminal, at most 100 columns wide, without a newline at the end."""
    blocks = [_wrapped([sentence(report)], ""), _tags_block(report), _truth_block(report), _rows_block(report)]
    if report.plan is not None:
        blocks.append(_plan_block(report.plan, report))
    if report.drift is not None:
        blocks.append(["Drift", *_wrapped(report.drift.advice)])
    if report.notes:
        blocks.append(["Notes", *_wrapped(report.notes)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def sentence(report: AuditReport) -> str:
    """Return in one sentence what was found."""
    parts = [
        f"{level} tags are right {told(report.metrics[f'{level}_precision_given'])}"
        for level in reversed(LEVELS)
        if report.metrics[f"{level}_precision_given"].value is not None
    ]
    of = "" if report.population is None else f" of {report.population['photos']:,}"
    text = "; ".join(parts) or "no reviewed photo has a tag"
    return f"{text[0].upper()}{text[1:]}: {report.reviewed:,}{of} photos reviewed."


def told(estimate: Estimate) -> str:
    """Return an estimate as "93.1 % (95 % interval 90.4 to 95.2)"."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    ends = percent_range(estimate.low, estimate.high).removesuffix(" %")
    return f"{percent(estimate.value)} (95 % interval {ends})"


def _tags_block(report: AuditReport) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for level in LEVELS:
        rows.append((*_cells(level, report.metrics[f"{level}_precision_given"]), percent(report.promised[level])))
        ends = report.bounds[level]
        if ends is not None:
            rows.append(("  whatever the skipped ones are", "", percent_range(*ends), "", ""))
    columns = [*_estimate_columns("Tags that are right"), *numbers(("scores promise", 16))]
    return table(columns, rows, indent="  ")


def _truth_block(report: AuditReport) -> list[str]:
    titles = {
        "superclass_accuracy": "true superclass found",
        "subclass_accuracy": "true subclass found",
        "hierarchical_precision": "hierarchical precision",
        "hierarchical_recall": "hierarchical recall",
        "hierarchical_f1": "hierarchical F1",
        "novel_share": "of no known subclass",
        "novel_handled": "  and tagged as such",
    }
    rows = [
        _cells(title, report.metrics[name]) for name, title in titles.items() if report.metrics[name].value is not None
    ]
    return table(_estimate_columns("Photos"), rows, indent="  ")


def _rows_block(report: AuditReport) -> list[str]:
    rows = sorted(report.rows, key=lambda row: (-(row.population or row.superclass.reviewed), row.name))[:_ROWS]
    if not rows:
        return []
    levels = levels_of(report.by)
    name = _NAME if len(levels) == 1 else _SHORT_NAME
    columns = [Column(f"By {report.by}", name, most=name), *numbers(("photos", 7))]
    for level in levels:
        columns += numbers((level, 9), ("95 % interval", 15), ("n", 3))
    cells = [
        (
            part_text(row.name),
            "-" if row.population is None else f"{row.population:,}",
            *(cell for level in levels for cell in _cells("", getattr(row, level))[1:]),
        )
        for row in sorted(rows, key=lambda row: row.name)
    ]
    left = len(report.rows) - len(rows)
    return [*table(columns, cells, indent="  "), *([f"  and {left:,} more; JSON has them all"] if left else [])]


def _plan_block(found: Plan, report: AuditReport) -> list[str]:
    wanted = f"{100 * found.half_width:.10g} points up and down"
    rows = []
    for need in (*found.whole, *found.parts)[:_ROWS]:
        now = "-" if need.half_width is None else f"{100 * need.half_width:.1f}"
        of = part_text(need.name)
        name = f"{of} ({need.level})" if need in found.whole or report.by not in LEVELS else of
        rows.append((name, now, f"{need.reviewed:,}", "reached" if need.reached else f"{need.more:,}"))
    columns = [Column(f"For {wanted}", _NAME, most=_NAME), *numbers(("now", 8), ("reviewed", 18), ("more", 8))]
    return [*table(columns, rows, indent="  "), *_wrapped(next_steps(found, report))]


def _wrapped(lines: Sequence[str], before: str = "  ") -> list[str]:
    # Names that hold blanks or are long stay whole: what is shown may be typed.
    wrap = partial(textwrap.wrap, width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in wrap(printable(line), initial_indent=before, subsequent_indent=before)]


def levels_of(by: By) -> tuple[str, ...]:
    """Return the levels at which tags are compared row by row: among the photos of one subclass there is only one."""
    return ("subclass",) if by is By.SUBCLASS else LEVELS


def next_steps(found: Plan, report: AuditReport) -> list[str]:
    """Return sentences that say what to do to get there."""
    newest = report.samples[0]
    if found.reached:
        lines = ["The whole library is known as well as wanted."]
    elif found.more:
        lines = [f"For the whole: phototag audit sample {newest.name} --more {found.more}"]
        if len(found.allocation) > 1:
            lines.append(
                "That is " + ", ".join(f"{number:,} of {part_text(name)}" for name, number in found.allocation) + "."
            )
    else:
        lines = [f"For the whole: review what is sampled already: phototag audit review {newest.name}"]
    short = [need.more for need in found.parts if not need.reached and need.population != need.reviewed]
    if short and report.by is not By.STRATUM:
        size = max(short) * len({need.name for need in found.parts})
        if report.population is not None:
            size = min(size, report.population["photos"])
        lines.append(f"For each {report.by}: phototag audit sample --by {report.by} --allocation equal --size {size}")
    return lines


def _estimate_columns(title: str) -> list[Column]:
    return [Column(title, _NAME), *numbers(("estimate", 8), ("95 % interval", 18), ("reviewed", 8))]


def _cells(title: str, estimate: Estimate) -> tuple[str, ...]:
    interval = "-" if estimate.low is None or estimate.high is None else percent_range(estimate.low, estimate.high)
    return title, percent(estimate.value), interval, f"{estimate.reviewed:,}"
