"""Read JPEG files that lack or garble what no pixel depends on: metadata, and the marker of the end."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator

from PIL import Image, JpegImagePlugin

from phototag.imaging.formats import UnsupportedPictureError

_SOS, _EOI, _DHT, _JPG, _DAC = 0xDA, 0xD9, 0xC4, 0xC8, 0xCC
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}
_UNUSUAL = {0xC3: "lossless", 0xCB: "lossless"} | dict.fromkeys(
    (*range(0xC5, 0xC8), *range(0xCD, 0xD0)), "hierarchical"
)
_MOST_SEGMENTS = 10_000
_END, _EXIF = b"\xff\xd9", b"Exif\0\0"
# What Pillow raises on damaged metadata.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)
# As bits these bytes go on as codes of any picture might; restart markers are among them, for pictures that have some.
_CODES = bytes(random.Random(1).choices(range(255), k=64))
_NOISE = _CODES + b"".join(b"\xff" + bytes([marker]) + _CODES for marker in range(0xD0, 0xD8))
_GIANT_PIXELS = 16_000_000
# This many zeros do not end a picture: they are what a disk or a camera did not write.
_UNWRITTEN = bytes(16)


def without_metadata(data: bytes) -> bytes:
    """Return a JPEG file without the metadata that Pillow could stumble over.

    Raises:
        UnsupportedPictureError: Pillow reads no JPEG of this kind.
        SyntaxError: there is no picture.
    """
    check_supported(data)
    kept = [data[:2]]
    for marker, start, end in _segments(data):
        if marker == _SOS:
            return b"".join((*kept, memoryview(data)[start - 4 :]))
        if not (_APP0 <= marker <= _APP15 or marker == _COM) or _is_sound(marker, data[start:end]):
            kept.append(data[start - 4 : end])
    raise SyntaxError("no pixels")


def check_supported(data: bytes) -> None:
    """Check by the header of a JPEG that Pillow reads one of its kind; a damaged header says nothing.

    Raises:
        UnsupportedPictureError: it does not.
    """
    for marker, start, end in _segments(data):
        if marker in _FRAMES and start + 6 <= min(end, len(data)):
            bits, parts = data[start], data[start + 5]
            if marker in _UNUSUAL:
                raise UnsupportedPictureError(f"{_UNUSUAL[marker]} JPEG")
            if bits != 8:
                raise UnsupportedPictureError(f"JPEG of {bits} bits a sample")
            if parts not in (1, 3, 4):
                raise UnsupportedPictureError(f"JPEG of {parts} colours")


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height by the header of a JPEG, None where it says none."""
    for marker, start, end in _segments(data):
        if marker in _FRAMES and start + 6 <= min(end, len(data)):
            return int.from_bytes(data[start + 3 : start + 5]), int.from_bytes(data[start + 1 : start + 3])
    return None


def exif_of(data: bytes) -> Image.Exif | None:
    """Return the metadata of a JPEG file, None where there is none, or it is damaged."""
    for marker, start, end in _segments(data):
        if marker == _APP1 and data[start : start + 6] == _EXIF:
            exif = Image.Exif()
            try:
                exif.load(data[start:end])
            except _DAMAGED:
                return None
            return exif
    return None


def with_end(data: bytes) -> bytes | None:
    """Return a JPEG file with the end marker that it lacks, None if it lacks pixels too.

    The last block of a whole picture is followed by nothing that it depends on, while the decoder goes on with whatever
    stands where blocks are missing. So the pixels are those of a whole picture if they do not change with what follows.
    """
    body = data
    if data.endswith(_UNWRITTEN):
        body = data.rstrip(b"\0")
        body += b"\0" if body.endswith(b"\xff") else b""  # this zero belongs to the byte before
    return body + _END if _is_whole(body) else None


def has_end(data: bytes) -> bool:
    """Return whether a JPEG has an end marker behind the beginning of its pixels, or no beginning to look behind."""
    if data.endswith(_END):
        return True
    start = next((end for marker, _, end in _segments(data) if marker == _SOS), None)
    return start is None or data.find(_END, start) >= 0


def ends_before_its_pixels(data: bytes) -> bool:
    """Return whether a JPEG with an end marker lacks pixels before it, for which the decoder gives grey."""
    end = data.rfind(_END)
    return end > 0 and not _is_whole(data[:end])


def _is_whole(body: bytes) -> bool:
    body = body.rstrip(_END[:1])  # half of a marker
    plain, noisy = (_pixels(body + more + _END) for more in (b"", _NOISE))
    return plain is not None and plain == noisy


def _pixels(data: bytes) -> bytes | None:
    """Return the pixels of a JPEG, None if it has none: a giant's at an eighth of its size, where all blocks count."""
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        if "progressive" not in image.info and image.width * image.height > _GIANT_PIXELS:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        return image.tobytes()
    except (OSError, SyntaxError, ValueError, struct.error):
        return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Return the markers up to the first scan, each with the start and the end of its content."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in (0, 1, _EOI) or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
            yield marker, at + 4, end
            if marker == _SOS:
                return
            at = end


def _is_sound(marker: int, content: bytes) -> bool:
    """Return whether metadata that has to do with how a picture looks can be read."""
    if marker == _APP0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == _APP1 and content.startswith(_EXIF):
        try:
            Image.Exif().load(content)
        except _DAMAGED:
            return False
        return True
    if marker == _APP2:
        return content.startswith(b"ICC_PROFILE\0") and len(content) > 14
    return marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12
