"""What lies in the queue: an order for a worker, and what came of it. JSON: to read it runs no code."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from phototag.cluster.chunk import Chunk
from phototag.errors import RuntimeUnavailableError, StoreError
from phototag.paths import path_of
from phototag.records import Failure, FailureKind, Photo, Reason
from phototag.tagging import Saved, TagReport

_COUNTS = ("photos", "tagged", "inferred", "failed")
_COUNTERS = ("failure_kinds", "reasons", "unsupported")


@dataclass(frozen=True, slots=True)
class Order:
    """Photos that a worker is to tag, and how.

    `model_path` is None for the built-in model, `model_id` its number in the database, `reuse` says whether stored
    scores will do, and `suspect` is as in `Chunk`.
    """

    run: str
    version: str
    model_name: str
    model_path: str | None
    model_hash: str
    model_id: int
    precision: str
    max_megapixels: int
    reuse: bool
    suspect: bool = False
    photos: tuple[Photo, ...] = ()

    def of(self, chunk: Chunk) -> Order:
        """Return the order for a chunk of the same run."""
        return replace(self, suspect=chunk.suspect, photos=chunk.photos)

    def to_json(self) -> bytes:
        """Return it as it lies in the queue."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps({**values, "photos": [_row(photo) for photo in self.photos]}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """Read one.

        Raises:
            RuntimeUnavailableError: it was not written by this version of phototag.
        """
        try:
            values = json.loads(data)
            photos = tuple(map(_photo, values.pop("photos")))
            return cls(**values, photos=photos)
        except (ValueError, TypeError, KeyError) as error:
            raise RuntimeUnavailableError(
                f"the queue holds an order of another version of phototag ({error}); "
                "install the same version on all machines"
            ) from error


def saved_to_json(saved: Saved, unreachable: Sequence[Photo], host: str) -> bytes:
    """Return what came of a chunk as it lies in the queue, and which photos the worker on `host` could not get at."""
    report = saved.report
    failures = [(_row(each.photo), each.kind, each.reason) for each in report.failures]
    counters = {name: getattr(report, name) for name in (*_COUNTS, *_COUNTERS)}
    places = {"unreachable": list(map(_row, unreachable)), "host": host}
    return json.dumps({**counters, **places, "failures": failures, "moved": sorted(saved.moved)}).encode()


def saved_from_json(data: bytes) -> tuple[Saved, list[Photo], str]:
    """Read what came of a chunk, which photos the worker could not get at, and on which host.

    Raises:
        StoreError: it was not written by this version of phototag.
    """
    try:
        values = json.loads(data)
        report = TagReport()
        for name in _COUNTS:
            setattr(report, name, int(values[name]))
        report.failure_kinds = Counter(values["failure_kinds"])
        report.reasons = Counter({Reason(name): number for name, number in values["reasons"].items()})
        report.unsupported = Counter({FailureKind(name): number for name, number in values["unsupported"].items()})
        report.failures = [Failure(_photo(row), FailureKind(kind), why) for row, kind, why in values["failures"]]
        saved = Saved(report, frozenset(map(int, values["moved"])))
        return saved, list(map(_photo, values["unreachable"])), str(values["host"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the queue holds an answer of another version of phototag: {error}") from error


def _row(photo: Photo) -> tuple[str | int, ...]:
    return str(photo.path), photo.size_bytes, photo.modified_ns, photo.changed_ns, photo.inode


def _photo(row: Sequence[Any]) -> Photo:
    path, *numbers = row
    return Photo(path_of(os.fsencode(path)), *map(int, numbers))
