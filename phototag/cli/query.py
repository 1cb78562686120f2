"""`phototag query`."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from phototag.choices import OutputFormat, SortKey
from phototag.cli.formats import print_rows
from phototag.cli.messages import say
from phototag.cli.options import EnumChoice, db_option
from phototag.export import EXPORTS
from phototag.records import NovelTier, PhotoState, Reason, Source

TABLE_LIMIT = 50


class _NovelChoice(EnumChoice[NovelTier]):
    """A tier, or what switches a flag on and off in a configuration file or variable: `novel = true`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        switch = str(value).lower()
        if switch in ("true", "1", "yes", "on"):
            return NovelTier.ANY
        if switch in ("false", "0", "no", "off"):
            return None
        return super().convert(value, param, ctx)


@click.command()
@click.option("--superclass", metavar="S", help="Photos of this superclass.")
@click.option("--subclass", metavar="S", help="Photos of this subclass, as in rooster or bird/rooster.")
@click.option(
    "--novel",
    type=_NovelChoice(list(NovelTier)),
    is_flag=False,
    flag_value=NovelTier.ANY.value,
    help="Photos without a subclass. superclass: those with no label; subclass: those tagged superclass only; any, or "
    "--novel alone: both.",
)
@click.option(
    "--reason",
    type=EnumChoice(list(Reason)),
    multiple=True,
    help="Why a model's tag goes no deeper; may be given several times.",
)
@click.option("--min-score", type=click.FloatRange(0, 1), metavar="X", help="At least this score, 0 to 1.")
@click.option("--under", type=click.Path(path_type=Path), metavar="PATH", help="Photos at or below this path.")
@click.option("--source", type=EnumChoice(list(Source)), help="Who gave the tag.")
@click.option("--state", type=EnumChoice(list(PhotoState)), help="The state of the photo file.")
@click.option("--model", "model_name", metavar="MODEL", help="Photos tagged by this model.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]),
    metavar="DATE",
    help="Tagged then or later, local time, as in 2026-05-31.",
)
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help=f"At most N photos. [default: {TABLE_LIMIT} in tables]"
)
@click.option(
    "--sort",
    metavar="KEY",
    default="path",
    show_default=True,
    help=f"{', '.join(SortKey)}; with a - in front the largest come first.",
)
@click.option("--count", is_flag=True, help="Print only how many there are.")
@click.option(
    "--format", "form", type=EnumChoice(list(OutputFormat)), default=OutputFormat.TABLE.value, show_default=True
)
@click.option("--print0", is_flag=True, help="Paths, each ended by a NUL byte, for xargs -0.")
@db_option
def query(
    superclass: str | None,
    subclass: str | None,
    novel: NovelTier | None,
    reason: tuple[Reason, ...],
    min_score: float | None,
    under: Path | None,
    source: Source | None,
    state: PhotoState | None,
    model_name: str | None,
    since: datetime | None,
    limit: int | None,
    sort: str,
    count: bool,
    form: OutputFormat,
    print0: bool,
    db: str | None,
) -> None:
    """Find photos by their tags."""
    key = sort.removeprefix("-")
    if key not in list(SortKey):
        raise click.BadParameter(f"{key!r} is not one of {', '.join(SortKey)}", param_hint="--sort")
    from phototag.store import Query, Store

    if print0:
        form = OutputFormat.PATHS
    if limit is None and form is OutputFormat.TABLE:
        limit = TABLE_LIMIT
    wanted = Query(
        superclass=superclass,
        subclass=subclass,
        novel=novel or False,
        reason=reason,
        min_score=min_score,
        under=Path(os.path.abspath(under)) if under is not None else None,  # noqa: PTH100  # folds ".."
        source=source,
        state=state,
        model=model_name,
        since=since.astimezone() if since is not None else None,
        limit=limit,
        sort=SortKey(key),
        descending=sort.startswith("-"),
    )
    with Store.open(db, create=False) as store:
        if count:
            click.echo(store.count(wanted))
            return
        if form is not OutputFormat.TABLE:
            options = {"query": wanted, "format": form, "end": b"\0" if print0 else b"\n"}
            EXPORTS["rows"].write(store, options, sys.stdout.buffer)
        else:
            shown = print_rows(store.query(wanted), form)
            if not shown:
                say("No such photos.")
            elif shown == limit and (all_of_them := store.count(wanted)) > shown:
                say(f"The first {shown} of {all_of_them:,}; --limit shows more.")
