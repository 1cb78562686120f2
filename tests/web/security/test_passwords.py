"""Passwords let in, and guessing them is slowed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import Response

from phototag.errors import UsageError
from phototag.web.passwords import FREE_TRIES, Password, Throttle
from tests.support.web import ADDRESS, FROM_OWN_PAGE, Clock, application, logged_in, not_logged_in

PASSWORD = "correct horse battery"


@pytest.fixture
def guarded(database: Path) -> Iterator[Starlette]:
    """The same with a password, and a clock that stands still."""
    with application(database, password=PASSWORD, clock=Clock()) as made:
        yield made


def log_in(app: Starlette, password: str, target: str = "/", client: str = "192.168.1.9") -> Response:
    browser = not_logged_in(app, client=(client, 50000))
    answer: Response = browser.post("/login", data={"password": password, "target": target}, headers=FROM_OWN_PAGE)
    return answer


def test_password_lets_in(guarded: Starlette) -> None:
    client = not_logged_in(guarded)
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
    answer = not_logged_in(guarded).post(
        "/login", data={"password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"}
    )
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
