"""What the handlers of all pages share: `request.app.state.context`, and `{name:id}` in the paths of their routes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

if TYPE_CHECKING:
    from phototag.catalog import Gallery
    from phototag.imaging import Thumbnails
    from phototag.store import Store
    from phototag.web.security import Security

Kept = TypeVar("Kept")


class _IdConvertor(Convertor[int]):
    """An id as a database can hold it: `int` takes any number, and fails on one of thousands of digits."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


# Here, since every module with routes imports this one.
register_url_convertor("id", _IdConvertor())


@dataclass(frozen=True, slots=True)
class Context:
    """The library that a server shows, and what it keeps while it runs."""

    store: Store
    gallery: Gallery
    thumbnails: Thumbnails
    security: Security
    _shelf: dict[Any, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, make: Callable[[], Kept]) -> Kept:
        """Return what `make`, a class or a function of a module, returned when it was first asked for.

        For what one page keeps in memory between its requests. Thread-safe; `make` is called once.
        """
        with self._lock:
            if make not in self._shelf:
                self._shelf[make] = make()
            return cast(Kept, self._shelf[make])


def context_of(request: Request) -> Context:
    """Return the context of the server that got this request."""
    return cast(Context, request.app.state.context)
