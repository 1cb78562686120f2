"""A database with one photo, and the application over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette

from tests.support.web import application, save_photos


@pytest.fixture(scope="module")
def _first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one photo, whose file is there; made once, since making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("library")
    picture = folder / "rooster.jpg"
    Image.new("RGB", (96, 64), "firebrick").save(picture)
    save_photos(folder / "photos.db", [picture])
    return folder / "photos.db"


@pytest.fixture
def database(tmp_path: Path, _first: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(_first, tmp_path / "photos.db"))


@pytest.fixture
def app(database: Path) -> Iterator[Starlette]:
    """The application over it."""
    with application(database) as made:
        yield made
