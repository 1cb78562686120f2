"""A reducer that counts what it makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.thumbnails import CountingReducer


@pytest.fixture
def reducer() -> Iterator[CountingReducer]:
    """A reducer that counts what it makes."""
    made = CountingReducer()
    yield made
    made.close()
