"""phototag as its user runs it, and two of its stages alone."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _contender import Answer, Contender, Options, Run
from numpy.typing import NDArray

from phototag.decision import unpack
from phototag.imaging import read_bytes
from phototag.library import ScanProblems, scan
from phototag.runtime import Runtime
from phototag.store import Store, StoredTag
from phototag.tagging import Batch, Tagger


def phototag(options: Options) -> Contender:
    """`Tagger.tag` into a new database."""
    return Whole(options)


def decode_alone(options: Options) -> Contender:
    """phototag's decoding, in as many threads as it uses, and nothing else."""
    return DecodeAlone(options)


def network_alone(options: Options) -> Contender:
    """phototag's runtime on arrays that lie ready, and nothing else."""
    return NetworkAlone(options)


def _tagger(options: Options) -> Tagger:
    return Tagger(
        options.model or "builtin",
        device=options.device,
        batch_size=options.batch_size,
        precision=options.precision,
    )


class Whole:
    """Scan, hash, decode, network, decisions, database: a new one for every pass, made before the clock runs."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tagger = _tagger(options)
        self._folder = Path()

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        self._folder = folder
        runtime = _loaded(self._tagger, folder)
        return f"{runtime.target.runtime} {runtime.engine.precision}, {self._tagger.workers} threads"

    def run(self) -> Run:
        """See `Contender`."""
        done: list[StoredTag] = []

        def keep(batch: Batch) -> None:
            done.extend(batch.tagged)

        with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "benchmark.db") as store:
            started = time.perf_counter()
            report = self._tagger.tag([self._folder], store, sinks=[keep])
            seconds = time.perf_counter() - started
        if not report.complete:
            raise RuntimeError(f"{self._folder}: {report.failed} pictures failed: {report.failures}")
        return Run(report.photos, seconds, self._answers(done))

    def _answers(self, done: list[StoredTag]) -> dict[str, Answer]:
        evidence = unpack([item.scores for item in done], self._tagger.header.taxonomy)
        tops = evidence.top[:, 0]
        return {item.photo.path.name: Answer.of(top, item.tag) for item, top in zip(done, tops, strict=True)}


def _loaded(tagger: Tagger, folder: Path) -> Runtime:
    """The network, after its precision was settled on the pictures of a folder."""
    return tagger.prepare(found.photo() for found in scan([folder], ScanProblems()))[0]


class DecodeAlone:
    """See `decode_alone`."""

    def __init__(self, options: Options) -> None:
        self._tagger = _tagger(options)
        self._paths: list[Path] = []

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        self._paths = sorted(folder.iterdir())
        return f"{self._tagger.workers} threads"

    def run(self) -> Run:
        """See `Contender`."""

        def one(path: Path) -> None:
            data = read_bytes(path)
            hashlib.sha256(data).digest()
            self._tagger.decode(data, path)

        with ThreadPoolExecutor(self._tagger.workers) as pool:
            started = time.perf_counter()
            for _ in pool.map(one, self._paths):
                pass
            return Run(len(self._paths), time.perf_counter() - started, {})


class NetworkAlone:
    """See `network_alone`."""

    def __init__(self, options: Options) -> None:
        self._tagger = _tagger(options)
        self._pictures: list[NDArray[np.uint8]] = []

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        paths = sorted(folder.iterdir())
        self._pictures = [self._tagger.decode(read_bytes(path), path)[0] for path in paths]
        runtime = _loaded(self._tagger, folder)
        return f"{runtime.target.runtime} {runtime.engine.precision}"

    def run(self) -> Run:
        """See `Contender`."""
        runtime = self._tagger.runtime
        step = runtime.batch_size
        started = time.perf_counter()
        pending = deque([runtime.start(self._pictures[:step])])
        for first in range(step, len(self._pictures), step):
            pending.append(runtime.start(self._pictures[first : first + step]))
            pending.popleft().result()
        while pending:
            pending.popleft().result()
        return Run(len(self._pictures), time.perf_counter() - started, {})
