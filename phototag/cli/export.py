"""`phototag export`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phototag.cli.export_xmp import xmp
from phototag.cli.messages import data_out, say
from phototag.cli.options import EnumChoice, GivenPath, Number, PhotoPlace, db_option
from phototag.export import EXPORTS

if TYPE_CHECKING:
    from phototag.export import Export, ExportOption


def group_of(exports: Mapping[str, Export]) -> click.Group:
    """Return the command with a sub-command for each export that has words for one."""
    commands = [_command_of(each) for each in exports.values() if each.help is not None]
    return click.Group("export", commands, help="Write what the database holds for other uses.")


def _command_of(made: Export) -> click.Command:
    """Return the command that writes an export to stdout or to a file."""

    def run(output: Path | None, db: str | None, **options: Any) -> None:
        from phototag.files import atomic_write
        from phototag.store import Store

        target = data_out() if output is None else io.BytesIO()
        with Store.open(db, create=False) as store:
            written = made.write(store, options, target)
        target.flush()
        if isinstance(target, io.BytesIO) and output is not None:
            atomic_write(output, target.getvalue())
        place = f" to {output}" if output is not None else ""
        for line in (f"{written.count:,} {made.things}{place}.", *written.notes):
            say(line)
        if not written.count:
            click.get_current_context().exit(1)

    command = click.command(made.name, help=made.help)(db_option(run))
    output = click.Option(
        ["--output"],
        type=GivenPath(path_type=Path, dir_okay=False),
        metavar=f"FILE{made.suffix}",
        help="[default: to stdout]",
    )
    command.params[:0] = [output, *map(_option, made.options)]
    return command


def _option(option: ExportOption) -> click.Option:
    name = f"--{option.name}"
    if issubclass(option.type, StrEnum):
        return click.Option([name, option.key], type=EnumChoice(option.type), multiple=True, help=option.help)
    if option.type is float:
        return click.Option([name, option.key], type=Number(0, 1), metavar="X", help=option.help)
    if option.type is Path:
        return click.Option([name, option.key], type=PhotoPlace(), metavar="PATH", help=option.help)
    return click.Option([name, option.key], is_flag=True, help=option.help)


export = group_of(EXPORTS)
export.add_command(xmp)
