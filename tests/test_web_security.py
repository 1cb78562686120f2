"""The web page answers those it was shown to and nobody else, and gives nothing away to pages of others."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from urllib.parse import urljoin

import pytest
from phototag.audit.drawing import draw_sample
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from web import ADDRESS, FROM_OWN_PAGE, application, context_in, logged_in, save_photos, stranger

from phototag.errors import LockedError, StoreError, UsageError
from phototag.store import Store
from phototag.web import respond
from phototag.web.passwords import FREE_TRIES, Password, Throttle
from phototag.web.security import Security

PASSWORD = "correct horse battery"
FOREIGN = ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"})
VISIT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def _first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one photo, whose file is there; made once, since making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("library")
    picture = folder / "rooster.jpg"
    Image.new("RGB", (96, 64), "firebrick").save(picture)
    save_photos(folder / "photos.db", [picture])
    return folder / "photos.db"


@pytest.fixture
def database(tmp_path: Path, _first: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(_first, tmp_path / "photos.db"))


@pytest.fixture
def app(database: Path) -> Iterator[Starlette]:
    """The application over it."""
    with application(database) as made:
        yield made


@pytest.fixture
def guarded(database: Path) -> Iterator[Starlette]:
    """The same with a password, and a clock that stands still."""
    with application(database, password=PASSWORD, clock=Clock()) as made:
        yield made


def routes(app: Starlette) -> list[tuple[str, str]]:
    """Every method and path of the application, with an example for each part of a path."""
    found = []
    for route in app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{[a-z_]+(:[a-z]+)?\}", "1", route.path)
        found += [(method, path) for method in sorted(route.methods or ())]
    assert ("GET", "/photos/1/thumbnail") in found
    assert ("POST", "/login") in found
    return found


def rows(database: Path) -> list[str]:
    """All that the database holds."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


# ---- hosts


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8765", "localhost", "LocalHost:8765", "[::1]", "[::1]:8765", "localhost:9000"]
)
def test_names_of_the_loopback_are_known(app: Starlette, host: str) -> None:
    assert stranger(app).get("/static/base.css", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "localhost."),
        *("127.0.0.1@evil.example", "evil.example#127.0.0.1", "evil.example/127.0.0.1", "127.0.0.1,evil.example"),
        *(
            "127.0.0.1:8765:80",
            "127.0.0.1:port",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::2]",
        ),
        *("192.168.1.7", "", " ", ":8765", "localhost\t", "l\u0131localhost", "[::2]", "*"),
    ],
)
def test_foreign_host_is_refused(app: Starlette, host: str) -> None:
    answer = logged_in(app).get("/static/base.css", headers={"Host": host.encode()})
    assert answer.status_code == 421


def test_foreign_host_is_refused_everywhere_even_with_a_session(app: Starlette) -> None:
    client = logged_in(app)
    for method, path in routes(app):
        answer = client.request(method, path, headers={"Host": "evil.example"})
        assert answer.status_code == 421, (method, path)


def test_host_may_not_be_given_twice(app: Starlette) -> None:
    headers = [("Host", "127.0.0.1:8765"), ("Host", "evil.example")]
    assert stranger(app).get("/static/base.css", headers=headers).status_code == 421


def test_host_that_the_user_allowed_is_known(database: Path) -> None:
    with application(database, hosts=("Photos.lan", "[fd00::1]")) as app:
        for host in ("photos.lan", "PHOTOS.LAN:8765", "[fd00::1]:8765"):
            assert stranger(app).get("/static/base.css", headers={"Host": host}).status_code == 200
        assert stranger(app).get("/static/base.css", headers={"Host": "other.lan"}).status_code == 421


@pytest.mark.parametrize(
    ("host", "local", "known"),
    [
        ("192.168.1.7:8765", "192.168.1.7", True),
        ("192.168.1.7:8765", "::ffff:192.168.1.7", True),
        ("192.168.1.8", "192.168.1.7", False),
        ("[fd00::7]:8765", "fd00:0:0::7", True),
        ("[fe80::7]", "fe80::7%eth0", True),
        ("[fd00::8]", "fd00::7", False),
        ("192.168.1.7", "/run/some.socket", False),
        ("192.168.1.7", None, False),
    ],
)
def test_address_that_a_connection_came_to_is_known(host: str, local: str | None, known: bool) -> None:
    assert Security(port=1).knows_host(host, local) is known


