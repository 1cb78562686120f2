"""Faster arithmetic, taken only where the tags prove to stay the same.

Fewer bits make a network faster (docs/experiments.md#runtimes) and move its scores. How far depends on the model and on
the pictures, so it is measured, once for each model and device, on the first photos to be tagged; AUTO then keeps to
what was found.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag._version import __version__
from phototag.choices import Precision, RuntimeName
from phototag.decision import decide, gather
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.files import keep_newest, replacing
from phototag.model import Model
from phototag.records import Tag
from phototag.runtime.engine import usual_batch_size
from phototag.runtime.openvino_engine import OpenVinoEngine, cached, converted, import_openvino, read_cached
from phototag.runtime.runtime import Runtime, Target, faster_precision, network_of
from phototag.text import first_line, percent

log = logging.getLogger(__name__)

# The photos to measure on, and to calibrate int8 on; with fewer than the least nothing is concluded.
SAMPLE_PHOTOS = 256
LEAST_PHOTOS = 64
# What a faster precision has to keep to be chosen by AUTO.
LEAST_AGREEMENT = 0.995
MOST_MOVE = 0.02

_AGREEMENTS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a precision compares with F32 on the same photos.

    `same` is the share of photos with the same best superclass and the same best subclass; `largest_move` the most that
    a score of a tag moved, of 1; `speedup` how many times faster the network ran.
    """

    precision: Precision
    photos: int
    same: float
    largest_move: float
    speedup: float

    @property
    def holds(self) -> bool:
        """Whether the precision may replace F32 without being asked for."""
        return self.photos >= LEAST_PHOTOS and self.same >= LEAST_AGREEMENT and self.largest_move <= MOST_MOVE

    def __str__(self) -> str:
        return (
            f"{self.precision} on {self.photos} of your photos: {percent(self.same)} with the same best labels as f32, "
            f"scores moved by at most {self.largest_move:.3f}, network {self.speedup:.1f} times as fast"
        )


