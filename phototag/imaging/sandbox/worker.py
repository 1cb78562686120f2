"""Serve requests about untrusted pictures in a worker process: protocol, limits, loop, and the decoding of pictures.

A worker gets bytes and gives bytes: it opens no file, and may crash, hang or run out of memory without harm to its
parent process. All numbers are little-endian. To it: one frame of JSON with its `Limits`, then one frame for each
request, each an unsigned 64-bit length and as many bytes. From it: replies of one kind byte, an unsigned 32-bit length
and as many bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of, cost_of_size
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.openers import prepare_worker
from phototag.imaging.preprocessing import Preprocessing

REQUEST_HEAD = struct.Struct("<Q")
REPLY_HEAD = struct.Struct("<cI")
SIZE = struct.Struct("<II")
SHORT_SIDE = "short_side"  # the option that asks for whole pictures
GO_ON = b"\x01"
LONGEST_REASON = 1000  # characters
# What the picture of a request is called in errors, which the parent process translates: it knows the path.
PICTURE = Path("picture")
_SPARE_SECONDS = 10.0
# A worker that gets no core or no memory, or is stopped for a while, has this many times its limit by the clock.
PATIENCE = 10


class Reply(bytes, Enum):
    """The kinds of replies of a worker."""

    READY = b"r"  # it has started
    HEAVY = b"h"  # the picture needs much memory: it waits for GO_ON
    RESULT = b"p"  # what was made of the picture
    FAILURE = b"f"  # the kind of failure, a newline, and the reason, in UTF-8
    MEMORY = b"m"  # the picture needs more memory than there is; the worker ends


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker is told when it starts.

    Args:
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long it may take over one picture, of its own time.
        memory_limit_bytes: The bound of its address space, None for no bound.
        options: What its function needs besides, as plain values for JSON.
    """

    max_megapixels: int
    time_limit_seconds: float
    memory_limit_bytes: int | None
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the limits as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Limits:
        """Return the limits that `to_json` wrote."""
        return cls(**json.loads(text))


Admit = Callable[[bytes, Preprocessing], None]


def main() -> None:
    """Decode pictures until the parent process closes stdin."""
    serve(_decode)


def _decode(request: bytes, limits: Limits, admit: Admit) -> bytes:
    """Return width and height of the upright picture, as SIZE, and the pixels [size, size, 3] of a picture file.

    Of whole pictures these are width and height of what is returned, and pixels [height, width, 3].
    """
    if SHORT_SIDE in limits.options:
        return _decode_whole(request, limits, admit, short_side=int(limits.options[SHORT_SIDE]))
    preprocessing = Preprocessing.from_json(limits.options)
    admit(request, preprocessing)
    pixels, width, height = decode_bytes(request, preprocessing, PICTURE, max_megapixels=limits.max_megapixels)
    return SIZE.pack(width, height) + pixels.tobytes()


def for_whole(short_side: int) -> Preprocessing:
    """Return what a whole picture costs about as much as."""
    return Preprocessing(size=min(max(short_side, 16), 4096), crop=1.0)


def _decode_whole(request: bytes, limits: Limits, admit: Admit, *, short_side: int) -> bytes:
    admit(request, for_whole(short_side))
    image = decode_whole(request, short_side=short_side, path=PICTURE, max_megapixels=limits.max_megapixels)
    # Giants stay here: the parent process may have many such workers.
    factor = min(image.size) // short_side
    image = image.reduce(factor) if factor > 1 else image
    return SIZE.pack(*image.size) + image.tobytes()


def serve(function: Callable[[bytes, Limits, Admit], bytes]) -> None:
    """Answer each request on stdin with what `function` makes of it, until the parent process closes stdin.

    Args:
        function: Gets the request, the limits, and a function to call with a picture file's bytes and what they are
            decoded for, before they are decoded. Returns the content of the reply, or raises a DecodeError.
    """
    with contextlib.suppress(BrokenPipeError):  # the parent process is gone
        _serve(function, sys.stdin.buffer, _reply_pipe())


def _reply_pipe() -> BinaryIO:
    """Return stdout, moved out of reach of libraries that print."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return pipe


def _serve(function: Callable[[bytes, Limits, Admit], bytes], requests: BinaryIO, replies: BinaryIO) -> None:
    # Ctrl-C in a terminal reaches every process of the run: the parent process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_worker()
    settings = _receive(requests)
    if settings is None:
        return
    limits = Limits.from_json(settings)
    _confine(limits.memory_limit_bytes)
    _send(replies, Reply.READY)

    def admit(data: bytes, preprocessing: Preprocessing) -> None:
        cost = cost_of(data, preprocessing)
        if cost is None:
            cost = cost_of_size(*picture_size(data, PICTURE, max_megapixels=limits.max_megapixels))
        if cost.heavy:
            _send(replies, Reply.HEAVY)
            if requests.read(len(GO_ON)) != GO_ON:
                raise BrokenPipeError

    with contextlib.suppress(MemoryError):
        while (request := _receive(requests)) is not None:
            with _alarm(limits.time_limit_seconds):
                try:
                    reply, content = Reply.RESULT, function(request, limits, admit)
                except DecodeError as error:
                    if isinstance(error.__cause__, MemoryError) or "out of memory" in error.reason.lower():
                        raise MemoryError from error
                    text = f"{error.kind}\n{error.reason[:LONGEST_REASON]}"
                    reply, content = Reply.FAILURE, text.encode(errors="replace")
                _send(replies, reply, content)
        return
    # What a library allocated and lost on the way is unknown, so this process is not used again.
    _send(replies, Reply.MEMORY)


def _confine(memory_limit_bytes: int | None) -> None:
    """Limit the memory of this process, leave no core dump, and be the first to be killed where memory is short."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # Should the computer run out of memory, the kernel is to take this process and not its parent.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if memory_limit_bytes is not None:
        # macOS refuses this one; and where an administrator set less, less it is.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Die when this takes much longer: if the parent process was killed, nothing else ends a decoder that hangs."""
    if sys.platform == "win32":
        yield
        return
    # Their signals kill even where no Python code runs any more.
    signal.setitimer(signal.ITIMER_PROF, seconds + _SPARE_SECONDS)  # of this process's own time
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds + _SPARE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _receive(requests: BinaryIO) -> bytes | None:
    """Return the next frame, None when there will be none."""
    head = requests.read(REQUEST_HEAD.size)
    if len(head) < REQUEST_HEAD.size:
        return None
    (length,) = REQUEST_HEAD.unpack(head)
    data = requests.read(length)
    return data if len(data) == length else None


def _send(replies: BinaryIO, reply: Reply, content: bytes = b"") -> None:
    rest = memoryview(REPLY_HEAD.pack(reply.value, len(content)) + content)
    while rest:
        rest = rest[replies.write(rest) :]
