"""One HTML page that needs nothing else: no network, no files beside it.

A page is made of sections, and these of blocks that the functions here make from templates, which escape what they
are given: class names and paths come from users. The page follows the reader's choice of light or dark, fits a phone,
prints, and without JavaScript only lacks the sorting of its tables.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from phototag import text
from phototag._version import __version__
from phototag.files import write_text
from phototag.report.markup import REPORT, block, report_environment
from phototag.report.plots import legend

Block = Markup
"""A part of a page, as HTML."""

UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under a heading; `anchor` is its address in the page, of plain letters and hyphens."""

    title: str
    anchor: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page; `footer` are lines at its end."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: what it says, the number to sort it by, a smaller line below, and where it leads."""

    text: str
    value: float | None = None
    more: str | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure."""

    name: str
    value: str
    more: str = ""


def render(page: Page) -> str:
    """Return the page as HTML text."""
    style, script = _asset("page.css") + _asset("blocks.css"), _asset("page.js")
    shown = (
        report_environment()
        .get_template("page.html")
        .render(
            page=page,
            # Marked as safe: both are files of this package.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            generator=f"phototag {__version__}",
        )
    )
    # Bytes of file names that are not UTF-8 have no place in a page.
    return shown.encode("utf-8", "replace").decode()


def write_page(page: Page, path: Path) -> None:
    """Write the page to `path` atomically.

    Raises:
        UsageError: it cannot be written.
    """
    write_text(path, render(page))


def paragraph(text: str, *, note: bool = False) -> Block:
    """Return a paragraph; as a `note` it is smaller and fainter."""
    return block("paragraph", text=text, note=note)


def heading(text: str) -> Block:
    """Return a heading within a section."""
    return block("heading", text=text)


def statements(lines: Iterable[str]) -> Block:
    """Return sentences as a list."""
    return block("statements", lines=lines)


def cards(figures: Iterable[Card]) -> Block:
    """Return headline figures side by side."""
    return block("cards", figures=figures)


def figure(
    drawing: Markup, *, title: str, caption: str | None = None, names: Sequence[str] = (), wide: bool = False
) -> Block:
    """Return a drawing under a title, with a caption and, for more than one of `names`, a legend.

    `wide`: keep its size and let it scroll sideways.
    """
    shown = legend(names) if len(names) > 1 else None
    return block("figure", drawing=drawing, title=title, caption=caption, legend=shown, wide=wide)


def figures(*drawings: Block) -> Block:
    """Return figures side by side where there is room."""
    return block("figures", drawings=drawings)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell | str | None]],
    *,
    caption: str | None = None,
    sortable: bool = False,
    numbers_from: int = 1,
) -> Block:
    """Return a table; the first cell of a row is its heading, columns from `numbers_from` on are aligned right."""
    cells = [
        [cell if isinstance(cell, Cell) else Cell(UNKNOWN if cell is None else cell) for cell in row] for row in rows
    ]
    return block("table", columns=columns, rows=cells, caption=caption, sortable=sortable, numbers_from=numbers_from)


def matrix(
    counts: Sequence[Sequence[int]],
    names: Sequence[str],
    *,
    caption: str,
    link: Callable[[int, int], str] | None = None,
) -> Block:
    """Return counts [truth, prediction] as a table; cells are coloured by their share of their row.

    `link` gives the address of what is behind a cell that is not 0, by its row and column.
    """
    rows = []
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        shares = [count / (sum(row) or 1) for count in row]
        cells = [
            (
                f"{'right' if column == place else 'wrong'} share{_tenths(share)}",
                Cell(f"{count:,}", None, percent(share), link(place, column) if link is not None and count else None),
            )
            for column, (count, share) in enumerate(zip(row, shares, strict=True))
        ]
        rows.append((name, cells))
    return block("matrix", names=names, rows=rows, caption=caption)


def folded(summary: str, *blocks: Block, shown: bool = False) -> Block:
    """Return blocks that open on a click."""
    return block("folded", summary=summary, inside=blocks, shown=shown)


def definitions(entries: Mapping[str, str | None]) -> Block:
    """Return terms and what is said of them."""
    return block("definitions", entries=entries)


def percent(share: float | None, digits: int | None = 1) -> str:
    """Return a share as "95.0 %"; a dash where it is unknown."""
    return text.percent(share, digits, unknown=UNKNOWN)


def span_of(low: float, high: float) -> str:
    """Return a range of shares as "93.1 – 96.4 %"."""
    return text.percent_range(low, high, between=" – ")


def share_cell(share: float | None, more: str | None = None) -> Cell:
    """Return a cell with a share."""
    return Cell(percent(share), share, more)


def _tenths(share: float) -> int:
    return 0 if share == 0 else max(1, round(10 * share))


@cache
def _asset(name: str) -> str:
    return (resources.files(REPORT) / "templates" / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
