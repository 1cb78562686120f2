"""Ray as what computes the batches: one actor a GPU or a few cores, on each machine of the cluster."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Self

from phototag.choices import Device
from phototag.cluster.chunk import (
    PHOTOS_IN_CHUNK,
    Chunk,
    after_death,
    check_places,
    chunks_of,
    unreachable_photos,
)
from phototag.cluster.chunk_worker import ChunkWorker
from phototag.cluster.lookups import Lookups
from phototag.cluster.ray_session import RaySession
from phototag.cluster.worker_setup import WorkerSetup
from phototag.errors import PhotoTagError, RuntimeUnavailableError
from phototag.files import read_regular
from phototag.metadata import WrittenKeywords
from phototag.records import Photo
from phototag.runtime import Target
from phototag.tagging import Batch, Describer, Lookup
from phototag.text import first_line

# A worker has one chunk in hand and one waiting, so that it never waits for the driver.
_IN_HAND = 2
_CORES_A_WORKER = 4
_TICK_SECONDS = 1.0
_NODES_SECONDS = 5.0
# A cluster that lost all its machines may get new ones.
_PATIENCE_SECONDS = 120.0
_MOST_LOADING_DEATHS = 3
_MOST_MODEL_BYTES = 1 << 34


@dataclass(eq=False, slots=True)
class _Worker:
    """An actor, and what it was given: each call with its chunk, the oldest first, which is the one it is at."""

    actor: Any
    node: str
    cores: int
    ready: Any = None
    loaded: bool = False
    loading_deaths: int = 0
    calls: deque[tuple[Any, Chunk]] = field(default_factory=deque)


class RayExecutor:
    """Computes batches on a Ray cluster, which is connected to when the first photo is there.

    Batches come as they are done, whatever the order of their photos: no machine waits for a slower one. Machines that
    join are used, those that are lost lose nothing: their photos are given to others. Close it, or use it in a `with`.

    Args:
        setup: How the workers compute.
        session: The cluster.

    Raises:
        UsageError: the workers would not all compute in the same precision.
    """

    worker_class: type[ChunkWorker] = ChunkWorker
    photos_in_chunk = PHOTOS_IN_CHUNK

    def __init__(self, setup: WorkerSetup, session: RaySession) -> None:
        self._setup, self._session = setup.fixed(), session
        self.target: Target = setup.target
        self._opened = False
        self._workers: list[_Worker] = []
        self._nodes: set[str] = set()
        self._nodes_seen = self._last_life = 0.0
        self._lookups: Lookups | None = None
        self._model: list[Any] = []
        self._ledger = _Ledger()
        self._why = "none has a core, or a GPU, as was asked for"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            with suppress(Exception):  # it is gone already
                self._ray.kill(worker.actor)
        self._workers = []
        if self._lookups is not None:
            self._lookups.close()

    @property
    def _ray(self) -> Any:
        return self._session.ray

    def process(self, photos: Iterator[Photo], *, known: Lookup | None, describe: Describer) -> Generator[Batch]:
        """See `Executor`; returns once the first worker has loaded the model.

        Raises:
            RuntimeUnavailableError: Ray is not installed, the cluster cannot be joined, or no worker can start.
            ModelError: a worker has not got the model.
        """
        if not self._opened:
            self._open(asks=known is not None)
        if self._lookups is not None:
            self._lookups.answer_by(known)
        while not any(worker.loaded for worker in self._workers):
            self._look_after_workers()
            self._wait([worker.ready for worker in self._workers])
        self._ledger.number += 1
        return self._batches(chunks_of(photos, self.photos_in_chunk), describe, ask=known is not None)

    def _batches(self, fresh: Iterator[Chunk], describe: Describer, *, ask: bool) -> Generator[Batch]:
        again: deque[Chunk] = deque()
        is_over = False
        while True:
            self._look_after_workers()
            for number, worker in product(range(1, _IN_HAND + 1), self._workers):
                if not worker.loaded or len(worker.calls) >= number:
                    continue
                chunk = again.popleft() if again else next(fresh, None)
                if chunk is None:
                    is_over = True
                    break
                # The photos before the ledger: moves that were noticed while they were looked for are in it.
                state, written = self._ledger.sent(self._ray, describe)
                call = worker.actor.process.remote(chunk.photos, ask=ask, state=state, written=written)
                worker.calls.append((call, chunk))
            calls = [call for worker in self._workers for call, _ in worker.calls]
            if is_over and not calls and not again:
                return
            waiting = [worker.ready for worker in self._workers if not worker.loaded]
            self._wait([*calls, *waiting])
            for worker in list(self._workers):
                yield from self._results(worker, again)

    def _wait(self, calls: list[Any]) -> None:
        """Wait until one of the calls is over, a second at most."""
        if calls:
            self._ray.wait(calls, timeout=_TICK_SECONDS)
        else:
            time.sleep(_TICK_SECONDS)

    def _results(self, worker: _Worker, again: deque[Chunk]) -> Iterator[Batch]:
        """Yield what a worker has done; if it died, its chunks are to be done again."""
        while worker.calls and self._ray.wait([worker.calls[0][0]], timeout=0)[0]:
            call, chunk = worker.calls.popleft()
            try:
                batch: Batch | None = self._result(call)
            except self._ray.exceptions.RayError:
                # Only what it was at can have killed it, and not if its whole machine is gone.
                parts, condemned = after_death(chunk) if self._is_alive(worker.node) else ([chunk], None)
                if condemned is not None:
                    yield Batch((condemned,), 0)
            else:
                if batch is not None:
                    if unreachable := unreachable_photos(batch):
                        check_places(unreachable, self._host_of(worker.node))
                    yield batch
                    continue
                parts = [chunk]  # it died with nothing in hand, and was started again
            again.extend([*parts, *(waiting for _, waiting in worker.calls)])
            worker.calls.clear()
            self._load(worker)

    def _result(self, call: Any) -> Any:
        """Return what a call gave.

        Raises:
            PhotoTagError: it ended with that.
            RayError: the worker or its machine died.
        """
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, self._ray.exceptions.RayError):
                raise error.cause from error
            if isinstance(error.cause, PhotoTagError):
                raise error.cause from error
            raise RuntimeUnavailableError(f"a worker failed: {error.cause!r}") from error

    # -- workers

    def _open(self, *, asks: bool) -> None:
        path = self._setup.model.path
        if self._session.address is not None and path is not None:
            self._model = [self._ray.put(read_regular(path, most_bytes=_MOST_MODEL_BYTES))]
        self._lookups = Lookups(self._ray) if asks else None
        self._opened = True
        self._last_life = time.monotonic()

    def _look_after_workers(self) -> None:
        """Start workers on new machines, forget those of lost ones, and see which of the others are ready."""
        if self._lookups is not None:
            self._lookups.check()
        now = time.monotonic()
        if now - self._nodes_seen > _NODES_SECONDS:
            self._nodes_seen = now
            alive = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
            for node in alive.keys() - self._nodes:
                self._workers += self._started(node, alive[node])
            self._nodes |= alive.keys()
        for worker in list(self._workers):
            if not worker.loaded and self._ray.wait([worker.ready], timeout=0)[0]:
                self._see_if_ready(worker)
        if self._workers:  # those that load the model, or wait until others leave room for them, are alive
            self._last_life = now
        elif now - self._last_life > _PATIENCE_SECONDS:
            hint = "" if self._session.address is None else "see that all were started with RAY_AUTH_MODE=token; "
            raise RuntimeUnavailableError(
                f"no machine of the Ray cluster can run a worker ({self._why}); {hint}what was tagged is stored, "
                "run it again to go on"
            )

    def _see_if_ready(self, worker: _Worker) -> None:
        try:
            if not self._result(worker.ready):
                raise RuntimeUnavailableError(
                    f"{self._session.address}: this Ray cluster runs what anybody sends it; "
                    "start it with RAY_AUTH_MODE=token"
                )
            worker.loaded, worker.loading_deaths = True, 0
        except self._ray.exceptions.RayError as error:
            self._why = first_line(error)
            worker.loading_deaths += 1
            if self._is_alive(worker.node) and worker.loading_deaths < _MOST_LOADING_DEATHS:
                self._load(worker)
            else:
                self._workers.remove(worker)

    def _load(self, worker: _Worker) -> None:
        """Let a worker load the model, now or once Ray has started it again."""
        ask = None if self._lookups is None else self._lookups.ask
        worker.loaded = False
        worker.ready = worker.actor.ready.remote(self._setup, worker.cores, self._model, ask)

    def _is_alive(self, node: str) -> bool:
        return any(found["NodeID"] == node and found["Alive"] for found in self._ray.nodes())

    def _host_of(self, node: str) -> str:
        return next((str(found["NodeManagerHostname"]) for found in self._ray.nodes() if found["NodeID"] == node), node)

    def _started(self, node: str, resources: dict[str, float]) -> list[_Worker]:
        """Start the workers of a machine: one a GPU, or one a few cores."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cores = int(resources.get("CPU", 0))
        cores = min(cores, self._setup.jobs or cores)
        gpus = int(resources.get("GPU", 0)) if self._setup.device in (Device.AUTO, Device.CUDA) else 0
        number = gpus or max(1, cores // _CORES_A_WORKER)
        if not cores or (self._setup.device is Device.CUDA and not gpus):
            return []
        each = max(1, cores // number)
        # Tries are counted here: a chunk that kills its worker is not to be given to the next one for ever.
        actor_class = self._ray.remote(max_restarts=-1, max_task_retries=0)(self.worker_class).options(
            num_cpus=each,
            num_gpus=1 if gpus else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        workers = [_Worker(actor_class.remote(), node, each) for _ in range(number)]
        for worker in workers:
            self._load(worker)
        return workers


class _Ledger:
    """What phototag wrote into files: sent to the workers once, and again when it changed.

    `number` grows whenever they have to look again.
    """

    def __init__(self) -> None:
        self.number = 0
        self._last: WrittenKeywords | None = None
        self._written: Any = None

    def sent(self, ray: Any, describe: Describer) -> tuple[int, Any]:
        """Return the number, and a reference to the ledger, None where it is empty."""
        ours = describe.written()
        if ours is not self._last:
            self._last = ours
            self.number += 1
            self._written = ray.put(ours) if ours.by_path or ours.by_hash else None
        return self.number, self._written
