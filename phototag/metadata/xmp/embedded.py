"""Find the XMP packet inside a picture file: JPEG, PNG, WebP, TIFF and RAW formats made of it, HEIC, AVIF, CR3, RAF.

Only the bytes on the way to it are read, so that a RAW file of 50 MB costs no more than its header.
"""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from phototag.metadata.xmp.elements import MAX_BYTES, XmpError

JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_CR3_PACKET = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_TIFF_XMP = 700
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"IIU\0")
_MOST_STEPS = 20_000  # segments, chunks or boxes: more are no picture
_MOST_ITEMS, _MOST_PARTS = 65_536, 65_536
# Markers of JPEG that stand alone: restarts, and one of no use.
_ALONE = {0x01, *range(0xD0, 0xD8)}
_SCAN_OR_END = {0xDA, 0xD9}


def embedded_packets(file: BinaryIO) -> tuple[bytes, ...]:
    """Return the XMP packets of a picture: none, the packet, or the packet and what did not fit into it in a JPEG.

    Args:
        file: The file, seekable; of bytes, `io.BytesIO(data)`.

    Raises:
        XmpError: the file is damaged on the way to its packet, or has several.
        OSError: it cannot be read.
    """
    start = _read(file, 0, 32)
    try:
        if start.startswith(b"\xff\xd8"):
            return _of_jpeg(file, 0)
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            return _of_png(file)
        if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
            return _of_webp(file)
        if start.startswith(_TIFF_STARTS):
            return _of_tiff(file, "<" if start.startswith(b"II") else ">")
        if start[4:8] == b"ftyp":
            return _of_boxes(file)
        if start.startswith(b"FUJIFILMCCD-RAW"):
            return _of_jpeg(file, struct.unpack(">I", _read(file, 84, 4, whole=True))[0])
    except struct.error:
        raise XmpError("is cut short before its metadata end") from None
    return ()


