"""Review mode: the list of samples, one photo after another, and what is said of photos anywhere on the page.

A page asks for photos, shows them, and sends each answer by itself; what it sends again after a lost connection or a
killed server is stored once.
"""

from __future__ import annotations

import hashlib
import shlex
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from phototag.audit import create_sample
from phototag.catalog import GalleryFilter
from phototag.choices import StrataBy
from phototag.errors import PhotoTagError, UsageError
from phototag.records import PhotoState, Source
from phototag.review import Leases, Meanwhile, SampleReviews, ShownPhoto, Step, find_by_token, remove_unreviewed
from phototag.store import Sample, SampleItem, SampleProgress
from phototag.text import printable
from phototag.web import respond, reviewing
from phototag.web.bodies import flag, identity, name, number, numbers, version
from phototag.web.context import Context, context_of

if TYPE_CHECKING:
    from phototag.store import SharedLeases

SIZE = 200

_AT_ONCE = 20
_READ_AHEAD = 500


# ---- pages


def _samples(request: Request) -> Response:
    params = request.query_params
    # As other pages ask for it in their links.
    return _samples_page(request, given={key: params[key] for key in ("size", "by") if params.get(key)})


def _samples_page(
    request: Request, *, status: int = 200, problem: str = "", given: dict[str, str] | None = None
) -> Response:
    samples = context_of(request).store.samples.find_all()
    return respond.page(
        request,
        "review.html",
        status=status,
        section="review",
        samples=samples[::-1],
        library=_library(samples),
        parts=[part.value for part in StrataBy],
        problem=problem,
        given={"size": str(_usual_size(context_of(request))), "by": "", **(given or {})},
    )


def _usual_size(context: Context) -> int:
    """Return how many photos a form samples unless told otherwise: no more than there are."""
    there = context.gallery.page(GalleryFilter(source=Source.MODEL, state=PhotoState.OK), limit=1).total
    return min(SIZE, there) or SIZE


def _review(request: Request) -> Response:
    samples = context_of(request).store.samples.find_all()
    sample = _sample(request, samples)
    return respond.page(request, "review_sample.html", section="review", sample=sample, library=_library(samples))


async def _sample_by_form(request: Request) -> Response:
    form = await respond.read_form(request)

    def take() -> Response:
        size = form.get("size", "")
        try:
            if not size.isascii() or not size.isdigit() or len(size) > 18:
                raise UsageError("how many photos is a number")
            made = _take_sample(context_of(request), int(size), form.get("by") or None)
        except PhotoTagError as error:
            given = {key: form.get(key, "") for key in ("size", "by")}
            return _samples_page(request, status=400, problem=str(error), given=given)
        return RedirectResponse(f"/review/{made.id}", 303)

    return await run_in_threadpool(take)


# ---- samples


@respond.takes_json
def _sample_by_script(request: Request, body: dict[str, Any]) -> Response:
    made = _take_sample(context_of(request), number(body, "size"), name(body, "by"))
    return respond.json({"sample_id": made.id, "name": made.name, "size": made.size}, status=201)


def _take_sample(context: Context, size: int, by: str | None) -> Sample:
    if size < 1:
        raise UsageError("a sample has at least one photo")
    if by is not None and by not in list(StrataBy):
        raise UsageError(f"photos cannot be sampled by {printable(by[:20])!r}")
    # Samples are no part of the gallery, so there is nothing to tell it.
    with context.gallery.writing(reviewing.COMMAND, wait_seconds=reviewing.WAIT_SECONDS):
        return create_sample(context.store, size=size, by=None if by is None else StrataBy(by), exact=True)


def _remove(request: Request) -> Response:
    """Remove a sample that was made by mistake; one with reviews is not for a single click."""
    context, samples = context_of(request), context_of(request).store.samples.find_all()
    sample = _sample(request, samples)
    command, wait = reviewing.COMMAND, reviewing.WAIT_SECONDS
    with context.gallery.writing(command, wait_seconds=wait):
        removed = remove_unreviewed(context.store, sample.id, command=command, wait_seconds=wait)
    if not removed:
        name = shlex.quote(sample.name)
        raise HTTPException(409, f"it has reviews; in a terminal: phototag audit sample {name} --remove")
    # A new sample may get its number.
    context.samples.pop((context.store.location.file_key(), sample.id), None)
    return respond.json({"removed": sample.id, "name": sample.name})


