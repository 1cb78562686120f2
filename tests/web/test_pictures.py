"""Pictures over HTTP: copies by number, never the files."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from phototag.library.scanner import ScanProblems, look
from phototag.records import Failure, FailureKind
from phototag.store import Store
from tests.support.pictures import MakePicture
from tests.support.thumbnails import CountingThumbnailer, opened
from tests.support.web import application, context_in, logged_in, save_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the photos of a test lie."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the database of a test lies."""
    return tmp_path / "photos.db"


@pytest.fixture
def app(database: Path, folder: Path, make_picture: MakePicture) -> Iterator[Starlette]:
    """The application over one photo, number 1."""
    assert save_photos(database, [make_picture(folder / "rooster.jpg", size=(800, 600))]) == [1]
    with application(database) as made:
        yield made


@pytest.fixture
def client(app: Starlette) -> TestClient:
    """A client that is let in."""
    return logged_in(app)


def version(app: Starlette) -> str:
    photo = context_in(app).store.photos.find(1)
    assert photo is not None
    assert photo.content_hash is not None
    return photo.content_hash.hex()[:8]


def test_photo_is_shown_small_and_large(client: TestClient) -> None:
    small, large = client.get("/photos/1/thumbnail"), client.get("/photos/1/picture")
    assert opened(small.content).size == (320, 240)
    assert opened(large.content).size == (800, 600)
    assert small.headers["content-type"] == large.headers["content-type"] == "image/jpeg"
    assert client.head("/photos/1/thumbnail").headers["content-length"] == str(len(small.content))


def test_browsers_keep_what_is_named_by_its_content(app: Starlette, client: TestClient) -> None:
    current = client.get(f"/photos/1/thumbnail?v={version(app)}")
    assert current.headers["cache-control"] == "private, max-age=31536000, immutable"
    for old in ("", "?v=", "?v=00000000"):
        answer = client.get(f"/photos/1/thumbnail{old}")
        assert answer.headers["cache-control"] == "private, no-cache"
        again = client.get(f"/photos/1/thumbnail{old}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert current.headers["etag"] != client.get("/photos/1/picture").headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        *("/photos/0/thumbnail", "/photos/2/thumbnail", "/photos/-1/thumbnail", "/photos/1.0/thumbnail"),
        *(f"/photos/{2**63}/thumbnail", f"/photos/{'9' * 600}/picture", "/photos/٣/thumbnail", "/photos/0x1/picture"),
        *("/photos/../photos.db", "/photos/1/../../etc/passwd", "/photos/%2e%2e%2fphotos.db/picture"),
        *("/photos//etc/passwd/picture", "/photos/1/original", "/photos/1/thumbnail/", "/photos/1%00/thumbnail"),
        *("/photos/1 or 1=1/thumbnail", "/photos//thumbnail", "/photos/1;id/thumbnail"),
    ],
)
def test_pictures_have_no_other_addresses(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith("image/jpeg")


def shown(client: TestClient, photo_id: int = 1) -> str:
    answer = client.get(f"/photos/{photo_id}/picture")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def test_photo_that_is_gone_says_so(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    assert "The file is gone" in shown(client)


@pytest.mark.parametrize(
    ("kind", "words", "more"),
    [
        (FailureKind.EMPTY, "could not be read when it was tagged", "could not be read: the reason."),
        (FailureKind.NEEDS_HEIC, "Of a format not read here", "was left out: the reason."),
    ],
)
def test_photo_that_was_never_read_says_so(
    database: Path, folder: Path, kind: FailureKind, words: str, more: str
) -> None:
    file = folder / "broken.jpg"
    file.write_bytes(b"")
    photo = look(bytes(file), ScanProblems())
    assert photo is not None
    save_photos(database, [])
    with Store.open(database) as store, store.writing("tag"):
        store.tags.save_batch(model_id=1, tagged=[], failures=[Failure(photo.photo(), kind, "the reason")])
    with application(database) as app:
        client = logged_in(app)
        assert words in shown(client)
        assert more in client.get("/photos/1").text
        assert "Of a format not read here" in client.get("/").text


def test_photo_that_changed_says_so(client: TestClient, folder: Path, make_picture: MakePicture) -> None:
    make_picture(folder / "rooster.jpg", seed=5)
    assert "has changed since it was tagged" in shown(client)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_photo_that_may_not_be_read_says_so(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").chmod(0)
    assert "No permission" in shown(client)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipe_in_place_of_a_photo_is_not_waited_for(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    os.mkfifo(folder / "rooster.jpg")
    assert "The file is gone" in shown(client)


def test_folder_in_place_of_a_photo_does_no_harm(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    (folder / "rooster.jpg").mkdir()
    assert "The file is gone" in shown(client)


@pytest.mark.parametrize(
    "content", [b"<html><script>alert(1)</script>", b"root:x:0:0:root:/root:/bin/sh\n", b"SQLite format 3\0"]
)
def test_files_that_are_no_pictures_are_not_given_out(database: Path, folder: Path, content: bytes) -> None:
    (folder / "page.jpg").write_bytes(content)
    (photo_id,) = save_photos(database, [folder / "page.jpg"])
    with application(database) as app:
        text = shown(logged_in(app), photo_id)
        assert content.decode() not in text
        assert "Not a picture" in text


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", "<script>\u202e\n'\".jpg".encode()])
def test_files_of_any_name_are_shown(database: Path, folder: Path, make_picture: MakePicture, name: bytes) -> None:
    file = folder / os.fsdecode(name)
    shutil.copy(make_picture(folder / "plain.jpg"), file)
    (photo_id,) = save_photos(database, [file])
    with application(database) as app:
        client = logged_in(app)
        assert opened(client.get(f"/photos/{photo_id}/thumbnail").content).size == (96, 64)
        file.unlink()
        assert "<script" not in shown(client, photo_id)


def test_many_ask_for_the_same_photo(app: Starlette, client: TestClient) -> None:
    counting = CountingThumbnailer()
    thumbnails = context_in(app).thumbnails
    thumbnails._thumbnailer.close()
    thumbnails._thumbnailer = counting
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.get("/photos/1/thumbnail").content)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert len(set(answers)) == 1
    assert counting.count == 1
