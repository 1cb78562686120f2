"""Saying what a photo shows anywhere on the page, the names to choose from, and what every answer goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from phototag.errors import UsageError
from phototag.review import SampleReviews, known_names, narrow, review_alike, review_photo, undo_review
from phototag.store import SavedReview
from phototag.web import respond
from phototag.web.bodies import identity, name, version
from phototag.web.context import Context, context_of

COMMAND = "serve"
WAIT_SECONDS = 10.0

_NAMES = 50

Answer = TypeVar("Answer")


@respond.takes_json
def _review_photo(request: Request, body: dict[str, Any]) -> Response:
    context, photo_id = context_of(request), int(request.path_params["photo_id"])
    if context.store.photos.find(photo_id) is None:
        raise HTTPException(404, "there is no such photo")
    superclass, subclass, token = name(body, "superclass"), name(body, "subclass"), identity(body, "token")
    if body.get("version") == "":
        raise UsageError("the photo was never read, so it cannot be reviewed; run: phototag tag FOLDER")
    seen = version(body)
    saved = write(
        context,
        photo_id,
        lambda: review_photo(
            context.store,
            photo_id,
            superclass,
            subclass,
            version=seen,
            token=token,
            command=COMMAND,
            wait_seconds=WAIT_SECONDS,
        ),
    )
    return respond.json(as_json(saved))


@respond.takes_json
def _review_burst(request: Request, body: dict[str, Any]) -> Response:
    """Say of all photos of a burst what a person said of this one."""
    context, photo_id, token = context_of(request), int(request.path_params["photo_id"]), identity(body, "token")
    if context.gallery.reading is not None:
        raise HTTPException(503, "the library is still being read: not all of the burst is known yet; wait a little")
    others = [other for other in context.gallery.burst(photo_id) if other != photo_id]
    with context.gallery.writing(COMMAND, wait_seconds=WAIT_SECONDS):
        reviewed, left = review_alike(
            context.store, photo_id, others, token=token, command=COMMAND, wait_seconds=WAIT_SECONDS
        )
        context.gallery.refresh(reviewed)
    return respond.json({"reviewed": reviewed, "left_out": left})


def _undo_review(request: Request) -> Response:
    context, review_id = context_of(request), int(request.path_params["review_id"])
    found = context.store.reviews.find(review_id)
    if found is None:
        raise HTTPException(404, "there is no such review")
    write(
        context,
        found.photo_id,
        lambda: undo_review(context.store, review_id, command=COMMAND, wait_seconds=WAIT_SECONDS),
    )
    return respond.json({"review_id": review_id, "photo_id": found.photo_id, "undone": True})


def as_json(review: SavedReview) -> dict[str, Any]:
    """Return a stored review as it is acknowledged."""
    return {
        "review_id": review.id,
        "photo_id": review.photo_id,
        "superclass": review.superclass,
        "subclass": review.subclass,
        "rank": review.rank.value,
        "verdict": review.verdict.value,
    }


def _names(request: Request) -> Response:
    """Known names: all of them by superclass, or those that fit what was typed.

    With a sample, those that its models know; `also` are classes that other models know, so that they can be said too.
    """
    store = context_of(request).store
    every = known_names(store, [model.taxonomy for model in store.models.find_all()])
    if "sample" in request.query_params:
        wanted = request.query_params["sample"]
        sample = next((one for one in store.samples.find_all() if str(one.id) == wanted), None)
        if sample is None:
            raise HTTPException(404, "there is no such sample")
        names = SampleReviews(store, sample.id, command=COMMAND, wait_seconds=WAIT_SECONDS).names(sample)
    else:
        names = every
    typed, superclass = request.query_params.get("typed"), request.query_params.get("superclass")
    if typed is None:
        listed: list[Any] = [{"superclass": one, "subclasses": names.subclasses(one)} for one in names.superclasses]
        also = set(every.qualified) - set(names.qualified)
        return respond.json({"names": listed, "also": sorted(also)})
    among = [*names.superclasses, *names.qualified] if not superclass else names.subclasses(superclass)
    return respond.json({"names": narrow(among, typed)[:_NAMES]})


def write(context: Context, photo_id: int, write: Callable[[], Answer]) -> Answer:
    """Write something about one photo; the gallery then shows it at once."""
    with context.gallery.writing(COMMAND, wait_seconds=WAIT_SECONDS):
        answer = write()
        context.gallery.refresh([photo_id])
    return answer


ROUTES: list[BaseRoute] = [
    Route("/api/photos/{photo_id:id}/review", _review_photo, methods=["POST"]),
    Route("/api/photos/{photo_id:id}/burst", _review_burst, methods=["POST"]),
    Route("/api/reviews/{review_id:id}/undo", _undo_review, methods=["POST"]),
    Route("/api/names", _names, methods=["GET"]),
]
