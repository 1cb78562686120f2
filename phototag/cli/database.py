"""`phototag db`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

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
    mode = "" if found.journal_mode is None else f", journal mode {found.journal_mode}"
    rows = [
        ("database", found.location),
        ("schema", found.revision),
        ("size", f"{found.size_bytes / 2**20:.1f} MiB{mode}"),
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
    from phototag.database import upgrade_database as run

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


@db.command("copy")
@db_option
@click.argument("target", metavar="TARGET")
def copy_library(db: str | None, target: str) -> None:
    """Copy the library into TARGET, which is empty or not there yet: a file, or the postgresql:// URL of a server.

    All of it is copied, as it is at one moment, or nothing. The database itself is only read, and others may use it
    meanwhile.
    """
    from tqdm import tqdm

    from phototag.database import copy_database

    with tqdm(desc="copying", unit="row", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        report = copy_database(db, target, progress=show)
    click.echo(report.target)
    rows = report.rows
    say(
        f"Copied {rows['photos']:,} photos, {rows['tags']:,} tags and {rows['reviews']:,} reviews "
        f"from {report.source}; it is used once --db, or PHOTOTAG_DB, names it."
    )


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


class _Duration(click.ParamType[timedelta]):
    """A number of minutes, hours, days or weeks, as in 36h or 30d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([mhdw])", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not like 30d; the units are m, h, d and w", param, ctx)
        return int(found[1]) * timedelta(**{_UNITS[found[2]]: 1})


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@db.command()
@db_option
@click.option(
    "--missing-for", type=_Duration(), default="30d", show_default=True, help="Missing for so long: 36h, 30d, 8w."
)
@click.option("--reviews", is_flag=True, help="Also remove photos that people reviewed or tagged, with their reviews.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(db: str | None, missing_for: timedelta, reviews: bool, dry_run: bool, yes: bool) -> None:
    """Remove photos whose files have been missing for long, after a backup of the database.

    No file is touched. Photos that people said something of stay unless --reviews is given; so do photos in samples for
    audits, those on disks that are not mounted, and those whose file is there again.
    """
    from phototag.store import Store, backup_database
    from phototag.tagging import plan_prune

    with Store.open(db, create=False) as store, ExitStack() as stack:
        if not dry_run:
            stack.enter_context(store.writing("phototag db prune"))
        plan = plan_prune(store, datetime.now(UTC) - missing_for, reviews=reviews)
        for number, why in (
            (plan.reviewed, "reviewed or tagged by people; --reviews removes them too"),
            (plan.sampled, "in samples for audits; see: phototag audit sample --list"),
            (plan.away, "on disks that are not mounted"),
            (plan.back, "there again; run phototag tag on their folder"),
        ):
            if number:
                say(f"{number:,} of the missing photos stay: {why}.")
        count = f"{len(plan.remove):,} photo{'' if len(plan.remove) == 1 else 's'}"
        if not plan.remove:
            say("Nothing to remove.")
        elif dry_run:
            say(f"Dry run: {count} would be removed.")
        else:
            if not yes:
                click.confirm(f"Remove {count} from the database?", abort=True, err=True)
            kept = f"; the database with them is kept in {backup_database(db)}"
            removed = store.photos.remove(plan.remove, reviewed=reviews)
            if removed < len(plan.remove):
                say(f"{len(plan.remove) - removed:,} stay, as something happened to them meanwhile.")
            say(f"Removed {removed:,} photo{'' if removed == 1 else 's'}{kept}.")
