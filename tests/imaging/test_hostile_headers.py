"""Headers made to keep a reader busy, or to make it fail."""

from __future__ import annotations

import struct

import pytest

from phototag.imaging.raw_header import embedded_jpeg
from tests.support.pictures import encoded, scene
from tests.support.raw_files import dng

PREVIEW = encoded(scene((64, 48)), "JPEG")


def with_orientation(kind: int, value: bytes) -> bytes:
    """A raw photo whose orientation is said by a value of that type."""
    data = dng(scene((64, 48)), preview=PREVIEW, orientation=6)
    tag = struct.pack("<HHI", 274, 3, 1)
    assert data.count(tag) == 1
    if len(value) > 4:
        data, value = data + value, struct.pack("<I", len(data))
    at = data.index(tag)
    return data[:at] + struct.pack("<HHI", 274, kind, 1) + value.ljust(4, b"\0") + data[at + 12 :]


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [(3, "H", 0), (3, "H", 9), (4, "I", 70_000), (8, "h", -1), (9, "i", -70_000), (16, "Q", 2**63), (17, "q", -1)],
)
def test_orientations_that_exif_does_not_know_turn_nothing(kind: int, code: str, value: int) -> None:
    assert embedded_jpeg(with_orientation(kind, struct.pack("<" + code, value)), 32) in (PREVIEW, None)


def test_a_known_orientation_is_told() -> None:
    assert embedded_jpeg(with_orientation(4, struct.pack("<I", 6)), 32) not in (PREVIEW, None)
