"""With what precision a model runs: F32, or something faster with F32 for what that leaves in doubt."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag._version import __version__
from phototag.choices import Precision, RuntimeName
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.files import keep_newest, read_regular, replacing
from phototag.model import Model
from phototag.runtime.doubt import BANDS, SAMPLE_PHOTOS, DoubtingRuntime, Errors
from phototag.runtime.engine import Engine, usual_batch_size
from phototag.runtime.openvino_engine import OpenVinoEngine, cached, converted, import_openvino, read_cached
from phototag.runtime.runtime import Runtime, Target, faster_precisions, network_of
from phototag.text import first_line

log = logging.getLogger(__name__)

# The least photos to calibrate int8 on.
LEAST_PHOTOS = 64
# How many times faster the network has to become for AUTO to keep a second one in memory.
LEAST_GAIN = 1.1

_NOTES_KEPT = 32
_MOST_NOTE_BYTES = 1 << 16


class PrecisionChooser:
    """Settles with what precision a model runs on a target, and makes the runtime.

    Args:
        model: The model.
        target: From `choose_target`.
        wanted: F32; AUTO for what gains most, F32 if nothing does; or what all photos are to be computed in, with F32
            for those in doubt.
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
        self._runtime = partial(Runtime, model, target=target, batch_size=batch_size, threads=threads)
        self._compiled = compiled

    @property
    def needs_sample(self) -> bool:
        """Whether `open` has to see some of the photos that are to be tagged, decoded: int8 is calibrated on them."""
        return self._wanted is Precision.INT8 and read_cached(self._int8_key) is None

    @property
    def has_faster(self) -> bool:
        """Whether something may be faster than F32 alone: it is to be measured, or was found to gain."""
        known = {each: self._known(each) for each in self._candidates}
        return any(errors is None or errors.gain >= self._least_gain for errors in known.values())

    @property
    def _candidates(self) -> tuple[Precision, ...]:
        if self._wanted is Precision.AUTO:
            return faster_precisions(self._target)
        return () if self._wanted is Precision.F32 else (self._wanted,)

    @property
    def _least_gain(self) -> float:
        return LEAST_GAIN if self._wanted is Precision.AUTO else 1.0

    def open(self, sample: Sequence[NDArray[np.uint8]] = (), *, many: bool = False) -> Runtime:
        """Return the runtime.

        Args:
            sample: Decoded photos [H, W, 3] to calibrate on, where `needs_sample` asks for them.
            many: Whether so many photos are coming that a second network pays. One that was asked for is always there.

        Raises:
            UsageError: the device does not compute in the wanted precision; too few photos to calibrate int8 on.
            RuntimeUnavailableError: the runtime cannot run this model.
        """
        automatic = self._wanted is Precision.AUTO
        if not self._candidates or (automatic and not (many and self.has_faster)):
            return self._runtime(precision=Precision.F32, compiled=self._compiled)
        known = {each: self._known(each) for each in self._candidates}
        found = [errors for errors in known.values() if errors is not None]
        best = max(found, key=lambda errors: errors.gain) if len(found) == len(known) else None
        if best is not None and best.gain < self._least_gain:
            log.info("%s, so f32 alone is used.", best)
            return self._runtime(precision=Precision.F32, compiled=self._compiled)
        engines = []
        for precision in [best.precision] if best is not None else list(known):
            try:
                engines.append(self._engine(precision, sample))
            except RuntimeUnavailableError as error:
                if not automatic:
                    raise
                log.info("without %s: %s", precision, error)
        # A compiled network takes full batches only, and those in doubt are few.
        plain = self._runtime(precision=Precision.F32, compiled=self._compiled and not engines)
        if not engines:
            return plain
        return DoubtingRuntime(plain, engines, known=best, least_gain=self._least_gain, keep=self._keep)

    def _engine(self, precision: Precision, sample: Sequence[NDArray[np.uint8]]) -> Engine:
        if precision is not Precision.INT8:
            return self._runtime(precision=precision, compiled=self._compiled).engine
        preprocessing = self._model.header.preprocessing

        def make() -> Any:
            if len(sample) < LEAST_PHOTOS:
                raise UsageError(
                    f"int8 is calibrated on the photos to be tagged and needs {LEAST_PHOTOS} that can be read; "
                    "here are fewer; use --runtime-precision auto"
                )
            return quantise(converted(network_of(self._model), preprocessing, self._model.weights_hash[:32]), sample)

        return OpenVinoEngine(
            cached(self._int8_key, make),
            size=preprocessing.size,
            batch_size=self._batch_size or usual_batch_size(preprocessing.size),
            precision=Precision.INT8,
            threads=self._threads,
        )

    @property
    def _int8_key(self) -> str:
        return f"{self._model.weights_hash[:32]}-int8"

    # -- what was measured before

    def _file(self, precision: Precision) -> Path:
        # Of the model with its thresholds: these say which photos are in doubt.
        described = f"{self._model.hash} {self._target.runtime} {_processor(self._target)} {precision} {__version__}"
        return settings.cache_folder() / "errors" / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.json"

    def _known(self, precision: Precision) -> Errors | None:
        """Return what was measured with this model here; None if nothing was, or it cannot be read."""
        if precision is Precision.INT8 and self.needs_sample:
            return None  # of a network that is gone
        try:
            value = json.loads(read_regular(self._file(precision), most_bytes=_MOST_NOTE_BYTES))
            largest = tuple(float(number) for number in value["largest"])
            found = Errors(
                precision,
                photos=int(value["photos"]),
                largest=largest,
                counts=tuple(int(number) for number in value["counts"]),
                doubtful=float(value["doubtful"]),
                speedup=float(value["speedup"]),
                surprises=int(value["surprises"]),
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None
        values = BANDS * (4 if self._model.novelty is None else 6)
        fits = len(largest) == len(found.counts) == values and min(largest) >= 0
        return found if fits and found.photos >= SAMPLE_PHOTOS and 0 <= found.doubtful <= 1 else None

    def _keep(self, errors: Errors) -> None:
        file = self._file(errors.precision)
        with suppress(OSError):  # measured again the next time
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as written:
                written.write_text(json.dumps(asdict(errors)), encoding="utf-8")
            keep_newest(file.parent, "*.json", count=_NOTES_KEPT)


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
