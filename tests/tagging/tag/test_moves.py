"""Files that were moved: a photo keeps its one row, and with it all that people said of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phototag.library import has_left
from phototag.records import PhotoState, Source
from phototag.store import Review, Store
from phototag.tagging import missing
from phototag.tagging.scope import Roots
from phototag.tagging.sync import Pass
from tests.support.light_tagger import PixelEngine, light_tagger
from tests.support.pictures import MakePicture
from tests.support.tagged_photos import RunTag

Rows = Callable[[], dict[str, int]]


@pytest.fixture
def tag(light_tag: RunTag) -> RunTag:
    return light_tag


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(PixelEngine, "start", None)


@pytest.fixture
def ids(db: Path, tmp_path: Path) -> Rows:
    """The ids of photos by their paths below the test's folder; those that are missing have a * behind the path."""

    def read() -> dict[str, int]:
        with closing(sqlite3.connect(db)) as connection:
            rows = connection.execute("SELECT id, path_text, state, missing_since FROM photos").fetchall()
        assert all((state == "missing") == (since is not None) for _, _, state, since in rows)
        start = f"{tmp_path}/"
        return {path.removeprefix(start) + "*" * (state == "missing"): number for number, path, state, _ in rows}

    return read


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on a photo that is read fails the test."""

    def forbid() -> None:
        def read(path: Path) -> bytes:
            raise AssertionError(f"{path} was read")

        monkeypatch.setattr("phototag.tagging.pipeline.read_bytes", read)

    return forbid


def review(db: Path, path: Path) -> None:
    with Store.open(db) as store, store.writing("test"):
        known = store.photos.find(path)
        assert known is not None
        store.reviews.save(Review(photo_id=known.id, superclass="reptile", subclass="iguana"))


def copied(path: Path, target: Path) -> None:
    """Move a file as from one file system to another: another inode, and only the content is the same."""
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, target.with_name("copy"))
    path.unlink()
    target.with_name("copy").rename(target)
    os.utime(target, ns=(0, 1_700_000_000_000_000_000))


def test_a_folder_that_is_renamed_three_times_is_neither_read_nor_doubled(
    tag: RunTag, library: Path, ids: Rows, no_reading: Callable[[], None]
) -> None:
    tag(library)
    before, folder = ids(), library / "0"
    no_reading()
    for name in ("first", "a", "z"):
        folder = folder.rename(library / name)
        report = tag(library)
        assert (report.photos, report.unchanged, report.moved, report.missing) == (8, 8, 4, 0)
        assert ids() == {path.replace("/0/", f"/{name}/"): number for path, number in before.items()}
    assert tag(library).moved == 0


def test_a_review_moves_with_the_photo(tag: RunTag, library: Path, db: Path, ids: Rows) -> None:
    tag(library)
    review(db, library / "0" / "0.jpg")
    (library / "0" / "0.jpg").rename(library / "moved.jpg")
    tag(library)
    with Store.open(db) as store:
        (saved,) = store.reviews.find_all()
        assert (saved.path, saved.state, saved.valid) == (library / "moved.jpg", PhotoState.OK, True)


@pytest.mark.parametrize("rename", [Path.rename, copied])
def test_from_one_root_to_another_that_alone_is_looked_at(
    tag: RunTag, library: Path, ids: Rows, rename: Callable[[Path, Path], object], no_inference: Callable[[], None]
) -> None:
    tag(library)
    before = ids()
    (library.parent / "other").mkdir()
    rename(library / "0" / "0.jpg", library.parent / "other" / "new.jpg")
    no_inference()
    assert tag(library.parent / "other").moved == 1
    after = ids()
    assert after.pop("other/new.jpg") == before.pop("library/0/0.jpg")
    assert after == before


def swap(one: Path, other: Path) -> None:
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


def swap_contents(one: Path, other: Path) -> None:
    """As a program does that writes files anew."""
    data = one.read_bytes(), other.read_bytes()
    for path, content in ((one, data[1]), (other, data[0])):
        path.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("exchange", [swap, swap_contents])
@pytest.mark.parametrize("chunk", [1, 500])
def test_two_names_that_are_swapped(
    tag: RunTag,
    library: Path,
    db: Path,
    ids: Rows,
    exchange: Callable[[Path, Path], None],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phototag.tagging.sync._CHUNK", chunk)
    tag(library)
    before = ids()
    one, other = "library/0/0.jpg", "library/1/7.jpg"
    review(db, library.parent / one)
    exchange(library.parent / one, library.parent / other)
    tag(library)
    tag(library)
    assert ids() == before | {one: before[other], other: before[one]}
    with Store.open(db) as store:
        assert [saved.path for saved in store.reviews.find_all()] == [library.parent / other]
        known = store.photos.find(library.parent / one)
        assert known is not None and known.tag_source is Source.MODEL


def test_a_chain_of_names_that_move_up(tag: RunTag, library: Path, ids: Rows, make_picture: MakePicture) -> None:
    names = [f"library/chain/{number}.jpg" for number in range(5)]
    for name in names:
        make_picture(library.parent / name)
    tag(library)
    before = ids()
    for old, new in reversed(list(zip(names, [*names[1:], "library/chain/5.jpg"], strict=True))):
        (library.parent / old).rename(library.parent / new)
    make_picture(library.parent / names[0], seed=99)
    tag(library)
    after = ids()
    assert [after[name] for name in [*names[1:], "library/chain/5.jpg"]] == [before[name] for name in names]
    assert len(after) == len(before) + 1 and not any(path.endswith("*") for path in after)


def test_what_a_moved_photo_overwrites_is_missing_and_keeps_its_review(
    tag: RunTag, library: Path, db: Path, ids: Rows
) -> None:
    tag(library)
    before = ids()
    kept = (library / "0" / "2.jpg").read_bytes()
    review(db, library / "0" / "2.jpg")
    (library / "0" / "0.jpg").rename(library / "0" / "2.jpg")
    report = tag(library)
    assert (report.moved, report.missing) == (1, 1)
    assert ids()["library/0/2.jpg"] == before["library/0/0.jpg"]
    assert ids()["library/0/0.jpg*"] == before["library/0/2.jpg"]
    (library / "back.jpg").write_bytes(kept)
    tag(library)
    assert ids()["library/back.jpg"] == before["library/0/2.jpg"]


def test_copies_and_hard_links_are_photos_of_their_own(tag: RunTag, library: Path, ids: Rows) -> None:
    tag(library)
    before = ids()
    shutil.copy2(library / "0" / "0.jpg", library / "copy.jpg")
    (library / "link.jpg").hardlink_to(library / "0" / "2.jpg")
    assert tag(library).moved == 0
    after = ids()
    assert after.items() >= before.items() and len(after) == 10
    # One name of a linked file changes: it is that one's photo that moves.
    (library / "link.jpg").rename(library / "renamed.jpg")
    (library / "0" / "0.jpg").unlink()
    tag(library)
    assert ids()["library/renamed.jpg"] == after["library/link.jpg"]
    assert ids()["library/0/0.jpg*"] == after["library/0/0.jpg"], "its copy was there before"


def test_of_two_equal_photos_that_are_gone_the_one_with_the_name_moves_and_else_the_reviewed_one(
    tag: RunTag, library: Path, db: Path, ids: Rows
) -> None:
    for name in ("a", "b"):
        (library / name).mkdir()
        shutil.copyfile(library / "0" / "0.jpg", library / name / "same.jpg")
        shutil.copyfile(library / "0" / "2.jpg", library / name / f"{name}.jpg")
    tag(library)
    before = ids()
    review(db, library / "b" / "b.jpg")
    data = (library / "a" / "a.jpg").read_bytes()
    for name in ("0/0.jpg", "0/2.jpg", "a/a.jpg", "b/b.jpg", "a/same.jpg"):
        (library / name).unlink()
    (library / "new").mkdir()
    (library / "new" / "other.jpg").write_bytes(data)
    (library / "b" / "same.jpg").rename(library / "new" / "same.jpg")
    tag(library)
    after = ids()
    assert after["library/new/other.jpg"] == before["library/b/b.jpg"], "people said something of it"
    assert after["library/new/same.jpg"] == before["library/b/same.jpg"]
    assert after["library/a/same.jpg*"] == before["library/a/same.jpg"]


def test_a_file_that_is_copied_before_it_is_deleted_while_a_watcher_looks(
    tag: RunTag, library: Path, ids: Rows, light_model: Path, db: Path
) -> None:
    tag(library)
    before, since = ids(), datetime.now(UTC)
    with Store.open(db) as store, light_tagger(light_model) as tagger, store.writing("test"):
        shutil.copyfile(library / "0" / "0.jpg", library / "a.jpg")
        for _ in range(2):
            report = Pass(tagger, store, 1, since=since).over(Roots([library]))
            assert report.missing == 0
            (library / "0" / "0.jpg").unlink(missing_ok=True)
    assert report.moved == 1
    assert ids() == {path.replace("/0/0.jpg", "/a.jpg"): number for path, number in before.items()}
    assert tag(library).unchanged == 8


def test_a_copy_of_what_is_on_a_disk_that_is_away_is_no_move(
    tag: RunTag, library: Path, ids: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "mount_point_of", lambda root: library)
    tag(library)
    before = ids()
    shutil.copytree(library, library.with_name("copy"))
    library.rename(library.with_name("away"))
    library.mkdir()
    monkeypatch.setattr(missing, "mount_point_of", lambda root: None)
    assert tag(library.with_name("copy")).moved == 0
    assert ids().items() > before.items()


@pytest.mark.parametrize("names", [("a.jpg", "A.JPG"), ("Folder/a.jpg", "folder/a.jpg")])
def test_another_spelling_where_case_makes_no_difference(
    names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (tmp_path / name for name in names)
    new.parent.mkdir(exist_ok=True)
    new.touch()
    inode = new.stat().st_ino
    look = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: look(new if path == old else path))
    assert has_left(old, inode, found_at=new)
    if old.parent == new.parent:
        old.hardlink_to(new)
        assert not has_left(old, inode, found_at=new)
