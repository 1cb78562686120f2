"""What several test files share: a home of their own, pictures, a tiny model, and two ways to run the command."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

# Before torch and numpy are imported: their threads otherwise spin while they wait, which on busy cores costs minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Tests start hundreds of processes, each of which would compile all of phototag again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings
from PIL import Image

pytest.register_assert_rewrite("tests.support")

from tests.support.commands import RunCommand, RunProcess
from tests.support.models import write_tiny_model
from tests.support.new_databases import make_new_ones_alike
from tests.support.pictures import MakePicture
from tests.support.postgres import _reused_database, postgres_server, postgres_url  # noqa: F401  # fixtures
from tests.support.project import ROOT

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The folder of networks that `converted_once` shares.
_CONVERTED = "TESTS_CONVERTED_DIR"

# A law is seen to be broken within a few dozen examples; how long one takes says nothing on a busy machine.
settings.register_profile("phototag", max_examples=40, deadline=None)
settings.load_profile("phototag")


def pytest_configure(config: pytest.Config) -> None:
    """Let numba and OpenVINO work once for all processes of a run, not in each home; deal out files in our order."""
    for name in ("NUMBA_CACHE_DIR", _CONVERTED):
        if not hasattr(config, "workerinput") and name not in os.environ:
            folder = tempfile.TemporaryDirectory(prefix="phototag-tests-")
            os.environ[name] = folder.name  # the processes that pytest-xdist starts inherit it
            config.add_cleanup(folder.cleanup)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give pytest-xdist the files that take long first, so that no process is left alone with one in the end."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow") or "training" in item.path.parts}
        items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector, now and later, from the million objects of modules that are imported here."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names for homes, numbered here: pytest looks through all folders that it made for the next number."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for each test, and no setting from the environment: no test touches the user's own folders."""
    folder = next(_homes)
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PHOTOTAG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PHOTOTAG_HOME", str(folder))
    # Pictures that are drawn for tests look alike: each class would be one series.
    monkeypatch.setenv("PHOTOTAG_TRAIN_GROUPS", "none")
    monkeypatch.setenv("PHOTOTAG_COMPARE_GROUPS", "none")
    return folder


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """Give back the cores that a test kept this process from: the next ones would be slow, and see another machine."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    there = os.sched_getaffinity(0)
    yield
    if os.sched_getaffinity(0) != there:
        os.sched_setaffinity(0, there)


@pytest.fixture(scope="session", autouse=True)
def _new_databases() -> Iterator[None]:
    """Make the tables of new databases in a few milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        make_new_ones_alike(patch)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data beside the repository, which a clone elsewhere does not have."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the shared data lie beside the project's own checkout only")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much when the cores are busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """Share networks converted for OpenVINO, by their keys, between the homes of this process and of all other tests.

    For tests that are not about converting: the built-in model's takes longer than tagging a hundred photos with it.
    """
    from phototag.runtime import openvino_engine

    path = openvino_engine.cache_path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_engine, "cache_path", lambda key: Path(os.environ[_CONVERTED], path(key).name))
        patch.setattr(openvino_engine, "_CONVERTED_KEPT", 1000)
        yield


@pytest.fixture
def make_picture() -> MakePicture:
    """A function that draws a picture file, of soft blots of colour that depend on its name, or on `seed`."""

    def make(path: Path, *, seed: int | None = None, size: tuple[int, int] = (96, 64), **save: Any) -> Path:
        random = np.random.default_rng(zlib.crc32(os.fsencode(path.name)) if seed is None else seed)
        blots = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC).save(path, **save)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights that tags a picture in a millisecond. Do not change it: copy it."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.safetensors", seed=1)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one of the same classes, with other weights."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "other.safetensors", seed=2)


@pytest.fixture(scope="session")
def _converted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A cache folder with the tiny model converted for OpenVINO, so that processes need no torch to tag."""
    from phototag.choices import Device, RuntimeName
    from phototag.model.registry import open_model
    from phototag.runtime.runtime import Runtime, Target

    folder = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOTAG_HOME", str(folder))
        Runtime(open_model(tiny_model), target=Target(Device.CPU, RuntimeName.OPENVINO), batch_size=1)
    return folder / "cache"


@pytest.fixture
def quick_model(_converted: Path, home: Path, tiny_model: Path) -> Path:
    """The tiny model, converted for OpenVINO in this test's home: a process tags with it and never loads torch."""
    shutil.copytree(_converted, home / "cache")
    return tiny_model


@pytest.fixture
def run_phototag() -> RunCommand:
    """Run `phototag` in this process: run_phototag("query", "--count"). An unexpected exception fails the test."""

    def run(*args: str | os.PathLike[str], input: str | None = None) -> Result:  # noqa: A002
        from phototag.cli.main import cli

        words = [os.fspath(arg) for arg in args]
        result = CliRunner().invoke(cli, words, prog_name="phototag", input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def phototag_process() -> RunProcess:
    """Run `phototag` as a process of its own, as a user does; output is bytes."""

    def run(
        *args: str | os.PathLike[str], env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-m", "phototag", *map(os.fspath, args)]
        done = subprocess.run(
            words, capture_output=True, env={**os.environ, **(env or {})}, timeout=120, check=False, **more
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        return done

    return run
