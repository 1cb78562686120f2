"""How long the gallery takes for each thing that its page asks for, on a made-up library.

    python benchmarks/gallery.py                                   # 100,000 photos, half a minute
    python benchmarks/gallery.py --photos 1000000 --database ~/bench/million.db

The library has tags, predictions and embeddings, but no picture files. With `--database` it is kept, and used again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import insert

from phototag.catalog import Gallery, GalleryFilter, GallerySort
from phototag.database import photos, predictions, tags
from phototag.decision import Thresholds, decide, gather, pack
from phototag.records import PhotoState, Rank, Scores, Source
from phototag.store import Store
from phototag.taxonomy import Taxonomy

SUPERCLASSES, SUBCLASSES, WIDTH = 15, 5, 64
FOLDERS, YEARS = 300, 5
ROWS_AT_ONCE = 5000
ROUNDS = 15
WORDS = ("harbour", "Zürich", "birthday", "trip to the lake", "DSC", "IMG", "garden", "snow")
NEWEST = datetime(2026, 6, 30, tzinfo=UTC)
TAXONOMY = Taxonomy.from_pairs(
    (f"group {group:02}", f"kind {group:02}-{kind}") for group in range(SUPERCLASSES) for kind in range(SUBCLASSES)
)
THRESHOLDS = Thresholds(superclass=0.6, subclass=0.55, novel_superclass=0.97, novel_subclass=0.9)

Timings = dict[str, list[float]]


# ---- the library


def make_library(path: Path, count: int, *, seed: int = 7) -> None:
    """Write a library of `count` photos: 75 classes, 300 folders, five years, every rank, source and state."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(len(TAXONOMY.subclasses), WIDTH)).astype(np.float32) * 2
    with Store.open(path) as store, store.writing("benchmark"):
        model_id = store.models.register(
            hash=hashlib.sha256(b"benchmark").hexdigest(),
            name="benchmark",
            backbone="none",
            taxonomy=TAXONOMY,
            metrics={},
        )
        for first in range(1, count + 1, ROWS_AT_ONCE):
            ids = range(first, min(first + ROWS_AT_ONCE, count + 1))
            rows = _rows(ids, model_id, chance, centres)
            with store._database.write() as connection:
                for table, values in rows.items():
                    connection.execute(insert(table), values)
            print(f"\r{ids[-1]:,} photos written", end="", file=sys.stderr)
    print(file=sys.stderr)


def _rows(ids: range, model_id: int, chance: np.random.Generator, centres: Any) -> dict[Any, list[dict[str, Any]]]:
    classes = chance.integers(len(TAXONOMY.subclasses), size=len(ids))
    strength = chance.gamma(3.0, 2.5, size=(len(ids), 1))
    subclass = chance.normal(size=(len(ids), len(TAXONOMY.subclasses)))
    subclass[np.arange(len(ids)), classes] += strength[:, 0]
    superclass = chance.normal(size=(len(ids), SUPERCLASSES))
    superclass[np.arange(len(ids)), np.asarray(TAXONOMY.parents)[classes]] += strength[:, 0] + 1
    evidence = gather(Scores(superclass.astype(np.float32), subclass.astype(np.float32)), TAXONOMY)
    novelty = np.sort(chance.beta(0.6, 3.0, size=(len(ids), 2)), axis=1).astype(np.float32)
    embedding = centres[classes] + chance.normal(size=(len(ids), WIDTH))
    evidence = replace(evidence, novelty=novelty, embedding=embedding.astype(np.float16))
    given, packed = decide(evidence, TAXONOMY, THRESHOLDS), pack(evidence)
    found: dict[Any, list[dict[str, Any]]] = {photos: [], predictions: [], tags: []}
    for row, photo_id in enumerate(ids):
        dice, now = chance.random(), NEWEST - timedelta(seconds=float(chance.integers(60 * 86_400)))
        photo = _photo(photo_id, chance, now)
        if dice < 0.01:
            photo |= {"state": "unreadable", "error_kind": "corrupt", "error": "bad marker", "content_hash": None}
            found[photos].append(photo)
            continue
        photo["state"] = "missing" if dice < 0.03 else "ok"
        found[photos].append(photo)
        values = {"photo_id": photo_id, "model_id": model_id, "content_hash": photo["content_hash"]}
        found[predictions].append(values | {"scores": packed[row], "predicted_at": now})
        tag = given[row]
        values = {
            "photo_id": photo_id,
            "superclass": tag.superclass,
            "subclass": tag.subclass,
            "rank": tag.rank.value,
            "superclass_score": tag.superclass_score,
            "subclass_score": tag.subclass_score,
            "novelty": tag.novelty,
            "source": "model",
            "model_id": model_id,
            "tagged_at": now,
        }
        if dice > 0.95:
            name = TAXONOMY.subclasses[classes[row]]
            values |= {"superclass": TAXONOMY.parent(name), "subclass": name, "rank": "subclass", "source": "human"}
            values |= {"superclass_score": 1.0, "subclass_score": 1.0, "novelty": 0.0, "model_id": None}
        found[tags].append(values)
    return found


