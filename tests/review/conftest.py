"""A library whose photos are reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pictures import MakePicture
from tests.support.scripted_review import Library


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Library:
    return Library(tmp_path / "photos", make_picture)
