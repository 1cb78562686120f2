"""`phototag audit sample`."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import CLUSTERS, LARGEST_SEED, Allocation, Focus, OutputFormat, StrataBy
from phototag.cli.messages import say
from phototag.cli.options import EnumChoice, PhotoPlace, db_option, format_option
from phototag.paths import PhotoPath
from phototag.text import Column, numbers, percent, table

if TYPE_CHECKING:
    from phototag.store import Sample, Store

SIZE = 200


@click.command()
@click.argument("name", required=False)
@click.option("--size", type=click.IntRange(min=1), metavar="N", help=f"Photos to sample. [default: {SIZE}]")
@click.option(
    "--by",
    type=EnumChoice(StrataBy),
    help="Sample from each part of the library. score is best to know the whole, superclass and subclass to know each "
    "class. group samples series, bursts and copies together instead; "
    "event what one camera took within seconds.",
)
@click.option(
    "--allocation",
    type=EnumChoice(Allocation),
    default=Allocation.PROPORTIONAL.value,
    show_default=True,
    help="How many each part gives: in proportion to its photos; neyman: more where scores are uncertain; equal: as "
    "many from each.",
)
@click.option(
    "--seed", type=click.IntRange(0, LARGEST_SEED), metavar="N", help="Sample the same photos again. [default: new]"
)
@click.option("--focus", type=EnumChoice(Focus), help="Choose doubtful photos instead. Not fit for estimates.")
@click.option("--more", type=click.IntRange(min=1), metavar="N", help="Add N photos to the sample NAME.")
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Only photos at or below this path.")
@click.option("--model", "model_name", metavar="MODEL", help="Only photos tagged by this model.")
@click.option("--superclass", metavar="S", help="Only photos tagged with this superclass.")
@click.option(
    "--remove", "removed", is_flag=True, help="Remove the sample NAME. Reviews made for it stay as corrections of tags."
)
@click.option("--list", "listed", is_flag=True, help="List all samples, and how far their review is.")
@format_option
@db_option
def sample(
    name: str | None,
    size: int | None,
    by: StrataBy | None,
    allocation: Allocation,
    seed: int | None,
    focus: Focus | None,
    more: int | None,
    under: PhotoPath | None,
    model_name: str | None,
    superclass: str | None,
    removed: bool,
    listed: bool,
    form: OutputFormat,
    db: str | None,
) -> None:
    """Sample photos for review, so that a few of them say how accurate all tags are.

    Photos are sampled at random from all readable ones that a model tagged. NAME is the sample's; by default it is the
    next of sample-1, sample-2 and so on. Review it with 'phototag audit review', then run 'phototag audit report'.
    """
    _check(name, size, by, allocation, seed, focus, more, (under, model_name, superclass), listed, removed)
    from phototag.audit import Scope, create_sample, extend_sample, focus_sample
    from phototag.store import Store

    with Store.open(db, create=False) as store:
        if listed:
            _list(store, form)
            return
        if removed and name is not None:
            _remove(store, name, form)
            return
        scope = Scope(under, model_name, superclass)
        if more is not None and name is not None:
            made = extend_sample(store, name, more=more)
        elif focus is not None:
            made = focus_sample(store, focus, size=size or SIZE, name=name, scope=scope)
        else:
            made = create_sample(
                store,
                size=size or SIZE,
                name=name,
                scope=scope,
                by=by,
                allocation=allocation,
                seed=seed,
            )
        click.echo(json.dumps(_described(made, store)) if form is OutputFormat.JSON else _table(made))
    if not made.for_estimation:
        say("Chosen, not sampled at random: reviews of these photos correct tags, but enter no estimate.")
    if (groups := made.parameters.get("groups")) is not None:
        say(_groups_line(groups, made))
    say(f"Review it: phototag audit review {shlex.quote(made.name)}")


def _check(
    name: str | None,
    size: int | None,
    by: StrataBy | None,
    allocation: Allocation,
    seed: int | None,
    focus: Focus | None,
    more: int | None,
    scope: tuple[Any, ...],
    listed: bool,
    removed: bool,
) -> None:
    """Refuse options that contradict each other."""
    drawing = {"--size": size, "--by": by, "--seed": seed, "--focus": focus, "--under": scope[0]}
    drawing |= {"--model": scope[1], "--superclass": scope[2]}
    given = [option for option, value in drawing.items() if value is not None]
    if listed and (given or more is not None or name is not None or removed):
        raise click.UsageError("--list goes with no other option than --format and --db")
    if removed and name is None:
        raise click.UsageError("--remove needs the NAME of the sample; see them all: phototag audit sample --list")
    if removed and (given or more is not None or allocation is not Allocation.PROPORTIONAL):
        raise click.UsageError("--remove goes with no other option than --format and --db")
    if more is not None and name is None:
        raise click.UsageError("--more needs the NAME of the sample to add photos to")
    if more is not None and allocation is not Allocation.PROPORTIONAL:
        given.append("--allocation")
    if more is not None and given:
        raise click.UsageError(f"--more keeps to what the sample was sampled from; leave out {', '.join(given)}")
    if focus is not None and (by is not None or seed is not None):
        raise click.UsageError("--focus samples nothing at random; leave out --by and --seed")
    if allocation is not Allocation.PROPORTIONAL and by in (None, *CLUSTERS) and more is None:
        raise click.UsageError(f"--allocation {allocation} needs --by with strata: it shares the photos out among them")


def _list(store: Store, form: OutputFormat) -> None:
    samples = store.samples.find_all()
    if form is OutputFormat.JSON:
        click.echo(json.dumps([_summary(one) for one in samples]))
        return
    if not samples:
        say("No samples yet; take one: phototag audit sample")
        return
    columns = [Column("sample"), Column("sampled on"), Column("design")]
    columns += numbers("photos", "of", "reviewed", "skipped", "changed", width=0)
    rows = [
        (
            one.name,
            f"{one.created_at.astimezone():%Y-%m-%d}",
            _design(one),
            f"{one.size:,}",
            f"{one.population:,}",
            f"{one.reviewed:,}",
            f"{one.skipped:,}",
            f"{one.changed:,}",
        )
        for one in samples
    ]
    click.echo("\n".join(table(columns, rows)))


def _remove(store: Store, name: str, form: OutputFormat) -> None:
    from phototag.audit import find_sample

    with store.writing("audit sample"):
        found = find_sample(store, name)
        kept = store.samples.remove(found.id)
    if form is OutputFormat.JSON:
        click.echo(json.dumps({"name": found.name, "size": found.size, "reviews_kept": kept}))
        return
    stays = "no review was made for it" if not kept else "1 review stays" if kept == 1 else f"{kept:,} reviews stay"
    say(f"Removed {found.name}: {stays}{' as corrections' if kept else ''}.")
    if found.for_estimation:
        say("Its photos are no longer kept out of 'phototag export labels', but for those in other samples.")


def _table(made: Sample) -> str:
    lines = [f"{made.name}: {made.size:,} of {made.population:,} photos, {_design(made)}"]
    if made.for_estimation:
        lines[0] += f", seed {made.seed}"
    if made.strata_by not in (None, *CLUSTERS):
        from phototag.audit import part_text

        columns = [Column(str(made.strata_by), 42, most=42), *numbers(("photos", 10), ("sampled", 8), ("chance", 8))]
        rows = [
            (part_text(each.name), f"{each.population:,}", f"{each.drawn:,}", percent(each.drawn / each.population, 2))
            for each in made.strata
        ]
        lines += ["", *table(columns, rows, indent="  ")]
    return "\n".join(lines)


def _groups_line(groups: dict[str, Any], made: Sample) -> str:
    found = f"{made.population:,} photos in {groups['groups']:,} {made.strata_by}s; the largest {groups['largest']:,}"
    if groups["compared"]:
        return f"{found}."
    if made.strata_by == StrataBy.EVENT:
        return f"{found}. Only copies count: no file says when and with which camera it was taken."
    return f"{found}. Only copies count: no scores are stored that tell which photos look alike."


def _design(made: Sample) -> str:
    from phototag.audit import design_text

    return design_text(made) if made.for_estimation else f"{made.design}: {made.parameters.get('focus')}"


def _summary(made: Sample) -> dict[str, Any]:
    return {
        "name": made.name,
        "created_at": made.created_at.isoformat(),
        "design": made.design.value,
        "by": made.strata_by,
        "size": made.size,
        "population": made.population,
        "seed": made.seed,
        "for_estimation": made.for_estimation,
        "reviewed": made.reviewed,
        "skipped": made.skipped,
        "changed": made.changed,
        "pending": made.pending,
    }


def _described(made: Sample, store: Store) -> dict[str, Any]:
    items = store.samples.items(made.id)
    return {
        **_summary(made),
        "strata": [{"name": each.name, "population": each.population, "drawn": each.drawn} for each in made.strata],
        "items": [
            {
                "position": item.position,
                "photo_id": item.photo_id,
                "path": bytes(item.path).decode("utf-8", "backslashreplace"),
                "stratum": item.stratum,
                "inclusion_probability": item.inclusion_probability,
                "superclass": item.tag.superclass,
                "subclass": item.tag.subclass,
            }
            for item in items
        ],
    }
