"""The report from reviewed samples as an HTML page."""

from __future__ import annotations

from phototag.audit import BOUNDS_NOTE, AuditReport, Estimate, design_text, part_text
from phototag.choices import By
from phototag.report import blocks
from phototag.report.audit_figures import CellLink, confusion_section, curves_section
from phototag.report.audit_table import levels_of, next_steps, sentence, told
from phototag.report.page import (
    Block,
    Card,
    Cell,
    Page,
    Section,
    cards,
    definitions,
    figures,
    folded,
    paragraph,
    percent,
    span_of,
    statements,
    table,
)
from phototag.report.plots import Estimate as Drawn
from phototag.taxonomy import as_written

_CHARTED = 30


def build_audit_page(report: AuditReport, *, cell: CellLink | None = None) -> Page:
    """Build the page of a report; `cell` gives the address of the photos behind a cell of the confusion matrix."""
    newest = report.samples[0]
    sections = [_result(report), _parts(report), confusion_section(report, cell), curves_section(report)]
    if report.plan is not None:
        sections.append(_plan(report))
    if report.drift is not None:
        advice = list(report.drift.advice) or ["Nothing to report."]
        sections.append(Section("Drift", "drift", [statements(advice), _drift_table(report)]))
    sections.append(Section("The samples", "samples", [_samples(report), *_notes(report)]))
    return Page(
        title="How right the tags are",
        subtitle=sentence(report),
        sections=sections,
        footer=[
            f"Sample {newest.name}, taken {newest.created_at:%Y-%m-%d}, seed {newest.seed}",
            "Intervals: Wilson's at the effective sample size of the design, 95 %",
        ],
    )


def _notes(report: AuditReport) -> list[Block]:
    # Bounds are on no page.
    notes = [note for note in report.notes if note != BOUNDS_NOTE]
    return [statements(notes)] if notes else []


def _result(report: AuditReport) -> Section:
    names = {
        "Subclass tags right": "subclass_precision_given",
        "Superclass tags right": "superclass_precision_given",
        "Hierarchical F1": "hierarchical_f1",
        "Of no known subclass": "novel_share",
    }
    found = {title: report.metrics[name] for title, name in names.items()}
    shown = [Card(title, percent(one.value), _between(one)) for title, one in found.items()]
    drawn = [_drawn(title, one) for title, one in list(found.items())[:3] if one.value is not None]
    caption = "Estimates from the reviewed photos, with 95 % intervals. The axis need not begin at zero."
    chart = [figures(blocks.accuracy_chart(drawn, level=None, caption=caption))] if drawn else []
    return Section("Result", "result", [cards(shown), *chart, _metrics_table(report)])


def _metrics_table(report: AuditReport) -> Block:
    titles = {
        "superclass_precision_given": "Superclass tags that are right",
        "subclass_precision_given": "Subclass tags that are right",
        "superclass_accuracy": "True superclasses found",
        "subclass_accuracy": "True subclasses found",
        "hierarchical_precision": "Hierarchical precision",
        "hierarchical_recall": "Hierarchical recall",
        "hierarchical_f1": "Hierarchical F1",
        "novel_share": "Photos of no known subclass",
        "novel_handled": "Of these, tagged as such",
        "novel_superclass_rejected": "No label, and none given",
        "novel_subclass_rejected": "Superclass only, and no subclass given",
    }
    rows: list[list[Cell | str | None]] = []
    for name, title in titles.items():
        one = report.metrics[name]
        level = name.partition("_")[0]
        promised = report.promised.get(level) if name.endswith("_given") else None
        rows.append([title, percent(one.value), _between(one), f"{one.reviewed:,}", percent(promised)])
    return table(["Share", "estimate", "95 % interval", "photos", "scores promise"], rows)


