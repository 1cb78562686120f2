"""File to upright RGB pixels at a network's input size.

A photo has far more pixels than a network looks at, and decoding them is what costs. So a JPEG is decoded at the
smallest of 1/1, 1/2, 1/4, 1/8 that still leaves twice the wanted size (DCT scaling), only the central crop is
resized, and rotation is applied to the small result.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from phototag.errors import DecodeError
from phototag.imaging.formats import DECODERS
from phototag.imaging.preprocessing import Preprocessing
from phototag.records import Decoded, FailureKind, Photo

MAX_MEGAPIXELS = 300
MAX_FILE_BYTES = 1 << 30
# Pillow's own limit is a warning and speaks of attacks; ours is an error that names the size. It stays above ours as a
# second fence for code that opens pictures elsewhere in the process.
Image.MAX_IMAGE_PIXELS = MAX_MEGAPIXELS * 1_000_000

# What Pillow's decoders raise on broken files, as seen by feeding them cut and flipped bytes.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION_TAG = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
# Twice the target before the last resize keeps the mean error against a full decode at 0.2 of 255; once gives 0.7.
_DRAFT_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels, uint8 [H, W, 3], with the SHA-256 of the file and the upright size of the whole picture."""

    pixels: NDArray[np.uint8]
    content_hash: bytes
    width: int
    height: int


def decode_photo(photo: Photo, preprocessing: Preprocessing) -> Decoded:
    """Decode a scanned photo; see `decode_file`."""
    picture = decode_file(photo.path, preprocessing)
    return Decoded(photo, picture.content_hash, picture.width, picture.height, picture.pixels)


def decode_file(path: Path, preprocessing: Preprocessing) -> Picture:
    """Read, hash and decode one picture file into pixels [size, size, 3].

    Raises:
        DecodeError: the file is gone, unreadable, not a picture, cut short, too large or broken.
    """
    data = read_bytes(path)
    pixels, width, height = decode_bytes(data, preprocessing, path)
    return Picture(pixels, hashlib.sha256(data).digest(), width, height)


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        DecodeError: the file is gone, unreadable, empty or implausibly large.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            reason = f"{size_bytes / 2**20:.0f} MiB are more than the limit of {MAX_FILE_BYTES >> 20} MiB"
            raise DecodeError(path, FailureKind.TOO_LARGE, reason)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DecodeError(path, FailureKind.GONE, "the file is gone") from error
    except PermissionError as error:
        raise DecodeError(path, FailureKind.PERMISSION, "no permission to read the file") from error
    except OSError as error:
        raise DecodeError(path, FailureKind.CORRUPT, f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise DecodeError(path, FailureKind.EMPTY, "the file is empty")
    return data


def decode_bytes(data: bytes, preprocessing: Preprocessing, path: Path) -> tuple[NDArray[np.uint8], int, int]:
    """Decode a picture file's bytes: pixels [size, size, 3] and the upright width and height of the whole picture.

    `path` only names the picture in errors.

    Raises:
        DecodeError: the bytes are not a picture, cut short, too large or broken.
    """
    with _opened(data, path) as image:
        orientation = _orientation(image)
        width, height = image.size
        small = _upright(_resized_centre(image, preprocessing), orientation)
        if orientation in _QUARTER_TURNS:
            width, height = height, width
        return np.asarray(small), width, height


def picture_size(data: bytes, path: Path) -> tuple[int, int]:
    """The upright width and height of a picture file's bytes, from its header alone.

    Raises:
        DecodeError: as for `decode_bytes`, where the header shows it.
    """
    with _opened(data, path) as image:
        turned = _orientation(image) in _QUARTER_TURNS
        return (image.height, image.width) if turned else (image.width, image.height)


def decode_whole(data: bytes, *, short_side: int, path: Path) -> Image.Image:
    """Decode a picture file's bytes to an upright RGB image of the whole picture, reduced where that is cheap.

    Its shorter side is at least `short_side` pixels if the picture's own is. For training, which crops by chance.

    Raises:
        DecodeError: as for `decode_bytes`.
    """
    with _opened(data, path) as image:
        orientation = _orientation(image)
        factor = min(1.0, short_side / min(image.size))
        image.draft(None, (max(1, int(image.width * factor)), max(1, int(image.height * factor))))
        image.load()  # here, where errors are translated; Pillow would put it off until the file is closed
        return _upright(to_rgb(image), orientation)


@contextmanager
def _opened(data: bytes, path: Path) -> Iterator[Image.Image]:
    """An image of its own for every call: one Image object is not safe to share between threads."""
    try:
        with Image.open(io.BytesIO(data), formats=DECODERS) as image:
            _check_size(image, path)
            yield image
    except UnidentifiedImageError as error:
        raise DecodeError(path, FailureKind.NOT_AN_IMAGE, "not a picture in a known format") from error
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        if "truncated" in text.lower() or isinstance(error, EOFError):
            raise DecodeError(path, FailureKind.TRUNCATED, f"the picture is cut short: {text}") from error
        raise DecodeError(path, FailureKind.CORRUPT, f"the picture is damaged: {text}") from error


def _check_size(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        reason = f"{width} x {height} pixels are more than the limit of {MAX_MEGAPIXELS} megapixels"
        raise DecodeError(path, FailureKind.TOO_LARGE, reason)


def _resized_centre(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The central crop at the target size, RGB, not yet upright (a central crop does not care)."""
    size = preprocessing.size
    side = min(image.size) * preprocessing.crop
    wanted = [max(1, round(length * _DRAFT_MARGIN * size / side)) for length in image.size]
    image.draft(None, (wanted[0], wanted[1]))
    width, height = image.size
    side = min(width, height) * preprocessing.crop
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    rgb = to_rgb(image)
    return rgb.resize((size, size), _RESAMPLING[preprocessing.interpolation], box=box, reducing_gap=2.0)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit RGB: transparency on white, 16-bit values scaled rather than clipped."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = float(values[np.isfinite(values)].max(initial=1.0)) if image.mode == "F" else 65535.0
        values = np.nan_to_num(values, posinf=top, neginf=0.0)
        scaled = np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        canvas = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(canvas, layered).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied, 1 to 8; to be asked before the pixels are loaded."""
    if image.format == "TIFF":
        return 1  # Pillow turns these upright on its own, size included
    value = image.getexif().get(_ORIENTATION_TAG, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    if orientation not in range(2, 9):
        return image
    marker = Image.Exif()
    marker[_ORIENTATION_TAG] = orientation
    image.info["exif"] = marker.tobytes()
    return ImageOps.exif_transpose(image)
