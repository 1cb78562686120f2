"""Decode a baseline JPEG at a quarter or an eighth of its size, faster than libjpeg-turbo.

Nearly all of a large photo's decoding goes into Huffman codes of fine detail, which a small picture throws away.
libjpeg decodes every coefficient; here only their lengths are looked at. What is rare, unusual or damaged is left to
Pillow: `reduced` returns None. Measurements: docs/experiments.md#reduced-jpeg-decoding
"""

from __future__ import annotations

import importlib
import pickle
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phototag.settings import cache_folder

SCALES = (4, 8)
# At this scale a sample is the mean of a block.
MEANS = 8

_SOF0, _SOF1, _DHT, _SOI, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC1, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD
_RST0, _RST7 = 0xD0, 0xD7
_APP0, _APP14, _APP15, _COM = 0xE0, 0xEE, 0xEF, 0xFE
# Luma samples for each sample of both other components, across and down: 4:4:4, 4:2:2 in both directions, 4:2:0.
_SAMPLINGS = ((1, 1), (2, 1), (1, 2), (2, 2))
# The positions of the coefficients 0, 1, 2 and 4, in zigzag order: the lowest two across and down.
_LOWEST = (0, 1, 2, 4)
# A block takes at least two bits, one for its mean and one for its end.
_FEWEST_BITS = 2
# From Y, Cb and Cr, full range (JFIF 1.02), in floats, since cutting decimals off shows:
# docs/experiments.md#colours-of-jpegs
_TO_RGB = (
    *(1.0, 0.0, 1.402, -128 * 1.402),
    *(1.0, -0.344136, -0.714136, 128 * (0.344136 + 0.714136)),
    *(1.0, 1.772, 0.0, -128 * 1.772),
)  # fmt: skip

# What numba and the loading of its cached code raise where they do not work; its own errors come on top.
_UNUSABLE = (
    ImportError,
    OSError,
    RuntimeError,
    SystemError,
    MemoryError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    EOFError,
    pickle.PickleError,
)


# Left, top, right and bottom, in pixels.
Box = tuple[float, float, float, float]


class _UnsupportedError(Exception):
    """This file is left to Pillow."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One component, uint8 [H, W]; a sample stands for `across` x `down` pixels of the photo."""

    samples: NDArray[np.uint8]
    across: int
    down: int

    def resized(self, size: tuple[int, int], box: Box, resampling: Image.Resampling) -> Image.Image:
        """Return a part of it, given in pixels of the photo, as an image of mode L and that size."""
        left, top, right, bottom = box
        part = (left / self.across, top / self.down, right / self.across, bottom / self.down)
        return Image.fromarray(self.samples).resize(size, resampling, box=part, reducing_gap=2.0)


@dataclass(frozen=True, slots=True)
class Reduced:
    """The planes of a photo of `width` x `height` pixels: Y, or Y, Cb and Cr."""

    width: int
    height: int
    planes: tuple[Plane, ...]

    def resized(self, size: tuple[int, int], box: Box, resampling: Image.Resampling) -> Image.Image:
        """Return a part of the photo, given in its pixels, as an RGB image of that size."""
        # Before the colours are put together: a plane with fewer samples need not be blown up first.
        parts = [plane.resized(size, box, resampling) for plane in self.planes]
        if len(parts) == 1:
            return parts[0].convert("RGB")
        return Image.merge("RGB", parts).convert("RGB", _TO_RGB)


@dataclass(slots=True)
class _Component:
    """One colour: its blocks in an MCU, across and down, and its tables."""

    identifier: int
    blocks: tuple[int, int]
    quantisation: int
    dc: int = 0
    ac: int = 0


@dataclass(slots=True)
class _Header:
    """The header before the entropy-coded data, which begins at `position`."""

    width: int = 0
    height: int = 0
    interval: int = 0
    position: int = 0
    components: list[_Component] = field(default_factory=list)
    quantisation: dict[int, bytes] = field(default_factory=dict)
    # By class << 4 and number: how many codes of each length there are, and what they stand for.
    codes: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)


