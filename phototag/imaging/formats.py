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
decoded later, since too large pictures are refused before there is memory for them. It raises an
UnsupportedPictureError for a sound picture of a kind that it does not read, any other OSError for what is damaged.
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
        signature: A regular expression for the first `SIGNATURE_BYTES` of a file.
        pillow: Pillow's class or function for it, (file) -> PIL.Image.Image, named like an opener.
        opener: The function (bytes) -> PIL.Image.Image that opens it, as "package.module:function".
        bare: A function (bytes) -> bytes, named like an opener, that leaves out of a file what no pixel depends on: for
            files that Pillow does not open, since it also refuses them for damaged metadata.
        worker_setup: A function that every worker process calls when it starts, named like an opener: a decoder that
            starts a thread for each core is to start none there, since its worker's memory is limited, and other
            workers use the other cores.
        untrusted: Whether only worker processes decode it. For a format whose decoder has withstood damaged and
            malicious files for years, and whose cost `cost.cost_of` reads from the header, it is False.
        note: What people are to know of it where formats are listed.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: bytes
    pillow: str = ""
    opener: str | None = None
    bare: str | None = None
    worker_setup: str | None = None
    untrusted: bool = True
    note: str = ""


class UnsupportedPictureError(OSError):
    """A picture that may be sound, of a kind that is not read; the text says of which."""


# With JPEG comes MPO, the multi-picture JPEG that many phones write.
JPEG = Format(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    rb"\xff\xd8\xff[\xc0-\xff]",
    pillow="PIL.JpegImagePlugin:jpeg_factory",
    bare="phototag.imaging.jpeg.mending:without_metadata",
    untrusted=False,
)
PNG = Format("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", opener="phototag.imaging.png:open_png", untrusted=False)
TIFF = Format(
    "TIFF",
    (".tif", ".tiff"),
    rb"MM\0[*+]|II[*+]\0|MM\*\0|II\0\*",
    opener="phototag.imaging.tiff:open_tiff",
)

# Only these decoders can be reached, whatever a file claims to be: rarely used ones are where decoders break.
FORMATS = (
    JPEG,
    PNG,
    Format(
        "WebP",
        (".webp",),
        rb"RIFF....WEBPVP8[ LX]",
        pillow="PIL.WebPImagePlugin:WebPImageFile",
        bare="phototag.imaging.openers:without_webp_metadata",
    ),
    TIFF,
    Format("GIF", (".gif",), rb"GIF8[79]a", opener="phototag.imaging.openers:open_gif", note="first frame"),
    Format(
        "BMP", (".bmp",), rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", opener="phototag.imaging.openers:open_bmp"
    ),
    Format(
        "AVIF",
        (".avif",),
        rb"....ftyp(avi[fs]|(mif1|msf1|miaf)(....){1,9}?avi[fs])",
        opener="phototag.imaging.openers:open_avif",
        worker_setup="phototag.imaging.openers:limit_avif_threads",
    ),
)
# What else lies among photos, by its first bytes: only to say what a file is that is not read.
_OTHERS = {
    "HEIC": rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1|miaf)",
    "a video": rb"....ftyp|....moov|\x1aE\xdf\xa3|RIFF....AVI ",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a raw photo": rb"FUJIFILMCCD-RAW|IIR[OS]|IIU\0|II..\0\0HEAPCCDR|FOVb",
    "Photoshop": rb"8BPS",
    "PDF": rb"%PDF",
    "WebP of an unknown kind": rb"RIFF....WEBP",
    "an icon": rb"\0\0[\x01\x02]\0",
    "a text": rb"\s*<(!DOCTYPE|\?xml|html|svg|script)",
}
SIGNATURE_BYTES = 64

SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)
*_FIRST, _LAST = (f"{form.name} ({form.note})" if form.note else form.name for form in FORMATS)
FORMAT_NAMES = f"{', '.join(_FIRST)} and {_LAST}"
_SIGNATURES = tuple((re.compile(form.signature, re.DOTALL), form) for form in FORMATS)


def is_picture(path: PurePath) -> bool:
    """Return whether the name says that this is a picture phototag reads. The content decides later."""
    return path.suffix.lower() in SUFFIXES


def format_of(data: bytes) -> Format | None:
    """Return the format that the first `SIGNATURE_BYTES` of a file show, None where it is none that is read."""
    for signature, form in _SIGNATURES:
        if signature.match(data):
            return form
    return None


def why_not_read(data: bytes) -> str:
    """Return in words why a file is not read whose first bytes show none of the formats."""
    for name, signature in _OTHERS.items():
        if re.match(signature, data[:SIGNATURE_BYTES], re.DOTALL | re.IGNORECASE):
            return f"not a picture in a known format: this is {name}, which is not read"
    return "not a picture in a known format"
