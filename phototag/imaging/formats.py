"""The formats of pictures, in one table. Importing this module imports no imaging library.

What depends on the format of a file is derived from `FORMATS`: which files a scan finds, what Pillow may open, what
opens the rest, what worker processes prepare, and what is decoded nowhere else. All images come through
`openers.open_image`: those of tagging, of worker processes, of thumbnails and of the data loaders of training.

To add a format that Pillow reads by itself, add a line to `FORMATS`. For one that it does not read, as HEIC, write an
opener in a file next to this one as well, and name it in that line:

    # phototag/imaging/heic.py
    def open_heic(data: bytes) -> Image.Image: ...

    # phototag/imaging/formats.py, in FORMATS
    Format("HEIC", (".heic", ".heif"), rb"....ftyp(heic|heix|heim|heis)", opener="phototag.imaging.heic:open_heic"),

An opener is called from several threads at once. It returns an image whose size is known and whose pixels may be
decoded later, since too large pictures are refused before there is memory for them. It raises an OSError for what it
cannot read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

# Larger pictures are refused before anything is decoded, unless the user says otherwise.
MAX_MEGAPIXELS = 300


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures, opened either by Pillow or by an opener.

    Args:
        name: The name that users know.
        suffixes: How names of its files end, in lower case.
        signature: A regular expression for the first bytes of a file. Pillow finds out by itself what it opens.
        pillow: The name of Pillow's decoder.
        opener: The function (bytes) -> PIL.Image.Image that opens it, as "package.module:function".
        worker_setup: A function that every worker process calls when it starts, named like an opener: a decoder that
            starts a thread for each core is to start none there, since its worker's memory is limited, and other
            workers use the other cores.
        untrusted: Whether only worker processes decode it. For a format whose decoder has withstood damaged and
            malicious files for years, and whose cost `cost.cost_of` reads from the header, it is False.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: bytes = b""
    pillow: str | None = None
    opener: str | None = None
    worker_setup: str | None = None
    untrusted: bool = True


# With JPEG comes MPO, the multi-picture JPEG that many phones write.
JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff", pillow="JPEG", untrusted=False)
PNG = Format("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", pillow="PNG", untrusted=False)

# Only these decoders can be reached, whatever a file claims to be: rarely used ones are where decoders break.
FORMATS = (
    JPEG,
    PNG,
    Format("WebP", (".webp",), pillow="WEBP"),
    Format("TIFF", (".tif", ".tiff"), pillow="TIFF"),
    Format("GIF", (".gif",), pillow="GIF"),
    Format("BMP", (".bmp",), pillow="BMP"),
    Format("AVIF", (".avif",), pillow="AVIF", worker_setup="phototag.imaging.openers:limit_avif_threads"),
)

SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)
FORMAT_NAMES = ", ".join(form.name for form in FORMATS)
_SIGNATURES = tuple((re.compile(form.signature, re.DOTALL), form) for form in FORMATS if form.signature)


def is_picture(path: PurePath) -> bool:
    """Return whether the name says that this is a picture phototag reads. The content decides later."""
    return path.suffix.lower() in SUFFIXES


def format_of(data: bytes) -> Format | None:
    """Return the format that the first bytes of a file show, None where there is none or Pillow is to find out."""
    for signature, form in _SIGNATURES:
        if signature.match(data):
            return form
    return None
