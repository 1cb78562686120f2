"""Text for terminals: its width in columns, cut and filled up to fit, and nothing in it that moves the cursor."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Text that cannot move the cursor or hide: control characters and undecodable bytes as '?'."""
    return "".join("?" if unicodedata.category(mark)[0] == "C" else mark for mark in text)


def display_width(text: str) -> int:
    """Columns that a terminal needs for the text."""
    return sum(
        0 if unicodedata.combining(mark) else 2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text
    )


def shorten(text: str, width: int) -> str:
    """The text in at most `width` columns, its end kept and its middle left out: file names say more than folders."""
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
    """The text filled up with blanks to `width` columns."""
    blanks = " " * max(0, width - display_width(text))
    return blanks + text if right else text + blanks
