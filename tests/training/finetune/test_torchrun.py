"""`phototag train` under torchrun: several processes come to the model of one, and one of them writes and speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from phototag.__main__ import main
from phototag.model.file import read_header, read_tensors
from tests.support.commands import RunCommand
from tests.support.models import random_weights
from tests.support.pictures import colour_folder
from tests.support.ranks import PATIENCE_SECONDS, Ended, run_ranks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes find each other otherwise there"),
]

Both = Callable[..., "tuple[Result, Ended, Path, Path]"]

# Without batch norm, whose statistics would be those of each process's share.
BACKBONE = "test_convnext"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of four classes. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("torchrun") / "colours", 10)


def torchrun(words: list[str], folder: Path) -> Ended:
    """Run `phototag` by two processes under torchrun; whether they succeed is for the caller to look at."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "phototag", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def phototag(*words: str) -> None:
    """What each of two processes runs that are started as by torchrun."""
    sys.argv = ["phototag", *words]
    main()


def like_torchrun(words: list[str], folder: Path) -> Ended:
    """Run `phototag` by two such processes; returns what both wrote, and the first exit code that is not 0."""
    ((one, other),) = run_ranks(folder, __name__, ("phototag", *words))
    for name in ("codes.json", *(f"0-{rank}.{end}" for rank in (0, 1) for end in ("out", "err"))):
        (folder / name).unlink()
    return Ended(one.code or other.code, one.stdout + other.stdout, one.stderr + other.stderr)


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phototag: RunCommand) -> Both:
    """Run a command by this process and by two, each with its own home: what they say, and the models they write."""

    def run(words: list[str], by: Callable[[list[str], Path], Ended]) -> tuple[Result, Ended, Path, Path]:
        models = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            models.append(tmp_path / name / "m.safetensors")
        monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path / "one" / "home"))
        alone = run_phototag(*words, "--output", models[0])
        monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path / "two" / "home"))
        together = by([*words, "--output", str(models[1])], tmp_path / "two")
        assert alone.exit_code == together.code == 0, alone.stderr + together.stderr
        assert "Traceback" not in together.stderr
        for model in models:
            assert sorted(path.name for path in model.parent.iterdir()) == ["home", "m.safetensors"]
            assert len(list((model.parent / "home").rglob("active-model"))) == 1
        return alone, together, *models

    return run


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


def assert_one_spoke(said: Ended, model: Path) -> None:
    assert said.stderr.count(f"Model {model.stem}: {model}") == 1
    assert said.stderr.count("It is active now.") == 1
    assert said.stderr.count("40 pictures of 4 subclasses in 2 superclasses") <= 1
    assert said.stdout.count("subclass accuracy") <= 1


def test_two_processes_train_the_network_of_one(data: Path, both: Both) -> None:
    words = ["train", str(data), "--tune", "full", "--no-pretrained", "--backbone", BACKBONE, "--img-size", "32"]
    words += ["--epochs", "2", "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    alone, together, one, two = both(words, torchrun)
    assert_same_model(one, two)
    assert_one_spoke(together, two)
    assert together.stdout == alone.stdout
    curves = [read_header(path).record["curves"] for path in (one, two)]
    for ours, theirs in zip(*curves, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-3)


def test_two_processes_fit_the_heads_of_one(data: Path, tmp_path: Path, both: Both) -> None:
    weights = random_weights(tmp_path / "weights.pth", BACKBONE)
    words = ["train", str(data), "--tune", "heads", "--weights", str(weights), "--backbone", BACKBONE]
    words += ["--img-size", "32", "--workers", "0", "--device", "cpu"]
    alone, together, one, two = both(words, like_torchrun)
    for model in (one, two):
        assert read_header(model).record["tune"] == "heads"
    assert_same_model(one, two)
    assert_one_spoke(together, two)
    assert together.stdout == alone.stdout


def test_wrong_use_is_told_once(data: Path, tmp_path: Path) -> None:
    done = like_torchrun(["train", str(data), "--extend", "builtin", "--device", "cpu"], tmp_path)
    assert done.code != 0
    assert done.stderr.count("keeps no examples of its classes") == 1
