"""Metrics for people (a table for the terminal) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phototag.evaluation import ClassScores, Confusion, Metrics
from phototag.text import pad, printable, shorten

if TYPE_CHECKING:
    from phototag.evaluation import ValidationScores

_WORST = 10
_CONFUSIONS = 10
_SUPERCLASSES = 40
_NAME_WIDTH = 40
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def metrics_json(metrics: Metrics, *, coverages: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """The metrics as one line of JSON; unknown values are null, and all characters are ASCII.

    `coverages`, by level and precision, join them as `risk_coverage`.
    """
    described = metrics.to_json()
    if coverages is not None:
        described["risk_coverage"] = {level: dict(shares) for level, shares in coverages.items()}
    return json.dumps(described, allow_nan=False)


def metrics_text(metrics: Metrics, *, color: bool = False) -> str:
    """The metrics as a table of at most 100 columns, without a newline at the end."""
    blocks = [
        _headline(metrics),
        _levels(metrics),
        _hierarchy(metrics),
        _novelty(metrics),
        _superclass_block(metrics),
        _worst_block(metrics),
        _confusion_block(metrics.subclass_confusion),
    ]
    text = []
    for heading, *rows in filter(None, blocks):
        text.append("\n".join([f"{_BOLD}{heading}{_PLAIN}" if color else heading, *rows]))
    return "\n\n".join(text)


def coverage_table(scores: ValidationScores) -> str:
    """How large a share of the pictures can keep its label at given precisions, as the seen pictures have it."""
    levels = scores.coverages()
    names = [f"{float(name) * 100:g} %" for name in levels["superclass"]]
    rows = [f"{'Coverage at a precision of':<30}" + "".join(f"{name:>10}" for name in names)]
    for level, shares in levels.items():
        rows.append(f"  {level:<28}" + "".join(f"{_percent(share):>10}" for share in shares.values()))
    return "\n".join(rows)


def calibration_line(record: Mapping[str, Any]) -> str:
    """What calibration did, of the entry `calibration` in a model's training record."""
    changed = set(record["temperatures"].values()) != {1.0}
    parts = []
    for level in ("superclass", "subclass"):
        before, after = record[level]["ece_before"], record[level]["ece_after"]
        if before is not None and after is not None:
            parts.append(f"{level} " + (f"{before * 100:.1f} -> " if changed else "") + f"{after * 100:.1f} %")
    how = "Calibrated" if changed else "Not calibrated, as honest already or on too few pictures"
    return f"{how}: ECE {', '.join(parts) or 'unknown'}."


def _headline(metrics: Metrics) -> list[str]:
    known = metrics.photos - metrics.novel_photos
    novel = f"{metrics.novel_photos:,} of a kind outside the known subclasses"
    return [f"{metrics.photos:,} {_photos(metrics.photos)}: {known:,} with a true subclass, {novel}"]


def _levels(metrics: Metrics) -> list[str]:
    rows = [f"{'Both levels':<44}{'superclass':>12}{'subclass':>12}"]
    for title, name in (
        ("accuracy", "accuracy"),
        ("right among the five best", "top5_accuracy"),
        ("macro precision", "macro_precision"),
        ("macro recall", "macro_recall"),
        ("macro F1", "macro_f1"),
        ("got a label (coverage)", "coverage"),
        ("right when given (precision)", "precision_given"),
        ("calibration error (ECE)", "ece"),
    ):
        values = (getattr(metrics, f"{level}_{name}", None) for level in ("superclass", "subclass"))
        rows.append(f"  {title:<42}" + "".join(f"{_percent(value):>12}" for value in values))
    return rows


def _hierarchy(metrics: Metrics) -> list[str]:
    rows = [f"{'Hierarchy':<44}{'precision':>12}{'recall':>12}{'F1':>12}"]
    for title, prefix in (("all nodes (micro)", "hierarchical"), ("mean per photo", "hierarchical_sample")):
        values = (getattr(metrics, f"{prefix}_{name}") for name in ("precision", "recall", "f1"))
        rows.append(f"  {title:<42}" + "".join(f"{_percent(value):>12}" for value in values))
    distance, severity = _height(metrics.hierarchical_distance), _height(metrics.mistake_severity)
    rows.append(f"  {'mean distance (0 right, 2 worst)':<42}{distance:>12}")
    rows.append(f"  {'mistake severity (1 sibling, 2 unrelated)':<42}{severity:>12}")
    if metrics.inconsistent_share is not None:
        rows.append(f"  {'heads contradict each other':<42}{_percent(metrics.inconsistent_share):>12}")
    return rows


def _novelty(metrics: Metrics) -> list[str]:
    if not metrics.novel_photos:
        return []
    return [
        "Photos outside the known classes",
        f"  {'unknown superclass, rightly left alone':<42}{_percent(metrics.novel_superclass_rejected):>12}",
        f"  {'unknown subclass, rightly backed off':<42}{_percent(metrics.novel_subclass_rejected):>12}",
    ]


def _superclass_block(metrics: Metrics) -> list[str]:
    classes = sorted(metrics.superclasses, key=lambda scores: (-scores.support, scores.name))
    shown = sorted(classes[:_SUPERCLASSES], key=lambda scores: scores.name)
    left_out = len(classes) - len(shown)
    more = [f"  and {left_out:,} rarer ones; JSON has them all"] if left_out else []
    return [_class_heading("Superclasses"), *map(_class_row, shown), *more] if shown else []


def _worst_block(metrics: Metrics) -> list[str]:
    imperfect = [scores for scores in metrics.subclasses if scores.support and scores.f1 < 1]
    worst = sorted(imperfect, key=lambda scores: (scores.f1, -scores.support, scores.name))[:_WORST]
    return [_class_heading("Worst subclasses by F1"), *map(_class_row, worst)] if worst else []


def _confusion_block(confusion: Confusion) -> list[str]:
    """The labels most often given in place of another. Backing off confuses nothing: not shown."""
    wrong = [
        (count, truth, predicted)
        for truth, predicted, count in confusion.cells
        if truth != predicted and confusion.labels[predicted] is not None
    ]
    if not wrong:
        return []
    names = [_fit("(no known subclass)" if label is None else label) for label in confusion.labels]
    rows = [f"{pad('Most frequent confusions', _NAME_WIDTH + 4)}{pad('taken for', _NAME_WIDTH)}{'photos':>12}"]
    for count, truth, predicted in sorted(wrong, key=lambda row: (-row[0], row[1], row[2]))[:_CONFUSIONS]:
        rows.append(f"  {pad(names[truth], _NAME_WIDTH + 2)}{pad(names[predicted], _NAME_WIDTH)}{count:>12,}")
    return rows


def _class_heading(title: str) -> str:
    return f"{title:<44}{'photos':>12}{'precision':>12}{'recall':>12}{'F1':>12}"


def _class_row(scores: ClassScores) -> str:
    numbers = (
        f"{scores.support:,}",
        _percent(scores.precision),
        _percent(scores.recall),
        _percent(scores.f1),
    )
    return f"  {pad(_fit(scores.name), 42)}" + "".join(f"{number:>12}" for number in numbers)


def _photos(count: int) -> str:
    return "photo" if count == 1 else "photos"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"


def _height(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _fit(name: str) -> str:
    return shorten(printable(name), _NAME_WIDTH)
