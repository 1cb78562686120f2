"""Replace the XMP packet of a JPEG file: one segment changes, all other bytes stay, and so do the pixels."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from phototag.metadata.xmp.editor import Edit
from phototag.metadata.xmp.elements import XmpError
from phototag.metadata.xmp.embedded import JPEG_EXTENSION, JPEG_HEADER, segments
from phototag.metadata.xmp.fresh import fresh_packet
from phototag.metadata.xmp.splices import Splice, apply_splices

_MOST_BYTES = 0xFFFF
_PADDING = re.compile(rb">(\s+)<\?xpacket end=['\"]w['\"]\?>\s*$")
_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a JPEG's packet lies, or None and where it would; `is_fixed`: what lies behind it may not move."""

    packet: tuple[int, int] | None
    insert_at: int
    is_fixed: bool


def _place(data: bytes) -> _Place:
    packet = None
    insert_at = 2  # behind JFIF and Exif, which have to come first
    leading = True
    is_fixed = False
    for marker, start, end, head in segments(io.BytesIO(data)):
        if marker == _APP1 and head.startswith(JPEG_EXTENSION):
            raise XmpError("has extended XMP")
        if marker == _APP1 and head.startswith(JPEG_HEADER):
            if packet is not None:
                raise XmpError("has several XMP packets")
            packet = (start, end)
            leading = False
        elif leading and (marker == _APP0 or (marker == _APP1 and head.startswith(b"Exif\0"))):
            insert_at = end
        else:
            leading = False
            # Offsets of further pictures (CIPA DC-007) count from within that segment: what follows it may not move.
            is_fixed = is_fixed or (marker == _APP2 and head.startswith(b"MPF\0") and packet is None)
    return _Place(packet, insert_at, is_fixed and packet is not None)


def jpeg_packet(data: bytes) -> bytes | None:
    """Return the packet of a JPEG that can be edited in place, None where it has none.

    Raises:
        XmpError: it is a damaged JPEG, or has several packets or extended XMP.
    """
    packet = _place(data).packet
    if packet is None:
        return None
    return data[packet[0] + 4 + len(JPEG_HEADER) : packet[1]].rstrip(b"\0")


def edit_jpeg(data: bytes, edit: Callable[[bytes], Edit]) -> Edit:
    """Return a JPEG whose packet went through `edit`; one without a packet gets one.

    A packet's own padding is used up first, so that nothing behind it moves.

    Raises:
        XmpError: as for `jpeg_packet` and `edit`; or the packet would not fit into its segment.
    """
    place = _place(data)
    if place.packet is None:
        made = edit(fresh_packet())
        if not made.added:
            return Edit(data)
        new, splices = apply_splices(data, [(place.insert_at, b"", _segment(made.data))])
        return Edit(new, splices, made.added, made.created)
    start, end = place.packet
    begin = start + 4 + len(JPEG_HEADER)
    body = data[begin:end].rstrip(b"\0")
    made = edit(body)
    if not made.splices:
        return Edit(data)
    changes = _as_changes(made.splices)
    grown = len(made.data) - len(body)
    padding = _PADDING.search(body)
    used = min(grown, padding.end(1) - padding.start(1) - 1) if padding and grown > 0 else 0
    if used == grown and padding and used:
        # Before the line end that padding ends with, if it does.
        at = padding.end(1) - used - (1 if body[padding.end(1) - 1 : padding.end(1)] == b"\n" else 0)
        at = max(at, padding.start(1))
        changes.append((at, body[at : at + used], b""))
        grown = 0
    if grown and place.is_fixed:
        raise XmpError("holds further pictures whose place would change")
    size = end - start - 2 + grown
    if size > _MOST_BYTES:
        raise XmpError("has no room for more: its XMP would not fit into one segment")
    length, new_length = data[start + 2 : start + 4], struct.pack(">H", size)
    whole = [(begin + offset, removed, inserted) for offset, removed, inserted in changes]
    if length != new_length:
        whole.insert(0, (start + 2, length, new_length))
    new, splices = apply_splices(data, whole)
    return Edit(new, splices, made.added, made.created)


def replace_jpeg_packet(data: bytes, packet: bytes) -> bytes:
    """Return a JPEG with another packet in the place of the one that it has.

    Raises:
        XmpError: it has none, or the new one does not fit.
    """
    place = _place(data)
    if place.packet is None:
        raise XmpError("has no XMP packet any more")
    start, end = place.packet
    if place.is_fixed:
        packet = packet.ljust(end - start - 4 - len(JPEG_HEADER), b"\0")
    segment = _segment(packet)
    if place.is_fixed and len(segment) != end - start:
        raise XmpError("holds further pictures whose place would change")
    return data[:start] + segment + data[end:]


def _segment(packet: bytes) -> bytes:
    content = JPEG_HEADER + packet
    if len(content) + 2 > _MOST_BYTES:
        raise XmpError("has no room for more: its XMP would not fit into one segment")
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _as_changes(splices: tuple[Splice, ...]) -> list[tuple[int, bytes, bytes]]:
    """Return splices as changes of the bytes before: with offsets there."""
    changes = []
    shift = 0
    for splice in splices:
        changes.append((splice.offset - shift, splice.removed, splice.inserted))
        shift += len(splice.inserted) - len(splice.removed)
    return changes