# ---- where requests come from


@pytest.mark.parametrize("headers", [*FOREIGN, {"Sec-Fetch-Site": "cross-site", "Origin": ADDRESS}])
def test_changes_from_other_pages_are_refused(app: Starlette, database: Path, headers: dict[str, str]) -> None:
    before = rows(database)
    client = logged_in(app)
    for method, path in routes(app):
        if method not in ("GET", "HEAD"):
            answer = client.request(method, path, headers=headers, json={})
            assert answer.status_code == 403, (method, path)
    assert rows(database) == before


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:8766", "https://127.0.0.1:8765"],
)
def test_changes_without_the_own_origin_are_refused(app: Starlette, origin: str | None) -> None:
    client = stranger(app)
    client.get("/", params={"token": context_in(app).security.token})
    for method, path in routes(app):
        if method not in ("GET", "HEAD"):
            headers = {} if origin is None else {"Origin": origin}
            assert client.request(method, path, headers=headers, json={}).status_code == 403, (method, path)


def test_browser_that_says_only_its_origin_may_change_things(app: Starlette) -> None:
    client = stranger(app)
    client.get("/", params={"token": context_in(app).security.token})
    answer = client.post("/logout", headers={"Origin": ADDRESS})
    assert answer.headers["location"] == "/login"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_no_method_but_get_and_head_comes_from_elsewhere(app: Starlette, method: str) -> None:
    assert logged_in(app).request(method, "/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("path", ["/photos/1/thumbnail", "/photos/1/picture", "/static/base.css", "/api/names"])
@pytest.mark.parametrize("headers", [*FOREIGN[:2], VISIT], ids=["cross-site", "same-site", "visit"])
def test_pictures_and_data_are_not_for_other_pages(app: Starlette, path: str, headers: dict[str, str]) -> None:
    assert logged_in(app).get(path, headers=headers).status_code == 403


def test_other_pages_may_link_here_but_not_embed(app: Starlette) -> None:
    client = logged_in(app)
    assert client.get("/", headers=VISIT).status_code == 200
    for mode, dest in [("navigate", "iframe"), ("no-cors", "image"), ("no-cors", "script"), ("cors", "empty")]:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
        assert client.get("/", headers=headers).status_code == 403


def test_looking_changes_nothing(app: Starlette, database: Path) -> None:
    before = rows(database)
    client = logged_in(app)
    for method, path in routes(app):
        if method in ("GET", "HEAD"):
            assert client.request(method, path).status_code < 500, path
    assert rows(database) == before


# ---- who is let in


def test_nothing_is_shown_to_strangers(app: Starlette) -> None:
    client = stranger(app)
    for method, path in routes(app):
        if path.startswith(("/static/", "/login")):
            continue
        answer = client.request(method, path, headers=FROM_OWN_PAGE)
        assert answer.status_code == 401, (method, path)
        assert "rooster" not in answer.text
        if path.startswith("/api/") and method != "HEAD":
            assert set(answer.json()) == {"error"}


def test_stranger_is_told_how_to_come_in(app: Starlette) -> None:
    answer = stranger(app).get("/photos/1")
    assert answer.status_code == 401
    assert "phototag serve" in answer.text
    assert "password" not in answer.text.lower()


def test_launch_token_begins_a_session_and_leaves_the_address(app: Starlette) -> None:
    client = stranger(app)
    token = context_in(app).security.token
    answer = client.get("/review", params={"a": "1 2", "token": token, "b": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review?a=1+2&b=")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("phototag-8765=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
    assert token not in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "é", "\ud800", "0" * 900])
def test_wrong_token_is_refused_and_slowed(app: Starlette, token: str) -> None:
    client = stranger(app)
    security = context_in(app).security
    raw = "".join(f"%{byte:02x}" for byte in token.encode("utf-8", "surrogatepass"))
    start = time.monotonic()
    answer = client.get(f"/?token={raw}")
    assert time.monotonic() - start >= 0.1
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert security.delay_seconds == pytest.approx(0.1)
    for _ in range(100):
        security.accepts("wrong")
    assert security.delay_seconds == 2.0
    assert security.accepts(security.token)  # who has it never waits


def test_second_token_does_not_hide_behind_the_first(app: Starlette) -> None:
    token = context_in(app).security.token
    assert stranger(app).get(f"/?token={token}&token=wrong").status_code == 403


def test_wrong_token_does_not_end_a_session(app: Starlette) -> None:
    client = logged_in(app)
    assert client.get("/?token=wrong").status_code == 403
    assert client.get("/").status_code == 200


def test_token_is_no_way_to_the_interface(app: Starlette) -> None:
    token = context_in(app).security.token
    for path in ("/api/names", "/photos/1/thumbnail"):
        assert stranger(app).get(path, params={"token": token}).status_code == 401


def test_ticket_works_once_and_soon(database: Path) -> None:
    clock = Clock()
    with application(database, clock=clock) as app:
        security = context_in(app).security
        ticket, late = security.ticket(), security.ticket()
        assert stranger(app).get("/", params={"token": ticket}).status_code == 303
        assert stranger(app).get("/", params={"token": ticket}).status_code == 403
        clock.now += 200
        assert stranger(app).get("/", params={"token": late}).status_code == 403


@pytest.mark.parametrize(
    "path", ["//evil.example/a", "/\\evil.example", "///evil.example", "//evil.example//", "/%0d%0aX:1"]
)
def test_token_does_not_redirect_elsewhere(app: Starlette, path: str) -> None:
    answer = stranger(app).get(f"{ADDRESS}{path}?token={context_in(app).security.token}")
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert re.match(r"/(?![/\\])", location)
    assert "x" not in answer.headers


def test_link_in_another_page_lets_in_without_a_redirect(app: Starlette) -> None:
    # A browser does not send the new cookie along a redirect that another page began.
    client = stranger(app)
    answer = client.get("/review", params={"token": context_in(app).security.token}, headers=VISIT)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/review">' in answer.text
    assert context_in(app).security.token not in answer.text
    assert client.get("/").status_code == 200


def test_cookie_of_another_server_is_no_session(app: Starlette, database: Path) -> None:
    cookies = dict(logged_in(app).cookies)
    with application(database) as other:
        assert stranger(other, cookies=cookies).get("/").status_code == 401
    for secret in ("", "0" * 43, "x" * 5000):
        assert stranger(app, cookies={"phototag-8765": secret}).get("/").status_code == 401


def test_leaving_ends_the_session(app: Starlette) -> None:
    client = logged_in(app)
    cookies = dict(client.cookies)
    assert client.post("/logout").status_code == 303
    assert stranger(app, cookies=cookies).get("/").status_code == 401


def test_sessions_are_bounded(app: Starlette) -> None:
    first = logged_in(app)
    for _ in range(1000):
        context_in(app).security.begin_session()
    assert first.get("/").status_code == 401


# ---- passwords


def log_in(app: Starlette, password: str, target: str = "/", client: str = "192.168.1.9") -> Response:
    browser = stranger(app, client=(client, 50000))
    answer: Response = browser.post("/login", data={"password": password, "target": target}, headers=FROM_OWN_PAGE)
    return answer


def test_password_lets_in(guarded: Starlette) -> None:
    client = stranger(guarded)
    shown = client.get("/review")
    assert shown.status_code == 401
    assert 'name="target" value="/review"' in shown.text
    answer = client.post("/login", data={"password": PASSWORD, "target": "/review"}, headers={"Origin": ADDRESS})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    assert client.get("/").status_code == 200
    assert client.get("/login").headers["location"] == "/"


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "x", PASSWORD.upper(), PASSWORD[:-1], "é" * 1200])
def test_wrong_password_does_not(guarded: Starlette, password: str) -> None:
    answer = log_in(guarded, password)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_login_from_another_page_is_refused(guarded: Starlette) -> None:
    answer = stranger(guarded).post("/login", data={"password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_login_without_a_password_lets_nobody_in(app: Starlette) -> None:
    for password in ("", "None", PASSWORD):
        answer = log_in(app, password)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "\t//evil"]
)
def test_login_does_not_redirect_elsewhere(guarded: Starlette, target: str) -> None:
    answer = log_in(guarded, PASSWORD, target)
    assert answer.status_code == 303
    assert re.match(r"/(?![/\\])", answer.headers["location"])


