"""Decode pictures so that none can crash the program.

Everyday files of trusted formats, JPEG and PNG, are decoded in this process. Everything else goes to worker processes:
formats whose decoders break more often, and giants of any format, one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.imaging.cost import cost_of
from phototag.imaging.decode import decode_bytes
from phototag.imaging.formats import MAX_MEGAPIXELS, format_of
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox.pool import WorkerPool, memory_limit
from phototag.imaging.sandbox.process import worker_command
from phototag.imaging.sandbox.worker import LONGEST_REASON, SIZE, Limits

Picture = tuple[NDArray[np.uint8], int, int]


class Decoder(WorkerPool[Picture]):
    """Decodes pictures for one preprocessing; to be called from several threads at once, and closed in the end.

    Args:
        preprocessing: What the pixels are for.
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a worker process may take over one picture.
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
        if memory_limit_bytes is None or sys.platform in ("win32", "darwin"):
            memory_limit_bytes = memory_limit(max_megapixels)
        self._preprocessing = preprocessing
        super().__init__(
            worker_command("phototag.imaging.sandbox.worker") if command is None else command,
            Limits(max_megapixels, time_limit_seconds, memory_limit_bytes, preprocessing.to_json()),
            longest_reply_bytes=SIZE.size + max(3 * preprocessing.size**2, 4 * LONGEST_REASON + 100),
        )

    def __call__(self, data: bytes, path: Path) -> Picture:
        """Decode a picture file's bytes: pixels [size, size, 3] and the upright width and height of the whole picture.

        `path` only names the picture in errors.

        Raises:
            DecodeError: as for `decode_bytes` and `ask`.
            RuntimeError: as for `ask`.
        """
        form = format_of(data)
        cost = None if form is None or form.untrusted else cost_of(data, self._preprocessing)
        if cost is not None and cost.everyday:
            return decode_bytes(data, self._preprocessing, path, max_megapixels=self._limits.max_megapixels)
        return self.ask(data, path)

    def _result(self, content: bytearray) -> Picture | None:
        size = self._preprocessing.size
        if len(content) != SIZE.size + 3 * size**2:
            return None
        width, height = SIZE.unpack_from(content)
        if not 1 <= width * height <= self._limits.max_megapixels * 1_000_000:
            return None
        return np.frombuffer(content, np.uint8, offset=SIZE.size).reshape(size, size, 3), width, height
