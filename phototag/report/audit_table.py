"""The report from reviewed samples as a table for a terminal, and in sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial

from phototag.audit import AuditReport, Estimate, Plan
from phototag.choices import By
from phototag.records import LEVELS
from phototag.text import pad, printable, shorten

_ROWS = 40
_NAME = 34
_SHORT_NAME = 22
_WIDTH = 100


def audit_text(report: AuditReport) -> str:
    """The report for a terminal, at most 100 columns wide, without a newline at the end."""
    blocks = [_wrapped([sentence(report)], ""), _tags_block(report), _truth_block(report), _rows_block(report)]
    if report.plan is not None:
        blocks.append(_plan_block(report.plan, report))
    if report.drift is not None:
        blocks.append(["Drift", *_wrapped(report.drift.advice)])
    if report.notes:
        blocks.append(["Notes", *_wrapped(report.notes)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def sentence(report: AuditReport) -> str:
    """What was found, in one sentence."""
    parts = [
        f"{level} tags are right {told(report.metrics[f'{level}_precision_given'])}"
        for level in reversed(LEVELS)
        if report.metrics[f"{level}_precision_given"].value is not None
    ]
    of = "" if report.population is None else f" of {report.population['photos']:,}"
    text = "; ".join(parts) or "no reviewed photo has a tag"
    return f"{text[0].upper()}{text[1:]}: {report.reviewed:,}{of} photos reviewed."


def told(estimate: Estimate) -> str:
    """An estimate as "93.1 % (95 % interval 90.4 to 95.2)"."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{_percent(estimate.value)} (95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _tags_block(report: AuditReport) -> list[str]:
    rows = [f"{'Tags that are right':<36}{'estimate':>10}{'95 % interval':>20}{'reviewed':>10}{'scores promise':>18}"]
    for level in LEVELS:
        estimate = report.metrics[f"{level}_precision_given"]
        promised = report.promised[level]
        rows.append(_line(level, estimate) + f"{'-' if promised is None else _percent(promised):>18}")
        ends = report.bounds[level]
        if ends is not None:
            rows.append(f"  {'  whatever the skipped ones are':<34}{'':>10}{_between(*ends):>20}")
    return rows


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
    rows = [f"{'Photos':<36}{'estimate':>10}{'95 % interval':>20}{'reviewed':>10}"]
    return rows + [
        _line(title, report.metrics[name]) for name, title in titles.items() if report.metrics[name].value is not None
    ]


def _rows_block(report: AuditReport) -> list[str]:
    rows = sorted(report.rows, key=lambda row: (-(row.population or row.superclass.reviewed), row.name))[:_ROWS]
    if not rows:
        return []
    levels = levels_of(report.by)
    name = _NAME if len(levels) == 1 else _SHORT_NAME
    head = f"{pad('By ' + report.by.value, name + 2)}{'photos':>9}"
    head += "".join(f"{level:>11}{'95 % interval':>17}{'n':>5}" for level in levels)
    lines = [head]
    for row in sorted(rows, key=lambda row: row.name):
        number = "-" if row.population is None else f"{row.population:,}"
        line = f"  {pad(shorten(printable(row.name), name), name)}{number:>9}"
        for level in levels:
            one: Estimate = getattr(row, level)
            value = "-" if one.value is None else _percent(one.value)
            line += f"{value:>11}{_interval(one):>17}{one.reviewed:>5}"
        lines.append(line)
    left = len(report.rows) - len(rows)
    return [*lines, *([f"  and {left:,} more; JSON has them all"] if left else [])]


def _plan_block(found: Plan, report: AuditReport) -> list[str]:
    wanted = f"{100 * found.half_width:.10g} points up and down"
    rows = [f"{'For ' + wanted:<36}{'now':>10}{'reviewed':>20}{'more':>10}"]
    for need in (*found.whole, *found.parts)[:_ROWS]:
        now = "-" if need.half_width is None else f"{100 * need.half_width:.1f}"
        name = f"{need.name} ({need.level})" if need in found.whole or report.by not in LEVELS else need.name
        more = "reached" if need.reached else f"{need.more:,}"
        rows.append(f"  {pad(shorten(printable(name), _NAME), _NAME)}{now:>10}{need.reviewed:>20,}{more:>10}")
    return [*rows, *_wrapped(next_steps(found, report))]


def _wrapped(lines: Sequence[str], before: str = "  ") -> list[str]:
    # Names that hold blanks or are long stay whole: what is shown may be typed.
    wrap = partial(textwrap.wrap, width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in wrap(printable(line), initial_indent=before, subsequent_indent=before)]


def levels_of(by: By) -> tuple[str, ...]:
    """The levels at which tags are judged row by row: among the photos of one subclass there is but one."""
    return ("subclass",) if by is By.SUBCLASS else LEVELS


def next_steps(found: Plan, report: AuditReport) -> list[str]:
    """What to do to get there, in sentences."""
    newest = report.samples[0]
    if found.reached:
        lines = ["The whole library is known as well as wanted."]
    elif found.more:
        lines = [f"For the whole: phototag audit sample {newest.name} --more {found.more}"]
        if len(found.allocation) > 1:
            lines.append("That is " + ", ".join(f"{number:,} of {name}" for name, number in found.allocation) + ".")
    else:
        lines = [f"For the whole: review what is drawn already: phototag audit review {newest.name}"]
    short = [need.more for need in found.parts if not need.reached and need.population != need.reviewed]
    if short and report.by is not By.STRATUM:
        size = max(short) * len({need.name for need in found.parts})
        if report.population is not None:
            size = min(size, report.population["photos"])
        lines.append(f"For each {report.by}: phototag audit sample --by {report.by} --allocation equal --size {size}")
    return lines


def _line(title: str, estimate: Estimate) -> str:
    value = "-" if estimate.value is None else _percent(estimate.value)
    return f"  {title:<34}{value:>10}{_interval(estimate):>20}{estimate.reviewed:>10,}"


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None or estimate.high is None else _between(estimate.low, estimate.high)


def _between(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
