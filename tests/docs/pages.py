"""The pages of the project, what stands in them, and how their commands are parsed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_SHELL = re.compile(r"[|&;<>$`]")


@dataclass(frozen=True)
class Line:
    """A command line of a page."""

    text: str

    @property
    def words(self) -> list[str]:
        """The words of a line that needs no shell, without the comment."""
        return shlex.split(self.text, comments=True)

    @property
    def needs_shell(self) -> bool:
        """Whether it is more than one command and its arguments."""
        return bool(_SHELL.search(self.text.partition(" #")[0]))


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the code blocks of a page in these languages."""
    return [match["text"] for match in _FENCE.finditer(page.read_text("utf-8")) if match["language"] in languages]


def lines(page: Path, *languages: str) -> list[Line]:
    """Return the lines of the code blocks of a page in these languages."""
    return [Line(line) for block in blocks(page, *languages) for line in block.splitlines() if line.strip()]


def code_in_text(page: Path) -> list[str]:
    """Return what stands between single backticks outside of code blocks."""
    return _CODE.findall(_FENCE.sub("", page.read_text("utf-8")))


def links(page: Path) -> list[str]:
    """Return what a page links to, but for addresses of the web."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", _FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the names by which headings of a page can be linked to, those of a page that it includes among them."""
    text = page.read_text("utf-8")
    for included in re.findall(r"^```\{include\} (\S+)$", text, re.MULTILINE):
        text += (page.parent / included).read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options(command: click.Command) -> Iterator[str]:
    """Yield the names of all options of a command and of those below it."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from options(child)


def parse(words: Sequence[str], *, complete: bool = True) -> None:
    """Let the command line parse what follows `phototag`; without `complete` arguments may be missing.

    Raises:
        click.UsageError: there is no such command, option or choice.
    """
    from phototag.cli.main import cli

    command: click.Command = cli
    # With them: click keeps a command's help option as it is first asked for, for all who ask later.
    context = click.Context(cli, info_name="phototag", **cli.context_settings)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            raise click.UsageError(f"{context.command_path} has no command {name!r}")
        command = command.commands[name]
        context = click.Context(command, parent=context, info_name=name)
    if isinstance(command, click.Group) and not rest:
        return
    try:
        command.make_context(command.name, rest, parent=context.parent)
    except click.MissingParameter:
        if complete:
            raise
