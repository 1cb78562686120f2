"""`phototag`: the command group, its exit codes, and how errors reach the user."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from phototag._version import __version__
from phototag.cli.audit import audit
from phototag.cli.database import db
from phototag.cli.evaluate import evaluate
from phototag.cli.model import model
from phototag.cli.query import query
from phototag.cli.tag import tag
from phototag.cli.train import train
from phototag.errors import PhotoTagError
from phototag.settings import load_config

EXIT_INCOMPLETE = 1
EXIT_USAGE = 2


class _Failed(click.ClickException):
    exit_code = EXIT_USAGE


class _Group(click.Group):
    """Turns every error that phototag raises on purpose into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PhotoTagError as error:
            # File names that are not UTF-8 hold surrogates, which no terminal takes.
            text = str(error).encode("utf-8", "backslashreplace").decode()
            raise _Failed(text) from error


def _load_defaults(ctx: click.Context) -> None:
    """The configuration file as click's defaults: top-level keys hold for all commands, tables for one."""
    config = {key.replace("-", "_"): value for key, value in load_config().items()}
    shared = {key: value for key, value in config.items() if not isinstance(value, dict)}
    defaults: dict[str, Any] = {}
    for name, command in cli.commands.items():
        own = {key.replace("-", "_"): value for key, value in config.get(name, {}).items()}
        defaults[name] = shared | own
        if isinstance(command, click.Group):
            defaults[name] |= dict.fromkeys(command.commands, shared | own)
    ctx.default_map = defaults


@click.group(
    cls=_Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "PHOTOTAG",
        "max_content_width": 100,
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="phototag")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Keep a photo library tagged with two-level labels, and say how accurate the tags are.

    \b
    phototag tag ~/Pictures                   tag all photos below a folder
    phototag query --superclass reptile       find photos
    phototag train my_photos/                 learn your own classes from superclass/subclass/*.jpg
    phototag audit truth labels.csv           compare the tags with the truth

    Data goes to stdout, words and progress to stderr. Exit codes: 0 done; 1 done, but some photos failed or a gate was
    missed; 2 wrong use, or nothing could be done.
    """
    _load_defaults(ctx)


for _command in (train, evaluate, tag, query, audit, model, db):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the `phototag` command."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("phototag")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        cli.main(prog_name="phototag")
    except BrokenPipeError:
        # The reader of a pipe has seen enough, as in `phototag query | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
