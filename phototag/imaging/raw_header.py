"""Find the JPEG that a camera put into its raw photo, by the headers alone: no pixel is decoded here.

Nearly all cameras add one that is large enough for a network, and it costs what any JPEG costs. Raw photos are TIFF
files (DNG, CR2, NEF, ARW, PEF, SRW), the same under another name (ORF, RW2), boxes (CR3:
github.com/lclevy/canon_cr3), or Fuji's own kind (RAF). What is not found here, LibRaw may find: `raw`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from phototag.imaging.boxes import Span, boxes, find_box
from phototag.imaging.formats import UnsupportedPictureError
from phototag.imaging.jpeg import check_supported, exif_of, frame_size, has_end
from phototag.imaging.tiff import (
    COMPRESSION,
    DNG_VERSION,
    JPEG_COUNT,
    JPEG_OFFSET,
    MIN_IS_BLACK,
    ORIENTATION,
    PANASONIC_JPEG,
    PHOTOMETRIC,
    RGB,
    SUB_PAGES,
    YCBCR,
    Page,
    pages,
    part_places,
)

_BROKEN = (struct.error, SyntaxError, EOFError, OverflowError, IndexError)
_TIFF = (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")
# Values behind a filter of colours, and such as they are once the colours are put together.
_SENSOR = (32803, 34892)
_JPEG_COMPRESSIONS = (6, 7)
_COLOURS = (MIN_IS_BLACK, RGB, YCBCR)
_MOST_PAGES = 32
_PAGES_TOLD_BY = 8
_MOST_TRACKS = 32
_JPEG_START = b"\xff\xd8\xff"
_ORIENTATION_TAG = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
_CANON_FACTS = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_PREVIEW = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What the headers of a raw photo tell.

    `jpegs` are where JPEG files may begin in it, and their length. `orientation` is how the sensor was held, as EXIF
    has it. `size` are the pixels of the sensor, zeros where that is not known, and `reach` is where its last part ends.
    """

    jpegs: tuple[tuple[int, int], ...] = ()
    orientation: int = 1
    size: tuple[int, int] = (0, 0)
    reach: int = 0


def is_raw(data: bytes) -> bool:
    """Return whether what may be a TIFF file by its first bytes is a raw photo; all else that gets here is one."""
    if data[:4] not in _TIFF or data[8:11] == b"CR\2":
        return True
    try:
        found = list(islice(pages(data), _PAGES_TOLD_BY))
    except _BROKEN:
        return False
    if not found:
        return False
    if DNG_VERSION in found[0].tags or any(page.number(PHOTOMETRIC, 0) in _SENSOR for page in found):
        return True
    # A small copy of a picture that is nowhere else is one of a raw photo that was cut short.
    return SUB_PAGES in found[0].tags and all(page.is_reduced for page in found)


def embedded_jpeg(data: bytes, short_side: int) -> bytes | None:
    """Return the largest whole JPEG in a raw photo, None if its shorter side is less than `short_side` pixels.

    How it is to be turned is what its own metadata says, else what the raw photo says, which is then added to it.
    """
    header = read_header(data)
    for start, length in sorted(header.jpegs, key=lambda place: -place[1]):
        if data[start : start + 3] != _JPEG_START or start + length > len(data):
            continue
        jpeg = data[start : start + length]
        size = picture_in(jpeg)
        if size is not None and min(size) >= short_side:
            return turned(jpeg, _orientation_of(size, header))
    return None


def picture_in(jpeg: bytes) -> tuple[int, int] | None:
    """Return the size of a JPEG file that can be decoded, by its markers: the values of a sensor may be one, too."""
    try:
        check_supported(jpeg)
    except UnsupportedPictureError:
        return None
    return frame_size(jpeg) if has_end(jpeg) else None


def turned(jpeg: bytes, orientation: int) -> bytes:
    """Return a JPEG file with that orientation in its metadata, unless it says one itself."""
    exif = exif_of(jpeg)
    if orientation == 1 or (exif is not None and _ORIENTATION_TAG in exif):
        return jpeg
    content = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, _ORIENTATION_TAG, 3, 1, orientation, 0, 0)
    # In front of other metadata: the first of several is the one that counts.
    return jpeg[:2] + struct.pack(">HH", 0xFFE1, 2 + len(content)) + content + jpeg[2:]


