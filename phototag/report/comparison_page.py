"""The report of a comparison of backbones as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phototag.comparison import Comparison, Contender
from phototag.evaluation import PRECISIONS, auroc, reliability, risk_coverage, roc
from phototag.records import LEVELS
from phototag.report import blocks
from phototag.report.comparison_details import classes, confusions, footer, method, mistaken
from phototag.report.page import (
    Cell,
    Page,
    Section,
    figure,
    figures,
    folded,
    paragraph,
    percent,
    span_of,
    statements,
    table,
)
from phototag.report.plots import Axis, Estimate, Series, line_chart

_METRICS = (
    ("superclass_macro_f1", "Superclass, macro F1"),
    ("subclass_macro_f1", "Subclass, macro F1"),
    ("subclass_top5_accuracy", "Right subclass among the five best"),
    ("hierarchical_precision", "Hierarchical precision"),
    ("hierarchical_recall", "Hierarchical recall"),
    ("hierarchical_f1", "Hierarchical F1"),
    ("hierarchical_sample_f1", "Hierarchical F1, mean over pictures"),
    ("inconsistent_share", "Heads contradict each other"),
    ("superclass_coverage", "Superclass given"),
    ("superclass_precision_given", "Superclass right when given"),
    ("subclass_coverage", "Subclass given"),
    ("subclass_precision_given", "Subclass right when given"),
)


def build_comparison_page(comparison: Comparison) -> Page:
    """Build the page of a comparison."""
    parts, names = comparison.parts, [each.name for each in comparison.contenders]
    seeds = f"{comparison.seeds} trainings each" if comparison.seeds > 1 else "one training each"
    subtitle = (
        f"{', '.join(names)}: {seeds} on {parts['training']:,} pictures, evaluated on {parts['test']:,} others"
        + (f" and on {parts['novel']:,} of subclasses that were left out" if parts["novel"] else "")
    )
    sections = [
        _result(comparison),
        _accuracy(comparison),
        _calibration(comparison),
        _risk(comparison),
        _novelty(comparison),
        _cost(comparison),
        _curves(comparison),
        classes(comparison),
        confusions(comparison),
        mistaken(comparison),
        method(comparison),
    ]
    title = f"Backbones compared on {_title_of(comparison.source)}"
    return Page(title, subtitle, [section for section in sections if section is not None], footer(comparison))


def _title_of(source: str) -> str:
    """Return the last two parts of a path: folders of labelled pictures are often called train."""
    path = Path(source).absolute()
    return "/".join(path.parts[-2:]) if len(path.parts) > 2 else path.name


def _result(comparison: Comparison) -> Section:
    note = (
        "A difference counts as real when both tests below agree: McNemar’s on the test pictures, and the bootstrap "
        "over pictures and trainings."
        if comparison.seeds > 1
        else "With one training each, what another one would change is unknown: the intervals hold for these models."
    )
    columns = [
        "Pair",
        "Level",
        "Difference",
        "95 % interval",
        "p, bootstrap",
        "only the first right",
        "only the second",
        "p, McNemar",
    ]
    rows: list[list[Cell | str | None]] = [
        [
            f"{pair.first} − {pair.second}",
            pair.level,
            f"{100 * pair.difference:+.1f} points".replace("-", "−"),
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}".replace("-", "−"),
            _p(pair.p_corrected),
            f"{pair.only_first:,}",
            f"{pair.only_second:,}",
            _p(pair.mcnemar_corrected),
        ]
        for pair in comparison.pairs
    ]
    several = comparison.pairs[0].pairs > 1
    caption = "Differences of accuracy" + (
        f"; p corrected for {comparison.pairs[0].pairs} pairs after Holm" if several else ""
    )
    shown = [statements(pair.statement for pair in comparison.pairs), paragraph(note, note=True)]
    return Section(
        "Result", "result", [*shown, folded("The tests", table(columns, rows, caption=caption, numbers_from=2))]
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _accuracy(comparison: Comparison) -> Section:
    how = "pictures and trainings" if comparison.seeds > 1 else "pictures"
    charts = []
    for level in (1, 0):
        found = [(each.name, each.accuracy(level)) for each in comparison.contenders]
        estimates = [Estimate(name, one["mean"], one["low"], one["high"]) for name, one in found]
        caption = f"Mean with its 95 % interval, bootstrap over {how}. The axis need not begin at zero."
        charts.append(blocks.accuracy_chart(estimates, level=LEVELS[level], caption=caption))
    rows: list[list[Cell | str | None]] = [
        [f"{level.capitalize()} accuracy", *(_interval(each.accuracy(place)) for each in comparison.contenders)]
        for place, level in enumerate(LEVELS)
    ]
    rows += [[title, *(_spread(each.metric(name)) for each in comparison.contenders)] for name, title in _METRICS]
    rows += [
        [title, *(_spread(each.metric(name), share=False) for each in comparison.contenders)]
        for name, title in (
            ("hierarchical_distance", "Mean distance (0 to 2)"),
            ("mistake_severity", "Severity of mistakes"),
        )
    ]
    small = (
        "the 95 % interval of an accuracy, else least and most over seeds" if comparison.seeds > 1 else "95 % interval"
    )
    caption = (
        f"Means over {comparison.seeds} seeds; the smaller line is {small}."
        if comparison.seeds > 1
        else f"Smaller: {small}."
    )
    listed = table(["", *(each.name for each in comparison.contenders)], rows, caption=caption)
    note = (
        "Accuracies and hierarchical figures are of the best pair of superclass and subclass for every picture; what "
        "is “given” is what would be stored after backing off."
    )
    return Section("Accuracy", "accuracy", [figures(*charts), listed, paragraph(note, note=True)])


def _interval(found: Mapping[str, Any]) -> Cell:
    return Cell(percent(found["mean"]), found["mean"], span_of(found["low"], found["high"]))


def _spread(found: Mapping[str, float] | None, *, share: bool = True, digits: int = 2) -> Cell:
    """Return the mean of the runs, with the least and the most below where these differ."""
    if found is None:
        return Cell("")

    def text(value: float) -> str:
        return percent(value) if share else f"{value:,.{digits}f}"

    low, high = found["min"], found["max"]
    ends = span_of(low, high) if share else f"{text(low)} – {text(high)}"
    return Cell(text(found["mean"]), found["mean"], ends if text(low) != text(high) else None)


def _calibration(comparison: Comparison) -> Section:
    charts = []
    for level in (1, 0):
        curves = []
        for each in comparison.contenders:
            values = np.concatenate([run.values(level) for run in each.runs])
            right = np.concatenate([run.right(level) for run in each.runs])
            curves.append(reliability(each.name, values, right))
        caption = (
            "Each mark stands for equally many labels of about that score, with the 95 % interval of the share that "
            "is right. On the dashed line, of the labels with a score of 80 % four in five are right; below it, scores "
            "are overconfident."
        )
        charts.append(blocks.reliability_chart(curves, level=LEVELS[level], caption=caption))
    rows: list[list[Cell | str | None]] = []
    for name in ("subclass", "superclass"):
        ece = [_spread(each.metric(f"{name}_ece")) for each in comparison.contenders]
        rows.append([f"{name.capitalize()} ECE on the test pictures", *ece])
        for when in ("before", "after"):
            cells = [_spread(each.validation_error(name, when)) for each in comparison.contenders]
            rows.append([f"… on the validation pictures, {when} calibration", *cells])
    caption = "Expected calibration error: the mean gap between score and share right, over 15 bins. Lower is better."
    return Section(
        "Calibration",
        "calibration",
        [figures(*charts), table(["", *(each.name for each in comparison.contenders)], rows, caption=caption)],
    )


def _risk(comparison: Comparison) -> Section:
    charts = []
    for level in (1, 0):
        curves = [
            (each.name, [risk_coverage(run.values(level), run.right(level)) for run in each.runs])
            for each in comparison.contenders
        ]
        caption = "Keep only the best-scored part of the labels: how many of them are wrong? Lower is better."
        charts.append(blocks.risk_chart(curves, level=LEVELS[level], caption=caption))
    rows: list[list[Cell | str | None]] = []
    for level in (1, 0):
        for precision in PRECISIONS:
            shares = [each.coverage_at(level, precision) for each in comparison.contenders]
            rows.append(
                [
                    f"{LEVELS[level].capitalize()}, {percent(precision, None)} right",
                    *(percent(share) for share in shares),
                ]
            )
    caption = "How large a share of the pictures can keep its label so that this share of the labels kept is right."
    return Section(
        "Risk and coverage",
        "risk",
        [figures(*charts), table(["", *(each.name for each in comparison.contenders)], rows, caption=caption)],
    )


def _novelty(comparison: Comparison) -> Section | None:
    if not comparison.parts["novel"]:
        return None
    series = []
    for each in comparison.contenders:
        curves = np.array([roc(*run.novelties()) for run in each.runs])
        x, y = curves.mean(axis=0)
        series.append(Series(each.name, x.tolist(), y.tolist()))
    drawn = line_chart(
        series,
        title="Classes left out, found by novelty",
        description="Share of the pictures of classes left out that are found, over the share of known ones.",
        x=Axis("known pictures above the novelty", 0, 1, percent=True),
        y=Axis("pictures of classes left out", 0, 1, percent=True),
        diagonal=True,
    )
    contenders = comparison.contenders
    rows: list[list[Cell | str | None]] = [
        [
            "AUROC",
            *(_spread(each.spread(lambda run: auroc(*run.novelties())), share=False, digits=3) for each in contenders),
        ],
        [
            "Pictures of classes left out, given no subclass",
            *(_spread(each.spread(lambda run: run.novel_rejected)) for each in contenders),
        ],
        ["Known pictures given a subclass", *(_spread(each.metric("subclass_coverage")) for each in contenders)],
    ]
    count = len(comparison.novel_subclasses)
    text = (
        f"{count} of the subclasses {'was' if count == 1 else 'were'} left out of all trainings: "
        f"{', '.join(comparison.novel_subclasses)}. Their {comparison.parts['novel']:,} pictures are what no model was "
        "taught. AUROC is the chance that such a picture gets a higher novelty than a known one: 0.5 is guessing."
    )
    shown = [
        paragraph(text),
        figures(figure(drawn, title="Classes left out, found by novelty", names=[one.name for one in series])),
    ]
    return Section("Novelty", "novelty", [*shown, table(["", *(each.name for each in contenders)], rows)])


def _cost(comparison: Comparison) -> Section:
    rows: list[list[Cell | str | None]] = []
    for each in comparison.contenders:
        cost = comparison.costs.get(each.name)
        seconds = each.spread(lambda run: run.seconds)
        training = _spread(seconds, share=False, digits=0)
        speeds = None if cost is None else f"{min(cost['rounds']):.0f} to {max(cost['rounds']):.0f}"
        rows.append(
            [
                each.name,
                f"{each.runs[0].size} px",
                None if cost is None else f"{cost['parameters'] / 1e6:.2f} M",
                None if cost is None else f"{cost['multiply_adds'] / 1e9:.3f} G",
                None if cost is None else Cell(f"{cost['pictures_per_second']:.0f}", None, speeds),
                None if cost is None or cost["memory_bytes"] is None else f"{cost['memory_bytes'] / 2**20:,.0f} MiB",
                Cell(f"{training.text} s", training.value, training.more),
            ]
        )
    columns = ["", "input", "parameters", "multiply-adds", "pictures/s", "peak memory", "training"]
    cost = next(iter(comparison.costs.values()), None)
    how = (
        "Speed and memory were not measured: the models are no longer there."
        if cost is None
        else f"Speed: the network alone with {cost['runtime']} on {cost['device']} in batches of {cost['batch_size']}, "
        f"median of {len(cost['rounds'])} rounds, each backbone once a round (smaller: slowest to fastest). Memory: "
        + (
            "on the device."
            if cost["device"] == "cuda"
            else "a separate process that only scores, with all its libraries."
        )
        + " Multiply-adds: convolutions and linear layers for one picture; one is two floating-point operations."
    )
    return Section("Cost", "cost", [table(columns, rows), paragraph(how, note=True)])


def _curves(comparison: Comparison) -> Section | None:
    charts = []
    for key, title in (
        ("subclass_accuracy", "Validation accuracy, subclass"),
        ("superclass_accuracy", "Validation accuracy, superclass"),
        ("loss", "Training loss"),
    ):
        lines = [line for each in comparison.contenders if (line := _line(each, key)) is not None]
        if lines:
            charts.append((title, lines))
    if not charts:
        return None
    note = "Means over the seeds, with bands from least to most." if comparison.seeds > 1 else "One training each."
    return Section("Training", "training", [blocks.curve_figures(charts), paragraph(note, note=True)])


def _line(contender: Contender, key: str) -> Series | None:
    """Return mean, least and most over the runs, of every epoch that all of them have."""
    rows = [{entry["epoch"]: entry[key] for entry in run.curves if key in entry} for run in contender.runs]
    epochs = sorted(set.intersection(*(set(row) for row in rows)))
    if not epochs:
        return None
    values = np.array([[row[epoch] for epoch in epochs] for row in rows])
    band = len(rows) > 1
    return Series(
        contender.name,
        epochs,
        values.mean(axis=0).tolist(),
        low=values.min(axis=0).tolist() if band else None,
        high=values.max(axis=0).tolist() if band else None,
    )
