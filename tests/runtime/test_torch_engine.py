"""Networks through PyTorch: batches that do not disturb each other, memory that runs out, precisions, compiling."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from phototag.choices import DEFAULT_BATCH_SIZE, Device, Precision
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.imaging.preprocessing import Preprocessing
from phototag.runtime.torch_engine import TorchEngine, batch_size_for

SIZE = 16
PREPROCESSING = Preprocessing(size=SIZE)
MakeEngine = Callable[..., TorchEngine]


class Network(nn.Module):
    """Two heads on a convolution; has no memory for more than `limit` pictures, and notes what it was given."""

    def __init__(self, limit: int = 1 << 30) -> None:
        super().__init__()
        self.limit = limit
        self.batches: list[int] = []
        generator = torch.Generator().manual_seed(1)
        self.kernel = nn.Parameter(torch.randn(8, 3, 4, 4, generator=generator) / 7)
        self.heads = nn.Parameter(torch.randn(8, 5, generator=generator))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.batches.append(len(pixels))
        if len(pixels) > self.limit:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        features = nn.functional.conv2d(pixels, self.kernel, stride=4).relu().mean((2, 3))
        logits = features @ self.heads
        return logits[:, :2], logits[:, 2:]


@pytest.fixture(params=[Device.CPU, Device.CUDA])
def make(request: pytest.FixtureRequest) -> MakeEngine:
    """Makes an engine on each device there is."""
    if request.param is Device.CUDA and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")

    def engine(module: nn.Module, **options: Any) -> TorchEngine:
        return TorchEngine(module, PREPROCESSING, **({"device": request.param, "batch_size": 4} | options))

    return engine


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def plain(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """What the network says, computed without an engine."""
    with torch.inference_mode():
        pixels = (torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        return [output.numpy() for output in Network()(pixels)]


def check(outputs: tuple[NDArray[np.float32], ...], images: NDArray[np.uint8]) -> None:
    for output, wanted in zip(outputs, plain(images), strict=True):
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, wanted, atol=5e-3)  # GPUs round the factors of a convolution


class TestBatches:
    def test_engine_gives_what_the_network_gives(self, make: MakeEngine) -> None:
        engine = make(Network())
        for count in (4, 1, 3):
            check(engine.start(pictures(count)).result(), pictures(count))

    def test_pictures_may_be_a_list_or_lie_in_memory_in_any_order(self, make: MakeEngine) -> None:
        engine, images = make(Network()), pictures(4)
        check(engine.start(list(images)).result(), images)
        check(engine.start(np.asfortranarray(images)).result(), images)
        check(engine.start(images[::-1]).result(), images[::-1])
        check(engine.start(images[:, :, ::-1]).result(), images[:, :, ::-1])

    def test_empty_batch_gives_no_rows(self, make: MakeEngine) -> None:
        engine = make(Network())
        assert [output.shape for output in engine.start([]).result()] == [(0, 2), (0, 3)]
        check(engine.start(pictures(2)).result(), pictures(2))

    def test_results_may_be_taken_late_and_in_any_order(self, make: MakeEngine) -> None:
        """The memory that batches are put together in is used again, and must not change earlier results."""
        engine = make(Network())
        batches = [pictures(1 + seed % 4, seed=seed) for seed in range(9)]
        started = [engine.start(batch) for batch in batches]
        for number in (8, 0, 5, 1, 7, 2, 3, 6, 4):
            check(started[number].result(), batches[number])

    def test_result_may_be_taken_twice_and_stays(self, make: MakeEngine) -> None:
        engine = make(Network())
        first = engine.start(pictures(4))
        outputs = first.result()
        for seed in range(5):
            engine.start(pictures(4, seed=seed)).result()
        check(outputs, pictures(4))
        check(first.result(), pictures(4))

    def test_more_pictures_than_a_batch_are_taken_too(self, make: MakeEngine) -> None:
        engine = make(Network())
        check(engine.start(pictures(11)).result(), pictures(11))
        check(engine.start(pictures(2)).result(), pictures(2))

    def test_batch_size_that_is_left_open_is_a_sensible_one(self, make: MakeEngine) -> None:
        engine = make(Network(), batch_size=None)
        assert engine.batch_size == (DEFAULT_BATCH_SIZE if engine.device == "cpu" else 256)

    def test_picture_of_another_size_is_an_error_and_the_next_batch_is_fine(self, make: MakeEngine) -> None:
        engine = make(Network())
        with pytest.raises(ValueError, match="broadcast"):
            engine.start([pictures(1)[0], np.zeros((9, 9, 3), dtype=np.uint8)])
        check(engine.start(pictures(4)).result(), pictures(4))


class TestMemoryThatRunsOut:
    @pytest.mark.parametrize(("limit", "left"), [(15, 8), (8, 8), (7, 4), (4, 4), (3, 2), (2, 2), (1, 1)])
    def test_batch_is_done_in_parts_and_the_size_stays_halved(self, make: MakeEngine, limit: int, left: int) -> None:
        network = Network(limit)
        engine = make(network, batch_size=16)
        check(engine.start(pictures(16)).result(), pictures(16))
        assert engine.batch_size == left
        tries = network.batches.count(16)
        network.batches.clear()
        check(engine.start(pictures(left, seed=1)).result(), pictures(left, seed=1))
        assert network.batches == [left]
        assert tries == 1

    @pytest.mark.parametrize("count", [5, 13, 16])
    def test_parts_need_not_come_out_even(self, make: MakeEngine, count: int) -> None:
        engine = make(Network(3), batch_size=16)
        check(engine.start(pictures(count)).result(), pictures(count))
        assert engine.batch_size in (2, 3)

    def test_larger_batches_that_were_put_together_before_still_get_through(self, make: MakeEngine) -> None:
        engine = make(Network(4), batch_size=8)
        first, second = engine.start(pictures(8)), engine.start(pictures(8, seed=1))
        check(second.result(), pictures(8, seed=1))
        check(first.result(), pictures(8))

    def test_batches_under_way_are_not_harmed(self, make: MakeEngine) -> None:
        network = Network()
        engine = make(network, batch_size=8)
        before = [engine.start(pictures(8, seed=seed)) for seed in range(2)]
        network.limit = 2
        check(engine.start(pictures(8, seed=2)).result(), pictures(8, seed=2))
        for seed, pending in enumerate(before):
            check(pending.result(), pictures(8, seed=seed))

    @pytest.mark.parametrize(("batch_size", "count"), [(16, 16), (16, 1), (1, 1)])
    def test_no_memory_even_for_one_is_a_clear_error(self, make: MakeEngine, batch_size: int, count: int) -> None:
        engine = make(Network(0), batch_size=batch_size)
        with pytest.raises(
            RuntimeUnavailableError, match=r"no memory for even one picture; use --device cpu"
        ) as caught:
            engine.start(pictures(count))
        assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)

    def test_it_is_told(self, make: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="phototag"):
            make(Network(4), batch_size=8).start(pictures(8)).result()
        assert [record.getMessage().split(":")[1] for record in caplog.records] == [" going on with batches of 4"]

    @given(free_bytes=st.integers(0, 1 << 45), bytes_each=st.integers(1, 1 << 34))
    def test_two_batches_fit_into_half_of_the_free_memory(self, free_bytes: int, bytes_each: int) -> None:
        size = batch_size_for(free_bytes=free_bytes, bytes_each=bytes_each)
        assert 1 <= size <= 256 and size & (size - 1) == 0
        half = free_bytes // 2
        assert size == 1 or 2 * size * bytes_each <= half
        assert size == 256 or 2 * (2 * size) * bytes_each > half - 2 * bytes_each


class TestPrecision:
    def test_bf16_is_near(self, make: MakeEngine) -> None:
        engine = make(Network(), precision=Precision.BF16)
        outputs = engine.start(pictures(4)).result()
        for output, wanted in zip(outputs, plain(pictures(4)), strict=True):
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, wanted, atol=0.1)
            assert np.abs(output - wanted).max() > 1e-5, "it was not computed in bf16"

    @pytest.mark.parametrize("precision", [Precision.F16, Precision.INT8, Precision.AUTO])
    def test_what_torch_does_not_compute_in_is_refused(self, precision: Precision) -> None:
        with pytest.raises(UsageError, match=f"torch on cpu cannot compute in {precision}; use --runtime-precision"):
            TorchEngine(Network(), PREPROCESSING, device=Device.CPU, batch_size=4, precision=precision)

    @pytest.mark.parametrize("precision", [Precision.F16, Precision.BF16])
    def test_halves_are_refused_on_apple_gpus(self, precision: Precision) -> None:
        with pytest.raises(UsageError, match="torch on mps cannot compute in"):
            TorchEngine(Network(), PREPROCESSING, device=Device.MPS, batch_size=4, precision=precision)


class TestCompiling:
    @staticmethod
    def engine(network: Network, **options: Any) -> TorchEngine:
        return TorchEngine(network, PREPROCESSING, device=Device.CPU, compiled=True, **options)

    def test_compiled_network_only_sees_full_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would be compiled anew for every other size, a minute each time."""
        monkeypatch.setattr(torch, "compile", lambda module: module)
        network = Network()
        engine = self.engine(network, batch_size=4)
        for count in (4, 1, 3, 2):
            check(engine.start(pictures(count, seed=count)).result(), pictures(count, seed=count))
        assert set(network.batches) == {4}

    def test_after_memory_ran_out_it_sees_full_batches_of_the_new_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "compile", lambda module: module)
        network = Network()
        engine = self.engine(network, batch_size=8)
        network.limit = 5
        network.batches.clear()
        check(engine.start(pictures(7)).result(), pictures(7))
        check(engine.start(pictures(1)).result(), pictures(1))
        assert engine.batch_size in (3, 4)
        assert set(network.batches[1:]) == {engine.batch_size}

    @pytest.mark.parametrize(("said", "told"), [("no C++ compiler\nmore", "no C.. compiler"), ("", "RuntimeError")])
    def test_compiler_that_is_missing_names_the_way_out(
        self, monkeypatch: pytest.MonkeyPatch, said: str, told: str
    ) -> None:
        class Broken(nn.Module):
            def forward(self, _: torch.Tensor) -> torch.Tensor:
                raise RuntimeError(said)

        monkeypatch.setattr(torch, "compile", lambda _: Broken())
        with pytest.raises(RuntimeUnavailableError, match=rf"does not work here \({told}\); leave --compile away"):
            self.engine(Network(), batch_size=4)

    @pytest.mark.slow
    @pytest.mark.skipif(
        not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler for torch.compile"
    )
    def test_compiled_network_says_the_same(self) -> None:
        class Smooth(Network):
            def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                logits = nn.functional.conv2d(pixels, self.kernel, stride=4).relu().mean((2, 3)) @ self.heads
                return logits[:, :2], logits[:, 2:]

        engine = self.engine(Smooth(), batch_size=4)
        started = [(count, engine.start(pictures(count, seed=count))) for count in (4, 3, 1, 4)]
        for count, pending in started:
            check(pending.result(), pictures(count, seed=count))
