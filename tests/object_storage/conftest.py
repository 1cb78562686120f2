"""A server of objects for all these tests, and a tagger that is quick."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.store import Query, Store
from phototag.tagging.tagger import TagReport
from tests.support.light_tagger import light_tagger, write_light_model
from tests.support.s3_server import S3Server

pytest.importorskip("botocore", reason="botocore is not installed; it comes with the extra s3")

RunTag = Callable[..., TagReport]


@pytest.fixture(scope="session")
def _server() -> Iterator[S3Server]:
    with S3Server().running() as server:
        yield server


@pytest.fixture
def s3(_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with an empty bucket "museum", which this process talks to."""
    _server.reset()
    _server.buckets["museum"] = {}
    for name, value in (
        ("AWS_ENDPOINT_URL", _server.url),
        ("AWS_ACCESS_KEY_ID", "curator"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_CONFIG_FILE", "none"),
        ("AWS_SHARED_CREDENTIALS_FILE", "none"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # Nothing is to be gained here from waiting as long as between real computers.
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return _server


def picture(seed: int, form: str = "JPEG") -> bytes:
    """Return the bytes of a small picture."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blots).resize((48, 32), Image.Resampling.BICUBIC).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="session")
def light_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_light_model(tmp_path_factory.mktemp("models") / "light.safetensors")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "photos.db"


@pytest.fixture
def tag(light_model: Path, db: Path) -> RunTag:
    """Tag objects, or folders."""

    def run(*paths: str | Path, **options: Any) -> TagReport:
        with Store.open(db) as store, light_tagger(light_model) as tagger:
            return tagger.tag(paths, store, **options)

    return run


@pytest.fixture
def known(db: Path) -> Callable[..., dict[str, str]]:
    """Return the states of photos by their address."""

    def run(**wanted: Any) -> dict[str, str]:
        with Store.open(db) as store:
            return {str(row.path): row.state.value for row in store.query(Query(**wanted))}

    return run
