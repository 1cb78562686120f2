"""Photos whose keywords someone took out elsewhere: each is worth a review."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phototag.paths import PhotoPath
from phototag.records import Source
from phototag.store import Query, Store


@dataclass(frozen=True, slots=True)
class TakenOut:
    """A photo whose file no longer holds keywords that its tag says and that were written into it."""

    photo: PhotoPath
    file: Path
    keywords: tuple[str, ...]


def find_taken_out(store: Store, query: Query | None = None) -> Iterator[TakenOut]:
    """Yield the photos, of those that a query asks for, whose keywords someone took out elsewhere.

    Raises:
        StoreError: the database cannot be read.
    """
    ids = None
    if query is not None:
        ids = {photo.id for page in store.keyword_exports.candidates(query) for photo in page}
    for export, photo in store.keyword_exports.withdrawn():
        if ids is not None and photo.id not in ids:
            continue
        levels = {name for name in (photo.superclass, photo.subclass) if name is not None}
        keywords = dict.fromkeys(keyword for items in export.state.withdrawn.values() for keyword in items)
        said = tuple(keyword for keyword in keywords if levels.issuperset(keyword.replace("/", "|").split("|")))
        answered = (
            photo.source is Source.HUMAN
            and photo.tagged_at is not None
            and (export.state.withdrawn_at is not None and photo.tagged_at > export.state.withdrawn_at)
        )
        if said and not answered:
            yield TakenOut(photo.path, export.path, said)
