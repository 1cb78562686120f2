"""Arrays in a file, to be mapped into memory instead of being made again. The file is a cache: it may be deleted."""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.files import keep_newest, replacing

SUFFIX = ".index"
_MAGIC = b"phototag index 1"
_ALIGNED_BYTES = 64
_LARGEST_HEADER = 1 << 26
_PART_BYTES = 1 << 20
# Those of a few libraries; others are made again when they are opened.
_FILES_KEPT = 8

Arrays = Mapping[str, NDArray[Any]]


def save(file: Path, facts: Any, arrays: Arrays) -> None:
    """Write arrays, and facts that fit into JSON, to a file. Where that does not work there is none."""
    described, offset, checksum = [], 0, 1
    for name, array in arrays.items():
        described.append((name, array.dtype.str, array.shape, offset))
        offset += -(-array.nbytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, private=True) as partial, partial.open("wb") as out:
            out.write(bytes(_ALIGNED_BYTES))
            for array in arrays.values():
                data = np.ascontiguousarray(array).view(np.uint8).reshape(-1).data
                padding = bytes(-len(data) % _ALIGNED_BYTES)
                for part in (data, padding):
                    out.write(part)
                    checksum = zlib.adler32(part, checksum)
            header = json.dumps({"facts": facts, "arrays": described, "checksum": checksum}).encode()
            out.write(header)
            out.seek(0)
            out.write(_MAGIC + b"%d %d" % (offset, len(header)))
        keep_newest(file.parent, f"*{SUFFIX}", count=_FILES_KEPT)


def load(file: Path) -> tuple[Any, Arrays] | None:
    """Return what was saved, mapped into memory; None where it is not there, damaged, or of another version."""
    try:
        with file.open("rb") as source:
            start = source.read(_ALIGNED_BYTES)
            size, length = map(int, start.removeprefix(_MAGIC).rstrip(b"\0").split())
            if not start.startswith(_MAGIC) or not 0 <= length <= _LARGEST_HEADER or size < 0:
                return None
            # Read and not mapped: what is mapped and looked at counts as memory of this process.
            checksum, left = 1, size
            while left:
                part = source.read(min(left, _PART_BYTES))
                checksum, left = zlib.adler32(part, checksum), left - len(part) if part else 0
            header = json.loads(source.read(length + 1))
            mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        if checksum != header["checksum"]:
            return None
        arrays = {
            str(name): np.frombuffer(mapped, np.dtype(kind), int(np.prod(shape)), _ALIGNED_BYTES + int(offset)).reshape(
                shape
            )
            for name, kind, shape, offset in header["arrays"]
        }
        return header["facts"], arrays
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def forget(array: NDArray[Any]) -> None:
    """Let a part of a mapped array be read from the file again, instead of counting as memory of this process."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = getattr(base, "obj", base)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        start = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        begin = start // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, begin, start - begin + array.nbytes)
