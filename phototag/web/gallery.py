"""The gallery: all photos of the library in a grid, narrowed by facets and a search, in an order of choice.

The whole state is in the address, so that going back and bookmarks work, and every filter is a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from phototag.catalog import Choice, GalleryFilter, GalleryPage, GallerySort, Reading
from phototag.errors import UsageError
from phototag.web import respond
from phototag.web.context import context_of

BLOCK_PHOTOS = 120
_DEFAULT_SORT = "-date"
_SHOWN_CHOICES = 12
_NO_STACKS = "off"
ORDERS = {
    "-date": "Newest first",
    "date": "Oldest first",
    "-taken": "Taken last",
    "taken": "Taken first",
    "path": "By folder and name",
    "-path": "By folder and name, last first",
    "-score": "Most certain first",
    "score": "Least certain first",
    "-novelty": "Most novel first",
    "novelty": "Least novel first",
    "-tagged": "Tagged last",
    "tagged": "Tagged first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What an address asks the gallery for: which photos, in which order, and whether bursts are stacked."""

    wanted: GalleryFilter
    sort: GallerySort
    descending: bool
    stacked: bool

    @classmethod
    def of(cls, params: QueryParams) -> Self:
        """Return what a query string asks for.

        Raises:
            UsageError: it makes no sense.
        """
        order = params.get("sort") or _DEFAULT_SORT
        if order not in ORDERS:
            raise UsageError(f"sort: {order[:40]!r} is no order; take one of {', '.join(ORDERS)}")
        wanted = GalleryFilter.from_params(params)
        return cls(
            wanted=wanted,
            sort=GallerySort(order.removeprefix("-")),
            descending=order.startswith("-"),
            stacked=params.get("stacks") != _NO_STACKS and "burst" not in wanted,
        )

    @property
    def order(self) -> str:
        """The order as in the address."""
        return ("-" if self.descending else "") + self.sort.value

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the address, but for the place in the result."""
        return self.wanted.to_params() | self.order_params

    @property
    def order_params(self) -> dict[str, str]:
        """The parameters of the order, and of the stacks."""
        order = {} if self.order == _DEFAULT_SORT else {"sort": self.order}
        return order if self.stacked or "burst" in self.wanted else order | {"stacks": _NO_STACKS}

    @property
    def query(self) -> str:
        """The query string with its question mark, empty for all photos."""
        return query_of(self.params)

    def link(self, params: Iterable[str], to: Mapping[str, Any]) -> str:
        """Return the address of the gallery in this order with other values of a facet's parameters."""
        wanted = self.wanted.but(**{**dict.fromkeys(params), **to})
        return f"/{query_of(wanted.to_params() | self.order_params)}"

    def stack_link(self, photo_id: int) -> str:
        """Return the address of the photos that a tile stands for."""
        return f"/{query_of(self.wanted.but(burst=photo_id).to_params() | self.order_params)}"

    def carried(self, params: Iterable[str]) -> dict[str, str]:
        """Return what a form for a facet's parameters has to carry along."""
        return self.wanted.but(**dict.fromkeys(params)).to_params() | self.order_params


def query_of(params: dict[str, str]) -> str:
    """Return a query string with its question mark, empty for no parameters."""
    return f"?{urlencode(params)}" if params else ""


def show(request: Request) -> Response:
    """Return the page, with the block of photos that holds the place asked for."""
    context = context_of(request)
    view = View.of(request.query_params)
    # Before anything is shown: once it says that all was read, all is shown.
    reading = context.gallery.reading
    start = _place(request.query_params) // BLOCK_PHOTOS * BLOCK_PHOTOS
    result = _block(request, view, start=start)
    if start and not result.items:
        result = _block(request, view)
    facets = context.gallery.facets(view.wanted)
    return respond.page(
        request,
        "gallery.html",
        result=result,
        groups=[group for group in facets.groups.values() if group.choices or group.fields],
        chips=facets.chips,
        link=view.link,
        stack_link=view.stack_link,
        stacks=_stacks(view, result),
        carried=view.carried,
        fold=_fold,
        text=view.wanted.get("text", ""),
        beside_search=view.wanted.but(text=None).to_params(),
        sort=view.order,
        orders=ORDERS,
        query=view.query,
        counted=("1 photo" if result.photos == 1 else f"{result.photos:,} photos") + so_far(reading),
        so_far=so_far(reading),
        reading=None if reading is None else _words(reading),
        about=partial(_about, reading),
        block=BLOCK_PHOTOS,
        more_url=f"/photos/more{view.query}",
        clear=f"/{query_of(view.order_params)}",
        library_total=context.gallery.total,
        before_url=_before(view, result),
        after_url=_behind(view, result),
    )


