"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click

from phototag.inference.names import DEFAULT_BATCH_SIZE, Device, RuntimeName

Choice = TypeVar("Choice", bound=StrEnum)


class EnumChoice(click.Choice[Choice]):
    """A choice from an enum, written by its values; click itself writes the names."""

    def normalize_choice(self, choice: Any, ctx: click.Context | None) -> str:
        return str(choice)


class SharedOption(click.Option):
    """An option of several commands: its variable names the command, PHOTOTAG_TAG_DB, or all of them, PHOTOTAG_DB."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        name = self.opts[0].removeprefix("--").replace("-", "_").upper()
        own = f"{ctx.auto_envvar_prefix}_{name}"
        return os.environ.get(own) or os.environ.get(f"PHOTOTAG_{name}") or None


Command = TypeVar("Command", bound=Callable[..., Any])

db_option = click.option(
    "--db",
    cls=SharedOption,
    metavar="DB",
    help="Database: a path or an SQLAlchemy URL. [default: in the platform's data folder]",
)
model_option = click.option(
    "--model",
    "model_name",
    cls=SharedOption,
    metavar="MODEL",
    help="Model: a file, or a name that 'phototag model list' shows. [default: the active one]",
)
device_option = click.option(
    "--device",
    type=EnumChoice(list(Device)),
    default=Device.AUTO.value,
    cls=SharedOption,
    show_default=True,
    help="Where the network runs.",
)
runtime_option = click.option(
    "--runtime",
    type=EnumChoice(list(RuntimeName)),
    default=RuntimeName.AUTO.value,
    cls=SharedOption,
    show_default=True,
    help="What runs the network.",
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1, max=4096),
    default=DEFAULT_BATCH_SIZE,
    cls=SharedOption,
    show_default=True,
    help="Photos in a batch.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1, max=256),
    cls=SharedOption,
    help="Threads that decode. [default: one a core]",
)


def gates_option(command: Command) -> Command:
    """--fail-under METRIC=VALUE, repeatable."""
    decorate = click.option(
        "--fail-under",
        "gates",
        multiple=True,
        metavar="METRIC=VALUE",
        help="Exit with 1 if a metric is lower, as in subclass_accuracy=0.9 or hierarchical_f1=90%. Repeatable.",
    )
    return decorate(command)
