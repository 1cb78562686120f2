"""Check the active model and the decoder, and measure how fast photos are decoded and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from phototag.doctor.check import BROKEN, Check, State
from phototag.errors import PhotoTagError
from phototag.text import first_line

if TYPE_CHECKING:
    from phototag.choices import Precision
    from phototag.model import Model
    from phototag.runtime import Target

_MEASURING_SECONDS = 2.5


def check_model() -> Check:
    """Check whether the active model can be read, to its last byte."""
    from phototag.model import open_model

    remedy = "choose another model: phototag model use NAME (phototag model list names them)"
    try:
        model = open_model()
        digest = model.hash
        if model.path is not None:
            model.tensors()  # reads all of the file
    except BROKEN as error:
        return Check("model", State.FAILED, first_line(error), remedy)
    taxonomy = model.header.taxonomy
    values = {
        "name": model.name,
        "backbone": model.header.backbone,
        "superclasses": len(taxonomy.superclasses),
        "subclasses": len(taxonomy.subclasses),
        "hash": digest,
    }
    classes = f"{len(taxonomy.superclasses)} superclasses, {len(taxonomy.subclasses)} subclasses"
    return Check("model", State.OK, f"{model.name}: {model.header.backbone}, {classes}, {digest[:12]}", values=values)


def check_decoder() -> Check:
    """Check whether processes start that decode risky formats."""
    import io

    from PIL import Image

    from phototag.imaging import Decoder, Preprocessing

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "BMP")
    started = time.perf_counter()
    with Decoder(Preprocessing(size=32)) as decoder:
        try:
            decoder(file.getvalue(), Path("picture"))
        except PhotoTagError as error:
            remedy = "free memory, and see that this user may start more processes (ulimit -u)"
            return Check("decoder", State.FAILED, str(error).partition(": ")[2], remedy)
        seconds = time.perf_counter() - started
    text = f"worker processes start in {seconds:.1f} s"
    return Check("decoder", State.OK, text, values={"start_seconds": round(seconds, 3)})


def measure_decoding() -> Check:
    """Measure how many photos a second are decoded."""
    from phototag.model import open_model
    from phototag.runtime import decoding_speed

    speed, threads = decoding_speed(open_model().header.preprocessing, seconds=_MEASURING_SECONDS)
    text = f"{speed:.0f} photos a second (JPEG of 12 megapixels, {threads} threads)"
    return Check("decoding speed", State.OK, text, values={"photos_per_second": round(speed, 1), "threads": threads})


def network_measurements() -> Iterator[tuple[str, Callable[[], Check]]]:
    """Yield a measurement, under its name, for each precision that this computer offers for the active model.

    Raises:
        PhotoTagError: the model cannot be read, or the device cannot be used.
    """
    from phototag.choices import Precision
    from phototag.model import open_model
    from phototag.runtime import choose_target, faster_precisions

    model, target = open_model(), choose_target()
    for precision in (Precision.F32, *faster_precisions(target)):
        yield f"network speed {precision}", partial(_network, model, target, precision)


def _network(model: Model, target: Target, precision: Precision) -> Check:
    from phototag.runtime import Runtime, network_speed

    started = time.perf_counter()
    runtime = Runtime(model, target=target, precision=precision)
    loading = time.perf_counter() - started
    speed = network_speed(runtime, seconds=_MEASURING_SECONDS)
    text = f"{speed:.0f} photos a second ({model.name}, {target.runtime} on {target.device}), loaded in {loading:.1f} s"
    values = {
        "photos_per_second": round(speed, 1),
        "load_seconds": round(loading, 2),
        "device": str(target.device),
        "runtime": str(target.runtime),
        "precision": str(precision),
        "model": model.name,
    }
    return Check(f"network speed {precision}", State.OK, text, values=values)
