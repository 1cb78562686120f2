"""Devices and engines behind one call: PyTorch (CUDA, MPS, CPU) and OpenVINO behind one call.

Importing this module imports neither torch nor OpenVINO: a model already converted for OpenVINO is tagged with torch
never loaded.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import NDArray

from phototag.choices import DEFAULT_BATCH_SIZE, Device, Precision, RuntimeName
from phototag.decision import pooled_logits
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.imaging import Preprocessing
from phototag.model import Model
from phototag.records import Scores
from phototag.runtime.engine import Engine, Pending, Pictures, usual_batch_size
from phototag.runtime.openvino_engine import OpenVinoEngine, converted, cpu_precisions, has_openvino

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Target:
    """A device and a runtime that are here and fit each other."""

    device: Device
    runtime: RuntimeName


def choose_target(device: Device = Device.AUTO, runtime: RuntimeName = RuntimeName.AUTO) -> Target:
    """Resolve AUTO: torch on a GPU when there is one, OpenVINO on the CPU, torch there as fallback.

    Raises:
        UsageError: OpenVINO was asked for on a GPU.
        RuntimeUnavailableError: what was asked for is not here.
    """
    if runtime is RuntimeName.OPENVINO and device not in (Device.AUTO, Device.CPU):
        raise UsageError(f"the runtime openvino works on the CPU, not on {device}; use --runtime torch")
    if runtime is RuntimeName.OPENVINO and not has_openvino():
        raise RuntimeUnavailableError("OpenVINO is not installed: pip install openvino, or use --runtime torch")
    if device is Device.AUTO:
        device = Device.CPU if runtime is RuntimeName.OPENVINO else _best_device()
    elif device is not Device.CPU and device not in _gpus():
        raise RuntimeUnavailableError(f"no {device} device here, or torch was built without it; use --device auto")
    if runtime is RuntimeName.AUTO:
        runtime = RuntimeName.OPENVINO if device is Device.CPU and has_openvino() else RuntimeName.TORCH
    return Target(device, runtime)


def _best_device() -> Device:
    # Importing torch takes seconds: ask it only where a GPU is conceivable at all.
    hints = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
    if sys.platform.startswith("linux") and not any(Path(hint).exists() for hint in hints):
        return Device.CPU
    return next(iter(_gpus()), Device.CPU)


def _gpus() -> list[Device]:
    import torch

    found = []
    if torch.cuda.is_available():
        found.append(Device.CUDA)
    if torch.backends.mps.is_available():
        found.append(Device.MPS)
    return found


def faster_precisions(target: Target) -> tuple[Precision, ...]:
    """Return what may be faster there than F32; empty if nothing is."""
    match target.runtime:
        case RuntimeName.OPENVINO:
            # How fast f16 is on a processor with both, and how many photos bf16 leaves in doubt, is measured.
            return tuple(each for each in (Precision.BF16, Precision.F16) if each in cpu_precisions())
        case RuntimeName.TORCH:
            # Eight times as exact as bfloat16, and as fast.
            return (Precision.F16,) if target.device is Device.CUDA else ()
        case RuntimeName.AUTO:
            raise ValueError(f"{target}: not from choose_target")
        case _:
            assert_never(target.runtime)


def create_engine(
    build: Callable[[], torch.nn.Module],
    preprocessing: Preprocessing,
    *,
    target: Target,
    key: str,
    batch_size: int | None = DEFAULT_BATCH_SIZE,
    precision: Precision = Precision.F32,
    threads: int | None = None,
    compiled: bool = False,
) -> Engine:
    """Return an engine for the network that `build` makes.

    The converted network is kept in the cache under `key`, which has to change whenever the network does; with a cached
    one `build` is not called.

    Args:
        build: Makes the network.
        preprocessing: Of its input.
        target: From `choose_target`.
        key: Names the network in the cache.
        batch_size: The most pictures in one call; None suits the device's memory.
        precision: What to compute with; not AUTO, and INT8 is made by `phototag.runtime.precision.quantise`.
        threads: Cores to use at most; None is all.
        compiled: Use torch.compile; without torch it means nothing.

    Raises:
        UsageError: the device does not compute in that precision.
        RuntimeUnavailableError: the runtime cannot run this network.
    """
    match target.runtime:
        case RuntimeName.TORCH:
            from phototag.runtime.torch_engine import TorchEngine

            return TorchEngine(
                build(),
                preprocessing,
                device=target.device,
                batch_size=batch_size,
                precision=precision,
                compiled=compiled,
            )
        case RuntimeName.OPENVINO:
            if precision not in (here := cpu_precisions()):
                names = ", ".join(here)
                raise UsageError(
                    f"this processor does not compute in {precision}; it has {names} (--runtime-precision)"
                )
            return OpenVinoEngine(
                converted(build, preprocessing, key[:32]),
                size=preprocessing.size,
                batch_size=batch_size or usual_batch_size(preprocessing.size),
                precision=precision,
                threads=threads,
            )
        case RuntimeName.AUTO:
            raise ValueError(f"{target}: not from choose_target")
        case _:
            assert_never(target.runtime)


class Runtime:
    """A model ready to score batches of photos. See `create_engine` for the arguments; or it takes a ready `engine`."""

    def __init__(
        self,
        model: Model,
        *,
        target: Target,
        batch_size: int | None = DEFAULT_BATCH_SIZE,
        precision: Precision = Precision.F32,
        threads: int | None = None,
        compiled: bool = False,
        engine: Engine | None = None,
    ) -> None:
        self.model = model
        self.target = target
        self.engine = engine or create_engine(
            network_of(model),
            model.header.preprocessing,
            target=target,
            key=model.weights_hash,
            batch_size=batch_size,
            precision=precision,
            threads=threads,
            compiled=compiled,
        )

    @property
    def batch_size(self) -> int:
        """The most photos in one call."""
        return self.engine.batch_size

    def start(self, pictures: Pictures) -> PendingScores:
        """Begin to score uint8 pictures [H, W, 3]; they must not change before the result is there."""
        return PendingScores(self.engine.start(pictures), self.model)

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return scores of uint8 images [B, 3, H, W]."""
        return self.start(images.transpose(0, 2, 3, 1)).result()


class PendingScores:
    """Scores of a batch that is on its way through the network."""

    def __init__(self, pending: Pending, model: Model) -> None:
        self._pending, self._model = pending, model

    def result(self) -> Scores:
        """Wait for the scores."""
        outputs = self._pending.result()
        if len(outputs) > 1:
            return Scores(outputs[0], outputs[1], embedding=outputs[2] if len(outputs) > 2 else None)
        subclass = outputs[0]
        return Scores(superclass=pooled_logits(subclass, self._model.header.taxonomy), subclass=subclass)


def network_of(model: Model) -> Callable[[], torch.nn.Module]:
    """Return a function that builds a model's network; torch is imported when it is called."""

    def build() -> torch.nn.Module:
        from phototag.model import build as build_network

        return build_network(model.header, model.tensors())

    return build


def machine() -> str:
    """Return one line that describes this machine, for run records."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