def _library(samples: Sequence[Sample]) -> str:
    """Return what tells answers that wait in a browser for this library from those for another at the same address."""
    if not samples:
        return ""
    first = samples[0]
    return hashlib.sha256(f"{first.created_at.isoformat()} {first.seed} {first.name}".encode()).hexdigest()[:16]


def _sample(request: Request, samples: Sequence[Sample]) -> Sample:
    wanted = _sample_id(request)
    found = next((one for one in samples if one.id == wanted), None)
    if found is None:
        raise HTTPException(404, "there is no such sample")
    return found


def _sample_id(request: Request) -> int:
    return int(request.path_params["sample_id"])


def _reviews(request: Request) -> tuple[SampleReviews, Leases | SharedLeases]:
    context = context_of(request)
    key = context.store.location.file_key(), _sample_id(request)
    found = context.samples.get(key)
    if found is None:
        sample = _sample(request, context.store.samples.find_all())
        found = SampleReviews(context.store, sample.id, command=reviewing.COMMAND, wait_seconds=reviewing.WAIT_SECONDS)
        context.samples[key] = found
    return found, context.leases


@respond.takes_json
def _next(request: Request, body: dict[str, Any]) -> Response:
    """Return photos that wait, for one tab; those it `have`s stay its own, those it `passed` by are left out."""
    reviews, leases = _reviews(request)
    tab, have, passed = identity(body, "tab"), set(numbers(body, "have")), set(numbers(body, "passed"))
    want, anyones = min(max(number(body, "want"), 1), _AT_ONCE), flag(body, "any")
    sample_id = _sample_id(request)
    positions, progress = reviews.standing()
    waiting = [position for position in positions if position not in passed]
    leases.keep(sample_id, tab, [position for position in waiting if position in have])
    free = [position for position in waiting if position not in have]
    held = len(free)
    shown: list[dict[str, Any]] = []
    away: list[dict[str, Any]] = []
    ahead: dict[int, SampleItem] = {}
    # One more at a time: some of them cannot be looked at.
    while len(shown) < want and free:
        taken = free[:1] if anyones else leases.take(sample_id, tab, free, want=1)
        if not taken:
            break
        leases.keep(sample_id, tab, taken)
        free = free[bisect_right(free, taken[0]) :]
        if taken[0] not in ahead:
            # Where a whole disk is away, all of them are gone through.
            ahead = {item.position: item for item in reviews.items([*taken, *free[: want + len(away)]][:_READ_AHEAD])}
        item = ahead[taken[0]]
        if not item.pending:
            # Reviewed since the others were read: taken as known, that would be replaced without asking.
            continue
        reason = reviews.why_not(item)
        if reason is not None:
            away.append({"position": item.position, "name": _name(item), "reason": printable(reason)})
        elif (photo := reviews.look(item)) is not None:
            shown.append(_as_json(photo))
    return respond.json(
        {
            "photos": shown,
            "passed": away,
            "elsewhere": 0 if len(shown) == want else held - len(shown) - len(away),
            "progress": _progress(progress),
            "now": datetime.now(UTC).isoformat(),
        }
    )


def _progress(progress: SampleProgress) -> dict[str, int]:
    return {**asdict(progress), "pending": progress.pending}


def _as_json(photo: ShownPhoto) -> dict[str, Any]:
    item, tag = photo.item, photo.item.tag
    return {
        "position": item.position,
        "photo_id": item.photo_id,
        "version": item.content_hash.hex()[:8],
        "name": _name(item),
        "newest": photo.newest,
        "tag": {
            "superclass": tag.superclass,
            "subclass": tag.subclass,
            "superclass_score": round(tag.superclass_score, 4),
            "subclass_score": round(tag.subclass_score, 4),
            "novelty": round(tag.novelty, 4),
        },
        "candidates": [
            {"superclass": each.superclass, "subclass": each.subclass, "score": round(each.score, 4)}
            for each in photo.candidates
        ],
    }


def _name(item: SampleItem) -> str:
    return printable(item.path.name)


def _show_progress(request: Request) -> Response:
    reviews, _ = _reviews(request)
    return respond.json({"progress": _progress(reviews.standing()[1])})


@respond.takes_json
def _hold(request: Request, body: dict[str, Any]) -> Response:
    """Note which photos are open in a tab, and no others; a page says so now and then, and when it is left."""
    leases, sample_id, tab = context_of(request).leases, _sample_id(request), identity(body, "tab")
    leases.release(sample_id, tab)
    have = numbers(body, "have")
    leases.take(sample_id, tab, have, want=len(have))
    return respond.json({})


