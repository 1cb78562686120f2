"""Render thumbnails of untrusted pictures, and be the worker process that does so.

Its loop, limits and protocol are those of `phototag.imaging.sandbox`. A request is the width and height of the box that
the thumbnail has to fit in, as `BOX`, and the bytes of the picture file; its result is a JPEG file.
"""

from __future__ import annotations

import io
import math
import os
import sys
from struct import Struct

from PIL import Image

from phototag.imaging.decode import decode_whole, picture_size
from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.openers import stand_in
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox import PICTURE, Admit, Limits, serve
from phototag.paths import PhotoPath

BOX = Struct("<II")
# What is decoded is at least this many times larger than the thumbnail: docs/experiments.md#thumbnails
_SMALL_MARGIN = 1.5
_LARGE_MARGIN = 0.95
_LARGE = 1000
_QUALITY = 82
# The shorter side of a JPEG in a raw photo that is shown, rather than the photo developed.
_ENOUGH = 640


def render_thumbnail(
    data: bytes, box: tuple[int, int], path: PhotoPath, *, max_megapixels: int = MAX_MEGAPIXELS
) -> bytes:
    """Return a JPEG file of a picture file's bytes: upright, sRGB, within `box` (width, height), without metadata.

    `path` only names the picture in errors, and the picture is never enlarged.

    Raises:
        DecodeError: the bytes are not a picture, cut short, too large or broken.
    """
    data = for_thumbnail(data, box)
    width, height = picture_size(data, path, max_megapixels=max_megapixels)
    scale = min(1.0, box[0] / width, box[1] / height)
    margin = _SMALL_MARGIN if max(box) < _LARGE else _LARGE_MARGIN
    short_side = max(1, math.ceil(margin * scale * min(width, height)))
    image = decode_whole(data, short_side=short_side, path=path, max_megapixels=max_megapixels)
    scale = min(1.0, box[0] / image.width, box[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info.clear()  # it would be saved along: comments, and where the picture was taken
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def for_thumbnail(data: bytes, box: tuple[int, int]) -> bytes:
    """Return the file that a thumbnail is made of: a JPEG inside the picture's is shown as a camera made it."""
    return stand_in(data, min(*box, _ENOUGH))


def main() -> None:
    """Render thumbnails until the parent process closes stdin."""
    if sys.platform != "win32":
        os.nice(5)  # pages come first
    serve(_render)


def _render(request: bytes, limits: Limits, admit: Admit) -> bytes:
    box = BOX.unpack_from(request)
    data = request[BOX.size :]
    admit(data, Preprocessing(size=max(box), crop=1.0))
    return render_thumbnail(data, box, PICTURE, max_megapixels=limits.max_megapixels)
