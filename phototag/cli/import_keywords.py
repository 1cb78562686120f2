"""`phototag import keywords`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phototag.cli.messages import say
from phototag.cli.options import GivenPath, db_option
from phototag.text import Column, numbers, printable, table

if TYPE_CHECKING:
    from phototag.review import KeywordImport, LabelImport

_COMMAND = "import keywords"
_MOST_LISTED = 20
_WIDTH = 60


@click.group("import")
def import_group() -> None:
    """Take what other programs know of photos."""


@import_group.command()
@click.argument("paths", nargs=-1, required=True, type=GivenPath(path_type=Path), metavar="PATH...")
@click.option(
    "--map",
    "mapping",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Columns keyword,superclass,subclass: which keyword is which class; one without a superclass is ignored, and "
    "so is all below it. Keywords that are unknown and not in it yet are added, to be filled in.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be stored, and store nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--replace", is_flag=True, help="Let keywords win over what a person said of a photo in phototag.")
@db_option
@click.pass_context
def keywords(
    ctx: click.Context,
    paths: tuple[Path, ...],
    mapping: Path | None,
    dry_run: bool,
    yes: bool,
    replace: bool,
    db: str | None,
) -> None:
    """Make tags of the keywords that people gave photos in other programs.

    Reads photos and sidecars at and below PATH; `phototag tag` must have read the photos before. A keyword names a
    class that is known if its last two levels do (Animals|bird|rooster), or without levels if no other class has its
    name; a superclass alone makes a tag of a superclass. Photos whose keywords name several classes are listed and left
    alone, and so are photos of which a person said otherwise. What phototag wrote itself does not count. Asks before it
    stores anything; where it cannot ask, it needs --yes or --dry-run.
    """
    from phototag.dataset import KeywordMap, add_to_map
    from phototag.review import import_labels, plan_labels, read_keyword_labels
    from phototag.store import Store

    can_ask = sys.stdin.isatty() and sys.stderr.isatty()
    if not (dry_run or yes or can_ask):
        raise click.UsageError("there is no terminal to ask on: add --yes to store the tags, or --dry-run to see them")
    known = KeywordMap.read(mapping) if mapping is not None and mapping.exists() else KeywordMap()
    with Store.open(db, create=False) as store:
        found = read_keyword_labels(store, paths, known)
        plan = plan_labels(store, found.labels, replace=replace)
        click.echo("\n".join(_preview(found, plan)))
        if mapping is not None:
            added = add_to_map(mapping, found.unknown.most_common())
            say(f"{added:,} unknown keywords added to {mapping}; fill in what is a class, leave the rest blank")
        elif found.unknown:
            say("To say what unknown keywords are: --map FILE.csv writes a file to fill in, and reads it.")
        if not plan.new or dry_run:
            say("Dry run: nothing was stored." if dry_run else "Nothing new to store.")
        elif yes or click.confirm(f"Store {len(plan.new):,} tags?", err=True):
            stored = import_labels(store, found.labels, command=_COMMAND, replace=replace)
            say(f"{len(stored.new):,} photos tagged by their keywords. To see them: phototag query --source human")
        else:
            say("Nothing was stored.")
    if found.problems:
        ctx.exit(1)


def _preview(found: KeywordImport, plan: LabelImport) -> list[str]:
    """Lines for people: what keywords say, and what comes of it."""
    lines: list[str] = []
    if found.named:
        rows = [
            (keyword, "/".join(filter(None, label)), f"{count:,}")
            for (keyword, label), count in found.named.most_common()
        ]
        lines += _first(table([Column("keyword", most=_WIDTH), Column("class"), *numbers("photos", width=9)], rows))
    if found.unknown:
        unknown = [(keyword, f"{count:,}") for keyword, count in found.unknown.most_common()]
        lines += ["", *_first(table([Column("unknown keyword", most=_WIDTH), *numbers("photos", width=9)], unknown))]
    if found.several:
        several = [
            (os.fspath(path), ", ".join("/".join(filter(None, label)) for label in labels))
            for path, labels in found.several
        ]
        lines += ["", *_first(table([Column("keywords name several classes"), Column("")], several))]
    counts = [
        ("photos", found.photos),
        ("with keywords", found.keyworded),
        ("whose keywords name several classes, left alone", len(found.several)),
        ("whose keywords name one class", len(found.labels) + len(found.changed)),
        ("  to be tagged", len(plan.new)),
        ("  of these, tagged otherwise by a model or an import", plan.replaced),
        ("  tagged so by a person already", plan.known),
        ("  of which a person said otherwise, left alone", plan.kept),
        ("  not in the database (run: phototag tag)", plan.unknown),
        ("  changed since they were tagged (run: phototag tag)", len(found.changed)),
    ]
    shown = [(words, f"{count:,}") for words, count in counts if count or words in ("photos", "  to be tagged")]
    lines += ["", *table([Column(""), *numbers("", width=9)], shown)]
    if found.problems:
        lines += ["", *_first(["cannot be read", *map(printable, found.problems)])]
    return lines


def _first(lines: list[str]) -> list[str]:
    """Return a header with its first lines, and how many more there are."""
    more = len(lines) - 1 - _MOST_LISTED
    return lines if more <= 0 else [*lines[: _MOST_LISTED + 1], f"and {more:,} more"]
