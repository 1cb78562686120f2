"""PyTorch and OpenVINO behind one call: the same answers, the right device, a cache, and nothing sent to anybody."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag import settings
from phototag.choices import Device, RuntimeName
from phototag.decision import gather, join
from phototag.decision.rule import Joint
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.imaging.decode import decode_bytes
from phototag.imaging.reading import read_bytes
from phototag.model.registry import Model, open_model
from phototag.records import Scores
from phototag.runtime import openvino_engine as openvino_module
from phototag.runtime.engine import Outputs
from phototag.runtime.openvino_engine import OpenVinoEngine, import_openvino
from phototag.runtime.runtime import Runtime, Target, choose_target, create_engine, network_of
from phototag.runtime.threads import available_cores, decode_threads
from phototag.text import first_line
from tests.support.project import ROOT

TORCH = Target(Device.CPU, RuntimeName.TORCH)
OPENVINO = Target(Device.CPU, RuntimeName.OPENVINO)

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


def pictures(count: int, *, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def joint(scores: Scores, model: Model) -> Joint:
    return join(gather(scores, model.header.taxonomy))


# -- both runtimes give the same tags


@needs_openvino
@pytest.mark.slow
def test_runtimes_agree_on_real_pictures() -> None:
    """The promise of the default runtime: top-1 agreement at least 99.5 %, scores within 0.01."""
    paths = sorted((ROOT / "sample_images").rglob("*.jpg"))[::6]
    paths += sorted((ROOT.parent / "shared" / "data" / "photos").glob("*.JPEG"))
    paths = [path for path in paths if "truncated" not in path.name]
    assert len(paths) >= 20
    model = open_model("builtin")
    decoded = (decode_bytes(read_bytes(path), model.header.preprocessing, path)[0] for path in paths)
    pixels = np.stack([*decoded]).transpose(0, 3, 1, 2)
    found = []
    for target in (TORCH, OPENVINO):
        run = Runtime(model, target=target)
        parts = [joint(run(pixels[start : start + 32]), model) for start in range(0, len(pixels), 32)]
        found.append(
            {name: np.concatenate([getattr(part, name) for part in parts]) for name in Joint.__dataclass_fields__}
        )
    one, other = found
    assert (one["chosen"] == other["chosen"]).mean() >= 0.995
    assert (one["child"] == other["child"]).mean() >= 0.995
    assert np.abs(one["superclass"] - other["superclass"]).max() < 0.01
    same = one["child"] == other["child"]
    assert np.abs(one["child_score"] - other["child_score"])[same].max() < 0.01


@needs_openvino
def test_runtimes_agree_on_a_trained_model_with_two_heads(tiny_model: Path) -> None:
    model, images = open_model(tiny_model), pictures(32)
    one, other = (Runtime(model, target=target)(images) for target in (TORCH, OPENVINO))
    np.testing.assert_allclose(one.superclass, other.superclass, atol=1e-3)
    np.testing.assert_allclose(one.subclass, other.subclass, atol=1e-3)


TARGETS = [pytest.param(TORCH, id="torch"), pytest.param(OPENVINO, id="openvino", marks=needs_openvino)]


@pytest.mark.parametrize("target", TARGETS)
def test_photos_do_not_depend_on_what_shares_their_batch(tiny_model: Path, target: Target) -> None:
    run = Runtime(open_model(tiny_model), target=target, batch_size=8)
    images = pictures(8)
    whole = run(images)
    for count in (1, 3, 7):
        part = run(images[:count])
        assert part.superclass.shape == (count, 3)
        assert part.subclass.shape == (count, 5)
        np.testing.assert_allclose(part.subclass, whole.subclass[:count], atol=1e-4)
    backwards = run(images[::-1])
    np.testing.assert_allclose(backwards.superclass[::-1], whole.superclass, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_scores_of_a_batch_stay_when_the_next_one_runs(tiny_model: Path, target: Target) -> None:
    # A runtime that hands out its own buffers would change them.
    run = Runtime(open_model(tiny_model), target=target, batch_size=4)
    first = run(pictures(4))
    kept = first.subclass.copy()
    run(pictures(4, seed=1))
    np.testing.assert_array_equal(first.subclass, kept)


@pytest.mark.parametrize("target", TARGETS)
def test_batch_of_one_and_pictures_laid_out_either_way(tiny_model: Path, target: Target) -> None:
    run = Runtime(open_model(tiny_model), target=target, batch_size=1)
    image = pictures(1)
    other_layout = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run(image).subclass, run(other_layout).subclass)


def test_runtime_gives_what_the_network_gives(tiny_model: Path) -> None:
    import torch

    from phototag.model.network import build

    model, images = open_model(tiny_model), pictures(4)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (model.header.preprocessing.mean, model.header.preprocessing.std)
    )
    with torch.inference_mode():
        superclass, subclass = build(model.header, model.tensors())((torch.from_numpy(images) / 255 - mean) / std)
    scores = Runtime(model, target=TORCH)(images)
    np.testing.assert_allclose(scores.superclass, superclass, atol=1e-4)
    np.testing.assert_allclose(scores.subclass, subclass, atol=1e-4)


# -- which device and runtime


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # the device files of the driver


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "openvino" else find(name, *more)
    )
    monkeypatch.setitem(sys.modules, "openvino", None)


@needs_openvino
@pytest.mark.usefixtures("no_gpu")
def test_openvino_is_the_default_on_a_cpu() -> None:
    assert choose_target() == OPENVINO
    assert choose_target(Device.CPU) == OPENVINO
    assert choose_target(Device.CPU, RuntimeName.TORCH) == TORCH


@pytest.mark.usefixtures("with_cuda")
def test_torch_on_the_gpu_is_the_default_where_there_is_one() -> None:
    assert choose_target() == Target(Device.CUDA, RuntimeName.TORCH)
    assert choose_target(Device.CPU).device is Device.CPU


@needs_openvino
@pytest.mark.usefixtures("with_cuda")
def test_openvino_asked_for_beside_a_gpu_runs_on_the_cpu() -> None:
    assert choose_target(runtime=RuntimeName.OPENVINO) == OPENVINO


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", [Device.CUDA, Device.MPS])
def test_gpu_that_is_not_here_is_told_with_the_way_out(device: Device) -> None:
    with pytest.raises(RuntimeUnavailableError, match=f"no {device} device here.*--device auto"):
        choose_target(device)


@pytest.mark.parametrize("device", [Device.CUDA, Device.MPS])
def test_openvino_on_a_gpu_is_wrong_use(device: Device) -> None:
    with pytest.raises(UsageError, match=f"not on {device}; use --runtime torch"):
        choose_target(device, RuntimeName.OPENVINO)


@pytest.mark.usefixtures("no_gpu", "no_openvino")
def test_torch_stands_in_where_openvino_is_missing(tiny_model: Path) -> None:
    target = choose_target()
    assert target == TORCH
    assert Runtime(open_model(tiny_model), target=target)(pictures(2)).subclass.shape == (2, 5)
    with pytest.raises(RuntimeUnavailableError, match="pip install openvino"):
        choose_target(runtime=RuntimeName.OPENVINO)


@pytest.mark.usefixtures("no_openvino")
def test_openvino_that_cannot_be_loaded_names_the_way_out(tiny_model: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"cannot be loaded.*--runtime torch"):
        Runtime(open_model(tiny_model), target=OPENVINO)


@needs_openvino
def test_network_that_openvino_cannot_convert_names_the_way_out() -> None:
    import torch

    from phototag.imaging.preprocessing import Preprocessing

    class Stubborn(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError("no such operation")

    root = logging.getLogger()
    before = root.level, root.handlers[:]
    with pytest.raises(RuntimeUnavailableError, match=r"cannot convert this network.*--runtime torch"):
        create_engine(Stubborn, Preprocessing(size=32), target=OPENVINO, key="stubborn")
    assert (root.level, root.handlers) == before  # the caller's logging is the caller's


@pytest.mark.parametrize(("said", "told"), [("one\ntwo", "one"), (" \n\n two \n", "two"), ("", "ValueError")])
def test_error_is_told_in_one_line_also_if_it_says_nothing(said: str, told: str) -> None:
    assert first_line(ValueError(said)) == told


# -- batches on their way through OpenVINO


@pytest.fixture
def engine(tiny_model: Path) -> OpenVinoEngine:
    model = open_model(tiny_model)
    made = create_engine(network_of(model), model.header.preprocessing, target=OPENVINO, key=model.hash, batch_size=8)
    assert isinstance(made, OpenVinoEngine)
    return made


def photos(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return pictures(count, seed=seed).transpose(0, 2, 3, 1)


def check(engine: OpenVinoEngine, outputs: Outputs, images: NDArray[np.uint8]) -> None:
    """Each picture has the scores that it has alone."""
    for row, image in enumerate(images):
        for output, alone in zip(outputs, engine.start(image[None]).result(), strict=True):
            np.testing.assert_allclose(output[row], alone[0], atol=1e-4)


@needs_openvino
def test_results_may_be_taken_late_and_in_any_order(engine: OpenVinoEngine) -> None:
    batches = [photos(1 + seed, seed=seed) for seed in range(7)]
    started = [engine.start(batch) for batch in batches]
    for number in (6, 0, 3, 1, 5, 2, 4):
        outputs = started[number].result()
        assert [output.shape for output in outputs] == [(1 + number, 3), (1 + number, 5)]
        check(engine, outputs, batches[number])
    again = started[2].result()
    check(engine, again, batches[2])


@needs_openvino
def test_empty_batch_gives_no_rows(engine: OpenVinoEngine) -> None:
    outputs = engine.start([]).result()
    assert [(output.shape, output.dtype) for output in outputs] == [((0, 3), np.float32), ((0, 5), np.float32)]


@needs_openvino
def test_pictures_may_be_a_list_or_lie_in_memory_in_any_order(engine: OpenVinoEngine) -> None:
    images = photos(4)
    for order in (list(images), np.asfortranarray(images), images[:, ::-1, ::-1][:, ::-1, ::-1]):
        check(engine, engine.start(order).result(), images)


@needs_openvino
@pytest.mark.parametrize("wrong", [np.zeros((9, 9, 3), np.uint8), np.zeros((32, 32, 3), np.float32)])
def test_picture_of_another_size_or_type_is_an_error_and_the_next_batch_is_fine(
    engine: OpenVinoEngine, wrong: NDArray[Any]
) -> None:
    images = photos(3)
    for _ in range(4):  # more often than there are requests
        with pytest.raises(ValueError, match="the network takes uint8"):
            engine.start([images[0], wrong, images[1]])
    check(engine, engine.start(images).result(), images)


class Interrupted:
    """A queue of requests in whose third Ctrl-C is pressed."""

    def __init__(self, queue: Any) -> None:
        self._queue, self._begun = queue, 0

    def start_async(self, *args: Any, **more: Any) -> None:
        self._begun += 1
        if self._begun == 3:
            raise KeyboardInterrupt
        self._queue.start_async(*args, **more)

    def wait_all(self) -> None:
        self._queue.wait_all()


@needs_openvino
def test_interruption_while_a_batch_begins_leaves_nothing_running(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests under way would go on reading pixels that are no longer there."""
    before, images = engine.start(photos(4, seed=1)), photos(5)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_queue", Interrupted(engine._queue))
        with pytest.raises(KeyboardInterrupt):
            engine.start(images)
    assert engine._queue.is_ready()
    check(engine, before.result(), photos(4, seed=1))
    check(engine, engine.start(images).result(), images)


