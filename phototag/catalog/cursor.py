"""Where a page ended, as an opaque text: rows that come or go between two pages move no other row."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from phototag.errors import UsageError


class GallerySort(StrEnum):
    """What photos are sorted by. Those without the value come last, and equal ones are sorted by id."""

    DATE = "date"  # the file's
    TAKEN = "taken"  # by the camera's clock
    PATH = "path"
    SCORE = "score"  # of the tag's own rank, by a model
    NOVELTY = "novelty"
    TAGGED = "tagged"  # when the tag was given


@dataclass(frozen=True, slots=True)
class Key:
    """What a photo is sorted by: `value` has the type of its order, and is 0 or empty where `missing`."""

    missing: bool
    value: Any
    photo_id: int

    def is_behind(self, other: Key, *, descending: bool) -> bool:
        """Return whether a photo with this key comes after one with the other; those without a value come last."""
        if self.missing != other.missing:
            return self.missing
        mine, theirs = (self.value, self.photo_id), (other.value, other.photo_id)
        return mine < theirs if descending else mine > theirs


def write_cursor(key: Key, sort: GallerySort, *, descending: bool) -> str:
    """Return the cursor that continues after a photo, fit for a query string."""
    # Any bytes are Latin-1, and JSON wants text.
    value = key.value.decode("latin-1") if isinstance(key.value, bytes) else key.value
    text = json.dumps([sort.value, descending, key.missing, value, key.photo_id], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, sort: GallerySort, *, descending: bool) -> Key:
    """Read what `write_cursor` wrote.

    Raises:
        UsageError: it is no cursor, or one of another order.
    """
    wrong = UsageError("after: not a cursor of this order; take it from the page before, or leave it away")
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error) as error:
        raise wrong from error
    if not isinstance(values, list) or len(values) != 5 or values[:2] != [sort.value, descending]:
        raise wrong
    missing, value, photo_id = values[2:]
    if type(missing) is not bool or type(photo_id) is not int or not _fits(value, sort):
        raise wrong
    try:
        return Key(missing, value.encode("latin-1") if isinstance(value, str) else value, photo_id)
    except UnicodeEncodeError as error:
        raise wrong from error


def _fits(value: object, sort: GallerySort) -> bool:
    if sort is GallerySort.PATH:
        return isinstance(value, str)
    if sort in {GallerySort.SCORE, GallerySort.NOVELTY}:
        return value == 0 or (isinstance(value, float) and math.isfinite(value))
    return type(value) is int
