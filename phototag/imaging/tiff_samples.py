"""Put the samples of a TIFF page together that Pillow takes for others: any number of bits, signs, floats and planes.

libtiff unpacks what is packed, as the bytes of a grey picture; what they mean is applied here.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from phototag.imaging import tiff
from phototag.imaging.colour import scaled_samples
from phototag.imaging.tiff import Page

_ASSOCIATED = 1
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_KINDS = {tiff.UNSIGNED: "u", tiff.SIGNED: "i", tiff.FLOAT: "f"}
_BLOCK_BYTES = 1 << 20


class SampledTiff(ImageFile.ImageFile):
    """The picture of a page, whose pixels are put together when they are first used."""

    format = "TIFF"
    format_description = "TIFF with unusual samples"

    def __init__(self, data: bytes, page: Page) -> None:
        """Open the page; nothing is decoded yet."""
        self._page = page
        super().__init__(io.BytesIO(data))

    def _open(self) -> None:
        page = self._page
        self._size = page.size
        self._mode = "LAB" if page.photometric in (tiff.LAB, tiff.ICC_LAB) else _MODES[tiff.COLOURS[page.photometric]]
        self.info["compression"] = TiffImagePlugin.COMPRESSION_INFO[page.compression]
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def load(self) -> Any:
        """Decode the pixels."""
        if self.tile:
            self.tile = []
            data = self.fp.getvalue()  # type: ignore[union-attr]
            self.im = Image.frombytes(self.mode, self.size, _pixels(data, self._page).tobytes()).im
        return Image.Image.load(self)


def _pixels(data: bytes, page: Page) -> NDArray[np.uint8]:
    """Return the colours of a page in 8 bits [H, W, C], what is transparent on white."""
    separate = page.number(tiff.PLANAR, 1) == 2
    planes = range(page.samples) if separate else [None]
    parts = [_samples(data, page, plane) for plane in planes]
    samples = np.concatenate(parts, axis=2) if separate else parts[0]
    count = tiff.COLOURS[page.photometric]
    colours = samples[:, :, :count]
    if page.photometric in (tiff.LAB, tiff.ICC_LAB):
        return _lab(colours, page)
    small = scaled_samples(colours, bits=page.bits)
    if page.photometric == tiff.MIN_IS_WHITE:
        small = 255 - small
    if not page.alpha or samples.shape[2] == count:
        return small
    full = 1.0 if page.sample_format == tiff.FLOAT else 2.0 ** (page.bits - (page.sample_format == tiff.SIGNED)) - 1
    alpha = np.clip(np.nan_to_num(samples[:, :, count : count + 1].astype(np.float32)) / full, 0, 1)
    shown = small if page.alpha == _ASSOCIATED else small * alpha
    on_white: NDArray[np.uint8] = np.clip(shown + 255 * (1 - alpha) + 0.5, 0, 255).astype(np.uint8)
    return on_white


def _lab(values: NDArray[Any], page: Page) -> NDArray[np.uint8]:
    """Return L, a and b in 8 bits; a and b have a sign, but no more than a byte, as Pillow takes them."""
    small = (values >> (page.bits - 8)).astype(np.uint8)
    if page.photometric == tiff.ICC_LAB:
        small[:, :, 1:] ^= 128
    return small


def _samples(data: bytes, page: Page, plane: int | None) -> NDArray[Any]:
    """Return the samples of a page [H, W, S], or those of one plane [H, W, 1]."""
    width, height = page.size
    count = page.samples if plane is None else 1
    across = page.number(tiff.TILE_WIDTH, 0) if tiff.TILE_OFFSETS in page.tags else width
    if across < 1:
        raise SyntaxError("tiles without a width")
    columns = -(-width // across)
    row_bytes = -(-across * count * page.bits // 8)
    rows = _unpacked(data, page, plane, columns, row_bytes).reshape(height * columns, row_bytes)
    values = _values(rows, page, across * count)
    values = values.reshape(height, columns, across, count)
    if page.number(tiff.PREDICTOR, 1) == 2 and page.compression != tiff.RAW:
        native = values.dtype.newbyteorder("=")
        kind = native if native.kind != "f" else np.dtype(f"u{native.itemsize}")
        whole = values.view(kind.newbyteorder(values.dtype.byteorder)).astype(kind)
        values = np.cumsum(whole, axis=2, dtype=kind).view(native)
    return values.reshape(height, columns * across, count)[:, :width]


def _values(rows: NDArray[np.uint8], page: Page, count: int) -> NDArray[Any]:
    """Return the `count` values in each of the rows of bytes."""
    bits = page.bits
    if bits in (8, 16, 32, 64):
        order = page.order
        if page.number(tiff.PREDICTOR, 1) == 3 and page.compression != tiff.RAW:
            rows, order = _undo_float_differences(rows, page, count), ">"
        return rows.view(f"{order}{_KINDS[page.sample_format]}{bits // 8}")
    found = np.empty((len(rows), count), np.uint16 if bits <= 16 else np.uint32)
    weights = 1 << np.arange(bits - 1, -1, -1)
    step = max(1, _BLOCK_BYTES // rows.shape[1])
    for start in range(0, len(rows), step):
        single = np.unpackbits(rows[start : start + step], axis=1)[:, : count * bits]
        found[start : start + step] = single.reshape(-1, count, bits) @ weights
    return found


def _undo_float_differences(rows: NDArray[np.uint8], page: Page, count: int) -> NDArray[np.uint8]:
    """Return rows of big-endian floats: stored are differences of their bytes, all the highest first (note 3)."""
    samples = 1 if page.number(tiff.PLANAR, 1) == 2 else page.samples
    whole = np.cumsum(rows.reshape(len(rows), -1, samples), axis=1, dtype=np.uint8)
    return np.ascontiguousarray(whole.reshape(len(rows), -1, count).transpose(0, 2, 1)).reshape(len(rows), -1)


def _unpacked(data: bytes, page: Page, plane: int | None, columns: int, row_bytes: int) -> NDArray[np.uint8]:
    """Return the bytes of a page or of one plane [H, W], as libtiff unpacks them."""
    offsets, counts = tiff.part_places(page)
    if plane is not None:
        share = len(offsets) // page.samples
        offsets, counts = (part[plane * share : (plane + 1) * share] for part in (offsets, counts))
    tiled = tiff.TILE_OFFSETS in page.tags
    tags = {
        tiff.WIDTH: tiff.longs(page, columns * row_bytes),
        tiff.LENGTH: tiff.longs(page, page.size[1]),
        tiff.BITS: tiff.shorts(page, 8),
        tiff.COMPRESSION: tiff.shorts(page, page.compression),
        tiff.PHOTOMETRIC: tiff.shorts(page, tiff.MIN_IS_BLACK),
        tiff.SAMPLES: tiff.shorts(page, 1),
        tiff.FILL_ORDER: tiff.shorts(page, page.number(tiff.FILL_ORDER, 1)),
    }
    if tiled:
        tags[tiff.TILE_WIDTH] = tiff.longs(page, row_bytes)
        tags[tiff.TILE_LENGTH] = tiff.longs(page, page.number(tiff.TILE_LENGTH, 0))
        places = tiff.TILE_OFFSETS, tiff.TILE_COUNTS
    else:
        tags[tiff.ROWS_PER_STRIP] = tiff.longs(page, min(page.size[1], page.number(tiff.ROWS_PER_STRIP, page.size[1])))
        places = tiff.STRIP_OFFSETS, tiff.STRIP_COUNTS
    for tag, values in zip(places, (offsets, counts), strict=True):
        if values:
            tags[tag] = tiff.longs(page, *values)
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(tiff.one_page(data, page, tags)))
    return np.asarray(image)
