"""`phototag`: the command group, its exit codes, and how errors reach the user."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from phototag._version import __version__
from phototag.cli.audit import audit
from phototag.cli.compare import compare
from phototag.cli.database import db
from phototag.cli.dataset import dataset
from phototag.cli.doctor import doctor
from phototag.cli.evaluate import evaluate
from phototag.cli.export import export
from phototag.cli.import_keywords import import_group
from phototag.cli.messages import ReaderLeftError, guard_streams, indented
from phototag.cli.model import model
from phototag.cli.novel import novel
from phototag.cli.query import query
from phototag.cli.retag import retag
from phototag.cli.serve import serve
from phototag.cli.tag import tag
from phototag.cli.train import train
from phototag.cli.watch import status, watch
from phototag.cli.worker import worker
from phototag.errors import PhotoTagError
from phototag.settings import config_file, load_config

log = logging.getLogger(__name__)

EXIT_USAGE = 2


class _Failed(click.ClickException):
    exit_code = EXIT_USAGE


def _is_told_elsewhere(error: PhotoTagError) -> bool:
    """Return whether this is one of several processes of torchrun, and the first one tells of the error."""
    if "TORCHELASTIC_RUN_ID" not in os.environ and "RANK" not in os.environ:
        return False
    from phototag.runtime import is_echo

    return is_echo(error)


@contextmanager
def _one_message() -> Iterator[None]:
    """Turn every error that phototag raises on purpose, and those of the system, into one message and exit code 2."""
    try:
        yield
    except ReaderLeftError as error:
        raise click.exceptions.Exit(0) from error
    except KeyboardInterrupt as error:
        # Commands that have something to keep catch this themselves.
        raise _Failed("interrupted before anything was done") from error
    except PhotoTagError as error:
        if _is_told_elsewhere(error):
            raise click.exceptions.Exit(EXIT_USAGE) from error
        raise _Failed(indented(str(error))) from error
    except OSError as error:
        raise _Failed(indented(_of_the_system(error))) from error


def _of_the_system(error: OSError) -> str:
    if error.filename is None and isinstance(error, FileNotFoundError):
        try:
            os.getcwd()  # noqa: PTH109
        except OSError:
            return "the working folder does not exist any more; change to another one"
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{where}{error.strerror or error}"


class _Group(click.Group):
    """Says one message for an error, wherever it comes from; a closed pipe is none."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_message():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_message():
            return super().invoke(ctx)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return indented(super().format(record))


def _load_defaults(ctx: click.Context) -> None:
    """Read the configuration file as click's defaults: top-level keys hold for all commands, tables for one."""
    os.getcwd()  # noqa: PTH109  # where the working folder is gone, not even torch can be loaded
    config = load_config()
    for key in _unknown_keys(cli, config):
        log.warning("%s: nothing is called %s; check the spelling", config_file(), key)
    ctx.default_map = _defaults_of(cli, config)


def _flags(command: click.Command) -> set[str]:
    """Return the long names of all options of a command, or of all below a group."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    options = [option for option in command.params if isinstance(option, click.Option)]
    own = {flag.removeprefix("--") for option in options for flag in option.opts}
    return own.union(*(_flags(child) for child in below))


def _unknown_keys(command: click.Command, config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    flags = _flags(command)
    commands = command.commands if isinstance(command, click.Group) else {}
    for key, value in config.items():
        if isinstance(value, dict) and key in commands:
            yield from _unknown_keys(commands[key], value, f"{prefix}{key}.")
        elif isinstance(value, dict) or key.replace("_", "-") not in flags:
            yield f"{prefix}{key}"


def _defaults_of(command: click.Command, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return defaults of a command, or of all below a group; keys are long names of options, with - or _ in them."""
    plain = {key.replace("_", "-"): value for key, value in config.items() if not isinstance(value, dict)}
    options = [param for param in command.params if isinstance(param, click.Option)]
    own = {
        str(option.name): _default_of(option, plain[flag.removeprefix("--")])
        for option in options
        for flag in option.opts
        if flag.removeprefix("--") in plain
    }
    if not isinstance(command, click.Group):
        return own
    tables = {key: value for key, value in config.items() if isinstance(value, dict)}
    return own | {
        name: _defaults_of(below, _shared_with(name, plain) | tables.get(name, {}))
        for name, below in command.commands.items()
    }


def _shared_with(name: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the top-level keys that a command takes; to some a model is not what to run but what to look for."""
    return {key: value for key, value in plain.items() if not (name in ("query", "audit") and key == "model")}


def _default_of(option: click.Option, value: Any) -> Any:
    """Return a value of the file as if it were typed, so that click checks it and words the errors."""
    if option.multiple:
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return value if option.is_flag and isinstance(value, bool) else str(value)


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
    phototag watch ~/Pictures                 keep their tags up to date
    phototag query --superclass reptile       find photos
    phototag serve                            look through them, and review their tags, in a browser
    phototag train my_photos/                 learn your own classes from superclass/subclass/*.jpg
    phototag audit truth labels.csv           compare the tags with the truth

    Data goes to stdout, words and progress to stderr. Exit codes: 0 done; 1 done, but some photos failed or a gate was
    missed; 2 wrong use, or nothing could be done.
    """
    _load_defaults(ctx)


for _command in (
    *(
        train,
        evaluate,
        compare,
        dataset,
        tag,
        retag,
        watch,
        worker,
        status,
        query,
        novel,
        audit,
        export,
        import_group,
        serve,
    ),
    *(model, db, doctor),
):
    cli.add_command(_command)


def main() -> None:
    """Run the `phototag` command."""
    guard_streams()
    # torch's threads otherwise spin while they wait, and slow down everything: docs/experiments.md#threads-that-wait.
    # Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logger = logging.getLogger("phototag")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    if not sys.warnoptions:
        # A damaged EXIF block is of no interest when the picture can be read, and an error when it cannot.
        warnings.filterwarnings("ignore", module=r"PIL\.")
    cli.main(prog_name="phototag")
