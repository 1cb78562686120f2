"""Say what a check of this computer or installation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from phototag.errors import PhotoTagError

# Everything that a broken installation may raise when it is loaded or used, and nothing that ends programs.
BROKEN = (
    PhotoTagError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    Warning,
)


class State(StrEnum):
    """How a check came out, the best first."""

    OK = "ok"
    WARNING = "warning"  # it works, but slower or with less than it could
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what it is, in words, what to do about it if it is not ok, and its figures for programs."""

    name: str
    state: State
    text: str
    remedy: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def gib(size_bytes: int) -> str:
    """Return a size in words."""
    return f"{size_bytes / 2**30:.1f} GiB"


def state_of(number: int, *, little: int, none: int) -> State:
    """Return what to say of a number of bytes that are free."""
    return State.FAILED if number < none else State.WARNING if number < little else State.OK
