"""The command line as it describes itself: help texts, options, and the names that Python programs import."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import click
from click.testing import CliRunner
from contract_shapes import as_text

import phototag
from phototag.cli.main import cli

WIDTH = 100


def walk(context: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for `phototag` and each command and sub-command below it."""
    if context is None:
        context = click.Context(cli, info_name="phototag", **cli.context_settings)
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from walk(click.Context(command, info_name=name, parent=context))


def collect_help() -> dict[str, str]:
    """Return the help of each command, at a width of 100 columns."""
    found = {}
    for context in walk():
        words = context.command_path.split()[1:]
        result = CliRunner().invoke(cli, [*words, "--help"], prog_name="phototag", terminal_width=WIDTH)
        assert result.exit_code == 0, result.output
        found[f"help/{'-'.join(['phototag', *words])}.txt"] = result.stdout
    return found


def collect_options() -> dict[str, str]:
    """Return each command's arguments and options: flags, types, choices, defaults and environment variables."""
    commands = {context.command_path: _parameters(context) for context in walk()}
    return {"commands.json": as_text(commands)}


def collect_names() -> dict[str, str]:
    """Return the public names of the package."""
    return {"names.json": as_text(sorted(phototag.__all__))}


def _parameters(context: click.Context) -> dict[str, Any]:
    parameters = context.command.params
    found: dict[str, Any] = {
        "options": {
            " / ".join([*option.opts, *option.secondary_opts]): _option(option, context)
            for option in parameters
            if isinstance(option, click.Option)
        },
        "arguments": [_described(one) for one in parameters if isinstance(one, click.Argument)],
    }
    if isinstance(context.command, click.Group):
        found["commands"] = sorted(context.command.commands)
        found["without a command"] = context.command.invoke_without_command
    return found


def _option(option: click.Option, context: click.Context) -> dict[str, Any]:
    return {**_described(option), "flag": option.is_flag, "variables": _variables(option, context)}


def _described(parameter: click.Parameter) -> dict[str, Any]:
    told = parameter.to_info_dict()
    kind = parameter.type
    found = {
        "type": kind.name,
        # None, or click's own mark for "no default", depending on its version.
        "default": _plain(parameter.default),
        "required": parameter.required,
        "several": parameter.multiple or parameter.nargs != 1,
    }
    if isinstance(kind, click.Choice):
        found["choices"] = [_plain(choice) for choice in kind.choices]
    limits = {name: told["type"].get(name) for name in ("min", "max", "min_open", "max_open") if name in told["type"]}
    return {**found, "limits": limits} if limits else found


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else None
    return value if isinstance(value, str | int | float | bool | None) else None


def _variables(option: click.Option, context: click.Context) -> list[str]:
    """Find by trying which environment variables set an option."""
    flag = max(option.opts, key=len).removeprefix("--").replace("-", "_").upper()
    prefix = context.auto_envvar_prefix
    tried = dict.fromkeys([f"{prefix}_{str(option.name).upper()}", f"{prefix}_{flag}", f"PHOTOTAG_{flag}"])
    found = []
    for name in tried:
        with patch.dict(os.environ, {name: "1"}):
            for other in tried.keys() - {name}:
                os.environ.pop(other, None)
            if option.resolve_envvar_value(context) is not None:
                found.append(name)
    return found
