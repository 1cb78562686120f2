"""Open HEIC files with pillow-heif: the primary picture, upright, in sRGB.

libheif turns a picture as its boxes say, and EXIF then says it once more, so EXIF counts only where there is no such
box (ISO/IEC 23008-12, 6.5.10 and annex A.2). Pictures for screens brighter than sRGB's are mapped to it.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from phototag.imaging.colour import HIGH_DYNAMIC_RANGE, coded_colours, from_high_dynamic_range
from phototag.imaging.formats import UnsupportedPictureError
from phototag.imaging.heic_header import HeicHeader, check_whole, read_heic_header

_ORIENTATION_TAG = 0x0112
# libheif hands 10 and 12 bits on as 16.
_SIXTEEN_BITS = ";16"
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def open_heic(data: bytes) -> Image.Image:
    """Open the primary picture of a HEIC file; nothing is decoded yet.

    Raises:
        UnsupportedPictureError: it is of a kind that is not read.
        SyntaxError, EOFError: it is damaged.
    """
    header = read_heic_header(data)
    check_whole(data, header)
    return _HeicImage(data, header)


class _HeicImage(ImageFile.ImageFile):
    """The primary picture of a file, whose pixels are decoded when they are first used."""

    format = "HEIC"
    format_description = "HEIC by libheif"

    def __init__(self, data: bytes, header: HeicHeader) -> None:
        self._header = header
        self._found: Any = None
        self._factor = 1
        super().__init__(io.BytesIO(data))

    def _open(self) -> None:
        opened = _pillow_heif().HeifFile(self.fp, convert_hdr_to_8bit=False)
        found = opened[opened.primary_index]
        self._found, self._colours = found, _colours(found.info, self._header)
        self._is_bright = self._colours is not None and self._colours[1] in HIGH_DYNAMIC_RANGE
        self._size = found.size
        self._mode = _MODES[_channels(found)]
        self.info["orientation"] = 1 if self._header.turned else _orientation(found.info.get("exif"))
        if self._is_bright:
            self._mode = "RGB"
        elif profile := found.info.get("icc_profile"):
            self.info["icc_profile"] = profile
        elif self._colours is not None:
            self.info.update(coded_colours(*self._colours))
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Have bright pictures reduced before their colours are mapped, which costs more than all else."""
        if not self._is_bright or size is None or not self.tile or self._factor > 1:
            return None
        width, height = self.size
        factor = min(width // size[0], height // size[1])
        if factor < 2:
            return None
        self._factor = factor
        self._size = -(-width // factor), -(-height // factor)
        return self.mode, (0, 0, width / factor, height / factor)

    def load(self) -> Any:
        """Decode the pixels."""
        if self.tile:
            self.tile = []
            found, self._found = self._found, None
            image = Image.fromarray(self._pixels(found))
            # The decoder may find another size than the header tells, by a row that was cut off.
            self.im = (image if image.size == self.size else image.resize(self.size)).im
        return Image.Image.load(self)

    def _pixels(self, found: Any) -> NDArray[np.uint8]:
        """Return the picture in 8 bits, [H, W] or [H, W, C]."""
        content, (width, height), channels = found.data, found.size, _channels(found)
        is_deep = found.mode.endswith(_SIXTEEN_BITS)
        samples: NDArray[Any] = np.frombuffer(content, "<u2" if is_deep else "u1").reshape(height, -1)
        samples = samples[:, : width * channels].reshape(height, width, channels)
        if self._is_bright and self._colours is not None:
            deep = samples if is_deep else samples.astype(np.uint16) * 257
            colours = deep[:, :, :3] if channels > 2 else np.repeat(deep[:, :, :1], 3, axis=2)
            return from_high_dynamic_range(_reduced(colours, self._factor), *self._colours)
        if is_deep:
            samples = (samples >> 8).astype(np.uint8)
        return samples[:, :, 0] if channels == 1 else samples


def _channels(found: Any) -> int:
    return 1 if found.mode.startswith("I") else len(found.mode.removesuffix(_SIXTEEN_BITS))


def _colours(info: dict[str, Any], header: HeicHeader) -> tuple[int, int] | None:
    """Return primaries and transfer by the boxes, else by what the decoder found in the pixels' own header."""
    coded = info.get("nclx_profile")
    if header.colours is not None or not coded:
        return header.colours
    return int(coded["color_primaries"]), int(coded["transfer_characteristics"])


def _reduced(samples: NDArray[np.uint16], factor: int) -> NDArray[np.uint16]:
    """Return the means of squares of that many samples [H, W, 3]; those at the edges may be smaller."""
    if factor == 1:
        return samples
    down, across = (np.arange(0, length, factor) for length in samples.shape[:2])
    rows = np.add.reduceat(samples, down, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(rows, across, axis=1)
    counts = np.outer(*(np.diff(np.append(at, end)) for at, end in zip((down, across), samples.shape[:2], strict=True)))
    return (sums // counts[:, :, None].astype(np.uint32)).astype(np.uint16)


def _orientation(exif: bytes | None) -> int:
    found = Image.Exif()
    try:
        found.load(exif or b"")
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1  # damaged metadata
    value = found.get(_ORIENTATION_TAG, 1)
    return value if isinstance(value, int) else 1


@cache
def _pillow_heif() -> Any:
    """Return pillow-heif, set up to look at no more than the primary picture, in one thread.

    Raises:
        UnsupportedPictureError: it does not load.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedPictureError(f"HEIC by a pillow-heif that does not load here ({error})") from error
    options = pillow_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pillow_heif
