"""Headers made to keep a reader busy, or to make it fail."""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress

import pytest

from phototag.imaging.heic_header import check_whole, read_heic_header
from phototag.imaging.raw_header import embedded_jpeg, is_raw, read_header
from tests.metadata.test_packets import box
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


def hostile_heic(*, properties: bytes = b"", references: bytes = b"", places: bytes = b"") -> bytes:
    """The boxes of a HEIC file of item 1, with these in them, and zeros behind."""
    inner = box(b"pitm", struct.pack(">4xH", 1)) + box(b"iprp", properties)
    inner += box(b"iref", bytes(4) + references) + box(b"iloc", places)
    return box(b"ftyp", b"heic0000") + box(b"meta", bytes(4) + inner) + bytes(1 << 20)


class TestHeic:
    @pytest.mark.parametrize(
        "data",
        [
            hostile_heic(properties=box(b"ipma", struct.pack(">4xI", 10_000)) * 2000),
            hostile_heic(
                references=box(b"dimg", struct.pack(">HH", 1, 65_535)) * 2000,
                places=struct.pack(">B3xBBH", 1, 0x44, 0, 0),
            ),
            hostile_heic(places=struct.pack(">B3xBBH", 1, 0x10, 0, 65_535) + b"\xff" * 4_000_000),
        ],
        ids=["properties", "references", "places"],
    )
    def test_lists_that_claim_more_than_their_boxes_hold_cost_little(self, data: bytes) -> None:
        began = time.process_time()
        header = read_heic_header(data)
        with suppress(SyntaxError, EOFError, struct.error):
            check_whole(data, header)
        assert time.process_time() - began < 0.5


def test_canon_previews_beyond_those_that_cameras_add_are_not_looked_at() -> None:
    uuid = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")
    preview = box(b"uuid", uuid + bytes(8) + box(b"PRVW", bytes(12) + struct.pack(">I", 1 << 20)))
    assert len(read_header(box(b"ftyp", b"crx 0000") + preview * 1000).jpegs) == 32


def tiff_of(values: int, *, kind: int, count: int, behind: int) -> bytes:
    """A chain of 40 pages, each with so many tags of the same value, which lies behind them."""
    tags = (257, 258, 259, 262, 270, 273, 277, 278, 279, 317, 320, 322, 323, 324, 325, 330, 338, 339)[:values]
    step = 6 + 12 * len(tags)
    place = 8 + 40 * step
    data = b"II*\0" + struct.pack("<I", 8)
    for page in range(40):
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, count, place) for tag in tags)
        data += struct.pack("<I", 8 + (page + 1) * step if page < 39 else 0)
    return data + bytes(behind)


@pytest.mark.parametrize(
    "data",
    [tiff_of(18, kind=7, count=2 << 20, behind=2 << 20), tiff_of(2, kind=4, count=2 << 20, behind=8 << 20)],
    ids=["bytes", "numbers"],
)
def test_values_that_overlap_are_not_all_copied(data: bytes) -> None:
    tracemalloc.start()
    try:
        is_raw(data)
        embedded_jpeg(data, 32)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()
