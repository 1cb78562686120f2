"""One HTML page that needs nothing else: no network, no files beside it.

A page is made of sections, and these of blocks that the functions here make. Whatever is not `Markup` is escaped:
class names and paths come from users. The page follows the reader's choice of light or dark, fits a phone, prints, and
without JavaScript only lacks the sorting of its tables.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from phototag._version import __version__
from phototag.report.markup import Content, element, join
from phototag.report.plots import legend

if TYPE_CHECKING:
    from jinja2 import Template
from phototag import text
from phototag.files import write_text

Block = Markup


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
    """A cell of a table: what it says, the number to sort it by, and a smaller line below."""

    text: Content
    value: float | None = None
    more: Content = None


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure."""

    name: str
    value: str
    more: str = ""


def render(page: Page) -> str:
    """The page as HTML text."""
    style, script = _asset("page.css") + _asset("blocks.css"), _asset("page.js")
    shown = _template().render(
        page=page,
        # Marked as safe: both are files of this package.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        generator=f"phototag {__version__}",
    )
    # Bytes of file names that are not UTF-8 have no place in a page.
    return shown.encode("utf-8", "replace").decode()


def write_page(page: Page, path: Path) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    write_text(path, render(page))


def paragraph(*parts: Content, note: bool = False) -> Block:
    """A paragraph; as a `note` it is smaller and fainter."""
    return element("p", *parts, class_="note" if note else None)


def heading(text: str) -> Block:
    """A heading within a section."""
    return element("h3", text)


def statements(lines: Iterable[Content]) -> Block:
    """Sentences as a list."""
    return element("ul", *(element("li", line) for line in lines), class_="verdicts")


def cards(figures: Iterable[Card]) -> Block:
    """Headline figures side by side."""
    entries = [
        element(
            "li",
            element("span", card.name, class_="name"),
            element("span", card.value, class_="value"),
            element("span", card.more, class_="more") if card.more else None,
        )
        for card in figures
    ]
    return element("ul", *entries, class_="cards")


def figure(
    drawing: Markup, *, title: str, caption: Content = None, names: Sequence[str] = (), wide: bool = False
) -> Block:
    """A drawing under a title, with a caption and, for more than one of `names`, a legend.

    `wide`: keep its size and let it scroll sideways.
    """
    # What scrolls has to be reachable by keyboard.
    reach = {"tabindex": "0", "role": "region", "aria-label": title} if wide else {}
    drawn = element("div", drawing, class_="wide", **reach) if wide else drawing
    shown = legend(names) if len(names) > 1 else None
    return element(
        "figure", element("h3", title), shown, drawn, None if caption is None else element("figcaption", caption)
    )


def figures(*drawings: Block) -> Block:
    """Figures side by side where there is room."""
    return element("div", *drawings, class_="charts")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell | Content]],
    *,
    caption: Content = None,
    sortable: bool = False,
    numbers_from: int = 1,
) -> Block:
    """A table; the first cell of a row is its heading, and columns from `numbers_from` on are aligned right."""

    def kind(column: int) -> str | None:
        return "number" if column >= numbers_from else None

    head = element(
        "tr", *(element("th", _breakable(name), scope="col", class_=kind(place)) for place, name in enumerate(columns))
    )
    body = [
        element("tr", *(_cell(cell, place, kind(place), sortable) for place, cell in enumerate(row))) for row in rows
    ]
    whole = element(
        "table",
        None if caption is None else element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return element("div", whole, class_="table", tabindex="0", role="region", aria_label=caption or "table")


def _breakable(name: str) -> Markup:
    """A name that may be broken after underscores: those of backbones are wider than columns of numbers."""
    return Markup("_<wbr>").join(name.split("_"))


def _cell(cell: Cell | Content, place: int, kind: str | None, sortable: bool) -> Markup:
    shown = cell if isinstance(cell, Cell) else Cell(cell)
    more = None if shown.more is None else element("span", shown.more, class_="more")
    if place == 0:
        return element("th", shown.text, more, scope="row", class_=kind)
    value = None
    if sortable and kind:
        value = "NaN" if shown.value is None else f"{shown.value:.6g}"
    return element("td", "–" if shown.text is None else shown.text, more, class_=kind, data_value=value)


def matrix(
    counts: Sequence[Sequence[int]],
    names: Sequence[str],
    *,
    caption: str,
    link: Callable[[int, int], str] | None = None,
) -> Block:
    """Counts [truth, prediction] as a table; right and wrong cells are coloured by their share of their row.

    `link` gives the address of what is behind a cell that is not 0, by its row and column.
    """
    head = element(
        "tr", element("th", "truth \\ tag", scope="col"), *(element("th", name, scope="col") for name in names)
    )
    rows = []
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row) or 1
        cells = (
            element(
                "td",
                _linked(f"{count:,}", link(place, column) if link is not None and count else None),
                element("span", percent(count / total), class_="more"),
                class_=f"{'right' if column == place else 'wrong'} share{_tenths(count / total)}",
            )
            for column, count in enumerate(row)
        )
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    whole = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *rows), class_="matrix"
    )
    return element("div", whole, class_="table", tabindex="0", role="region", aria_label=caption)


def _linked(text: str, address: str | None) -> Content:
    return text if address is None else element("a", text, href=address)


def folded(summary: str, *blocks: Block, shown: bool = False) -> Block:
    """Blocks that open on a click."""
    return element("details", element("summary", summary), *blocks, open="" if shown else None)


def definitions(entries: Mapping[str, Content]) -> Block:
    """Terms and what is said of them."""
    return element("dl", join(join([element("dt", term), element("dd", text)]) for term, text in entries.items()))


def percent(share: float | None, digits: int | None = 1) -> str:
    """Return a share as "95.0 %"; a dash where it is unknown."""
    return text.percent(share, digits, unknown="–")


def span_of(low: float, high: float) -> str:
    """Return a range of shares as "93.1 – 96.4 %"."""
    return text.percent_range(low, high, between=" – ")


def share_cell(share: float | None, more: Content = None) -> Cell:
    """A cell with a share."""
    return Cell(percent(share), share, more)


def _tenths(share: float) -> int:
    return 0 if share == 0 else max(1, round(10 * share))


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html"))


@cache
def _asset(name: str) -> str:
    return (resources.files("phototag.report") / "templates" / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
