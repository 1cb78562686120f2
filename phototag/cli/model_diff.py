"""`phototag model diff`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import OutputFormat, Scored
from phototag.cli.messages import say
from phototag.cli.options import EnumChoice, PhotoPlace, db_option, format_option
from phototag.paths import PhotoPath
from phototag.taxonomy import NO_LABEL, label_text
from phototag.text import Column, numbers, printable, table

if TYPE_CHECKING:
    from phototag.audit import ModelDiff
    from phototag.records import Tag

_TABLE_LIMIT = 10
_MOST_SUPERCLASSES = 20


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Photos at or below this path.")
@click.option(
    "--score",
    type=EnumChoice(Scored),
    default=Scored.NONE.value,
    show_default=True,
    help="First run the models on photos that they have not scored: on the reviewed ones, or all. Tags stay.",
)
@click.option(
    "--sampled-only",
    is_flag=True,
    help="Compare on photos that were sampled to estimate accuracy, and on no other review.",
)
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="Changes to list. [default: 10 in a table, otherwise all]"
)
@format_option
@db_option
@click.pass_context
def diff(
    ctx: click.Context,
    first: str,
    second: str,
    under: PhotoPath | None,
    score: Scored,
    sampled_only: bool,
    limit: int | None,
    form: OutputFormat,
    db: str | None,
) -> None:
    """Say what model B would change of what model A says, and by the reviewed photos which is better.

    Compares stored scores, each model deciding with its own thresholds: no file is read and no network runs, unless
    with --score. No tag is changed: 'phototag tag --model B' does that.
    """
    from phototag.audit import compare_models
    from phototag.model import open_model
    from phototag.store import Store

    models = open_model(first), open_model(second)
    most = limit if limit is not None or form is OutputFormat.JSON else _TABLE_LIMIT
    with Store.open(db, create=False) as store:
        if score is not Scored.NONE:
            from phototag.tagging import score_missing

            for model in models:
                done = score_missing(store, model, score, under=under)
                if done.failed or done.changed:
                    say(f"{model.name}: {done.failed:,} unreadable, {done.changed:,} changed since.")
        found = compare_models(store, *models, under=under, sampled_only=sampled_only, most_changes=most)
    if form is OutputFormat.JSON:
        click.echo(json.dumps(as_json(found), indent=2))
    elif found.decided or found.judged:
        click.echo("\n".join(diff_lines(found)))
    _summarise(found)
    if not found.decided and not found.judged:
        ctx.exit(2)


def as_json(found: ModelDiff) -> dict[str, Any]:
    """Return the difference as plain values; paths as in the rows of a query."""
    from phototag.records import LEVELS

    return {
        "models": [found.first, found.second],
        "photos": found.photos,
        "human": found.human,
        "without_scores": {name: found.without[name] for name in ("first", "second", "both")},
        "decided": found.decided,
        "changed": found.changed,
        "kinds": dict(found.kinds.most_common()),
        "superclasses": found.superclasses.to_json(),
        "changes": [
            {
                "path": str(change.path),
                "kind": change.kind,
                "before": _tag(change.before),
                "after": _tag(change.after),
            }
            for change in found.changes
        ],
        "reviewed": found.reviewed,
        "judged": found.judged,
        "judged_of_samples": found.sampled,
        "levels": {
            level: {
                "both_right": found.outcomes[level].both_right,
                "fixed": found.outcomes[level].fixed,
                "broken": found.outcomes[level].broken,
                "both_wrong": found.outcomes[level].both_wrong,
                "p": found.outcomes[level].p,
                "p_corrected": found.corrected_p[level],
                "verdict": found.verdict(level),
            }
            for level in LEVELS
        },
        "examples": {
            name: [
                {
                    "path": str(review.path),
                    "truth": {"superclass": review.superclass, "subclass": review.subclass},
                    "before": _tag(before),
                    "after": _tag(after),
                }
                for review, before, after in examples
            ]
            for name, examples in found.examples.items()
        },
    }


def _tag(tag: Tag) -> dict[str, Any]:
    return {
        "superclass": tag.superclass,
        "subclass": tag.subclass,
        "rank": tag.rank,
        "superclass_score": round(tag.superclass_score, 6),
        "subclass_score": round(tag.subclass_score, 6),
    }


def diff_lines(found: ModelDiff) -> list[str]:
    """Return lines for people: what would change, by type and superclass, and what the reviewed photos say."""
    counts = [(name, f"{number:,}") for name, number in found.kinds.most_common()]
    lines = table([Column(), *numbers("photos", width=0)], counts)
    moved = sorted(
        ((name, flow) for name, flow in found.superclasses.items() if flow.changed), key=lambda item: -item[1].changed
    )
    if moved:
        columns = [Column("superclass"), *numbers(found.first, found.second, "changed", width=0)]
        rows = [
            (name or NO_LABEL, f"{flow.before:,}", f"{flow.after:,}", f"{flow.changed:,}")
            for name, flow in moved[:_MOST_SUPERCLASSES]
        ]
        lines += ["", *table(columns, rows)]
        if len(moved) > _MOST_SUPERCLASSES:
            lines.append(f"and {len(moved) - _MOST_SUPERCLASSES} more; --format json has all")
    if found.changes:
        lines += ["", "would change, for example" if found.changed > len(found.changes) else "would change"]
        lines += [f"  {_line(change.path, _label(change.before), _label(change.after))}" for change in found.changes]
    return lines + _judged_lines(found)


def _judged_lines(found: ModelDiff) -> list[str]:
    if not found.judged:
        return []
    columns = [Column("reviewed photos"), *numbers("both right", "fixed", "broken", "both wrong", "p", width=0)]
    rows = [
        (
            level,
            *(f"{number:,}" for number in (one.both_right, one.fixed, one.broken, one.both_wrong)),
            f"{found.corrected_p[level]:.2g}",
        )
        for level, one in found.outcomes.items()
    ]
    lines = ["", *table(columns, rows)]
    for name, examples in found.examples.items():
        if examples:
            lines += ["", f"{name}, for example"]
            lines += [
                f"  {_line(review.path, _label(before), _label(after))}; it is {_label(review)}"
                for review, before, after in examples
            ]
    return lines


def _line(path: PhotoPath, before: str, after: str) -> str:
    return f"{printable(str(path))}: {before} -> {after}"


def _label(tag: Any) -> str:
    return printable(label_text(tag.superclass, tag.subclass))


def _summarise(found: ModelDiff) -> None:
    """Print the summary: how many photos, which is better, and what the numbers leave out."""
    parts = [f"{found.decided:,} photos compared", f"{found.changed:,} would change"]
    if found.human:
        parts.append(f"{found.human:,} tagged by a human would stay")
    say(f"{', '.join(parts)}.")
    names = {"first": found.first, "second": found.second, "both": f"{found.first} and of {found.second}"}
    for which, count in found.without.items():
        say(f"No scores of {names[which]}: {count:,} photos; --score all runs it on them, tags stay.")
    if not found.reviewed:
        say("No reviewed photos there, so nothing says which model is better.")
        return
    unscored = found.reviewed - found.judged
    if unscored:
        say(f"{unscored:,} reviewed photos lack scores of a model; --score reviewed runs it on them.")
    for level in found.outcomes:
        say(found.verdict(level))
    say("p: McNemar's exact test, corrected after Holm for the two levels.")
    others = found.judged - found.sampled
    if others:
        say(
            f"{others:,} of these photos were not sampled to estimate accuracy: they need not be like the others, and "
            "a model that was trained on them (phototag export labels) looks better than it is; see --sampled-only."
        )
