"""What is known of keywords in files: what phototag wrote into one, and the photos whose tags become keywords."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from phototag.records import Photo, Rank, Source
from phototag.store.photos import HasPath, signed_64

Keywords = Mapping[str, Sequence[str]]
"""Keywords by the property of XMP that lists them."""

_BINARY = ("hash_before", "hash_after", "edits")


class ExportKind(StrEnum):
    """Into what keywords were written."""

    SIDECAR = "sidecar"
    EMBEDDED = "embedded"  # into the photo's own file


@dataclass(frozen=True, slots=True)
class FileKeywords:
    """What phototag wrote into a file.

    Args:
        hash_before: SHA-256 of the file without it; None where phototag made the file.
        hash_after: SHA-256 of the file with it; None where there is no file.
        edits: Splices that lead from the second to the first.
        names: The levels of the tag, superclass first; empty where nothing of ours is in the file.
        items: All keywords that are ours, by property, also those that were there as others' in another property.
        created: The properties that were not there before.
        withdrawn: Keywords of ours that someone took out again, by property.
        withdrawn_at: When that was seen first.
    """

    hash_before: bytes | None = None
    hash_after: bytes | None = None
    edits: bytes = b""
    names: tuple[str, ...] = ()
    items: Keywords = field(default_factory=dict)
    created: tuple[str, ...] = ()
    withdrawn: Keywords = field(default_factory=dict)
    withdrawn_at: datetime | None = None

    def columns(self) -> dict[str, Any]:
        """Return what the columns of a row hold."""
        return {
            "hash_before": self.hash_before,
            "hash_after": self.hash_after,
            "edits": self.edits,
            "written": {"names": list(self.names), "items": _lists(self.items), "created": list(self.created)},
            "withdrawn": {
                "items": _lists(self.withdrawn),
                "at": None if self.withdrawn_at is None else self.withdrawn_at.isoformat(),
            },
        }

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> FileKeywords:
        """Return what columns say; ValueError, KeyError or TypeError where phototag did not write them."""
        written, withdrawn = columns["written"], columns["withdrawn"]
        at = withdrawn["at"]
        return cls(
            hash_before=columns["hash_before"],
            hash_after=columns["hash_after"],
            edits=columns["edits"],
            names=_texts(written["names"]),
            items=_keywords(written["items"]),
            created=_texts(written["created"]),
            withdrawn=_keywords(withdrawn["items"]),
            withdrawn_at=None if at is None else datetime.fromisoformat(at),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the columns as plain values for JSON."""
        columns = self.columns()
        for name in _BINARY:
            columns[name] = None if columns[name] is None else b64encode(columns[name]).decode()
        return columns

    @classmethod
    def from_json(cls, value: Any) -> FileKeywords:
        """Return what `to_json` gave; ValueError, KeyError or TypeError where it did not."""
        columns = dict(value)
        for name in _BINARY:
            columns[name] = None if columns[name] is None else b64decode(columns[name], validate=True)
        return cls.of(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordExport(HasPath):
    """One file that phototag wrote keywords into; `planned` is what becomes of it where a write was not settled yet."""

    path_bytes: bytes
    photo_id: int | None
    kind: ExportKind
    state: FileKeywords
    planned: FileKeywords | None = None
    id: int | None = None

    @property
    def path(self) -> Path:
        """The file's absolute path. Nothing is written into object storage."""
        return Path(os.fsdecode(self.path_bytes))

    def lies_with(self, photo: Path) -> bool:
        """Return whether the file is this photo's own, or by its name one of its sidecars."""
        return self.path == photo or self.place_with(photo) == self.path

    def place_with(self, photo: Path) -> Path | None:
        """Return where the file lies if it went with its photo and kept its name; None where the names do not fit."""
        if self.kind is ExportKind.EMBEDDED:
            return photo
        names = (photo.name.casefold(), photo.stem.casefold())
        return photo.with_name(self.path.name) if self.path.stem.casefold() in names else None


@dataclass(frozen=True, slots=True)
class Settled:
    """How a planned write ended: whether it was done, and of a photo's own file its stat now and its hashes before."""

    path_bytes: bytes
    done: bool
    photo: Photo | None = None
    contents_before: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordCandidate(HasPath):
    """A photo with the tag that keywords are made of."""

    id: int
    path_bytes: bytes
    content_hash: bytes | None
    superclass: str | None
    subclass: str | None
    rank: Rank | None
    superclass_score: float | None
    subclass_score: float | None
    source: Source | None
    model: str | None
    tagged_at: datetime | None
    stat: tuple[int, int, int, int]

    @property
    def path(self) -> Path:
        """The absolute path of the photo's file."""
        return Path(os.fsdecode(self.path_bytes))

    def is_untouched(self) -> bool:
        """Return whether the photo's file is there as it was last read: one that changed shows in its stat."""
        try:
            now = self.path.stat()
        except (OSError, ValueError):
            return False
        return self.stat == tuple(map(signed_64, (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)))


def _lists(keywords: Keywords) -> dict[str, list[str]]:
    return {label: list(items) for label, items in keywords.items() if items}


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a record of keywords that phototag did not write")
    return tuple(values)


def _keywords(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError("a record of keywords that phototag did not write")
    return {str(label): _texts(items) for label, items in value.items()}
