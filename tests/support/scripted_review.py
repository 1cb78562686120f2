"""A library with a sample, and a reviewer who presses the keys of a script."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from phototag.cli.audit_review import Reviewing
from phototag.decision import Thresholds, decide, gather, pack
from phototag.records import Photo, Scores
from phototag.review.review_session import ReviewSession, choose_sample
from phototag.store import Store, StoredTag
from tests.support.models import TINY_TAXONOMY
from tests.support.pictures import MakePicture
from tests.support.samples import draw_all

NAMES = ["a", "b", "c", "d", "e", "f"]
Labels = tuple[str | None, str | None]


class Library:
    """Six photos that a model tagged, each most likely a beagle, and a sample of all of them: `first`."""

    def __init__(self, folder: Path, make_picture: MakePicture, names: Sequence[str] = NAMES) -> None:
        self.folder = folder
        self.make_picture = make_picture
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(3)
        rows = []
        for place, name in enumerate(names):
            path = make_picture(folder / f"{name}.jpg", seed=place)
            subclass = rng.normal(0, 0.5, (1, 5)).astype(np.float32)
            subclass[0, 2] += 4.0
            subclass[0, 3] += 2.0
            logits = Scores(np.array([[0.0, 3.0, 0.0]], dtype=np.float32), subclass)
            rows.append(self.row(path, gather(logits, TINY_TAXONOMY)))
        with Store.open() as store, store.writing("test"):
            model_id = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TINY_TAXONOMY, metrics={})
            store.tags.save_batch(model_id=model_id, tagged=rows)
            self.sample_id = draw_all(store, folder, rows, model_id)

    @staticmethod
    def row(path: Path, evidence: object) -> StoredTag:
        status = path.stat()
        photo = Photo(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        (tag,) = decide(evidence, TINY_TAXONOMY, Thresholds(superclass=0.4, subclass=0.3))  # type: ignore[arg-type]
        content = hashlib.sha256(path.read_bytes()).digest()
        return StoredTag(photo, content, 96, 64, pack(evidence)[0], tag)  # type: ignore[arg-type]

    def session(self, store: Store) -> ReviewSession:
        sample = choose_sample(store, "first")
        assert sample is not None
        return ReviewSession(store, sample, wait_seconds=0.2)

    def said(self) -> dict[int, Labels]:
        """What reviews say by the position in the sample."""
        with Store.open() as store:
            items = store.samples.items(self.sample_id)
            return {item.position: (item.review.superclass, item.review.subclass) for item in items if item.review}

    def skipped(self) -> list[int]:
        with Store.open() as store:
            return [item.position for item in store.samples.items(self.sample_id) if item.skipped_at]


class Script:
    """Keys from a list, as a person types them; calls are made when their turn comes. It ends with q."""

    live = True
    strict = False

    def __init__(self, *keys: str | Callable[[], object]) -> None:
        self._keys = list(keys)

    def key(self) -> str:
        while self._keys:
            key = self._keys.pop(0)
            if isinstance(key, str):
                return key
            key()
        return "q"

    def line(self) -> str:
        raise EOFError


def go(library: Library, *keys: str | Callable[[], object]) -> str:
    """Type keys in a new session; what was said."""
    words: list[str] = []
    with Store.open() as store:
        Reviewing(library.session(store), Script(*keys), None, words.append).run()
    return "\n".join(words)
