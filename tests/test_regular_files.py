"""Regular files only, opened without waiting: nothing else that has a path stops or fills a program."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phototag import settings
from phototag.dataset.labelled import load_data
from phototag.discovery.labels_file import add_labels
from phototag.errors import DecodeError, PhotoTagError
from phototag.files import NotAFileError, open_regular, read_regular
from phototag.imaging.reading import MAX_FILE_BYTES, read_bytes
from phototag.imaging.thumbnails.disk_cache import DiskCache
from phototag.model.backbones import load_weights
from phototag.model.file import file_hash, read_header, read_tensors
from phototag.model.registry import active_reference, list_models
from phototag.records import FailureKind
from phototag.review.photo_reviews import why_not
from phototag.store import Store
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes pipes, sockets and links")
PATIENCE_SECONDS = 120.0


def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns or raises; it fails the test where it waits."""
    done: list[Any] = []

    def call() -> None:
        try:
            done.append(function(*arguments))
        except Exception as error:  # noqa: BLE001  # given to the test
            done.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert done, "it waits"
    return done[0]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # names of sockets are short


OTHERS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "folder": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    OTHERS[what](tmp_path / "a.jpg")
    assert isinstance(at_once(open_regular, tmp_path / "a.jpg"), OSError)
    error = at_once(read_bytes, tmp_path / "a.jpg")
    assert isinstance(error, DecodeError)
    assert error.kind == (FailureKind.CORRUPT if what == "link to itself" else FailureKind.GONE)


def test_the_reason_says_what_is_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(NotAFileError, match="a named pipe, not a file"):
        open_regular(tmp_path / "a.jpg")
    with pytest.raises(DecodeError, match="a named pipe, not a file"):
        read_bytes(tmp_path / "a.jpg")


def test_a_file_that_becomes_a_pipe_just_before_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, really = tmp_path / "a.jpg", os.open

    def swapped(path: Path, *arguments: int) -> int:
        file.unlink()
        os.mkfifo(file)
        return really(path, *arguments)

    file.write_bytes(b"a picture")
    monkeypatch.setattr(os, "open", swapped)
    error = at_once(read_bytes, file)
    assert isinstance(error, DecodeError)
    assert error.kind == FailureKind.GONE


def test_a_name_that_no_file_can_have_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        read_bytes(tmp_path / "a\0.jpg")
    assert caught.value.kind == FailureKind.GONE


def test_reading_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    file.write_bytes(bytes(200_000))
    assert len(read_regular(file, most_bytes=200_000)) == 200_000
    with pytest.raises(OSError, match="more than 199,999 bytes"):
        read_regular(file, most_bytes=199_999)
    with (tmp_path / "sparse.jpg").open("wb") as sparse:
        sparse.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(DecodeError, match="MiB"):
        read_bytes(tmp_path / "sparse.jpg")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_that_the_kernel_makes_up_are_read() -> None:
    assert b"Linux" in read_regular(Path("/proc/version"), most_bytes=1 << 20)


class TestEveryDoor:
    """A pipe in place of whatever is read: an error, or as if there were none; never waiting."""

    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Path:
        os.mkfifo(tmp_path / "pipe")
        return tmp_path / "pipe"

    @pytest.mark.parametrize(
        "read",
        [
            read_header,
            read_tensors,
            file_hash,
            load_data,
            lambda path: add_labels(path, [], superclass="bird", subclass="kea"),
            lambda path: load_weights("test_vit", path),
        ],
        ids=["model", "tensors", "hash", "labels", "named labels", "weights"],
    )
    def test_a_path_that_the_user_names(self, pipe: Path, read: Callable[[Path], object]) -> None:
        assert isinstance(at_once(read, pipe), PhotoTagError)

    def test_the_configuration(self, pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PHOTOTAG_CONFIG", str(pipe))
        assert "a named pipe, not a file" in str(at_once(settings.load_config))
        monkeypatch.setenv("PHOTOTAG_CONFIG", os.devnull)
        assert settings.load_config() == {}

    def test_the_models(self, home: Path) -> None:
        settings.models_folder().mkdir(parents=True)
        os.mkfifo(settings.models_folder() / "pipe.safetensors")
        models, broken = at_once(list_models)
        assert len(models) == 1
        assert "pipe.safetensors: cannot be read: a named pipe, not a file" in broken[0]
        os.mkfifo(settings.data_folder() / "active-model")
        assert isinstance(at_once(active_reference), PhotoTagError)

    def test_a_photo_under_review(self, pipe: Path) -> None:
        assert at_once(why_not, None, pipe, b"") == "is no file any more"

    def test_notes_beside_a_database(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "photos.db") as store:
            store.notes.write("watch", {})
            (note,) = tmp_path.glob("photos.db*watch*")
            note.unlink()
            os.mkfifo(note)
            assert at_once(store.notes.read, "watch") is None

    def test_a_cache(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path / "cache", suffix=".jpg", limit_bytes=1 << 30)
        cache.write("key", b"content")
        assert cache.read("key") == b"content"
        (kept,) = (tmp_path / "cache").rglob("*.jpg")
        kept.unlink()
        os.mkfifo(kept)
        assert at_once(cache.read, "key") is None

    def test_a_password(self, run_phototag: RunCommand, pipe: Path, tmp_path: Path) -> None:
        Store.open(tmp_path / "photos.db").close()
        result = at_once(
            lambda: run_phototag("serve", "--db", tmp_path / "photos.db", "--password-file", pipe, "--port", "0")
        )
        assert result.exit_code == 2
        assert "password" in result.stderr


def test_files_that_change_places_with_pipes_stop_no_run(
    quick_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    """Somebody who may write to the folder swaps what the scan saw before it is read."""
    library, hidden = tmp_path / "library", tmp_path / "library" / ".hidden"
    names = [make_picture(library / f"{number:02}.jpg", seed=number).name for number in range(40)]
    hidden.mkdir()
    for name in names[::2]:
        os.mkfifo(hidden / name)
    going = True

    def swap() -> None:
        while going:
            for name in names[::2]:
                (library / name).rename(hidden / "other")
                (hidden / name).rename(library / name)
                (hidden / "other").rename(hidden / name)
            time.sleep(0.002)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with Store.open(tmp_path / "photos.db") as store, Tagger(quick_model, batch_size=4) as tagger:
            report = at_once(tagger.tag, [library], store)
    finally:
        going = False
        thread.join()
    assert report.tagged >= 20