def _parts(report: AuditReport) -> Section:
    levels = levels_of(report.by)
    rows: list[list[Cell | str | None]] = []
    for row in report.rows:
        cells: list[Cell | str | None] = [_part(row.name, report), _number(row.population)]
        for level in levels:
            one: Estimate = getattr(row, level)
            cells += [Cell(percent(one.value), one.value, _between(one)), Cell(f"{one.reviewed:,}", one.reviewed)]
        if row.recall is not None:
            cells.append(Cell(percent(row.recall.value), row.recall.value, _between(row.recall)))
        rows.append(cells)
    columns = [str(report.by), "tagged photos", *(name for level in levels for name in (f"{level} right", "reviewed"))]
    if any(row.recall is not None for row in report.rows):
        columns.append("found of its photos")
    caption = f"By {report.by}: shares of right tags with 95 % intervals"
    listed = table(columns, rows, caption=caption, sortable=True)
    known = [
        _drawn(_part(row.name, report), getattr(row, levels[-1]))
        for row in report.rows
        if getattr(row, levels[-1]).value is not None
    ]
    known.sort(key=lambda one: (one.value, one.name))
    chart: list[Block] = []
    if known:
        most = f"The {_CHARTED} lowest. " if len(known) > _CHARTED else ""
        drawn = blocks.accuracy_chart(
            known[:_CHARTED], level=levels[-1], caption=f"{most}Wide intervals: few photos were reviewed."
        )
        chart = [figures(drawn)]
    shown = folded(f"All {len(rows):,}", listed, shown=len(rows) <= _CHARTED)
    return Section(f"By {report.by}", "parts", [*chart, shown])


def _part(name: str, report: AuditReport) -> str:
    """Return a class, stratum or folder as the page shows it."""
    return name if report.by is By.FOLDER else as_written(part_text(name))


def _plan(report: AuditReport) -> Section:
    if report.plan is None:
        return Section("More reviews", "plan", [])
    rows: list[list[Cell | str | None]] = [
        [
            f"{_part(need.name, report)} ({need.level})",
            Cell("–" if need.half_width is None else f"± {100 * need.half_width:.1f}", need.half_width),
            Cell(f"{need.reviewed:,}", need.reviewed),
            Cell("reached" if need.reached else f"{need.more:,}", need.more),
        ]
        for need in (*report.plan.whole, *report.plan.parts)
    ]
    caption = f"Until intervals reach {100 * report.plan.half_width:.10g} points up and down"
    listed = table(["of", "now", "reviewed", "more"], rows, caption=caption, sortable=True)
    return Section("More reviews", "plan", [statements(next_steps(report.plan, report)), listed])


def _drift_table(report: AuditReport) -> Block:
    if report.drift is None:
        return Block("")
    rows: list[list[Cell | str | None]] = []
    groups = (("training", report.drift.training), ("older photos", report.drift.recent_scores))
    for against, shifts in groups:
        for one in shifts:
            rows.append(
                [
                    f"{one.level.capitalize()} scores against {against}",
                    percent(one.mean),
                    percent(one.mean_reference),
                    *("–" if value is None else f"{value:.3f}" for value in (one.distance, one.unexplained)),
                    str(one.shift),
                ]
            )
    columns = ["Scores", "mean", "mean there", "distance", "without the mix of classes", "shift"]
    return table(columns, rows)


def _samples(report: AuditReport) -> Block:
    newest = report.samples[0]
    entries: dict[str, str | None] = {
        "Samples": ", ".join(sample.name for sample in report.samples),
        "Design": design_text(newest),
        "Sampled": f"{report.drawn:,} photos of {newest.population:,}",
        "Reviewed": f"{report.reviewed:,}",
        "Groups": _groups(report),
        "Skipped": f"{report.skipped:,}",
        "Changed since": f"{report.changed:,}",
        "Waiting": f"{report.pending:,}",
        "Superclass tags": told(report.metrics["superclass_precision_given"]),
        "Subclass tags": told(report.metrics["subclass_precision_given"]),
    }
    return Block("").join([definitions(entries), paragraph("Only photos sampled at random count.", note=True)])


def _groups(report: AuditReport) -> str:
    groups = report.groups
    text = f"{groups.count:,}"
    if groups.in_series:
        text += f"; {groups.in_series:,} photos lie in series, the largest of {groups.largest:,}"
    effects = [f"{level} {effect:.1f}" for level, effect in groups.design_effect.items() if effect is not None]
    return f"{text}; design effect: {', '.join(effects)}" if groups.in_series and effects else text


def _drawn(name: str, one: Estimate) -> Drawn:
    return Drawn(name, one.value or 0.0, one.low or 0.0, 1.0 if one.high is None else one.high)


def _between(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else span_of(one.low, one.high)


def _number(count: int | None) -> Cell:
    return Cell("–" if count is None else f"{count:,}", count)
