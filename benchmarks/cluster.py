"""Tag pictures on a Ray cluster of two simulated machines, kill workers and a machine, and compare with one machine.

    python benchmarks/cluster.py --photos 3000 --kills 5
    python benchmarks/cluster.py --photos 20000 --kills 10 --database postgresql://USER@HOST/EMPTY

With a database URL the cluster writes to that server, while the one machine still writes to a file.

Prints CPU seconds of all processes, photos per second once the first batch is there, and how many rows differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phototag.choices import Precision
from phototag.cluster import RayExecutor, RaySession, WorkerSetup
from phototag.store import Query, Store
from phototag.tagging import Batch, Tagger

MOST_MOVE = 0.001


def draw(folder: Path, number: int) -> None:
    """Draw pictures of 500 px that all differ, and a few that cannot be read."""
    draws = np.random.default_rng(7)
    for index in range(number):
        file = folder / f"{index // 500:03d}" / f"{index:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        blots = draws.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blots).resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=85)
        if index % 500 == 250:
            file.write_bytes(file.read_bytes()[:400])


def rows(db: Path | str) -> dict[str, tuple[tuple[Any, ...], tuple[float, ...]]]:
    """Return what a database says of its photos: what has to be equal, and the scores."""
    with Store.open(db, create=False) as store:
        return {
            str(row.path): (
                (row.state, row.error, row.superclass, row.subclass, row.rank, row.reason, row.source, row.model),
                tuple(score or 0.0 for score in (row.superclass_score, row.subclass_score, row.novelty)),
            )
            for row in store.query(Query())
        }


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all below it, those that ended included."""
    import psutil  # type: ignore[import-untyped]  # Ray brings it along

    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        except psutil.NoSuchProcess:
            continue
    return total


class Clock:
    """Notes when batches were saved: the rate after the first one is that of the steady state."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float, int]] = []

    def __call__(self, batch: Batch) -> None:
        self.seen.append((time.monotonic(), cpu_seconds(), len(batch.items)))

    def steady(self) -> dict[str, float]:
        """Return photos per second, and CPU milliseconds a photo, between the first batch and the last."""
        photos = sum(number for _, _, number in self.seen[1:])
        (began, cpu_began, _), (ended, cpu_ended, _) = self.seen[0], self.seen[-1]
        return {
            "photos_per_second": round(photos / max(ended - began, 1e-9), 1),
            "cpu_ms_a_photo": round(1000 * (cpu_ended - cpu_began) / max(photos, 1), 2),
        }


def workers() -> Iterator[Any]:
    """Yield the processes of workers that tag."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        try:
            if "ChunkWorker" in " ".join(process.cmdline()):
                yield process
        except psutil.NoSuchProcess:
            continue


class Killer:
    """Kills a worker, or once a whole machine, as batches are saved; a new machine takes its place."""

    def __init__(self, cluster: Any, kills: int, seed: int, photos: int) -> None:
        self._cluster, self._draw = cluster, random.Random(seed)
        self._moments = sorted(self._draw.uniform(0.05, 0.9) * photos for _ in range(kills))
        self._machine, self._saved = self._moments[kills // 2 : kills // 2 + 1], 0
        self.killed: list[str] = []

    def __call__(self, batch: Batch) -> None:
        self._saved += len(batch.items)
        while self._moments and self._moments[0] < self._saved:
            if [self._moments.pop(0)] == self._machine:
                self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)
                self._cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
                self.killed.append("machine")
            elif running := list(workers()):
                self._draw.choice(running).kill()
                self.killed.append("worker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="[default: the active one]")
    parser.add_argument("--folder", type=Path, help="Pictures that were drawn before.")
    parser.add_argument("--database", help="URL of an empty database for the cluster [default: a file]")
    chosen = parser.parse_args()
    os.environ.update(RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0")
    with tempfile.TemporaryDirectory(prefix="phototag-bench-") as name:
        folder = chosen.folder or Path(name) / "photos"
        if not folder.is_dir():
            draw(folder, chosen.photos)
        result = {"plain": one_machine(folder, Path(name) / "plain.db", chosen.model)}
        cluster_db = chosen.database or Path(name) / "ray.db"
        result["ray"] = two_machines(folder, cluster_db, chosen)
        plain, ray = rows(Path(name) / "plain.db"), rows(cluster_db)
        moves = [
            abs(one - other)
            for path in plain.keys() & ray.keys()
            for one, other in zip(plain[path][1], ray[path][1], strict=True)
        ]
        result["rows"] = {
            "plain": len(plain),
            "ray": len(ray),
            "different": sum(row[0] != ray.get(path, (None,))[0] for path, row in plain.items()),
            "largest_move": max(moves),
        }
        print(json.dumps(result, indent=2))


def one_machine(folder: Path, db: Path, model: str | None) -> dict[str, Any]:
    """Tag on this machine alone."""
    clock, before = Clock(), cpu_seconds()
    with Tagger(model, precision=Precision.F32) as tagger, Store.open(db) as store:
        report = tagger.tag([folder], store, sinks=[clock])
    return {"seconds": round(report.seconds, 1), "cpu_seconds": round(cpu_seconds() - before, 1), **clock.steady()}


def two_machines(folder: Path, db: Path | str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Tag on two simulated machines of a core each, of which workers and one machine are killed."""
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
    from ray.cluster_utils import Cluster

    before = cpu_seconds()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 128 << 20},
    )
    cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
    clock = Clock()
    killer = Killer(cluster, chosen.kills, chosen.seed, chosen.photos)
    try:
        tagger = Tagger(chosen.model)
        with (
            Store.open(db) as store,
            RaySession(cluster.address) as session,
            RayExecutor(WorkerSetup(tagger.model, precision=Precision.F32), session) as executor,
        ):
            report = tagger.tag([folder], store, executor=executor, sinks=[clock, killer])
            spent = cpu_seconds() - before
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    return {
        "seconds": round(report.seconds, 1),
        "cpu_seconds": round(spent, 1),
        **clock.steady(),
        "killed": killer.killed,
    }


if __name__ == "__main__":
    main()
