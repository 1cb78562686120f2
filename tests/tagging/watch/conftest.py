"""A watcher over a library, in this process or another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phototag.library.settle import Settling
from phototag.tagging import watch as watching
from tests.support.pictures import MakePicture
from tests.support.watcher import Start, Watched


@pytest.fixture
def written_while_watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, list[bytes]], None]:
    """Write a file piece by piece, one each time when the watcher looks whether it stands still: it never does."""

    def write(photo: Path, pieces: list[bytes]) -> None:
        photo.write_bytes(pieces.pop(0))

        def look(path: Path) -> os.stat_result:
            if path == photo and pieces:
                with photo.open("ab") as file:
                    file.write(pieces.pop(0))
            return path.lstat()

        monkeypatch.setattr(watching, "Settling", lambda seconds: Settling(seconds, look=look))

    return write


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "database" / "photos.db"


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture, db: Path) -> Path:
    """A folder of six pictures in two folders."""
    db.parent.mkdir()
    for number in range(6):
        make_picture(tmp_path / "library" / f"{number % 2}" / f"{number}.jpg")
    return tmp_path / "library"


@pytest.fixture
def start(quick_model: Path, db: Path) -> Iterator[Start]:
    """Start a service; it is stopped in the end, and then the database is sound."""
    started: list[Watched] = []

    def run(*roots: Path, **options: Any) -> Watched:
        started.append(Watched(quick_model, db, *roots, **options))
        return started[-1]

    yield run
    for watched in started:
        watched.stop()


@pytest.fixture
def watched(start: Start, library: Path) -> Watched:
    """A service that has caught up with the library."""
    running = start(library)
    running.until(lambda: running.inferred == 6)
    running.converges()
    return running
