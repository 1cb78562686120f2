"""Metrics for people (a table for the terminal) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phototag.evaluation import ClassScores, Confusion, Metrics
from phototag.records import LEVELS
from phototag.taxonomy import NO_SUBCLASS
from phototag.text import Column, numbers, percent, percent_range, table

if TYPE_CHECKING:
    from phototag.evaluation import ValidationScores

_WORST = 10
_CONFUSIONS = 10
_SUPERCLASSES = 40
_FIRST = 44


def metrics_json(
    metrics: Metrics,
    *,
    coverages: Mapping[str, Mapping[str, float]] | None = None,
    unknown_labels: Sequence[str] | None = None,
) -> str:
    """Return the metrics as one line of JSON; unknown values are null, and all characters are ASCII.

    `coverages`, by level and precision, join them as `risk_coverage`, labels that the model does not know as
    `unknown_labels`.
    """
    described = metrics.to_json()
    if coverages is not None:
        described["risk_coverage"] = {level: dict(shares) for level, shares in coverages.items()}
    if unknown_labels is not None:
        described["unknown_labels"] = list(unknown_labels)
    return json.dumps(described, allow_nan=False)


def metrics_text(metrics: Metrics) -> str:
    """Return the metrics as a table of at most 100 columns, without a newline at the end."""
    blocks = [
        _headline(metrics),
        _levels(metrics),
        _hierarchy(metrics),
        _novelty(metrics),
        _superclass_block(metrics),
        _worst_block(metrics),
        _confusion_block(metrics.subclass_confusion),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def coverage_table(scores: ValidationScores) -> str:
    """Return as a table how large a share of the pictures can keep its label at given precisions."""
    levels = scores.coverages()
    names = [percent(float(name), None) for name in levels["superclass"]]
    rows = [(level, *map(percent, shares.values())) for level, shares in levels.items()]
    columns = [Column("Coverage at a precision of", 30), *numbers(*names, width=8)]
    return "\n".join(table(columns, rows, indent="  "))


def calibration_line(record: Mapping[str, Any]) -> str:
    """Say what calibration did, from the entry `calibration` in a model's training record."""
    changed = set(record["temperatures"].values()) != {1.0}
    parts = []
    for level in LEVELS:
        before, after = record[level]["ece_before"], record[level]["ece_after"]
        if before is not None and after is not None:
            shown = percent_range(before, after, between=" -> ") if changed else percent(after)
            parts.append(f"{level} {shown}")
    how = "Calibrated" if changed else "Not calibrated, as scores are calibrated already or pictures too few"
    return f"{how}: ECE {', '.join(parts) or 'unknown'}."


def _headline(metrics: Metrics) -> list[str]:
    known = metrics.photos - metrics.novel_photos
    novel = f"{metrics.novel_photos:,} outside the known subclasses"
    return [f"{metrics.photos:,} {_photos(metrics.photos)}: {known:,} with a true subclass, {novel}"]


def _levels(metrics: Metrics) -> list[str]:
    rows = [
        (title, *(percent(getattr(metrics, f"{level}_{name}", None)) for level in LEVELS))
        for title, name in (
            ("accuracy", "accuracy"),
            ("right among the five best", "top5_accuracy"),
            ("macro precision", "macro_precision"),
            ("macro recall", "macro_recall"),
            ("macro F1", "macro_f1"),
            ("got a label (coverage)", "coverage"),
            ("right when given (precision)", "precision_given"),
            ("calibration error (ECE)", "ece"),
        )
    ]
    return table([Column("Both levels", _FIRST), *numbers(*LEVELS)], rows, indent="  ")


def _hierarchy(metrics: Metrics) -> list[str]:
    rows = [
        (title, *(percent(getattr(metrics, f"{prefix}_{name}")) for name in ("precision", "recall", "f1")))
        for title, prefix in (("all nodes (micro)", "hierarchical"), ("mean per photo", "hierarchical_sample"))
    ]
    rows.append(("mean distance (0 right, 2 worst)", _height(metrics.hierarchical_distance), "", ""))
    rows.append(("mistake severity (1 sibling, 2 unrelated)", _height(metrics.mistake_severity), "", ""))
    if metrics.inconsistent_share is not None:
        rows.append(("heads contradict each other", percent(metrics.inconsistent_share), "", ""))
    return table([Column("Hierarchy", _FIRST), *numbers("precision", "recall", "F1")], rows, indent="  ")


def _novelty(metrics: Metrics) -> list[str]:
    if not metrics.novel_photos:
        return []
    rows = [
        ("no label, and none given", percent(metrics.novel_superclass_rejected)),
        ("superclass only, and no subclass given", percent(metrics.novel_subclass_rejected)),
    ]
    return table([Column("Photos outside the known classes", _FIRST), *numbers("")], rows, indent="  ")


def _superclass_block(metrics: Metrics) -> list[str]:
    classes = sorted(metrics.superclasses, key=lambda scores: (-scores.support, scores.name))
    shown = sorted(classes[:_SUPERCLASSES], key=lambda scores: scores.name)
    left_out = len(classes) - len(shown)
    more = [f"  and {left_out:,} rarer ones; JSON has them all"] if left_out else []
    return [*_class_table("Superclasses", shown), *more] if shown else []


def _worst_block(metrics: Metrics) -> list[str]:
    imperfect = [scores for scores in metrics.subclasses if scores.support and scores.f1 < 1]
    worst = sorted(imperfect, key=lambda scores: (scores.f1, -scores.support, scores.name))[:_WORST]
    return _class_table("Worst subclasses by F1", worst) if worst else []


def _confusion_block(confusion: Confusion) -> list[str]:
    """Return the labels most often given instead of another. Backing off confuses nothing: not shown."""
    wrong = [
        (count, truth, predicted)
        for truth, predicted, count in confusion.cells
        if truth != predicted and confusion.labels[predicted] is not None
    ]
    if not wrong:
        return []
    names = [NO_SUBCLASS if label is None else label for label in confusion.labels]
    rows = [
        (names[truth], names[predicted], f"{count:,}")
        for count, truth, predicted in sorted(wrong, key=lambda row: (-row[0], row[1], row[2]))[:_CONFUSIONS]
    ]
    columns = [_names_column("Most frequent confusions"), Column("predicted as", 40, most=40), *numbers("photos")]
    return table(columns, rows, indent="  ")


def _class_table(title: str, classes: Sequence[ClassScores]) -> list[str]:
    rows = [
        (scores.name, f"{scores.support:,}", *map(percent, (scores.precision, scores.recall, scores.f1)))
        for scores in classes
    ]
    return table([_names_column(title), *numbers("photos", "precision", "recall", "F1")], rows, indent="  ")


def _names_column(title: str) -> Column:
    return Column(title, _FIRST, most=_FIRST)


def _photos(count: int) -> str:
    return "photo" if count == 1 else "photos"


def _height(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