class PrecisionChooser:
    """Settles with what precision a model runs on a target, and makes the runtime.

    Args:
        model: The model.
        target: From `choose_target`.
        wanted: AUTO, or one to be used whatever the agreement.
        batch_size: See `create_engine`; so are `threads` and `compiled`.
    """

    def __init__(
        self,
        model: Model,
        target: Target,
        wanted: Precision,
        *,
        batch_size: int | None = None,
        threads: int | None = None,
        compiled: bool = False,
    ) -> None:
        if wanted is Precision.INT8 and target.runtime is not RuntimeName.OPENVINO:
            raise UsageError("int8 is for the runtime openvino; use --runtime openvino, or another precision")
        self._model, self._target, self._wanted = model, target, wanted
        self._batch_size, self._threads = batch_size, threads
        self._runtime = partial(
            Runtime, model, target=target, batch_size=batch_size, threads=threads, compiled=compiled
        )

    @property
    def needs_sample(self) -> bool:
        """Whether `open` has to see some of the photos that are to be tagged."""
        if self._wanted is Precision.INT8:
            return read_cached(self._int8_key) is None
        if self._wanted is not Precision.AUTO:
            return False
        candidate = faster_precision(self._target)
        return candidate is not None and self._measured(candidate) is None

    def open(self, sample: Sequence[NDArray[np.uint8]] = ()) -> Runtime:
        """Return the runtime; `sample` are decoded photos [H, W, 3] to measure on, where `needs_sample` asks for them.

        Raises:
            UsageError: the device does not compute in the wanted precision; too few photos to calibrate int8 on.
            RuntimeUnavailableError: the runtime cannot run this model.
        """
        if self._wanted is Precision.INT8:
            return self._open_int8(sample)
        if self._wanted is not Precision.AUTO:
            return self._runtime(precision=self._wanted)
        candidate = faster_precision(self._target)
        if candidate is None:
            return self._runtime(precision=Precision.F32)
        agreement = self._measured(candidate)
        if agreement is None and len(sample) >= LEAST_PHOTOS:
            plain, faster = self._runtime(precision=Precision.F32), self._runtime(precision=candidate)
            agreement = measure(plain, faster, sample)
            self._keep(agreement)
            verdict = "used from now on" if agreement.holds else "not good enough, so f32 stays"
            log.info("%s: %s.", agreement, verdict)
            return faster if agreement.holds else plain
        holds = agreement is not None and agreement.holds
        return self._runtime(precision=candidate if holds else Precision.F32)

    # -- int8

    @property
    def _int8_key(self) -> str:
        return f"{self._model.weights_hash[:32]}-int8"

    def _open_int8(self, sample: Sequence[NDArray[np.uint8]]) -> Runtime:
        preprocessing = self._model.header.preprocessing
        fresh = self.needs_sample

        def make() -> Any:
            if len(sample) < LEAST_PHOTOS:
                raise UsageError(
                    f"int8 is calibrated on the photos to be tagged and needs {LEAST_PHOTOS} that can be read; "
                    "here are fewer; use --runtime-precision auto"
                )
            return quantise(converted(network_of(self._model), preprocessing, self._model.weights_hash[:32]), sample)

        engine = OpenVinoEngine(
            cached(self._int8_key, make),
            size=preprocessing.size,
            batch_size=self._batch_size or usual_batch_size(self._model.header.preprocessing.size),
            precision=Precision.INT8,
            threads=self._threads,
        )
        runtime = Runtime(self._model, target=self._target, engine=engine)
        agreement = self._measured(Precision.INT8)
        if fresh or (agreement is None and len(sample) >= LEAST_PHOTOS):
            agreement = measure(self._runtime(precision=Precision.F32), runtime, sample)
            self._keep(agreement)
        log.info("%s.", agreement or "int8: its agreement with f32 is no longer known")
        return runtime

    # -- what was measured before

    def _file(self, precision: Precision) -> Path:
        described = (
            f"{self._model.weights_hash} {self._target.runtime} {_processor(self._target)} {precision} {__version__}"
        )
        return settings.cache_folder() / "agreement" / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.json"

    def _measured(self, precision: Precision) -> Agreement | None:
        try:
            value = json.loads(self._file(precision).read_text(encoding="utf-8"))
            return Agreement(
                precision=Precision(value["precision"]),
                photos=int(value["photos"]),
                same=float(value["same"]),
                largest_move=float(value["largest_move"]),
                speedup=float(value["speedup"]),
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None

    def _keep(self, agreement: Agreement) -> None:
        file = self._file(agreement.precision)
        with suppress(OSError):  # measured again the next time
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as partial:
                partial.write_text(json.dumps(asdict(agreement)), encoding="utf-8")
            keep_newest(file.parent, "*.json", count=_AGREEMENTS_KEPT)


def measure(plain: Runtime, faster: Runtime, pictures: Sequence[NDArray[np.uint8]]) -> Agreement:
    """Compare two runtimes of one model on decoded photos [H, W, 3]."""
    expected, plain_seconds = _tags(plain, pictures)
    found, faster_seconds = _tags(faster, pictures)
    same = moved = 0.0
    for (best, tag), (other_best, other) in zip(expected, found, strict=True):
        same += best == other_best
        moved = max(
            moved,
            abs(tag.superclass_score - other.superclass_score),
            abs(tag.subclass_score - other.subclass_score),
            abs(tag.novelty - other.novelty),
        )
    return Agreement(
        precision=faster.engine.precision,
        photos=len(pictures),
        same=same / max(1, len(pictures)),
        largest_move=moved,
        speedup=plain_seconds / faster_seconds,
    )


def _tags(runtime: Runtime, pictures: Sequence[NDArray[np.uint8]]) -> tuple[list[tuple[Any, Tag]], float]:
    """Return the best labels and the tag of each picture, and the seconds that the network took."""
    header = runtime.model.header
    runtime.start(pictures[: runtime.batch_size]).result()  # the first batch also pays for memory
    found: list[tuple[Any, Tag]] = []
    seconds = 0.0
    for first in range(0, len(pictures), runtime.batch_size):
        started = time.perf_counter()
        scores = runtime.start(pictures[first : first + runtime.batch_size]).result()
        seconds += time.perf_counter() - started
        evidence = gather(scores, header.taxonomy, runtime.model.novelty)
        bests = zip(evidence.top[:, 0].tolist(), evidence.superclass.argmax(axis=1).tolist(), strict=True)
        found += zip(bests, decide(evidence, header.taxonomy, header.thresholds), strict=True)
    return found, seconds


def quantise(network: Any, sample: Sequence[NDArray[np.uint8]]) -> Any:
    """Return an int8 version of a converted network, its ranges taken from decoded photos [H, W, 3].

    Raises:
        RuntimeUnavailableError: NNCF is not installed, or cannot quantise this network.
    """
    import_openvino()  # first, so that NNCF finds no telemetry either
    # It brings torch's extension builder along, which complains about machines without CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        import nncf
    except ImportError as error:
        raise RuntimeUnavailableError("int8 needs NNCF: pip install 'phototag[int8]'") from error
    level = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)
    try:
        dataset = nncf.Dataset([np.ascontiguousarray(picture)[None] for picture in sample])
        # Its progress bars go to stdout, which is for data.
        with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            # Mixed: activations of networks with swish or GELU are not symmetric around zero.
            return nncf.quantize(network, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=len(sample))
    except (RuntimeError, ValueError, nncf.ValidationError) as error:
        raise RuntimeUnavailableError(
            f"NNCF cannot quantise this network ({first_line(error)}); use another precision"
        ) from error
    finally:
        nncf.set_log_level(level)


def _processor(target: Target) -> str:
    if target.runtime is RuntimeName.OPENVINO:
        return str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else str(target.device)
