"""A password, and slowing down those who guess it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from phototag.errors import UsageError

SHORTEST = 8
FREE_TRIES = 5
_LONGEST_BYTES = 1024
_FREE_TRIES_OF_ALL = 20
_FIRST_WAIT_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 900.0
_LONGEST_WAIT_OF_ALL_SECONDS = 60.0
_FORGET_SECONDS = 3600.0
_MOST_CLIENTS = 1000


class Password:
    """A password of which only a slow hash (scrypt, 32 MiB) is kept."""

    def __init__(self, text: str) -> None:
        """Raises UsageError if it is too short to be one."""
        if len(text) < SHORTEST:
            raise UsageError(f"the password needs at least {SHORTEST} characters")
        if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_BYTES:
            raise UsageError(f"the password is longer than {_LONGEST_BYTES} bytes")
        self._salt = secrets.token_bytes(16)
        self._hash = self._slow_hash(text)
        # One at a time: guesses must not take all memory and cores.
        self._turn = threading.Lock()

    def matches(self, text: str) -> bool:
        """Return whether it is the password. Takes about as long whatever the text."""
        cut = text.encode("utf-8", "surrogatepass")[:_LONGEST_BYTES].decode("utf-8", "ignore")
        with self._turn:
            return hmac.compare_digest(self._slow_hash(cut), self._hash) and cut == text

    def _slow_hash(self, text: str) -> bytes:
        # Of a fixed length: to scrypt a short text and the same with null characters behind it are one.
        data = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return hashlib.scrypt(data, salt=self._salt, n=1 << 15, r=8, p=1, maxmem=1 << 26, dklen=32)


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: float = 0.0


class Throttle:
    """Allows a few tries, then makes each one wait longer, for a client and, later and less, for all together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, _Tries] = OrderedDict()
        self._all = _Tries()

    def begin(self, address: str) -> float:
        """Count a try of a client, which is allowed if 0.0 is returned; else the seconds until the next one may be.

        A try counts as a wrong one until `succeeded` says otherwise, so that many at once do not slip through.
        """
        client = _network(address)
        with self._lock:
            now = self._clock()
            tries = self._clients.setdefault(client, _Tries())
            self._clients.move_to_end(client)
            while len(self._clients) > _MOST_CLIENTS:
                self._clients.popitem(last=False)
            wait = max(
                _wait_seconds(tries, now, FREE_TRIES, _LONGEST_WAIT_SECONDS),
                _wait_seconds(self._all, now, _FREE_TRIES_OF_ALL, _LONGEST_WAIT_OF_ALL_SECONDS),
            )
            if wait > 0:
                return wait
            for counted in (tries, self._all):
                counted.count += 1
                counted.last = now
            return 0.0

    def succeeded(self, address: str) -> None:
        """Forget the tries of a client: the last one was right."""
        with self._lock:
            tries = self._clients.pop(_network(address), _Tries())
            self._all.count = max(0, self._all.count - tries.count)


def _wait_seconds(tries: _Tries, now: float, free: int, longest: float) -> float:
    if now - tries.last > _FORGET_SECONDS:
        tries.count = 0
    if tries.count < free:
        return 0.0
    # The exponent is bounded, since a try a minute for days would overflow the number.
    wait = min(longest, _FIRST_WAIT_SECONDS * 2.0 ** min(tries.count - free, 20))
    return max(0.0, tries.last + wait - now)


def _network(address: str) -> str:
    """Return the client behind an address: with IPv6 everyone has 2**64 of them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
