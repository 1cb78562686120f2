"""Connections that are hostile, slow or many do not keep the owner out."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from phototag.web import server as server_module
from tests.support.server import ServerProcess
from tests.support.serving import (
    let_in,
    talk,
)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \0\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 500_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_raw_nonsense_is_refused(running: ServerProcess, request_bytes: bytes) -> None:
    try:
        answer = talk(running, request_bytes)
    except ConnectionResetError:
        answer = b""  # it stopped listening in the middle, which is right as well
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert b"rooster" not in answer
    with let_in(running) as client:
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/login%3F/../photos/1",
            "/login%23",
            "/login/",
            "/LOGIN",
            "/static%2F..%2Fphotos%2F1",
            "//login",
            "/login;a",
        ),
        *("/photos/1%3F/static/", "/photos/1%23/login", "/%2e/photos/1", "/photos/1?/login", "/static/../photos/1"),
        *("http://127.0.0.1:8765/login", "@evil.example/static/base.css", "/static/../", "*", "/?token", "/?token=%00"),
    ],
)
def test_addresses_that_look_public_are_not(running: ServerProcess, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nConnection: close\r\n\r\n"
    answer = talk(running, head.encode())
    assert int(answer.split()[1]) in (400, 401, 403, 404)
    assert b"rooster" not in answer


def test_web_sockets_are_refused(running: ServerProcess) -> None:
    head = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b"101" not in talk(running, head.encode()).partition(b"\r\n")[0]


@pytest.mark.slow
def test_slow_connections_are_ended(running: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=120) as silent:
        with socket.create_connection(("127.0.0.1", running.port), timeout=120) as slow:
            for _ in range(40):  # a header that never ends, a letter at a time
                try:
                    slow.sendall(b"GET / HTTP/1.1\r\nX: " if _ == 0 else b"a")
                except OSError:
                    break
                time.sleep(0.5)
            else:
                raise AssertionError("the server still listens")
        assert silent.recv(100) == b""


def test_crowd_of_connections_does_not_stop_it(running: ServerProcess) -> None:
    crowd = [socket.create_connection(("127.0.0.1", running.port), timeout=10) for _ in range(100)]
    try:
        with let_in(running) as client:
            assert client.get("/").status_code == 200
    finally:
        for connection in crowd:
            connection.close()


def test_readers_without_a_session_do_not_keep_the_owner_out(running: ServerProcess) -> None:
    """Requests for a file that needs no session, one after another, whose answers are never read."""
    request = b"GET /static/review.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    crowd = []
    with let_in(running) as client:
        try:
            for number in range(300):
                connection = socket.socket()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", running.port))
                connection.setblocking(False)
                with suppress(OSError):
                    connection.send(request * 300)
                crowd.append(connection)
                if number % 20 == 0:
                    assert client.get("/").status_code == 200
            assert client.get("/").status_code == 200
            # What the system still holds of an ended connection has to be read before its end is seen.
            left, deadline = crowd, time.monotonic() + 120
            while len(left) > 32 and time.monotonic() < deadline:
                time.sleep(0.2)
                left = [connection for connection in left if not has_ended(connection)]
            assert len(left) <= 32
            with let_in(running) as another:
                assert another.get("/").status_code == 200
        finally:
            for connection in crowd:
                connection.close()


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended a connection, once all that it sent is read."""
    try:
        while connection.recv(1 << 20):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class _Transport:
    """What a connection is written to, and how much of that is not read yet."""

    def __init__(self, unread: int) -> None:
        self.unread, self.aborted = unread, False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.aborted = True


def connection_with(unread: int, *, session: bool) -> Any:
    """A connection that began at the time 0."""
    made = object.__new__(server_module._Protocol)
    made.scope = {server_module.SESSION: session}  # type: ignore[typeddict-unknown-key,typeddict-item]
    made.transport = _Transport(unread)  # type: ignore[assignment]
    made.began = made._read_at = 0.0
    made._unread = 0
    return made


def test_an_answer_that_is_hardly_read_ends_its_connection_also_with_a_session() -> None:
    still, drip, steady, idle = (connection_with(unread, session=True) for unread in (50_000, 2**20, 2**20, 0))
    for second in range(31):
        drip.transport.unread -= 100
        steady.transport.unread -= 2000
        for each in (still, drip, steady, idle):
            each.watch(float(second))
    assert [each.transport.aborted for each in (still, drip, steady, idle)] == [True, True, False, False]


def test_a_connection_without_a_session_is_short() -> None:
    stranger, owner = (connection_with(0, session=session) for session in (False, True))
    for each in (stranger, owner):
        each.watch(59.0)
        assert not each.transport.aborted
        each.watch(61.0)
    assert (stranger.transport.aborted, owner.transport.aborted) == (True, False)


def test_the_oldest_without_a_session_go_first_and_fresh_ones_have_a_moment() -> None:
    owner = connection_with(0, session=True)
    crowd = [connection_with(0, session=False) for _ in range(100)]
    for number, each in enumerate(crowd):
        each.began = number / 1000
    server_module._make_room([owner, *crowd], 0.5)
    assert not any(each.transport.aborted for each in crowd)
    server_module._make_room([owner, *crowd], 2.0)
    assert [each.transport.aborted for each in crowd] == [True] * 68 + [False] * 32
    assert not owner.transport.aborted
