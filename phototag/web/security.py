"""What a server checks requests against: its names, its launch token, its sessions, its password."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from phototag.web.passwords import Password, Throttle

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_TICKET_SECONDS = 120.0
_MOST_SESSIONS = 1000
_SESSION_SECONDS = 30 * 86_400.0
_IDLE_SECONDS = 86_400.0
_MOST_TICKETS = 100
_LONGEST_DELAY_SECONDS = 2.0
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)


class Security:
    """What a server checks requests against: its names, its launch token, its sessions, its password."""

    def __init__(
        self,
        *,
        port: int,
        hosts: Iterable[str] = (),
        password: Password | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hosts`: names that requests may address besides those of the loopback, IPv6 addresses in brackets."""
        self.token = secrets.token_urlsafe(32)
        self.cookie_name = f"phototag-{port}"
        self.password = password
        self.password_tries = Throttle(clock)
        self._hosts = frozenset(name.lower() for name in (*LOOPBACK_NAMES, *hosts))
        self._clock = clock
        self._lock = threading.Lock()
        # By their hashes: how long it takes to find one then says nothing about the others.
        # When each began and was used last; the last used one is at the end.
        self._sessions: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._tickets: OrderedDict[bytes, float] = OrderedDict()
        self._wrong_tokens = 0

    # ---- tokens and sessions

    def ticket(self) -> str:
        """Return a token that works once, and soon: other users see it among the arguments of the browser it opens."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets[_digest(ticket)] = self._clock() + _TICKET_SECONDS
            while len(self._tickets) > _MOST_TICKETS:
                self._tickets.popitem(last=False)
        return ticket

    def accepts(self, token: str) -> bool:
        """Return whether that is the launch token, or a ticket, which is then used up."""
        if hmac.compare_digest(_digest(token), _digest(self.token)):
            return True
        with self._lock:
            good_until = self._tickets.pop(_digest(token), None)
            accepted = good_until is not None and self._clock() <= good_until
            if not accepted:
                self._wrong_tokens += 1
        return accepted

    def begin_session(self) -> str:
        """Return the secret of a new session."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[_digest(secret)] = now, now
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return secret

    def has_session(self, request: Request) -> bool:
        """Return whether the request belongs to a session, which ends a day after its last one, or after 30 days."""
        key, now = _digest(request.cookies.get(self.cookie_name, "")), self._clock()
        with self._lock:
            if key not in self._sessions:
                return False
            began, used = self._sessions.pop(key)
            if now - began > _SESSION_SECONDS or now - used > _IDLE_SECONDS:
                return False
            self._sessions[key] = began, now
            return True

    def end_session(self, request: Request) -> None:
        """Forget the session of the request."""
        with self._lock:
            self._sessions.pop(_digest(request.cookies.get(self.cookie_name, "")), None)

    def set_cookie(self, response: Response) -> None:
        """Begin a session with this answer."""
        response.set_cookie(self.cookie_name, self.begin_session(), path="/", httponly=True, samesite="strict")

    @property
    def delay_seconds(self) -> float:
        """How long the answer to a wrong token is held back."""
        return min(_LONGEST_DELAY_SECONDS, 0.1 * self._wrong_tokens)

    # ---- hosts

    def knows_host(self, value: str, local_address: str | None) -> bool:
        """Return whether a Host header names this server.

        `local_address` is the address that the connection came to. No other site can make a browser believe that this
        address is their own name, so it needs no permission.
        """
        match = _HOST.fullmatch(value.lower())
        if match is None:
            return False
        return match[1] in self._hosts or _same_address(match[1], local_address)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _same_address(name: str, local_address: str | None) -> bool:
    if local_address is None:
        return False
    try:
        named, local = ipaddress.ip_address(name.strip("[]")), ipaddress.ip_address(local_address.partition("%")[0])
    except ValueError:
        return False
    mapped = local.ipv4_mapped if isinstance(local, ipaddress.IPv6Address) else None
    return named in (local, mapped)
