"""Clients of a server that runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx

from tests.support.server import ServerProcess

OWN = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def let_in(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client with a session."""
    with httpx.Client(base_url=server.address, headers=OWN, timeout=120) as client:
        assert client.get(server.link).status_code == 303
        yield client


def talk(server: ServerProcess, data: bytes, *, seconds: float = 10.0) -> bytes:
    """All that the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer
