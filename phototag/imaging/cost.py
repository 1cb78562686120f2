"""Estimate what a picture costs to decode from the header of its file. Nothing is decoded here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from phototag.imaging.formats import JPEG, PNG, TIFF, format_of
from phototag.imaging.png import GREY, read_chunks
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.tiff import picture_page

# Above this, a picture is decoded alone: sixteen threads may otherwise each hold a giant at the same moment.
HEAVY_BYTES = 256 << 20
# A progressive photo has about ten scans. Each is a pass over the whole picture, and a file may hold thousands.
_MOST_SCANS = 64
# Malicious files make decoders slow with millions of tiny parts, for which they have to be large.
_EVERYDAY_FILE_BYTES = 64 << 20
_MOST_SEGMENTS = 10_000

# Pillow keeps RGB in four bytes a pixel. Laying transparency on white or scaling 16-bit greys takes five such images.
OPAQUE_BYTES = 4
COSTLY_BYTES = 20
# Of a format whose header is not read here, between the two: most pictures are opaque, with one copy on the way.
_UNKNOWN_BYTES = 8

_SOS = 0xDA
# Where others stand, Pillow, libjpeg and this module might each go on in another place.
_WITH_SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE}) - {0xC8}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of decoding: about `memory_bytes` at most; `everyday` if the decoder is known to be safe and fast."""

    memory_bytes: int
    everyday: bool

    @property
    def heavy(self) -> bool:
        """Return whether the picture is to be decoded with no other heavy one beside it."""
        return self.memory_bytes > HEAVY_BYTES


def cost_of(data: bytes, preprocessing: Preprocessing) -> Cost | None:
    """Return the cost of decoding a PNG, JPEG or TIFF file for that preprocessing, None for anything else.

    The content decides, not the file's name. None as well when the header cannot be made sense of, or may be understood
    in two ways.
    """
    try:
        form = format_of(data)
        if form is PNG:
            return _png_cost(data)
        if form is JPEG:
            return _jpeg_cost(data, round(2 * preprocessing.size / preprocessing.crop))
        if form is TIFF:
            return _tiff_cost(data)
    except (
        struct.error,
        IndexError,
        SyntaxError,
        EOFError,
        OSError,
        OverflowError,
    ):  # truncated within the header, or damaged there
        return None
    return None


def cost_of_size(width: int, height: int) -> Cost:
    """Return the cost of decoding any other picture of that many pixels."""
    return Cost(width * height * _UNKNOWN_BYTES, everyday=False)


def _png_cost(data: bytes) -> Cost:
    chunks = read_chunks(data, most=_MOST_SEGMENTS)
    costly = chunks.transparent or (chunks.depth == 16 and chunks.colour == GREY)
    memory_bytes = chunks.width * chunks.height * (COSTLY_BYTES if costly else OPAQUE_BYTES)
    return Cost(memory_bytes, everyday=_is_light(data, memory_bytes))


def _tiff_cost(data: bytes) -> Cost:
    page = picture_page(data)
    width, height = page.size
    # Bytes as unpacked, samples put together of them, and an image.
    return Cost(width * height * (_UNKNOWN_BYTES + 3 * page.bytes_per_pixel), everyday=False)


def _jpeg_cost(data: bytes, short_side: int) -> Cost | None:
    frame: tuple[int, int, int, list[int]] | None = None
    for marker, start in _segments(data):
        if marker in _FRAMES:
            if frame is not None:
                return None
            height, width, count = struct.unpack_from(">xHHB", data, start)
            sampling = [data[start + 7 + 3 * index] for index in range(count)]
            frame = marker, width, height, sampling
        elif marker == _SOS:
            return _scanned_cost(data, frame, first_scan=data[start], short_side=short_side) if frame else None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Return the markers of a JPEG up to its first scan, each with the start of its content."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _WITH_SEGMENTS:
            yield marker, at + 4
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
        else:
            return


def _scanned_cost(
    data: bytes, frame: tuple[int, int, int, list[int]], *, first_scan: int, short_side: int
) -> Cost | None:
    """Return the cost of a JPEG; `first_scan` is the number of colour components in its first scan."""
    marker, width, height, sampling = frame
    if not width or not height or not sampling or 0 in sampling:
        return None
    # Pillow takes the largest of these reductions that leaves enough, and no padding to speak of.
    scale = max((factor for factor in (2, 4, 8) if min(width, height) // short_side >= factor), default=1)
    memory_bytes = width * height * OPAQUE_BYTES // scale**2
    scans = 1
    if marker == _PROGRESSIVE or first_scan < len(sampling):
        # The library then holds all coefficients, two bytes each, whatever the reduction.
        shares = [(factor >> 4) * (factor & 15) for factor in sampling]
        widest = max(factor >> 4 for factor in sampling) * max(factor & 15 for factor in sampling)
        memory_bytes += width * height * 2 * sum(shares) // max(1, widest)
        scans = data.count(b"\xff\xda")
    usual = marker in (_BASELINE, _EXTENDED, _PROGRESSIVE) and scans <= _MOST_SCANS
    return Cost(memory_bytes, everyday=usual and _is_light(data, memory_bytes))


def _is_light(data: bytes, memory_bytes: int) -> bool:
    return memory_bytes <= HEAVY_BYTES and len(data) <= _EVERYDAY_FILE_BYTES
