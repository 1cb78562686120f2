"""The only place that knows devices: PyTorch (CUDA, MPS, CPU) and OpenVINO behind one call.

An engine takes uint8 images [B, 3, H, W] and returns a network's outputs as float32 arrays. Importing this module
imports neither torch nor OpenVINO: a model already converted for OpenVINO is tagged with torch never loaded.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag._version import __version__
from phototag.cache import keep_newest
from phototag.decision import pooled_logits
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.imaging.preprocessing import Preprocessing
from phototag.inference.names import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.learning.registry import Model
from phototag.records import Scores

if TYPE_CHECKING:
    import torch

Outputs = tuple[NDArray[np.float32], ...]
_CONVERTED_KEPT = 8


class Engine(Protocol):
    """A network ready to run on batches of up to `batch_size` images."""

    name: str
    device: str
    batch_size: int

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """The network's outputs, float32 with B rows each, for uint8 images [B, 3, H, W]."""
        ...


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
    if runtime is RuntimeName.OPENVINO and not _has_openvino():
        raise RuntimeUnavailableError("OpenVINO is not installed: pip install openvino, or use --runtime torch")
    if device is Device.AUTO:
        device = Device.CPU if runtime is RuntimeName.OPENVINO else _best_device()
    elif device is not Device.CPU and device not in _gpus():
        raise RuntimeUnavailableError(f"no {device} device here, or torch was built without it; use --device auto")
    if runtime is RuntimeName.AUTO:
        runtime = RuntimeName.OPENVINO if device is Device.CPU and _has_openvino() else RuntimeName.TORCH
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


def _has_openvino() -> bool:
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry out of reach: a photo tool sends nothing to anybody.

    OpenVINO falls back to a stub of its own when the telemetry package cannot be imported.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise RuntimeUnavailableError(f"OpenVINO cannot be loaded: {error}; use --runtime torch") from error
    return openvino


class TorchEngine:
    """A torch module on a device, channels_last, in mixed precision on CUDA."""

    name = "torch"

    def __init__(
        self, module: torch.nn.Module, preprocessing: Preprocessing, *, device: Device, batch_size: int
    ) -> None:
        import torch

        from phototag.learning.network import FromUint8

        self.device = str(device)
        self.batch_size = batch_size
        module = FromUint8(module, preprocessing).eval().to(self.device)
        self._module = module.to(memory_format=torch.channels_last)
        self._amp_dtype = None
        if device is Device.CUDA:
            # Twice the mantissa bits of bfloat16: scores stay closer to those of the CPU. Overflow would be noticed.
            self._amp_dtype = torch.float16

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Engine`."""
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        with torch.inference_mode():
            pixels = pixels.to(self.device, non_blocking=True)
            with torch.autocast("cuda", dtype=self._amp_dtype, enabled=self._amp_dtype is not None):
                outputs = self._module(pixels)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(output.float().cpu().numpy() for output in outputs)


class OpenVinoEngine:
    """A network compiled by OpenVINO for the CPU.

    Every photo is a request of its own, and several run at once: with whole batches as requests each layer waits for
    the slowest core. So a batch of any size costs what its photos cost.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, network: Any, *, size: int, batch_size: int) -> None:
        openvino = import_openvino()
        self.batch_size = batch_size
        network.reshape([1, size, size, 3])
        # OpenVINO picks bfloat16 on its own on some processors; agreement with torch is promised for float32.
        properties = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = openvino.Core().compile_model(network, "CPU", properties)
        self._widths = [int(output.get_partial_shape()[1].get_length()) for output in compiled.outputs]
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(self._take)
        self._outputs: Outputs = ()

    def _take(self, request: Any, row: int) -> None:
        for index, output in enumerate(self._outputs):
            output[row] = request.get_output_tensor(index).data[0]

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Engine`. Not to be called from several threads at once."""
        pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self._outputs = outputs = tuple(np.empty((len(pixels), width), dtype=np.float32) for width in self._widths)
        try:
            for row in range(len(pixels)):
                self._queue.start_async([pixels[row : row + 1]], userdata=row, share_inputs=True)
        finally:
            # Also after Ctrl-C: requests under way still read the pixels and call back.
            self._queue.wait_all()
        return outputs


def create_engine(
    build: Callable[[], torch.nn.Module],
    preprocessing: Preprocessing,
    *,
    target: Target,
    key: str,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Engine:
    """An engine for the network that `build` makes.

    The converted network is kept in the cache under `key`, which has to change whenever the network does; with a cached
    one `build` is not called.

    Raises:
        RuntimeUnavailableError: the runtime cannot run this network.
    """
    if target.runtime is RuntimeName.TORCH:
        return TorchEngine(build(), preprocessing, device=target.device, batch_size=batch_size)
    network = _converted(build, preprocessing, key)
    return OpenVinoEngine(network, size=preprocessing.size, batch_size=batch_size)


def _converted(build: Callable[[], torch.nn.Module], preprocessing: Preprocessing, key: str) -> Any:
    openvino = import_openvino()
    release = str(openvino.__version__).split("-")[0]
    path = settings.cache_folder() / "openvino" / f"{key[:32]}-{__version__}-{release}.xml"
    core = openvino.Core()
    if path.exists() and path.with_suffix(".bin").exists():
        try:
            return core.read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)  # half written or of another processor: convert again
    network = _convert(openvino, build(), preprocessing)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(network, partial, compress_to_fp16=False)
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
        keep_newest(path.parent, "*.xml", count=_CONVERTED_KEPT)
    except (OSError, RuntimeError):
        pass  # a cache that cannot be written costs seconds next time, nothing else
    return network


def _convert(openvino: Any, module: torch.nn.Module, preprocessing: Preprocessing) -> Any:
    import logging
    import warnings

    import torch

    from phototag.learning.network import FromUint8

    size = preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about every shape it fixes
            return openvino.convert_model(FromUint8(module, preprocessing).eval(), example_input=example)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot convert this network ({str(error).splitlines()[0]}); use --runtime torch"
        ) from error
    finally:
        root.setLevel(level)  # the converter sets up logging for the whole process when it fails
        root.handlers[:] = handlers


class Runtime:
    """A model ready to score batches of photos."""

    def __init__(self, model: Model, *, target: Target, batch_size: int = DEFAULT_BATCH_SIZE) -> None:
        self.model = model
        self.target = target

        def build() -> torch.nn.Module:
            from phototag.learning.network import build as build_network

            return build_network(model.header, model.tensors())

        self.engine = create_engine(
            build, model.header.preprocessing, target=target, key=model.hash, batch_size=batch_size
        )

    @property
    def batch_size(self) -> int:
        """The most photos in one call."""
        return self.engine.batch_size

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Scores of uint8 images [B, 3, H, W]."""
        outputs = self.engine(images)
        if len(outputs) == 2:
            return Scores(superclass=outputs[0], subclass=outputs[1])
        subclass = outputs[0]
        return Scores(superclass=pooled_logits(subclass, self.model.header.taxonomy), subclass=subclass)


def machine() -> str:
    """One line that describes this machine, for run records."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
