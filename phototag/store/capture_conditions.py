"""Conditions on what photos' files say of themselves: when, with which camera, where, and keywords."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select

from phototag.database import EARTH_KM, KM_FUNCTION, captures, keywords, photos
from phototag.errors import UsageError
from phototag.text import clock_text, nfc

_FARTHEST_KM = math.pi * EARTH_KM
_KM_A_DEGREE = EARTH_KM * math.pi / 180
_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?)?)?")
_EXAMPLES = (
    "2026, 2026-05, 2026-05-03, 2026-05-03T14:00, and ranges of these as 2026-05..2026-06, 2026-05.. or ..2026-06"
)

Place = tuple[float, float, float]
"""Latitude and longitude in degrees, and a distance in km."""


# ---- when


def taken_range(text: str) -> tuple[str | None, str | None]:
    """Return the first clock reading that a text means, and the first after it; None where it is open.

    Raises:
        UsageError: it means none.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not (first or last):
        raise UsageError(f"{text!r} is no time when photos were taken; write {_EXAMPLES}")
    begin, after = (_span(part) if part else (None, None) for part in (first, last if dots else first))
    if begin[0] is not None and after[0] is not None and begin[0] > after[0]:
        raise UsageError(f"{text!r} ends before it begins; write the earlier time first")
    return _bound(begin[0]), _bound(after[1])


def _span(text: str) -> tuple[datetime, datetime | None]:
    """Return where a year, month, day, minute or second begins, and where the next one does, if the calendar has it."""
    found = _TIME.fullmatch(text)
    if found is None:
        zone = (
            "; leave out the zone, as times are those of the camera's clock"
            if re.search(r"\d([+-]\d\d:?\d\d|Z)$", text)
            else ""
        )
        raise UsageError(f"{text!r} is no time when photos were taken{zone}; write {_EXAMPLES}")
    year, month, day, hour, minute, second = (None if part is None else int(part) for part in found.groups())
    try:
        begin = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)
    except ValueError as error:
        raise UsageError(f"{text!r} is not in the calendar: {error}; write {_EXAMPLES}") from error
    try:
        if month is None:
            return begin, begin.replace(year=begin.year + 1)
        if day is None:
            return begin, (begin + timedelta(days=31)).replace(day=1)
        length = timedelta(days=1) if hour is None else timedelta(minutes=1) if second is None else timedelta(seconds=1)
        return begin, begin + length
    except (ValueError, OverflowError):  # the end of the calendar
        return begin, None


def _bound(moment: datetime | None) -> str | None:
    return None if moment is None else clock_text(moment)


def was_taken(text: str) -> ColumnElement[bool]:
    """Return the condition that a photo was taken then."""
    begin, after = taken_range(text)
    column = captures.c.taken_at
    bounds = [column >= begin if begin is not None else column.is_not(None)]
    return and_(*bounds, *([column < after] if after is not None else []))


# ---- with what, and about what


def is_by_camera(connection: Connection, wanted: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that the camera's name holds one of these texts, whatever their case."""
    folded = [_folded(text) for text in wanted]
    names = connection.execute(select(captures.c.camera).where(captures.c.camera.is_not(None)).distinct()).scalars()
    return captures.c.camera.in_([name for name in names if any(text in _folded(name) for text in folded)])


def has_keyword(connection: Connection, wanted: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a photo has one of these keywords: a whole one, or some levels of it in a row."""
    known = connection.execute(select(keywords.c.keyword).distinct()).scalars()
    names = list(filter(keyword_matcher(wanted), known))
    return photos.c.id.in_(select(keywords.c.photo_id).where(keywords.c.keyword.in_(names))) if names else false()


def keyword_matcher(wanted: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether a keyword is one of those wanted, or has one as some of its levels, in a row."""
    folded = [f"|{_folded(text).strip('|')}|" for text in wanted]

    def matches(keyword: str) -> bool:
        return any(text in f"|{_folded(keyword)}|" for text in folded)

    return matches


def _folded(text: str) -> str:
    return nfc(nfc(text).casefold())


# ---- where


def check_place(place: Place) -> Place:
    """Return a place and a distance that can be.

    Raises:
        UsageError: one of the three is out of its range.
    """
    if len(place) != 3:
        raise UsageError(f"near takes a latitude, a longitude and a distance in km, not {place!r}")
    latitude, longitude, km = map(float, place)
    for name, value, least, most in (("latitude", latitude, -90, 90), ("longitude", longitude, -180, 180)):
        if not least <= value <= most:
            raise UsageError(f"a {name} lies between {least} and {most} degrees, not {value:g}")
    if not 0 <= km < math.inf:
        raise UsageError(f"a distance in km is 0 or more, not {km:g}")
    return latitude, longitude, km


def is_near(connection: Connection, place: Place) -> ColumnElement[bool]:
    """Return the condition that a photo was taken within a distance of a place, along the surface of a sphere."""
    latitude, longitude, km = place
    column = captures.c
    if connection.dialect.name == "sqlite":
        # SQLite may be built without trigonometry.
        measure = getattr(func, KM_FUNCTION)
        distance: ColumnElement[Any] = measure(column.latitude, column.longitude, latitude, longitude)
    else:
        rise = func.radians(column.latitude - latitude) / 2
        run = func.radians(column.longitude - longitude) / 2
        across = func.cos(func.radians(column.latitude)) * math.cos(math.radians(latitude))
        half = func.power(func.sin(rise), 2) + across * func.power(func.sin(run), 2)
        distance = 2 * EARTH_KM * func.asin(func.sqrt(func.least(half, 1.0)))
    return and_(column.latitude.is_not(None), *_box(latitude, longitude, km), distance <= km)


def _box(latitude: float, longitude: float, km: float) -> list[ColumnElement[bool]]:
    """Return conditions that all within a distance meet, and few others: what they leave is measured."""
    reach = min(km, _FARTHEST_KM) / _KM_A_DEGREE + 1e-6
    column = captures.c
    box = [column.latitude >= latitude - reach, column.latitude <= latitude + reach]
    if abs(latitude) + reach >= 90:  # a pole is within, and so are all longitudes
        return box
    ratio = math.sin(math.radians(reach)) / math.cos(math.radians(latitude))
    side = math.degrees(math.asin(min(1.0, ratio)))
    # Also the same places beyond the date line.
    return [
        *box,
        or_(*(column.longitude.between(longitude + turn - side, longitude + turn + side) for turn in (-360, 0, 360))),
    ]
