"""Decoders that are closed in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from phototag.imaging.sandbox.decoder import Decoder, WholeDecoder
from tests.support.sandboxed import (
    SMALL,
    MakeDecoder,
)


@pytest.fixture
def decoder() -> Iterator[MakeDecoder]:
    """A function that makes a decoder, closed in the end."""
    made: list[Decoder] = []

    def make(command: Sequence[str] | None = None, **options: Any) -> Decoder:
        made.append(Decoder(SMALL, command=command, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Decoder]:
    """A decoder as it comes, with workers that other tests may have started."""
    with Decoder(SMALL) as one:
        yield one


@pytest.fixture(scope="module")
def whole() -> Iterator[WholeDecoder]:
    with WholeDecoder(64) as one:
        yield one
