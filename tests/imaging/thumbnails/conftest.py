"""A thumbnailer that counts what it makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.thumbnails import CountingThumbnailer


@pytest.fixture
def thumbnailer() -> Iterator[CountingThumbnailer]:
    """A thumbnailer that counts what it makes."""
    made = CountingThumbnailer()
    yield made
    made.close()
