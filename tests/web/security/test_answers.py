"""What answers say to browsers, how much is taken, and that hostile names are inert on every page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from urllib.parse import urljoin

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phototag.audit.sample_creation import create_sample
from phototag.errors import LockedError, StoreError, UsageError
from phototag.store import Store
from phototag.web import respond
from tests.support.web import (
    ADDRESS,
    FROM_ELSEWHERE,
    application,
    context_in,
    logged_in,
    not_logged_in,
    routes,
    save_photos,
)


def test_every_answer_forbids_what_pages_do_not_need(app: Starlette) -> None:
    client = logged_in(app)
    answers = [client.request(method, path) for method, path in routes(app) if path != "/logout"]
    answers += [
        client.get("/nowhere"),
        client.delete("/"),
        client.get("/", headers={"Host": "evil.example"}),
        client.get("/", headers=FROM_ELSEWHERE[0]),
        client.get("/?token=wrong"),
        client.post("/login", content=b"x" * 2_000_000),
        not_logged_in(app).get("/"),
        client.get("/static/base.css", headers={"If-None-Match": client.get("/static/base.css").headers["etag"]}),
    ]
    assert {200, 303, 304, 401, 403, 404, 405, 413, 421} <= {answer.status_code for answer in answers}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_pages_are_not_kept_by_browsers(app: Starlette) -> None:
    client = logged_in(app)
    for path in ("/", "/review", "/audit", "/api/names", "/nowhere"):
        assert client.get(path).headers["cache-control"] == "no-store", path


def sources(folder: str) -> list[tuple[str, str]]:
    place = resources.files("phototag.web") / folder
    return [(entry.name, entry.read_text(encoding="utf-8")) for entry in place.iterdir() if entry.is_file()]


def test_pages_hold_no_scripts_or_styles_of_their_own() -> None:
    for name, text in sources("templates"):
        for forbidden in (r"<script(?![^>]*\bsrc=)", r"<style", r"\sstyle\s*=", r"\son[a-z]+\s*=", r"javascript:"):
            assert not re.search(forbidden, text, re.IGNORECASE), (name, forbidden)


def test_nothing_gets_into_pages_unescaped() -> None:
    for name, text in sources("templates"):
        for forbidden in (r"\|\s*safe\b", r"autoescape\s+false", r"https?://(?!www\.w3\.org/)"):
            assert not re.search(forbidden, text), (name, forbidden)


def test_scripts_make_no_code_of_texts_and_stay_at_home() -> None:
    for name, text in sources("static"):
        for forbidden in (r"\beval\s*\(", r"new Function\b", r"document\.write", r"https?://(?!www\.w3\.org/)"):
            assert not re.search(forbidden, text), (name, forbidden)


# ---- static files


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%2e%2e%2fapp.py", "/static/"),
        *("/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/base.css%00.png", "/static/..\\app.py"),
        *("/static/base.css/", "/static/BASE.CSS", "/static", "/app.py", "/templates/base.html"),
    ],
)
def test_only_static_files_are_served(app: Starlette, path: str) -> None:
    answer = logged_in(app).get(f"{ADDRESS}{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_static_files_are_kept_by_their_version_only(app: Starlette) -> None:
    client = not_logged_in(app)
    address = re.search(r"/static/base\.css\?v=\w+", client.get("/").text)
    assert address is not None
    answer = client.get(address[0])
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    for path in ("/static/base.css", "/static/base.css?v=old"):
        assert client.get(path).headers["cache-control"] == "no-cache"
    again = client.get("/static/base.css", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


# ---- bodies and errors


def test_too_much_is_refused(app: Starlette) -> None:
    client = logged_in(app)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=b"a=" + b"x" * 2_000_000, headers=form).status_code == 413
    assert client.post("/login", content=b"a=" + b"x" * 20_000, headers=form).status_code == 413
    # Sent in pieces, so that nothing says how long it will be.
    assert client.post("/login", content=iter([b"a=", *[b"x" * 1000] * 100]), headers=form).status_code == 413
    for length in ("-1", "1e3", "9" * 40, "٣"):
        raw = {**form, "Content-Length": length.encode()}
        assert client.post("/login", content=b"", headers=raw).status_code in (400, 413)
    assert client.get("/" + "a" * 5000).status_code == 414


async def _echo(request: Request) -> Response:
    return respond.json(await respond.read_json(request, limit=100_000))


def _raising(error: Exception) -> Callable[[Request], Response]:
    def handler(request: Request) -> Response:
        raise error

    return handler


def with_routes(app: Starlette, **handlers: Callable[..., object]) -> Starlette:
    for name, handler in handlers.items():
        app.router.routes.append(Route(f"/api/test/{name}", handler, methods=["GET", "POST"]))
        app.router.routes.append(Route(f"/test/{name}", handler, methods=["GET", "POST"]))
    return app


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"a": 1}', "application/json", 200),
        (b'{"a": 1}', "application/json; charset=utf-8", 200),
        (b'{"a": 1}', "text/plain", 415),
        (b'{"a": 1}', "application/x-www-form-urlencoded", 415),
        (b"", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"a": "\xff"}', "application/json", 400),
        (b"[" * 90_000, "application/json", 400),
        (b'{"a":' * 15_000, "application/json", 400),
        (b'{"a": "' + b"x" * 100_000 + b'"}', "application/json", 413),
    ],
)
def test_bodies_that_are_no_json_object_are_refused(app: Starlette, body: bytes, kind: str, status: int) -> None:
    client = logged_in(with_routes(app, echo=_echo))
    answer = client.post("/api/test/echo", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert status == 200 or set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("no such thing"), 400),
        (LockedError("another process has it"), 503),
        (StoreError("the disk is full"), 500),
        (HTTPException(409, "somebody was faster"), 409),
    ],
)
def test_errors_are_told_as_page_or_json(app: Starlette, error: Exception, status: int) -> None:
    client = logged_in(with_routes(app, broken=_raising(error)))
    text = error.detail if isinstance(error, HTTPException) else str(error)
    as_json = client.get("/api/test/broken")
    assert (as_json.status_code, as_json.json()) == (status, {"error": text})
    assert client.get("/test/broken", headers={"Accept": "application/json"}).json() == {"error": text}
    page = client.get("/test/broken")
    assert page.status_code == status
    assert text[1:] in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_mistakes_are_not_shown_to_browsers(app: Starlette) -> None:
    client = not_logged_in(with_routes(app, broken=_raising(ZeroDivisionError("secret detail"))))
    client.get("/", params={"token": context_in(app).security.token})
    for path in ("/test/broken", "/api/test/broken"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a\"b'c<d>&e",
        "first\nsecond\r\nX: y",
        "\u202egpj.exe",
        "caf\udce9.jpg",
        "\x1b[31mred\x00",
    ],
)
def test_hostile_names_in_errors_are_inert(app: Starlette, name: str) -> None:
    client = logged_in(with_routes(app, broken=_raising(UsageError(f"{name}: no such photo"))))
    page = client.get("/test/broken").content.decode("utf-8")
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    as_json = client.get("/api/test/broken")
    assert json.loads(as_json.content.decode("ascii"))["error"].endswith(": no such photo")


class Markup(HTMLParser):
    """What a page is made of: its links, its elements, and the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name == "href" and value]


