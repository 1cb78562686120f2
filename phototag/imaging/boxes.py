"""Find boxes in files that are made of them: HEIC and CR3 (ISO/IEC 14496-12, 4.2). Nothing but headers is read."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

Buffer = bytes | mmap.mmap
Span = tuple[int, int]
"""Where the content of a box begins and ends."""

_MOST_BOXES = 10_000


def boxes(data: Buffer, span: Span) -> Iterator[tuple[bytes, Span]]:
    """Return the boxes of that part of a file, each with its type and its content, which may reach beyond the file."""
    at, end = span
    for _ in range(_MOST_BOXES):
        if at + 8 > min(end, len(data)):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            if at + 16 > len(data):
                return
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:  # to the end
            size = end - at
        if size < head:
            return
        yield kind, (at + head, min(at + size, end))
        at += size


def find_box(data: Buffer, span: Span, *path: bytes) -> Span | None:
    """Return the content of the first box of that path, None if there is none."""
    for kind in path:
        found = next((inside for name, inside in boxes(data, span) if name == kind), None)
        if found is None:
            return None
        span = found
    return span
