"""`phototag novel`."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import MIN_GROUP_SIZE, OutputFormat
from phototag.cli.messages import data_out, say
from phototag.cli.options import EnumChoice, GivenPath, PhotoPlace, db_option, format_option, model_option
from phototag.paths import PhotoPath
from phototag.records import NovelTier
from phototag.taxonomy import NO_LABEL
from phototag.text import Column, numbers, table

if TYPE_CHECKING:
    from phototag.discovery import Found, Group, Naming

TABLE_LIMIT = 20
_EXAMPLES = 5
_EXAMPLE_WIDTH = 60
_SHEETS = "novel-sheets"
_LABELS = "novel-labels.csv"


@click.group(invoke_without_command=True)
@model_option
@click.option("--under", type=PhotoPlace(), metavar="PATH", help="Photos at or below this path.")
@click.option(
    "--min-size",
    type=click.IntRange(min=2),
    default=MIN_GROUP_SIZE,
    show_default=True,
    metavar="N",
    help="The fewest photos of a group.",
)
@click.option(
    "--tier",
    type=EnumChoice(list(NovelTier)),
    default=NovelTier.ANY.value,
    show_default=True,
    help="superclass: photos with no label; subclass: photos tagged superclass only.",
)
@click.option(
    "--novel-only", is_flag=True, help="Leave out photos tagged with a known subclass, even if they fit a group better."
)
@click.option(
    "--sheets",
    type=GivenPath(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where to write contact sheets. [default: in the data folder]",
)
@click.option("--no-sheets", is_flag=True, help="Write no contact sheets.")
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help=f"Show at most N groups. [default: {TABLE_LIMIT}]"
)
@format_option
@db_option
@click.pass_context
def novel(
    ctx: click.Context,
    model_name: str | None,
    under: PhotoPath | None,
    min_size: int,
    tier: NovelTier,
    novel_only: bool,
    sheets: Path | None,
    no_sheets: bool,
    limit: int | None,
    form: OutputFormat,
    db: str | None,
) -> None:
    """Group photos of classes that the model never learned, so that you can name them and teach it.

    \b
    phototag novel                            group them, and write a contact sheet of each group
    phototag novel show 3                     all photos of group 3
    phototag novel name 3 bird/kea --except 7,12
                                              label them, but for numbers 7 and 12 of the sheet

    Takes the photos that MODEL found no subclass for, by the scores stored with them: no network runs. Groups also take
    in photos that were tagged with a known subclass but clearly fit the group better; on contact sheets a star marks
    these. Photos that a human tagged are left out, and so are those that fit no group clearly. A group's number holds
    until the next grouping.
    """
    if ctx.invoked_subcommand is not None:
        # What --db names is meant for the subcommand too.
        ctx.obj = db
        return
    from phototag.discovery import find_groups, keep
    from phototag.model import open_model
    from phototag.settings import data_folder, full_path, make_own_folder
    from phototag.store import Store

    if sheets is not None and no_sheets:
        raise click.UsageError("--sheets and --no-sheets exclude each other")
    model = open_model(model_name)
    with Store.open(db, create=False) as store:
        found = find_groups(store, model, under=under, tier=tier, min_size=min_size, novel_only=novel_only)
        keep(store, found.groups)
    limit = TABLE_LIMIT if limit is None and form is OutputFormat.TABLE else limit
    shown = found.groups.groups[:limit]
    folder = full_path(sheets or data_folder() / _SHEETS)
    if not sheets and not no_sheets:
        make_own_folder(folder)
    written = {} if no_sheets else _write_sheets(folder, shown, afresh=sheets is None)
    if form is OutputFormat.JSON:
        click.echo(json.dumps(_as_json(found, shown, written), indent=2))
    elif shown:
        click.echo("\n".join(_table(shown)))
    _summarise(found, model.name, len(shown), folder if written else None, min_size=min_size)
    if not found.groups.groups and (found.without_scores or found.without_embedding):
        ctx.exit(2)


def _write_sheets(folder: Path, groups: tuple[Group, ...], *, afresh: bool) -> dict[int, list[Path]]:
    """Write the contact sheets, by the groups' numbers; none for a group whose pictures cannot be read.

    `afresh`: sheets of an earlier grouping go, since they show other groups under the same numbers.
    """
    from tqdm import tqdm

    from phototag.discovery import write_sheets

    if afresh:
        for path in folder.glob("novel-group-*.jpg"):
            path.unlink(missing_ok=True)
    written = {}
    total = sum(len(group.members) for group in groups)
    with tqdm(desc="contact sheets", total=total, unit="photo", disable=None, leave=False) as progress:
        for group in groups:
            marked = {number for number, member in enumerate(group.members, start=1) if member.tagged_as is not None}
            pages = write_sheets(
                folder / f"novel-group-{group.id:02}.jpg",
                [(number, member.path) for number, member in enumerate(group.members, start=1)],
                heading=_heading(group),
                marked=marked,
                told=progress.update,
            )
            if pages:
                written[group.id] = pages
    return written


def _heading(group: Group) -> str:
    parts = [f"Group {group.id}: {len(group.members):,} photos, {group.superclass or NO_LABEL}"]
    parts += [f"closest known {group.closest}"] if group.closest else []
    parts += ["* tagged with a known subclass"] if group.taken else []
    return ", ".join(parts)


def _as_json(found: Found, shown: tuple[Group, ...], written: dict[int, list[Path]]) -> dict[str, Any]:
    return {
        "model": found.groups.model,
        "photos": found.photos,
        "grouped": found.grouped,
        "tagged": found.taken,
        "without_scores": dict(found.without_scores.most_common()),
        "without_embedding": found.without_embedding,
        "groups": [
            {
                "group": group.id,
                "count": len(group.members),
                "tagged": group.taken,
                "superclass": group.superclass,
                "closest": group.closest,
                "spread": round(group.spread, 3),
                "sheet": os.fspath(written[group.id][0]) if group.id in written else None,
                "sheets": [os.fspath(page) for page in written.get(group.id, [])],
                "examples": [str(member.path) for member in group.members[:_EXAMPLES]],
            }
            for group in shown
        ],
    }


def _table(groups: tuple[Group, ...]) -> list[str]:
    columns = [
        *numbers("group", "photos", "of them tagged", width=0),
        Column("superclass"),
        Column("closest known"),
        *numbers("spread", width=0),
        Column("most typical", most=_EXAMPLE_WIDTH),
    ]
    rows = [
        (
            str(group.id),
            f"{len(group.members):,}",
            f"{group.taken:,}",
            group.superclass or NO_LABEL,
            group.closest or "-",
            f"{group.spread:.2f}",
            str(group.members[0].path),
        )
        for group in groups
    ]
    return table(columns, rows)


def _summarise(found: Found, model: str, shown: int, folder: Path | None, *, min_size: int) -> None:
    """Print the summary: what was grouped, what was not and why, and what comes next."""
    count = len(found.groups.groups)
    left = found.without_scores.total() + found.without_embedding
    if found.without_scores:
        by = ", ".join(f"{name} {number:,}" for name, number in found.without_scores.most_common())
        say(
            f"No scores of model {model}: {found.without_scores.total():,} photos, tagged by {by}; run: phototag tag, "
            "or choose that model with --model"
        )
    if found.without_embedding:
        say(
            f"No embeddings: {found.without_embedding:,} photos, scored by an older phototag; run: phototag tag --force"
        )
    if not found.photos:
        say("No novel photos there.")
    elif not count and found.photos > left:
        say(f"{found.photos - left:,} novel photos, but no {min_size} of them are alike; try a smaller --min-size.")
    if not count:
        return
    alone = found.photos - left - found.grouped
    more = f", and {found.taken:,} that were tagged with a known subclass" if found.taken else ""
    groups = f"{count:,} {'group' if count == 1 else 'groups'}"
    say(f"{groups} with {found.grouped:,} novel photos{more}; {alone:,} novel ones are like no others, or not clearly.")
    if shown < count:
        say(f"The first {shown} of {count:,}; --limit shows more.")
    if folder is not None:
        say(f"Contact sheets: {folder}")
    say("Look at a group and name it: phototag novel name GROUP superclass/subclass [--except NUMBERS]")


@novel.command()
@click.argument("group", type=click.IntRange(min=1), metavar="GROUP")
@click.option(
    "--format",
    "form",
    type=EnumChoice([OutputFormat.PATHS, OutputFormat.JSON]),
    default=OutputFormat.PATHS.value,
    show_default=True,
)
@click.option("--print0", is_flag=True, help="Paths, each ended by a NUL byte, for xargs -0.")
@db_option
@click.pass_obj
def show(above: str | None, group: int, form: OutputFormat, print0: bool, db: str | None) -> None:
    """Show all photos of a group, the most typical first."""
    from phototag.discovery import kept
    from phototag.store import Store

    with Store.open(db or above, create=False) as store:
        found = kept(store).find(group)
    if print0 or form is OutputFormat.PATHS:
        end = b"\0" if print0 else b"\n"
        out = data_out()
        out.writelines(bytes(member.path) + end for member in found.members)
        out.flush()
        return
    described = {
        "group": found.id,
        "count": len(found.members),
        "tagged": found.taken,
        "superclass": found.superclass,
        "closest": found.closest,
        "spread": round(found.spread, 3),
        "named": found.named,
        "photos": [
            {
                "number": number,
                "path": str(member.path),
                "distance": round(member.distance, 3),
                "tagged": member.tagged_as,
            }
            for number, member in enumerate(found.members, start=1)
        ],
    }
    click.echo(json.dumps(described, indent=2))


@novel.command()
@click.argument("group", type=click.IntRange(min=1), metavar="GROUP")
@click.argument("label", metavar="SUPERCLASS/SUBCLASS")
@click.option("--except", "without", metavar="NUMBERS", help="All but these, as numbered on the sheet: 3,7-9.")
@click.option("--only", metavar="NUMBERS", help="Only these.")
@click.option(
    "--labels",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="The file to add to. [default: novel-labels.csv in the data folder]",
)
@click.option("--tag", is_flag=True, help="Also tag the photos with it, as if you had looked at each.")
@db_option
@click.pass_obj
def name(
    above: str | None,
    group: int,
    label: str,
    without: str | None,
    only: str | None,
    labels: Path | None,
    tag: bool,
    db: str | None,
) -> None:
    """Label the photos of a group, for training: adds rows filepath,superclass,subclass to a CSV file.

    The class may be new, or one that the model knows already. A photo that stands in the file gets the new label.
    """
    from phototag.discovery import kept, name_group, parse_label, select
    from phototag.settings import data_folder, full_path, make_own_folder
    from phototag.store import Store

    superclass, subclass = parse_label(label)
    file = full_path(labels or data_folder() / _LABELS)
    if not labels:
        make_own_folder(file.parent)
    with Store.open(db or above, create=False) as store:
        groups = kept(store)
        chosen = groups.find(group)
        members = select(chosen, only=only, without=without)
        naming = name_group(
            store, groups, chosen, members, superclass=superclass, subclass=subclass, labels=file, tag=tag
        )
    taxonomy = groups.taxonomy
    if subclass in taxonomy.subclass_index:
        say(f"The model knows {label} already: these are more examples of it.")
    elif superclass not in taxonomy.superclass_index:
        say(f"{superclass} is a new superclass.")
    _report(naming, label, file, groups.model, tagged=tag)


def _report(naming: Naming, label: str, file: Path, model: str, *, tagged: bool) -> None:
    written = naming.written
    same = len(naming.photos) - written.new - written.changed
    parts = [f"{written.new:,} new"]
    parts += [f"{written.changed:,} had another label"] if written.changed else []
    parts += [f"{same:,} had it already"] if same else []
    say(f"{len(naming.photos):,} photos are {label} in {file} ({', '.join(parts)}).")
    for reason, count in naming.left_out.most_common():
        say(f"Left out: {count:,} {reason}.")
    if tagged:
        say("They are tagged with it as well.")
    command = f"phototag train --extend {shlex.quote(model)} {shlex.quote(os.fspath(file))}"
    say(f"When all is named, teach it: {command}")
