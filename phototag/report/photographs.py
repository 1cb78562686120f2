"""Photographs in reports: small copies of the worst and the most confused pictures, written into the page itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from phototag.errors import DecodeError
from phototag.evaluation import Mistake
from phototag.imaging import Thumbnailer, read_bytes
from phototag.paths import PhotoPath, absolute
from phototag.report.markup import block
from phototag.report.page import Block, heading, percent
from phototag.taxonomy import as_written
from phototag.text import printable

_WORST = 12
_PAIRS = 6
_OF_A_PAIR = 6
_SIDE = 176  # pixels
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class _Entry:
    """A photograph as the page shows it: a JPEG in base 64, empty where it cannot be shown, and lines below it."""

    data: str
    name: str
    lines: tuple[str, ...]


def photographs(
    mistakes: Sequence[Mistake], confused: Iterable[tuple[str, str, int, int]], names: Sequence[str], *, of: str = ""
) -> list[Block]:
    """Return the wrong pictures of the highest scores, and some of the subclasses that are confused most often.

    `mistakes` are sorted by score, and point into `names`; `confused` are truth, label, how often, and of how many.
    `of` begins the headings.
    """
    once: dict[str, Mistake] = {}
    for one in mistakes:
        once.setdefault(one.path, one)
    every = list(once.values())
    pairs = [
        (pair, [one for one in every if (names[one.truth], names[one.predicted]) == pair[:2]]) for pair in confused
    ]
    groups = [("Wrong, with the highest scores", every[:_WORST])]
    groups += [
        (f"Is {as_written(truth)}, predicted as {as_written(label)}: {number:,} of {total:,}", members[:_OF_A_PAIR])
        for (truth, label, number, total), members in pairs[:_PAIRS]
    ]
    shown: list[Block] = []
    for title, members in groups:
        if members:
            entries = [
                (
                    absolute(one.path),
                    (
                        f"is {as_written(names[one.truth])}",
                        f"predicted as {as_written(names[one.predicted])}, {percent(one.score, 0)}",
                    ),
                )
                for one in members
            ]
            shown += [heading(f"{of}: {title[0].lower()}{title[1:]}" if of else title), small_copies(entries)]
    return shown


def small_copies(pictures: Sequence[tuple[PhotoPath, tuple[str, ...]]]) -> Block:
    """Return small copies of pictures with their names and lines below them."""
    with Thumbnailer() as thumbnailer, ThreadPoolExecutor(_WORKERS) as threads:

        def entry(picture: tuple[PhotoPath, tuple[str, ...]]) -> _Entry:
            path, lines = picture
            return _Entry(_small(path, thumbnailer), printable(path.name), lines)

        return block("photographs", entries=list(threads.map(entry, pictures)))


def _small(path: PhotoPath, thumbnailer: Thumbnailer) -> str:
    try:
        return base64.b64encode(thumbnailer(read_bytes(path), (_SIDE, _SIDE), path)).decode()
    except (DecodeError, RuntimeError):
        return ""  # gone or changed since it was evaluated
