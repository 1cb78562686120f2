"""`phototag query`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import CountBy, OutputFormat, SortKey
from phototag.cli.formats import print_counts, print_rows
from phototag.cli.messages import data_out, say
from phototag.cli.options import EnumChoice, Moment, Near, Number, PhotoPlace, db_option
from phototag.export import EXPORTS
from phototag.paths import PhotoPath
from phototag.records import LEVELS, NovelTier, PhotoState, Reason, Source

if TYPE_CHECKING:
    from phototag.store import Query, Store

TABLE_LIMIT = 50
_ALL_STATES = "all"


class _NovelChoice(EnumChoice[NovelTier]):
    """A tier, or what switches a flag on and off in a configuration file or variable: `novel = true`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        switch = str(value).lower()
        if switch in ("true", "1", "yes", "on"):
            return NovelTier.ANY
        if switch in ("false", "0", "no", "off"):
            return None
        return super().convert(value, param, ctx)


class _ClassName(click.ParamType[str]):
    """The name of a class; names may hold blanks, so that a variable separates several by commas."""

    name = "class"
    envvar_list_splitter = ","


@click.command()
@click.option(
    "--superclass",
    type=_ClassName(),
    multiple=True,
    metavar="S",
    help="Photos of this superclass; given again: of any.",
)
@click.option(
    "--subclass",
    type=_ClassName(),
    multiple=True,
    metavar="S",
    help="Photos of this subclass, as in rooster or bird/rooster; given again: of any.",
)
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
@click.option("--min-score", type=Number(0, 1), metavar="X", help="At least this score, 0 to 1.")
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Photos at or below this path.")
@click.option("--source", type=EnumChoice(list(Source)), help="Who gave the tag.")
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in PhotoState), _ALL_STATES]),
    multiple=True,
    help="The state of the photo file; may be given several times. [default: all but missing]",
)
@click.option(
    "--partners",
    is_flag=True,
    help="Also list the second file of two that are one photo, such as the RAW beside its JPEG.",
)
@click.option("--model", "model_name", metavar="MODEL", help="Photos tagged by this model.")
@click.option(
    "--since",
    type=Moment(),
    metavar="DATE",
    help="Tagged then or later: 2026-05-31, 2026-05-31T08:00, in local time, or as 'tagged_at' is printed.",
)
@click.option(
    "--taken",
    metavar="WHEN",
    help="Taken then, by the camera's clock: 2026, 2026-05, 2026-05-03T14:00, or from..to, one of which may be left "
    "out.",
)
@click.option(
    "--camera",
    multiple=True,
    metavar="TEXT",
    help="Taken with a camera of whose name this is a part; given again: any.",
)
@click.option("--near", type=Near(), metavar="LAT,LON,KM", help="Taken within so many km of a place, in degrees.")
@click.option(
    "--keyword",
    multiple=True,
    metavar="TEXT",
    help="With this keyword in the file: a whole one, as in animal|bird, or a level of it; given again: any.",
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
@click.option("--count-by", type=EnumChoice(list(CountBy)), help="Print how many there are of each.")
@click.option(
    "--format", "form", type=EnumChoice(list(OutputFormat)), default=OutputFormat.TABLE.value, show_default=True
)
@click.option("--print0", is_flag=True, help="Paths, each ended by a NUL byte, for xargs -0.")
@db_option
def query(
    superclass: tuple[str, ...],
    subclass: tuple[str, ...],
    novel: NovelTier | None,
    reason: tuple[Reason, ...],
    min_score: float | None,
    under: PhotoPath | None,
    source: Source | None,
    state: tuple[str, ...],
    partners: bool,
    model_name: str | None,
    since: datetime | None,
    taken: str | None,
    camera: tuple[str, ...],
    near: tuple[float, float, float] | None,
    keyword: tuple[str, ...],
    limit: int | None,
    sort: str,
    count: bool,
    count_by: CountBy | None,
    form: OutputFormat,
    print0: bool,
    db: str | None,
) -> None:
    """Find photos by their tags, and by when, where and with what they were taken."""
    key = sort.removeprefix("-")
    if key not in list(SortKey):
        raise click.BadParameter(f"{key!r} is not one of {', '.join(SortKey)}", param_hint="--sort")
    if count_by is not None and (count or print0 or form is OutputFormat.PATHS):
        raise click.UsageError("--count-by prints numbers, not paths; leave out --count, --print0 and --format paths")
    from phototag.store import Query, Store

    if print0:
        form = OutputFormat.PATHS
    if limit is None and form is OutputFormat.TABLE and count_by is None:
        limit = TABLE_LIMIT
    # What is gone is shown to who asks for it, and so is a file that cannot be read beside one that can.
    asked = {*PhotoState} if _ALL_STATES in state else {PhotoState(name) for name in state}
    wanted = Query(
        superclass=superclass,
        subclass=subclass,
        novel=novel or False,
        reason=reason,
        min_score=min_score,
        under=under,
        source=source,
        state=asked or {*PhotoState} - {PhotoState.MISSING},
        leads_only=not partners and PhotoState.UNREADABLE not in asked,
        model=model_name,
        since=since,
        taken=taken,
        camera=camera,
        near=near,
        keyword=keyword,
        limit=limit,
        sort=SortKey(key),
        descending=sort.startswith("-"),
    )
    with Store.open(db, create=False) as store:
        for name, nearest in store.unknown_classes(wanted).items():
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
            say(f"No class here is called {name}{hint}")
        if count:
            click.echo(store.count(wanted))
        elif count_by is not None:
            _print_counts(store, wanted, count_by, form)
        elif form is not OutputFormat.TABLE:
            options = {"query": wanted, "format": form, "end": b"\0" if print0 else b"\n"}
            EXPORTS["rows"].write(store, options, data_out())
        else:
            _print_table(store, wanted)


def _print_counts(store: Store, wanted: Query, by: CountBy, form: OutputFormat) -> None:
    names = LEVELS if by is CountBy.SUBCLASS else (by.value,)
    counts = store.count_by(wanted, by)
    if counts or form is not OutputFormat.TABLE:
        untagged = store.count_by(wanted, CountBy.RANK)[None,] if names[0] == LEVELS[0] else 0
        print_counts(names, counts, form, limit=wanted.limit, untagged=untagged)
    else:
        say("No such photos.")


def _print_table(store: Store, wanted: Query) -> None:
    shown = print_rows(store.query(wanted), OutputFormat.TABLE)
    if not shown:
        say("No such photos.")
    elif shown == wanted.limit and (all_of_them := store.count(wanted)) > shown:
        say(f"The first {shown} of {all_of_them:,}; --limit shows more.")
