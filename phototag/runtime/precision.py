"""Faster arithmetic, taken only where the tags prove to stay the same.

Fewer bits make a network faster (docs/experiments.md#runtimes) and move its scores. How far depends on the model and on
the pictures, so it is measured on the first photos to be tagged, while these are tagged with f32. AUTO then keeps to
what was found: what was good enough is used with that model, and what was not is tried with no model of that backbone
again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag._version import __version__
from phototag.choices import DEFAULT_BATCH_SIZE, Precision, RuntimeName
from phototag.decision import decide, gather
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.files import keep_newest, replacing
from phototag.model import Model
from phototag.records import Tag
from phototag.runtime.engine import Done, Outputs, Pictures
from phototag.runtime.openvino_engine import OpenVinoEngine, cached, converted, import_openvino, read_cached
from phototag.runtime.runtime import PendingScores, Runtime, Target, faster_precision, network_of
from phototag.text import first_line, percent

log = logging.getLogger(__name__)

# The photos to measure on, and to calibrate int8 on; with fewer than the least nothing is concluded.
SAMPLE_PHOTOS = 256
LEAST_PHOTOS = 64
# What a faster precision has to keep, and to gain, to be chosen by AUTO.
LEAST_AGREEMENT = 0.995
MOST_MOVE = 0.02
LEAST_SPEEDUP = 1.1

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
        agrees = self.photos >= LEAST_PHOTOS and self.same >= LEAST_AGREEMENT and self.largest_move <= MOST_MOVE
        return agrees and self.speedup >= LEAST_SPEEDUP

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
        """Whether `open` has to see some of the photos that are to be tagged, decoded: int8 is calibrated on them."""
        return self._wanted is Precision.INT8 and read_cached(self._int8_key) is None

    @property
    def undecided(self) -> bool:
        """Whether a faster precision is still to be tried."""
        candidate = faster_precision(self._target) if self._wanted is Precision.AUTO else None
        return candidate is not None and self._known(candidate) is None

    def open(self, sample: Sequence[NDArray[np.uint8]] = (), *, try_faster: bool = False) -> Runtime:
        """Return the runtime.

        Args:
            sample: Decoded photos [H, W, 3] to calibrate on, where `needs_sample` asks for them.
            try_faster: Try a faster precision, if one is `undecided`, on the first photos that the runtime is given.

        Raises:
            UsageError: the device does not compute in the wanted precision; too few photos to calibrate int8 on.
            RuntimeUnavailableError: the runtime cannot run this model.
        """
        if self._wanted is Precision.INT8:
            return self._open_int8(sample)
        if self._wanted is not Precision.AUTO:
            return self._runtime(precision=self._wanted)
        candidate = faster_precision(self._target)
        agreement = None if candidate is None else self._known(candidate)
        if candidate is not None and agreement is not None and agreement.holds:
            return self._runtime(precision=candidate)
        plain = self._runtime(precision=Precision.F32)
        if candidate is None or agreement is not None or not try_faster:
            return plain
        return _Trial(plain, partial(self._runtime, precision=candidate), self._keep_verdict)

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
            batch_size=self._batch_size or DEFAULT_BATCH_SIZE,
            precision=Precision.INT8,
            threads=self._threads,
        )
        runtime = Runtime(self._model, target=self._target, engine=engine)
        agreement = self._measured(self._model.weights_hash, Precision.INT8)
        if fresh or (agreement is None and len(sample) >= LEAST_PHOTOS):
            agreement = measure(self._runtime(precision=Precision.F32), runtime, sample)
            self._keep(self._model.weights_hash, agreement)
        log.info("%s.", agreement or "int8: its agreement with f32 is no longer known")
        return runtime

    # -- what was measured before

    def _file(self, subject: str, precision: Precision) -> Path:
        described = f"{subject} {self._target.runtime} {_processor(self._target)} {precision} {__version__}"
        return settings.cache_folder() / "agreement" / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.json"

    @property
    def _backbone(self) -> str:
        header = self._model.header
        return f"{header.backbone} {header.preprocessing.size}"

    def _known(self, candidate: Precision) -> Agreement | None:
        """Return what was measured with this model, or that it was refused with another one of its backbone."""
        return self._measured(self._model.weights_hash, candidate) or self._measured(self._backbone, candidate)

    def _measured(self, subject: str, precision: Precision) -> Agreement | None:
        try:
            value = json.loads(self._file(subject, precision).read_text(encoding="utf-8"))
            return Agreement(
                precision=Precision(value["precision"]),
                photos=int(value["photos"]),
                same=float(value["same"]),
                largest_move=float(value["largest_move"]),
                speedup=float(value["speedup"]),
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None

    def _keep_verdict(self, agreement: Agreement) -> None:
        self._keep(self._model.weights_hash if agreement.holds else self._backbone, agreement)
        verdict = "used from now on" if agreement.holds else "not good enough, so f32 stays"
        log.info("%s: %s.", agreement, verdict)

    def _keep(self, subject: str, agreement: Agreement) -> None:
        file = self._file(subject, agreement.precision)
        with suppress(OSError):  # measured again the next time
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as partial:
                partial.write_text(json.dumps(asdict(agreement)), encoding="utf-8")
            keep_newest(file.parent, "*.json", count=_AGREEMENTS_KEPT)


class _Trial(Runtime):
    """F32, which tries a faster precision on its first photos and goes on with that if it proves good enough."""

    def __init__(self, plain: Runtime, faster: Callable[[], Runtime], keep: Callable[[Agreement], None]) -> None:
        super().__init__(plain.model, target=plain.target, engine=plain.engine)
        self._make, self._keep = faster, keep
        self._comparison: _Comparison | None = None
        self._over = False

    def start(self, pictures: Pictures) -> PendingScores:
        """See `Runtime.start`; while the trial lasts it returns once the scores are there."""
        if self._comparison is None and not self._over:
            try:
                self._comparison = _Comparison(self, self._make(), pictures)
            except RuntimeUnavailableError as error:
                log.info("f32 stays: %s", error)
                self._over = True
        if self._comparison is None or self._over:
            return super().start(pictures)
        outputs = self._comparison.add(pictures)
        found = self._comparison.agreement()
        hopeless = found.photos >= LEAST_PHOTOS and (found.speedup < 1 or not found.largest_move <= MOST_MOVE)
        if hopeless or found.photos >= SAMPLE_PHOTOS:
            self._over = True
            if found.holds:
                self.engine = self._comparison.faster.engine
            self._comparison = None
            self._keep(found)
        return PendingScores(Done(outputs), self.model)


class _Comparison:
    """What two runtimes of one model say of the same photos, and the seconds that they take."""

    def __init__(self, plain: Runtime, faster: Runtime, first: Pictures) -> None:
        """Run the first batch, which also pays for memory, without counting it."""
        self.faster = faster
        self._engines = plain.engine, faster.engine
        self._model = plain.model
        self._photos, self._same, self._moved = 0, 0, 0.0
        self._seconds = [0.0, 0.0]
        for engine in self._engines:
            engine.start(first).result()

    def add(self, pictures: Pictures) -> Outputs:
        """Let both score a batch, and return the outputs of the first one."""
        outputs = []
        for place, engine in enumerate(self._engines):
            started = time.perf_counter()
            outputs.append(engine.start(pictures).result())
            self._seconds[place] += time.perf_counter() - started
        for (best, tag), (other_best, other) in zip(*map(self._tags, outputs), strict=True):
            moves = (
                tag.superclass_score - other.superclass_score,
                tag.subclass_score - other.subclass_score,
                tag.novelty - other.novelty,
            )
            self._same += best == other_best
            # Not the greatest of Python's: whatever is no number has to show.
            self._moved = float(np.max(np.abs((self._moved, *moves))))
        self._photos += len(pictures)
        return outputs[0]

    def agreement(self) -> Agreement:
        """Return what came of it so far."""
        return Agreement(
            precision=self.faster.engine.precision,
            photos=self._photos,
            same=self._same / max(1, self._photos),
            largest_move=self._moved,
            speedup=self._seconds[0] / max(self._seconds[1], 1e-9),
        )

    def _tags(self, outputs: Outputs) -> list[tuple[tuple[int, int], Tag]]:
        """Return the best labels and the tag of each picture."""
        header = self._model.header
        scores = PendingScores(Done(outputs), self._model).result()
        evidence = gather(scores, header.taxonomy, self._model.novelty)
        bests = zip(evidence.top[:, 0].tolist(), evidence.superclass.argmax(axis=1).tolist(), strict=True)
        return list(zip(bests, decide(evidence, header.taxonomy, header.thresholds), strict=True))


def measure(plain: Runtime, faster: Runtime, pictures: Sequence[NDArray[np.uint8]]) -> Agreement:
    """Compare two runtimes of one model on decoded photos [H, W, 3]."""
    size = min(plain.batch_size, faster.batch_size)
    comparison = _Comparison(plain, faster, pictures[:size])
    for first in range(0, len(pictures), size):
        comparison.add(pictures[first : first + size])
    return comparison.agreement()


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
    match target.runtime:
        case RuntimeName.OPENVINO:
            return str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))
        case RuntimeName.TORCH:
            import torch

            return torch.cuda.get_device_name() if torch.cuda.is_available() else str(target.device)
        case RuntimeName.AUTO:
            raise ValueError(f"{target}: not from choose_target")
        case _:
            assert_never(target.runtime)
