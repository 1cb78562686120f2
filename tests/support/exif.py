"""EXIF for pictures of tests, as Pillow writes it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

CAMERA = {0x010F: "NIKON CORPORATION", 0x0110: "NIKON D850"}
TAKEN = {0x9003: "2026:05:03 14:22:01", 0x9291: "250", 0x9011: "+02:00", 0xA431: "6012345", 0xA434: "Nikkor 50mm"}
BERLIN = {1: "N", 2: (52.0, 30.0, 36.0), 3: "E", 4: (13.0, 24.0, 18.0)}


def exif_block(
    image: dict[int, Any] | None = None, exif: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    """EXIF with these tags, beginning with `Exif\\0\\0`."""
    block = Image.Exif()
    block.update(image or {})
    for pointer, tags in ((0x8769, exif), (0x8825, gps)):
        if tags:
            block.get_ifd(pointer).update(tags)
    return block.tobytes()


def picture(form: str = "JPEG", *, exif: bytes = b"", shade: int = 128, **options: Any) -> bytes:
    """A small picture of one grey with that EXIF."""
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (shade, shade, shade)).save(file, form, exif=exif, **options)
    return file.getvalue()


def taken(moment: str, *, camera: dict[int, Any] = CAMERA, shade: int = 128, fraction: str = "0") -> bytes:
    """A small JPEG that was taken then: "2026:05:03 14:22:01"."""
    return picture(exif=exif_block(camera, {0x9003: moment, 0x9291: fraction}), shade=shade)


def save_taken(folder: Path, moments: dict[str, str], **options: Any) -> None:
    """Save a small JPEG in the folder for each name and when it was taken, each of its own content."""
    for number, (name, moment) in enumerate(moments.items()):
        (folder / name).write_bytes(taken(moment, shade=10 + number, **options))
