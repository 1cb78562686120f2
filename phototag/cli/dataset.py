"""`phototag dataset`: look at labelled pictures before they are learned from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from phototag.choices import Device, GroupsBy, OutputFormat
from phototag.cli.labelled import from_keywords_option, keyword_map_option, keywords_db_option, labelled_source
from phototag.cli.messages import data_out, say
from phototag.cli.options import (
    EnumChoice,
    GivenPath,
    check_report,
    device_option,
    groups_option,
    workers_option,
)
from phototag.files import check_writable


@click.group()
def dataset() -> None:
    """Look at labelled pictures before a model learns from them."""


@dataset.command()
@click.argument("data", type=GivenPath(path_type=Path), required=False)
@from_keywords_option
@keyword_map_option
@keywords_db_option
@click.option(
    "--val", type=GivenPath(path_type=Path), metavar="DATA", help="Validation pictures: which of them are in DATA too?"
)
@click.option(
    "--report",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write an HTML page with the pictures, and JSON beside it.",
)
@click.option(
    "--csv",
    "sheet",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a CSV with a row for each suspect but near copies within a class, for 'phototag train --without'.",
)
@click.option(
    "--format",
    "form",
    type=EnumChoice([OutputFormat.TABLE, OutputFormat.JSON, OutputFormat.CSV]),
    default=OutputFormat.TABLE.value,
    show_default=True,
)
@groups_option
@device_option
@workers_option
def check(
    data: Path | None,
    library: Path | None,
    mapping: Path | None,
    db: str | None,
    val: Path | None,
    report: Path | None,
    sheet: Path | None,
    form: OutputFormat,
    groups: GroupsBy,
    device: Device,
    workers: int | None,
) -> None:
    """List labelled pictures that are likely labelled wrong, stand there twice, or look like none of the classes.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass. The worst come
    first. With --val those of its pictures are listed that are in DATA too, or nearly. Classes of fewer than three
    series are named, and series are counted. Nothing is changed: remove the rows of pictures that are fine from the
    CSV, and 'phototag train --without' leaves out the rest.
    """
    source = labelled_source(data, library, mapping, db)
    check_report(report)
    if sheet is not None:
        check_writable(sheet)
    from phototag.dataset import find_suspects
    from phototag.files import atomic_write, write_text
    from phototag.report import build_suspects_page, suspects_text, write_page
    from phototag.runtime import choose_target

    found = find_suspects(source, target=choose_target(device), val=val, groups=groups, workers=workers)
    described = json.dumps(found.to_json(), allow_nan=False)
    if report is not None:
        write_page(build_suspects_page(found), report)
        write_text(report.with_suffix(".json"), described)
    if sheet is not None:
        atomic_write(sheet, found.csv())
    if form is OutputFormat.CSV:
        output = data_out()
        output.write(found.csv())
        output.flush()
    else:
        click.echo(described if form is OutputFormat.JSON else suspects_text(found))
    if report is not None:
        say(f"Report: {report.absolute()}, figures: {report.with_suffix('.json').absolute()}")
    if sheet is not None:
        say(f"List: {sheet.absolute()}. Remove the rows of pictures that are fine; then: phototag train --without")