def reduced(data: bytes, scale: int, *, box: Box | None = None) -> Reduced | None:
    """Decode a JPEG file at 1/`scale` of its size, 4 or 8; None if that is for Pillow to do, or to refuse.

    The first plane has a sample for every `scale` pixels across and down, those of the colours one for every 8, or for
    every 4 in the direction in which a 4:2:2 photo has them all. What lies outside `box` (left, top, right, bottom, in
    pixels of the photo; None is all of it) is not for use, and what lies below it need not even be sound.
    """
    if scale not in SCALES:
        raise ValueError(f"cannot decode at 1/{scale}: only at {' and '.join(f'1/{n}' for n in SCALES)}")
    try:
        header = _read_header(data)
        kernels = _kernels()
        return None if kernels is None else _decode(data, header, scale, kernels, box)
    except (_UnsupportedError, struct.error, IndexError):
        return None


def _read_header(data: bytes) -> _Header:
    """Read the header of a JPEG that can be decoded here.

    Raises:
        _UnsupportedError: it cannot.
        struct.error, IndexError: it is cut short.
    """
    header = _Header()
    for marker, body, end in _segments(data):
        if marker == _DQT:
            _read_quantisation(body, header)
        elif marker == _DHT:
            _read_codes(body, header)
        elif marker in (_SOF0, _SOF1):
            _read_frame(body, header)
        elif marker == _DRI:
            (header.interval,) = struct.unpack(">H", body)
        elif marker == _APP14 and body.startswith(b"Adobe") and len(header.components) != 1:
            if body[11] != 1:
                raise _UnsupportedError("its colours are not Y, Cb and Cr")
        elif marker == _SOS:
            _read_scan(body, header)
            header.position = end
            return header
        elif not (_APP0 <= marker <= _APP15 or marker == _COM):
            raise _UnsupportedError(f"marker {marker:#x}: progressive, arithmetic or out of place")
    raise _UnsupportedError("no scan")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Return marker, content and end of each segment after the beginning of the file."""
    if data[0] != 0xFF or data[1] != _SOI:
        raise _UnsupportedError("no JPEG")
    position = 2
    while True:
        if data[position] != 0xFF:
            raise _UnsupportedError("bytes between segments")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        (length,) = struct.unpack_from(">H", data, position + 1)
        end = position + 1 + length
        if length < 2 or end > len(data) or not (_SOF0 <= marker <= _COM):
            raise _UnsupportedError("a marker without a segment")
        yield marker, data[position + 3 : end], end
        position = end


def _read_quantisation(body: bytes, header: _Header) -> None:
    while body:
        # In the high half is 1 if the values have 16 bits.
        table = body[1:65]
        if body[0] > 3 or len(table) != 64 or 0 in table:
            raise _UnsupportedError("an unusual quantisation table")
        header.quantisation[body[0]] = table
        body = body[65:]


def _read_codes(body: bytes, header: _Header) -> None:
    while body:
        kind, counts = body[0], body[1:17]
        symbols = body[17 : 17 + sum(counts)]
        if kind & 0xEC or len(counts) != 16 or len(symbols) != sum(counts) or len(symbols) > 256:
            raise _UnsupportedError("an unusual Huffman table")
        if kind < 0x10 and max(symbols, default=0) > 15:
            raise _UnsupportedError("a Huffman table that libjpeg refuses")
        header.codes[kind] = counts, symbols
        body = body[17 + len(symbols) :]


def _read_frame(body: bytes, header: _Header) -> None:
    precision, header.height, header.width, number = struct.unpack_from(">BHHB", body)
    if header.components or precision != 8 or number not in (1, 3) or len(body) != 6 + 3 * number:
        raise _UnsupportedError("not one frame of 8 bits, grey or of three colours")
    if not header.width or not header.height:
        raise _UnsupportedError("no size")
    parts = [body[6 + 3 * part : 9 + 3 * part] for part in range(number)]
    samplings = [(part[1] >> 4, part[1] & 15) for part in parts]
    if number == 1 and 1 <= min(samplings[0]) <= max(samplings[0]) <= 4:
        samplings = [(1, 1)]  # alone in a scan, a component's blocks come one by one, whatever its factors are
    if samplings[0] not in _SAMPLINGS or any(sampling != (1, 1) for sampling in samplings[1:]):
        raise _UnsupportedError("an unusual sampling")
    if bytes(part[0] for part in parts) == b"RGB":
        raise _UnsupportedError("its colours are not Y, Cb and Cr")
    header.components = [
        _Component(part[0], sampling, part[2]) for part, sampling in zip(parts, samplings, strict=True)
    ]


def _read_scan(body: bytes, header: _Header) -> None:
    number = len(header.components)
    if not number or len(body) != 4 + 2 * number or body[0] != number or body[-3:] != b"\x00\x3f\x00":
        raise _UnsupportedError("not one scan of everything")
    for component, (identifier, tables) in zip(header.components, struct.iter_unpack("BB", body[1:-3]), strict=True):
        component.dc, component.ac = tables >> 4, 0x10 | tables & 15
        known = component.quantisation in header.quantisation and {component.dc, component.ac} <= set(header.codes)
        if identifier != component.identifier or not known:
            raise _UnsupportedError("a scan of other components, or without their tables")


@dataclass(frozen=True, slots=True)
class _Area:
    """The part that one component's samples take in an array for all: `points` x `points` of each block."""

    component: _Component
    first: int
    width: int
    height: int
    points: int


