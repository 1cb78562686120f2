"""`phototag audit report`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from phototag.choices import By, OutputFormat
from phototag.cli.messages import say
from phototag.cli.options import (
    EnumChoice,
    GivenPath,
    Number,
    PhotoPlace,
    check_report,
    db_option,
    format_option,
    gates_option,
)
from phototag.paths import PhotoPath

HALF_WIDTH = 0.03


@click.command()
@click.option(
    "--sample", "name", metavar="NAME", help="Use this sample alone. [default: the newest, and those like it]"
)
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Only photos at or below this path.")
@click.option(
    "--by", type=EnumChoice(By), default=By.SUPERCLASS.value, show_default=True, help="What to list one by one."
)
@click.option("--ppi", "predictions", is_flag=True, help="Let the scores of all photos make the intervals narrower.")
@click.option("--plan", "planned", is_flag=True, help="Say how many more reviews it takes to know it better.")
@click.option(
    "--half-width",
    type=Number(0.001, 0.5),
    metavar="X",
    help=f"With --plan: how far intervals may reach to either side. [default: {HALF_WIDTH}]",
)
@format_option
@click.option(
    "--report",
    "page",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write an HTML page, and JSON beside it.",
)
@gates_option
@db_option
@click.pass_context
def report(
    ctx: click.Context,
    name: str | None,
    under: PhotoPath | None,
    by: By,
    predictions: bool,
    planned: bool,
    half_width: float | None,
    form: OutputFormat,
    page: Path | None,
    gates: tuple[str, ...],
    db: str | None,
) -> None:
    """Say how accurate all tags are, from the photos of samples that were reviewed.

    Only random samples count, and only photos whose file has not changed since. Each share comes with the
    interval that holds the true one 95 times in 100. --fail-under looks at the lower end of the interval: a gate is met
    when the reviews show it, not by luck.
    """
    check_report(page)
    if half_width is not None and not planned:
        raise click.UsageError("--half-width needs --plan")
    from phototag.audit import make_report, missed_gates, read_gates, worth_fitting
    from phototag.report import audit_text
    from phototag.store import Store

    wanted = read_gates(gates)
    with Store.open(db, create=False) as store:
        found = make_report(
            store,
            sample=name,
            under=under,
            by=by,
            predictions=predictions,
            half_width=(half_width or HALF_WIDTH) if planned else None,
        )
    click.echo(found.json_text() if form is OutputFormat.JSON else audit_text(found))
    if page is not None:
        from phototag.files import write_text
        from phototag.report import build_audit_page, write_page

        write_page(build_audit_page(found), page)
        write_text(page.with_suffix(".json"), found.json_text())
        say(f"Report: {page.absolute()}, figures: {page.with_suffix('.json').absolute()}")
    if worth_fitting(found):
        say(f"Fit the model to this library: phototag model tune --reviews {shlex.quote(found.samples[0].name)}")
    missed = missed_gates(found, wanted)
    for line in missed:
        say(f"Gate missed: {line}")
    if missed:
        ctx.exit(1)
