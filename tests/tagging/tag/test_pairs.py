"""Pairs: a raw photo and the picture beside it are one photo, which the picture decides."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phototag.catalog.catalog import Gallery
from phototag.catalog.filters import GalleryFilter
from phototag.imaging import formats
from phototag.library import Partners
from phototag.records import PhotoState, Source
from phototag.store import Query, Review, Store
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.raw_files import dng
from tests.support.tagged_photos import RunTag, photos_by_name

Pair = tuple[Path, Path]


def leads(db: Path) -> dict[str, str | None]:
    """The names of photos, and of those that decide for them."""
    with closing(sqlite3.connect(db)) as connection:
        rows = connection.execute("SELECT id, path_text, lead_id FROM photos").fetchall()
    names = {number: Path(path).name for number, path, _ in rows}
    assert len(set(names.values())) == len(names)
    return {names[number]: names.get(lead) for number, _, lead in rows}


def label(photo: Any) -> tuple[Any, ...]:
    return (photo.superclass, photo.subclass, photo.superclass_score, photo.source, photo.state)


@pytest.fixture
def pair(tmp_path: Path, make_picture: MakePicture) -> Pair:
    """A picture, and a raw photo beside it that shows something else."""
    jpeg = make_picture(tmp_path / "library" / "IMG_1.JPG", seed=1)
    make_picture(tmp_path / "library" / "other.jpg", seed=2)
    raw = jpeg.with_name("img_1.dng")
    raw.write_bytes(dng(Image.new("RGB", (64, 64), (200, 30, 90))))
    return jpeg, raw


@pytest.fixture
def paired(light_tag: RunTag, pair: Pair) -> Pair:
    light_tag(pair[0].parent)
    return pair


@pytest.mark.parametrize(
    ("raw", "names", "lead"),
    [
        ("a.CR2", ["a.CR2", "A.jpg"], "A.jpg"),
        ("a.nef", ["a.nef", "a.heic", "a.jpeg"], "a.jpeg"),
        ("a.nef", ["a.nef", "a.HIF", "a.mov", "a.xmp"], "a.HIF"),
        ("a.nef", ["a.nef", "a-1.jpg", "a.png", ".a.jpg", "a.nef.xmp"], None),
        ("PXL_1.RAW-02.ORIGINAL.dng", ["PXL_1.RAW-01.COVER.jpg", "PXL_1.jpg.txt"], "PXL_1.RAW-01.COVER.jpg"),
        ("PXL_1.RAW-02.ORIGINAL.dng", ["PXL_1.RAW-01.MP.COVER.jpg"], "PXL_1.RAW-01.MP.COVER.jpg"),
        ("a.jpg", ["a.jpg", "a.heic", "a.mov"], None),
    ],
)
def test_which_picture_belongs_to_a_raw_photo(tmp_path: Path, raw: str, names: list[str], lead: str | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert Partners().lead_of(tmp_path / raw) == (None if lead is None else tmp_path / lead)


def test_both_get_the_tag_of_the_picture_and_the_raw_photo_is_never_read(
    light_tag: RunTag, pair: Pair, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_is_there", lambda module: False)  # nor is there anything that could read it
    pair[1].write_bytes(b"no raw photo at all")
    report = light_tag(pair[0].parent)
    assert (report.photos, report.tagged, report.inferred, report.failed, report.unread_line) == (3, 3, 2, 0, "")
    photos = photos_by_name(db)
    assert label(photos["img_1.dng"]) == label(photos["IMG_1.JPG"])
    assert photos["img_1.dng"].state is PhotoState.OK
    assert leads(db) == {"img_1.dng": "IMG_1.JPG", "IMG_1.JPG": None, "other.jpg": None}
    again = light_tag(pair[0].parent)
    assert (again.photos, again.unchanged, again.tagged) == (3, 3, 0)


def test_a_pair_is_counted_and_shown_once(paired: Pair, db: Path) -> None:
    with Store.open(db) as store, Gallery(store) as gallery:
        assert store.count(Query(leads_only=True)) == 2
        assert store.count(Query()) == 3
        assert {item.name for item in gallery.page(GalleryFilter()).items} == {"IMG_1.JPG", "other.jpg"}
        assert gallery.page(GalleryFilter(state=PhotoState.OK)).total == gallery.total == 2
        assert {row.path.name for page in store.scores.tagged(1) for row in page} == {"IMG_1.JPG", "other.jpg"}


def test_a_query_lists_the_partner_where_it_is_asked_for(paired: Pair, db: Path, run_phototag: RunCommand) -> None:
    for words, number in ((), 2), (("--partners",), 3), (("--state", "ok"), 2), (("--state", "unreadable"), 0):
        assert run_phototag("query", "--count", *words, "--db", db).stdout == f"{number}\n"


def test_what_a_person_says_of_the_picture_counts_for_both_until_it_is_taken_back(paired: Pair, db: Path) -> None:
    before = {name: label(photo) for name, photo in photos_by_name(db).items()}
    with Store.open(db) as store, store.writing("test"):
        known = store.photos.find(paired[0])
        assert known is not None
        review = store.reviews.save(Review(photo_id=known.id, superclass="reptile", subclass="iguana"))
        for photo in (row for row in store.query(Query()) if row.path in paired):
            assert label(photo)[:2] == ("reptile", "iguana") and photo.source is Source.HUMAN
        store.reviews.undo(review)
    assert {name: label(photo) for name, photo in photos_by_name(db).items()} == before


def test_a_person_s_tag_of_the_raw_photo_becomes_that_of_both(light_tag: RunTag, pair: Pair, db: Path) -> None:
    data = pair[0].read_bytes()
    pair[0].unlink()
    light_tag(pair[1].parent)
    with Store.open(db) as store, store.writing("test"):
        store.tags.set_human(pair[1], superclass="reptile", subclass="iguana")
    pair[0].write_bytes(data)
    light_tag(pair[1].parent)
    light_tag(pair[1].parent, force=True)
    photos = photos_by_name(db)
    assert leads(db)["img_1.dng"] == "IMG_1.JPG"
    assert label(photos["img_1.dng"]) == label(photos["IMG_1.JPG"])
    assert photos["IMG_1.JPG"].subclass == "iguana"


@pytest.mark.parametrize("part", [Path.unlink, lambda path: path.rename(path.with_name("elsewhere.jpg"))])
def test_what_is_left_of_a_pair_decides_for_itself(
    light_tag: RunTag, paired: Pair, db: Path, part: Callable[[Path], object]
) -> None:
    before = photos_by_name(db)["img_1.dng"]
    part(paired[0])
    report = light_tag(paired[1].parent)
    assert report.inferred == 1
    after = photos_by_name(db)["img_1.dng"]
    assert label(after) != label(before) and after.state is PhotoState.OK
    assert set(leads(db).values()) == {None}
    assert light_tag(paired[1].parent).tagged == 0


def test_where_the_picture_cannot_be_read_the_raw_photo_decides(light_tag: RunTag, pair: Pair, db: Path) -> None:
    whole = pair[0].read_bytes()
    pair[0].write_bytes(whole[:300])
    report = light_tag(pair[0].parent)
    assert (report.photos, report.tagged, report.failed) == (3, 2, 1)
    photos = photos_by_name(db)
    assert label(photos["img_1.dng"])[:3] == label(photos["IMG_1.JPG"])[:3]
    assert photos["IMG_1.JPG"].state is PhotoState.UNREADABLE
    assert leads(db) == {"img_1.dng": None, "IMG_1.JPG": "img_1.dng", "other.jpg": None}
    for _ in range(3):
        light_tag(pair[0].parent)
    assert leads(db)["IMG_1.JPG"] == "img_1.dng"
    pair[0].write_bytes(whole)
    for _ in range(2):
        light_tag(pair[0].parent)
    assert leads(db) == {"img_1.dng": "IMG_1.JPG", "IMG_1.JPG": None, "other.jpg": None}


def test_two_that_cannot_be_read_are_two_failures(light_tag: RunTag, pair: Pair, db: Path) -> None:
    for path in pair:
        path.write_bytes(path.read_bytes()[:300])
    assert light_tag(pair[0].parent).failed == 2
    assert set(leads(db).values()) == {None}


def test_files_of_one_name_that_were_taken_at_other_times_are_two_photos(
    light_tag: RunTag, pair: Pair, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.tagging.pairing._moment", lambda path: path.suffix)
    assert light_tag(pair[0].parent).inferred == 3
    assert set(leads(db).values()) == {None}
    assert light_tag(pair[0].parent).unchanged == 3


@pytest.mark.parametrize("copied", [False, True])
def test_a_pair_moves_as_one(light_tag: RunTag, paired: Pair, db: Path, copied: bool) -> None:
    def ids() -> dict[str, int]:
        with Store.open(db) as store:
            return {row.path.name: row.id for row in store.photos.under([Path("/")])}

    before, folder = ids(), paired[0].parent
    target = folder.with_name("target")
    if copied:
        target.mkdir()
        for path in folder.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
            path.unlink()
        folder.rmdir()
    else:
        folder.rename(target)
    report = light_tag(target)
    assert (report.moved, report.inferred) == (3, 0)
    assert ids() == before and leads(db)["img_1.dng"] == "IMG_1.JPG"
