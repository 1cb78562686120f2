"""Render thumbnails in a few worker processes: no picture can crash the server, or hold it up."""

from __future__ import annotations

from collections.abc import Sequence

from phototag.imaging.formats import MAX_MEGAPIXELS
from phototag.imaging.sandbox import Limits, WorkerPool, memory_limit, worker_command
from phototag.imaging.thumbnails.render import BOX, for_thumbnail
from phototag.paths import PhotoPath

_LONGEST_REPLY_BYTES = 16 << 20


class Thumbnailer(WorkerPool[bytes]):
    """Renders thumbnails. May be called from several threads at once, each of which gets a worker process.

    Args:
        max_megapixels: Larger pictures are refused.
        time_limit_seconds: How long a worker may take over one picture.
        command: The worker's program and arguments; None is phototag's own.
    """

    def __init__(
        self,
        *,
        max_megapixels: int = MAX_MEGAPIXELS,
        time_limit_seconds: float = 60.0,
        command: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            worker_command("phototag.imaging.thumbnails.render") if command is None else command,
            Limits(max_megapixels, time_limit_seconds, memory_limit(max_megapixels)),
            longest_reply_bytes=_LONGEST_REPLY_BYTES,
        )

    def __call__(self, data: bytes, box: tuple[int, int], path: PhotoPath) -> bytes:
        """Return a JPEG file within `box` (width, height) of a picture file's bytes; `path` only names it in errors.

        Raises:
            DecodeError: as for `render_thumbnail` and `ask`.
            RuntimeError: as for `ask`.
        """
        return self.ask(BOX.pack(*box) + for_thumbnail(data, box), path)

    def _result(self, content: bytearray) -> bytes | None:
        return bytes(content) if content.startswith(b"\xff\xd8\xff") else None
