"""Messages for people on stderr, data on stdout: the one way out, on which no text can steer a terminal."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

import click

from phototag.errors import UsageError
from phototag.text import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# How the bars of tqdm come back to a line above.
_LINES_UP = re.compile(r"(?:\x1b\[A)+")


def say(*lines: str) -> None:
    """Print lines to stderr. Names in them cannot move the cursor."""
    for line in lines:
        click.echo(printable(line), err=True)


def indented(text: str) -> str:
    """Return a text of several lines for people; those after the first are indented, so that no name can fake one."""
    return "\n  ".join(map(printable, text.splitlines()))


def clear_lines(count: int) -> None:
    """Go up so many lines on the terminal that shows messages, and clear all below."""
    text = f"\x1b[{count}A\x1b[J"
    if isinstance(sys.stderr, _Inert):
        sys.stderr.write_as_is(text)
    else:
        sys.stderr.write(text)


def data_out() -> BinaryIO:
    """Return stdout for data: bytes as they are, but on a terminal as inert as any text."""
    return cast(BinaryIO, _Seen()) if sys.stdout.isatty() else sys.stdout.buffer


class ReaderLeftError(BrokenPipeError):
    """Raised when the reader of stdout has seen enough, as in `phototag query | head`."""


class _Seen(io.RawIOBase):
    def write(self, data: ReadableBuffer, /) -> int:
        shown = bytes(data)
        sys.stdout.write(shown.decode("utf-8", "replace"))
        return len(shown)

    def flush(self) -> None:
        sys.stdout.flush()


class _Stdout(io.FileIO):
    """What cannot be written here is an error, told once."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is still in buffers goes nowhere, also when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise ReaderLeftError(error.errno, error.strerror) from error
            raise UsageError(f"stdout cannot be written: {error.strerror or error}; send it elsewhere") from error


class _Stderr(io.FileIO):
    """What cannot be written here is lost, and the work goes on: a terminal or a log may go before it is done."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class _Inert(io.TextIOWrapper):
    """Text whose control characters, other than ends of lines, come out as '?'."""

    def write(self, text: str, /) -> int:
        fine = text.isprintable() or _LINES_UP.fullmatch(text)
        super().write(text if fine else "\n".join(map(_line, text.split("\n"))))
        return len(text)

    def write_as_is(self, text: str) -> None:
        super().write(text)
        self.flush()


def _line(text: str) -> str:
    """Return a line without control characters but for returns at its ends, where bars of progress have them."""
    middle = text.strip("\r")
    start = "\r" if text.startswith("\r") else ""
    end = "\r" if text.endswith("\r") and middle else ""
    return start + printable(middle, keep="\t") + end


def guard_streams() -> None:
    """Make stdin, stdout and stderr fit to use, whatever was closed, and let nothing steer the terminal behind them."""
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened, as a database, would take the number and what is written to it.
            # Writing to a closed stdout stays an error.
            os.set_inheritable(os.open(os.devnull, flags), True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if os.name != "nt":
        sys.stdout = _guarded(sys.stdout, _Stdout(1, "wb", closefd=False))
        sys.stderr = _guarded(sys.stderr, _Stderr(2, "wb", closefd=False))


def _guarded(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return _Inert(
        io.BufferedWriter(raw),
        # Click would go round this for the sake of names that are not ASCII.
        encoding="utf-8" if codecs.lookup(encoding).name == "ascii" else encoding,
        errors="backslashreplace",
        line_buffering=stream is None or bool(stream.line_buffering) or bool(getattr(stream, "write_through", False)),
    )
