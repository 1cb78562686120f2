"""A library with a sample that is reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pictures import MakePicture
from tests.support.samples import Sampled


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Sampled:
    return Sampled(tmp_path / "photos", make_picture)
