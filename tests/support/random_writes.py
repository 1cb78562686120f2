"""Everything that is written of photos, at random: what follows changes has to find all of it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from phototag.errors import UsageError
from phototag.records import CaptureFacts, Photo
from phototag.store import Capture, KnownPhoto, Review, Store
from tests.support.catalog_photos import library, make_tag
from tests.support.stored_photos import TAXONOMY, failure, photo, register, stored


class Writes:
    """Writes to a store, one transaction or a few at a time."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.dice = store, random.Random(seed)
        self.kinds = sorted(name for name in vars(Writes) if not name.startswith("_") and name != "write")
        self.reviews: list[int] = []

    def write(self) -> str:
        """Write something, and return what kind it was of."""
        kind = self.dice.choice(self.kinds)
        with self.store.writing("test"):
            getattr(self, kind)()
        return kind

    def _some(self, count: int) -> list[KnownPhoto]:
        known = sorted((each for page in self.store.photos.contents() for _, each in page), key=lambda each: each.id)
        return self.dice.sample(known, min(count, len(known)))

    def tag(self) -> None:
        new = library(4, seed=self.dice.randrange(99), first=self.dice.randrange(300))
        again = [
            replace(stored(str(each.path), make_tag(self.dice)), capture=self._capture()) for each in self._some(3)
        ]
        failed = [failure(str(each.path), content=self.dice.choice([None, "other"])) for each in self._some(2)]
        self.store.tags.save_batch(model_id=register(self.store), tagged=[*new, *again], failures=failed)

    def retag(self) -> None:
        decided = [(each.id, make_tag(self.dice)) for each in self._some(5)]
        self.store.tags.save(model_id=register(self.store), decided=decided)

    def human(self) -> None:
        for each in self._some(2):
            self.store.tags.set_human(each.path, superclass=self.dice.choice(["fish", "bird", None]))

    def review(self) -> None:
        given = [Review(photo_id=each.id, superclass="fish", subclass="cod") for each in self._some(3)]
        self.reviews += self.store.reviews.save_all(given)

    def undo(self) -> None:
        while self.reviews:
            try:
                self.store.reviews.undo(self.reviews.pop())
            except UsageError:
                continue  # it was replaced, or its photo is gone
            return

    def missing(self) -> None:
        self.store.photos.mark_missing([each.id for each in self._some(3)])

    def back(self) -> None:
        self.store.photos.mark_seen([each.id for each in self._some(9)])

    def prune(self) -> None:
        going = [each.id for each in self._some(3)]
        self.store.photos.mark_missing(going)
        self.store.photos.remove(going, reviewed=True)

    def move(self) -> None:
        moving = self._some(4)
        to = [each.path for each in moving[1:]] + [Path(f"/moved/{self.dice.randrange(99)}.jpg")]
        self.store.moves.apply({each.id: photo(str(path)) for each, path in zip(moving, to, strict=True)})

    def copied(self) -> None:
        old = self._some(2)
        for each in old:
            content = stored(f"/copies/{each.id}.jpg", make_tag(self.dice))
            copy = replace(content, content_hash=each.content_hash or b"")
            self.store.tags.save_batch(model_id=register(self.store), tagged=[copy])
        self.store.photos.mark_missing([each.id for each in old])
        self.store.moves.take_over([each.id for each in old], datetime(2020, 1, 1, tzinfo=UTC))

    def captures(self) -> None:
        found = {each.id: replace(self._capture(), modified_ns=each.modified_ns) for each in self._some(4)}
        self.store.captures.save(found)

    def pair(self) -> None:
        leads = self._some(2)
        raws = [Photo(Path(f"/raw/{each.id}.nef"), 5, 6, 7, 8) for each in leads]
        self.store.pairs.join([(raw, each.id) for raw, each in zip(raws, leads, strict=True)])

    def lead(self) -> None:
        one, two = self._some(2)
        self.store.pairs.lead([(one.id, two.id)])

    def release(self) -> None:
        self.store.pairs.release([each.id for each in self._some(20)])

    def thresholds(self) -> None:
        least = {"superclass": self.dice.random(), "subclass": self.dice.random()}
        self.store.models.register(
            hash="a" * 64, name="other", backbone="b", taxonomy=TAXONOMY, metrics={}, least_scores=least
        )
        model_id = self.store.models.find(hash="a" * 64)
        assert model_id is not None
        self.store.tags.save(model_id=model_id, decided=[(each.id, make_tag(self.dice)) for each in self._some(4)])

    def _capture(self) -> Capture:
        moment = datetime(2024, self.dice.randrange(1, 13), 1, 12, 0, self.dice.randrange(9))
        words = tuple(self.dice.sample(["best", "family", "bird|hawk"], self.dice.randrange(3)))
        return Capture(1, CaptureFacts(moment, camera=self.dice.choice(["X", "Y"])), words)
