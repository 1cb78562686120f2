"""`phototag export`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from phototag.choices import ReviewOrigin
from phototag.cli.options import EnumChoice, db_option


@click.group()
def export() -> None:
    """Write what the database holds for other uses."""


@export.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv", help="[default: to stdout]"
)
@click.option(
    "--include-samples",
    is_flag=True,
    help="Also pictures that were drawn to estimate accuracy. A model that learns from them cannot be judged by them.",
)
@click.option("--under", type=click.Path(path_type=Path), metavar="PATH", help="Photos at or below this path.")
@click.option(
    "--origin",
    "origins",
    type=EnumChoice(ReviewOrigin),
    multiple=True,
    help="Only labels that came this way. Repeatable.",
)
@db_option
@click.pass_context
def labels(
    ctx: click.Context,
    output: Path | None,
    include_samples: bool,
    under: Path | None,
    origins: tuple[ReviewOrigin, ...],
    db: str | None,
) -> None:
    """Write reviewed photos as a CSV filepath,superclass,subclass, which `phototag train` takes as it is.

    A review counts while it is the newest of its photo and the file has not changed since. Photos that were drawn to
    estimate accuracy are left out.
    """
    from phototag.export import SAMPLED, collect
    from phototag.files import atomic_write
    from phototag.store import Store

    root = Path(os.path.abspath(under)) if under is not None else None  # noqa: PTH100  # folds ".."
    with Store.open(db, create=False) as store:
        found = collect(store, under=root, origins=origins or None, include_samples=include_samples)
    if output is not None:
        atomic_write(output, found.csv())
    else:
        sys.stdout.buffer.write(found.csv())
        sys.stdout.buffer.flush()
    target = f" to {output}" if output is not None else ""
    click.echo(f"{len(found.labels):,} labelled photos{target}.", err=True)
    kept_back = found.left_out.pop(SAMPLED, 0)
    if kept_back:
        click.echo(
            f"{kept_back:,} that were drawn to estimate accuracy are left out: photos used for training cannot judge "
            "that training (--include-samples takes them).",
            err=True,
        )
    for reason, count in found.left_out.most_common():
        click.echo(f"Left out: {count:,} {reason}.", err=True)
    if found.torn:
        click.echo(
            f"Under several superclasses, which training refuses: {', '.join(found.torn[:10])}; review these again.",
            err=True,
        )
    if not found.labels:
        click.echo("Nothing to train on: review photos first.", err=True)
        ctx.exit(1)
