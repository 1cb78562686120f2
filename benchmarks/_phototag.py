"""phototag as its user runs it, and two of its stages alone."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _contender import Answer, Contender, Options, Run

from phototag.decision import unpack
from phototag.imaging.decode import decode_file
from phototag.inference.names import Device
from phototag.inference.pipeline import Batch
from phototag.inference.runtime import Runtime, choose_target
from phototag.inference.tagger import Tagger
from phototag.inference.threads import decode_threads
from phototag.learning.registry import open_model
from phototag.store import Store, StoredTag


def phototag(options: Options) -> Contender:
    """`Tagger.tag` into a new database."""
    return Whole(options)


def decode_alone(options: Options) -> Contender:
    """phototag's decoding, in as many threads as it uses, and nothing else."""
    return DecodeAlone(options)


def network_alone(options: Options) -> Contender:
    """phototag's runtime on arrays that lie ready, and nothing else."""
    return NetworkAlone(options)


class Whole:
    """Scan, hash, decode, network, decisions, database: a new one for every pass, made before the clock runs."""

    def __init__(self, options: Options) -> None:
        self._tagger = Tagger(options.model or "builtin", device=options.device, batch_size=options.batch_size)
        self._runtime = self._tagger.runtime  # loads the network
        self._folder = Path()

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        self._folder = folder
        target = self._runtime.target
        return f"{target.runtime}, {decode_threads(None)} threads"

    def run(self) -> Run:
        """See `Contender`."""
        done: list[StoredTag] = []

        def keep(batch: Batch) -> None:
            done.extend(batch.tagged)

        with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "benchmark.db") as store:
            started = time.perf_counter()
            report = self._tagger.tag([self._folder], store, on_batch=keep)
            seconds = time.perf_counter() - started
        if not report.complete:
            raise RuntimeError(f"{self._folder}: {report.failed} pictures failed: {report.failures}")
        return Run(report.photos, seconds, self._answers(done))

    def _answers(self, done: list[StoredTag]) -> dict[str, Answer]:
        evidence = unpack([item.scores for item in done], self._tagger.model.header.taxonomy)
        tops = evidence.top[:, 0]
        return {item.photo.path.name: Answer.of(top, item.tag) for item, top in zip(done, tops, strict=True)}


class DecodeAlone:
    """See `decode_alone`."""

    def __init__(self, options: Options) -> None:
        self._preprocessing = open_model(options.model or "builtin").header.preprocessing
        self._paths: list[Path] = []

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        self._paths = sorted(folder.iterdir())
        return f"{decode_threads(None)} threads"

    def run(self) -> Run:
        """See `Contender`."""

        def one(path: Path) -> None:
            decode_file(path, self._preprocessing)

        with ThreadPoolExecutor(decode_threads(None)) as pool:
            started = time.perf_counter()
            for _ in pool.map(one, self._paths):
                pass
            return Run(len(self._paths), time.perf_counter() - started, {})


class NetworkAlone:
    """See `network_alone`."""

    def __init__(self, options: Options) -> None:
        model = open_model(options.model or "builtin")
        self._runtime = Runtime(model, target=choose_target(Device(options.device)), batch_size=options.batch_size)
        self._images: Any = None

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        preprocessing = self._runtime.model.header.preprocessing
        pixels = [decode_file(path, preprocessing).pixels for path in sorted(folder.iterdir())]
        self._images = np.stack(pixels).transpose(0, 3, 1, 2)
        return str(self._runtime.target.runtime)

    def run(self) -> Run:
        """See `Contender`."""
        step = self._runtime.batch_size
        started = time.perf_counter()
        for first in range(0, len(self._images), step):
            self._runtime(self._images[first : first + step])
        return Run(len(self._images), time.perf_counter() - started, {})
