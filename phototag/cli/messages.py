"""Messages for people: stderr has them, stdout has the data."""

from __future__ import annotations

import click

from phototag.text import printable


def say(*lines: str) -> None:
    """Print lines to stderr. Names in them cannot move the cursor."""
    for line in lines:
        click.echo(printable(line), err=True)
