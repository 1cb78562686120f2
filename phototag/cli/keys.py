"""Reading answers: single keys at a terminal, lines from anywhere else."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

import click

from phototag.review import Key

# A sequence that a key sends may come in parts over a slow line.
_ESCAPE_WAIT_SECONDS = 0.05

_CONTROLS = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.BACKSPACE,
    "\x08": Key.BACKSPACE,
    "\x15": Key.CLEAR,
    "\x04": Key.END,
}
_ARROWS = {"A": Key.UP, "B": Key.DOWN}
_WINDOWS_ARROWS = {"H": Key.UP, "P": Key.DOWN}


class Keys(Protocol):
    """Where answers come from.

    `live`: single keys, and what they do can be drawn. `strict`: there is no one to ask again.
    """

    live: bool
    strict: bool

    def key(self) -> str:
        """Read the next key: a character, or one of `Key`; for lines a whole line, `Key.END` after the last."""

    def line(self) -> str:
        """Read the next line without its end. Raises EOFError after the last one."""


class Lines:
    """Answers that come as lines: a letter each, and names where a name is asked for."""

    live = False

    def __init__(self, source: TextIO) -> None:
        self.strict = not source.isatty()
        self._source = source

    def key(self) -> str:
        while True:
            try:
                text = self.line().strip()
            except EOFError:
                return Key.END
            if text:
                return text

    def line(self) -> str:
        text = self._source.readline()
        if not text:
            raise EOFError
        return text.rstrip("\r\n")


class Terminal:
    """Answers that come as single keys; `read` gives what was typed since, at least one character, b"" at the end."""

    live = True
    strict = False

    def __init__(self, read: Callable[[], bytes], more: Callable[[], bool]) -> None:
        self._read = read
        self._more = more
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._ahead: deque[str] = deque()

    def key(self) -> str:
        mark = self._next()
        if mark == "\x1b":
            return self._sequence()
        if mark in _CONTROLS:
            return _CONTROLS[mark]
        return mark if mark == Key.END or mark.isprintable() else Key.OTHER

    def line(self) -> str:
        raise EOFError

    def _next(self) -> str:
        while not self._ahead:
            data = self._read()
            if not data:
                return Key.END
            self._ahead.extend(self._decode(data))
        return self._ahead.popleft()

    def _sequence(self) -> str:
        """Read the key after an escape character; alone it is the escape key."""
        if not self._ahead and not self._more():
            return Key.ESCAPE
        first = self._next()
        if first not in ("[", "O"):
            return Key.OTHER
        last = self._next()
        # Parameters stand before the letter that ends a sequence: ESC [ 1 ; 5 A.
        while first == "[" and len(last) == 1 and not "@" <= last <= "~":
            last = self._next()
        return _ARROWS.get(last, Key.OTHER)


class _WindowsTerminal(Terminal):
    def __init__(self) -> None:
        super().__init__(lambda: b"", lambda: False)

    def key(self) -> str:
        try:
            text = click.getchar()
        except EOFError:
            return Key.END
        if text[:1] in ("\x00", "\xe0") and len(text) > 1:
            return _WINDOWS_ARROWS.get(text[1], Key.OTHER)
        if text == "\x1b":
            return Key.ESCAPE
        return _CONTROLS.get(text, text if text.isprintable() else Key.OTHER)


@contextmanager
def _single_keys(number: int) -> Iterator[Terminal]:
    # They do not exist on Windows.
    import select
    import termios
    import tty

    # click.getchar throws away what is typed between two calls; a name that is typed quickly would lose letters.
    before = termios.tcgetattr(number)

    def read() -> bytes:
        try:
            # Each time: a viewer, or a stop and a continue, may have changed it.
            tty.setcbreak(number, termios.TCSANOW)
            return os.read(number, 256)
        except (OSError, termios.error):  # the terminal is gone
            return b""

    def more() -> bool:
        return bool(select.select([number], [], [], _ESCAPE_WAIT_SECONDS)[0])

    try:
        tty.setcbreak(number, termios.TCSANOW)
        yield Terminal(read, more)
    finally:
        with suppress(termios.error):
            termios.tcsetattr(number, termios.TCSADRAIN, before)


@contextmanager
def open_keys() -> Iterator[Keys]:
    """Open single keys if input and messages are at a terminal, else lines; the terminal is restored afterwards."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or os.environ.get("TERM") == "dumb":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        yield Lines(sys.stdin)
    elif sys.platform == "win32":
        yield _WindowsTerminal()
    else:
        with _single_keys(sys.stdin.fileno()) as keys:
            yield keys
