"""The report of a comparison, continued: single classes, confusions, and how it was done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phototag.comparison import Comparison, confusion, most_confused
from phototag.evaluation import RESAMPLES
from phototag.report import blocks
from phototag.report.page import Block, Section, definitions, figures, folded, matrix, percent
from phototag.report.photographs import photographs
from phototag.taxonomy import as_written

_CONFUSED = 15
_MATRIX_CLASSES = 20


def classes(comparison: Comparison) -> Section:
    """Share of each class that is recognised, by backbone."""
    shown: list[Block] = []
    for level, plural in ((0, "superclasses"), (1, "subclasses")):
        first = comparison.contenders[0].runs[0]
        names = first.superclasses if level == 0 else first.subclasses
        supports = np.bincount(first.truth[level], minlength=len(names))
        recalls = []
        for each in comparison.contenders:
            counts = confusion(each.runs, level)
            hits, totals = counts.diagonal(), counts.sum(axis=1)
            recalls.append(
                [hit / total if total else None for hit, total in zip(hits.tolist(), totals.tolist(), strict=True)]
            )
        rows = [
            blocks.ClassRow(name, int(supports[place]), tuple(recall[place] for recall in recalls))
            for place, name in enumerate(names)
        ]
        caption = f"Share of each class’s test pictures that are recognised, mean over seeds: {plural}"
        listed = blocks.class_table(rows, [each.name for each in comparison.contenders], caption=caption)
        shown.append(folded(f"All {len(names):,} {plural}", listed, shown=len(names) <= 10))
    return Section("Classes", "classes", shown)


def confusions(comparison: Comparison) -> Section:
    """Return what was confused with what, by backbone."""
    seeds = f", all {comparison.seeds} seeds together" if comparison.seeds > 1 else ""
    shown: list[Block] = []
    names = [as_written(name) for name in comparison.runs[0].superclasses]
    if len(names) <= _MATRIX_CLASSES:
        shown += [
            matrix(
                confusion(each.runs, 0).tolist(),
                names,
                caption=f"{each.name}: superclasses, rows are the truth{seeds}",
            )
            for each in comparison.contenders
        ]
    shown = [figures(*shown)] if shown else []
    shown.append(
        figures(
            *(
                blocks.confused_table(
                    most_confused(each.runs, count=_CONFUSED),
                    caption=f"{each.name}: subclasses most often confused{seeds}",
                )
                for each in comparison.contenders
            )
        )
    )
    for number, each in enumerate(comparison.contenders):
        title = f"{each.name}: all subclasses"
        names = list(each.runs[0].subclasses)
        shown.append(blocks.folded_map(confusion(each.runs, 1), names, title=title, shown=number == 0))
    return Section("Confusions", "confusions", shown)


def mistaken(comparison: Comparison) -> Section | None:
    """Return photographs of the worst mistakes and of the subclasses confused most, by backbone."""
    shown: list[Block] = []
    for each in comparison.contenders:
        mistakes = sorted((one for run in each.runs for one in run.mistakes), key=lambda one: -one.score)
        confused = most_confused(each.runs, count=_CONFUSED)
        shown += photographs(mistakes, confused, each.runs[0].subclasses, of=each.name)
    return Section("Photographs", "photographs", shown) if shown else None


def method(comparison: Comparison) -> Section:
    """Return what was trained, and how the figures were computed."""
    configuration, first = comparison.configuration, comparison.runs[0]
    tuned = {
        "heads": "linear heads on frozen features",
        "last": "the last stages and the heads",
        "full": "the whole network",
    }
    budget = f"{configuration['epochs']} epochs in steps of {configuration['batch_size']} pictures"
    sizes = sorted({run.size for run in comparison.runs})
    entries: dict[str, str | None] = {
        "What learned": tuned.get(first.tune, first.tune) + ("" if first.tune == "heads" else f", {budget}"),
        "Started from": "; ".join(f"{each.name}: {each.runs[0].weights}" for each in comparison.contenders),
        "Input": " and ".join(f"{size} px" for size in sizes),
        "Parts": (
            f"Of every class a share was kept for evaluation, the same for all trainings: {comparison.parts['test']:,} "
            f"pictures. Of the other {comparison.parts['training']:,}, each training keeps "
            f"{percent(configuration['val_fraction'], 0)} apart for the best epoch, thresholds and calibration."
        ),
        "Seeds": (
            f"{comparison.seeds} for each backbone; a seed changes the starting weights that are random, the order and "
            "augmentation of the pictures, and which of them are kept apart."
        ),
        "Bootstrap": (
            "Test pictures are resampled, the same for both backbones, and so are the trainings, of each for itself; "
            "widened to what Student’s distribution asks of so few trainings. "
            if comparison.seeds > 1
            else "Test pictures are resampled, the same for both backbones. "
        )
        + f"{RESAMPLES:,} times.",
        "McNemar": (
            "Exact, two-sided, over the pictures that one backbone has right and the other has wrong"
            + (
                "; a picture counts for the backbone with more trainings that have it right."
                if comparison.seeds > 1
                else "."
            )
        ),
    }
    if not configuration["pretrained"]:
        entries["Mind"] = (
            "All weights began random: the figures say what the backbones learn from these pictures alone in so many "
            "epochs, not how good they are after pretraining."
        )
    if first.unreadable:
        entries["Unreadable"] = f"{first.unreadable:,} test pictures could not be read and are left out."
    return Section("How it was done", "method", [definitions(entries)])


def footer(comparison: Comparison) -> list[str]:
    """Return lines that say where it was done, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in comparison.runs[0].versions.items())
    return [f"Data: {Path(comparison.source).absolute()}", f"Machine: {comparison.machine}", f"Versions: {versions}"]
