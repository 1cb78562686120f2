"""Many byte strings one after another, and finding words in all of them at once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.store import clean_text

Bools = NDArray[np.bool_]

_SEPARATOR = os.sep
_SAMPLE_BYTES = 1_000_000


def fold(text: str) -> str:
    """Text as it is compared: without case, and an accented letter always the same, however it was written."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def fold_bytes(text: bytes) -> bytes:
    """Return a path, or a part of one, as it is compared."""
    return text.lower() if text.isascii() else fold(clean_text(os.fsdecode(text))).encode()


def inserted(array: NDArray[Any], at: NDArray[np.integer], values: NDArray[Any]) -> NDArray[Any]:
    """Return an array with values before its `at`th ones, ascending: at its end, as most are, with one copy alone."""
    behind = not len(at) or int(at[0]) == len(array)
    found: NDArray[Any] = np.concatenate([array, values]) if behind else np.insert(array, at, values)
    return found


@dataclass(frozen=True)
class ByteStrings:
    """N byte strings: `joined` has each with a zero byte behind it, `ends` [N] are behind these."""

    joined: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> ByteStrings:
        """Return these strings."""
        lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
        joined = np.frombuffer(b"\0".join([*strings, b""]), dtype=np.uint8)
        return cls(joined, np.cumsum(lengths + 1, dtype=np.int64))

    def edited(self, kept: Bools, at: NDArray[np.integer], fresh: ByteStrings) -> ByteStrings:
        """Return the strings that are `kept` [N], and before the `at`th of these, [M] ascending, `fresh` ones [M]."""
        lengths, more = np.diff(self.ends, prepend=0), np.diff(fresh.ends, prepend=0)
        joined = self.joined
        if not kept.all():
            joined, lengths = joined[np.repeat(kept, lengths)], lengths[kept]
        places = np.concatenate([[0], np.cumsum(lengths)])[at]
        return ByteStrings(
            inserted(joined, np.repeat(places, more), fresh.joined), np.cumsum(inserted(lengths, at, more))
        )

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> bytes:
        start = int(self.ends[place - 1]) if place else 0
        return self.joined[start : int(self.ends[place]) - 1].tobytes()

    def some(self, places: NDArray[np.integer]) -> list[bytes]:
        """Return the strings at some places."""
        data = self.joined.data
        starts = np.where(places > 0, self.ends[places - 1], 0).tolist()
        return [bytes(data[start : end - 1]) for start, end in zip(starts, self.ends[places].tolist(), strict=True)]

    def equal(self, other: ByteStrings) -> bool:
        """Return whether both have the same strings."""
        return np.array_equal(self.ends, other.ends) and np.array_equal(self.joined, other.joined)

    @cached_property
    def _often(self) -> NDArray[np.integer]:
        # A part of them tells as well which bytes are rare.
        return np.bincount(self.joined[:: max(len(self.joined) // _SAMPLE_BYTES, 1)], minlength=256)

    def holding(self, wanted: bytes) -> Bools:
        """Return which strings hold some bytes, [N]: found where the rarest of them stands, which is quick."""
        found = np.zeros(len(self), dtype=np.bool_)
        if not wanted:
            return ~found
        values = np.frombuffer(wanted, dtype=np.uint8)
        by_rarity = np.argsort(self._often[values], kind="stable")
        rarest = int(by_rarity[0])
        starts = np.flatnonzero(self.joined == values[rarest]) - rarest
        starts = starts[(starts >= 0) & (starts <= len(self.joined) - len(values))]
        for place in by_rarity[1:]:
            starts = starts[self.joined[starts + place] == values[place]]
        found[np.searchsorted(self.ends, starts, side="right")] = True
        return found

    def starting(self, wanted: bytes, among: Bools) -> Bools:
        """Return which of the strings `among` [N] begin with some bytes, [N]."""
        found = among.copy()
        places = np.flatnonzero(among)
        starts = np.where(places > 0, self.ends[places - 1], 0)
        for offset, value in enumerate(wanted):
            # A string that ended before has a zero byte there, or the place is behind all of them.
            fits = self.joined[np.minimum(starts + offset, len(self.joined) - 1)] == value
            places, starts = places[fits], starts[fits]
        found[:] = False
        found[places] = True
        return found


def holding(word: str, folders: Sequence[bytes], folder: NDArray[np.integer], names: ByteStrings) -> Bools:
    """Return which paths hold a word, [N]: `names` [N] in `folders`, pointed at by `folder` [N], all of them folded."""
    wanted = fold(clean_text(word)).encode()
    separator = _SEPARATOR.encode()
    within = np.array([wanted in path + separator for path in folders], dtype=np.bool_)
    found = names.holding(wanted)
    if within.any():
        found |= within[folder]
    above, across, name = wanted.rpartition(separator)
    if across and name:
        ending = np.array([path.endswith(above) for path in folders], dtype=np.bool_)
        found |= names.starting(name, ending[folder])
    return found
