"""The page of one photo: the picture, its tag and where that comes from, what it looks like, and corrections."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from phototag.catalog import Around, PhotoDetail
from phototag.decision import MOST, Candidate
from phototag.records import Source
from phototag.review import why_not
from phototag.web import respond
from phototag.web.context import context_of
from phototag.web.gallery import BLOCK_PHOTOS, View, query_of, so_far
from phototag.web.photo_words import ORIGINS, VERDICTS, best_candidates, capture_words, explain

_SIMILAR = 12


def _photo(request: Request) -> Response:
    """Show the page of a photo, with the photos beside it in the result that the address describes."""
    photo = _detail(request)
    gallery = context_of(request).gallery
    reading = gallery.reading
    view = View.of(request.query_params)
    around = gallery.around(
        view.wanted, sort=view.sort, descending=view.descending, photo_id=photo.item.id, stacked=view.stacked
    )
    known = photo.known
    content = known.content_hash
    trouble = None if content is None else why_not(known, known.path, content, known.state)
    return respond.page(
        request,
        "photo.html",
        photo=photo,
        item=photo.item,
        around=around,
        query=view.query,
        back=_back(view, around),
        next_picture=_picture_of(request, around.next),
        explained=explain(photo, trouble),
        unfit=trouble is not None,
        candidates=_candidates(photo),
        reviews=photo.reviews,
        undoable=next((each for each in photo.reviews if each.current and each.undone_at is None), None),
        verdicts=VERDICTS,
        origins=ORIGINS,
        modified=datetime.fromtimestamp(known.modified_ns // 1_000_000_000, UTC).astimezone(),
        size=_size(known.size_bytes),
        capture=[] if photo.capture is None else capture_words(photo.capture),
        copied=_copyable(known.path_bytes),
        so_far=so_far(reading),
        # What belongs together is known once all photos are.
        burst=0 if reading is not None else len(gallery.burst(photo.item.id)),
        named_by_human=photo.item.source is Source.HUMAN,
    )


def _similar(request: Request) -> Response:
    """Show the photos that look most like one; the photo page takes its list from here."""
    photo = _detail(request)
    similar = context_of(request).gallery.similar(photo.item.id, limit=_SIMILAR)
    return respond.page(request, "photo_similar.html", item=photo.item, similar=similar)


def _detail(request: Request) -> PhotoDetail:
    """Return the photo of the address.

    Raises:
        HTTPException: 404, there is no such photo.
    """
    photo = context_of(request).gallery.photo(request.path_params["photo_id"])
    if photo is None:
        raise HTTPException(404, "there is no such photo in the library; perhaps it was taken out")
    return photo


def _back(view: View, around: Around) -> str:
    """Return the address of the gallery at this photo."""
    if around.tile is None:
        return f"/{view.query}"
    start = around.tile // BLOCK_PHOTOS * BLOCK_PHOTOS
    params = view.params | ({"start": str(start)} if start else {})
    return f"/{query_of(params)}#p{around.tile + 1}"


def _picture_of(request: Request, photo_id: int | None) -> str | None:
    """Return the address of a photo's picture."""
    items = () if photo_id is None else context_of(request).gallery.items([photo_id])
    return next((f"/photos/{item.id}/picture?v={item.version}" for item in items if item.version), None)


def _candidates(photo: PhotoDetail) -> list[tuple[Candidate, int | None]]:
    """Return what the newest model considered, each with its key; the tag itself has none, as in reviews."""
    listed: list[tuple[Candidate, int | None]] = []
    for each in best_candidates(photo):
        if (each.superclass, each.subclass) == (photo.item.superclass, photo.item.subclass):
            listed.append((each, None))
        elif (key := sum(number is not None for _, number in listed) + 1) <= MOST:
            listed.append((each, key))
    return listed


def _copyable(path_bytes: bytes) -> str | None:
    """Return the path as text that names the file when pasted; None where no text does."""
    try:
        return os.fsencode(os.fsdecode(path_bytes)).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


ROUTES: list[BaseRoute] = [
    Route("/photos/{photo_id:id}", _photo),
    Route("/photos/{photo_id:id}/similar", _similar),
]
