"""What an export is made of: a name, words for the command line, and a function that writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from enum import StrEnum

    from phototag.store import Store


@dataclass(frozen=True, slots=True)
class ExportOption:
    """An option of an export on the command line.

    `type` is bool for a switch, Path for one path, which the writer gets as an absolute one, float for a number from 0
    to 1, and an enum for any of its values, which the writer gets as a tuple. `name` is as it is typed, `key` the name
    that the writer has for it.
    """

    name: str
    key: str
    type: type[bool] | type[Path] | type[float] | type[StrEnum]
    help: str


@dataclass(frozen=True, slots=True)
class Written:
    """How many things were written, and what to tell the user of them and of what was left out."""

    count: int
    notes: tuple[str, ...] = ()


Writer = Callable[["Store", Mapping[str, Any], BinaryIO], Written]
"""Write what a database holds to a binary file, by options; raise PhotoTagError where that cannot be done."""


@dataclass(frozen=True, slots=True)
class Export:
    """A format in which other programs read what the database holds.

    `help` is what `phototag export NAME --help` says; without it there is no such command, since another one writes
    this. `things` names what is counted, as in "3 labelled photos", and `suffix` is that of files.
    """

    name: str
    write: Writer
    things: str
    suffix: str
    help: str | None = None
    options: tuple[ExportOption, ...] = ()
