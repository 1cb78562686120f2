"""The audit page: how right the tags are by the photos that were reviewed, and the photos behind each number."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable
from typing import TypeVar
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from phototag.audit import find_sample, make_report, photos_of_cell, read_library_scores, usable_samples
from phototag.choices import By
from phototag.errors import UsageError
from phototag.evaluation import FEWEST_REVIEWS
from phototag.model import list_models, open_model
from phototag.records import LEVELS
from phototag.report import Page, build_audit_page, named
from phototag.store import Sample, SampleItem
from phototag.text import printable
from phototag.web import respond
from phototag.web.context import Context, context_of
from phototag.web.review import SIZE

HALF_WIDTH = 0.03
_SHOWN = 500

Made = TypeVar("Made")


def _audit(request: Request) -> Response:
    context = context_of(request)
    name, by = request.query_params.get("sample") or None, _by(request)
    samples = [
        sample for sample in _kept(context, "samples", context.store.samples.find_all)[::-1] if sample.for_estimation
    ]
    if name is not None and name not in [sample.name for sample in samples]:
        raise HTTPException(404, "there is no such random sample")
    if not any(sample.reviewed for sample in samples if name in (None, sample.name)):
        return respond.page(request, "audit_empty.html", section="audit", samples=samples)
    page, newest, more = _kept(context, (name, by), lambda: _made(context, name, by))
    return respond.page(
        request,
        "audit.html",
        section="audit",
        page=page,
        newest=newest,
        more=more,
        fits=newest.reviewed >= FEWEST_REVIEWS,
        offered=min(more, SIZE),
        points=f"{100 * HALF_WIDTH:.0f}",
        samples=[sample for sample in samples if sample.reviewed],
        chosen=name or "",
        by=by.value,
        ways=[way.value for way in By],
    )


def _made(context: Context, name: str | None, by: By) -> tuple[Page, Sample, int]:
    """Return the page of a report, the newest sample that it is made from, and how many more photos its plan wants."""
    report = make_report(context.store, sample=name, by=by, half_width=HALF_WIDTH)

    def cell(level: str, truth: str, tag: str) -> str:
        pairs = {"level": level, "truth": truth, "tag": tag, **({} if name is None else {"sample": name})}
        return f"/audit/cell?{urlencode(pairs)}"

    return build_audit_page(report, cell=cell), report.samples[0], 0 if report.plan is None else report.plan.more


def _kept(context: Context, about: Hashable, make: Callable[[], Made]) -> Made:
    return context.reports.get(context.store, context.gallery.sign(), about, make)


def _by(request: Request) -> By:
    try:
        return By(request.query_params.get("by") or By.SUPERCLASS)
    except ValueError as error:
        raise UsageError(f"a report has rows by {', '.join(By)}") from error


def _cell(request: Request) -> Response:
    """Show the reviewed photos of one truth and one tag."""
    context, query = context_of(request), request.query_params
    level, truth, tag = query.get("level", ""), query.get("truth", ""), query.get("tag", "")
    if level not in LEVELS:
        raise UsageError(f"a level is one of {', '.join(LEVELS)}")
    name = query.get("sample") or None
    try:
        samples, _ = usable_samples(context.store, name)
    except UsageError as error:
        raise HTTPException(404, str(error)) from error
    items = photos_of_cell(context.store, samples, level=level, truth=truth, tag=tag)
    return respond.page(
        request,
        "audit_cell.html",
        section="audit",
        level=level,
        truth=named(truth, level),
        tag=named(tag, level),
        same=truth == tag,
        count=len(items),
        photos=[_shown(item) for item in items[:_SHOWN]],
        back="/audit" if name is None else f"/audit?{urlencode({'sample': name})}",
    )


def _shown(item: SampleItem) -> dict[str, object]:
    review = item.review
    said = (None, None) if review is None else (review.superclass, review.subclass)
    return {
        "id": item.photo_id,
        "name": printable(item.path.name),
        "version": item.content_hash.hex()[:8],
        "tag": (item.tag.superclass, item.tag.subclass),
        "said": said,
        "score": item.tag.subclass_score if item.tag.subclass is not None else item.tag.superclass_score,
    }


async def _tune(request: Request) -> Response:
    """Fit the model of a reviewed sample to the library, as a new model."""
    name = (await respond.read_form(request)).get("sample", "")

    def tune() -> Response:
        from phototag.training import tune_for_library

        store = context_of(request).store
        sample = find_sample(store, name)
        tagged_by = next((model.name for model in store.models.find_all() if model.id == sample.model_id), None)
        if tagged_by is None:
            raise UsageError(
                "several models tagged this sample; in a terminal: phototag model tune MODEL --reviews NAME"
            )
        model = open_model(tagged_by)
        tuned = tune_for_library(tagged_by, read_library_scores(store, name, model)).model
        return RedirectResponse(f"/audit/tuned/{quote(tuned.name)}", 303)

    return await run_in_threadpool(tune)


def _tuned(request: Request) -> Response:
    """Show a model that was fitted to the library, and what to do with it."""
    wanted = request.path_params["name"]
    model = next((model for model in list_models()[0] if model.name == wanted), None)
    try:
        if model is None:
            raise KeyError(wanted)
        reviews, certificate = model.header.record["reviews"], model.header.record["promise"]
        rows = [(level, reviews["before"][level], reviews["after"][level], reviews["basis"][level]) for level in LEVELS]
    except (KeyError, TypeError):  # the file is untrusted
        raise HTTPException(404, "there is no model of that name that reviews were used for") from None
    return respond.page(
        request,
        "audit_tuned.html",
        section="audit",
        name=model.name,
        reviews=reviews,
        target=certificate["target_precision"],
        doubts=certificate["kept_back"],
        rows=rows,
        command=shlex.quote(model.name),
    )


ROUTES: list[BaseRoute] = [
    Route("/audit", _audit, methods=["GET"]),
    Route("/audit/cell", _cell, methods=["GET"]),
    Route("/audit/tune", _tune, methods=["POST"]),
    Route("/audit/tuned/{name}", _tuned, methods=["GET"]),
]
