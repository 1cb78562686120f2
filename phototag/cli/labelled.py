"""Labelled data as commands take it: DATA, or a library whose photos hold keywords."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from phototag.cli.options import GivenPath, SharedOption

if TYPE_CHECKING:
    from phototag.dataset import DataSource

from_keywords_option = click.option(
    "--from-keywords",
    "library",
    type=GivenPath(path_type=Path),
    metavar="PATH",
    help="Instead of DATA a library whose photos or sidecars hold keywords: the last two levels of one like "
    "Animals|bird|rooster are superclass and subclass. Nothing is copied.",
)
keyword_map_option = click.option(
    "--map",
    "mapping",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Columns keyword,superclass,subclass: which keyword is which class; one without a superclass is ignored, and "
    "so is all below it.",
)
keywords_db_option = click.option(
    "--db",
    cls=SharedOption,
    metavar="DB",
    help="For --from-keywords, the database that knows which keywords phototag wrote itself, as these say nothing. "
    "[default: in the platform's data folder]",
)


def labelled_source(data: Path | None, library: Path | None, mapping: Path | None, db: str | None) -> DataSource:
    """Return what DATA, or --from-keywords with --map and --db, names.

    Raises:
        click.UsageError: neither is given, or both.
        StoreError: the database that may know which keywords phototag wrote itself cannot be read.
    """
    if (data is None) == (library is None):
        raise click.UsageError("name the labelled pictures: either DATA or --from-keywords PATH")
    if library is None:
        if mapping is not None:
            raise click.UsageError("--map says what keywords are: it goes with --from-keywords")
        return cast(Path, data)
    from phototag.database import database_exists, parse_location
    from phototag.dataset import KeywordedLibrary
    from phototag.metadata import WrittenKeywords
    from phototag.store import Store
    from phototag.tagging import written_keywords

    location = parse_location(db)
    if location.path is not None and not database_exists(location):
        return KeywordedLibrary(library, mapping, WrittenKeywords())
    with Store.open(db, create=False) as store:
        return KeywordedLibrary(library, mapping, written_keywords(store))