def test_target_is_escaped_in_the_form(guarded: Starlette) -> None:
    answer = log_in(guarded, "wrong", '"><script>alert(1)</script>')
    assert "<script>alert" not in answer.text


def test_guessing_is_slowed_after_a_few_tries(guarded: Starlette) -> None:
    for _ in range(FREE_TRIES):
        assert log_in(guarded, "wrong").status_code == 403
    answer = log_in(guarded, PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "set-cookie" not in answer.headers
    # Another client and, with the link, the user of the computer itself still come in.
    assert log_in(guarded, PASSWORD, client="192.168.1.10").status_code == 303
    assert logged_in(guarded).get("/").status_code == 200


def test_guesses_at_the_same_time_do_not_slip_through(guarded: Starlette) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(log_in(guarded, "wrong").status_code))
        for _ in range(2 * FREE_TRIES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [403] * FREE_TRIES + [429] * FREE_TRIES


def test_each_wrong_guess_doubles_the_wait() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(FREE_TRIES):
        assert throttle.begin("a") == 0
    waits = []
    for _ in range(8):
        waits.append(throttle.begin("a"))
        clock.now += waits[-1]
        assert throttle.begin("a") == 0
    assert waits == [10, 20, 40, 80, 160, 320, 640, 900]


def test_waiting_is_no_try() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(50):
        throttle.begin("a")
    clock.now += 10
    assert throttle.begin("a") == 0


def test_right_password_forgets_the_wrong_ones() -> None:
    throttle = Throttle(Clock())
    for _ in range(40):
        for _ in range(FREE_TRIES):
            assert throttle.begin("a") == 0
        throttle.succeeded("a")


def test_many_clients_together_are_slowed_too() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    tries = sum(throttle.begin(f"10.0.0.{number}") == 0 for number in range(200))
    assert tries == 20
    assert 0 < throttle.begin("10.0.1.1") <= 60


def test_one_network_of_ipv6_is_one_client() -> None:
    throttle = Throttle(Clock())
    for number in range(FREE_TRIES):
        assert throttle.begin(f"2001:db8::{number + 1}") == 0
    assert throttle.begin("2001:db8::ffff") > 0
    assert throttle.begin("2001:db8:0:1::1") == 0
    assert throttle.begin("fe80::1%eth0") == 0


def test_clients_are_forgotten_in_time() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(FREE_TRIES + 1):
        throttle.begin("a")
    clock.now += 2 * 3600
    assert [throttle.begin("a") for _ in range(FREE_TRIES)] == [0] * FREE_TRIES


@pytest.mark.parametrize("text", ["", "1234567", "x" * 2000])
def test_bad_password_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match="password"):
        Password(text)


