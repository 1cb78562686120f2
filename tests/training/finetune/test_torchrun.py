"""`phototag train` under torchrun: several processes come to the model of one, and one of them writes and speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phototag.model.file import read_header, read_tensors
from tests.support.models import random_weights
from tests.support.pictures import colour_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes find each other otherwise there"),
]

# Without batch norm, whose statistics would be those of each process's share.
BACKBONE = "test_convnext"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of four classes. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("torchrun") / "colours", 10)


def run(words: list[str], folder: Path, *, processes: int) -> subprocess.CompletedProcess[str]:
    """`phototag` by one process, or by several under torchrun, with a home of its own in `folder`."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), "-m", "phototag", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PHOTOTAG_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def both(
    words: list[str], folder: Path
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str], Path, Path]:
    """What one process and two say, and the models that they write."""
    said, models = [], []
    for processes in (1, 2):
        place = folder / str(processes)
        place.mkdir()
        said.append(run([*words, "--output", str(place / "m.safetensors")], place, processes=processes))
        assert sorted(path.name for path in place.iterdir()) == ["home", "m.safetensors"]
        assert len(list((place / "home").rglob("active-model"))) == 1
        models.append(place / "m.safetensors")
    return said[0], said[1], models[0], models[1]


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = read_header(one), read_header(other)
    assert ours.taxonomy == theirs.taxonomy
    for name in ("superclass_accuracy", "subclass_accuracy"):
        assert ours.metrics[name] == theirs.metrics[name]
    assert ours.record["data_digest"] == theirs.record["data_digest"]
    before, after = read_tensors(one), read_tensors(other)
    assert before.keys() == after.keys()
    for name, value in before.items():
        if name.startswith(("backbone.", "superclass_head.", "subclass_head.")):
            np.testing.assert_allclose(after[name], value, rtol=1e-3, atol=1e-3, err_msg=name)


def assert_one_spoke(said: subprocess.CompletedProcess[str], model: Path) -> None:
    assert said.stderr.count(f"Model {model.stem}: {model}") == 1
    assert said.stderr.count("It is active now.") == 1
    assert said.stderr.count("40 pictures of 4 subclasses in 2 superclasses") <= 1
    assert said.stdout.count("subclass accuracy") <= 1


def test_two_processes_train_the_network_of_one(data: Path, tmp_path: Path) -> None:
    words = ["train", str(data), "--tune", "full", "--no-pretrained", "--backbone", BACKBONE, "--img-size", "32"]
    words += ["--epochs", "2", "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    alone, together, one, two = both(words, tmp_path)
    assert_same_model(one, two)
    assert_one_spoke(together, two)
    assert together.stdout == alone.stdout
    curves = [read_header(path).record["curves"] for path in (one, two)]
    for ours, theirs in zip(*curves, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-3)


def test_two_processes_fit_the_heads_of_one(data: Path, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "weights.pth", BACKBONE)
    words = ["train", str(data), "--tune", "heads", "--weights", str(weights), "--backbone", BACKBONE]
    words += ["--img-size", "32", "--workers", "0", "--device", "cpu"]
    alone, together, one, two = both(words, tmp_path)
    for model in (one, two):
        assert read_header(model).record["tune"] == "heads"
    assert_same_model(one, two)
    assert_one_spoke(together, two)
    assert together.stdout == alone.stdout


def test_wrong_use_is_told_once(data: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["train", str(data), "--extend", "builtin", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "phototag", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("keeps no examples of its classes") == 1
