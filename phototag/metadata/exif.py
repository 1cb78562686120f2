"""Read wanted tags of EXIF: directories of a TIFF structure, with everything checked against what is there."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

_BYTES_OF = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 13: 4, 129: 1}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_MOST_VALUES = 1 << 16


class Entry(NamedTuple):
    """A tag's value as it is stored: its type, how many there are, and its bytes."""

    kind: int
    number: int
    value: bytes


class Tiff:
    """A TIFF structure (TIFF 6.0; Exif 3.0, 4.6). Nothing here raises, whatever the bytes are."""

    __slots__ = ("_data", "_order", "first")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = ">" if data[:2] == b"MM" else "<"
        self.first = struct.unpack_from(self._order + "I", data, 4)[0] if len(data) >= 8 else 0
        """Where the first directory is, 0 where there is none."""

    def directory(self, place: int, wanted: Collection[int]) -> dict[int, Entry]:
        """Return the wanted tags of the directory at a place in the data."""
        data, order = self._data, self._order
        if not 0 < place <= len(data) - 2:
            return {}
        count = struct.unpack_from(order + "H", data, place)[0]
        entries = data[place + 2 : place + 2 + 12 * count]
        found: dict[int, Entry] = {}
        for tag, kind, number, value in struct.iter_unpack(order + "HHI4s", entries[: len(entries) // 12 * 12]):
            if tag not in wanted or tag in found:
                continue
            size = _BYTES_OF.get(kind, 0) * min(number, _MOST_VALUES)
            if size > 4:
                start = struct.unpack(order + "I", value)[0]
                # What is cut off is not even copied: there may be as much of it in each of 65,535 entries.
                value = data[start : start + size] if start + size <= len(data) else b""
            else:
                value = value[:size]
            if size and len(value) == size:
                found[tag] = Entry(kind, number, value)
        return found

    def text(self, entry: Entry | None) -> str:
        """Return a text without what pads it, in one line; "" where there is none."""
        if entry is None or entry.kind not in (1, 2, 7, 129):
            return ""
        raw = entry.value.partition(b"\0")[0]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())

    def integer(self, entry: Entry | None) -> int | None:
        """Return the first of whole numbers."""
        if entry is None or entry.kind not in _INTEGERS:
            return None
        number: int = struct.unpack_from(self._order + _INTEGERS[entry.kind], entry.value)[0]
        return number

    def fractions(self, entry: Entry | None) -> list[float] | None:
        """Return fractions as numbers; None where one has the denominator 0."""
        if entry is None or entry.kind not in (5, 10):
            return None
        parts = struct.unpack(f"{self._order}{len(entry.value) // 4}{'I' if entry.kind == 5 else 'i'}", entry.value)
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        return [above / below for above, below in pairs] if all(below for _, below in pairs) else None
