"""A library of a few photos, and `tag` in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phototag.runtime.runtime import Runtime
from phototag.store import Store
from phototag.tagging.tagger import Tagger, TagReport
from tests.support.light_tagger import light_tagger, write_light_model
from tests.support.pictures import MakePicture
from tests.support.tagged_photos import RunTag


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "photos.db"


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Path:
    """A folder of eight pictures in two folders."""
    folder = tmp_path / "library"
    for number in range(8):
        make_picture(folder / f"{number % 2}" / f"{number}.jpg")
    return folder


@pytest.fixture
def tag(quick_model: Path, db: Path) -> RunTag:
    """Tag folders with the tiny model, or another."""

    def run(*paths: Path, model: Path = quick_model, **options: Any) -> TagReport:
        with Store.open(db) as store:
            return Tagger(model, batch_size=4).tag(paths, store, **options)

    return run


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on a network that runs fails the test."""

    def forbid() -> None:
        def run(self: Runtime, pictures: Sequence[np.ndarray]) -> None:
            raise AssertionError(f"the network ran on {len(pictures)} photos")

        monkeypatch.setattr(Runtime, "start", run)

    return forbid


@pytest.fixture(scope="session")
def light_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file for `light_tagger`."""
    return write_light_model(tmp_path_factory.mktemp("models") / "light.safetensors")


@pytest.fixture
def light_tag(light_model: Path, db: Path) -> RunTag:
    """Tag folders without a network."""

    def run(*paths: Path, **options: Any) -> TagReport:
        with Store.open(db) as store, light_tagger(light_model) as tagger:
            return tagger.tag(paths, store, **options)

    return run
