"""The process that decodes pictures nobody vouches for, and what passes between it and the process that keeps it.

It gets bytes and gives pixels: it opens no file, and may crash, hang or run out of memory alone. All numbers are
little-endian. To the helper: one frame of JSON with its `Limits`, then one frame a picture, each an unsigned 64-bit
length and as many bytes. From it: replies of one kind byte, an unsigned 32-bit length and as many bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from PIL import AvifImagePlugin

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of, cost_of_size
from phototag.imaging.decode import decode_bytes, picture_size
from phototag.imaging.preprocessing import Preprocessing

REQUEST_HEAD = struct.Struct("<Q")
REPLY_HEAD = struct.Struct("<cI")
SIZE = struct.Struct("<II")
GO_ON = b"\x01"
LONGEST_REASON = 1000  # characters
_SPARE_SECONDS = 10.0


class Reply(bytes, Enum):
    """What a helper has to say."""

    READY = b"r"  # it has started
    HEAVY = b"h"  # the picture needs much memory: it waits for GO_ON
    PIXELS = b"p"  # width and height of the upright picture, as SIZE, then the pixels [size, size, 3]
    FAILURE = b"f"  # the kind of failure, a newline, and the reason, in UTF-8
    MEMORY = b"m"  # the picture needs more memory than there is; the helper ends


@dataclass(frozen=True, slots=True)
class Limits:
    """What a helper is told when it starts. `memory_limit_bytes` bounds its address space, None for no bound."""

    preprocessing: Preprocessing
    max_megapixels: int
    time_limit_seconds: float
    memory_limit_bytes: int | None

    def to_json(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Limits:
        """The inverse of `to_json`."""
        value: dict[str, Any] = json.loads(text)
        return cls(**{**value, "preprocessing": Preprocessing.from_json(value["preprocessing"])})


def main() -> None:
    """Serve pictures until the other side closes stdin."""
    with contextlib.suppress(BrokenPipeError):  # nobody is left to tell
        _serve(sys.stdin.buffer, reply_pipe())


def reply_pipe() -> BinaryIO:
    """Stdout, out of reach of libraries that print."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return pipe


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    # Ctrl-C in a terminal reaches every process of the run: the one that keeps the helpers decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A thread a core would count its stack and heap against the memory limit; other helpers use the other cores.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    settings = receive(requests)
    if settings is None:
        return
    limits = Limits.from_json(settings)
    confine(limits.memory_limit_bytes)
    send(replies, Reply.READY)
    with contextlib.suppress(MemoryError):
        while (data := receive(requests)) is not None:
            with alarm(limits.time_limit_seconds + _SPARE_SECONDS):
                _answer(data, limits, requests, replies)
        return
    # What a library allocated and lost on the way is unknown, so this process is not used again.
    send(replies, Reply.MEMORY)


def confine(memory_limit_bytes: int | None) -> None:
    """Leave this process no more memory than that, no core dump, and the first place to go where memory is short."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # Should the computer run out of memory, the kernel is to take this process and not the run.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if memory_limit_bytes is not None:
        # macOS refuses this one; and where an administrator set less, less it is.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


@contextlib.contextmanager
def alarm(seconds: float) -> Any:
    """Die when this takes longer: if the keeper was killed, nobody else ends a decoder that hangs."""
    if sys.platform == "win32":
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal kills even where no Python code runs any more
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(data: bytes, limits: Limits, requests: BinaryIO, replies: BinaryIO) -> None:
    picture = Path("picture")
    try:
        cost = cost_of(data, limits.preprocessing)
        if cost is None:
            cost = cost_of_size(*picture_size(data, picture, max_megapixels=limits.max_megapixels))
        if cost.heavy:
            send(replies, Reply.HEAVY)
            if requests.read(len(GO_ON)) != GO_ON:
                raise BrokenPipeError
        pixels, width, height = decode_bytes(data, limits.preprocessing, picture, max_megapixels=limits.max_megapixels)
    except DecodeError as error:
        if isinstance(error.__cause__, MemoryError) or "out of memory" in error.reason.lower():
            raise MemoryError from error
        send(replies, Reply.FAILURE, f"{error.kind}\n{error.reason[:LONGEST_REASON]}".encode(errors="replace"))
        return
    send(replies, Reply.PIXELS, SIZE.pack(width, height) + pixels.tobytes())


def receive(requests: BinaryIO) -> bytes | None:
    """The next frame; None when there will be none."""
    head = requests.read(REQUEST_HEAD.size)
    if len(head) < REQUEST_HEAD.size:
        return None
    (length,) = REQUEST_HEAD.unpack(head)
    data = requests.read(length)
    return data if len(data) == length else None


def send(replies: BinaryIO, kind: Reply, content: bytes = b"") -> None:
    """Write one reply."""
    rest = memoryview(REPLY_HEAD.pack(kind.value, len(content)) + content)
    while rest:
        rest = rest[replies.write(rest) :]


if __name__ == "__main__":
    main()
