"""Networks on the CPU through OpenVINO: conversion, its cache, and requests that share the cores with decoding."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag._version import __version__
from phototag.choices import Precision
from phototag.errors import RuntimeUnavailableError
from phototag.files import keep_newest, partial_path, sweep
from phototag.imaging import Preprocessing
from phototag.runtime.engine import Outputs, Pictures
from phototag.runtime.threads import available_cores
from phototag.text import first_line

if TYPE_CHECKING:
    import torch

_CONVERTED_KEPT = 8
# Each stream holds its own activations; beyond this many they cost more memory than they win.
_MOST_STREAMS = 16
_PATIENCE_SECONDS = 5.0


def has_openvino() -> bool:
    """Return whether the package is installed, without importing it."""
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry out of reach: a photo tool sends nothing to anybody.

    OpenVINO falls back to its own stub when the telemetry package cannot be imported.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise RuntimeUnavailableError(f"OpenVINO cannot be loaded: {error}; use --runtime torch") from error
    return openvino


def cpu_precisions() -> list[Precision]:
    """Return what this processor computes in hardware, the plainest first."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    offered = {Precision.BF16: "BF16", Precision.F16: "FP16", Precision.INT8: "INT8"}
    return [Precision.F32, *(precision for precision, sign in offered.items() if sign in capabilities)]


