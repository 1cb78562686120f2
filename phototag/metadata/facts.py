"""Read capture facts from a file's bytes: when, where and with which camera a photo was taken.

A sound value beside a damaged one counts: each fact is checked for itself, and one that cannot be true is not known.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any

from phototag.metadata.exif import Entry, Tiff
from phototag.metadata.exif_block import find_exif
from phototag.metadata.keywords import Written, read_packets, without_repeats
from phototag.metadata.xmp import XmpFacts
from phototag.object_storage import open_photo
from phototag.paths import PhotoPath
from phototag.records import CaptureFacts

_MAKE, _MODEL, _CHANGED, _RATING, _EXIF, _GPS, _DNG_SERIAL = 0x010F, 0x0110, 0x0132, 0x4746, 0x8769, 0x8825, 0xC62F
_TAKEN, _DIGITISED, _SERIAL, _LENS = 0x9003, 0x9004, 0xA431, 0xA434
# The moment that a camera notes, with its fraction of a second and its zone; the best first.
_MOMENTS = ((_TAKEN, 0x9291, 0x9011), (_DIGITISED, 0x9292, 0x9012), (_CHANGED, 0x9290, 0x9010))
_OF_IMAGE = frozenset((_MAKE, _MODEL, _CHANGED, _RATING, _EXIF, _GPS, _DNG_SERIAL, _TAKEN, _SERIAL, _LENS))
_OF_EXIF = frozenset((_SERIAL, _LENS, *(tag for tags in _MOMENTS for tag in tags)))
_OF_GPS = frozenset((0, 1, 2, 3, 4, 9))
_HEADER_BYTES = 1 << 18

_MOMENT = re.compile(
    r"(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)(?:[ T]+(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?\s*"
)
_ZONE = re.compile(r"\s*(?:Z|([+-])(\d\d):?(\d\d))\s*")
_FIRST_YEAR = 1826  # of the oldest photograph there is
_MOST_OFFSET_MINUTES = 14 * 60
_LONGEST_TEXT, _LONGEST_MOMENT = 200, 100
# What follows the name that people know a maker by: "NIKON CORPORATION", "Leica Camera AG".
_COMPANY = frozenset(
    (
        *("ag", "camera", "co", "communications", "company", "computer", "corp", "corporation", "electric"),
        *("electronics", "gmbh", "imaging", "inc", "limited", "ltd", "mobile", "optical", "techwin"),
        *("technologies", "technology", "trading"),
    )
)
_LEAST_SHOUTED = 4  # letters: SONY is a name written large, DJI and LG are not


def read_facts(data: bytes) -> CaptureFacts:
    """Return what a file says of its capture; nothing where it says nothing, or is damaged. Never raises.

    EXIF is read in JPEG, TIFF and what is built like it (DNG, NEF, CR2, ARW, ORF, RW2, PEF), HEIC, AVIF, CR3, RAF, PNG
    and WebP. `data` may also be the first part of a file, as far as its headers reach.
    """
    blocks = find_exif(data)
    tiff = Tiff(blocks.image)
    image = tiff.directory(tiff.first, _OF_IMAGE)
    exif_tiff, exif = _inner(tiff, image.get(_EXIF), blocks.exif_directory, _OF_EXIF)
    gps_tiff, gps = _inner(tiff, image.get(_GPS), blocks.gps, _OF_GPS)
    if _TAKEN in image and _TAKEN not in exif:  # TIFF/EP, and so some DNG files, has it in the first directory
        exif_tiff, exif = tiff, image | exif
    taken_at, offset = _when(exif_tiff, exif if _CHANGED in exif else exif | _only(image, _CHANGED))
    latitude, longitude = _where(gps_tiff, gps)
    rating = tiff.integer(image.get(_RATING))
    return CaptureFacts(
        taken_at=taken_at,
        utc_offset_minutes=offset,
        camera=camera_name(tiff.text(image.get(_MAKE)), tiff.text(image.get(_MODEL))),
        camera_serial=_serial(exif_tiff.text(exif.get(_SERIAL)) or tiff.text(image.get(_DNG_SERIAL))),
        lens=_named(exif_tiff.text(exif.get(_LENS) or image.get(_LENS))),
        latitude=latitude,
        longitude=longitude,
        rating=rating if rating is not None and 0 <= rating <= 5 else None,
    )


def describe(
    data: bytes, sidecars: Sequence[bytes] = (), *, written: Sequence[Written] = ()
) -> tuple[CaptureFacts, tuple[str, ...]]:
    """Return what a file and its sidecars say of its capture, and the keywords that `keywords_of` finds. Never raises.

    XMP is heeded as programs do that keep photos with it: its rating before that of EXIF, the rest where EXIF says
    nothing; and what a sidecar says before what the file's own packet does. Of keywords those `written` by phototag
    into the file, and into each sidecar, do not count.
    """
    facts = read_facts(data)
    file = io.BytesIO(data)
    embedded, beside = read_packets(file, sidecars, written=written)
    said = reduce(lambda under, over: over.over(under), (*embedded, *beside), XmpFacts())
    return _with_xmp(facts, said), without_repeats(file, embedded, beside, written=written)


def read_header(path: PhotoPath) -> bytes:
    """Return as much of a file as its metadata may need: the beginning of a JPEG, all of others, where it may lie last.

    Raises:
        OSError: it cannot be read.
    """
    with open_photo(path) as file:
        start = file.read(_HEADER_BYTES) or b""
        return start if start[:2] == b"\xff\xd8" else start + (file.read() or b"")


def _inner(
    tiff: Tiff, pointer: Entry | None, apart: bytes | None, wanted: frozenset[int]
) -> tuple[Tiff, dict[int, Entry]]:
    """Return a directory that the first one points to, or that stands apart, and the structure that it lies in."""
    if apart is not None:
        tiff = Tiff(apart)
        return tiff, tiff.directory(tiff.first, wanted)
    return tiff, tiff.directory(tiff.integer(pointer) or 0, wanted)


def _with_xmp(facts: CaptureFacts, said: XmpFacts) -> CaptureFacts:
    changes: dict[str, Any] = {}
    if facts.taken_at is None and said.taken is not None:
        changes["taken_at"], changes["utc_offset_minutes"] = parse_moment(said.taken)
    if facts.latitude is None and said.latitude is not None:
        changes |= {"latitude": said.latitude, "longitude": said.longitude}
    if said.rating is not None:
        changes["rating"] = said.rating
    return replace(facts, **changes) if changes else facts


def _only(entries: dict[int, Entry], tag: int) -> dict[int, Entry]:
    return {tag: entries[tag]} if tag in entries else {}


# ---- when


def _when(tiff: Tiff, exif: dict[int, Entry]) -> tuple[datetime | None, int | None]:
    for moment, fraction, zone in _MOMENTS:
        taken_at, offset = parse_moment(tiff.text(exif.get(moment)), fraction=tiff.text(exif.get(fraction)))
        if taken_at is not None:
            return taken_at, parse_offset(tiff.text(exif.get(zone))) if offset is None else offset
    return None, None


def parse_moment(text: str, *, fraction: str = "") -> tuple[datetime | None, int | None]:
    """Return what a clock showed, to the millisecond, and its distance from UTC in minutes; None for what is not said.

    As EXIF and XMP write it: "2026:05:03 14:22:01", "2026-05-03T14:22:01.25+02:00". A day alone is its midnight.
    """
    text = text.strip("\0 ")
    # In a long one of spaces the pattern would be looked for in a time that grows with its square.
    found = _MOMENT.fullmatch(text) if len(text) <= _LONGEST_MOMENT else None
    if found is None or int(found[1]) < _FIRST_YEAR:
        return None, None
    digits = found[7] or (fraction.strip() if fraction.strip().isdecimal() and fraction.isascii() else "0")
    try:
        numbers = [int(part or 0) for part in found.groups()[:6]]
        taken_at = datetime(*numbers, int(digits[:3].ljust(3, "0")) * 1000)  # type: ignore[call-arg, arg-type]
    except ValueError:
        return None, None
    return taken_at, parse_offset(found[8] or "")


def parse_offset(text: str) -> int | None:
    """Return the distance from UTC in minutes: "+02:00", "Z"."""
    found = _ZONE.fullmatch(text)
    if found is None:
        return None
    minutes = 60 * int(found[2] or 0) + int(found[3] or 0)
    if minutes > _MOST_OFFSET_MINUTES or int(found[3] or 0) > 59:
        return None
    return -minutes if found[1] == "-" else minutes


# ---- where


def _where(tiff: Tiff, gps: dict[int, Entry]) -> tuple[float | None, float | None]:
    if tiff.text(gps.get(9)).upper() == "V":  # the receiver had no fix
        return None, None
    latitude = _degrees(tiff, gps, 1, "NS", 90)
    longitude = _degrees(tiff, gps, 3, "EW", 180)
    # Receivers without a fix write zeros; nobody is taken for standing in the Gulf of Guinea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(tiff: Tiff, gps: dict[int, Entry], tag: int, signs: str, most: int) -> float | None:
    parts = tiff.fractions(gps.get(tag + 1))
    side = tiff.text(gps.get(tag))[:1].upper()
    # Without its side a place may be on the other half of the earth.
    if not parts or len(parts) > 3 or min(parts) < 0 or not side or side not in signs:
        return None
    degrees = sum(part / 60**power for power, part in enumerate(parts))
    return round(-degrees if side == signs[1] else degrees, 7) if degrees <= most else None


# ---- with what


def camera_name(make: str, model: str) -> str | None:
    """Return maker and model as people say them: "NIKON CORPORATION", "NIKON D850" is a "Nikon D850"."""
    words = make.replace(",", " ").split()
    kept = next(
        (place for place, word in enumerate(words) if place and word.strip(".").lower() in _COMPANY), len(words)
    )
    maker = [_spoken(word) for word in words[:kept]]
    first, _, rest = model.partition(" ")
    # Also of a maker that sells under another's name: "RICOH IMAGING COMPANY, LTD.", "PENTAX K-1".
    if first.lower() in (word.lower() for word in (*maker, "pentax")):
        return _named(f"{_spoken(first)} {rest}")
    return _named(" ".join((*maker, model)))


def _spoken(word: str) -> str:
    shouted = len(word) >= _LEAST_SHOUTED and word.isupper()
    return word.capitalize() if word.isalpha() and (shouted or word.islower()) else word


def _serial(text: str) -> str | None:
    return _named(text) if text.strip("0 ") else None


def _named(text: str) -> str | None:
    """Return a name, None for what only fills the field."""
    text = " ".join(text.split())[:_LONGEST_TEXT]
    return text if text.strip("-_ .?0") and text.lower() not in ("unknown", "none", "n/a") else None
