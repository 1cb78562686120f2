"""How many photos each further choice would leave: the numbers beside a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from phototag.records import PhotoState, Rank, Source

Choice = TypeVar("Choice", Rank, Source, PhotoState)


@dataclass(frozen=True, slots=True)
class Count(Generic[Choice]):
    """One of a few choices, and photos that have it."""

    value: Choice
    count: int


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A subclass, and photos tagged with it."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class SuperclassCount:
    """A superclass, photos tagged with it at any rank, and its subclasses by name."""

    name: str
    count: int
    subclasses: tuple[ClassCount, ...]


@dataclass(frozen=True, slots=True)
class ScoreBand:
    """Photos whose score, given by a model, lies from `low` to below `high`, for the last band including 1.

    It is as `GalleryFilter` has it.
    """

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Photos of a month, from the day `since` to the day `until`."""

    month: int
    since: date
    until: date
    count: int


@dataclass(frozen=True, slots=True)
class YearCount:
    """Photos of a year, and its months that have any, the newest first."""

    year: int
    since: date
    until: date
    count: int
    months: tuple[MonthCount, ...]


@dataclass(frozen=True, slots=True)
class FolderCount:
    """A folder, and photos under it. `name` is printable; it holds separators where folders have but one folder each.

    `has_folders`: there are folders inside it to choose from.
    """

    key: str
    name: str
    count: int
    has_folders: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """The counts beside a gallery, each with all the filters but its own.

    `superclasses` are by name and those that have photos, and the chosen one; so are `folders`: the folders inside the
    chosen one, or the topmost ones. `folder_path` leads from the top down to the chosen folder, which is its last one.
    `untagged` are photos without any tag, which have no rank, source and score; a human's tag has no score either.
    `years` are the newest first.
    """

    total: int
    superclasses: tuple[SuperclassCount, ...]
    ranks: tuple[Count[Rank], ...]
    untagged: int
    sources: tuple[Count[Source], ...]
    states: tuple[Count[PhotoState], ...]
    scores: tuple[ScoreBand, ...]
    years: tuple[YearCount, ...]
    folder_path: tuple[FolderCount, ...]
    folders: tuple[FolderCount, ...]
