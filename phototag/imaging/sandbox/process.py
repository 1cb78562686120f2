"""A worker process as its parent process sees it: asked, listened to, watched and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from phototag.imaging.sandbox.worker import REPLY_HEAD, REQUEST_HEAD, Reply

_PIPE_BYTES = 1 << 20
# Threads would take address space, and are not needed. And the C library is to give the memory of large pictures back
# at once: it otherwise keeps some, in each worker.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}


class WorkerError(Exception):
    """A worker died, or its reply made no sense. `may_be_innocent`: the picture may have nothing to do with it."""

    def __init__(self, reason: str, *, may_be_innocent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_be_innocent = may_be_innocent


class Worker:
    """A worker process.

    `pictures` were given to it; `reusable` holds after one that went well; `expired` says that it was killed for being
    late.
    """

    def __init__(self, command: Sequence[str]) -> None:
        env = {**os.environ, **_ENVIRONMENT}
        # Decoders print warnings about damaged files on stderr, which help no user.
        self._process = subprocess.Popen(  # noqa: S603
            command, bufsize=0, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for stream in (self._process.stdin, self._process.stdout):
            _widen(_pipe(stream))
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self.expired = False
        self.reusable = False
        self.pictures = 0

    def expect_within(self, seconds: float | None) -> None:
        """Be killed by `kill_if_late` after that time; None for never."""
        with self._lock:
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def kill_if_late(self) -> None:
        """End it if it had its time."""
        # Locked, so that a worker that is just done is not killed for the picture it gets next.
        with self._lock:
            if self._deadline is not None and self._deadline < time.monotonic():
                self.expired = True
                self.kill()

    def send(self, data: bytes) -> None:
        """Write one frame."""
        self.write(REQUEST_HEAD.pack(len(data)))
        self.write(data)

    def write(self, data: bytes) -> None:
        """Write bytes. A worker that does not listen any more may have said why: reading tells."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[_pipe(self._process.stdin).write(rest) :]
        except (OSError, ValueError):
            return

    def receive(self, most_bytes: int) -> tuple[Reply, bytearray]:
        """Read one reply with at most so much content.

        Raises:
            WorkerError: there is none, or it is none.
        """
        code, length = REPLY_HEAD.unpack(self._read(REPLY_HEAD.size))
        try:
            kind = Reply(code)
        except ValueError as error:
            raise WorkerError("the decoder's answer made no sense") from error
        if length > most_bytes:
            raise WorkerError("the decoder's answer made no sense")
        return kind, self._read(length)

    def _read(self, size_bytes: int) -> bytearray:
        data = bytearray(size_bytes)
        rest = memoryview(data)
        try:
            while rest and (count := _pipe(self._process.stdout).readinto(rest)):  # type: ignore[attr-defined]
                rest = rest[count:]
        except (OSError, ValueError) as error:
            raise WorkerError(f"the decoder cannot be reached: {error}") from error
        if rest:
            raise WorkerError(f"the decoder crashed ({self._cause_of_death()})")
        return data

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(timeout=1.0)  # it closed its pipe, so it is ending
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {-code}, {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def kill(self) -> None:
        """End it now. It has nothing to lose."""
        self._process.kill()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def release(self) -> None:
        """Close its pipes. Not while another thread uses them: their numbers may be given to other files at once."""
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:  # cannot be: both are asked for
        raise OSError("no pipe")
    return stream


def _widen(pipe: IO[bytes]) -> None:
    """Make room for a whole picture: through the usual 64 KiB it passes in many small steps, each a context switch."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # a user may have only so much of it
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def worker_command(module: str) -> list[str]:
    """Return the command that runs a worker process: the `main` of a module."""
    # -P, since the folder that phototag was started in may hold a file named like a module; and the package's own
    # folder is named, since it may have been found through that one.
    folder = str(Path(__file__).parents[2])
    program = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main()"
    return [sys.executable, "-P", "-c", program, folder]