HOSTILE_FILES = [
    b"<bdo id=pwned>.jpg",
    b"'\"><bdo onclick=pwned()>.jpg",
    b"two\nlines\r\n<bdo>.jpg",
    "\u202egpj.<bdo>.jpg".encode(),
    b"caf\xe9.jpg",
    b"{{ 7 * 191 }}{% x %}${1}.jpg",
    b"\x1b[31m&lt;bdo&gt;.jpg",
]


def test_hostile_names_are_inert_on_every_page(tmp_path: Path) -> None:
    files = [tmp_path / os.fsdecode(b"<bdo>\xff") / os.fsdecode(name) for name in HOSTILE_FILES]
    files[0].parent.mkdir()
    for file in files:
        Image.new("RGB", (9, 9)).save(file, "JPEG")
    database = tmp_path / "photos.db"
    ids = save_photos(database, files)
    with Store.open(database) as store, store.writing("audit"):
        for file in files[:4]:
            store.tags.set_human(file, superclass="<bdo id=pwned>", subclass="\"'><bdo onclick=pwned()>")
        sample = create_sample(store, size=6)
    with application(database) as app:
        client = logged_in(app)
        waiting = [
            "/",
            "/review",
            f"/review/{sample.id}",
            "/audit",
            "/api/names",
            *(f"/photos/{number}" for number in ids),
        ]
        seen: set[str] = set()
        while waiting and len(seen) < 80:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            answer = client.get(path)
            text = answer.content.decode("utf-8")
            assert answer.status_code == 200, path
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            page = Markup(text)
            assert "bdo" not in page.elements, path
            assert not {"onclick", "onerror", "style"} & page.attributes, path
            assert "\x1b" not in text, path
            assert "1337" not in text, path
            found = [urljoin(path, link.partition("#")[0]) for link in page.links]
            assert all(link.startswith("/") for link in found), path
            waiting += [link for link in found if not link.startswith("/static/")]
        assert len(seen) > 20
