"""`phototag db`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click

from phototag.choices import OutputFormat
from phototag.cli.messages import say
from phototag.cli.options import GivenPath, db_option, format_option
from phototag.text import Column, table

Name = TypeVar("Name", bound=str)


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@db_option
@format_option
def info(db: str | None, form: OutputFormat) -> None:
    """Show where the database is and what it holds."""
    from phototag.store import database_info as read

    found = read(db)
    last = found.last_run
    if form is OutputFormat.JSON:
        value: dict[str, object] = dataclasses.asdict(found)
        value["models"] = [
            {"name": model.name, "hash": model.hash, "backbone": model.backbone} for model in found.models
        ]
        click.echo(json.dumps(value, indent=2, default=str))
        return
    rows = [("database", found.location), ("schema", found.revision)]
    if found.size_bytes is not None:
        rows.append(("size", f"{found.size_bytes / 2**20:.1f} MiB, journal mode {found.journal_mode}"))
    rows += [
        ("photos", _counts(found.photos)),
        ("tags by rank", _counts(found.tags_by_rank)),
        ("tags by source", _counts(found.tags_by_source)),
        ("predictions", f"{found.predictions:,}"),
        ("models", ", ".join(model.name for model in found.models) or "none"),
    ]
    if last is not None:
        end = f"finished {_local(last.finished_at)}" if last.finished_at is not None else "not finished"
        rows.append(("last run", f"{last.kind}, {_local(last.started_at)}, {end}"))
    click.echo("\n".join(table([Column(width=14), Column()], rows)))


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _counts(counts: Mapping[Name, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "none"


@db.command()
@db_option
def upgrade(db: str | None) -> None:
    """Bring the database to this version's schema, after a backup."""
    from phototag.store import upgrade_database as run

    report = run(db)
    if report.before == report.after:
        say(f"Schema {report.after}: up to date.")
        return
    kept = f"; the old one is kept in {report.backup}" if report.backup is not None else ""
    say(f"Upgraded from schema {report.before} to {report.after}{kept}")


@db.command()
@db_option
@click.argument("target", required=False, type=GivenPath(path_type=Path), metavar="[TARGET]")
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def backup(db: str | None, target: Path | None, overwrite: bool) -> None:
    """Copy the database to TARGET, safely while others write. Without TARGET: beside it, with a time stamp."""
    from phototag.store import backup_database as run

    click.echo(run(db, target, overwrite=overwrite))


@db.command()
@db_option
@click.option("--pending", "list_pending", is_flag=True, help="Print the photos that wait for a tag.")
@click.pass_context
def check(ctx: click.Context, db: str | None, list_pending: bool) -> None:
    """Check the database: its structure, its references, and that every tag makes sense. Exits with 1 if not.

    Readable photos without a tag of the model that tagged last are counted as waiting; 'phototag tag' gives them one.
    """
    from phototag.cli.formats import write_path
    from phototag.store import check_database as run
    from phototag.store import pending_photos as find_pending

    report = run(db)
    for problem in report.problems:
        click.echo(problem)
    if list_pending and report.pending:
        for path in find_pending(db):
            write_path(path)
    pending = f", {report.pending:,} photos wait for a tag" if report.pending else ""
    say(
        f"{report.location}: {report.photos:,} photos, {report.tags:,} tags{pending}; "
        + (f"{len(report.problems)} problems." if report.problems else "sound.")
    )
    if report.problems:
        ctx.exit(1)
