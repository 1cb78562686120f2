"""Small copies of pictures, made by a few helper processes: no picture can take the server along, or hold it up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.sandbox import HelperPool, memory_limit, own_command
from phototag.imaging.thumbnails.render import BOX

_LONGEST_REPLY_BYTES = 16 << 20


class Reducer(HelperPool[bytes]):
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
        memory = memory_limit(max_megapixels)
        limits = {"megapixels": max_megapixels, "seconds": time_limit_seconds, "memory_bytes": memory}
        super().__init__(
            own_command("phototag.imaging.thumbnails.render") if command is None else command,
            json.dumps(limits).encode(),
            time_limit_seconds=time_limit_seconds,
            memory_limit_bytes=memory,
            longest_reply_bytes=_LONGEST_REPLY_BYTES,
        )

    def __call__(self, data: bytes, box: tuple[int, int], path: Path) -> bytes:
        """A JPEG file within `box` (width, height) of a picture file's bytes; `path` only names it in errors.

        Raises:
            DecodeError: as for `reduced` and `ask`.
            RuntimeError: as for `ask`.
        """
        return self.ask(BOX.pack(*box) + data, path)

    def _result(self, content: bytearray) -> bytes | None:
        return bytes(content) if content.startswith(b"\xff\xd8\xff") else None
