"""The process that makes small copies of pictures for the web page, and the making itself.

It gets bytes and gives bytes, as the helpers of `phototag.imaging` do: it opens no file, and may crash, hang or run out
of memory alone. To it: one frame with the megapixels, seconds and bytes of memory that it may take, as JSON; then one
frame a picture, the width and height of the box that the copy has to fit in, as `BOX`, before the picture's own bytes.
From it the same replies as from those helpers, but a JPEG file instead of pixels.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import sys
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from PIL import AvifImagePlugin, Image, ImageCms

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of, cost_of_size
from phototag.imaging.decode import decode_whole, picture_size
from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox import GO_ON, LONGEST_REASON, Reply, alarm, confine, receive, reply_pipe, send

BOX = Struct("<II")
_SPARE_SECONDS = 5.0
# What is decoded is at least this many times larger than the copy: less shows, more takes longer. So thumbnails of
# photos of 12 megapixels are made of an eighth of their width and height, and large copies of half: a twentieth less
# than there is room for, in a third of the time.
_SMALL_MARGIN = 1.5
_LARGE_MARGIN = 0.95
_LARGE = 1000
_QUALITY = 82


def reduced(data: bytes, box: tuple[int, int], path: Path, *, max_megapixels: int = MAX_MEGAPIXELS) -> bytes:
    """A JPEG file of a picture file's bytes: upright, sRGB, within `box` (width, height), and nothing else in it.

    `path` only names the picture in errors. It is never enlarged.

    Raises:
        DecodeError: the bytes are not a picture, cut short, too large or broken.
    """
    width, height = picture_size(data, path, max_megapixels=max_megapixels)
    scale = min(1.0, box[0] / width, box[1] / height)
    margin = _SMALL_MARGIN if max(box) < _LARGE else _LARGE_MARGIN
    short_side = max(1, math.ceil(margin * scale * min(width, height)))
    image = decode_whole(data, short_side=short_side, path=path, max_megapixels=max_megapixels)
    profile = image.info.get("icc_profile")
    scale = min(1.0, box[0] / image.width, box[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image = _in_srgb(image, profile)
    image.info.clear()  # it would be saved along: comments, and where the picture was taken
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """The image in the colours that browsers take pictures without a profile to have."""
    if not isinstance(profile, bytes):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # the profile is damaged, or of the greys or inks that the picture had
    return image if converted is None else converted


def main() -> None:
    """Serve pictures until the other side closes stdin."""
    with contextlib.suppress(BrokenPipeError):  # nobody is left to tell
        _serve(sys.stdin.buffer, reply_pipe())


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    # Ctrl-C in a terminal reaches every process: the server decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    settings = receive(requests)
    if settings is None:
        return
    limits = json.loads(settings)
    confine(limits["memory_bytes"])
    if sys.platform != "win32":
        os.nice(5)  # pages come first
    send(replies, Reply.READY)
    with contextlib.suppress(MemoryError):
        while (request := receive(requests)) is not None:
            with alarm(limits["seconds"] + _SPARE_SECONDS):
                _answer(request, limits["megapixels"], requests, replies)
        return
    send(replies, Reply.MEMORY)


def _answer(request: bytes, megapixels: int, requests: BinaryIO, replies: BinaryIO) -> None:
    picture = Path("picture")
    box = BOX.unpack_from(request)
    data = request[BOX.size :]
    try:
        cost = cost_of(data, Preprocessing(size=max(box), crop=1.0))
        if cost is None:
            cost = cost_of_size(*picture_size(data, picture, max_megapixels=megapixels))
        if cost.heavy:
            send(replies, Reply.HEAVY)
            if requests.read(len(GO_ON)) != GO_ON:
                raise BrokenPipeError
        content = reduced(data, box, picture, max_megapixels=megapixels)
    except DecodeError as error:
        if isinstance(error.__cause__, MemoryError) or "out of memory" in error.reason.lower():
            raise MemoryError from error
        send(replies, Reply.FAILURE, f"{error.kind}\n{error.reason[:LONGEST_REASON]}".encode(errors="replace"))
        return
    send(replies, Reply.PIXELS, content)


if __name__ == "__main__":
    main()
