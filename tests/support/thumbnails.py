"""A thumbnailer that counts and waits, and pictures as bytes and back."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from PIL import Image

from phototag.imaging.thumbnails.thumbnailer import Thumbnailer


class CountingThumbnailer(Thumbnailer):
    """A thumbnailer that counts, and waits if it is told to."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.count = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, data: bytes, box: tuple[int, int], path: Path) -> bytes:
        self.count += 1
        assert self.may_go_on.wait(60)
        return super().__call__(data, box, path)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
