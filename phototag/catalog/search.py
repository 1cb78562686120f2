"""Finding words in many paths at once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phototag.store import clean_text

Bools = NDArray[np.bool_]

_SAMPLE_BYTES = 1_000_000


def fold(text: str) -> str:
    """Text as it is compared: without case, and an accented letter always the same, however it was written."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class PathText:
    """All paths as one folded text. A word is looked for where its rarest byte stands: that takes milliseconds."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        folded = [path.lower() if path.isascii() else fold(clean_text(os.fsdecode(path))).encode() for path in paths]
        self._bytes = np.frombuffer(b"\0".join([*folded, b""]), dtype=np.uint8)
        lengths = np.fromiter(map(len, folded), dtype=np.int64, count=len(folded))
        self._ends = np.cumsum(lengths + 1)
        # A part of them tells as well which bytes are rare.
        some = self._bytes[:: max(len(self._bytes) // _SAMPLE_BYTES, 1)]
        self._often = np.bincount(some, minlength=256)

    def holds(self, word: str) -> Bools:
        """Return which paths hold a word, [N]."""
        found = np.zeros(len(self._ends), dtype=np.bool_)
        wanted = fold(clean_text(word)).encode()
        if not wanted:
            return ~found
        values = np.frombuffer(wanted, dtype=np.uint8)
        by_rarity = np.argsort(self._often[values], kind="stable")
        rarest = int(by_rarity[0])
        starts = np.flatnonzero(self._bytes == values[rarest]) - rarest
        starts = starts[(starts >= 0) & (starts <= len(self._bytes) - len(values))]
        for place in by_rarity[1:]:
            starts = starts[self._bytes[starts + place] == values[place]]
        found[np.searchsorted(self._ends, starts, side="right")] = True
        return found
