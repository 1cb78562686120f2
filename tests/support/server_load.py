"""Computers that read and write one database at the same moment, and what is lost of what they wrote."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from phototag.records import PhotoState, Source
from phototag.store import Query, Review, ReviewFilter, Store, check_database
from tests.support.stored_photos import BEAGLE, ROOSTER, register, stored


@dataclass
class Load:
    """What was done: batches saved and read, answers given, and what is wrong in the end."""

    saved: int = 0
    read: int = 0
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def run_load(url: str, *, answers: int, answering: int, reading: int, paths: Sequence[str]) -> Load:
    """Let one tag, some answer so often each, and some read; each of them with connections of its own."""
    load, mutex, over, started = Load(), threading.Lock(), threading.Event(), time.monotonic()
    with Store.open(url) as store, store.writing("phototag tag"):
        model_id = register(store)
        store.tags.save_batch(model_id=model_id, tagged=[stored(path) for path in paths])

    def tag() -> None:
        chance = random.Random(0)
        with Store.open(url) as store, store.tagging("phototag tag"), store.writing("phototag tag"):
            while not over.is_set():
                some = chance.sample(paths, min(len(paths), 256))
                store.tags.save_batch(
                    model_id=model_id, tagged=[stored(p, chance.choice([ROOSTER, BEAGLE])) for p in some]
                )
                load.saved += 1

    def answer(number: int) -> None:
        chance = random.Random(number)
        with Store.open(url) as store:
            for count in range(answers):
                path = chance.choice(paths)
                with store.answering("phototag serve", wait_seconds=60):
                    known = store.photos.find(Path(path))
                    if known is None:
                        raise AssertionError(f"{path} is not there")
                    said = chance.choice(["bird", "dog"])
                    review = store.reviews.save(Review(photo_id=known.id, superclass=said, token=f"{number} {count}"))
                    with mutex:
                        load.answers[f"{number} {count}"] = review

    def read() -> None:
        with Store.open(url) as store:
            while not over.wait(0.05):
                rows = list(store.query(Query()))
                with mutex:
                    load.read += 1
                    if sorted(os.fspath(row.path) for row in rows) != sorted(paths):
                        load.problems.append("a reader saw another number of photos")
                    if not all(row.state is PhotoState.OK and row.rank is not None for row in rows):
                        load.problems.append("a reader saw a photo without a tag")

    with ThreadPoolExecutor(1 + answering + reading) as pool:
        others = [pool.submit(tag), *(pool.submit(read) for _ in range(reading))]
        try:
            for done in [pool.submit(answer, number) for number in range(answering)]:
                done.result()
        finally:
            over.set()
        for done in others:
            done.result()
    load.seconds = time.monotonic() - started
    load.problems += _lost(url, load)
    return load


def _lost(url: str, load: Load) -> list[str]:
    with Store.open(url, create=False) as store:
        given = list(store.reviews.find_all(ReviewFilter(current=False)))
        tags = {row.path: row for row in store.query(Query())}
    problems = [*check_database(url).problems]
    if {review.token: review.id for review in given} != load.answers:
        problems.append(f"{len(load.answers)} answers were given, {len(given)} are stored")
    for path, review in {review.path: review for review in given}.items():
        if tags[path].source is not Source.HUMAN or tags[path].superclass != review.superclass:
            problems.append(f"{path}: the last answer is not its tag")
    return problems
