"""Open raw photos with LibRaw: for the embedded JPEG where `raw_header` finds none, and to develop the sensor's values.

LibRaw develops what it finds, also where a file was cut short. So what is developed is not trusted where it says that
data was missing, where the file is too short for its pixels, or where rows hold nothing.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from phototag.imaging.formats import UnsupportedPictureError
from phototag.imaging.raw_header import picture_in, read_header, turned

# Previews that only LibRaw finds are taken from here on: half of a small sensor.
_LEAST_PREVIEW = 1000
# By how LibRaw turns a picture to how EXIF calls it.
_ORIENTATIONS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
# No camera packs the values of so many pixels into a bit.
_MOST_PIXELS_PER_BIT = 2
_UNKNOWN_REACH = 2**32 - 1
_BANDS = 32
_LESS_THAN_WHITE = 0.9


def open_raw(data: bytes) -> Image.Image:
    """Open a raw photo: a large embedded JPEG, else what the sensor saw; nothing is decoded yet.

    Raises:
        UnsupportedPictureError: LibRaw knows no such camera.
        SyntaxError, EOFError: it is damaged.
    """
    rawpy = _rawpy()
    with _translated(rawpy):
        raw = rawpy.imread(io.BytesIO(data))
    orientation = _ORIENTATIONS.get(raw.sizes.flip, 1)
    jpeg = _preview(rawpy, raw)
    if jpeg is not None:
        image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(turned(jpeg, orientation)))
        image.format = "RAW"  # whoever asks for a JPEG has its bytes
        return image
    _check_complete(data, raw.sizes.width * raw.sizes.height)
    developed = _Developed(raw)
    developed.info["orientation"] = orientation
    return developed


def _preview(rawpy: Any, raw: Any) -> bytes | None:
    try:
        found = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    if found.format != rawpy.ThumbFormat.JPEG:
        return None
    size = picture_in(found.data)
    return found.data if size is not None and min(size) >= _LEAST_PREVIEW else None


def _check_complete(data: bytes, pixels: int) -> None:
    """Check that a file has as many bytes as its pixels may take.

    Raises:
        EOFError: it is cut short.
    """
    reach = read_header(data).reach
    if len(data) < reach < _UNKNOWN_REACH:
        raise EOFError(f"its values end at byte {reach} of {len(data)}")
    if pixels > 8 * len(data) * _MOST_PIXELS_PER_BIT:
        raise EOFError(f"{len(data)} bytes cannot hold {pixels} pixels")


class _Developed(ImageFile.ImageFile):
    """What a sensor saw, developed when it is first used; at half its size where that is enough."""

    format = "RAW"
    format_description = "raw photo by LibRaw"

    def __init__(self, raw: Any) -> None:
        self._raw, self._half = raw, False
        super().__init__(io.BytesIO())

    def _open(self) -> None:
        self._size = self._raw.sizes.width, self._raw.sizes.height
        self._mode = "RGB"
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Develop a quarter of the pixels, each of four values, where that leaves at least this size."""
        width, height = self.size
        if size is None or not self.tile or self._half or width < 2 * size[0] or height < 2 * size[1]:
            return None
        self._half = True
        self._size = -(-width // 2), -(-height // 2)
        return self.mode, (0, 0, width / 2, height / 2)

    def load(self) -> Any:
        """Develop."""
        if self.tile:
            self.tile = []
            raw, self._raw = self._raw, None
            image = Image.fromarray(_developed(raw, half=self._half))
            # Some pictures are of one value a pixel and colour, and have no half.
            self.im = (image if image.size == self.size else image.resize(self.size, reducing_gap=2.0)).im
        return Image.Image.load(self)


def _developed(raw: Any, *, half: bool) -> NDArray[np.uint8]:
    rawpy = _rawpy()
    with _translated(rawpy), _complaints() as complaints:
        raw.unpack()
        _check_values(raw.raw_image, raw.white_level)
        pixels: NDArray[np.uint8] = raw.postprocess(
            half_size=half,
            use_camera_wb=True,
            user_flip=0,
            demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR,
            output_color=rawpy.ColorSpace.sRGB,
        )
    if complaints():
        raise EOFError(f"its values are not all there ({complaints()})")
    return pixels


def _check_values(values: NDArray[Any] | None, white: int) -> None:
    """Check that the values of a sensor [H, W] are not all the same in any of a few bands across.

    What was photographed has noise, except where it is too bright for the sensor.

    Raises:
        EOFError: they are, as where a file was cut short.
    """
    if values is None or min(values.shape[:2]) < _BANDS:
        return
    for band in np.array_split(values, _BANDS):
        lowest, highest = int(band.min()), int(band.max())
        if lowest == highest and highest < _LESS_THAN_WHITE * white:
            raise EOFError("part of its values is missing")


@contextmanager
def _translated(rawpy: Any) -> Iterator[None]:
    """Translate LibRaw's errors to those of an opener."""
    try:
        yield
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError) as error:
        raise UnsupportedPictureError("a raw photo of this kind") from error
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error
    except rawpy.LibRawIOError as error:
        raise EOFError("it ends before its values do") from error
    except rawpy.LibRawError as error:
        text = error.args[0] if error.args else error
        raise SyntaxError(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from error


@contextmanager
def _complaints() -> Iterator[Any]:
    """Give a function that returns what was written to stderr meanwhile: nothing else tells that LibRaw lacked data."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        text = ""
        try:
            yield lambda: text
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            text = file.read(200).decode(errors="replace").strip()


@cache
def _rawpy() -> Any:
    """Return rawpy.

    Raises:
        UnsupportedPictureError: it does not load.
    """
    try:
        import rawpy
    except ImportError as error:
        raise UnsupportedPictureError(f"a raw photo by a rawpy that does not load here ({error})") from error
    return rawpy