# ---- answers of a sample


@respond.takes_json
def _answer(request: Request, body: dict[str, Any]) -> Response:
    context, (reviews, _) = context_of(request), _reviews(request)
    item = reviews.item(number(body, "position"))
    if item.photo_id != number(body, "photo_id") or not item.content_hash.hex().startswith(version(body)):
        raise UsageError("the sample has another photo at that position")
    kind = body.get("kind", "review")
    newest = None if body.get("newest") is None else number(body, "newest")
    if kind == "skip":
        other = reviewing.write(context, item.photo_id, lambda: reviews.skip(item, newest=newest))
        return respond.json({"skipped": item.position}) if other is None else _conflict(other)
    if kind != "review":
        raise UsageError("an answer is a review or a skip")
    superclass, subclass = name(body, "superclass"), name(body, "subclass")
    token, replace = identity(body, "token"), flag(body, "replace")
    saved = reviewing.write(
        context,
        item.photo_id,
        lambda: reviews.save(item, superclass, subclass, newest=newest, replace=replace, token=token),
    )
    return _conflict(saved) if isinstance(saved, Meanwhile) else respond.json(reviewing.as_json(saved))


def _conflict(other: Meanwhile) -> Response:
    said = {"superclass": other.review.superclass, "subclass": other.review.subclass}
    theirs = {**said, "review_id": other.review.id, "agrees": other.agrees}
    return respond.json({"error": "someone else reviewed this photo meanwhile", "theirs": theirs}, status=409)


def _last(request: Request) -> Response:
    """Return what was done last, by anyone, before this page was opened: it is undone after the page's own answers."""
    reviews, _ = _reviews(request)
    try:
        before = datetime.fromisoformat(request.query_params.get("before", ""))
    except ValueError as error:
        raise UsageError("before: no time") from error
    if before.tzinfo is None:
        raise UsageError("before: a time needs its zone")
    without = {each for each in request.query_params.get("without", "").split(",") if each}
    steps = [step for step in reviews.steps(before=before) if str(step.review_id) not in without]
    step = None if not steps else {"position": steps[-1].position, "review_id": steps[-1].review_id}
    return respond.json({"step": step})


@respond.takes_json
def _undo_answer(request: Request, body: dict[str, Any]) -> Response:
    """Take back the review of a token or an id, else the skip at a position; the photo as it is shown again."""
    reviews, leases = _reviews(request)
    context, tab = context_of(request), identity(body, "tab")
    review_id = None if body.get("review_id") is None else number(body, "review_id")
    if "token" in body:
        found = find_by_token(context.store, identity(body, "token"))
        if found is None:
            raise UsageError("that answer was never stored, so there is nothing to take back")
        review_id = found.id
    item = reviews.item(number(body, "position"))
    sample_id = _sample_id(request)
    if review_id is not None:
        of = context.store.reviews.find(review_id)
        if of is None or of.photo_id != item.photo_id or of.sample_id != sample_id:
            raise UsageError("that review is none of this photo in this sample")
    step = Step(item.position, review_id, own=False)
    reviewing.write(context, item.photo_id, lambda: reviews.take_back(step))
    leases.keep(sample_id, tab, [item.position])
    photo = reviews.look(reviews.item(item.position))
    return respond.json({"undone": item.position, "photo": None if photo is None else _as_json(photo)})


ROUTES: list[BaseRoute] = [
    Route("/review", _samples, methods=["GET"]),
    Route("/review", _sample_by_form, methods=["POST"]),
    Route("/review/{sample_id:id}", _review, methods=["GET"]),
    Route("/api/samples", _sample_by_script, methods=["POST"]),
    Route("/api/samples/{sample_id:id}/remove", _remove, methods=["POST"]),
    Route("/api/samples/{sample_id:id}/next", _next, methods=["POST"]),
    Route("/api/samples/{sample_id:id}/progress", _show_progress, methods=["GET"]),
    Route("/api/samples/{sample_id:id}/hold", _hold, methods=["POST"]),
    Route("/api/samples/{sample_id:id}/answers", _answer, methods=["POST"]),
    Route("/api/samples/{sample_id:id}/last", _last, methods=["GET"]),
    Route("/api/samples/{sample_id:id}/undo", _undo_answer, methods=["POST"]),
    *reviewing.ROUTES,
]
