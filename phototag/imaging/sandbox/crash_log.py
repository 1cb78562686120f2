"""Remember what this process decodes by itself, so that what ends it is decoded in a worker process the next time.

A process that crashes, or that the kernel kills for its memory, can say nothing any more. So it has a file in which
each thread notes the picture in hand, by 16 bytes of its content. The file is locked for as long as the process lives,
and the next one that decodes takes over what is left in files that none holds. A note is one write without a flush: it
outlasts the process, not a power cut, and takes microseconds (docs/experiments.md#notes-for-the-case-of-a-crash).
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import weakref
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from struct import Struct

from phototag.files import read_regular, replacing

_KEY = Struct("<QII")
_NOTHING = bytes(_KEY.size)
_ENDS_BYTES = 512
_THREADS = 256
_SUFFIX = ".now"
# Pictures that a process died over, also those that were only near: in a worker they are just as well decoded.
_MOST_SUSPECTS = 1000
_SUSPECTS = "suspects"


class CrashLog:
    """Notes of one process in a folder that all share. Nothing here fails: without a folder nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        """Take over the notes of processes that died."""
        self._own = threading.local()
        self._slots = count()
        self._number: int | None = None
        self._suspects: frozenset[bytes] = frozenset()
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._suspects = frozenset(_suspects(folder))
            self._number = _locked(self._path)
            # Not in `close`: a thread may still be writing then, and the number may soon be that of another file.
            weakref.finalize(self, os.close, self._number).atexit = False

    def close(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._path.unlink()

    def is_suspect(self, data: bytes) -> bool:
        """Return whether a process may have died of decoding this picture file's bytes."""
        return bool(self._suspects) and _key(data) in self._suspects

    def begin(self, data: bytes) -> None:
        """Note that this thread decodes these bytes now."""
        self._note(_key(data))

    def end(self) -> None:
        """Note that this thread is done with them."""
        self._note(_NOTHING)

    def _note(self, key: bytes) -> None:
        if self._number is None or sys.platform == "win32":
            return
        slot = getattr(self._own, "slot", None)
        if slot is None:
            slot = self._own.slot = next(self._slots) % _THREADS * _KEY.size
        with suppress(OSError):  # a full disk
            os.pwrite(self._number, key, slot)


def _key(data: bytes) -> bytes:
    """Return what tells a content from nearly all others at no cost; if not, an innocent one goes to a worker."""
    return _KEY.pack(len(data), zlib.crc32(data[:_ENDS_BYTES]), zlib.crc32(data[-_ENDS_BYTES:]))


def _locked(path: Path) -> int:
    """Return the descriptor of a new file of notes, which is locked until that is closed.

    Raises:
        OSError: this system or file system has no such files or locks.
    """
    if sys.platform == "win32":
        raise OSError("no such locks here")
    import fcntl

    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(number, _NOTHING * _THREADS)
    except BaseException:
        os.close(number)
        raise
    return number


def _suspects(folder: Path) -> Iterable[bytes]:
    """Return the keys of what processes died over, after taking over the notes of those that died since."""
    try:
        known = _keys(read_regular(folder / _SUSPECTS, most_bytes=_MOST_SUSPECTS * _KEY.size))
    except OSError:
        known = {}
    left = {path: keys for path in folder.glob(f"*{_SUFFIX}") if (keys := _left_in(path)) is not None}
    found = {key: None for keys in left.values() for key in keys}
    if not found.keys() <= known.keys():
        known = dict.fromkeys([*(key for key in known if key not in found), *found][-_MOST_SUSPECTS:])
    with suppress(OSError):  # a full disk: it is taken over the next time
        if left:
            with replacing(folder / _SUSPECTS) as partial:
                partial.write_bytes(b"".join(known))
        for path in left:
            path.unlink(missing_ok=True)
    return known


def _left_in(path: Path) -> dict[bytes, None] | None:
    """Return the keys in the notes of a process that died; None if it lives."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        # For writing, since some file systems lock only that; and at once, whatever it is.
        number = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = os.read(number, _THREADS * _KEY.size)
    except OSError:
        return None
    finally:
        os.close(number)
    return _keys(content) if content else None  # without content it was made a moment ago


def _keys(content: bytes) -> dict[bytes, None]:
    """Return the keys in that order, each once."""
    keys = (content[at : at + _KEY.size] for at in range(0, len(content) - _KEY.size + 1, _KEY.size))
    return {key: None for key in keys if key != _NOTHING}
