"""Copies are made once, kept within bounds, and outlast the server."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from phototag.errors import DecodeError
from phototag.imaging.thumbnails.cached import Thumbnails, ThumbnailSize
from phototag.imaging.thumbnails.disk_cache import DiskCache
from tests.support.pictures import MakePicture
from tests.support.thumbnails import CountingThumbnailer, opened

MiB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the photos of a test lie."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def digest(photo: Path) -> bytes:
    return hashlib.sha256(photo.read_bytes()).digest()


# ---- making them once


def test_same_copy_is_made_once_at_a_time(
    tmp_path: Path, make_picture: MakePicture, thumbnailer: CountingThumbnailer
) -> None:
    photo = make_picture(tmp_path / "a.jpg")
    thumbnails = Thumbnails(tmp_path / "cache", thumbnailer=thumbnailer)
    thumbnailer.may_go_on.clear()
    futures = [thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL) for _ in range(50)]
    thumbnailer.may_go_on.set()
    wait(futures)
    assert len({future.result() for future in futures}) == 1
    assert thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result() == futures[0].result()
    assert thumbnailer.count == 1
    assert thumbnails.make(photo, digest(photo), ThumbnailSize.PICTURE).result()
    assert thumbnailer.count == 2
    thumbnails.close()


def test_copies_outlast_the_server(tmp_path: Path, make_picture: MakePicture, thumbnailer: CountingThumbnailer) -> None:
    photo = make_picture(tmp_path / "a.jpg")
    for _ in range(2):
        thumbnails = Thumbnails(tmp_path / "cache", thumbnailer=CountingThumbnailer())
        content = thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result()
        thumbnails.close()
    content_hash = digest(photo)
    photo.unlink()
    thumbnails = Thumbnails(tmp_path / "cache", thumbnailer=thumbnailer)
    assert thumbnails.find(content_hash, ThumbnailSize.THUMBNAIL) == content
    assert thumbnailer.count == 0
    thumbnails.close()


def test_damaged_copy_is_made_again(
    tmp_path: Path, make_picture: MakePicture, thumbnailer: CountingThumbnailer
) -> None:
    photo = make_picture(tmp_path / "a.jpg")
    thumbnails = Thumbnails(tmp_path / "cache", thumbnailer=thumbnailer)
    content = thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result()
    (kept,) = (tmp_path / "cache").rglob("*.jpg")
    for damage in (b"", content[:100], b"<html>"):
        kept.write_bytes(damage)
        assert thumbnails.find(digest(photo), ThumbnailSize.THUMBNAIL) is None
        assert thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result() == content
    assert kept.read_bytes() == content
    thumbnails.close()


def test_picture_that_cannot_be_decoded_is_tried_once(
    tmp_path: Path, folder: Path, thumbnailer: CountingThumbnailer
) -> None:
    photo = folder / "a.jpg"
    photo.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    thumbnails = Thumbnails(tmp_path / "cache", thumbnailer=thumbnailer)
    for _ in range(3):
        with pytest.raises(DecodeError):
            thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result()
    assert thumbnailer.count == 1
    thumbnails.close()


# ---- the cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    """A cache of one mebibyte."""
    made = DiskCache(tmp_path / "cache", suffix=".jpg", limit_bytes=MiB)
    yield made
    made.close()


def wait_until_looked_through() -> None:
    for thread in threading.enumerate():
        if thread.name == "thumbnail cache":
            thread.join()


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_cache_keeps_to_its_bound_and_drops_what_was_not_used(tmp_path: Path, cache: DiskCache) -> None:
    for number in range(100):
        cache.write(f"{number:04}", bytes(50_000))
        assert cache.read("0000") is not None  # in use all the time
        assert on_disk(tmp_path) <= MiB
    assert cache._total == on_disk(tmp_path) > MiB // 2
    assert cache.read("0099") is not None
    assert cache.read("0001") is None


def test_next_server_knows_what_is_kept_and_what_was_used_last(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = DiskCache(folder, suffix=".jpg", limit_bytes=MiB)
    for number in range(20):
        first.write(f"{number:04}", bytes(50_000))
        os.utime(folder / "00" / f"{number:04}.jpg", (1e9 + number, 1e9 + number))
    first.close()
    second = DiskCache(folder, suffix=".jpg", limit_bytes=MiB)
    wait_until_looked_through()
    assert second._total == 1_000_000
    assert second.read("0000") is not None  # the oldest, but now in use
    second.write("new", bytes(50_000))
    assert second.read("0000") is not None
    assert second.read("0001") is None
    second.close()
    third = DiskCache(folder, suffix=".jpg", limit_bytes=200_000)  # the user allows less
    wait_until_looked_through()
    assert on_disk(folder) <= 200_000
    assert third.read("0000") is not None
    third.close()


def test_left_overs_of_a_killed_server_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "00"
    folder.mkdir(parents=True)
    old, new = folder / ".0001.jpg.1.1.partial", folder / ".0002.jpg.1.1.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    cache = DiskCache(tmp_path / "cache", suffix=".jpg", limit_bytes=MiB)
    wait_until_looked_through()
    assert not old.exists()
    assert new.exists()  # another server may be about to finish it
    cache.close()


def test_writers_of_the_same_copy_do_not_mix(cache: DiskCache) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(20):
            cache.write("same", content)
            assert cache.read("same") in contents

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache._total == 200_000


def test_what_is_too_large_for_the_cache_is_not_kept(tmp_path: Path, cache: DiskCache) -> None:
    cache.write("large", bytes(MiB + 1))
    assert cache.read("large") is None
    off = DiskCache(tmp_path / "off", suffix=".jpg", limit_bytes=0)
    off.write("any", b"x")
    assert off.read("any") is None
    assert not (tmp_path / "off").exists()
    off.close()


def test_others_cannot_look_into_the_cache(tmp_path: Path, cache: DiskCache) -> None:
    cache.write("0001", b"x")
    assert (tmp_path / "cache" / "00").stat().st_mode & 0o077 == 0


def test_disk_that_takes_nothing_does_not_matter(tmp_path: Path, make_picture: MakePicture) -> None:
    photo = make_picture(tmp_path / "a.jpg")
    (tmp_path / "cache").write_text("a file where the folder should be")
    thumbnails = Thumbnails(tmp_path / "cache")
    for _ in range(2):
        assert opened(thumbnails.make(photo, digest(photo), ThumbnailSize.THUMBNAIL).result()).size == (96, 64)
    thumbnails.close()


def test_full_disk_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: DiskCache) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.write("0001", bytes(1000))
    assert cache.read("0001") is None
    assert on_disk(tmp_path) == 0
