"""Sphinx configuration: pages in Markdown, with the Python API and the command reference made from the package itself.

`make docs` builds the site. Both references are text that is appended to their pages when these are read, so they list
what `phototag.__all__` and the command line have, and nothing has to be kept in step by hand.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# The package of this checkout, also where another one is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

import phototag
from phototag.cli.main import cli
from phototag.errors import PhotoTagError

project = "phototag"
author = "The phototag authors"
version = release = phototag.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# A single backtick in a docstring is a name or a value, as in Markdown.
default_role = "code"
# Options are written with two hyphens, which would become a dash.
smartquotes = False

myst_enable_extensions = ["colon_fence", "deflist"]
# Headings down to this level can be linked to, as on the pages that show Markdown as it is.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
# Building the site needs no network, so only names of phototag's own public API are looked up.
nitpick_ignore_regex = [(r"py:.*", r"(?!phototag\.).*"), (r"py:.*", r"phototag\.\w+\..*")]

html_theme = "furo"
html_title = "phototag"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

_HELP_WIDTH = 100
# Its stub file doesn't declare the list, which is made of that file.
_PUBLIC: frozenset[str] = frozenset(vars(phototag)["__all__"])


def commands(command: click.Command, parent: click.Context | None = None) -> Iterator[str]:
    """Yield a section of Markdown for each command, with what its `--help` prints.

    The texts are shown as they are: written for a terminal, they hold asterisks and brackets that are no markup.
    """
    context = click.Context(
        command,
        parent=parent,
        info_name=command.name if parent else "phototag",
        terminal_width=_HELP_WIDTH,
        help_option_names=None if parent else ["-h", "--help"],
    )
    level = "###" if " " in context.command_path.partition(" ")[2] else "##"
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from commands(child, context)


# What autodoc is to do with each sort of thing that the package makes public, in the order of the page.
_SORTS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "Functions": (inspect.isfunction, "autofunction", ""),
    "Classes": (lambda each: not issubclass(each, (enum.Enum, PhotoTagError)), "autoclass", "inherited-members"),
    "Choices": (lambda each: issubclass(each, enum.Enum), "autoclass", "undoc-members"),
    "Errors": (lambda each: issubclass(each, PhotoTagError), "autoexception", ""),
}


def api() -> Iterator[str]:
    """Yield Markdown that documents everything in `phototag.__all__`, by sort and name."""
    found: dict[str, list[str]] = {title: [] for title in _SORTS}
    for name in sorted(_PUBLIC):
        if not name.startswith("__"):
            title = next(title for title, (fits, _, _) in _SORTS.items() if fits(getattr(phototag, name)))
            _, directive, option = _SORTS[title]
            found[title].append(f".. {directive}:: phototag.{name}\n" + f"   :{option}:\n" * bool(option))
    for title, directives in found.items():
        if directives:
            yield f"## {title}\n\n```{{eval-rst}}\n" + "\n".join(directives) + "```\n"


_GENERATED: dict[str, Callable[[], Iterator[str]]] = {"commands": lambda: commands(cli), "python": api}


def _generate(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the generated part of a page to what its file holds."""
    if page in _GENERATED:
        source[0] += "\n" + "\n".join(_GENERATED[page]())


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> nodes.Node | None:
    """Link a name of the public API to `phototag.NAME`, from whatever module a signature says that it comes."""
    target = str(node.get("reftarget", ""))
    name = target.rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in _PUBLIC or not re.fullmatch(r"(phototag\..+)?\w+", target):
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], f"phototag.{name}", node, text)


def _escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape asterisks outside code: docstrings use them in patterns, not for emphasis."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("*", r"\*") for part in parts[::2]]
        lines[number] = "`".join(parts)


def setup(app: Sphinx) -> None:
    """Register what generates and links the references."""
    app.connect("source-read", _generate)
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before napoleon, which adds markup
