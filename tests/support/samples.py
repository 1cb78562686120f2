"""A tagged library with a sample drawn from it, for tests of the pages that review it and say how right it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phototag.decision import Thresholds, decide, gather, pack
from phototag.records import Photo, Scores
from phototag.store import Design, NewSample, Query, SampledPhoto, SampleItem, Store, StoredTag, Stratum
from tests.support.models import TINY_TAXONOMY
from tests.support.pictures import MakePicture

Labels = tuple[str | None, str | None]


class Sampled:
    """So many photos that a model tagged, in turns with each of its classes, and a sample of all of them: `first`."""

    def __init__(
        self,
        folder: Path,
        make_picture: MakePicture,
        count: int = 6,
        *,
        names: Sequence[str] = (),
        database: Path | str | None = None,
    ) -> None:
        self.folder = folder
        self.database = database or folder.with_suffix(".db")
        self.names = list(names) or [f"photo{number:03}" for number in range(1, count + 1)]
        rng = np.random.default_rng(3)
        rows = []
        for place, name in enumerate(self.names):
            path = make_picture(folder / f"{name}.jpg", seed=place)
            subclass = rng.normal(0, 0.5, (1, 5)).astype(np.float32)
            subclass[0, place % 5] += 2.0 + 3.0 * rng.random()
            parent = TINY_TAXONOMY.parents[place % 5]
            superclass = np.zeros((1, 3), dtype=np.float32)
            superclass[0, parent] = 3.0
            rows.append(scored_photo(path, Scores(superclass, subclass)))
        with Store.open(self.database) as store, store.writing("test"):
            model_id = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TINY_TAXONOMY, metrics={})
            store.tags.save_batch(model_id=model_id, tagged=rows)
            self.sample_id = draw_all(store, folder, rows, model_id)

    def items(self) -> list[SampleItem]:
        """The photos of the sample as they are now."""
        with Store.open(self.database) as store:
            return store.samples.items(self.sample_id)

    def tags(self) -> dict[int, Labels]:
        """The tag that is judged by the position in the sample."""
        return {item.position: (item.tag.superclass, item.tag.subclass) for item in self.items()}

    def said(self) -> dict[int, Labels]:
        """What reviews say by the position in the sample."""
        return {item.position: (item.review.superclass, item.review.subclass) for item in self.items() if item.review}

    def skipped(self) -> list[int]:
        """The positions of photos that were skipped."""
        return [item.position for item in self.items() if item.skipped_at]

    def rows(self) -> list[tuple[object, ...]]:
        """Everything that is known of the photos' tags, for comparing before and after."""
        with Store.open(self.database) as store:
            return [
                (row.path, row.superclass, row.subclass, row.source, row.superclass_score, row.model, row.tagged_at)
                for row in store.query(Query())
            ]


def scored_photo(path: Path, scores: Scores) -> StoredTag:
    """A photo as a model with these scores tags it."""
    status = path.stat()
    photo = Photo(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    evidence = gather(scores, TINY_TAXONOMY)
    (tag,) = decide(evidence, TINY_TAXONOMY, Thresholds(superclass=0.4, subclass=0.3))
    return StoredTag(photo, hashlib.sha256(path.read_bytes()).digest(), 96, 64, pack(evidence)[0], tag)


def draw_all(store: Store, folder: Path, rows: Sequence[StoredTag], model_id: int) -> int:
    """The id of a sample named "first" of all these photos, in that order."""
    ids = {known.path: known.id for known in store.photos.under([folder])}
    items = [
        SampledPhoto(
            photo_id=ids[row.photo.path],
            stratum="all",
            inclusion_probability=1.0,
            content_hash=row.content_hash,
            tag=row.tag,
            model_id=model_id,
        )
        for row in rows
    ]
    return store.samples.save(
        NewSample(
            name="first",
            design=Design.SIMPLE,
            seed=1,
            for_estimation=True,
            items=items,
            strata=[Stratum("all", len(items), len(items))],
            model_id=model_id,
        )
    )
