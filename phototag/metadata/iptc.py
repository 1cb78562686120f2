"""Read the keywords that JPEG, TIFF and RAW files hold outside XMP: in IPTC, and where Windows writes them."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from typing import BinaryIO

from phototag.metadata.xmp.elements import MAX_BYTES, XmpError
from phototag.metadata.xmp.embedded import segments

_LONGEST_KEYWORD = 64
_CHARACTER_SET, _KEYWORDS = (1, 90), (2, 25)
_PHOTOSHOP = b"Photoshop 3.0\0"
_EXIF = b"Exif\0\0"
_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC_RESOURCE, _DIGEST_RESOURCE = 0x0404, 0x0425
_TAG_IPTC, _TAG_PHOTOSHOP, _TAG_WINDOWS = 33723, 34377, 0x9C9E
_VALUE_SIZES = {1: 1, 2: 1, 4: 4, 7: 1}


def older_keywords(file: BinaryIO, *, beside_xmp: bool) -> tuple[str, ...]:
    """Return the keywords of IPTC's dataset 2:25, else of Windows' XPKeywords; what is damaged or cut off is left out.

    Where the file has keywords in XMP (`beside_xmp`) these are copies, and older ones where a program changed XMP
    alone. So they count only if IPTC is newer, by the digest that programs leave which write both (Guidelines for
    Handling Image Metadata, Metadata Working Group, 2010, section 5). Only the bytes on the way to them are read.

    Args:
        file: The picture, seekable.
        beside_xmp: Whether its XMP holds keywords.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    start = file.read(4)
    photoshop: list[bytes] = []
    values: dict[int, bytes] = {}
    has_exif = False
    # What was found before the damage counts.
    with suppress(XmpError, struct.error):
        if start.startswith((b"II", b"MM")):
            values = _tag_values(file, 0)
            photoshop.append(values.get(_TAG_PHOTOSHOP, b""))
        elif start.startswith(b"\xff\xd8"):
            for marker, begin, end, head in segments(file):
                if marker == 0xED and head.startswith(_PHOTOSHOP):
                    # What does not fit into one segment goes on in the next.
                    photoshop.append(_read(file, begin + 4 + len(_PHOTOSHOP), end - begin - 4 - len(_PHOTOSHOP)))
                elif marker == 0xE1 and head.startswith(_EXIF) and not has_exif:
                    has_exif = True  # of several the first counts: thousands may share a large directory
                    with suppress(struct.error):
                        values = _tag_values(file, begin + 4 + len(_EXIF))
    resources = _resources(b"".join(photoshop))
    records = resources.get(_IPTC_RESOURCE) or values.get(_TAG_IPTC, b"")
    if beside_xmp:
        digest = resources.get(_DIGEST_RESOURCE)
        is_newer = digest is not None and digest != hashlib.md5(records, usedforsecurity=False).digest()
        return iptc_keywords(records) if is_newer else ()
    return iptc_keywords(records) or _windows_keywords(values.get(_TAG_WINDOWS, b""))


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(min(count, MAX_BYTES))


def _tag_values(file: BinaryIO, base: int) -> dict[int, bytes]:
    """Return the values of tags in the first directory of a TIFF, whose offsets count from `base`, that hold keywords.

    Raises:
        struct.error: it is cut off.
    """
    order = "<" if _read(file, base, 2) == b"II" else ">"
    (place,) = struct.unpack(f"{order}I", _read(file, base + 4, 4))
    (count,) = struct.unpack(f"{order}H", _read(file, base + place, 2))
    entries = _read(file, base + place + 2, 12 * count)
    found: dict[int, bytes] = {}
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHII", entries[: len(entries) // 12 * 12]):
        size = _VALUE_SIZES.get(kind, 0) * number
        # Of four bytes and fewer, which lie in the entry itself, no keyword is made.
        # And of several of one tag the first counts: each may be as large as the file.
        if tag in (_TAG_IPTC, _TAG_PHOTOSHOP, _TAG_WINDOWS) and tag not in found and 4 < size <= MAX_BYTES:
            found[tag] = _read(file, base + value, size)
    return found


def _resources(data: bytes) -> dict[int, bytes]:
    """Return Photoshop's image resources by number (Adobe Photoshop File Formats, "Image Resources")."""
    found: dict[int, bytes] = {}
    place = 0
    while data[place : place + 4] in _SIGNATURES and place + 12 <= len(data):
        start = place + 6 + (data[place + 6] + 2) // 2 * 2  # the length of its name and the name, padded to even
        size = int.from_bytes(data[start : start + 4])
        found.setdefault(int.from_bytes(data[place + 4 : place + 6]), data[start + 4 : start + 4 + size])
        place = start + 4 + size + size % 2
    return found


def iptc_keywords(records: bytes) -> tuple[str, ...]:
    """Return the keywords (dataset 2:25) of IPTC records; what is damaged or cut off is left out.

    They are in the character set that 1:90 names. Where it names none they are UTF-8 if they can be, else Windows-1252:
    many programs write UTF-8 and do not say so. From the Information Interchange Model, version 4.2.
    """
    utf8 = False
    found: list[bytes] = []
    place = 0
    while place + 5 <= len(records) and records[place] == 0x1C:
        dataset = (records[place + 1], records[place + 2])
        size = int.from_bytes(records[place + 3 : place + 5])
        place += 5
        if size & 0x8000:  # extended: so many bytes hold the size
            width = size & 0x7FFF
            size = int.from_bytes(records[place : place + width]) if width <= 8 else len(records)
            place += width
        if dataset == _KEYWORDS:
            found.append(records[place : place + size])
        elif dataset == _CHARACTER_SET:
            # ISO 2022: ESC % G, and ESC % / with a level, switch to UTF-8.
            utf8 = records[place : place + size].startswith(b"\x1b%")
        place += size
    return tuple(_text(each, utf8=utf8) for each in found)


def _text(value: bytes, *, utf8: bool) -> str:
    # What was cut to the length that the standard allows may end within a character.
    ends = (0, 1, 2, 3) if len(value) >= _LONGEST_KEYWORD else (0,)
    if utf8 or any(_is_utf8(value[: len(value) - cut]) for cut in ends):
        return value.decode("utf-8", "ignore")
    return value.decode("cp1252", "ignore")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def may_be_cut(keyword: str) -> bool:
    """Return whether a keyword is as long as IPTC allows, and may be the beginning of a longer one."""
    return len(keyword.encode("utf-8", "replace")) > _LONGEST_KEYWORD - 4


def _windows_keywords(value: bytes) -> tuple[str, ...]:
    """Return the keywords of XPKeywords: UTF-16, with semicolons between them."""
    return tuple(value.decode("utf-16-le", "ignore").replace("\0", "").split(";"))
