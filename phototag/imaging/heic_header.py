"""Read what the boxes of a HEIC file say of its primary picture, without decoding anything (ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from phototag.imaging.boxes import Buffer, Span, boxes, find_box
from phototag.imaging.formats import UnsupportedPictureError

_MOST_PROPERTIES = 10_000
_MOST_ITEMS = 65_536
_MOST_PARTS = 65_536
# So many zeros do not end the pixels of a tile: they are what a disk or a camera did not write.
_UNWRITTEN = bytes(16)


@dataclass(slots=True)
class HeicHeader:
    """What the boxes say of the primary picture.

    `item` is its number, `meta` where the boxes about items lie, `size` how large it is as stored, `turned` whether any
    box says how it is turned, and `colours` are primaries and transfer, by their numbers in ITU-T H.273.
    """

    item: int
    meta: Span
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    colours: tuple[int, int] | None = None


def read_heic_header(data: Buffer) -> HeicHeader:
    """Return what the boxes say of the primary picture.

    Raises:
        UnsupportedPictureError: there is none, but a film.
        SyntaxError, IndexError, struct.error: it is damaged.
    """
    whole = (0, len(data))
    meta = find_box(data, whole, b"meta")
    if meta is None:
        if find_box(data, whole, b"moov") is not None:
            raise UnsupportedPictureError("a HEIC film without a picture")
        raise SyntaxError("no header of a picture")
    inside = (meta[0] + 4, meta[1])
    primary, properties = find_box(data, inside, b"pitm"), find_box(data, inside, b"iprp")
    if primary is None or properties is None:
        raise SyntaxError("no primary picture")
    (item,) = struct.unpack_from(">I" if data[primary[0]] else ">H", data, primary[0] + 4)
    container = find_box(data, properties, b"ipco")
    known = list(boxes(data, container)) if container is not None else []
    header = HeicHeader(item, inside)
    for index in _properties_of(data, properties, item):
        if 0 < index <= len(known):
            _note(header, data, *known[index - 1])
    return header


def _properties_of(data: Buffer, properties: Span, item: int) -> list[int]:
    """Return which properties an item has, counted from 1 (8.11.14 of ISO/IEC 14496-12)."""
    found: list[int] = []
    for kind, (at, end) in boxes(data, properties):
        if kind != b"ipma":
            continue
        version, wide = data[at], data[at + 3] & 1
        (entries,) = struct.unpack_from(">I", data, at + 4)
        at += 8
        for _ in range(min(entries, _MOST_PROPERTIES)):
            if at >= end:  # what follows is read for its own box
                break
            (number,) = struct.unpack_from(">I" if version else ">H", data, at)
            at += 4 if version else 2
            count = data[at]
            indices = struct.unpack_from(f">{count}{'H' if wide else 'B'}", data, at + 1)
            at += 1 + count * (2 if wide else 1)
            if number == item:
                found += [index & (0x7FFF if wide else 0x7F) for index in indices]
    return found


def _note(header: HeicHeader, data: Buffer, kind: bytes, span: Span) -> None:
    if kind == b"ispe":
        header.size = struct.unpack_from(">II", data, span[0] + 4)
    elif kind in (b"irot", b"imir"):
        header.turned = True
    elif kind == b"colr" and data[span[0] : span[0] + 4] == b"nclx":
        header.colours = struct.unpack_from(">HH", data, span[0] + 4)


def check_whole(data: bytes, header: HeicHeader) -> None:
    """Check that the file has all parts of its primary picture: the decoder leaves out tiles that are not there.

    Raises:
        EOFError: it is cut short.
        SyntaxError, struct.error: it is damaged.
    """
    places = find_box(data, header.meta, b"iloc")
    if places is None:
        raise SyntaxError("it does not say where its pixels are")
    wanted = {header.item, *_parts_of(data, header)}
    for item, (start, end) in _places(data, places):
        if item in wanted and (end > len(data) or data[max(start, end - len(_UNWRITTEN)) : end] == _UNWRITTEN):
            raise EOFError(f"its pixels end at byte {end} of {len(data)}, or were never written")


def _parts_of(data: bytes, header: HeicHeader) -> Iterator[int]:
    """Return the items that the primary picture is put together of (8.11.12 of ISO/IEC 14496-12)."""
    references = find_box(data, header.meta, b"iref")
    if references is None:
        return
    code = ">I" if data[references[0]] else ">H"
    width = struct.calcsize(code)
    for kind, (at, _) in boxes(data, (references[0] + 4, references[1])):
        if kind == b"dimg" and struct.unpack_from(code, data, at)[0] == header.item:
            (count,) = struct.unpack_from(">H", data, at + width)
            for part in range(count):
                yield struct.unpack_from(code, data, at + width + 2 + part * width)[0]
            return  # an item has one such box: thousands may claim to, and share what they list


def _places(data: bytes, places: Span) -> Iterator[tuple[int, Span]]:
    """Return the items with the parts of the file that they lie in (8.11.3 of ISO/IEC 14496-12)."""
    at, version = places[0] + 4, data[places[0]]
    offset_bytes, length_bytes = data[at] >> 4, data[at] & 15
    base_bytes, index_bytes = data[at + 1] >> 4, data[at + 1] & 15 if version else 0
    wide = 4 if version == 2 else 2
    at += 2
    if not offset_bytes + length_bytes:
        raise SyntaxError("it does not say where its pixels are")

    def number(width: int) -> int:
        nonlocal at
        at += width
        return int.from_bytes(data[at - width : at])

    left = _MOST_PARTS
    for _ in range(min(number(wide), _MOST_ITEMS)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        at += 2  # in which file, which is always this one
        base = number(base_bytes)
        count = number(2)
        left -= count
        if left < 0:
            raise SyntaxError("it has more parts than pictures have")
        for _ in range(count):
            at += index_bytes
            start, length = base + number(offset_bytes), number(length_bytes)
            if method == 0 and length:
                yield item, (start, start + length)
            if at > len(data):
                return
