"""Which files count as pictures. Importing this module imports no imaging library."""

from __future__ import annotations

from pathlib import PurePath

# Only these decoders can be reached, whatever a file claims to be: rarely used ones are where decoders break.
# JPEG takes in MPO, the multi-picture JPEG that many phones write.
DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif"})

# Larger pictures are refused before anything is decoded, unless the user says otherwise.
MAX_MEGAPIXELS = 300


def is_picture(path: PurePath) -> bool:
    """Whether the name says that this is a picture phototag reads. The content decides later."""
    return path.suffix.lower() in SUFFIXES