def _read(file: BinaryIO, offset: int, count: int, *, whole: bool = False) -> bytes:
    if count > MAX_BYTES:
        raise XmpError(f"holds metadata of more than {MAX_BYTES >> 20} MB")
    if count < 0:  # all that follows would be read
        raise XmpError("is damaged: a part of it ends before it begins")
    try:
        file.seek(offset)
    except (OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise XmpError("is damaged: it names a place that no file reaches") from None
    data = file.read(count)
    if whole and len(data) < count:
        raise XmpError("is cut short before its metadata end")
    return data


def _unpadded(packet: bytes) -> bytes:
    """Return a packet without the zeros behind it; in UTF-16 they are halves of letters."""
    return packet if b"\0" in packet[:8] else packet.rstrip(b"\0")


def segments(file: BinaryIO, offset: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (marker, start, end, first bytes of the content) of a JPEG's segments, up to its pixels.

    The last one is the scan's, or the end of the image, with `end` at its `start`.

    Raises:
        XmpError: it is cut short, or no JPEG.
    """
    if _read(file, offset, 2) != b"\xff\xd8":
        raise XmpError("is no JPEG")
    position = offset + 2
    for _ in range(_MOST_STEPS):
        head = _read(file, position, 4, whole=True)
        if head[0] != 0xFF:
            raise XmpError("is a damaged JPEG: there are bytes between its segments")
        marker = head[1]
        if marker == 0xFF:  # filling
            position += 1
            continue
        if marker in _SCAN_OR_END:
            yield marker, position, position, b""
            return
        if marker in _ALONE:
            position += 2
            continue
        size = struct.unpack(">H", head[2:])[0]
        if size < 2:
            raise XmpError("is a damaged JPEG: a segment has no size")
        end = position + 2 + size
        yield marker, position, end, _read(file, position + 4, min(size - 2, 80))
        position = end
    raise XmpError("is a damaged JPEG: it has more segments than pictures have")


def _of_jpeg(file: BinaryIO, offset: int) -> tuple[bytes, ...]:
    packets: list[bytes] = []
    parts: dict[int, bytes] = {}
    total = 0
    for marker, start, end, head in segments(file, offset):
        if marker != 0xE1:
            continue
        if head.startswith(JPEG_HEADER):
            begin = start + 4 + len(JPEG_HEADER)
            packets.append(_unpadded(_read(file, begin, end - begin, whole=True)))
        elif head.startswith(JPEG_EXTENSION):
            # After the name: 32 digits that the packet names it by, its size, and the offset of this part.
            begin = start + 4 + len(JPEG_EXTENSION) + 40
            part_offset = struct.unpack_from(">I", head, len(JPEG_EXTENSION) + 36)[0]
            total += end - begin
            if total > MAX_BYTES:
                raise XmpError(f"holds metadata of more than {MAX_BYTES >> 20} MB")
            parts[part_offset] = _read(file, begin, end - begin, whole=True)
    if len(packets) > 1:
        raise XmpError("has several XMP packets")
    extension = b"".join(parts[part_offset] for part_offset in sorted(parts))
    return (*packets, extension) if extension and packets else tuple(packets)


def _of_png(file: BinaryIO) -> tuple[bytes, ...]:
    position = 8
    for _ in range(_MOST_STEPS):
        head = _read(file, position, 8)
        if len(head) < 8 or head[4:] == b"IEND":
            return ()
        size = struct.unpack(">I", head[:4])[0]
        if head[4:] == b"iTXt" and _read(file, position + 8, len(_PNG_KEYWORD)) == _PNG_KEYWORD:
            text = _read(file, position + 8 + len(_PNG_KEYWORD), size - len(_PNG_KEYWORD), whole=True)
            # Whether it is compressed, how, then a language and a translated keyword that both end with a zero.
            *_, packet = text[2:].split(b"\0", 2)
            return (_inflated(packet) if text[:1] == b"\1" else packet,)
        position += 12 + size
    return ()


def _inflated(data: bytes) -> bytes:
    try:
        stream = zlib.decompressobj()
        packet = stream.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise XmpError(f"has a damaged XMP packet: {error}") from None
    if len(packet) > MAX_BYTES:
        raise XmpError(f"holds metadata of more than {MAX_BYTES >> 20} MB")
    return packet


def _of_webp(file: BinaryIO) -> tuple[bytes, ...]:
    position = 12
    for _ in range(_MOST_STEPS):
        head = _read(file, position, 8)
        if len(head) < 8:
            return ()
        size = struct.unpack("<I", head[4:])[0]
        if head[:4] == b"XMP ":
            return (_read(file, position + 8, size, whole=True),)
        position += 8 + size + size % 2
    return ()


def _of_tiff(file: BinaryIO, order: str) -> tuple[bytes, ...]:
    """Return tag 700 of the first directory."""
    start = struct.unpack(f"{order}I", _read(file, 4, 4, whole=True))[0]
    count = struct.unpack(f"{order}H", _read(file, start, 2, whole=True))[0]
    entries = _read(file, start + 2, 12 * count)
    for tag, kind, size, value in struct.iter_unpack(f"{order}HHII", entries[: len(entries) // 12 * 12]):
        if tag == _TIFF_XMP and kind in (1, 2, 7) and size > 4:
            return (_unpadded(_read(file, value, size, whole=True)),)
    return ()


def _boxes(file: BinaryIO, start: int, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of the contents of boxes (ISO/IEC 14496-12, 4.2)."""
    position = start
    for _ in range(_MOST_STEPS):
        if end is not None and position >= end:  # beyond it where the last box is longer than what it lies in
            return
        head = _read(file, position, 16 if end is None else min(16, end - position))
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        begin = 8
        if size == 1:
            size, begin = struct.unpack(">Q", head[8:])[0], 16
        if size == 0:
            size = (file.seek(0, 2) if end is None else end) - position
        if size < begin:
            raise XmpError("is damaged: a box has no size")
        yield kind, position + begin, position + size
        position += size


def _of_boxes(file: BinaryIO) -> tuple[bytes, ...]:
    for kind, start, end in _boxes(file, 0):
        if kind == b"uuid" and _read(file, start, 16) == _CR3_PACKET:
            return (_unpadded(_read(file, start + 16, end - start - 16, whole=True)),)
        if kind == b"meta":
            return _of_items(file, {name: (begin, until) for name, begin, until in _boxes(file, start + 4, end)})
    return ()


def _of_items(file: BinaryIO, boxes: dict[bytes, tuple[int, int]]) -> tuple[bytes, ...]:
    """Return the item of the type application/rdf+xml of a HEIF file (ISO/IEC 23008-12, annex A)."""
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return ()
    start, end = boxes[b"iinf"]
    version = _read(file, start, 1, whole=True)[0]
    wanted = None
    for kind, begin, until in _boxes(file, start + (6 if version == 0 else 8), end):
        entry = _read(file, begin, min(until - begin, 4096))
        if kind == b"infe" and entry[:1] in (b"\2", b"\3"):
            width = 2 if entry[0] == 2 else 4
            if entry[6 + width : 10 + width] == b"mime" and b"application/rdf+xml\0" in entry[10 + width :]:
                wanted = int.from_bytes(entry[4 : 4 + width], "big")
    if wanted is None:
        return ()
    start, end = boxes[b"iloc"]
    inner = boxes.get(b"idat", (0, 0))[0]
    where = _Locations(_read(file, start, end - start, whole=True)).of(wanted)
    if where is None:
        return ()
    packet = b"".join(_read(file, at + (inner if inside else 0), count, whole=True) for inside, at, count in where)
    return (_unpadded(packet),)


class _Locations:
    """The box that says where a HEIF file's items lie."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def _number(self, width: int) -> int:
        data = self._data[self._position : self._position + width]
        if len(data) < width:
            raise XmpError("is cut short before its metadata end")
        self._position += width
        return int.from_bytes(data, "big")

    def of(self, wanted: int) -> list[tuple[bool, int, int]] | None:
        """Return (whether inside the metadata, offset, size) of an item's parts, None where it has none in the file."""
        version = self._number(4) >> 24
        widths = self._number(2)
        offset_width, size_width, base_width = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
        index_width = widths & 15 if version in (1, 2) else 0
        wide = 4 if version == 2 else 2
        parts_left = _MOST_PARTS
        for _ in range(min(self._number(wide), _MOST_ITEMS)):
            item = self._number(wide)
            method = self._number(2) & 15 if version in (1, 2) else 0
            self._number(2)  # the file: this one
            base = self._number(base_width)
            parts = []
            count = self._number(2)
            parts_left -= count  # those without width take no room, and may be billions
            if parts_left < 0:
                raise XmpError("is damaged: it has more parts than pictures have")
            for _ in range(count):
                self._number(index_width)
                offset = base + self._number(offset_width)
                parts.append((method == 1, offset, self._number(size_width)))
            if item == wanted:
                return parts if method in (0, 1) and sum(size for *_, size in parts) <= MAX_BYTES else None
        return None
