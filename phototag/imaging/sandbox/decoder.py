"""Decode pictures so that none can crash the program.

Everyday files of trusted formats, JPEG and PNG, are decoded in this process. Everything else goes to worker processes:
formats whose decoders break more often, giants of any format, one at a time, and what a process died over before.
"""

from __future__ import annotations

import sys
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of
from phototag.imaging.decode import decode_bytes, decode_whole
from phototag.imaging.formats import MAX_MEGAPIXELS, format_of
from phototag.imaging.openers import stand_in
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox.crash_log import CrashLog
from phototag.imaging.sandbox.pool import Made, WorkerPool, memory_limit
from phototag.imaging.sandbox.process import worker_command
from phototag.imaging.sandbox.worker import LONGEST_REASON, SHORT_SIDE, SIZE, Limits, for_whole
from phototag.paths import PhotoPath
from phototag.settings import cache_folder

Picture = tuple[NDArray[np.uint8], int, int]

_LONGEST_FAILURE_BYTES = 4 * LONGEST_REASON + 100


class _Decoder(WorkerPool[Made]):
    """Decodes pictures in this process or in a worker; see `Decoder` for the arguments."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        options: dict[str, Any],
        *,
        longest_result_bytes: int,
        max_megapixels: int,
        time_limit_seconds: float,
        memory_limit_bytes: int | None,
        command: Sequence[str] | None,
    ) -> None:
        if memory_limit_bytes is None or sys.platform in ("win32", "darwin"):
            memory_limit_bytes = memory_limit(max_megapixels)
        self._preprocessing = preprocessing
        self._crash_log: CrashLog | None = None
        self._one_opens = threading.Lock()
        super().__init__(
            worker_command("phototag.imaging.sandbox.worker") if command is None else command,
            Limits(max_megapixels, time_limit_seconds, memory_limit_bytes, options),
            longest_reply_bytes=SIZE.size + max(longest_result_bytes, _LONGEST_FAILURE_BYTES),
        )

    @abstractmethod
    def _decode(self, data: bytes, path: PhotoPath) -> Made:
        """Decode in this process."""

    def __call__(self, data: bytes, path: PhotoPath) -> Made:
        """Decode a picture file's bytes; `path` only names it in errors.

        Raises:
            DecodeError: as for `decode_bytes` and `ask`.
            RuntimeError: as for `ask`.
        """
        data = stand_in(data, self._preprocessing.short_side)
        form = format_of(data)
        if form is not None and not form.is_installed:
            raise DecodeError(path, form.lacking, form.advice)
        cost = None if form is None or form.untrusted else cost_of(data, self._preprocessing)
        if cost is None or not cost.everyday:
            return self.ask(data, path)
        if self._crash_log is None:
            with self._one_opens:
                self._crash_log = self._crash_log or CrashLog(cache_folder() / "decoding")
        if self._crash_log.is_suspect(data):
            return self.ask(data, path)
        self._crash_log.begin(data)
        try:
            return self._decode(data, path)
        except DecodeError as error:
            if not isinstance(error.__cause__, MemoryError):
                raise
        finally:
            self._crash_log.end()
        return self.ask(data, path)  # the picture may be sound: a worker has memory of its own

    def close(self) -> None:
        """End all worker processes, busy ones too. The decoder cannot be used again."""
        super().close()
        if self._crash_log is not None:
            self._crash_log.close()


class Decoder(_Decoder[Picture]):
    """Decodes pictures for one preprocessing; to be called from several threads at once, and closed in the end.

    A call gives pixels [size, size, 3] and the upright width and height of the whole picture.

    Args:
        preprocessing: What the pixels are for.
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a worker process may take over one picture, of its own time.
        memory_limit_bytes: How much address space a worker may have; None is enough for any picture that is not
            refused. Windows and macOS set no such limit.
        command: The worker's program and arguments; None is phototag's own.
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
        super().__init__(
            preprocessing,
            preprocessing.to_json(),
            longest_result_bytes=3 * preprocessing.size**2,
            max_megapixels=max_megapixels,
            time_limit_seconds=time_limit_seconds,
            memory_limit_bytes=memory_limit_bytes,
            command=command,
        )

    def _decode(self, data: bytes, path: PhotoPath) -> Picture:
        return decode_bytes(data, self._preprocessing, path, max_megapixels=self._limits.max_megapixels)

    def _result(self, content: bytearray) -> Picture | None:
        size = self._preprocessing.size
        if len(content) != SIZE.size + 3 * size**2:
            return None
        width, height = SIZE.unpack_from(content)
        if not 1 <= width * height <= self._limits.max_megapixels * 1_000_000:
            return None
        return np.frombuffer(content, np.uint8, offset=SIZE.size).reshape(size, size, 3), width, height


class WholeDecoder(_Decoder[Image.Image]):
    """Decodes whole pictures as `decode_whole` does, upright, RGB; to be called from several threads, and closed.

    Args:
        short_side: Pixels that the shorter side has at least, if the picture's own has.
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a worker process may take over one picture, of its own time.
        command: The worker's program and arguments; None is phototag's own.
    """

    def __init__(
        self,
        short_side: int,
        *,
        max_megapixels: int = MAX_MEGAPIXELS,
        time_limit_seconds: float = 120.0,
        command: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            for_whole(short_side),
            {SHORT_SIDE: short_side},
            longest_result_bytes=3 * max_megapixels * 1_000_000,
            max_megapixels=max_megapixels,
            time_limit_seconds=time_limit_seconds,
            memory_limit_bytes=None,
            command=command,
        )
        self._short_side = short_side

    def _decode(self, data: bytes, path: PhotoPath) -> Image.Image:
        return decode_whole(data, short_side=self._short_side, path=path, max_megapixels=self._limits.max_megapixels)

    def _result(self, content: bytearray) -> Image.Image | None:
        width, height = SIZE.unpack_from(content) if len(content) > SIZE.size else (0, 0)
        if not width or not height or len(content) != SIZE.size + 3 * width * height:
            return None
        return Image.frombytes("RGB", (width, height), memoryview(content)[SIZE.size :])
