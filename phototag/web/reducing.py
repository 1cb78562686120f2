"""Small copies of pictures, made by a few helper processes: no picture can take the server along, or hold it up."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from phototag.errors import DecodeError
from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.headers import COSTLY_BYTES
from phototag.imaging.helper import GO_ON, LONGEST_REASON, Reply
from phototag.imaging.keeper import Helper, HelperError
from phototag.records import FailureKind
from phototag.text import printable
from phototag.web.reducer import BOX

_MOST_PICTURES = 1000
_MOST_REPLY_BYTES = 16 << 20
_SPARE_BYTES = 512 << 20
_STARTING_SECONDS = 60.0
_KINDS = frozenset(kind.value for kind in FailureKind)


class Reducer:
    """Makes small copies of pictures. To be called from several threads at once, each of which gets a helper process.

    Args:
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a helper may take over one picture.
        command: The helper's program and arguments; None is phototag's own.
    """

    def __init__(
        self,
        *,
        max_megapixels: int = MAX_MEGAPIXELS,
        time_limit_seconds: float = 60.0,
        command: Sequence[str] | None = None,
    ) -> None:
        self._seconds = time_limit_seconds
        memory = (
            None if sys.platform in ("win32", "darwin") else max_megapixels * 1_000_000 * COSTLY_BYTES + _SPARE_BYTES
        )
        limits = {"megapixels": max_megapixels, "seconds": time_limit_seconds, "memory_bytes": memory}
        self._settings = json.dumps(limits).encode()
        self._command = list(command) if command is not None else _own_command()
        self._lock = threading.Lock()
        self._one_heavy = threading.Lock()
        self._idle: list[Helper] = []
        self._all: set[Helper] = set()
        self._closed = False

    def __call__(self, data: bytes, box: tuple[int, int], path: Path) -> bytes:
        """A JPEG file within `box` (width, height) of a picture file's bytes; `path` only names it in errors.

        Raises:
            DecodeError: as for `reduced`; of kind DECODER if the helper crashed, or took too much memory or time; of
                kind BUSY if none can be started now.
            RuntimeError: the reducer is closed, or was while this picture was made.
        """
        request = BOX.pack(*box) + data
        helper = self._take(path)
        try:
            try:
                return self._ask(helper, request, path)
            except HelperError as error:
                if helper.expired or not error.may_be_innocent or helper.pictures == 1:
                    raise
            # What killed it may be left from a picture before: only a fresh one can tell.
            self._end(helper)
            helper = self._start(path)
            return self._ask(helper, request, path)
        except HelperError as error:
            self._check_open()
            reason = f"the decoder took longer than {self._seconds:g} s" if helper.expired else error.reason
            raise DecodeError(path, FailureKind.DECODER, reason) from error
        finally:
            self._give_back(helper)

    def close(self) -> None:
        """End all helper processes, busy ones too. The reducer cannot be used again."""
        with self._lock:
            self._closed = True
            helpers, idle = list(self._all), self._idle
            self._all, self._idle = set(), []
        for helper in helpers:
            helper.kill()
        for helper in helpers:
            helper.wait()
        for helper in idle:
            helper.release()  # the others are released by the threads that use them

    # -- one picture

    def _ask(self, helper: Helper, request: bytes, path: Path) -> bytes:
        helper.pictures += 1
        with _Deadline(helper, self._seconds):
            helper.send(request)
            kind, content = helper.receive(_MOST_REPLY_BYTES)
        if kind is Reply.HEAVY:
            with self._one_heavy, _Deadline(helper, self._seconds):
                helper.write(GO_ON)
                kind, content = helper.receive(_MOST_REPLY_BYTES)
        if kind is Reply.PIXELS and content.startswith(b"\xff\xd8\xff"):
            helper.reusable = True
            return bytes(content)
        if kind is Reply.FAILURE:
            name, _, reason = content.decode(errors="replace").partition("\n")
            if name in _KINDS:
                helper.reusable = True
                raise DecodeError(path, FailureKind(name), printable(reason)[:LONGEST_REASON])
        if kind is Reply.MEMORY:
            raise HelperError("the picture needs more memory than there is", may_be_innocent=helper.pictures > 1)
        raise HelperError("the decoder's answer made no sense")

    # -- the helpers

    def _take(self, path: Path) -> Helper:
        with self._lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        return self._start(path)

    def _give_back(self, helper: Helper) -> None:
        with self._lock:
            good = helper.reusable and not helper.expired and helper.pictures < _MOST_PICTURES
            if good and not self._closed:
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
        try:
            helper = Helper(self._command)
        except OSError as error:
            reason = f"no process to decode it could be started: {error.strerror or error}; try again later"
            raise DecodeError(path, FailureKind.BUSY, reason) from error
        try:
            with self._lock:
                self._check_open()
                self._all.add(helper)
            with _Deadline(helper, _STARTING_SECONDS):
                helper.send(self._settings)
                helper.receive(0)
        except HelperError as error:
            self._end(helper)
            self._check_open()
            reason = f"no process to decode it could be started: {error.reason}; try again later"
            raise DecodeError(path, FailureKind.BUSY, reason) from error
        except BaseException:
            self._end(helper)
            raise
        return helper

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the reducer is closed")


class _Deadline:
    """Kills a helper that is not done in time."""

    def __init__(self, helper: Helper, seconds: float) -> None:
        self._helper = helper
        helper.expect_within(seconds)
        self._timer = threading.Timer(seconds + 0.01, helper.kill_if_late)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._helper.expect_within(None)


def _own_command() -> list[str]:
    # As for the helpers of phototag.imaging: whatever lies in the folder that phototag was started in is not imported.
    place = str(Path(__file__).parents[2])
    program = "import sys; sys.path.append(sys.argv[1]); from phototag.web.reducer import main; main()"
    return [sys.executable, "-P", "-c", program, place]
