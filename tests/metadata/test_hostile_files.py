"""Files made to keep a reader busy, or to make it fail: they say nothing, and cost next to nothing."""

from __future__ import annotations

import errno
import io
import random
import struct
import time
import tracemalloc
from typing import Any
from xml.sax.saxutils import escape

import pytest

from phototag.imaging.raw_header import embedded_jpeg
from phototag.metadata import describe
from phototag.metadata.exif import Tiff
from phototag.metadata.exif_block import ExifBlocks, find_exif
from phototag.metadata.facts import parse_moment
from phototag.metadata.iptc import older_keywords
from phototag.metadata.xmp import XmpError, embedded_packets, read_packet
from phototag.records import CaptureFacts
from tests.metadata.test_facts import heic
from tests.metadata.test_packets import box, packet, pictures_with
from tests.support.exif import BERLIN, CAMERA, TAKEN, exif_block, picture
from tests.support.pictures import scene
from tests.support.raw_files import dng

FTYP = box(b"ftyp", b"heic0000")
XMP_ITEM = struct.pack(">B3xHH4s", 2, 7, 0, b"mime") + b"\0application/rdf+xml\0"
XMP_ITEMS = box(b"iinf", struct.pack(">4xH", 1) + box(b"infe", XMP_ITEM))
EXIF_ITEMS = box(b"iinf", struct.pack(">4xH", 1) + box(b"infe", struct.pack(">B3xHH4s", 2, 7, 0, b"Exif") + b"\0"))


def meta(*boxes: bytes) -> bytes:
    return FTYP + box(b"meta", bytes(4) + b"".join(boxes))


def far_item(offset: int) -> bytes:
    """A file whose packet is said to lie that far behind its beginning."""
    return meta(XMP_ITEMS, box(b"iloc", struct.pack(">B3xBBHHHHHQI", 1, 0x84, 0, 1, 7, 0, 0, 1, offset, 8)))


class Disk(io.BytesIO):
    """A file where the system refuses places that it cannot have."""

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset >= 1 << 32:
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().seek(offset, whence)


PLACES_BEYOND = {
    "box": FTYP + struct.pack(">I4sQ", 1, b"free", 2**64 - 1),
    "item": far_item(2**64 - 1),
    "item on a disk": far_item(2**40),
    "PNG text without room": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 3) + b"iTXtXML:com.adobe.xmp\0" + bytes(99),
    "Canon box without room": box(b"ftyp", b"crx 0000")
    + struct.pack(">I4s", 10, b"uuid")
    + bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    + bytes(99),
}


@pytest.mark.parametrize("data", PLACES_BEYOND.values(), ids=PLACES_BEYOND)
def test_places_that_no_file_has_are_damage(data: bytes) -> None:
    assert describe(data) == (CaptureFacts(), ())
    with pytest.raises(XmpError):
        embedded_packets(Disk(data))


def test_boxes_longer_than_what_they_lie_in_end_it() -> None:
    reads: list[int | None] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size)
            return super().read(size)

    inner = struct.pack(">I4s", 500, b"free") + bytes(492) + box(b"free", b"") * 1000
    assert embedded_packets(Counted(FTYP + struct.pack(">I4s4x", 40, b"meta") + inner)) == ()
    assert len(reads) < 20 and all(size is not None and 0 <= size <= 32 for size in reads)


def places(widths: int, item: bytes, *, items: int = 65_535) -> bytes:
    """An iloc box of version 1, with the same bytes for each item."""
    return box(b"iloc", struct.pack(">B3xHH", 1, widths, items) + item * items)


@pytest.mark.parametrize(("widths", "extent"), [(0x0000, b""), (0x0001, b""), (0x1000, b"\0"), (0x0100, b"\0")])
def test_more_extents_than_files_have_are_not_listed(widths: int, extent: bytes) -> None:
    data = meta(EXIF_ITEMS, XMP_ITEMS, places(widths, struct.pack(">4H", 1, 0, 0, 65_535) + 3 * extent))
    began = time.process_time()
    assert describe(data) == (CaptureFacts(), ())
    assert time.process_time() - began < 2


