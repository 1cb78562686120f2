"""`phototag doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from phototag.cli.options import db_option
from phototag.text import Column, table

# Checks are shown as they come, so that the widths cannot wait for the widest.
_COLUMNS = (Column(width=7), Column(width=18), Column())


@click.command()
@db_option
@click.option("--quick", is_flag=True, help="Leave out the measurements of speed, which take about ten seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, fit for a bug report.")
@click.pass_context
def doctor(ctx: click.Context, db: str | None, quick: bool, as_json: bool) -> None:
    """Check this computer, the installation, the active model and the database, and measure the speed.

    Says what to do about whatever is not well. Exits with 1 if something does not work.
    """
    from phototag._version import __version__
    from phototag.doctor import State, examine

    checks = []
    for check in examine(db, quick=quick):
        checks.append(check)
        if not as_json:
            rows = [(str(check.state), check.name, check.text)]
            rows += [] if check.remedy is None else [("", "", f"-> {check.remedy}")]
            click.echo("\n".join(table(_COLUMNS, rows)))
    worst = max((check.state for check in checks), key=list(State).index)
    if as_json:
        described = [asdict(check) for check in checks]
        click.echo(json.dumps({"phototag": __version__, "state": worst, "checks": described}, indent=2))
    if worst is State.FAILED:
        ctx.exit(1)
