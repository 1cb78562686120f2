"""The web page answers those it was shown to and nobody else: hosts, origins, tokens and sessions."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from starlette.applications import Starlette

from phototag.web.security import Security
from tests.support.web import (
    ADDRESS,
    FROM_ELSEWHERE,
    FROM_OWN_PAGE,
    Clock,
    application,
    context_in,
    logged_in,
    not_logged_in,
    routes,
)

VISIT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def rows(database: Path) -> list[str]:
    """All that the database holds."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


# ---- hosts


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8765", "localhost", "LocalHost:8765", "[::1]", "[::1]:8765", "localhost:9000"]
)
def test_names_of_the_loopback_are_known(app: Starlette, host: str) -> None:
    assert not_logged_in(app).get("/static/base.css", headers={"Host": host}).status_code == 200


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
    assert not_logged_in(app).get("/static/base.css", headers=headers).status_code == 421


def test_host_that_the_user_allowed_is_known(database: Path) -> None:
    with application(database, hosts=("Photos.lan", "[fd00::1]")) as app:
        for host in ("photos.lan", "PHOTOS.LAN:8765", "[fd00::1]:8765"):
            assert not_logged_in(app).get("/static/base.css", headers={"Host": host}).status_code == 200
        assert not_logged_in(app).get("/static/base.css", headers={"Host": "other.lan"}).status_code == 421


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


@pytest.mark.parametrize("headers", [*FROM_ELSEWHERE, {"Sec-Fetch-Site": "cross-site", "Origin": ADDRESS}])
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
    client = not_logged_in(app)
    client.get("/", params={"token": context_in(app).security.token})
    for method, path in routes(app):
        if method not in ("GET", "HEAD"):
            headers = {} if origin is None else {"Origin": origin}
            assert client.request(method, path, headers=headers, json={}).status_code == 403, (method, path)


def test_browser_that_says_only_its_origin_may_change_things(app: Starlette) -> None:
    client = not_logged_in(app)
    client.get("/", params={"token": context_in(app).security.token})
    answer = client.post("/logout", headers={"Origin": ADDRESS})
    assert answer.headers["location"] == "/login"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_no_method_but_get_and_head_comes_from_elsewhere(app: Starlette, method: str) -> None:
    assert logged_in(app).request(method, "/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("path", ["/photos/1/thumbnail", "/photos/1/picture", "/static/base.css", "/api/names"])
@pytest.mark.parametrize("headers", [*FROM_ELSEWHERE[:2], VISIT], ids=["cross-site", "same-site", "visit"])
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
    client = not_logged_in(app)
    for method, path in routes(app):
        if path.startswith(("/static/", "/login")):
            continue
        answer = client.request(method, path, headers=FROM_OWN_PAGE)
        assert answer.status_code == 401, (method, path)
        assert "rooster" not in answer.text
        if path.startswith("/api/") and method != "HEAD":
            assert set(answer.json()) == {"error"}


def test_stranger_is_told_how_to_come_in(app: Starlette) -> None:
    answer = not_logged_in(app).get("/photos/1")
    assert answer.status_code == 401
    assert "phototag serve" in answer.text
    assert "password" not in answer.text.lower()


def test_launch_token_begins_a_session_and_leaves_the_address(app: Starlette) -> None:
    client = not_logged_in(app)
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
    client = not_logged_in(app)
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
    assert not_logged_in(app).get(f"/?token={token}&token=wrong").status_code == 403


def test_wrong_token_does_not_end_a_session(app: Starlette) -> None:
    client = logged_in(app)
    assert client.get("/?token=wrong").status_code == 403
    assert client.get("/").status_code == 200


def test_token_is_no_way_to_the_interface(app: Starlette) -> None:
    token = context_in(app).security.token
    for path in ("/api/names", "/photos/1/thumbnail"):
        assert not_logged_in(app).get(path, params={"token": token}).status_code == 401


def test_ticket_works_once_and_soon(database: Path) -> None:
    clock = Clock()
    with application(database, clock=clock) as app:
        security = context_in(app).security
        ticket, late = security.ticket(), security.ticket()
        assert not_logged_in(app).get("/", params={"token": ticket}).status_code == 303
        assert not_logged_in(app).get("/", params={"token": ticket}).status_code == 403
        clock.now += 200
        assert not_logged_in(app).get("/", params={"token": late}).status_code == 403


@pytest.mark.parametrize(
    "path", ["//evil.example/a", "/\\evil.example", "///evil.example", "//evil.example//", "/%0d%0aX:1"]
)
def test_token_does_not_redirect_elsewhere(app: Starlette, path: str) -> None:
    answer = not_logged_in(app).get(f"{ADDRESS}{path}?token={context_in(app).security.token}")
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert re.match(r"/(?![/\\])", location)
    assert "x" not in answer.headers


def test_link_in_another_page_lets_in_without_a_redirect(app: Starlette) -> None:
    # A browser does not send the new cookie along a redirect that another page began.
    client = not_logged_in(app)
    answer = client.get("/review", params={"token": context_in(app).security.token}, headers=VISIT)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/review">' in answer.text
    assert context_in(app).security.token not in answer.text
    assert client.get("/").status_code == 200


def test_cookie_of_another_server_is_no_session(app: Starlette, database: Path) -> None:
    cookies = dict(logged_in(app).cookies)
    with application(database) as other:
        assert not_logged_in(other, cookies=cookies).get("/").status_code == 401
    for secret in ("", "0" * 43, "x" * 5000):
        assert not_logged_in(app, cookies={"phototag-8765": secret}).get("/").status_code == 401


def test_leaving_ends_the_session(app: Starlette) -> None:
    client = logged_in(app)
    cookies = dict(client.cookies)
    assert client.post("/logout").status_code == 303
    assert not_logged_in(app, cookies=cookies).get("/").status_code == 401


def test_sessions_are_bounded(app: Starlette) -> None:
    first = logged_in(app)
    for _ in range(1000):
        context_in(app).security.begin_session()
    assert first.get("/").status_code == 401


def test_sessions_end_a_day_after_their_last_use_and_after_a_month(database: Path) -> None:
    clock = Clock()
    with application(database, clock=clock) as app:
        client = logged_in(app)
        for _ in range(29):
            clock.now += 86_000
            assert client.get("/").status_code == 200
        clock.now += 2 * 86_400
        assert client.get("/").status_code == 401
        again = logged_in(app)
        for _ in range(31):
            clock.now += 86_000
            last = again.get("/").status_code
        assert last == 401


def test_servers_on_two_ports_keep_their_cookies_apart() -> None:
    assert {Security(port=port).cookie_name for port in (8765, 8766)} == {"phototag-8765", "phototag-8766"}
