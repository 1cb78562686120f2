"""Raw photos that tests make: DNG files of a picture as a sensor sees it, with the JPEGs that cameras add."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tests.support.pictures import encoded

_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 10: "ii"}
_COLOUR_MATRIX = (31338, -16168, -4906, -9787, 19161, 334, 719, -2290, 14052)  # of sRGB, times 10,000
_WHITE = 16383
Entry = tuple[int, int, Sequence[int] | bytes]


def dng(image: Image.Image, *, preview: bytes | None = None, thumbnail: int = 16, orientation: int = 1) -> bytes:
    """Return a DNG file of a picture, headers first: a small JPEG, maybe a `preview`, and 16 bits a pixel, RGGB."""
    samples = (np.asarray(image, float) / 255) ** 2.2 * _WHITE
    height, width = samples.shape[:2]
    mosaic = np.empty((height, width), "<u2")
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = samples[row::2, column::2, channel]
    small = image.copy()
    small.thumbnail((thumbnail, thumbnail))
    parts = [encoded(small, "JPEG"), mosaic.tobytes(), *([preview] if preview is not None else [])]
    at = [0] * len(parts)
    for _ in range(2):  # the second time it is known how long all headers are
        pages, end = _headers(image.size, small.size, parts, at, orientation)
        at = [end + sum(len(part) for part in parts[:number]) for number in range(len(parts))]
    return b"II*\0\x08\0\0\0" + pages + b"".join(parts)


def _headers(
    size: tuple[int, int], small: tuple[int, int], parts: Sequence[bytes], at: Sequence[int], orientation: int
) -> tuple[bytes, int]:
    def strip(number: int, width: int, height: int) -> list[Entry]:
        places = [(273, 4, [at[number]]), (278, 4, [height]), (279, 4, [len(parts[number])])]
        return [(256, 4, [width]), (257, 4, [height]), *places]

    jpeg: list[Entry] = [(254, 4, [1]), (258, 3, [8, 8, 8]), (259, 3, [7]), (262, 3, [6]), (277, 3, [3])]
    sensor: list[Entry] = [(254, 4, [0]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803]), (277, 3, [1])]
    sensor += [(33421, 3, [2, 2]), (33422, 1, [0, 1, 1, 2]), (50717, 4, [_WHITE])]
    below = [sensor + strip(1, *size)]
    if len(parts) > 2:
        below.append(jpeg + strip(2, *size))
    matrix = [number for value in _COLOUR_MATRIX for number in (value, 10_000)]
    ones = [1, 1, 1, 1, 1, 1]
    starts = [0] * len(below)
    for _ in range(2):
        first: list[Entry] = [*jpeg, *strip(0, *small), (274, 3, [orientation]), (330, 4, starts)]
        first += [(271, 2, b"Made up\0"), (272, 2, b"Camera\0"), (50706, 1, [1, 4, 0, 0])]
        first += [(50708, 2, b"Made up camera\0"), (50721, 10, matrix), (50728, 5, ones), (50778, 3, [21])]
        content = _page(first, 8)
        starts = []
        for page in below:
            starts.append(8 + len(content))
            content += _page(page, 8 + len(content))
    return content, 8 + len(content)


def _page(entries: Sequence[Entry], at: int) -> bytes:
    head, behind = struct.pack("<H", len(entries)), b""
    for tag, kind, values in sorted(entries, key=lambda entry: entry[0]):
        code = _CODES[kind]
        count = len(values) // len(code)
        value = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{code[0]}", *values)
        if len(value) > 4:
            place = at + 2 + 12 * len(entries) + 4 + len(behind)
            behind += value + bytes(len(value) % 2)
            value = struct.pack("<I", place)
        head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return head + bytes(4) + behind


def raf(jpeg: bytes) -> bytes:
    """Return the header of a Fuji file and its JPEG; of what the sensor saw there is nothing."""
    head = b"FUJIFILMCCD-RAW 0201FF392201Made up".ljust(84, b"\0")
    end = 160 + len(jpeg)
    return (head + struct.pack(">6I", 160, len(jpeg), end, 0, end, 0)).ljust(160, b"\0") + jpeg
