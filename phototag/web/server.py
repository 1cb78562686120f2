"""Runs the web page: binds the socket, serves until told to stop, and then stops within a second."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from phototag.errors import UsageError
from phototag.web.guard import SESSION

DEFAULT_PORT = 8765
_PORTS_TO_TRY = 20
_MOST_CONNECTIONS = 256
_MOST_STRANGERS = 32
_STRANGER_SECONDS = 60.0
_FRESH_SECONDS = 1.0
_HEAD_BYTES = 32 << 10
_HEAD_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 15
_WRITE_SECONDS = 20.0
_WRITE_BYTES = 16 << 10
_TICKS = 5  # of the server's main loop, a tenth of a second each
_GRACE_SECONDS = 0.3
_STOP_SECONDS = 0.8


def bind(host: str, port: int | None) -> socket.socket:
    """Return a listening socket at that address; without a port at the usual one or, if it is taken, one of the next.

    Raises:
        UsageError: there is no such address here, or the port is taken or not allowed.
    """
    if not host:
        raise UsageError("an empty --host would mean every address of this computer; for that say --host 0.0.0.0")
    ports = range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY) if port is None else (port,)
    problem = ""
    for candidate in ports:
        try:
            return _listening(host, candidate)
        except OSError as error:
            problem = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                continue
            raise UsageError(f"{host}: port {candidate} cannot be opened: {problem}; try another --port") from error
        except UnicodeError as error:
            raise UsageError(f"{host!r}: not a host name; name an address of this computer") from error
    if port is not None:
        raise UsageError(f"{host}: port {port} is taken, perhaps by another phototag; stop that, or try another --port")
    raise UsageError(f"{host}: the ports {ports[0]} to {ports[-1]} are taken; name a free one with --port")


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows others could otherwise bind the same port and get what is meant for this server.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


class _Protocol(H11Protocol):
    """HTTP/1.1 on a connection that ends where its client is too slow, and that knows whether it has a session."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_stranger = True
        self.began = self._read_at = self.loop.time()
        self._unread = 0

    @property
    def is_stranger(self) -> bool:
        """Whether the last request that the guard looked at had no session."""
        scope: Any = self.scope
        if scope is not None and SESSION in scope:
            self._is_stranger = not scope[SESSION]
        return self._is_stranger

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _make_room(self.connections, self.began)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_at = self.loop.time()

    def watch(self, now: float) -> None:
        """End the connection if its client hardly reads what is written, or if it has been a stranger's for long.

        Not by `close`, which waits until all is written.
        """
        unread = self.transport.get_write_buffer_size()
        if unread <= max(0, self._unread - _WRITE_BYTES):
            self._read_at, self._unread = now, unread
        self._unread = max(self._unread, unread)
        slow = unread > 0 and now - self._read_at > _WRITE_SECONDS
        if slow or (self.is_stranger and now - self.began > _STRANGER_SECONDS):
            self.transport.abort()

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _make_room(connections: Iterable[Any], now: float) -> None:
    """End the oldest connections without a session where they are many, or all together are.

    A fresh one has a moment to show its session before it counts: those of the owner go on beside any number of others.
    """
    every = list(connections)
    strangers = sorted((each for each in every if each.is_stranger), key=lambda each: each.began)
    known = sum(now - each.began > _FRESH_SECONDS for each in strangers)
    for each in strangers[: max(0, known - _MOST_STRANGERS, len(every) - _MOST_CONNECTIONS)]:
        each.transport.abort()


class _Server(uvicorn.Server):
    """A server that says when it is ready, and ends in time whatever its requests are doing."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        # A request may wait in a thread, for a disk or for the right to write, and threads cannot be cancelled. What
        # it has not saved by then it has not acknowledged either.
        self.last_resort = threading.Timer(_STOP_SECONDS, os._exit, (0,))
        self.last_resort.daemon = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            now, connections = asyncio.get_running_loop().time(), list(self.server_state.connections)
            _make_room(connections, now)
            for each in connections:
                each.watch(now)  # type: ignore[union-attr]
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self.last_resort.start()
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # that requests were cut off is meant
        super().handle_exit(sig, frame)


def serve(app: Starlette, listener: socket.socket, *, ready: Callable[[], None], closing: Callable[[], None]) -> None:
    """Serve the application until SIGINT or SIGTERM, which end it within a second.

    To be called in the main thread. `ready` is called once the server answers, `closing` when it no longer does;
    requests that are under way get a little time to finish before that.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a client says of itself in headers decides nothing here.
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,  # type: ignore[arg-type]  # a fraction does as well
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # clients that talk nonsense are not news
    server = _Server(config, ready)
    with _own_signals():
        try:
            server.run(sockets=[listener])
            closing()
        finally:
            server.last_resort.cancel()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let a signal that stopped the server do no more than that: uvicorn sends itself each one again in the end."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [(number, signal.signal(number, lambda *_: None)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
