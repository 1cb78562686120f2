"""The web application: all pages, behind one guard."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp

from phototag.errors import PhotoTagError
from phototag.web import assets, audit, gallery, login, media, photo, respond, review
from phototag.web.context import Context
from phototag.web.guard import Guard


class _GuardedApp(Starlette):
    """An application whose guard stands before everything else, the answers to its own mistakes included."""

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), self.state.context.security, verbose=self.state.verbose)


def create_app(context: Context, *, verbose: bool = False) -> Starlette:
    """Return the application that shows the library of that context; `verbose` logs each request."""
    parts = (gallery, photo, review, audit, media, login, assets)
    app = _GuardedApp(
        routes=[route for part in parts for route in part.ROUTES],
        exception_handlers={
            PhotoTagError: respond.on_error,
            HTTPException: respond.on_http_error,
            500: respond.on_unexpected,
        },
    )
    app.router.redirect_slashes = False
    app.state.context = context
    app.state.verbose = verbose
    return app


def warm_up(app: Starlette) -> None:
    """Make the gallery's page once, and search in it, for no reader.

    What is imported, compiled and sorted for the first page would otherwise keep its reader waiting.
    """

    for query in (b"", b"text=photo"):
        request = Request({"type": "http", "path": "/", "query_string": query, "headers": [], "app": app})
        # A library that cannot be read is reported to the reader who asks for it.
        with suppress(PhotoTagError):
            asyncio.run(run_in_threadpool(gallery.show, request))
