"""The formats of pictures, in one table. Importing this module imports no imaging library.

What depends on the format of a file is derived from `FORMATS`: which files a scan finds, what Pillow may open, what
opens the rest, what worker processes prepare, and what is decoded nowhere else. All images come through
`openers.open_image`: those of tagging, of worker processes, of thumbnails and of the data loaders of training.

To add a format that Pillow reads by itself, add a line to `FORMATS`. For one that it does not read, as JPEG XL, write
an opener in a file next to this one as well, and name it in that line:

    # phototag/imaging/jpeg_xl.py
    def open_jpeg_xl(data: bytes) -> Image.Image: ...

    # phototag/imaging/formats.py, in FORMATS
    Format("JPEG XL", (".jxl",), rb"\xff\x0a|\0\0\0\x0cJXL ", opener="phototag.imaging.jpeg_xl:open_jpeg_xl"),

An opener is called from several threads at once. It returns an image whose size is known and whose pixels may be
decoded later, since too large pictures are refused before there is memory for them. It raises an
UnsupportedPictureError for a sound picture of a kind that it does not read, any other OSError for what is damaged.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath

from phototag.paths import S3Path
from phototag.records import FailureKind

# Larger pictures are refused before anything is decoded, unless the user says otherwise.
MAX_MEGAPIXELS = 300


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures, opened either by Pillow or by an opener.

    Args:
        name: The name that users know.
        suffixes: How names of its files end, in lower case.
        signature: A regular expression for the first `SIGNATURE_BYTES` of a file.
        confirm: A function (bytes) -> bool, named like an opener, for what the first bytes leave open: these formats
            are asked first.
        pillow: Pillow's class or function for it, (file) -> PIL.Image.Image, named like an opener.
        opener: The function (bytes) -> PIL.Image.Image that opens it, as "package.module:function".
        bare: A function (bytes) -> bytes, named like an opener, that leaves out of a file what no pixel depends on: for
            files that Pillow does not open, since it also refuses them for damaged metadata.
        worker_setup: A function that every worker process calls when it starts, named like an opener: a decoder that
            starts a thread for each core is to start none there, since its worker's memory is limited, and other
            workers use the other cores.
        preview: A function (bytes, int) -> bytes | None, named like an opener: a JPEG file inside the picture's that
            shows it whole, with a shorter side of at least so many pixels. It runs outside of worker processes.
        module: The module that reads it, where that is not installed with phototag itself.
        extra: The extra of phototag that installs the module.
        lacking: What a failure is called for want of it.
        untrusted: Whether only worker processes decode it. For a format whose decoder has withstood damaged and
            malicious files for years, and whose cost `cost.cost_of` reads from the header, it is False.
        note: What people are to know of it where formats are listed.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: bytes
    confirm: str | None = None
    pillow: str = ""
    opener: str | None = None
    bare: str | None = None
    worker_setup: str | None = None
    preview: str | None = None
    module: str | None = None
    extra: str | None = None
    lacking: FailureKind = FailureKind.UNSUPPORTED
    untrusted: bool = True
    note: str = ""

    @property
    def is_installed(self) -> bool:
        """Return whether what reads it is installed; that it also works is seen when it is used."""
        return self.module is None or _is_there(self.module)

    @property
    def advice(self) -> str:
        """Return why a file of this format is not read without its module, and the way out."""
        return f"{self.name} is not read by this installation; pip install 'phototag[{self.extra}]'"


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

# Many are TIFF files by their first bytes.
RAW = Format(
    "RAW",
    (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".rwl", ".pef", ".srw"),
    rb"MM\0[*+]|II[*+]\0|FUJIFILMCCD-RAW|....ftypcrx |IIR[OS]|MMOR|IIU\0",
    confirm="phototag.imaging.raw_header:is_raw",
    preview="phototag.imaging.raw_header:embedded_jpeg",
    opener="phototag.imaging.raw:open_raw",
    module="rawpy",
    extra="raw",
    lacking=FailureKind.NEEDS_RAW,
    note="with phototag[raw]",
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
    Format(
        "HEIC",
        (".heic", ".heif", ".hif"),
        rb"....ftyp(hei[cmxs]|hev[cmxs]|mif[12]|msf1|miaf)",
        opener="phototag.imaging.heic:open_heic",
        module="pillow_heif",
        extra="heic",
        lacking=FailureKind.NEEDS_HEIC,
        note="with phototag[heic]",
    ),
    RAW,
)
# What else lies among photos, by its first bytes: only to say what a file is that is not read.
_OTHERS = {
    "a video": rb"....ftyp|....moov|\x1aE\xdf\xa3|RIFF....AVI ",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a raw photo": rb"II..\0\0HEAPCCDR|FOVb",
    "Photoshop": rb"8BPS",
    "PDF": rb"%PDF",
    "WebP of an unknown kind": rb"RIFF....WEBP",
    "an icon": rb"\0\0[\x01\x02]\0",
    "a text": rb"\s*<(!DOCTYPE|\?xml|html|svg|script)",
}
SIGNATURE_BYTES = 64

_BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}
SUFFIXES = frozenset(_BY_SUFFIX)
_SUFFIX_BYTES = frozenset(map(str.encode, SUFFIXES))
*_FIRST, _LAST = (f"{form.name} ({form.note})" if form.note else form.name for form in FORMATS)
FORMAT_NAMES = f"{', '.join(_FIRST)} and {_LAST}"
_SIGNATURES = tuple(
    (re.compile(form.signature, re.DOTALL), form) for form in sorted(FORMATS, key=lambda form: form.confirm is None)
)
_LACKING = {form.lacking: form for form in FORMATS if form.module is not None}


@cache
def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def is_picture(path: PurePath | S3Path | str | bytes) -> bool:
    """Return whether the name says that this is a picture phototag reads, maybe with an extra. The content decides."""
    if isinstance(path, bytes):
        # A bare name, asked of every file of every scan: what follows takes four times as long, `path.suffix` more.
        dot = path.rfind(b".")
        return dot > 0 and path[dot:].lower() in _SUFFIX_BYTES
    return os.path.splitext(str(path))[1].lower() in SUFFIXES  # noqa: PTH122


def unread_format(suffix: str) -> Format | None:
    """Return the format that files with that suffix have if what reads it is not installed, else None."""
    form = _BY_SUFFIX.get(suffix.lower())
    return None if form is None or form.is_installed else form


def is_read(path: PurePath) -> bool:
    """Return whether the name says that this is a picture which this installation reads."""
    return is_picture(path) and unread_format(path.suffix) is None


def lacks_reader(kind: FailureKind | None) -> bool:
    """Return whether a picture failed for want of a module that is still not installed."""
    form = None if kind is None else _LACKING.get(kind)
    return form is not None and not form.is_installed


def unread_line(counts: Mapping[FailureKind, int]) -> str:
    """Return in a line how many files were left out for want of their readers, and the way out; empty for none."""
    found = [(form, counts[kind]) for kind, form in _LACKING.items() if counts.get(kind)]
    if not found:
        return ""
    names = " and ".join(f"{number:,} {form.name}" for form, number in found)
    files = "file" if sum(number for _, number in found) == 1 else "files"
    return f"{names} {files} left out; pip install 'phototag[{','.join(str(form.extra) for form, _ in found)}]'"


def format_of(data: bytes) -> Format | None:
    """Return the format that the bytes of a file show, None where it is none that phototag knows to read.

    Of the first `SIGNATURE_BYTES` alone a raw photo may look like a TIFF file.
    """
    for signature, form in _SIGNATURES:
        if signature.match(data) and (form.confirm is None or resolve(form.confirm)(data)):
            return form
    return None


resolve = cache(pkgutil.resolve_name)
"""Return what a name in the table means."""


def why_not_read(data: bytes) -> str:
    """Return in words why a file is not read whose first bytes show none of the formats."""
    for name, signature in _OTHERS.items():
        if re.match(signature, data[:SIGNATURE_BYTES], re.DOTALL | re.IGNORECASE):
            return f"not a picture in a known format: this is {name}, which is not read"
    return "not a picture in a known format"
