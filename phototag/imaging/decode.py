"""Decode a file to upright RGB pixels at a network's input size.

A photo has far more pixels than a network looks at, and decoding them is what costs. So a JPEG is decoded at the
smallest of 1/1, 1/2, 1/4, 1/8 that still leaves twice the wanted size (large photos by `jpeg`, all others by Pillow's
DCT scaling), only the central crop is resized, and rotation is applied to the small result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from phototag.errors import DecodeError
from phototag.imaging.colour import changes_colours, in_srgb, opaque
from phototag.imaging.formats import JPEG, MAX_MEGAPIXELS, format_of
from phototag.imaging.jpeg import MEANS, ends_before_its_pixels, has_end, reduced, with_end
from phototag.imaging.openers import BROKEN, open_image, stand_in
from phototag.imaging.png import has_too_few_pixels
from phototag.imaging.preprocessing import Preprocessing
from phototag.paths import PhotoPath
from phototag.records import FailureKind

Decode = Callable[[bytes, PhotoPath], tuple[NDArray[np.uint8], int, int]]

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION_TAG = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The grey that a JPEG decoder gives for pixels that are missing.
_MISSING = range(126, 131)
# How many times the target's size Pillow and `jpeg` decode at least: docs/experiments.md#reduced-jpeg-decoding
_DRAFT_MARGIN = 2.0
_REDUCED_MARGIN = {4: 2.0, 8: 1.4}
# In smaller files there is little to win, and numba need not be loaded: docs/experiments.md#small-jpegs
_WORTH_BYTES = 512 << 10


def decode_bytes(
    data: bytes, preprocessing: Preprocessing, path: PhotoPath, *, max_megapixels: int = MAX_MEGAPIXELS
) -> tuple[NDArray[np.uint8], int, int]:
    """Decode a picture file's bytes: pixels [size, size, 3] and the upright width and height of the whole picture.

    `path` only names the picture in errors; larger pictures than `max_megapixels` are refused.

    Raises:
        DecodeError: the bytes are not a picture, cut short, too large or broken.
    """
    data = _with_end(stand_in(data, preprocessing.short_side), path, max_megapixels)
    with open_image(data, path, max_megapixels=max_megapixels) as image:
        orientation = _orientation(image)
        width, height = image.size
        small = _upright(_resized_centre(image, data, preprocessing, path), orientation)
        if orientation in _QUARTER_TURNS:
            width, height = height, width
        return np.asarray(small), width, height


def picture_size(data: bytes, path: PhotoPath, *, max_megapixels: int = MAX_MEGAPIXELS) -> tuple[int, int]:
    """Return the upright width and height of a picture file's bytes, from its header alone.

    Raises:
        DecodeError: as for `decode_bytes`, where the header shows it.
    """
    with open_image(data, path, max_megapixels=max_megapixels) as image:
        turned = _orientation(image) in _QUARTER_TURNS
        return (image.height, image.width) if turned else (image.width, image.height)


def decode_whole(data: bytes, *, short_side: int, path: PhotoPath, max_megapixels: int = MAX_MEGAPIXELS) -> Image.Image:
    """Decode a picture file's bytes to an upright RGB image of the whole picture, reduced where that is cheap.

    Its shorter side is at least `short_side` pixels if the picture's own is. For training, which crops at random.

    Raises:
        DecodeError: as for `decode_bytes`.
    """
    data = _with_end(stand_in(data, short_side), path, max_megapixels)
    with open_image(data, path, max_megapixels=max_megapixels) as image:
        orientation = _orientation(image)
        factor = min(1.0, short_side / min(image.size))
        image.draft(None, (max(1, int(image.width * factor)), max(1, int(image.height * factor))))
        image.load()  # here, where errors are translated; Pillow would put it off until the file is closed
        _check_bottom(image, data, path)
        small = opaque(image)
        times = min(small.size) // short_side
        if times > 1 and changes_colours(small, image.info):
            small = small.reduce(times)
        return _upright(in_srgb(small, image.info), orientation)


def _with_end(data: bytes, path: PhotoPath, max_megapixels: int) -> bytes:
    """Return a picture file; a JPEG that lacks nothing but the marker of its end gets one.

    Raises:
        DecodeError: it lacks pixels too, for which the decoder may give whatever follows in the file; or it is too
            large to look.
    """
    if format_of(data) is not JPEG or has_end(data):
        return data
    picture_size(data, path, max_megapixels=max_megapixels)
    ended = with_end(data)
    if ended is None:
        raise DecodeError(path, FailureKind.TRUNCATED, "the picture is cut short: its end is missing")
    return ended


def _check_bottom(image: Image.Image, data: bytes, path: PhotoPath) -> None:
    """Check that a JPEG or PNG has the last of its pixels, if they look as if not.

    Raises:
        DecodeError: it was cut short, and an end marker set behind what is left.
    """
    if image.format in ("JPEG", "MPO"):
        last = image.getpixel((image.width - 1, image.height - 1))
        is_suspect = all(value in _MISSING for value in (last if isinstance(last, tuple) else (last,)))
        is_cut = is_suspect and ends_before_its_pixels(data)
    elif image.format == "PNG":
        # Pillow begins with zeros, and says nothing where it gets no more.
        is_suspect = not any(image.crop((0, image.height - 1, image.width, image.height)).tobytes())
        is_cut = is_suspect and has_too_few_pixels(data)
    else:
        return
    if is_cut:
        raise DecodeError(path, FailureKind.TRUNCATED, "the picture is cut short, though its end is marked")


def _resized_centre(image: Image.Image, data: bytes, preprocessing: Preprocessing, path: PhotoPath) -> Image.Image:
    """Return the central crop at the target size, in sRGB, not yet upright (a central crop does not care)."""
    width, height = image.size
    target = (preprocessing.size, preprocessing.size)
    resampling = _RESAMPLING[preprocessing.interpolation]
    side = min(image.size) * preprocessing.crop
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    fitting = (n for n, margin in _REDUCED_MARGIN.items() if side >= n * margin * preprocessing.size)
    scale = max(fitting, default=1)
    if scale > 1 and image.format in ("JPEG", "MPO") and len(data) >= _WORTH_BYTES:
        # A resampling filter looks at three pixels of the result beyond the edge, at most.
        beyond = 4 * side / preprocessing.size
        used = (box[0] - beyond, box[1] - beyond, box[2] + beyond, box[3] + beyond)
        smaller = reduced(data, scale, box=used)
        if smaller is not None and (smaller.width, smaller.height) == image.size:
            small = smaller.resized(target, box, resampling)
            small = _sharpened(small, scale * preprocessing.size / side) if scale == MEANS else small
            return in_srgb(small, image.info)
    wanted = [max(1, round(length * _DRAFT_MARGIN * preprocessing.size / side)) for length in image.size]
    draft = image.draft(None, (wanted[0], wanted[1]))
    if draft is not None:
        # Of the whole, not of what is rounded up to whole pixels: the crop would be off by up to a pixel of the target.
        _, (_, _, scaled_width, _) = draft
        factor = scaled_width / width
        box = (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)
    whole = opaque(image)
    _check_bottom(image, data, path)
    # Colours last: there are fewer pixels then.
    return in_srgb(whole.resize(target, resampling, box=box, reducing_gap=2.0), image.info)


def _sharpened(image: Image.Image, width: float) -> Image.Image:
    """Undo, to second order, that each sample was the mean of a square `width` pixels of the image wide.

    That square's variance is width^2 / 12 in each direction, and half of it times the second derivative is what it
    took away; the kernel has the same moments with the opposite sign.
    """
    share = width * width / 24
    row = (-share, 1 + 2 * share, -share)
    return image.filter(ImageFilter.Kernel((3, 3), [one * other for one in row for other in row], scale=1))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation still to be applied, 1 to 8. Call this before the pixels are loaded."""
    value: object = image.info.get("orientation")
    if value is None:
        try:
            # Not by the method of PNG files, which decodes all pixels to see whether metadata follows.
            value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
        except BROKEN:
            return 1  # damaged metadata
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
