"""Events: photos that one camera took within seconds of each other, sampled as clusters, and grown by --more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from phototag.audit import create_sample, extend_sample
from phototag.bursts import BURST_SECONDS, bursts_of, find_bursts
from phototag.choices import StrataBy
from phototag.records import CaptureFacts
from phototag.store import Capture, Store
from tests.support.stored_photos import register, stored

START = datetime(2026, 5, 3, 14, 22, 1)


def at(seconds: float | None, camera: str | None = "Box", serial: str | None = None) -> CaptureFacts:
    taken = None if seconds is None else START + timedelta(seconds=seconds)
    return CaptureFacts(taken, camera=camera, camera_serial=serial)


def test_bursts_are_of_one_camera_and_as_long_as_photos_follow_each_other() -> None:
    gap = BURST_SECONDS
    facts = [at(0), at(2 * gap), at(gap), at(3 * gap + 0.001), at(0.5, serial="2"), at(0, None), at(0, None), at(None)]
    assert bursts_of(facts).tolist() == [0, 0, 0, 3, 4, 5, 6, 7]
    assert bursts_of(facts, seconds=60).tolist() == [0, 0, 0, 0, 4, 5, 6, 7]
    assert bursts_of([]).tolist() == []
    # Of all photos in any order: the one taken first names the burst.
    taken = np.array([2, 1, 0], dtype="datetime64[s]")
    assert find_bursts(np.zeros(3, dtype=int), taken).tolist() == [2, 2, 2]


def test_events_are_sampled_whole_and_a_sample_of_them_grows(tmp_path: Path) -> None:
    # Twenty bursts of three, and twenty photos without a time.
    facts = [at(60.0 * burst + shot) for burst in range(20) for shot in range(3)] + [at(None)] * 20
    with Store.open(tmp_path / "photos.db") as store, store.writing("test"):
        items = [replace(stored(f"/p/{number:03}.jpg"), capture=Capture(1, each)) for number, each in enumerate(facts)]
        store.tags.save_batch(model_id=register(store), tagged=items)
        sample = create_sample(store, size=20, by=StrataBy.EVENT, seed=1)
        noted = sample.parameters["groups"]
        assert (noted["groups"], noted["largest"], noted["compared"]) == (40, 3, 60)
        sampled = [int(item.path.stem) for item in store.samples.items(sample.id)]
        of_burst = Counter(number // 3 for number in sampled if number < 60)
        assert set(of_burst.values()) == {3}
        more = extend_sample(store, sample.name, more=20)
        assert more.size > sample.size
        grown = Counter(int(item.path.stem) // 3 for item in store.samples.items(more.id) if int(item.path.stem) < 60)
        assert set(grown.values()) == {3}
        assert len(create_sample(store, size=1, by=StrataBy.GROUP).parameters["groups"]["of"]) in (1, 3)
