"""What a database says of tagged photos, by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phototag.records import TaggedPhoto
from phototag.store import Query, Store
from phototag.tagging.tagger import TagReport

RunTag = Callable[..., TagReport]


def photos_by_name(db: str | Path, **wanted: Any) -> dict[str, TaggedPhoto]:
    """The photos of a database by file name."""
    with Store.open(db, create=False) as store:
        return {photo.path.name: photo for photo in store.query(Query(**wanted))}


def labels(db: Path) -> dict[str, tuple[str | None, str | None]]:
    return {name: (photo.superclass, photo.subclass) for name, photo in photos_by_name(db).items()}
