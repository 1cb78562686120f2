"""Decoding that cannot take the run down.

Everyday JPEG and PNG files are decoded in this process. Everything else goes to helper processes: formats whose
decoders break more often, and giants of any format, one at a time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes
from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.headers import COSTLY_BYTES, cost_of
from phototag.imaging.helper import GO_ON, LONGEST_REASON, SIZE, Limits, Reply
from phototag.imaging.keeper import Helper, HelperError, own_command
from phototag.imaging.preprocessing import Preprocessing
from phototag.records import FailureKind

# Whatever a decoder leaks goes with its process.
_MOST_PICTURES = 1000
_SPARE_BYTES = 512 << 20
_STARTING_SECONDS = 60.0
# A computer that is short of processes or memory often has some a moment later.
_WAITS_SECONDS = (0.0, 0.2, 1.0)
# What a helper may say of a picture: it never sees the file, so not that it is gone.
_KINDS = frozenset(
    {
        FailureKind.EMPTY,
        FailureKind.NOT_AN_IMAGE,
        FailureKind.TRUNCATED,
        FailureKind.TOO_LARGE,
        FailureKind.CORRUPT,
    }
)

Picture = tuple[NDArray[np.uint8], int, int]


class Decoder:
    """Decodes pictures for one preprocessing; to be called from several threads at once, and closed in the end.

    Args:
        preprocessing: What the pixels are for.
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a helper process may take over one picture.
        memory_limit_bytes: How much address space a helper may have; None is enough for any picture that is not
            refused. Windows and macOS set no such limit.
        command: The helper's program and arguments; None is phototag's own.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        max_megapixels: int = MAX_MEGAPIXELS,
        time_limit_seconds: float = 120.0,
        memory_limit_bytes: int | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        if sys.platform in ("win32", "darwin"):
            memory_limit_bytes = None
        elif memory_limit_bytes is None:
            memory_limit_bytes = max_megapixels * 1_000_000 * COSTLY_BYTES + _SPARE_BYTES
        self._limits = Limits(preprocessing, max_megapixels, time_limit_seconds, memory_limit_bytes)
        self._command = list(command) if command is not None else own_command()
        self._lock = threading.Lock()
        self._one_heavy = threading.Lock()
        self._idle: list[Helper] = []
        self._all: set[Helper] = set()
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    def __call__(self, data: bytes, path: Path) -> Picture:
        """Decode a picture file's bytes: pixels [size, size, 3] and the upright width and height of the whole picture.

        `path` only names the picture in errors.

        Raises:
            DecodeError: as for `decode_bytes`; of kind DECODER if the decoder crashed, or took too much memory or
                time; of kind BUSY if this computer lets no helper process start now.
            RuntimeError: the decoder is closed, or was while this picture was decoded.
        """
        limits = self._limits
        cost = cost_of(data, limits.preprocessing)
        if cost is not None and cost.everyday:
            return decode_bytes(data, limits.preprocessing, path, max_megapixels=limits.max_megapixels)
        helper = self._take(path)
        try:
            try:
                return self._ask(helper, data, path)
            except HelperError as error:
                if helper.expired or not error.may_be_innocent:
                    raise
            # It may have died of something else, even before it saw this picture: only a fresh one can tell.
            self._end(helper)
            helper = self._start(path)
            return self._ask(helper, data, path)
        except HelperError as error:
            self._check_open()
            reason = f"the decoder took longer than {limits.time_limit_seconds:g} s" if helper.expired else error.reason
            raise DecodeError(path, FailureKind.DECODER, reason) from error
        finally:
            self._give_back(helper)

    def close(self) -> None:
        """End all helper processes, busy ones too. The decoder cannot be used again."""
        with self._lock:
            self._closed.set()
            helpers, idle = list(self._all), self._idle
            self._all, self._idle = set(), []
        for helper in helpers:
            helper.kill()
        for helper in helpers:
            helper.wait()
        for helper in idle:
            helper.release()  # the others are released by the threads that use them
        if self._watchdog is not None:
            self._watchdog.join()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- one picture

    def _ask(self, helper: Helper, data: bytes, path: Path) -> Picture:
        """Let a helper decode a picture.

        Raises:
            DecodeError: the helper says why the picture cannot be decoded.
            HelperError: it did not get that far.
        """
        helper.pictures += 1
        helper.expect_within(self._limits.time_limit_seconds)
        helper.send(data)
        kind, content = helper.receive(self._longest_reply)
        if kind is Reply.HEAVY:
            helper.expect_within(None)  # waiting for its turn is not its fault
            with self._one_heavy:
                helper.expect_within(self._limits.time_limit_seconds)
                helper.write(GO_ON)
                kind, content = helper.receive(self._longest_reply)
        helper.expect_within(None)
        return self._understood(helper, kind, content, path)

    @property
    def _longest_reply(self) -> int:
        return SIZE.size + max(3 * self._limits.preprocessing.size**2, 4 * LONGEST_REASON + 100)

    def _understood(self, helper: Helper, kind: Reply, content: bytearray, path: Path) -> Picture:
        """What a reply means. A decoder that was taken over by a hostile picture may say anything."""
        size = self._limits.preprocessing.size
        if kind is Reply.PIXELS and len(content) == SIZE.size + 3 * size**2:
            width, height = SIZE.unpack_from(content)
            if 1 <= width * height <= self._limits.max_megapixels * 1_000_000:
                helper.reusable = True
                return np.frombuffer(content, np.uint8, offset=SIZE.size).reshape(size, size, 3), width, height
        if kind is Reply.FAILURE:
            name, _, reason = content.decode(errors="replace").partition("\n")
            if name in _KINDS:
                helper.reusable = True
                raise DecodeError(path, FailureKind(name), _plain(reason))
        if kind is Reply.MEMORY:
            limit = self._limits.memory_limit_bytes
            more = "memory than there is" if limit is None else f"than {limit / 2**30:.1f} GiB of memory"
            raise HelperError(f"the decoder needed more {more}", may_be_innocent=helper.pictures > 1)
        raise HelperError("the decoder's answer made no sense")

    # -- the helpers

    def _take(self, path: Path) -> Helper:
        with self._lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        return self._start(path)

    def _give_back(self, helper: Helper) -> None:
        """Keep a helper for further pictures if it is still good."""
        with self._lock:
            good = helper.reusable and not helper.expired and helper.pictures < _MOST_PICTURES
            if good and not self._closed.is_set():
                helper.reusable = False
                self._idle.append(helper)
                return
        self._end(helper)

    def _end(self, helper: Helper) -> None:
        with self._lock:
            self._all.discard(helper)
        helper.kill()
        helper.wait()
        helper.release()

    def _start(self, path: Path) -> Helper:
        """A fresh helper that is ready.

        Raises:
            DecodeError: none can be started.
        """
        problem = ""
        for wait_seconds in _WAITS_SECONDS:
            if self._closed.wait(wait_seconds):
                break
            try:
                helper = Helper(self._command)
            except OSError as error:
                problem = error.strerror or str(error)
                continue
            try:
                self._prepare(helper)
            except HelperError as error:
                problem = error.reason
            else:
                return helper
        self._check_open()
        reason = f"no helper process to decode it could be started now: {problem}; run again when the computer has room"
        raise DecodeError(path, FailureKind.BUSY, reason)

    def _prepare(self, helper: Helper) -> None:
        try:
            self._watch_over(helper)
            helper.expect_within(_STARTING_SECONDS)
            helper.send(self._limits.to_json())
            helper.receive(0)
            helper.expect_within(None)
        except BaseException:
            self._end(helper)
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise RuntimeError("the decoder is closed")

    # -- the watchdog

    def _watch_over(self, helper: Helper) -> None:
        with self._lock:
            self._check_open()
            self._all.add(helper)
            if self._watchdog is None:
                self._watchdog = threading.Thread(target=self._watch, name="decoder watchdog", daemon=True)
                self._watchdog.start()

    def _watch(self) -> None:
        # One thread that looks now and then costs less than a timer a picture.
        interval = min(1.0, self._limits.time_limit_seconds / 10)
        while not self._closed.wait(interval):
            with self._lock:
                helpers = list(self._all)
            for helper in helpers:
                helper.kill_if_late()


def _plain(text: str) -> str:
    """A text that cannot steer a terminal, of bounded length."""
    return "".join(character if character.isprintable() else "?" for character in text)[:LONGEST_REASON]
