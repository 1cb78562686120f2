"""A model evaluated on labelled pictures: metrics, calibration and risk-coverage, as an HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phototag.evaluation import ClassScores, Confusion, Evaluation, Level, Metrics, reliability, risk_coverage
from phototag.records import LEVELS
from phototag.report import blocks
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
    matrix,
    paragraph,
    percent,
    table,
)
from phototag.report.photographs import photographs
from phototag.report.plots import Estimate
from phototag.runtime import machine
from phototag.taxonomy import NO_SUBCLASS

_CONFUSED = 20
_MATRIX_CLASSES = 20


def build_evaluation_page(found: Evaluation) -> Page:
    """Build the page of one model."""
    metrics, header = found.metrics, found.model.header
    known = metrics.photos - metrics.novel_photos
    novel = f", and {metrics.novel_photos:,} of no known subclass" if metrics.novel_photos else ""
    parts = found.source.absolute().parts
    sections = [
        _headline(found),
        _calibration(found),
        _risk(found),
        _classes(metrics),
        _confusions(metrics),
        _photographs(found),
        _about(found),
    ]
    made_with = header.record.get("versions")  # the file is untrusted
    pairs = made_with.items() if isinstance(made_with, Mapping) else ()
    versions = ", ".join(f"{name} {version}" for name, version in pairs)
    return Page(
        title=f"{found.model.name} on {'/'.join(parts[-2:]) if len(parts) > 2 else found.source.name}",
        subtitle=f"{header.backbone}, {known:,} pictures of known subclasses{novel}",
        sections=sections,
        footer=[
            f"Data: {found.source.absolute()}",
            f"Model: {found.model.path or found.model.name}",
            f"Machine: {machine()}",
            f"Trained with: {versions or 'unknown'}",
        ],
    )


def _headline(found: Evaluation) -> Section:
    metrics = found.metrics
    headline = [
        Card("Subclass accuracy", percent(metrics.subclass_accuracy), _between(found.levels[1])),
        Card("Superclass accuracy", percent(metrics.superclass_accuracy), _between(found.levels[0])),
        Card("Hierarchical F1", percent(metrics.hierarchical_f1)),
        Card("Subclass macro F1", percent(metrics.subclass_macro_f1)),
        Card("Calibration error", percent(metrics.subclass_ece), "of subclass scores; lower is better"),
        Card(
            "Subclass given",
            percent(metrics.subclass_coverage),
            f"of these {percent(metrics.subclass_precision_given)} right",
        ),
    ]
    estimates = [
        Estimate(level.capitalize(), float(each.right.mean()), *each.interval)
        for level, each in zip(LEVELS, found.levels, strict=True)
        if len(each.right)
    ]
    caption = "With 95 % intervals (Wilson). The axis need not begin at zero."
    chart = [figures(blocks.accuracy_chart(estimates, level=None, caption=caption))] if estimates else []
    note = (
        "Accuracies and hierarchical figures are of the best pair of superclass and subclass for every picture; what "
        "is “given” is what would be stored after backing off."
    )
    unknown = [
        paragraph(f"Labels the model does not know, so that their pictures are of none of its classes there: {names}")
        for names in [", ".join(found.unknown)]
        if names
    ]
    shown = [cards(headline), paragraph(note, note=True), *unknown, *chart, _figures_table(metrics)]
    return Section("Result", "result", shown)


def _between(level: Level) -> str:
    low, high = level.interval
    return f"95 % interval {percent(low)} to {percent(high)}" if len(level.right) else ""


def _figures_table(metrics: Metrics) -> Block:
    scalars = metrics.scalars()
    rows: list[list[Cell | str | None]] = [
        [title, *(percent(scalars.get(f"{level}_{name}")) for level in LEVELS)]
        for title, name in (
            ("Accuracy", "accuracy"),
            ("Right among the five best", "top5_accuracy"),
            ("Macro precision", "macro_precision"),
            ("Macro recall", "macro_recall"),
            ("Macro F1", "macro_f1"),
            ("Given (coverage)", "coverage"),
            ("Right when given (precision)", "precision_given"),
        )
    ]
    if metrics.novel_photos:
        rows.append(
            ["Of no known class, and none given", *(percent(scalars[f"novel_{level}_rejected"]) for level in LEVELS)]
        )
    whole: list[list[Cell | str | None]] = [
        [title, *(percent(scalars[f"{prefix}_{name}"]) for name in ("precision", "recall", "f1"))]
        for title, prefix in (("All nodes (micro)", "hierarchical"), ("Mean over pictures", "hierarchical_sample"))
    ]
    distance, severity = metrics.hierarchical_distance, metrics.mistake_severity
    more: dict[str, str | None] = {
        "Mean distance": "–" if distance is None else f"{distance:.2f} (0 right, 2 worst)",
        "Severity of mistakes": "–" if severity is None else f"{severity:.2f} (1 sibling, 2 unrelated)",
        "Heads contradict each other": percent(metrics.inconsistent_share),
    }
    return figures(
        table(["Both levels", "superclass", "subclass"], rows),
        Block("").join([table(["Hierarchy", "precision", "recall", "F1"], whole), definitions(more)]),
    )


def _calibration(found: Evaluation) -> Section:
    charts = []
    for place in (1, 0):
        level = found.levels[place]
        if len(level.right):
            curve = reliability(LEVELS[place].capitalize(), level.scores, level.right)
            caption = (
                "Each mark stands for equally many labels of about that score: the share of them that is right, with "
                "its 95 % interval. Below the dashed line scores are overconfident."
            )
            charts.append(blocks.reliability_chart([curve], level=LEVELS[place], caption=caption))
    record = found.model.header.record.get("calibration")
    rows: list[list[Cell | str | None]] = [
        [level.capitalize(), *_errors(record, level), percent(getattr(found.metrics, f"{level}_ece"))]
        for level in reversed(LEVELS)
    ]
    columns = ["Calibration error (ECE)", "validation, before", "validation, after", "these pictures"]
    note = "Before and after the scores were calibrated, on the validation pictures of the training. Lower is better."
    return Section("Calibration", "calibration", [figures(*charts), table(columns, rows), paragraph(note, note=True)])


def _errors(record: Any, level: str) -> list[str]:
    """Return the errors before and after calibration, from an untrusted training record."""
    entry = record.get(level) if isinstance(record, Mapping) else None
    values = [entry.get(key) if isinstance(entry, Mapping) else None for key in ("ece_before", "ece_after")]
    return [percent(value if isinstance(value, int | float) else None) for value in values]


def _risk(found: Evaluation) -> Section:
    charts = [
        blocks.risk_chart(
            [(LEVELS[place], [risk_coverage(found.levels[place].scores, found.levels[place].right)])],
            level=LEVELS[place],
            caption="Keep only the best-scored part of the labels: how many of them are wrong?",
        )
        for place in (1, 0)
        if len(found.levels[place].right)
    ]
    precisions = list(found.coverages["superclass"])
    rows: list[list[Cell | str | None]] = [
        [level.capitalize(), *(percent(share) for share in found.coverages[level].values())]
        for level in reversed(LEVELS)
    ]
    columns = ["Coverage at a precision of", *(percent(float(name), None) for name in precisions)]
    caption = "How large a share of all pictures can keep its label so that this share of the labels kept is right."
    return Section("Risk and coverage", "risk", [figures(*charts), table(columns, rows, caption=caption)])


def _classes(metrics: Metrics) -> Section:
    shown: list[Block] = []
    for classes, plural in ((metrics.superclasses, "superclasses"), (metrics.subclasses, "subclasses")):
        rows = [
            blocks.ClassRow(each.name, each.support, (each.precision, each.recall, each.f1 if _occurs(each) else None))
            for each in classes
        ]
        caption = f"{plural.capitalize()}, the worst by F1 first"
        listed = blocks.class_table(rows, ["precision", "recall", "F1"], caption=caption)
        shown.append(folded(f"All {len(rows):,} {plural}", listed, shown=len(rows) <= 10))
    return Section("Classes", "classes", shown)


def _occurs(scores: ClassScores) -> bool:
    return bool(scores.support or scores.predicted)


def _confusions(metrics: Metrics) -> Section:
    shown: list[Block] = []
    top = metrics.superclass_confusion
    if len(top.labels) <= _MATRIX_CLASSES:
        names = [blocks.class_text(label, "superclass") for label in top.labels]
        shown.append(matrix(top.matrix().tolist(), names, caption="Superclasses; rows are the truth"))
    shown.append(
        blocks.confused_table(_most_confused(metrics.subclass_confusion), caption="Subclasses most often confused")
    )
    sub = metrics.subclass_confusion
    shown.append(
        blocks.folded_map(
            sub.matrix(), [label or NO_SUBCLASS for label in sub.labels], title="All subclasses", shown=True
        )
    )
    return Section("Confusions", "confusions", shown)


def _photographs(found: Evaluation) -> Section:
    taxonomy = found.model.header.taxonomy
    names = [taxonomy.qualified(index) for index in range(len(taxonomy.subclasses))]
    shown = photographs(found.mistakes, _most_confused(found.metrics.subclass_confusion), names)
    return Section("Photographs", "photographs", shown or [paragraph("No subclass is wrong.")])


def _most_confused(confusion: Confusion) -> list[tuple[str, str, int, int]]:
    totals: dict[int, int] = {}
    for truth, _, count in confusion.cells:
        totals[truth] = totals.get(truth, 0) + count
    wrong = [cell for cell in confusion.cells if cell[0] != cell[1]]
    names = [label or NO_SUBCLASS for label in confusion.labels]
    ordered = sorted(wrong, key=lambda cell: (-cell[2], cell[0], cell[1]))[:_CONFUSED]
    return [(names[truth], names[label], count, totals[truth]) for truth, label, count in ordered]


def _about(found: Evaluation) -> Section:
    header, taxonomy = found.model.header, found.model.header.taxonomy
    entries: dict[str, str | None] = {
        "Backbone": header.backbone,
        "Input": f"{header.preprocessing.size} px",
        "Classes": f"{len(taxonomy.subclasses):,} subclasses in {len(taxonomy.superclasses):,} superclasses",
        "Thresholds": f"superclass {header.thresholds.superclass:.3f}, subclass {header.thresholds.subclass:.3f}",
        "Trained": f"{header.created_at or 'unknown'}, {header.record.get('tune', 'unknown')}",
        "Learned from": f"{header.record.get('training_pictures', 'unknown')} pictures",
    }
    if found.unreadable:
        entries["Unreadable"] = f"{found.unreadable:,} pictures could not be read and are left out"
    return Section("The model", "model", [definitions(entries)])
