"""How many photos a second this computer decodes, and puts through a network: each alone, on made-up photos."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from phototag.imaging import Decoder, Preprocessing
from phototag.runtime.runtime import Runtime
from phototag.runtime.threads import decode_threads

_PHOTO_SIZE = (4000, 3000)


def made_up_photo(size: tuple[int, int] = _PHOTO_SIZE, *, seed: int = 0) -> bytes:
    """Return a JPEG of soft shapes with some grain, about as large and as slow to decode as a camera's."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    pixels = np.asarray(shapes.resize(size, Image.Resampling.BICUBIC))
    # The same small piece of grain everywhere: random numbers for all pixels would take longer than the measurement.
    grain = random.integers(0, 16, (256, 256, 1), dtype=np.uint8)
    repeats = (-(-size[1] // 256), -(-size[0] // 256), 1)
    grainy = pixels // 16 * 15 + np.tile(grain, repeats)[: size[1], : size[0]]
    file = io.BytesIO()
    Image.fromarray(grainy).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoding_speed(preprocessing: Preprocessing, *, seconds: float) -> tuple[float, int]:
    """Return how often a second all threads together decode one 12-megapixel JPEG, and the number of threads."""
    data, threads = made_up_photo(), decode_threads(None)
    photo = Path("made-up.jpg")
    with Decoder(preprocessing) as decoder, ThreadPoolExecutor(threads) as pool:
        decoder(data, photo)  # what is compiled or loaded on first use is not what is measured
        started = time.perf_counter()

        def work(_: int) -> int:
            count = 0
            while time.perf_counter() - started < seconds:
                decoder(data, photo)
                count += 1
            return count

        done = sum(pool.map(work, range(threads)))
        return done / (time.perf_counter() - started), threads


def network_speed(runtime: Runtime, *, seconds: float) -> float:
    """Return photos a second that a network scores in full batches, with no decoding beside it."""
    size = runtime.model.header.preprocessing.size
    random = np.random.default_rng(0)
    batch = random.integers(0, 256, (runtime.batch_size, size, size, 3), dtype=np.uint8)
    runtime.start(batch).result()  # the first one prepares things
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        runtime.start(batch).result()
        done += len(batch)
    return done / passed
