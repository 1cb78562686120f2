"""Open pictures: the one way from a file's bytes to an image, with its limits and its translation of errors."""

from __future__ import annotations

import io
import pkgutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from phototag.errors import DecodeError
from phototag.imaging.formats import FORMATS, MAX_MEGAPIXELS, format_of
from phototag.records import FailureKind

# Pillow's own limit is one for the whole process, a warning, and speaks of attacks. Ours is an argument, an error that
# names the size, and is checked at the same point: when the header is read, before there is any memory for pixels.
Image.MAX_IMAGE_PIXELS = None

PILLOW_DECODERS = tuple(form.pillow for form in FORMATS if form.pillow)

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
)
# How many bits of a picture a bit of the file can become, or how many pixels for JPEG, of PNG and of compressions in
# TIFF. Of others any number.
_MOST_EXPANSION = {
    "raw": 1,
    "packbits": 64,
    "jpeg": 256,
    "tiff_lzw": 1400,
    **dict.fromkeys(("PNG", "tiff_adobe_deflate", "tiff_deflate"), 1040),
}
_FAX = ("tiff_ccitt", "group3", "group4")

_resolve = cache(pkgutil.resolve_name)


@contextmanager
def open_image(data: bytes, path: Path, *, max_megapixels: int = MAX_MEGAPIXELS) -> Iterator[Image.Image]:
    """Give the image in a picture file's bytes, header read, for as long as it is used.

    Every call gives an image that no other thread has. `path` only names the picture in errors, and errors are
    translated for what is done with the image, too: its pixels are decoded when they are first used.

    Raises:
        DecodeError: the bytes are not a picture, cut short, broken, or one of more than `max_megapixels`.
    """
    try:
        with _open(data) as image:
            _check_size(image, len(data), path, max_megapixels)
            yield image
    except UnidentifiedImageError as error:
        raise DecodeError(path, FailureKind.NOT_AN_IMAGE, "not a picture in a known format") from error
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        if "truncated" in text.lower() or isinstance(error, EOFError):
            raise DecodeError(path, FailureKind.TRUNCATED, f"the picture is cut short: {text}") from error
        raise DecodeError(path, FailureKind.CORRUPT, f"the picture is damaged: {text}") from error


def _open(data: bytes) -> Image.Image:
    form = format_of(data)
    if form is not None and form.opener is not None:
        image: Image.Image = _resolve(form.opener)(data)
        return image
    return Image.open(io.BytesIO(data), formats=PILLOW_DECODERS)


def _check_size(image: Image.Image, size_bytes: int, path: Path, max_megapixels: int) -> None:
    width, height = image.size
    if width * height > max_megapixels * 1_000_000:
        reason = (
            f"{width} x {height} pixels are more than the limit of {max_megapixels} megapixels; "
            "raise it with --max-megapixels"
        )
        raise DecodeError(path, FailureKind.TOO_LARGE, reason)
    # Pillow makes all the pixels before it finds that there is nothing to fill them with: seconds for a few bytes that
    # claim what the limit just allows.
    coding = image.info.get("compression") if image.format == "TIFF" else image.format
    expansion = width if coding in _FAX else _MOST_EXPANSION.get(str(coding))  # a fax may say "as above" of a whole row
    if expansion is not None and width * height > 8 * size_bytes * expansion:
        reason = f"the picture is cut short: {size_bytes} bytes cannot hold {width} x {height} pixels"
        raise DecodeError(path, FailureKind.TRUNCATED, reason)


def prepare_worker() -> None:
    """Load and set up the openers of all formats, in a process that exists to decode pictures."""
    for form in FORMATS:
        if form.opener is not None:
            _resolve(form.opener)
        if form.worker_setup is not None:
            _resolve(form.worker_setup)()


def limit_avif_threads() -> None:
    """Keep the AVIF decoder to one thread: those of each core would count their stacks against the memory limit."""
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
