"""One Ray for all tests, on loopback and with a token of its own, and a model for workers without a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from phototag.cluster.ray_session import RaySession
from phototag.errors import RuntimeUnavailableError
from tests.support.light_tagger import write_light_model


# Its processes never rest, so they end before the next file of tests.
@pytest.fixture(scope="module")
def ray_session(_converted: Path) -> Iterator[RaySession]:
    """A running cluster of this computer, whose workers find the tiny model converted."""
    if importlib.util.find_spec("ray") is None:  # to import it would tell it to do without a token
        pytest.skip("Ray is not installed")
    with pytest.MonkeyPatch.context() as patch, RaySession(cores=2) as session:
        patch.setenv("PHOTOTAG_HOME", str(_converted.parent))
        try:
            _ = session.ray
        except RuntimeUnavailableError as error:
            pytest.skip(str(error))
        yield session


@pytest.fixture(scope="session")
def light_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file for workers without a network."""
    return write_light_model(tmp_path_factory.mktemp("models") / "light.safetensors")
