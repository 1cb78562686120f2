"""The gallery: all photos of the library in a grid, narrowed by facets and a search, in an order of choice.

The whole state is in the address, so that going back and bookmarks work, and every filter is a link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from phototag.catalog import GalleryFilter, GalleryPage, GallerySort
from phototag.errors import UsageError
from phototag.web import respond
from phototag.web.context import context_of
from phototag.web.facets import chips, groups

BLOCK_PHOTOS = 120
_DEFAULT_SORT = "-date"
ORDERS = {
    "-date": "Newest first",
    "date": "Oldest first",
    "path": "By folder and name",
    "-path": "By folder and name, last first",
    "-score": "Most certain first",
    "score": "Least certain first",
    "-novelty": "Strangest first",
    "novelty": "Most familiar first",
    "-tagged": "Tagged last",
    "tagged": "Tagged first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What an address asks the gallery for: which photos, and in which order."""

    wanted: GalleryFilter
    sort: GallerySort
    descending: bool

    @classmethod
    def of(cls, params: QueryParams) -> Self:
        """What a query string asks for.

        Raises:
            UsageError: it makes no sense.
        """
        order = params.get("sort") or _DEFAULT_SORT
        if order not in ORDERS:
            raise UsageError(f"sort: {order[:40]!r} is no order; take one of {', '.join(ORDERS)}")
        return cls(
            wanted=GalleryFilter.from_params(_scores_from_percent(params)),
            sort=GallerySort(order.removeprefix("-")),
            descending=order.startswith("-"),
        )

    @property
    def order(self) -> str:
        """The order as in the address."""
        return ("-" if self.descending else "") + self.sort.value

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the address, but for the place in the result."""
        order = {} if self.order == _DEFAULT_SORT else {"sort": self.order}
        return self.wanted.to_params() | order

    @property
    def query(self) -> str:
        """The query string with its question mark, empty for all photos."""
        return query_of(self.params)


def _scores_from_percent(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters with bounds of scores as such where a form gives percentages.

    Raises:
        UsageError: a percentage is not a number.
    """
    read = dict(params)
    for bound in ("min", "max"):
        text = read.pop(f"{bound}_percent", "").strip().removesuffix("%")
        if text:
            try:
                # Rounded as people write it: 0.29, and not 0.29000000000000004.
                read[f"{bound}_score"] = repr(round(float(text) / 100, 6))
            except ValueError as error:
                raise UsageError(f"score: {text[:40]!r} is not a percentage") from error
    return read


def query_of(params: dict[str, str]) -> str:
    """A query string with its question mark, empty for no parameters."""
    return f"?{urlencode(params)}" if params else ""


def _gallery(request: Request) -> Response:
    """The page, with the block of photos that holds the place asked for."""
    context = context_of(request)
    view = View.of(request.query_params)
    start = _place(request.query_params) // BLOCK_PHOTOS * BLOCK_PHOTOS
    result = context.gallery.page(
        view.wanted, sort=view.sort, descending=view.descending, start=start, limit=BLOCK_PHOTOS
    )
    if start and not result.items:
        result = context.gallery.page(view.wanted, sort=view.sort, descending=view.descending, limit=BLOCK_PHOTOS)
    facets = context.gallery.facets(view.wanted)
    order = {key: value for key, value in view.params.items() if key == "sort"}
    return respond.page(
        request,
        "gallery.html",
        result=result,
        groups=groups(view.wanted, facets, order),
        chips=chips(view.wanted, facets, order),
        text=view.wanted.text,
        carried={key: value for key, value in view.wanted.to_params().items() if key != "text"},
        sort=view.order,
        orders=ORDERS,
        query=view.query,
        counted="1 photo" if result.total == 1 else f"{result.total:,} photos",
        block=BLOCK_PHOTOS,
        more_url=f"/photos/more{view.query}",
        clear=f"/{query_of(order)}",
        library_total=context.gallery.total,
        before_url=_before(view, result),
        after_url=_behind(view, result),
    )


def _before(view: View, result: GalleryPage) -> str | None:
    """The address of the block before this one, for browsers without scripts."""
    if not result.start:
        return None
    before = max(0, result.start - BLOCK_PHOTOS)
    return f"/{query_of(view.params | ({'start': str(before)} if before else {}))}"


def _behind(view: View, result: GalleryPage) -> str | None:
    """The address of the block behind this one."""
    behind = result.start + len(result.items)
    return f"/{query_of(view.params | {'start': str(behind)})}" if behind < result.total else None


def _more(request: Request) -> Response:
    """A block of photos: from a place on, or behind a cursor."""
    params = request.query_params
    view = View.of(params)
    after = params.get("after") or None
    result = context_of(request).gallery.page(
        view.wanted,
        sort=view.sort,
        descending=view.descending,
        after=after,
        start=None if after else _place(params),
        limit=BLOCK_PHOTOS,
    )
    return respond.page(request, "gallery_tiles.html", result=result, query=view.query)


def _place(params: QueryParams) -> int:
    """The place asked for, from 0.

    Raises:
        UsageError: it is not a number.
    """
    text = params.get("start") or "0"
    # Numbers of more digits would not fit into the arrays behind the gallery.
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageError(f"start: {text[:40]!r} is not a place in the result")
    return int(text)


ROUTES: list[BaseRoute] = [
    Route("/", _gallery),
    Route("/photos/more", _more),
]