@pytest.mark.parametrize(("items", "extents"), [(1, 3000), (3000, 1)])
def test_exif_that_overlaps_is_read_within_bounds(items: int, extents: int) -> None:
    read = 0

    class Counted(bytes):
        def __getitem__(self, place: Any) -> Any:
            nonlocal read
            found = super().__getitem__(place)
            read += len(found) if isinstance(place, slice) else 1
            return found

    extent = struct.pack(">II", 1 << 16, 1 << 16)
    listed = places(0x4400, struct.pack(">4H", 7, 0, 0, extents) + extent * extents, items=items)
    assert find_exif(Counted(meta(EXIF_ITEMS, listed) + b"\xff" * (1 << 17))) == ExifBlocks()
    assert read < 20 << 20


def test_categories_with_endless_names_are_left_out() -> None:
    inner = "<c Assigned='1'>Rex</c>" + "<c/>" * 1000
    categories = f"<r><c>{'a' * 100_000}{inner}</c><c>Dogs{inner}</c></r>"
    xmp = packet(f"<acdsee:categories>{escape(categories)}</acdsee:categories>").encode()
    tracemalloc.start()
    try:
        assert read_packet(xmp).hierarchical == ("Dogs|Rex",)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def keyword_bytes(data: bytes) -> int:
    """How many bytes are read to find the keywords outside XMP."""
    read = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            found = super().read(size)
            read += len(found)
            return found

    older_keywords(Counted(data), beside_xmp=False)
    return read


def directory(tag: int, size: int, *, entries: int, base: int = 8) -> bytes:
    """A TIFF file whose directory, that far from its beginning, has the same entry many times."""
    entry = struct.pack("<HHII", tag, 7, size, base)
    return b"II*\0" + struct.pack("<I", base) + bytes(base - 8) + struct.pack("<H", entries) + entry * entries


@pytest.mark.parametrize("tag", [33723, 34377, 0x9C9E])
def test_a_tag_with_keywords_is_read_once(tag: int) -> None:
    data = directory(tag, 50_000, entries=3000)
    assert keyword_bytes(data + bytes(50_000)) < 2 * len(data) + 50_000


def test_one_exif_of_a_jpeg_is_read() -> None:
    exif = b"\xff\xe1" + struct.pack(">H", 16) + b"Exif\0\0II*\0" + struct.pack("<I", 50_000)
    data = (b"\xff\xd8" + exif * 1000).ljust(
        50_000, b"\0"
    ) + b"\x0f" * 100_000  # of 3,855 entries, from wherever one reads
    assert keyword_bytes(data) < 2 * len(data)


@pytest.mark.parametrize("spaces", [" " * 100_000, "\u2003" * 100_000, "T" * 100_000])
def test_dates_full_of_spaces_are_none(spaces: str) -> None:
    began = time.process_time()
    assert parse_moment(f"2026-05-03{spaces}x") == (None, None)
    assert parse_moment("2026-05-03 14:22:01" + spaces + "x") == (None, None)
    assert time.process_time() - began < 0.5


def test_values_that_are_cut_off_are_not_copied() -> None:
    copied = 0

    class Counted(bytes):
        def __getitem__(self, place: Any) -> Any:
            nonlocal copied
            found = super().__getitem__(place)
            copied += len(found) if isinstance(place, slice) else 1
            return found

    data = directory(0x010F, 1 << 16, entries=5000)
    assert Tiff(Counted(data)).directory(8, {0x010F}) == {}
    assert copied < 2 * len(data)


def whole_files() -> dict[str, bytes]:
    """Files of all kinds with EXIF, XMP or both, as cameras and programs make them."""
    xmp = packet("<dc:subject><rdf:Bag><rdf:li>bird</rdf:li></rdf:Bag></dc:subject>", 'xmp:Rating="3"').encode()
    exif = exif_block({**CAMERA, 0x9C9E: "bird"}, TAKEN, BERLIN)
    files = pictures_with(xmp) | {"JPEG of both": picture(exif=exif, xmp=xmp), "HEIC of EXIF": heic(exif[6:])}
    return files | {"PNG of EXIF": picture("PNG", exif=exif), "DNG": dng(scene((64, 48)), preview=picture(exif=exif))}


@pytest.mark.parametrize("data", whole_files().values(), ids=whole_files())
def test_whatever_bytes_a_header_has_nothing_is_raised(data: bytes) -> None:
    rng = random.Random(1)
    for _ in range(300):
        damaged = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
        for _ in range(rng.randrange(1, 6)):
            value = rng.choice([b"\0", b"\xff", b"\1", rng.randbytes(1)]) * rng.choice([1, 1, 2, 4, 8])
            at = rng.randrange(min(len(data), 800))
            damaged[at : at + len(value)] = value
        describe(bytes(damaged))
        embedded_jpeg(bytes(damaged), 16)
