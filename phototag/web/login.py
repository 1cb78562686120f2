"""Signing in with a password, and out."""

from __future__ import annotations

import math

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from phototag.web import respond
from phototag.web.context import context_of
from phototag.web.guard import local_path, login_values


def _show(request: Request) -> Response:
    security = context_of(request).security
    if security.has_session(request):
        return RedirectResponse("/", 303)
    return respond.page(request, "login.html", **login_values(security, "/"))


async def _login(request: Request) -> Response:
    security = context_of(request).security
    form = await respond.read_form(request, limit=8_000)
    target = form.get("target", "/")
    if security.password is None:
        values = login_values(security, target, "This phototag was started without a password.")
        return respond.page(request, "login.html", status=403, **values)
    client = request.client.host if request.client else ""
    wait = security.password_tries.begin(client)
    if wait > 0:
        problem = f"Too many wrong passwords. Try again in {_duration(wait)}."
        headers = {"Retry-After": str(math.ceil(wait))}
        values = login_values(security, target, problem)
        return respond.page(request, "login.html", status=429, headers=headers, **values)
    if not await run_in_threadpool(security.password.matches, form.get("password", "")):
        values = login_values(security, target, "That is not the password.")
        return respond.page(request, "login.html", status=403, **values)
    security.password_tries.succeeded(client)
    answer = RedirectResponse(local_path(target), 303)
    security.set_cookie(answer)
    return answer


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{math.ceil(seconds / 60)} minutes"


def _logout(request: Request) -> Response:
    security = context_of(request).security
    security.end_session(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(security.cookie_name, path="/", httponly=True, samesite="strict")
    return answer


ROUTES: list[BaseRoute] = [
    Route("/login", _show),
    Route("/login", _login, methods=["POST"]),
    Route("/logout", _logout, methods=["POST"]),
]
