"""A gallery that no test changes, and a store for one that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phototag.catalog.catalog import Gallery
from phototag.store import Store
from tests.support.catalog_photos import fill


@pytest.fixture(scope="module")
def gallery() -> Iterator[Gallery]:
    """A gallery that no test changes."""
    with Store.open("sqlite://") as store:
        with store.writing("tag"):
            fill(store)
        with Gallery(store) as opened:
            yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "photos.db") as opened:
        with opened.writing("tag"):
            fill(opened)
        yield opened
