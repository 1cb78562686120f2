"""Who may ask this server for what.

The server answers on this computer only, unless told otherwise; but every page that a browser shows, from anywhere, can
send it requests, and every user of the computer can connect to it. So each request is checked, in this order:

1. its Host is a name of this server: another name that was made to point here (DNS rebinding) is refused;
2. it comes from a page of this server: others may link to its pages, not embed its pictures, and not change anything;
3. it has a session, which only the launch token that the terminal shows, or the password, begins.

And every answer tells the browser to run, load and embed nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phototag.text import printable
from phototag.web import respond
from phototag.web.security import Security

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
SESSION = "phototag.session"
"""Where the scope of a request says whether it belongs to a session."""
_LONGEST_PATH = 1000
_PICTURE = re.compile(r"/photos/[^/]*/(thumbnail|picture)")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that, browsers send forms with "Origin: null", which could come from anywhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """The gate before the application: lets requests through or answers them, and puts its headers on all answers."""

    def __init__(self, app: ASGIApp, security: Security, *, verbose: bool = False) -> None:
        """`verbose` logs each request, without what follows the path: that may hold the token."""
        self._app = app
        self._security = security
        self._verbose = verbose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _Answering(scope, send, verbose=self._verbose)
        request = Request(scope)
        scope[SESSION] = self._security.has_session(request)
        try:
            answer = await self._refusal(request)
            await (answer or self._app)(scope, receive, guarded)
        except asyncio.CancelledError:
            # The server ends while this waits in a thread. What was asked for is not known to be done.
            if not guarded.has_begun:
                ending = respond.error_answer(request, 503, "phototag is ending")
                await ending(scope, receive, guarded)
            raise

    async def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that does not get through to the application."""
        hosts = request.headers.getlist("host")
        server = request.scope.get("server")
        if len(hosts) != 1 or not self._security.knows_host(hosts[0], server[0] if server else None):
            return PlainTextResponse("This is not a name of this phototag; start it with --allow-host NAME.\n", 421)
        if not _comes_from_here(request, hosts[0]):
            return respond.error_answer(request, 403, "another web page asked for this, and may not")
        if _is_too_long(request.headers):
            return respond.error_answer(request, 413, f"the body is longer than {MAX_BODY_BYTES:,} bytes")
        # Not that of `request.url`, which ends at a question mark that was part of the path.
        path: str = request.scope["path"]
        if len(path) > _LONGEST_PATH:
            return respond.error_answer(request, 414, "the address is too long")
        if path.startswith("/static/"):
            return None
        if request.method in ("GET", "HEAD") and _is_page(path) and "token" in request.query_params:
            return await self._entered(request)
        if request.scope[SESSION] or path == "/login":
            return None
        return self._unknown(request)

    async def _entered(self, request: Request) -> Response:
        """Return the answer to a token: a session, and the same address without it."""
        if not self._security.accepts(request.query_params["token"]):
            await anyio.sleep(self._security.delay_seconds)
            text = "this link is not, or no longer, right; copy the one that phototag shows in its terminal"
            return respond.error_answer(request, 403, text)
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        rest = urlencode([(name, value) for name, value in pairs if name != "token"])
        target = local_path(request.scope["path"]) + (f"?{rest}" if rest else "")
        answer: Response
        if request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            answer = RedirectResponse(target, 303)
        else:
            # A link in another page, as of a terminal in the browser: a redirect would still count as coming from
            # there, and the browser would keep the new cookie back.
            answer = respond.page(request, "entered.html", target=target)
        self._security.set_cookie(answer)
        return answer

    def _unknown(self, request: Request) -> Response:
        if respond.wants_json(request) or not _is_page(request.scope["path"]) or request.method not in ("GET", "HEAD"):
            return respond.error_answer(request, 401, "not let in: open the link that phototag shows in its terminal")
        return respond.page(request, "login.html", status=401, **login_values(self._security, request.scope["path"]))


def login_values(security: Security, target: str, problem: str = "") -> dict[str, Any]:
    """Return what the page to sign in needs to know."""
    return {"with_password": security.password is not None, "target": local_path(target), "problem": problem}


def local_path(path: str) -> str:
    """Return the path as one of this server, whatever it looks like: two slashes would begin the name of another."""
    return quote("/" + path.lstrip("/\\"), safe="/~!*()'@:,;=+$")


def _is_page(path: str) -> bool:
    """Return whether something at the path is for looking at by itself; all else is only for pages to use."""
    return not path.startswith(("/api/", "/static/")) and _PICTURE.fullmatch(path) is None


def _comes_from_here(request: Request, host: str) -> bool:
    """Return whether no page of another site is behind a request, or it is one that such pages may make."""
    site = request.headers.get("sec-fetch-site")
    if request.method not in ("GET", "HEAD"):
        if site is not None:
            return site == "same-origin"
        # Browsers say where a request comes from only to servers that they trust, which does not include those that
        # another computer on the network runs without encryption; but who sends a form they always say.
        origin = request.headers.get("origin")
        return origin is not None and origin.lower() == f"{request.url.scheme}://{host}".lower()
    if site in (None, "none", "same-origin"):
        return True
    headers = request.headers
    is_visit = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_visit and _is_page(request.scope["path"])


def _is_too_long(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return not length.isdecimal() or len(length) > 12 or int(length) > MAX_BODY_BYTES


class _Answering:
    """A `send` that puts the guard's headers on an answer, logs it if wanted, and knows whether it has begun."""

    def __init__(self, scope: Scope, send: Send, *, verbose: bool) -> None:
        self._scope, self._send, self._verbose = scope, send, verbose
        self._start = time.perf_counter()
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if self._verbose:
                took_ms, path = 1000 * (time.perf_counter() - self._start), printable(self._scope["path"])
                log.info("%s %s %d %.0f ms", self._scope["method"], path, message["status"], took_ms)
        await self._send(message)
