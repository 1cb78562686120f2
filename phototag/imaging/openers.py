"""Open pictures: the one way from a file's bytes to an image, with its limits and its translation of errors."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.colour import coded_colours
from phototag.imaging.formats import (
    FORMATS,
    JPEG,
    MAX_MEGAPIXELS,
    Format,
    UnsupportedPictureError,
    format_of,
    resolve,
    why_not_read,
)
from phototag.imaging.jpeg import check_supported
from phototag.paths import PhotoPath
from phototag.records import FailureKind

# Pillow's own limit is one for the whole process, a warning, and speaks of attacks. Ours is an argument, an error that
# names the size, and is checked at the same point: when the header is read, before there is any memory for pixels.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's decoders raise on broken files, as seen by feeding them cut and flipped bytes.
BROKEN = (
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
_BMP_V5 = b"\x7c\0\0\0"
_AVIF_COLOURS = b"colrnclx"
_WEBP_PIXELS = (b"ICCP", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
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
# How Pillow says that it knows of such pictures, and does not read them.
_UNSUPPORTED = re.compile("unsupported|not (yet )?supported|cannot handle|unknown (pixel mode|data organization)", re.I)


@contextmanager
def open_image(data: bytes, path: PhotoPath, *, max_megapixels: int = MAX_MEGAPIXELS) -> Iterator[Image.Image]:
    """Give the image in a picture file's bytes, header read, for as long as it is used.

    Every call gives an image that no other thread has. `path` only names the picture in errors, and errors are
    translated for what is done with the image, too: its pixels are decoded when they are first used.

    Raises:
        DecodeError: the bytes are not a picture, of a kind that is not read, cut short, broken, or one of more than
            `max_megapixels`.
    """
    form = format_of(data)
    if form is None:
        raise DecodeError(path, FailureKind.NOT_AN_IMAGE, why_not_read(data))
    if not form.is_installed:
        raise DecodeError(path, form.lacking, form.advice)
    try:
        with _open(form, data) as image:
            _check_size(image, len(data), path, max_megapixels)
            yield image
    except BROKEN as error:
        kind, reason = _what_is_wrong(error, form, data)
        raise DecodeError(path, kind, reason) from error


def stand_in(data: bytes, short_side: int) -> bytes:
    """Return the JPEG file in a picture file that shows all of it, with at least such a shorter side; else the file."""
    form = format_of(data)
    if form is None or form.preview is None or not form.is_installed:
        return data
    return resolve(form.preview)(data, short_side) or data


def _open(form: Format, data: bytes) -> Image.Image:
    if form.opener is not None:
        image: Image.Image = resolve(form.opener)(data)
        return image
    try:
        return _open_with_pillow(form, data)
    except BROKEN as error:
        if form.bare is None:
            raise
        try:
            return _open_with_pillow(form, resolve(form.bare)(data))
        except (UnsupportedPictureError, EOFError):
            raise
        except BROKEN:
            raise error from None  # it was not the metadata


def _open_with_pillow(form: Format, data: bytes) -> Image.Image:
    """Open a picture with the decoder of its format alone, so that it is this one that says what is wrong."""
    image: Image.Image = resolve(form.pillow)(io.BytesIO(data))
    return image


def _what_is_wrong(error: Exception, form: Format, data: bytes) -> tuple[FailureKind, str]:
    text = str(error) or type(error).__name__
    if form is JPEG and not isinstance(error, UnsupportedPictureError):
        try:
            check_supported(data)
        except UnsupportedPictureError as unsupported:
            error, text = unsupported, str(unsupported)
    if isinstance(error, UnsupportedPictureError):
        return FailureKind.UNSUPPORTED, f"{text} is not read"
    if "requires a buffer of" in text:  # from Pillow, by way of `struct`
        return FailureKind.TRUNCATED, "the picture is cut short: it ends within its header"
    if re.search("truncated|not enough image data", text.lower()) or isinstance(error, EOFError):
        return FailureKind.TRUNCATED, f"the picture is cut short: {text}"
    if _UNSUPPORTED.search(text):
        return FailureKind.UNSUPPORTED, f"{form.name} of this kind is not read: {text}"
    return FailureKind.CORRUPT, f"the picture is damaged: {text}"


def open_bmp(data: bytes) -> Image.Image:
    """Open a BMP file, with the colour profile that its fifth version may have."""
    from PIL import BmpImagePlugin

    image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    if data[14:18] == _BMP_V5 and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 126)
        image.info["icc_profile"] = data[14 + start : 14 + start + size]
    return image


def open_gif(data: bytes) -> Image.Image:
    """Open a GIF file, and note which part of it the first frame covers."""
    from PIL import GifImagePlugin

    image = GifImagePlugin.GifImageFile(io.BytesIO(data))
    image.info["extent"] = image.tile[0].extents
    return image


def open_avif(data: bytes) -> Image.Image:
    """Open an AVIF file; its metadata may be damaged.

    Raises:
        UnsupportedPictureError: it is of high dynamic range.
    """
    from PIL import AvifImagePlugin

    try:
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    except BROKEN:
        if b"Exif" not in data:
            raise
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(data.replace(b"Exif", b"none")))
    at = data.find(_AVIF_COLOURS)
    if at >= 0 and "icc_profile" not in image.info:
        image.info.update(coded_colours(*struct.unpack_from(">HH", data, at + len(_AVIF_COLOURS))))
    return image


def without_webp_metadata(data: bytes) -> bytes:
    """Return a WebP file of nothing but its pixels, how they are laid out, and their colours.

    Raises:
        EOFError: the file ends before its pixels do.
    """
    at, kept = 12, []
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if kind in _WEBP_PIXELS:
            if end > len(data) + length % 2:
                raise EOFError("it ends before its pixels do")
            kept.append(data[at:end].ljust(end - at, b"\0"))
        at = end
    content = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def _check_size(image: Image.Image, size_bytes: int, path: PhotoPath, max_megapixels: int) -> None:
    width, height = image.size
    if width * height > max_megapixels * 1_000_000:
        reason = (
            f"{width} x {height} pixels are more than the limit of {max_megapixels} megapixels; "
            "make it smaller, or tag it with --max-megapixels"
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
        resolve(form.opener or form.pillow)
        if form.worker_setup is not None:
            resolve(form.worker_setup)()


def limit_avif_threads() -> None:
    """Keep the AVIF decoder to one thread: those of each core would count their stacks against the memory limit."""
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