FAILING = """
import sys
import numpy as np
from phototag.runtime import openvino_engine
from phototag.runtime.openvino_engine import OpenVinoEngine
from phototag.runtime.openvino_engine import import_openvino
openvino = import_openvino()
from openvino import opset13 as op
openvino_engine._PATIENCE_SECONDS = 0.1
pixels = op.parameter([1, 4, 4, 3], np.uint8)
# There are 48 numbers: only where the largest is 48 can they be laid out in rows of so many.
top = op.convert(op.reduce_max(pixels, op.constant(np.array([0, 1, 2, 3])), keep_dims=False), "i64")
shape = op.concat([op.constant(np.array([1])), op.unsqueeze(top, op.constant(0))], 0)
row = op.reshape(op.convert(pixels, "f32"), shape, special_zero=False)
network = openvino.Model([op.reduce_sum(row, op.constant(np.array([1])), keep_dims=True)], [pixels], "picky")
engine = OpenVinoEngine(network, size=4, batch_size=4)
good, bad = (np.full((4, 4, 3), value, dtype=np.uint8) for value in (48, 47))
print(engine.start([good, good]).result()[0].tolist(), flush=True)
try:
    engine.start([good, bad, good]).result()
except RuntimeError:
    print("failed", flush=True)
"""


@needs_openvino
def test_request_that_fails_is_an_error_and_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[[2304.0], [2304.0]]", "failed"]


