"""Answers: pages from templates, JSON, errors; and the bodies of requests.

A page never fails for what a file is called: bytes that are not UTF-8 are replaced when it is encoded, and names go
through the filters `printable` or `named`, which make control characters and changes of direction visible and inert.
"""

from __future__ import annotations

import json as jsonlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any
from urllib.parse import parse_qsl

import anyio
from jinja2 import Environment
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from phototag.errors import LockedError, PhotoTagError, UsageError
from phototag.report import html_environment
from phototag.taxonomy import as_written, label_text
from phototag.text import percent, printable
from phototag.web.assets import asset_url

log = logging.getLogger(__name__)

BODY_BYTES = 64_000
_BODY_SECONDS = 20.0
_TITLES = {
    400: "That does not work",
    401: "Sign-in needed",
    403: "Refused",
    404: "Not here",
    405: "Not this way",
    409: "Someone was faster",
    413: "Too much",
    421: "Wrong address",
    429: "Too many tries",
    503: "Busy",
}
_OWN_WORDS = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address is not for that.",
}


def page(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """Fill in the template with the values, as a page of its own or, the same way, a part of one."""
    return HTMLResponse(fill(template, request=request, **values), status, headers)


def fill(template: str, **values: Any) -> bytes:
    """Return a template filled in with values, which are escaped."""
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with the value as JSON. Pure ASCII, so that text with undecodable bytes in it passes.

    Raises:
        ValueError: there is a number in it that JSON does not have.
    """
    text = jsonlib.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("ascii"), status, headers, media_type="application/json")


async def read_json(request: Request, *, limit: int = BODY_BYTES) -> dict[str, Any]:
    """Read the JSON object in the request's body, of at most `limit` bytes.

    Raises:
        HTTPException: 400 for what is none, 408 if it does not come, 413 if it is longer, 415 for another type.
    """
    _require_type(request, "application/json")
    body = await _read_body(request, limit)
    try:
        value = jsonlib.loads(body)
    # A deeply nested body exhausts the stack of the parser.
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return value


def takes_json(handler: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers with what `handler` returns, in a thread, of the JSON object in the body."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(handler, request, await read_json(request))

    return endpoint


async def read_form(request: Request, *, limit: int = BODY_BYTES) -> dict[str, str]:
    """Read the fields of a form in the request's body; of a name given twice the last counts.

    Raises:
        HTTPException: as for `read_json`.
    """
    _require_type(request, "application/x-www-form-urlencoded")
    body = await _read_body(request, limit)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise HTTPException(400, "the body is not a form") from error
    return dict(pairs)


def _require_type(request: Request, wanted: str) -> None:
    # Forms of other pages can send anything as text/plain without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != wanted:
        raise HTTPException(415, f"the body has to be {wanted}")


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise HTTPException(413, f"the body is longer than {limit:,} bytes")
    except TimeoutError as error:
        raise HTTPException(408, "the body did not come in time") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the connection ended within the body") from error
    return bytes(body)


# ---- errors


def wants_json(request: Request) -> bool:
    """Return whether a script asks, and not a reader."""
    return str(request.scope["path"]).startswith("/api/") or "application/json" in request.headers.get("accept", "")


def error_answer(request: Request, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Say what went wrong, as JSON or as a page."""
    if wants_json(request):
        return json({"error": printable(text)}, status=status, headers=headers)
    title = _TITLES.get(status, "Something went wrong")
    if text.partition(" ")[0].isalpha():  # a word, and not the name of a file
        text = text[:1].upper() + text[1:]
    return page(request, "error.html", status=status, headers=headers, title=title, text=text)


async def on_error(request: Request, error: Exception) -> Response:
    """Answer a `PhotoTagError`: its text is fit to show."""
    status = 400 if isinstance(error, UsageError) else 503 if isinstance(error, LockedError) else 500
    if status == 500:
        log.error("%s", str(error).encode("utf-8", "backslashreplace").decode())
    return error_answer(request, status, str(error) if isinstance(error, PhotoTagError) else "")


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer an `HTTPException`."""
    if not isinstance(error, HTTPException):
        raise error
    text = _OWN_WORDS.get(error.detail, error.detail)
    return error_answer(request, error.status_code, text, headers=error.headers)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Answer a mistake in phototag. The server logs it with its trace, which is not for the browser."""
    return error_answer(request, 500, "this is a mistake in phototag; the terminal that it runs in says more")


# ---- templates


@cache
def _environment() -> Environment:
    environment = html_environment("phototag.web")
    environment.globals |= {"static": asset_url, "section": ""}
    environment.filters |= {
        "printable": printable,
        "named": named,
        "class_name": lambda name: named(as_written(name)),
        "label": lambda labels: named(as_written(label_text(*labels))),
        "thousands": "{:,}".format,
        "percent": partial(percent, digits=0),
    }
    return environment


def named(text: str) -> Markup:
    """Return a name that others gave, as of a file: inert, and isolated from the direction of the text around it."""
    return Markup("<bdi>{}</bdi>").format(printable(text))
