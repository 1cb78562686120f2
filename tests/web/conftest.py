"""One browser for the tests of a module, and servers over small libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support.browser import chromium
from tests.support.pictures import MakePicture
from tests.support.server import ServerProcess
from tests.support.web import save_photos

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module; see `chromium`."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path, make_picture: MakePicture) -> Path:
    """A database with three photos."""
    path = tmp_path / "photos.db"
    save_photos(path, [make_picture(tmp_path / f"{number}.jpg") for number in range(3)])
    return path


@pytest.fixture
def server(database: Path) -> Iterator[ServerProcess]:
    """A server over it, in a process of its own."""
    with ServerProcess(database) as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("running")
    Image.new("RGB", (96, 64), "firebrick").save(folder / "rooster.jpg")
    save_photos(folder / "photos.db", [folder / "rooster.jpg"])
    with ServerProcess(folder / "photos.db", env={"PHOTOTAG_HOME": str(folder / "home")}) as started:
        yield started
