"""Text for people: what a terminal can show, its width in columns, tables, and percentages."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


def nfc(text: str) -> str:
    """Return the text in Unicode's composed form: é is one character, whether a Mac, a keyboard or a CSV wrote it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def clock_text(moment: datetime) -> str:
    """Return what a camera's clock showed as ISO 8601, to the millisecond where it tells parts of a second."""
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")


def is_text(text: str) -> bool:
    """Return whether all of it is text: bytes that were not UTF-8 are none, which Python keeps as surrogates."""
    return not any("\ud800" <= mark <= "\udfff" for mark in text)


def printable(text: str, *, keep: str = "") -> str:
    """Return text that cannot move the cursor or hide: control characters and undecodable bytes as '?'."""
    if text.isprintable():
        return text
    return "".join("?" if unicodedata.category(mark)[0] == "C" and mark not in keep else mark for mark in text)


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line; its class if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def display_width(text: str) -> int:
    """Return the columns that a terminal needs for the text."""
    return sum(
        0 if unicodedata.combining(mark) else 2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text
    )


def shorten(text: str, width: int) -> str:
    """Return the text in at most `width` columns; of a long one the middle is left out: file names say most."""
    if display_width(text) <= width:
        return text
    head, tail = [], []
    room_head, room_tail = (width - 1) // 3, width - 1 - (width - 1) // 3
    for mark in text:
        room_head -= display_width(mark)
        if room_head < 0:
            break
        head.append(mark)
    for mark in reversed(text):
        room_tail -= display_width(mark)
        if room_tail < 0:
            break
        tail.append(mark)
    return "".join(head) + "…" + "".join(reversed(tail))


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill the text up with blanks to `width` columns."""
    blanks = " " * max(0, width - display_width(text))
    return blanks + text if right else text + blanks


def percent(share: float | None, digits: int | None = 1, *, unknown: str = "-") -> str:
    """Return a share in [0, 1] as "95.0 %", with as many digits as it has where `digits` is None."""
    if share is None:
        return unknown
    return f"{100 * share:.10g} %" if digits is None else f"{100 * share:.{digits}f} %"


def percent_range(low: float, high: float, digits: int | None = 1, *, between: str = " to ") -> str:
    """Return a range of shares as "93.1 to 96.4 %"."""
    return f"{percent(low, digits).removesuffix(' %')}{between}{percent(high, digits)}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, its least width, and whether its texts end at the right.

    Texts that are wider than `most` are shortened; `shrink_to` is the width that a column is cut down to where the
    table would not fit otherwise.
    """

    head: str = ""
    width: int = 0
    right: bool = False
    most: int | None = None
    shrink_to: int | None = None


def numbers(*heads: str | tuple[str, int], width: int = 10) -> list[Column]:
    """Return columns whose texts end at the right, of these headings; `width` is for those that name none."""
    return [Column(*((head, width) if isinstance(head, str) else head), right=True) for head in heads]


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, indent: str = "", fit: int | None = None
) -> list[str]:
    """Return the lines of a table for a terminal: the headings, unless all are empty, and a line for each row.

    Two blanks separate columns, rows begin with `indent`, and `fit` is the number of terminal columns to fit into. No
    text can move the cursor: names of files and classes come from others.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    head = [printable(column.head) for column in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    for row in cells:
        row[0] = indent + row[0]
    shown = [head, *cells] if any(head) else cells
    if not shown:
        return []
    widths = []
    for column, texts in zip(columns, zip(*shown, strict=True), strict=True):
        widest = max(map(display_width, texts), default=0)
        widths.append(max(column.width, widest if column.most is None else min(widest, column.most)))
    if fit is not None:
        for place, column in enumerate(columns):
            if column.shrink_to is not None:
                over = sum(widths) + 2 * (len(widths) - 1) - fit
                widths[place] = min(widths[place], max(widths[place] - over, column.shrink_to))
    return [
        "  ".join(
            pad(shorten(text, width), width, right=column.right)
            for text, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in shown
    ]