# -- cores

CORES = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from phototag.runtime.threads import available_cores
from phototag.runtime.threads import decode_threads
from phototag.runtime.threads import use_cores
use_cores(int(sys.argv[1]))
with ThreadPoolExecutor(1) as pool:
    inner = pool.submit(lambda: len(os.sched_getaffinity(0))).result()
print(available_cores(), decode_threads(None), inner)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tie processes to cores")
@pytest.mark.parametrize("jobs", [1, 2, 1000])
def test_process_and_its_threads_keep_to_the_cores_they_may_use(jobs: int) -> None:
    cores = min(jobs, len(os.sched_getaffinity(0)))
    done = subprocess.run([sys.executable, "-c", CORES, str(jobs)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(cores), str(min(cores, 16)), str(cores)]


def test_as_many_decode_threads_as_asked_for() -> None:
    assert decode_threads(3) == 3
    assert 1 <= decode_threads(None) <= min(16, available_cores())


# -- the cache of converted networks


def cached() -> list[Path]:
    return sorted((settings.cache_folder() / "openvino").glob("*"))


@needs_openvino
def test_second_start_needs_no_conversion(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = open_model(tiny_model), pictures(4)
    first = Runtime(model, target=OPENVINO)(images)
    assert [path.suffix for path in cached()] == [".bin", ".xml"]

    def never(*_: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_module, "_convert", never)
    np.testing.assert_allclose(Runtime(model, target=OPENVINO)(images).subclass, first.subclass, atol=1e-4)


@needs_openvino
def test_other_model_under_the_same_name_is_converted_anew(tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    path, images = tmp_path / "model.safetensors", pictures(4)
    shutil.copy(tiny_model, path)
    before = Runtime(open_model(path), target=OPENVINO)(images)
    shutil.copy(other_model, path)
    after = Runtime(open_model(path), target=OPENVINO)(images)
    np.testing.assert_allclose(
        after.subclass, Runtime(open_model(other_model), target=TORCH)(images).subclass, atol=1e-3
    )
    assert not np.allclose(before.subclass, after.subclass)


@needs_openvino
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_damaged_cache_is_made_again(tiny_model: Path, suffix: str, share: float) -> None:
    model, images = open_model(tiny_model), pictures(4)
    first = Runtime(model, target=OPENVINO)(images)
    (file,) = (path for path in cached() if path.suffix == suffix)
    whole = file.read_bytes()
    file.unlink()  # the runtime above still maps the old one
    file.write_bytes(whole[: int(len(whole) * share)])
    np.testing.assert_allclose(Runtime(model, target=OPENVINO)(images).subclass, first.subclass, atol=1e-4)
    # OpenVINO counts the networks of a process in their names.
    assert file.stat().st_size == pytest.approx(len(whole), rel=0.005)


@needs_openvino
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_half_of_a_cache_is_made_again(tiny_model: Path, suffix: str) -> None:
    model, images = open_model(tiny_model), pictures(4)
    first = Runtime(model, target=OPENVINO)(images)
    (file,) = (path for path in cached() if path.suffix == suffix)
    file.unlink()
    np.testing.assert_allclose(Runtime(model, target=OPENVINO)(images).subclass, first.subclass, atol=1e-4)
    assert file.exists()


@needs_openvino
def test_cache_that_cannot_be_written_costs_nothing_but_time(tiny_model: Path) -> None:
    settings.cache_folder().parent.mkdir(parents=True, exist_ok=True)
    settings.cache_folder().write_text("a file where the folder should be")
    assert Runtime(open_model(tiny_model), target=OPENVINO)(pictures(2)).subclass.shape == (2, 5)


# -- in a process of its own

SCRIPT = """
import json, sys
import numpy as np
from phototag.choices import Device
from phototag.choices import RuntimeName
from phototag.runtime.runtime import Runtime
from phototag.runtime.runtime import choose_target
from phototag.model.registry import open_model
run = Runtime(open_model(sys.argv[1]), target=choose_target(Device.CPU, RuntimeName.AUTO), batch_size=4)
scores = run(np.zeros((3, 3, 32, 32), dtype=np.uint8))
heavy = [name for name in ("torch", "timm", "openvino", "nncf") if name in sys.modules]
telemetry = [name for name, module in sys.modules.items() if "telemetry" in name and module is not None
             and not name.startswith("openvino.")]
found = {"heavy": heavy, "telemetry": telemetry, "engine": run.engine.name, "scores": scores.subclass.tolist()}
print(json.dumps(found))
"""


def run_script(model: Path, home: Path) -> dict[str, Any]:
    env = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "PHOTOTAG_HOME": str(home / "phototag")}
    # Telemetry is off by itself on build servers: this is not to pass for that reason.
    for name in ("CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model)], env=env, check=True, capture_output=True, timeout=120
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@needs_openvino
@pytest.mark.slow
def test_second_process_tags_without_torch_and_neither_sends_anything(tiny_model: Path, tmp_path: Path) -> None:
    converting = run_script(tiny_model, tmp_path)
    assert converting["engine"] == "openvino"
    assert "torch" in converting["heavy"]
    tagging = run_script(tiny_model, tmp_path)
    assert tagging["heavy"] == ["openvino"]
    np.testing.assert_allclose(tagging["scores"], converting["scores"], atol=1e-5)
    # OpenVINO's telemetry keeps an id of the user in ~/intel (or ~/.intel), and asks for consent there.
    assert converting["telemetry"] == tagging["telemetry"] == []
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {"phototag", ".cache", ".nv", ".triton"}
    assert not [path for path in tmp_path.rglob("*") if "intel" in path.name.lower()]


@needs_openvino
@pytest.mark.slow
def test_process_that_ends_right_after_a_batch_ends_well(quick_model: Path, home: Path, tmp_path: Path) -> None:
    """OpenVINO's threads may still be calling back then; that aborted one process in three."""
    shutil.copytree(home / "cache", tmp_path / "phototag" / "cache")
    for _ in range(8):
        assert run_script(quick_model, tmp_path)["heavy"] == ["openvino"]


@needs_openvino
def test_telemetry_cannot_be_imported_once_openvino_is() -> None:
    code = (
        "from phototag.runtime.openvino_engine import import_openvino; import_openvino()\n"
        "try:\n    import openvino_telemetry\nexcept ImportError:\n    print('out of reach')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "out of reach"
    assert import_openvino().__name__ == "openvino"
