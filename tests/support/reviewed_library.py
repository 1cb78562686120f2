"""A library of which a model knows most photos, with the truth of every photo and a reviewed sample."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.audit.sample_creation import create_sample
from phototag.choices import Allocation, StrataBy
from phototag.decision import decide, gather, pack
from phototag.model.registry import Model, open_model
from phototag.records import Photo, Scores
from phototag.settings import models_folder
from phototag.store import Query, Review, Sample, Store, StoredTag
from phototag.tagging.registration import register
from tests.support.models import TINY_TAXONOMY, write_tiny_model

Label = tuple[str | None, str | None]


class ReviewedLibrary:
    """So many photos in the default database, tagged by the model "tiny", and a sample `first` of them, reviewed.

    A subclass logit of the model counts for `worth` in truth. Each `novel`th photo is of no class that it knows.
    """

    def __init__(
        self,
        photos: int = 1200,
        *,
        reviewed: int = 200,
        worth: float = 1.0,
        novel: int = 50,
        seed: int = 0,
        by: StrataBy | None = None,
    ) -> None:
        models_folder().mkdir(parents=True, exist_ok=True)
        write_tiny_model(models_folder() / "tiny.safetensors", seed=0)
        self.model: Model = open_model("tiny")
        random = np.random.default_rng(seed)
        logits = random.normal(0, 3, (photos, 5)).astype(np.float32)
        self.truth: dict[Path, Label] = {}
        for number, row in enumerate(logits):
            name = TINY_TAXONOMY.subclasses[_drawn(row * worth, random)]
            label = ("fish", "carp") if number % novel == 0 else (TINY_TAXONOMY.parent(name), name)
            self.truth[Path(f"/lib/{number % 7}/IMG_{number * 5}.jpg")] = label
        pooled = np.stack([np.logaddexp.reduce(logits[:, part], axis=1) for part in map(list, TINY_TAXONOMY.children)])
        evidence = gather(Scores(pooled.T.astype(np.float32), logits), TINY_TAXONOMY)
        tags = decide(evidence, TINY_TAXONOMY, self.model.header.thresholds)
        stored = [
            StoredTag(Photo(path, 1, 1, 1, 1), hashlib.sha256(bytes(path)).digest(), 4, 3, blob, tag)
            for path, blob, tag in zip(self.truth, pack(evidence), tags, strict=True)
        ]
        with Store.open() as store:
            with store.writing("test"):
                store.tags.save_batch(model_id=register(store, self.model), tagged=stored)
            allocation = Allocation.PROPORTIONAL if by is None else Allocation.EQUAL
            sample = create_sample(store, size=reviewed, name="first", by=by, allocation=allocation, seed=seed)
            with store.writing("test"):
                self._review(store, sample)
            self.sampled = {item.path for item in store.samples.items(sample.id)}

    def _review(self, store: Store, sample: Sample) -> None:
        said = [
            Review(
                photo_id=item.photo_id,
                superclass=self.truth[item.path][0],
                subclass=self.truth[item.path][1],
                sample_id=sample.id,
            )
            for item in store.samples.items(sample.id)
        ]
        store.reviews.save_all(said)

    def rest(self) -> dict[str, tuple[float, float]]:
        """What is stored of the photos that were not reviewed, by level: the share right, and the share stored."""
        with Store.open() as store:
            photos = [photo for photo in store.query(Query(limit=None)) if photo.path not in self.sampled]
        found = {}
        for place, level in enumerate(("superclass", "subclass")):
            pairs = [(getattr(photo, level), self.truth[photo.path][place]) for photo in photos]
            right = [tag == truth for tag, truth in pairs if tag is not None]
            found[level] = (float(np.mean(right)) if right else 1.0, len(right) / len(pairs))
        return found


def _drawn(logits: NDArray[np.float32], random: np.random.Generator) -> int:
    chances = np.exp(logits - logits.max()).astype(np.float64)
    return int(random.choice(len(chances), p=chances / chances.sum()))
