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

from phototag.imaging.sandbox.worker import PATIENCE, REPLY_HEAD, REQUEST_HEAD, Reply

_PIPE_BYTES = 1 << 20
# Threads would take address space, and are not needed. And the C library is to give the memory of large pictures back
# at once: it otherwise keeps some, in each worker.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
# What a process does to itself by a fault of its code; any other signal was sent to it.
_FAULTS = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGPROF"}


class WorkerError(Exception):
    """A worker died, or its reply made no sense.

    `from_outside`: it was killed, as the kernel does where memory is short. `lacked_memory`: that, or it said itself
    that there is too little.
    """

    def __init__(self, reason: str, *, from_outside: bool = False, lacked_memory: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.from_outside = from_outside
        self.lacked_memory = lacked_memory or from_outside


class Worker:
    """A worker process.

    `pictures` were given to it; `reusable` holds after one that went well; `expired` says that it was killed for being
    late, and `starved` that this computer gave it no time to be in time.
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
        self._allowed_seconds: float | None = None
        self._spent_seconds = self._passed_seconds = 0.0
        self._looked: tuple[float, float] | None = None
        self.expired = False
        self.starved = False
        self.reusable = False
        self.pictures = 0

    def expect_within(self, seconds: float | None) -> None:
        """Be killed by `kill_if_late` after that time of its own; None for never."""
        with self._lock:
            self._allowed_seconds, self._looked = seconds, None
            self._spent_seconds = self._passed_seconds = 0.0

    def kill_if_late(self, usual_seconds: float) -> None:
        """End it if it had its time; to be called every `usual_seconds`.

        Its time is what it computed or slept, as a decoder that hangs may do either. Waiting for a core or for memory
        on disk is not its fault; and what lies between two calls counts for little more than usual, since this process
        was stopped, too: by Ctrl-Z, or with the whole machine.
        """
        # Locked, so that a worker that is just done is not killed for the picture it gets next.
        with self._lock:
            if self._allowed_seconds is None:
                return
            now, (computed, sleeps) = time.monotonic(), _activity(self._process.pid)
            if self._looked is not None:
                passed = min(now - self._looked[0], 2 * usual_seconds)
                self._passed_seconds += passed
                self._spent_seconds += passed if sleeps else min(passed, computed - self._looked[1])
            self._looked = now, computed
            self.starved = self._passed_seconds > PATIENCE * self._allowed_seconds
            if self.starved or self._spent_seconds > self._allowed_seconds:
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
            raise self._death()
        return data

    def _death(self) -> WorkerError:
        try:
            code = self._process.wait(timeout=1.0)  # it closed its pipe, so it is ending
        except subprocess.TimeoutExpired:
            return WorkerError("the decoder crashed (it closed its pipe)")
        if code >= 0:
            return WorkerError(f"the decoder crashed (exit code {code})")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        if name in _FAULTS:
            return WorkerError(f"the decoder crashed (signal {-code}, {name})")
        return WorkerError(f"the decoder was killed (signal {-code}, {name})", from_outside=True)

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


def _activity(pid: int) -> tuple[float, bool]:
    """Return how many seconds a process computed, and whether it sleeps; where only Linux could tell, that it does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == b"S"
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0, True


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