def _orientation_of(size: tuple[int, int], header: RawHeader) -> int:
    """Return how a preview without metadata is turned; some cameras turn it before they store it."""
    (width, height), (sensor_width, sensor_height) = size, header.size
    if header.orientation in _QUARTER_TURNS and (width - height) * (sensor_width - sensor_height) < 0:
        return 1
    return header.orientation


def read_header(data: bytes) -> RawHeader:
    """Return what the headers tell as far as they can be made sense of."""
    try:
        if data[:4] == b"FUJI":
            start, length, _, _, sensor, count = struct.unpack_from(">6I", data, 84)
            return RawHeader(((start, length),), reach=max(start + length, sensor + count))
        if data[4:8] == b"ftyp":
            return _canon_header(data)
        return _tiff_header(list(islice(pages(data), _MOST_PAGES)), data)
    except _BROKEN:
        return RawHeader()


def _tiff_header(found: list[Page], data: bytes) -> RawHeader:
    jpegs: list[tuple[int, int]] = []
    sensors = [page.size for page in found if page.number(PHOTOMETRIC, 0) in _SENSOR]
    reach = 0
    for page in found:
        offsets, counts = part_places(page)
        places = list(zip(offsets, counts, strict=False))
        reach = max([reach, *(start + count for start, count in places)])
        if PANASONIC_JPEG in page.tags:
            value = page.tags[PANASONIC_JPEG][2]
            jpegs.append((data.find(value), len(value)))
        if JPEG_OFFSET in page.tags:
            jpegs.append((page.number(JPEG_OFFSET, 0), page.number(JPEG_COUNT, 0)))
        elif _may_be_preview(page) and len(places) == 1:
            jpegs += places
    orientation = next((_orientation_in(page) for page in found if ORIENTATION in page.tags), 1)
    return RawHeader(tuple(jpegs), orientation, max(sensors, default=(0, 0)), reach)


def _orientation_in(page: Page) -> int:
    """Return what a page says of how it is turned, 1 where that is nothing that EXIF knows."""
    orientation = page.number(ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _may_be_preview(page: Page) -> bool:
    """Return whether a page is a JPEG in the colours of a picture: masks and depths may be JPEGs as well."""
    return page.number(COMPRESSION, 0) in _JPEG_COMPRESSIONS and page.number(PHOTOMETRIC, YCBCR) in _COLOURS


def _canon_header(data: bytes) -> RawHeader:
    whole = (0, len(data))
    jpegs = list(islice(_canon_previews(data, whole), _MOST_TRACKS))
    orientation, size, reach = 1, (0, 0), 0
    moov = find_box(data, whole, b"moov")
    for kind, span in islice(boxes(data, moov), _MOST_TRACKS) if moov is not None else ():
        if kind == b"trak" and (place := _first_sample(data, span)) is not None:
            jpegs.append(place)
            reach = max(reach, sum(place))
        elif kind == b"uuid" and data[span[0] : span[0] + 16] == _CANON_FACTS:
            facts = find_box(data, (span[0] + 16, span[1]), b"CMT1")
            page = next(pages(data[slice(*facts)]), Page("<")) if facts is not None else Page("<")
            orientation, size = _orientation_in(page), page.size
    return RawHeader(tuple(jpegs), orientation, size, reach)


def _canon_previews(data: bytes, whole: Span) -> Iterator[tuple[int, int]]:
    for kind, (start, end) in boxes(data, whole):
        if kind == b"uuid" and data[start : start + 16] == _CANON_PREVIEW:
            found = find_box(data, (start + 24, end), b"PRVW")
            if found is not None:
                yield found[0] + 16, struct.unpack_from(">I", data, found[0] + 12)[0]


def _first_sample(data: bytes, track: Span) -> tuple[int, int] | None:
    """Return where the only sample of a track lies: a JPEG of full size, or what the sensor saw."""
    table = find_box(data, track, b"mdia", b"minf", b"stbl")
    sizes = find_box(data, table, b"stsz") if table is not None else None
    if table is None or sizes is None:
        return None
    every, count = struct.unpack_from(">II", data, sizes[0] + 4)
    (length,) = (every,) if every or not count else struct.unpack_from(">I", data, sizes[0] + 12)
    for name, number in ((b"co64", ">Q"), (b"stco", ">I")):
        chunks = find_box(data, table, name)
        if chunks is not None:
            return struct.unpack_from(number, data, chunks[0] + 8)[0], length
    return None