def _decode(data: bytes, header: _Header, scale: int, kernels: ModuleType, box: Box | None) -> Reduced | None:
    across, down = header.components[0].blocks
    columns, rows = -(-header.width // (8 * across)), -(-header.height // (8 * down))
    left, top, right, bottom = box or (0, 0, header.width, header.height)
    inside = (
        max(0, int(left) // (8 * across)),
        max(1, min(columns, int(right) // (8 * across) + 1)),
        max(0, int(top) // (8 * down)),
        max(1, min(rows, int(bottom) // (8 * down) + 1)),
    )
    wanted_rows = inside[3]
    in_mcu = sum(part.blocks[0] * part.blocks[1] for part in header.components)
    if columns * rows * in_mcu * _FEWEST_BITS > 8 * len(data):
        return None  # before anything is made of the size that it claims
    areas = _areas(header, columns, rows, scale)
    keys: dict[_TableKey, int] = {}  # and their numbers: components with the same codes share tables
    blocks: list[list[int]] = []
    for outside in (False, True):
        for number, area in enumerate(areas):
            codes = header.codes[area.component.dc], header.codes[area.component.ac]
            table = keys.setdefault((*codes, outside or area.points == 1), len(keys))
            # Outside the means alone, which the next blocks build on: the width of a plane is what asks for more.
            blocks += ([*row[:5], 0] if outside else row for row in _blocks(area, number, table))
        blocks.append([0] * 6)
    planes = np.empty(areas[-1].first + areas[-1].width * areas[-1].height, np.uint8)
    factors = [header.quantisation[part.quantisation][place] for part in header.components for place in _LOWEST]
    end = kernels.decode_scan(
        np.frombuffer(data, np.uint8),
        header.position,
        columns,
        wanted_rows,
        header.interval or columns * rows,
        wanted_rows < rows,
        inside,
        np.array(blocks, np.uint64),
        np.array(factors, np.int64),
        *_filled(kernels, tuple(keys)),
        planes,
    )
    if end < 0 or not (_ends_here(data, end) if wanted_rows == rows else _ends_later(data, end)):
        return None
    return Reduced(header.width, header.height, tuple(_plane(area, planes, header) for area in areas))


def _areas(header: _Header, columns: int, rows: int, scale: int) -> list[_Area]:
    areas: list[_Area] = []
    first = 0
    for part in header.components:
        # Colours at 1/8, at 1/4 too (docs/experiments.md#colours-of-jpegs). Where the file has half the
        # samples, that is two for a block.
        halved = part.blocks != header.components[0].blocks
        points = 2 if halved or (scale == 4 and not areas) else 1
        width, height = columns * part.blocks[0] * points, rows * part.blocks[1] * points
        areas.append(_Area(part, first, width, height, points))
        first += width * height
    return areas


def _blocks(area: _Area, component: int, table: int) -> Iterator[list[int]]:
    """Return the rows that `decode_scan` needs of a component's blocks in an MCU."""
    across, down = area.component.blocks
    steps = [area.width * area.points * down, area.points * across, area.width if area.points == 2 else 0]
    for y in range(down):
        for x in range(across):
            yield [component, table, area.first + area.points * (y * area.width + x), *steps]


def _plane(area: _Area, planes: NDArray[np.uint8], header: _Header) -> Plane:
    samples = planes[area.first : area.first + area.width * area.height].reshape(area.height, area.width)
    across, down = (
        8 * most // (own * area.points)
        for most, own in zip(header.components[0].blocks, area.component.blocks, strict=True)
    )
    # The rest of the last blocks is no part of the picture.
    return Plane(samples[: -(-header.height // down), : -(-header.width // across)], across, down)


def _ends_here(data: bytes, position: int) -> bool:
    """Return whether the end of the image follows, which fill bytes may precede."""
    begin = position
    while position < len(data) and data[position] == 0xFF:
        position += 1
    return begin < position < len(data) and data[position] == _EOI


def _ends_later(data: bytes, position: int) -> bool:
    """Return whether nothing but entropy-coded data and restart markers comes before the end of the image."""
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == _EOI:
            return True
        if marker != 0 and marker != 0xFF and not _RST0 <= marker <= _RST7:
            return False
        position += 1 if marker == 0xFF else 2
    return False


# Huffman codes of DC and of AC coefficients, and whether only the mean of a block is wanted.
_TableKey = tuple[tuple[bytes, bytes], tuple[bytes, bytes], bool]


@lru_cache(maxsize=8)  # a camera writes the same codes into every photo; 1.4 MB for four
def _filled(kernels: ModuleType, keys: tuple[_TableKey, ...]) -> list[NDArray[Any]]:
    """Return the tables of all keys in the order that `decode_scan` wants them, each kind one after another.

    Raises:
        _UnsupportedError: they are no Huffman codes.
    """
    sets = [_filled_set(kernels, *key) for key in keys]
    return [np.concatenate(kind) for kind in zip(*sets, strict=True)]


def _filled_set(
    kernels: ModuleType, dc: tuple[bytes, bytes], ac: tuple[bytes, bytes], only_mean: bool
) -> list[NDArray[Any]]:
    size = 1 << kernels.WINDOW
    start, steps = np.empty(size, np.uint32), np.empty(size, np.uint32)
    skip, dc_codes, ac_codes = np.empty(size, np.uint16), np.empty(65536, np.uint16), np.empty(65536, np.uint16)
    for number, codes in ((dc, dc_codes), (ac, ac_codes)):
        counts, symbols = (np.frombuffer(part, np.uint8) for part in number)
        if not kernels.fill_codes(counts, symbols, codes):
            raise _UnsupportedError("not Huffman codes")
    kernels.fill_skip(ac_codes, skip)
    kernels.fill_steps(ac_codes, steps)
    kernels.fill_start(dc_codes, skip, only_mean, start)
    return [start, steps, skip, dc_codes, ac_codes]


_lock = threading.Lock()


def _kernels() -> ModuleType | None:
    """Return the compiled code, None if it cannot be compiled here. The first thread that asks compiles it."""
    with _lock:
        return _load_kernels()


@cache
def _load_kernels() -> ModuleType | None:
    try:
        numba = importlib.import_module("numba")
        errors = importlib.import_module("numba.core.errors")
    except _UNUSABLE:
        return None
    if numba.config.DISABLE_JIT:
        return None  # the same code, interpreted, takes minutes for a photo
    chosen = numba.config.CACHE_DIR
    # A function remembers the folder from when it is made, so other users of numba keep their own.
    numba.config.CACHE_DIR = chosen or str(cache_folder() / "numba")
    try:
        return importlib.import_module("phototag.imaging.jpeg._huffman")
    except (errors.NumbaError, *_UNUSABLE):
        return None
    finally:
        numba.config.CACHE_DIR = chosen
