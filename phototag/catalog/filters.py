"""Which photos the gallery shows, as one frozen record that fits into a query string and comes back from one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, Self

from phototag.errors import UsageError
from phototag.records import PhotoState, Rank, Source

_LONGEST_TEXT = 1000
_FOLDER_KEY = re.compile(r"[0-9a-f]{16}")
_WORD = re.compile(r'"([^"]*)"?|([^\s"]+)')


class GallerySort(StrEnum):
    """What photos are sorted by. Those without the value come last, and equal ones are sorted by id."""

    DATE = "date"  # the file's
    PATH = "path"
    SCORE = "score"  # of the tag's own rank, by a model
    NOVELTY = "novelty"
    TAGGED = "tagged"  # when the tag was given


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFilter:
    """Which photos are wanted; what is None or empty asks for nothing.

    `text`: all of its words occur in the path or in the names of the tag, whatever the case; words between double
    quotes belong together. `min_score` and `max_score` bound the score of the tag's own rank; a photo at `max_score`
    itself is left out, but for 1, and so is what a human tagged. `since` and `until` are days of the file's date in
    local time, both included. `folder` is the key of a folder, as `Facets.folders` gives it, and asks for everything
    under that folder.

    Raises:
        UsageError: a subclass without its superclass, a score or a folder key that cannot be one, an interval that ends
            before it starts, or a text that is too long.
    """

    text: str = ""
    superclass: str | None = None
    subclass: str | None = None
    rank: Rank | None = None
    min_score: float | None = None
    max_score: float | None = None
    source: Source | None = None
    state: PhotoState | None = None
    since: date | None = None
    until: date | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.subclass is not None and self.superclass is None:
            raise UsageError(f"subclass {self.subclass!r} needs its superclass")
        for name in ("text", "superclass", "subclass"):
            if len(getattr(self, name) or "") > _LONGEST_TEXT:
                raise UsageError(f"{name}: at most {_LONGEST_TEXT} characters")
        for name in ("min_score", "max_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name}: a score lies between 0 and 1, not {value}")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise UsageError(f"min_score {self.min_score} is above max_score {self.max_score}")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise UsageError(f"since {self.since} is later than until {self.until}")
        if self.folder is not None and not _FOLDER_KEY.fullmatch(self.folder):
            raise UsageError("folder: not a key of a folder; take one from the list of folders")

    @property
    def words(self) -> tuple[str, ...]:
        """The words and phrases of `text`, each once."""
        found = (quoted or plain for quoted, plain in _WORD.findall(self.text))
        return tuple(dict.fromkeys(word.strip() for word in found if word.strip()))

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> Self:
        """The inverse of `to_params`; what is empty or unknown is left out.

        Raises:
            UsageError: a value cannot be one.
        """
        given = {field.name: params.get(field.name, "") for field in fields(cls)}
        return cls(**{name: _read(name, text) for name, text in given.items() if text.strip()})

    def to_params(self) -> dict[str, str]:
        """What is asked for as names and texts, fit for a query string."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: _write(value) for name, value in values if value is not None and value != ""}


def _read(name: str, text: str) -> Any:
    try:
        match name:
            case "rank":
                return Rank(text)
            case "source":
                return Source(text)
            case "state":
                return PhotoState(text)
            case "since" | "until":
                return date.fromisoformat(text)
            case "min_score" | "max_score":
                value = float(text)
                if math.isnan(value):
                    raise ValueError("not a number")
                return value
            case _:
                return text
    except ValueError as error:
        raise UsageError(f"{name}: {text[:40]!r} cannot be one") from error


def _write(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, date) else str(value)