def _photo(photo_id: int, chance: np.random.Generator, now: datetime) -> dict[str, Any]:
    folder = int(chance.integers(FOLDERS))
    taken = NEWEST - timedelta(seconds=float(chance.integers(YEARS * 365 * 86_400)))
    word = WORDS[folder % len(WORDS)]
    event = f"{taken.year - folder % 2}/{folder:03} {word}"
    path = f"/home/somebody/Pictures/{event}/{word[:3].upper()}_{photo_id:07}.jpg"
    return {
        "id": photo_id,
        "path_bytes": path.encode(),
        "path_text": path,
        "size_bytes": 3_000_000,
        "modified_ns": int(taken.timestamp()) * 10**9,
        "changed_ns": 0,
        "inode": photo_id,
        "content_hash": hashlib.sha256(path.encode()).digest(),
        "width": 4000,
        "height": 3000,
        "error_kind": None,
        "error": None,
        "attempts": 0,
        "first_seen_at": now,
        "last_seen_at": now,
    }


# ---- measuring


@contextmanager
def timed(timings: Timings, what: str) -> Iterator[None]:
    """Note how long the block takes, in milliseconds."""
    started = time.perf_counter()
    yield
    timings.setdefault(what, []).append((time.perf_counter() - started) * 1000)


def measure(store: Store) -> Timings:
    """What each request takes, in milliseconds, every time it was tried."""
    timings: Timings = {}
    with timed(timings, "open the library"):
        gallery = Gallery(store)
    with gallery:
        _measure_pages(gallery, timings)
        _measure_photos(gallery, timings)
        with timed(timings, "read the library anew"):
            gallery._load(gallery.snapshot)
    return timings


def _measure_pages(gallery: Gallery, timings: Timings) -> None:
    def ask(what: str, wanted: GalleryFilter, **order: Any) -> None:
        with timed(timings, what):
            gallery.page(wanted, **order)
            gallery.facets(wanted)

    def each(what: str, make: Callable[[int], GalleryFilter]) -> None:
        for turn in range(ROUNDS):
            ask(what, make(turn))

    every = GalleryFilter()
    with timed(timings, "first page of all"):
        gallery.page(every)
    with timed(timings, "first facets of all"):
        gallery.facets(every)
    each("first page and facets, again", lambda _: every)
    each("facet: superclass", lambda turn: GalleryFilter(superclass=TAXONOMY.superclasses[turn % SUPERCLASSES]))
    each(
        "facets: subclass, rank, source, score",
        lambda turn: GalleryFilter(
            superclass=TAXONOMY.superclasses[turn % SUPERCLASSES],
            subclass=TAXONOMY.subclasses[SUBCLASSES * (turn % SUPERCLASSES)],
            rank=Rank.SUBCLASS,
            source=Source.MODEL,
            state=PhotoState.OK,
            min_score=turn / 30,
        ),
    )
    folders = [choice.to["folder"] for choice in gallery.facets(every).groups["folder"].choices]
    each("facet: folder", lambda turn: GalleryFilter(folder=folders[turn % len(folders)]))
    each("search: one word", lambda turn: GalleryFilter(text=f"{WORDS[turn % len(WORDS)]} {turn}"))
    each("search: in nearly all paths", lambda turn: GalleryFilter(text=f"jpg {'jpg'[: turn % 3]}pictures"))
    each("search: nothing found", lambda turn: GalleryFilter(text=f"nowhere{turn}"))
    for sort in GallerySort:
        for descending in (True, False):
            with timed(timings, "other order, first time"):
                gallery.page(every, sort=sort, descending=descending)
    cursor = gallery.page(every, start=gallery.total // 2).after
    for turn in range(ROUNDS):
        with timed(timings, "next page by cursor, from the middle"):
            cursor = gallery.page(every, after=cursor).after
        with timed(timings, "page by place"):
            gallery.page(every, start=gallery.total * turn // ROUNDS)


def _measure_photos(gallery: Gallery, timings: Timings) -> None:
    chosen = random.Random(5)
    wanted = GalleryFilter(state=PhotoState.OK, source=Source.MODEL)
    ids = [item.id for item in islice(gallery.page(wanted, limit=1000).items, 1000)]
    with timed(timings, "similar photos, first time"):
        gallery.similar(ids[0])
    for _ in range(ROUNDS):
        photo_id = chosen.choice(ids)
        with timed(timings, "similar photos"):
            gallery.similar(photo_id)
        with timed(timings, "photo in full"):
            gallery.photo(photo_id)
        with timed(timings, "photos around"):
            gallery.around(wanted, photo_id=photo_id)
        with timed(timings, "refresh one photo"):
            gallery.refresh([photo_id])
        with timed(timings, "first page and facets after a refresh"):
            gallery.page(wanted)
            gallery.facets(wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--database", type=Path, help="keep the library here, or use the one that is here")
    parser.add_argument("--only-make", action="store_true", help="make the library and measure nothing")
    parser.add_argument("--json", type=Path, help="write every timing to this file, in milliseconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = arguments.database or Path(folder) / "library.db"
        if not database.exists():
            make_library(database, arguments.photos)
        if arguments.only_make:
            return
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Store.open(database, create=False) as store:
            timings = measure(store)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{'milliseconds':<42}{'median':>10}{'most':>10}{'times':>7}")
    for what, each in timings.items():
        print(f"{what:<42}{median(each):>10.1f}{max(each):>10.1f}{len(each):>7}")
    print(f"memory grew by {grown / 1024:.0f} MiB at the most")
    if arguments.json:
        arguments.json.write_text(json.dumps(timings, indent=1))


if __name__ == "__main__":
    main()
