"""`phototag audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from phototag.choices import OutputFormat
from phototag.cli.audit_report import report as report_command
from phototag.cli.audit_review import review as review_command
from phototag.cli.audit_sample import sample as sample_command
from phototag.cli.messages import say
from phototag.cli.options import GivenPath, db_option, format_option, gates_option
from phototag.text import percent, percent_range

if TYPE_CHECKING:
    from phototag.audit import ImportReport, TruthGroups


@click.group()
def audit() -> None:
    """Say how accurate the stored tags are."""


@audit.command()
@click.argument("labels", type=GivenPath(path_type=Path))
@format_option
@gates_option
@click.option(
    "--import",
    "imports",
    is_flag=True,
    help="Afterwards store the labels as reviews: they become the photos' tags.",
)
@db_option
@click.pass_context
def truth(
    ctx: click.Context, labels: Path, form: OutputFormat, gates: tuple[str, ...], imports: bool, db: str | None
) -> None:
    """Compare the stored tags with known labels.

    LABELS is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass. In a CSV an
    empty superclass says "no label" (none of the known classes), an empty subclass "superclass only"; any tag there
    counts as wrong.
    """
    from phototag.audit import compare_with_truth, import_truth, load_truth
    from phototag.evaluation import failed_gates, parse_gates
    from phototag.report import metrics_text
    from phototag.store import Store

    wanted = parse_gates(gates)
    with Store.open(db, create=False) as store:
        data = load_truth(labels)
        result = compare_with_truth(store, data)
        stored = import_truth(store, data) if imports else None
    click.echo(result.json_text() if form is OutputFormat.JSON else metrics_text(result.metrics))
    by = ", ".join(f"{count:,} by {name}" for name, count in sorted(result.by.items()))
    say("", f"Tags compared: {by}")
    if result.untagged:
        say(f"{result.untagged} of {result.labelled} labelled photos have no tag: {result.example}")
    if result.groups.in_series:
        say(_in_series(result.groups))
    if result.unknown:
        say(f"Labels that no model here knows: {', '.join(result.unknown)}")
    if stored is not None:
        say(_imported(stored))
    failed = failed_gates(result.metrics, wanted)
    for line in failed:
        say(f"Gate missed: {line}")
    if failed:
        ctx.exit(1)


def _in_series(groups: TruthGroups) -> str:
    shares = [
        f"{level} {percent(one.value)} ({percent_range(one.low, one.high)})"
        for level, one in groups.accuracy.items()
        if one.value is not None and one.low is not None and one.high is not None
    ]
    return (
        f"{groups.in_series:,} of these photos lie in series: {groups.count:,} groups, the largest "
        f"{groups.largest:,}. Accuracy with 95 % intervals that count groups: {', '.join(shares)}"
    )


def _imported(stored: ImportReport) -> str:
    parts = [f"Stored as reviews: {stored.saved:,}"]
    if stored.known:
        parts.append(f"{stored.known:,} were known")
    if stored.kept:
        parts.append(f"{stored.kept:,} left since they were reviewed otherwise")
    if stored.unknown:
        parts.append(f"{stored.unknown:,} were never read (run: phototag tag)")
    return ", ".join(parts)


audit.add_command(sample_command)
audit.add_command(review_command)
audit.add_command(report_command)