def so_far(reading: Reading | None) -> str:
    """Return what follows a count of photos that may still change."""
    return "" if reading is None else " so far"


def _about(reading: Reading | None, count: int) -> str:
    """Return a count that never looks final while it is not."""
    return f"{count:,}" if reading is None else f"~{count:,}" if reading.stale else f"{count:,}+"


def _words(reading: Reading) -> str:
    read = f"{reading.photos:,} of {max(reading.total, reading.photos):,} photos"
    if reading.stale:
        shown = "This is the library as it was when it was shown last"
        why = "it cannot be read now" if reading.problem else f"what was written since is being read: {read} so far"
        return f"{shown}; {why}{f': {reading.problem}' if reading.problem else '.'}"
    if reading.problem:
        return f"Only {read} are shown, as the library cannot be read to its end: {reading.problem}"
    return f"Still reading the library: {read} so far. Until then there is more than is shown and counted here."


def _fold(choices: Sequence[Choice]) -> tuple[Sequence[Choice], Sequence[Choice]]:
    """Return the first choices, and the rest to be folded away; a chosen one is always seen."""
    # A line that says "1 more" would take the room of what it hides.
    if len(choices) <= _SHOWN_CHOICES + 1:
        return choices, ()
    shown = [*choices[:_SHOWN_CHOICES], *(each for each in choices[_SHOWN_CHOICES:] if each.chosen)]
    return shown, [each for each in choices[_SHOWN_CHOICES:] if not each.chosen]


def _stacks(view: View, result: GalleryPage) -> tuple[str, str] | None:
    """Return in words what stacking does to a result, and the address without it, or with it again."""
    if "burst" in view.wanted:
        return None
    if not view.stacked:
        params = {name: text for name, text in view.params.items() if name != "stacks"}
        return "Bursts are shown photo by photo.", f"/{query_of(params)}"
    hidden = result.photos - result.total
    return (f"{hidden:,} more in bursts.", f"/{query_of(view.params | {'stacks': _NO_STACKS})}") if hidden else None


def _before(view: View, result: GalleryPage) -> str | None:
    """Return the address of the block before this one, for browsers without scripts."""
    if not result.start:
        return None
    before = max(0, result.start - BLOCK_PHOTOS)
    return f"/{query_of(view.params | ({'start': str(before)} if before else {}))}"


def _behind(view: View, result: GalleryPage) -> str | None:
    """Return the address of the block after this one."""
    behind = result.start + len(result.items)
    return f"/{query_of(view.params | {'start': str(behind)})}" if behind < result.total else None


def _more(request: Request) -> Response:
    """Show a block of photos: from a place on, or after a cursor."""
    params = request.query_params
    view = View.of(params)
    after = params.get("after") or None
    reading = context_of(request).gallery.reading
    result = _block(request, view, after=after, start=None if after else _place(params))
    return respond.page(
        request,
        "gallery_tiles.html",
        result=result,
        query=view.query,
        stack_link=view.stack_link,
        so_far=so_far(reading),
    )


def _block(request: Request, view: View, *, after: str | None = None, start: int | None = None) -> GalleryPage:
    return context_of(request).gallery.page(
        view.wanted,
        sort=view.sort,
        descending=view.descending,
        stacked=view.stacked,
        after=after,
        start=start,
        limit=BLOCK_PHOTOS,
    )


def _place(params: QueryParams) -> int:
    """Return the place asked for, from 0.

    Raises:
        UsageError: it is not a number.
    """
    text = params.get("start") or "0"
    # Numbers of more digits would not fit into the arrays behind the gallery.
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageError(f"start: {text[:40]!r} is not a place in the result")
    return int(text)


ROUTES: list[BaseRoute] = [
    Route("/", show),
    Route("/photos/more", _more),
]
