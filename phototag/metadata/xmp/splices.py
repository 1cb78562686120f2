"""Edits of a file as lists of splices: what was taken out where, and what stands there now. They can be undone."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phototag.metadata.xmp.elements import XmpError

_HEAD = struct.Struct(">QII")


@dataclass(frozen=True, slots=True)
class Splice:
    """Bytes that were replaced: `offset` in the new file, those that were `removed`, and those `inserted`."""

    offset: int
    removed: bytes
    inserted: bytes


def apply_splices(data: bytes, changes: Iterable[tuple[int, bytes, bytes]]) -> tuple[bytes, tuple[Splice, ...]]:
    """Return data with changes made, and the splices that undo them.

    Args:
        data: The bytes of before.
        changes: (offset in `data`, bytes to remove there, bytes to insert), none overlapping another. At the same
            offset they are made in the order given.
    """
    new = bytearray()
    splices = []
    position = 0
    for offset, removed, inserted in sorted(changes, key=lambda change: change[0]):
        new += data[position:offset]
        splices.append(Splice(len(new), removed, inserted))
        new += inserted
        position = offset + len(removed)
    new += data[position:]
    return bytes(new), tuple(splices)


def revert(data: bytes, splices: Sequence[Splice]) -> bytes:
    """Return the bytes of before.

    Raises:
        XmpError: these are not the bytes that the splices made.
    """
    old = bytearray()
    position = 0
    for splice in splices:
        end = splice.offset + len(splice.inserted)
        if splice.offset < position or data[splice.offset : end] != splice.inserted:
            raise XmpError("is not as it was written")
        old += data[position : splice.offset]
        old += splice.removed
        position = end
    old += data[position:]
    return bytes(old)


def pack_splices(splices: Iterable[Splice]) -> bytes:
    """Return splices as bytes for a database."""
    return b"".join(
        _HEAD.pack(splice.offset, len(splice.removed), len(splice.inserted)) + splice.removed + splice.inserted
        for splice in splices
    )


def unpack_splices(data: bytes) -> tuple[Splice, ...]:
    """Return the splices that `pack_splices` made bytes of.

    Raises:
        XmpError: it did not make these.
    """
    splices = []
    position = 0
    while position < len(data):
        try:
            offset, removed, inserted = _HEAD.unpack_from(data, position)
        except struct.error:
            raise XmpError("the record of what was written is damaged") from None
        middle = position + _HEAD.size + removed
        position = middle + inserted
        if position > len(data):
            raise XmpError("the record of what was written is damaged")
        splices.append(Splice(offset, data[middle - removed : middle], data[middle:position]))
    return tuple(splices)
