"""Helper processes that are kept for one kind of work on pictures: given out, watched, replaced and ended."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Self, TypeVar

from phototag.errors import DecodeError
from phototag.imaging.cost import COSTLY_BYTES
from phototag.imaging.sandbox.process import Helper, HelperError
from phototag.imaging.sandbox.worker import GO_ON, LONGEST_REASON, Reply
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

Made = TypeVar("Made")


class HelperPool(ABC, Generic[Made]):
    """Helpers that make something of pictures. May be used from several threads at once; close it in the end."""

    def __init__(
        self,
        command: Sequence[str],
        settings: bytes,
        *,
        time_limit_seconds: float,
        memory_limit_bytes: int | None,
        longest_reply_bytes: int,
    ) -> None:
        """`settings` are what a helper gets first; the limits are for one picture."""
        self._command = list(command)
        self._settings = settings
        self._time_limit_seconds = time_limit_seconds
        self._memory_limit_bytes = memory_limit_bytes
        self._longest_reply_bytes = longest_reply_bytes
        self._lock = threading.Lock()
        self._one_heavy = threading.Lock()
        self._idle: list[Helper] = []
        self._all: set[Helper] = set()
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    @abstractmethod
    def _result(self, content: bytearray) -> Made | None:
        """What a helper made, None for nonsense: a decoder that a hostile picture took over may say anything."""

    def ask(self, request: bytes, path: Path) -> Made:
        """What a helper makes of a request about a picture, which `path` only names in errors.

        Raises:
            DecodeError: the helper says why it cannot be decoded; of kind DECODER if it crashed, or took too much
                memory or time; of kind BUSY if this computer lets no helper process start now.
            RuntimeError: the pool is closed, or was while this picture was decoded.
        """
        helper = self._take(path)
        try:
            try:
                return self._ask(helper, request, path)
            except HelperError as error:
                if helper.expired or not error.may_be_innocent:
                    raise
            # It may have died of something else, even before it saw this picture: only a fresh one can tell.
            self._end(helper)
            helper = self._start(path)
            return self._ask(helper, request, path)
        except HelperError as error:
            self._check_open()
            late = f"the decoder took longer than {self._time_limit_seconds:g} s"
            raise DecodeError(path, FailureKind.DECODER, late if helper.expired else error.reason) from error
        finally:
            self._give_back(helper)

    def close(self) -> None:
        """End all helper processes, busy ones too. The pool cannot be used again."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- one picture

    def _ask(self, helper: Helper, request: bytes, path: Path) -> Made:
        """Let a helper work on a picture.

        Raises:
            DecodeError: the helper says why the picture cannot be decoded.
            HelperError: it did not get that far.
        """
        helper.pictures += 1
        helper.expect_within(self._time_limit_seconds)
        helper.send(request)
        kind, content = helper.receive(self._longest_reply_bytes)
        if kind is Reply.HEAVY:
            helper.expect_within(None)  # waiting for its turn is not its fault
            with self._one_heavy:
                helper.expect_within(self._time_limit_seconds)
                helper.write(GO_ON)
                kind, content = helper.receive(self._longest_reply_bytes)
        helper.expect_within(None)
        return self._understood(helper, kind, content, path)

    def _understood(self, helper: Helper, kind: Reply, content: bytearray, path: Path) -> Made:
        if kind is Reply.PIXELS and (made := self._result(content)) is not None:
            helper.reusable = True
            return made
        if kind is Reply.FAILURE:
            name, _, reason = content.decode(errors="replace").partition("\n")
            if name in _KINDS:
                helper.reusable = True
                raise DecodeError(path, FailureKind(name), _plain(reason))
        if kind is Reply.MEMORY:
            limit = self._memory_limit_bytes
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
        reason = f"no helper process to decode it could be started now: {problem}; try again when the computer has room"
        raise DecodeError(path, FailureKind.BUSY, reason)

    def _prepare(self, helper: Helper) -> None:
        try:
            self._watch_over(helper)
            helper.expect_within(_STARTING_SECONDS)
            helper.send(self._settings)
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
        interval = min(1.0, self._time_limit_seconds / 10)
        while not self._closed.wait(interval):
            with self._lock:
                helpers = list(self._all)
            for helper in helpers:
                helper.kill_if_late()


def memory_limit(max_megapixels: int) -> int | None:
    """Address space, in bytes, that is enough for any picture of that size; None where no such limit can be set."""
    if sys.platform in ("win32", "darwin"):
        return None
    return max_megapixels * 1_000_000 * COSTLY_BYTES + _SPARE_BYTES


def _plain(text: str) -> str:
    """A text that cannot steer a terminal, of bounded length."""
    return "".join(character if character.isprintable() else "?" for character in text)[:LONGEST_REASON]