class OpenVinoEngine:
    """A network compiled by OpenVINO for the CPU.

    Every photo is one request, and one runs on each core (docs/experiments.md#one-photo-per-request): with whole
    batches as requests each layer waits for the slowest core. So a batch of any size costs what its photos cost, and
    decoding threads and requests share the cores as the operating system sees fit.

    Args:
        network: A converted network; it is reshaped.
        size: Side of the input, in pixels.
        batch_size: What callers should hand over at once.
        precision: F32, F16 or BF16 to compute with; INT8 for a network that was quantised.
        threads: Cores to use at most; None is all there are.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        network: Any,
        *,
        size: int,
        batch_size: int,
        precision: Precision = Precision.F32,
        threads: int | None = None,
    ) -> None:
        openvino = import_openvino()
        self.batch_size = batch_size
        self.precision = precision
        self._shape = (size, size, 3)
        network.reshape([1, *self._shape])
        if precision is Precision.BF16:
            _round_depthwise(network)
        cores = min(threads or available_cores(), available_cores())
        # OpenVINO picks bfloat16 on its own on some processors; agreement with torch is certain for float32 only. What
        # was quantised keeps float32 for the layers that were not.
        hint = precision if precision in (Precision.F16, Precision.BF16) else Precision.F32
        properties = {
            "INFERENCE_PRECISION_HINT": hint.value,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": min(cores, _MOST_STREAMS),
            # Decoding threads run on the same cores: a stream bound to one would wait beside an idle other.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(network, "CPU", properties)
        self._widths = [int(output.get_partial_shape()[1].get_length()) for output in compiled.outputs]
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(_take)
        # A thread of OpenVINO's that is still calling back when Python ends would abort the process.
        weakref.finalize(self, _settle, self._queue)

    def start(self, pictures: Pictures) -> _Requests:
        """See `Engine`. Returns when the last picture has begun."""
        requests = _Requests(self._queue, [self._checked(picture) for picture in pictures], self._widths)
        try:
            for row, picture in enumerate(requests.pictures):
                self._queue.start_async([picture], userdata=(requests, row), share_inputs=True)
        except BaseException:
            # Also after Ctrl-C: requests under way still read the pixels and call back.
            self._queue.wait_all()
            raise
        return requests

    def _checked(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a batch of one picture. OpenVINO loses each request that it refuses, and waits once it has none."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(f"a picture is {picture.dtype} {picture.shape}; the network takes uint8 {self._shape}")
        return np.ascontiguousarray(picture)[None]


def _round_depthwise(network: Any) -> None:
    """Round the depthwise filters of a network to bfloat16 so that the errors within each filter cancel.

    Neighbouring pixels are alike, so the sum of a filter's errors counts most: docs/experiments.md#depthwise-filters.
    """
    opset = import_openvino().opset8
    for node in network.get_ops():
        if node.get_type_name() == "GroupConvolution":
            source = node.input_value(1).get_node()
            if source.get_type_name() == "Constant":
                rounded = opset.constant(evenly_rounded(source.data), dtype=np.float32)
                node.input(1).replace_source_output(rounded.output(0))


def evenly_rounded(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return filters [..., H, W] in bfloat16's numbers, each weight taking over the error of the one before.

    The largest go first: the last error, which stays, is that of the smallest.
    """
    rows = filters.astype(np.float64).reshape(-1, filters.shape[-2] * filters.shape[-1])
    rounded, error, every = np.empty_like(rows), np.zeros(len(rows)), np.arange(len(rows))
    for places in np.argsort(-np.abs(rows), axis=1, kind="stable").T:
        wanted = rows[every, places] + error
        # Half of the last bit that stays is added, the bits behind it are cut off.
        bits = (wanted.astype(np.float32).view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
        rounded[every, places] = bits.view(np.float32)
        error = wanted - rounded[every, places]
    return rounded.astype(np.float32).reshape(filters.shape)


class _Requests:
    """The requests of one batch."""

    def __init__(self, queue: Any, pictures: list[NDArray[np.uint8]], widths: list[int]) -> None:
        self.pictures = pictures
        self.outputs: Outputs = tuple(np.empty((len(pictures), width), dtype=np.float32) for width in widths)
        self._queue = queue
        self._left = len(pictures)
        self._lock = threading.Lock()
        self._done = threading.Event()

    def finish(self, request: Any, row: int) -> None:
        """Take over the outputs of one request; called from OpenVINO's threads."""
        for index, output in enumerate(self.outputs):
            output[row] = request.get_output_tensor(index).data[0]
        with self._lock:
            self._left -= 1
            if not self._left:
                self._done.set()

    def result(self) -> Outputs:
        """See `Pending`."""
        while self._left and not self._done.wait(_PATIENCE_SECONDS):
            # Requests that fail call nothing back; this raises what went wrong.
            self._queue.wait_all()
        return self.outputs


def _settle(queue: Any) -> None:
    with suppress(RuntimeError):  # of a request that failed; its caller was told
        queue.wait_all()


def _take(request: Any, userdata: tuple[_Requests, int]) -> None:
    requests, row = userdata
    requests.finish(request, row)


def converted(build: Callable[[], torch.nn.Module], preprocessing: Preprocessing, key: str) -> Any:
    """Return the network that `build` makes, converted for OpenVINO; kept in the cache under `key`.

    Raises:
        RuntimeUnavailableError: OpenVINO cannot convert it.
    """
    return cached(key, lambda: _convert(build(), preprocessing))


def cached(key: str, make: Callable[[], Any]) -> Any:
    """Return a converted network from the cache, or make and keep it; `key` has to change whenever the network does."""
    network = read_cached(key)
    if network is not None:
        return network
    openvino, path = import_openvino(), cache_path(key)
    network = make()
    partial = partial_path(path)
    parts = {suffix: partial.with_name(f"{partial.name}{suffix}") for suffix in (".bin", ".xml")}
    try:
        with suppress(OSError, RuntimeError):  # a cache that cannot be written costs seconds next time, nothing else
            settings.make_own_folder(path.parent)
            sweep(path.parent)
            openvino.save_model(network, parts[".xml"], compress_to_fp16=False)
            for suffix, part in parts.items():
                part.replace(path.with_suffix(suffix))
            keep_newest(path.parent, "*.xml", count=_CONVERTED_KEPT)
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
    return network


def read_cached(key: str) -> Any | None:
    """Return the converted network of that key from the cache; None if there is none that can be read."""
    path = cache_path(key)
    if not (path.exists() and path.with_suffix(".bin").exists()):
        return None
    try:
        return import_openvino().Core().read_model(path)
    except RuntimeError:
        return None  # half written or of another release: made again


def cache_path(key: str) -> Path:
    """Return where the converted network of that key lies, or would."""
    release = str(import_openvino().__version__).split("-")[0]
    return settings.cache_folder() / "openvino" / f"{key}-{__version__}-{release}.xml"


def _convert(module: torch.nn.Module, preprocessing: Preprocessing) -> Any:
    import logging
    import warnings

    import torch

    from phototag.model import FromUint8

    size = preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about every shape it fixes
            convert = import_openvino().convert_model
            from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

            # Tracing again, to see whether that gives the same, takes longer than all the rest.
            network, how = FromUint8(module, preprocessing).eval(), {"check_trace": False}
            return convert(TorchScriptPythonDecoder(network, example_input=example, trace_kwargs=how))
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot convert this network ({first_line(error)}); use --runtime torch"
        ) from error
    finally:
        root.setLevel(level)  # the converter sets up logging for the whole process when it fails
        root.handlers[:] = handlers
