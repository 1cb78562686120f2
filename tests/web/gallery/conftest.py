"""Databases that several tests of the gallery show."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.gallery_photos import HOSTILE
from tests.support.web import save_photos


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A database of picture files whose names want to be more than names."""
    folder = tmp_path / "pictures" / os.fsdecode(b"<b>\n\xff")
    folder.mkdir(parents=True)
    files = []
    for name in HOSTILE:
        path = folder / os.fsdecode(name)
        Image.fromarray(np.full((64, 96, 3), 120, np.uint8)).save(path, "JPEG")
        files.append(path)
    save_photos(tmp_path / "photos.db", files)
    return tmp_path / "photos.db"
