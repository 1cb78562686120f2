"""`phototag retag`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import OutputFormat
from phototag.cli.messages import say
from phototag.cli.options import Number, PhotoPlace, db_option, format_option, model_option, novelty_options
from phototag.cli.tag import terminated_as_interrupted
from phototag.paths import PhotoPath
from phototag.taxonomy import NO_LABEL, label_text
from phototag.text import Column, numbers, percent, printable, table

if TYPE_CHECKING:
    from phototag.decision import Thresholds
    from phototag.tagging import Example, RetagReport

_MOST_SUPERCLASSES = 20


@click.command()
@model_option
@click.option(
    "--superclass-threshold",
    type=Number(0, 1),
    metavar="X",
    help="Least score of a superclass, 0 to 1. [default: the model's]",
)
@click.option(
    "--subclass-threshold",
    type=Number(0, 1),
    metavar="X",
    help="Least score of a subclass, 0 to 1. [default: the model's]",
)
@novelty_options
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Photos at or below this path.")
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would change.")
@format_option
@db_option
@click.pass_context
def retag(
    ctx: click.Context,
    model_name: str | None,
    superclass_threshold: float | None,
    subclass_threshold: float | None,
    novel_superclass_threshold: float | None,
    novel_subclass_threshold: float | None,
    under: PhotoPath | None,
    dry_run: bool,
    form: OutputFormat,
    db: str | None,
) -> None:
    """Decide photos again from their stored scores, with other thresholds or another model's scores.

    Takes every photo that a model tagged and that MODEL has scored before: no file is read and no network runs. Tags
    that a human gave stay. Thresholds given here hold for this run only; photos that come later get the model's own.
    """
    from phototag.model import open_model
    from phototag.store import Store
    from phototag.tagging import lost_labels
    from phototag.tagging import retag as run

    model = open_model(model_name)
    given = {
        "superclass": superclass_threshold,
        "subclass": subclass_threshold,
        "novel_superclass": novel_superclass_threshold,
        "novel_subclass": novel_subclass_threshold,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    thresholds = replace(model.header.thresholds, **changes)
    with Store.open(db, create=False) as store, terminated_as_interrupted():
        report = run(store, model, thresholds, under=under, dry_run=dry_run)
    if form is OutputFormat.JSON:
        click.echo(json.dumps(_as_json(report, model.name, thresholds, dry_run=dry_run), indent=2))
    elif report.decided:
        click.echo("\n".join(_table(report)))
    _summarise(report, model.name, thresholds, dry_run=dry_run)
    if not changes:
        say(*lost_labels(report.reasons, model.header, model.name))
    if report.interrupted:
        ctx.exit(1)
    if report.without_scores and not report.decided:
        ctx.exit(2)


def _as_json(report: RetagReport, model: str, thresholds: Thresholds, *, dry_run: bool) -> dict[str, Any]:
    """Return the report as plain values; paths as in the rows of a query."""
    return {
        "model": model,
        "thresholds": thresholds.to_json(),
        "dry_run": dry_run,
        "decided": report.decided,
        "changed": report.changed,
        "saved": report.saved,
        "transitions": dict(report.transitions.most_common()),
        "superclasses": report.superclasses.to_json(),
        "examples": [
            {
                "path": str(example.path),
                "transition": name,
                "before": {"superclass": example.superclass, "subclass": example.subclass, "rank": example.rank},
                "after": {
                    "superclass": example.tag.superclass,
                    "subclass": example.tag.subclass,
                    "rank": example.tag.rank,
                },
                "superclass_score": round(example.tag.superclass_score, 6),
                "subclass_score": round(example.tag.subclass_score, 6),
            }
            for name, examples in report.examples.items()
            for example in examples
        ],
        "without_scores": dict(report.without_scores.most_common()),
        "human": report.human,
        "interrupted": report.interrupted,
        "seconds": round(report.seconds, 3),
    }


def _table(report: RetagReport) -> list[str]:
    """Lines for people: by transition, by superclass, and examples."""
    counts = [(name, f"{number:,}") for name, number in report.transitions.most_common()]
    lines = table([Column(), *numbers("photos", width=9)], counts)
    moved = sorted(
        ((name, flow) for name, flow in report.superclasses.items() if flow.changed),
        key=lambda item: -item[1].changed,
    )
    if moved:
        columns = [Column("superclass"), *numbers("before", "after", "changed", width=9)]
        rows = [
            (name or NO_LABEL, f"{flow.before:,}", f"{flow.after:,}", f"{flow.changed:,}")
            for name, flow in moved[:_MOST_SUPERCLASSES]
        ]
        lines += ["", *table(columns, rows)]
        if len(moved) > _MOST_SUPERCLASSES:
            lines.append(f"and {len(moved) - _MOST_SUPERCLASSES} more; --format json has all")
    for name, examples in report.examples.items():
        lines += ["", f"{name}, for example"]
        lines += [f"  {_example(example)}" for example in examples]
    return lines


def _example(example: Example) -> str:
    tag = example.tag
    scores = f"{percent(tag.superclass_score, 0)}, {percent(tag.subclass_score, 0)}"
    before, after = _label(example.superclass, example.subclass), _label(tag.superclass, tag.subclass)
    return f"{printable(str(example.path))}: {before} -> {after} ({scores})"


def _label(superclass: str | None, subclass: str | None) -> str:
    return printable(label_text(superclass, subclass))


def _summarise(report: RetagReport, model: str, thresholds: Thresholds, *, dry_run: bool) -> None:
    """Print the summary on stderr: what was done, what was left alone and why."""
    if not report.decided and not report.without_scores:
        say("No photos that a model tagged there.")
        return
    parts = [f"{report.decided:,} decided again", f"{report.changed:,} changed"]
    if report.human:
        parts.append(f"{report.human:,} tagged by a human left alone")
    limits = f"superclass {thresholds.superclass:.4g}, subclass {thresholds.subclass:.4g}"
    if max(thresholds.novel_superclass, thresholds.novel_subclass) < 1:
        limits += f", novel above {thresholds.novel_superclass:.4g} and {thresholds.novel_subclass:.4g}"
    say(f"{', '.join(parts)}; model {model}, {limits}, {report.seconds:.1f} s.")
    if report.without_scores:
        by = ", ".join(f"{name} {number:,}" for name, number in report.without_scores.most_common())
        say(f"No scores of this model: {report.without_scores.total():,} photos, tagged by {by}; run: phototag tag")
    if report.interrupted:
        say("Interrupted; what was saved stays. Run it again to go on.")
    elif dry_run:
        say("Dry run: nothing was stored.")
