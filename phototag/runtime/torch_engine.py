"""Networks through PyTorch: on CUDA with copies and arithmetic overlapped, on MPS, and on the CPU as a fallback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phototag.choices import Device, Precision
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.imaging import Preprocessing
from phototag.runtime.engine import Done, Outputs, Pending, Pictures, usual_batch_size
from phototag.settings import compile_privately
from phototag.text import first_line

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Two batches are on their way at most, and the third is being filled.
_STAGES = 3
_PROBE_BATCH = 8
_MOST_AUTO_BATCH = 256
# What else lives on the device (a desktop, another program's next allocation) keeps the rest.
_MEMORY_SHARE = 0.5


class TorchEngine:
    """A torch module on a device, channels_last.

    On CUDA pictures go through pinned memory and a separate stream as bytes, a quarter of the floats they become
    there; while one batch is computed the next is copied. When the device runs out of memory the batch size is halved,
    for good, and the batch is done in parts.

    Args:
        module: Floats [B, 3, H, W] in, a tensor or a tuple of tensors [B, N] out.
        preprocessing: Size and normalisation of its input.
        device: CPU, CUDA or MPS.
        batch_size: The most pictures at once; None is found from the device's free memory.
        precision: F32, F16 or BF16; F16 on CUDA only.
        compiled: Let torch.compile make it faster; the first batch then takes a minute.

    Raises:
        RuntimeUnavailableError: torch.compile has no compiler here, or the device has no memory even for one picture.
    """

    name = "torch"

    def __init__(
        self,
        module: torch.nn.Module,
        preprocessing: Preprocessing,
        *,
        device: Device,
        batch_size: int | None,
        precision: Precision = Precision.F32,
        compiled: bool = False,
    ) -> None:
        import torch

        from phototag.model import FromUint8

        self.device = str(device)
        self.precision = precision
        self._size = preprocessing.size
        self._compiled = False
        self._cuda = device is Device.CUDA
        self._amp_dtype = _amp_dtype(device, precision)
        whole = FromUint8(module, preprocessing).eval().to(self.device)
        # Called as a module, whatever compiling makes of it.
        self._module: Any = whole.to(memory_format=torch.channels_last)
        self._copies: Any = torch.cuda.Stream() if self._cuda else None  # type: ignore[no-untyped-call]
        self._staging: list[_Staging] = []
        self.batch_size = batch_size or usual_batch_size(self._size)
        if batch_size is None and self._cuda:
            self.batch_size = self._batch_size_for_memory()
        if compiled:
            self._compile()

    def _compile(self) -> None:
        """Compile the network and run it once, here, where an error can be told from one of a picture's."""
        import torch

        compile_privately()
        self._module, self._compiled = torch.compile(self._module), True
        try:
            self.start(np.zeros((1, self._size, self._size, 3), dtype=np.uint8)).result()
        except RuntimeError as error:
            raise RuntimeUnavailableError(
                f"torch.compile does not work here ({first_line(error)}); leave --compile away"
            ) from error

    def start(self, pictures: Pictures) -> Pending:
        """See `Engine`."""
        import torch

        try:
            return self._start(pictures)
        except torch.OutOfMemoryError as error:
            if self.batch_size == 1 or len(pictures) == 0:
                raise RuntimeUnavailableError(
                    f"the {self.device} device has no memory for even one picture; use --device cpu"
                ) from error
        # Outside the handler: the error holds on to the tensors of the batch that failed.
        self._shrink(len(pictures))
        parts: list[Outputs] = []
        first = 0
        while first < len(pictures):
            part = pictures[first : first + self.batch_size]  # which may become smaller yet
            parts.append(self.start(part).result())
            first += len(part)
        return Done(tuple(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _start(self, pictures: Pictures) -> Pending:
        import torch

        staging = self._next_staging(len(pictures))
        into = staging.host.numpy()
        for row, picture in enumerate(pictures):
            into[row] = picture
        # A compiled network is compiled again for every shape it sees: it only sees full batches.
        rows = len(staging.host) if self._compiled else len(pictures)
        with torch.inference_mode():
            if not self._cuda:
                return Done(_rows(self._compute(staging.host[:rows].to(self.device)), len(pictures)))
            with torch.cuda.stream(self._copies):
                pixels = staging.host[:rows].to(self.device, non_blocking=True)
            computing = torch.cuda.current_stream()
            computing.wait_stream(self._copies)
            # Without this the memory could be handed out again while the other stream still reads it.
            pixels.record_stream(computing)
            outputs = [output.to("cpu", non_blocking=True) for output in self._compute(pixels)]
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
        staging.pending = _OnDevice(outputs, done, len(pictures))
        return staging.pending

    def _compute(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        import torch

        device_type = "cuda" if self._cuda else "cpu"
        with torch.autocast(device_type, dtype=self._amp_dtype, enabled=self._amp_dtype is not None):
            outputs = self._module(pixels)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.float() for output in outputs)

    def _next_staging(self, count: int) -> _Staging:
        """Return host memory for a batch that no earlier batch is still being copied from."""
        import torch

        if len(self._staging) < (_STAGES if self._cuda else 1):
            shape = (max(count, self.batch_size), self._size, self._size, 3)
            self._staging.append(_Staging(torch.zeros(shape, dtype=torch.uint8, pin_memory=self._cuda)))
            return self._staging[-1]
        oldest = self._staging.pop(0)
        if oldest.pending is not None:
            oldest.pending.wait()
            oldest.pending = None
        if len(oldest.host) < count:
            oldest = _Staging(torch.zeros((count, *oldest.host.shape[1:]), dtype=torch.uint8, pin_memory=self._cuda))
        self._staging.append(oldest)
        return oldest

    def _shrink(self, failed: int) -> None:
        import torch

        self.batch_size = max(1, min(self.batch_size, failed) // 2)
        for staging in self._staging:
            if staging.pending is not None:
                staging.pending.wait()
        self._staging.clear()
        if self._cuda:
            torch.cuda.empty_cache()
        log.warning("out of memory on %s: going on with batches of %d", self.device, self.batch_size)

    def _batch_size_for_memory(self) -> int:
        """Return the power of two whose batches, two of them on their way, fit well into the free memory."""
        import torch

        pictures = np.zeros((_PROBE_BATCH, self._size, self._size, 3), dtype=np.uint8)
        self.batch_size = _PROBE_BATCH
        self.start(pictures).result()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.start(pictures).result()
        each = max(1, (torch.cuda.max_memory_allocated() - before) // _PROBE_BATCH)
        free, _ = torch.cuda.mem_get_info()
        self._staging.clear()
        return batch_size_for(free_bytes=free, bytes_each=each)


def batch_size_for(*, free_bytes: int, bytes_each: int) -> int:
    """Return the largest power of two up to 256 of which two batches fit into half of the free memory, at least 1."""
    fitting = int(free_bytes * _MEMORY_SHARE / (2 * bytes_each))
    return min(_MOST_AUTO_BATCH, 1 << max(0, fitting.bit_length() - 1))


@dataclass(slots=True)
class _Staging:
    """Host memory [B, H, W, 3] that batches are put together in, and what was last started from it."""

    host: torch.Tensor
    pending: _OnDevice | None = None


class _OnDevice:
    """A batch on a CUDA device."""

    def __init__(self, outputs: Sequence[torch.Tensor], done: torch.cuda.Event, rows: int) -> None:
        self._outputs, self._done, self._rows = outputs, done, rows

    def wait(self) -> None:
        self._done.synchronize()

    def result(self) -> Outputs:
        """See `Pending`."""
        self.wait()
        return _rows(self._outputs, self._rows)


def _rows(outputs: Sequence[torch.Tensor], count: int) -> Outputs:
    return tuple(output[:count].cpu().numpy() for output in outputs)


def _amp_dtype(device: Device, precision: Precision) -> torch.dtype | None:
    import torch

    if precision is Precision.F32:
        return None
    if precision is Precision.BF16:
        if device is Device.CUDA and not torch.cuda.is_bf16_supported():
            raise RuntimeUnavailableError("this GPU computes no bf16; use --runtime-precision f16 or f32")
        if device is not Device.MPS:
            return torch.bfloat16
    if precision is Precision.F16 and device is Device.CUDA:
        return torch.float16
    raise UsageError(f"torch on {device} cannot compute in {precision}; use --runtime-precision f32")
