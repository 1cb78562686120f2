"""Find the EXIF block of a picture file in its bytes, whatever the container, without decoding it.

What is damaged or cut is passed over: a block before it is found all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

EXIF_HEAD = b"Exif\0\0"
# Of TIFF and of what is TIFF but for its number: Olympus, Panasonic.
TIFF_HEADS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_RAF_HEAD = b"FUJIFILMCCD-RAW"
_RAF_JPEG = 84
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_MOST_BLOCK_BYTES = 16 << 20
# Far more than any file has; a made-up one must not keep this busy.
_MOST_BOXES, _MOST_ITEMS, _MOST_EXTENTS = 4096, 65536, 65536
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_SCAN_STARTS, _IMAGE_ENDS = 0xDA, 0xD9


@dataclass(slots=True)
class ExifBlocks:
    """The EXIF of a file as it stands there, a TIFF structure; Canon's CR3 splits it into three."""

    image: bytes = b""
    exif_directory: bytes | None = None
    gps: bytes | None = None


def find_exif(data: bytes) -> ExifBlocks:
    """Return the EXIF of a file. Never raises."""
    blocks = ExifBlocks()
    try:
        if data[:2] == b"\xff\xd8":
            _of_jpeg(data, 0, blocks)
        elif data[:4] in TIFF_HEADS:
            blocks.image = data
        elif data[4:8] == b"ftyp":
            _of_iso_media(data, blocks)
        elif data[:8] == _PNG_HEAD:
            _of_png(data, blocks)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            _of_webp(data, blocks)
        elif data.startswith(_RAF_HEAD):
            _of_jpeg(data, struct.unpack_from(">I", data, _RAF_JPEG)[0], blocks)
    except (struct.error, IndexError):
        pass  # cut short: what came before counts
    return blocks


def _of_jpeg(data: bytes, start: int, blocks: ExifBlocks) -> None:
    place, end = start + 2, len(data)
    while place + 4 <= end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN_STARTS, _IMAGE_ENDS):
            return
        length = data[place + 2] << 8 | data[place + 3]
        first, place = place + 4, place + 2 + max(length, 2)
        if place > end:
            return
        if marker == 0xE1 and data.startswith(EXIF_HEAD, first):
            blocks.image = data[first + len(EXIF_HEAD) : place]
            return


def _of_png(data: bytes, blocks: ExifBlocks) -> None:
    place = len(_PNG_HEAD)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        first, place = place + 8, place + 12 + length
        if kind == b"eXIf":
            blocks.image = data[first : first + length]
        elif kind == b"IEND":
            return


def _of_webp(data: bytes, blocks: ExifBlocks) -> None:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        first, place = place + 8, place + 8 + length + length % 2
        if kind == b"EXIF":
            blocks.image = data[first : first + length].removeprefix(EXIF_HEAD)


# ---- ISO base media: HEIC, AVIF, CR3 (ISO/IEC 14496-12, 23008-12)


def _boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the contents of each box."""
    for _ in range(_MOST_BOXES):
        if place + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, place)
        first = place + 8
        if size == 1:
            size, first = struct.unpack_from(">Q", data, first)[0], first + 8
        last = end if size == 0 else place + size
        if last < first:
            return
        yield kind, first, min(last, end)
        place = last


def _of_iso_media(data: bytes, blocks: ExifBlocks) -> None:
    for kind, first, last in _boxes(data, 0, len(data)):
        if kind == b"meta":
            _of_items(data, first + 4, last, blocks)
        elif kind == b"moov":
            for inner, start, end in _boxes(data, first, last):
                if inner == b"uuid" and data.startswith(_CANON_UUID, start):
                    _of_canon(data, start + 16, end, blocks)


def _of_canon(data: bytes, first: int, last: int, blocks: ExifBlocks) -> None:
    for kind, start, end in _boxes(data, first, last):
        if kind == b"CMT1":
            blocks.image = data[start:end]
        elif kind == b"CMT2":
            blocks.exif_directory = data[start:end]
        elif kind == b"CMT4":
            blocks.gps = data[start:end]


def _of_items(data: bytes, first: int, last: int, blocks: ExifBlocks) -> None:
    wanted: set[int] = set()
    located: list[tuple[int, int, list[tuple[int, int]]]] = []
    stored = 0
    for kind, start, end in _boxes(data, first, last):
        if kind == b"iinf":
            wanted = set(_exif_items(data, start, end))
        elif kind == b"iloc":
            located = list(_item_places(data, start, end))
        elif kind == b"idat":
            stored = start
    bytes_left = _MOST_BLOCK_BYTES  # of all together: they may overlap
    for item, method, extents in located:
        count = sum(size for _, size in extents)
        if item not in wanted or method > 1 or blocks.image or count > bytes_left:
            continue
        bytes_left -= count
        base = stored if method == 1 else 0
        body = b"".join(data[base + place : base + place + size] for place, size in extents)
        if len(body) >= 8:
            blocks.image = body[4 + struct.unpack_from(">I", body)[0] :].removeprefix(EXIF_HEAD)


def _exif_items(data: bytes, first: int, last: int) -> Iterator[int]:
    """Yield the numbers of the items that are EXIF, from an iinf box."""
    for kind, start, _ in _boxes(data, first + (6 if data[first] == 0 else 8), last):
        version = data[start]
        wide = version > 2
        if kind == b"infe" and version >= 2 and data.startswith(b"Exif", start + (10 if wide else 8)):
            yield struct.unpack_from(">I" if wide else ">H", data, start + 4)[0]


def _item_places(data: bytes, first: int, last: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield number, construction method and extents (place, size) of each item, from an iloc box.

    Ends where there are more extents than any file has: those without width take no room, and may be billions.
    """
    version = data[first]
    sizes, more = data[first + 4], data[first + 5]
    offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, more >> 4
    index_bytes = more & 15 if version else 0
    wide = version >= 2
    number = int.from_bytes(data[first + 6 : first + (10 if wide else 8)], "big")
    place = first + (10 if wide else 8)
    extents_left = _MOST_EXTENTS

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int.from_bytes(data[place - count : place], "big")

    for _ in range(min(number, _MOST_ITEMS)):
        if place >= last:
            return
        item = take(4 if wide else 2)
        method = take(2) & 15 if version else 0
        take(2)  # of which file: others are not looked at
        base = take(base_bytes)
        extents = []
        count = take(2)
        extents_left -= count
        if extents_left < 0:
            return
        for _ in range(count):
            if place >= last:
                return
            take(index_bytes)
            extents.append((base + take(offset_bytes), take(length_bytes)))
        yield item, method, extents
