"""What the handlers of all pages share: `request.app.state.context`, and `{name:id}` in the paths of their routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request

from phototag.review import Leases, SampleReviews, leases_of
from phototag.web.report_cache import ReportCache

if TYPE_CHECKING:
    from phototag.catalog import Gallery
    from phototag.database import FileKey
    from phototag.imaging import Thumbnails
    from phototag.store import SharedLeases, Store
    from phototag.web.security import Security


class _IdConvertor(IntegerConvertor):
    """An id as a database can hold it: `int` takes any number, and fails on one of thousands of digits."""

    regex = "[0-9]{1,18}"


# Here, since every module with routes imports this one.
register_url_convertor("id", _IdConvertor())


@dataclass(frozen=True, slots=True)
class Context:
    """The library that a server shows, and what it keeps while it runs.

    Of `samples` it keeps no answers, only how to read them.
    """

    store: Store
    gallery: Gallery
    thumbnails: Thumbnails
    security: Security
    reports: ReportCache = field(default_factory=ReportCache)
    # By the file as well: a database that takes its place has other samples under the same numbers.
    samples: dict[tuple[FileKey | None, int], SampleReviews] = field(default_factory=dict)
    leases: Leases | SharedLeases = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "leases", leases_of(self.store))


def context_of(request: Request) -> Context:
    """Return the context of the server that got this request."""
    return cast(Context, request.app.state.context)
