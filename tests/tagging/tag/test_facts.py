"""What files say of their capture is stored with the tag, and read later for photos of older databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from phototag.store import Query, Store
from phototag.tagging import unread_facts
from tests.support.exif import BERLIN, CAMERA, TAKEN, exif_block, picture, save_taken
from tests.support.tagged_photos import RunTag


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    save_taken(folder, {"a.jpg": "2026:05:03 14:22:01", "b.jpg": "2026:05:04 10:00:00"})
    (folder / "c.png").write_bytes(picture("PNG", exif=exif_block(CAMERA, TAKEN, BERLIN)))
    return folder


def rows(db: Path) -> dict[str, tuple[str | None, str | None, float | None]]:
    with Store.open(db) as store:
        return {
            row.path.name: (row.taken_at.isoformat() if row.taken_at else None, row.camera, row.latitude)
            for row in store.query(Query())
        }


EXPECTED = {
    "a.jpg": ("2026-05-03T14:22:01", "Nikon D850", None),
    "b.jpg": ("2026-05-04T10:00:00", "Nikon D850", None),
    "c.png": ("2026-05-03T14:22:01.250000+02:00", "Nikon D850", 52.51),
}


def test_facts_come_with_the_tag(tag: RunTag, photos: Path, db: Path) -> None:
    tag(photos)
    assert rows(db) == EXPECTED


def test_photos_of_older_databases_get_theirs_once_and_without_inference(
    tag: RunTag, photos: Path, db: Path, no_inference: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tag(photos)
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("DELETE FROM captures")
    no_inference()
    tag(photos, dry_run=True)
    assert set(rows(db).values()) == {(None, None, None)}
    assert tag(photos).unchanged == 3
    assert rows(db) == EXPECTED
    monkeypatch.setattr(unread_facts, "_read", None)  # nothing is read a second time
    assert tag(photos).unchanged == 3
