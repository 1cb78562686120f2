"""Look at the header of a giant file before all of it takes its room in memory.

A file may be far larger than its picture, by what was written behind it or by a false start. So its header has to tell
of a picture that may take as many bytes.
"""

from __future__ import annotations

import mmap
import struct
from typing import BinaryIO

from phototag.errors import DecodeError
from phototag.imaging.formats import JPEG, PNG, RAW, TIFF, UnsupportedPictureError, format_of
from phototag.imaging.heic_header import read_heic_header
from phototag.imaging.jpeg import frame_size
from phototag.imaging.tiff import SAMPLES, read_first_page
from phototag.object_storage import ObjectFile
from phototag.paths import PhotoPath
from phototag.records import FailureKind

# Smaller files are read as they are: a phone puts a film of some 10 MiB behind a photo.
GIANT_BYTES = 128 << 20
_HEAD_BYTES = 4 << 20
_PAGE_BYTES = 128 << 10
# Samples of 64 bits in TIFF; four of 16 bits in PNG, and more than any coding of the others takes.
_SAMPLE_BYTES, _PIXEL_BYTES = 8, 8
_MOST_FRAMES = 100
_AVIF_SIZE = b"ispe\0\0\0\0"


def check_giant(file: BinaryIO | ObjectFile, size_bytes: int, path: PhotoPath) -> None:
    """Check that a file of more than `GIANT_BYTES` begins like a picture that may take so many.

    Raises:
        DecodeError: it does not.
        OSError: it cannot be read.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES) or b""
    form = format_of(head)
    if form is RAW:
        return  # of a few hundred MiB there are many
    try:
        if form is not None and form.name == "HEIC":
            most_bytes = _heic_bytes(file, head)
        else:
            most_bytes = _tiff_bytes(file, head, size_bytes) if form is TIFF else _picture_bytes(head)
    except (struct.error, SyntaxError, EOFError, IndexError, UnsupportedPictureError):
        most_bytes = 0
    if size_bytes > most_bytes + GIANT_BYTES:
        reason = f"{size_bytes / 2**20:.0f} MiB are far more than the picture takes that its header tells of"
        raise DecodeError(path, FailureKind.TOO_LARGE, reason)


def _picture_bytes(head: bytes) -> int:
    """Return how many bytes a picture may take by the first ones of its file, 0 if they tell of none."""
    form = format_of(head)
    if form is JPEG:
        width, height = frame_size(head) or (0, 0)
    elif form is PNG:
        width, height = struct.unpack_from(">II", head, 16)
    elif form is not None and form.name == "BMP":
        width, height = struct.unpack_from("<HH" if head[14] == 12 else "<ii", head, 18)
    elif form is not None and form.name == "WebP":
        (told,) = struct.unpack_from("<I", head, 4)
        return int(told) + 8
    elif form is not None and form.name == "GIF":
        width, height = struct.unpack_from("<HH", head, 6)
        return int(width * height * _MOST_FRAMES)
    else:
        at = head.find(_AVIF_SIZE)
        width, height = struct.unpack_from(">II", head, at + len(_AVIF_SIZE)) if at >= 0 else (0, 0)
        return int(width * height * _MOST_FRAMES)
    return int(width * abs(height) * _PIXEL_BYTES)


def _heic_bytes(file: BinaryIO | ObjectFile, head: bytes) -> int:
    """Return the same for a HEIC file, whose header may stand at its end; that of an object must not."""
    if isinstance(file, ObjectFile):
        width, height = read_heic_header(head).size
        return width * height * _MOST_FRAMES
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        width, height = read_heic_header(data).size
    return width * height * _MOST_FRAMES


def _tiff_bytes(file: BinaryIO | ObjectFile, head: bytes, size_bytes: int) -> int:
    """Return the same for a TIFF file, whose header may stand anywhere."""
    order = "<" if head[:2] == b"II" else ">"
    number, at = ("Q", 8) if 43 in head[2:4] else ("I", 4)
    file.seek(min(struct.unpack_from(order + number, head, at)[0], 1 << 62))
    page, following = read_first_page(head[:4], file.read(_PAGE_BYTES) or b"")
    if following or page.is_reduced:
        return size_bytes  # of many pages any may be a giant
    width, height = page.size
    return width * height * page.number(SAMPLES, 1) * _SAMPLE_BYTES