def test_password_is_not_kept() -> None:
    password = Password(PASSWORD)
    assert all(PASSWORD.encode() not in repr(getattr(password, name)).encode() for name in vars(password))
    assert password.matches(PASSWORD)
    assert not password.matches(PASSWORD + "\0")


# ---- what answers say to browsers


def test_every_answer_forbids_what_pages_do_not_need(app: Starlette) -> None:
    client = logged_in(app)
    answers = [client.request(method, path) for method, path in routes(app) if path != "/logout"]
    answers += [
        client.get("/nowhere"),
        client.delete("/"),
        client.get("/", headers={"Host": "evil.example"}),
        client.get("/", headers=FOREIGN[0]),
        client.get("/?token=wrong"),
        client.post("/login", content=b"x" * 2_000_000),
        stranger(app).get("/"),
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
        for forbidden in (r"\|\s*safe\b", r"autoescape\s+false", r"https?://"):
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
    client = stranger(app)
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
    client = stranger(with_routes(app, broken=_raising(ZeroDivisionError("secret detail"))))
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
            store.set_human_tag(file, superclass="<bdo id=pwned>", subclass="\"'><bdo onclick=pwned()>")
        sample = draw_sample(store, size=6)
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


def test_what_a_page_keeps_is_made_once(app: Starlette) -> None:
    made: list[int] = []

    def shelf() -> dict[str, int]:
        made.append(1)
        return {}

    kept: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: kept.append(context_in(app).keep(shelf))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert all(one is kept[0] for one in kept)
