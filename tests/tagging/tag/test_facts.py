"""What files say of their capture is stored with the tag, and read later for photos of older databases."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from phototag.export import KeywordExporter
from phototag.metadata import add_keywords
from phototag.store import Query, Store
from phototag.tagging.unread_facts import UnreadFacts
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
    monkeypatch.setattr(UnreadFacts, "_read", None)  # nothing is read a second time
    assert tag(photos).unchanged == 3


SIDECAR = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmp:Rating="3"><dc:subject><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>'
    "</x:xmpmeta>"
)


def test_sidecars_count_and_one_that_changes_later_is_read_again(
    tag: RunTag, photos: Path, db: Path, no_inference: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(keyword: str) -> list[str]:
        with Store.open(db) as store:
            return [row.path.name for row in store.query(Query(keyword=keyword))]

    sidecar = photos / "a.jpg.XMP"
    sidecar.write_text(SIDECAR.format("Anna"))
    tag(photos)
    assert found("anna") == ["a.jpg"]
    no_inference()
    sidecar.write_text(SIDECAR.format("Ben"))
    os.utime(sidecar, ns=(1, 1))
    (photos / "b.xmp").write_text(SIDECAR.format("Ben"))
    tag(photos)
    assert (found("anna"), found("ben")) == ([], ["a.jpg", "b.jpg"])
    sidecar.unlink()
    tag(photos)
    assert found("ben") == ["b.jpg"]
    monkeypatch.setattr(UnreadFacts, "_read", None)
    tag(photos)


def test_our_own_keywords_stay_ours_when_a_sidecar_is_edited_and_moves_with_its_photo(
    tag: RunTag, photos: Path, db: Path
) -> None:
    tag(photos)
    photo = photos / "a.jpg"
    with Store.open(db) as store, store.writing("test"):
        store.tags.set_human(photo, superclass="bird", subclass="rooster")
        KeywordExporter(store).export(Query(under=photo))
    sidecar = photos / "a.jpg.xmp"
    sidecar.write_bytes(add_keywords(sidecar.read_bytes(), {"dc:subject": ["Anna"]}).data)
    moved = photos.with_name("archive")
    photos.rename(moved)
    # Another photo of that name, and of a person who wrote what was written into the first one's sidecar.
    photos.mkdir()
    (photos / "a.jpg").write_bytes((moved / "b.jpg").read_bytes() + b"\0")
    sidecar.write_text(SIDECAR.format("rooster"))
    tag(photos.parent)
    with Store.open(db) as store:
        words = {
            path: store.captures.of_photo(known.id)
            for path in (moved / "a.jpg", photo)
            for known in store.photos.at([path])
        }
    assert [capture and capture.keywords for capture in words.values()] == [("Anna",), ("rooster",)]
