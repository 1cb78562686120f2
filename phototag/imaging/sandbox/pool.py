"""Manage the worker processes that handle untrusted pictures: start, lend, watch, replace and end them."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, Self, TypeVar

from phototag.errors import DecodeError
from phototag.imaging.cost import COSTLY_BYTES
from phototag.imaging.sandbox.process import Worker, WorkerError
from phototag.imaging.sandbox.worker import GO_ON, LONGEST_REASON, Limits, Reply
from phototag.paths import PhotoPath
from phototag.records import FailureKind
from phototag.text import printable

# What a decoder leaks is freed with its process.
_MOST_PICTURES = 1000
_SPARE_BYTES = 512 << 20
_STARTING_SECONDS = 60.0
_AGAIN = "it is tried again by the next run"
# A computer that is short of processes or memory often has some a moment later.
_WAITS_SECONDS = (0.0, 0.2, 1.0)
# What a worker may say of a picture: it never sees the file, so not that it is gone.
_KINDS = frozenset(
    {
        FailureKind.EMPTY,
        FailureKind.NOT_AN_IMAGE,
        FailureKind.UNSUPPORTED,
        FailureKind.TRUNCATED,
        FailureKind.TOO_LARGE,
        FailureKind.CORRUPT,
        FailureKind.NEEDS_HEIC,
        FailureKind.NEEDS_RAW,
    }
)

Made = TypeVar("Made")


class WorkerPool(ABC, Generic[Made]):
    """Worker processes of one function on pictures. May be used from several threads at once; close it in the end."""

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits,
        *,
        longest_reply_bytes: int,
    ) -> None:
        """Start no worker yet.

        Args:
            command: A worker's program and arguments.
            limits: What a worker is told when it starts.
            longest_reply_bytes: Longer replies are nonsense.
        """
        self._command = list(command)
        self._limits = limits
        self._longest_reply_bytes = longest_reply_bytes
        self._lock = threading.Lock()
        self._one_heavy = threading.RLock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    @abstractmethod
    def _result(self, content: bytearray) -> Made | None:
        """Return what a worker made, None for nonsense: a malicious picture may make a decoder say anything."""

    def ask(self, request: bytes, path: PhotoPath) -> Made:
        """Return what a worker makes of a request about a picture, which `path` only names in errors.

        Raises:
            DecodeError: the worker says why it cannot be decoded; of kind DECODER if it crashed, or took too much
                memory or time; of kind BUSY if this computer lets no worker process start now, or kills it.
            RuntimeError: the pool is closed, or was while this picture was decoded.
        """
        worker = self._take(path)
        try:
            try:
                return self._ask(worker, request, path)
            except WorkerError as error:
                if worker.expired:
                    raise
                # Where memory is short, others may have taken it: with no giant beside it there may be enough.
                alone: AbstractContextManager[object] = self._one_heavy if error.lacked_memory else nullcontext()
            # It may have died of something else, even before it saw this picture: only a fresh one can tell.
            self._end(worker)
            worker = self._start(path)
            with alone:
                return self._ask(worker, request, path)
        except WorkerError as error:
            self._check_open()
            raise self._failure(worker, error, path) from error
        finally:
            self._give_back(worker)

    def close(self) -> None:
        """End all worker processes, busy ones too. The pool cannot be used again."""
        with self._lock:
            self._closed.set()
            workers, idle = list(self._all), self._idle
            self._all, self._idle = set(), []
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
        for worker in idle:
            worker.release()  # the others are released by the threads that use them
        if self._watchdog is not None:
            self._watchdog.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- one picture

    def _ask(self, worker: Worker, request: bytes, path: PhotoPath) -> Made:
        """Let a worker work on a picture.

        Raises:
            DecodeError: the worker says why the picture cannot be decoded.
            WorkerError: it did not get that far.
        """
        worker.pictures += 1
        worker.expect_within(self._limits.time_limit_seconds)
        worker.send(request)
        reply, content = worker.receive(self._longest_reply_bytes)
        if reply is Reply.HEAVY:
            worker.expect_within(None)  # waiting for its turn is not its fault
            with self._one_heavy:
                worker.expect_within(self._limits.time_limit_seconds)
                worker.write(GO_ON)
                reply, content = worker.receive(self._longest_reply_bytes)
        worker.expect_within(None)
        return self._understood(worker, reply, content, path)

    def _failure(self, worker: Worker, error: WorkerError, path: PhotoPath) -> DecodeError:
        seconds = self._limits.time_limit_seconds
        if worker.starved:
            return DecodeError(path, FailureKind.BUSY, f"this computer was too busy to decode it; {_AGAIN}")
        if worker.expired:
            return DecodeError(path, FailureKind.DECODER, f"the decoder took longer than {seconds:g} s")
        if error.from_outside:
            return DecodeError(path, FailureKind.BUSY, f"{error.reason}, as when memory runs out; {_AGAIN}")
        return DecodeError(path, FailureKind.DECODER, error.reason)

    def _understood(self, worker: Worker, reply: Reply, content: bytearray, path: PhotoPath) -> Made:
        if reply is Reply.RESULT and (made := self._result(content)) is not None:
            worker.reusable = True
            return made
        if reply is Reply.FAILURE:
            name, _, reason = content.decode(errors="replace").partition("\n")
            if name in _KINDS:
                worker.reusable = True
                raise DecodeError(path, FailureKind(name), printable(reason)[:LONGEST_REASON])
        if reply is Reply.MEMORY:
            limit = self._limits.memory_limit_bytes
            more = "memory than there is" if limit is None else f"than {limit / 2**30:.1f} GiB of memory"
            raise WorkerError(f"the decoder needed more {more}", lacked_memory=True)
        raise WorkerError("the decoder's answer made no sense")

    # -- the workers

    def _take(self, path: PhotoPath) -> Worker:
        with self._lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        return self._start(path)

    def _give_back(self, worker: Worker) -> None:
        """Keep a worker for further pictures if it is still good."""
        with self._lock:
            good = worker.reusable and not worker.expired and worker.pictures < _MOST_PICTURES
            if good and not self._closed.is_set():
                worker.reusable = False
                self._idle.append(worker)
                return
        self._end(worker)

    def _end(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.kill()
        worker.wait()
        worker.release()

    def _start(self, path: PhotoPath) -> Worker:
        """Return a fresh worker that is ready.

        Raises:
            DecodeError: none can be started.
        """
        problem = ""
        for wait_seconds in _WAITS_SECONDS:
            if self._closed.wait(wait_seconds):
                break
            try:
                worker = Worker(self._command)
            except OSError as error:
                problem = error.strerror or str(error)
                continue
            try:
                self._prepare(worker)
            except WorkerError as error:
                problem = error.reason
            else:
                return worker
        self._check_open()
        reason = f"no worker process to decode it could be started now: {problem}; try again when the computer has room"
        raise DecodeError(path, FailureKind.BUSY, reason)

    def _prepare(self, worker: Worker) -> None:
        try:
            self._watch_over(worker)
            worker.expect_within(_STARTING_SECONDS)
            worker.send(self._limits.to_json())
            worker.receive(0)
            worker.expect_within(None)
        except BaseException:
            self._end(worker)
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise RuntimeError("the decoder is closed")

    # -- the watchdog

    def _watch_over(self, worker: Worker) -> None:
        with self._lock:
            self._check_open()
            self._all.add(worker)
            if self._watchdog is None:
                self._watchdog = threading.Thread(target=self._watch, name="decoder watchdog", daemon=True)
                self._watchdog.start()

    def _watch(self) -> None:
        # One thread that looks now and then costs less than a timer a picture.
        interval = min(1.0, self._limits.time_limit_seconds / 10)
        while not self._closed.wait(interval):
            with self._lock:
                workers = list(self._all)
            for worker in workers:
                worker.kill_if_late(interval)


def memory_limit(max_megapixels: int) -> int | None:
    """Return how many bytes of address space any picture of that size needs at most, None where no limit can be set."""
    if sys.platform in ("win32", "darwin"):
        return None
    return max_megapixels * 1_000_000 * COSTLY_BYTES + _SPARE_BYTES
