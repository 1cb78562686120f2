"""Stores, and a database with a few photos, which a test file may replace by its own of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phototag.store import Store
from tests.support.stored_photos import database, register  # noqa: F401  # a fixture


@pytest.fixture(params=["file", "memory", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store that may be written to: on disk, in memory and on a server."""
    location: str | Path = "sqlite://" if request.param == "memory" else tmp_path / "photos.db"
    if request.param == "postgres":
        location = request.getfixturevalue("postgres_url")
    with Store.open(location) as opened, opened.writing("tag"):
        yield opened


@pytest.fixture(scope="module")
def reused_store() -> Iterator[Store]:
    """One store in memory for the laws, which use it for every example."""
    with Store.open("sqlite://") as opened, opened.writing("tag"):
        register(opened)
        yield opened
