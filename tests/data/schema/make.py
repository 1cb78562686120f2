"""Make the small sample database of the current schema: `python tests/data/schema/make.py`.

One is kept for every released schema and never changed afterwards: upgrades are tested on the real thing. It
holds a file name that is not UTF-8, a human's tag, a back-off to the superclass, a novel photo, an unreadable and
a missing one, a sample that is half reviewed, and a review that was undone.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from phototag.database import HEAD
from phototag.records import Failure, FailureKind, Photo, Rank, Tag
from phototag.store import Design, NewSample, Review, SampledPhoto, Store, StoredTag, Stratum
from phototag.taxonomy import Taxonomy

FOLDER = "/photos/2025"
PAIRS = [("bird", "rooster"), ("bird", "hawk"), ("dog", "beagle"), ("dog", "boxer")]


def photo(name: bytes, number: int) -> Photo:
    """A photo that is nowhere, with plain stat values. The inode is larger than a signed column holds."""
    path = Path(os.fsdecode(FOLDER.encode() + b"/" + name))
    moment = 1_750_000_000_000_000_000 + number
    return Photo(path, size_bytes=1000 + number, modified_ns=moment, changed_ns=moment, inode=2**64 - 1 - number)


def stored(name: bytes, number: int, tag: Tag) -> StoredTag:
    """That photo with a tag."""
    return StoredTag(
        photo=photo(name, number),
        content_hash=hashlib.sha256(name).digest(),
        width=4000,
        height=3000,
        scores=bytes([number] * 8),
        tag=tag,
    )


def review(store: Store, tagged: list[StoredTag], model_id: int) -> None:
    """Draw two photos and review one of them, skip the other; review a third and undo that."""
    ids = [known.id for item in tagged if (known := store.photos.find(item.photo.path)) is not None]
    drawn = [
        SampledPhoto(
            photo_id=ids[number],
            stratum="bird",
            inclusion_probability=1.0,
            content_hash=tagged[number].content_hash,
            tag=tagged[number].tag,
            model_id=model_id,
        )
        for number in (0, 2)
    ]
    sample_id = store.samples.save(
        NewSample(
            name="first look",
            design=Design.STRATIFIED,
            strata_by="superclass",
            seed=1,
            for_estimation=True,
            model_id=model_id,
            parameters={"under": FOLDER},
            items=drawn,
            strata=[Stratum("bird", 2, 2)],
        )
    )
    store.reviews.save(Review(photo_id=ids[0], superclass="bird", subclass="hawk", sample_id=sample_id, token="one"))
    store.samples.skip(sample_id, 2)
    store.reviews.undo(store.reviews.save(Review(photo_id=ids[3], superclass="dog")))


def make(path: Path) -> None:
    """Write the sample database to `path`."""
    tagged = [
        stored(b"rooster.jpg", 1, Tag("bird", "rooster", Rank.SUBCLASS, 0.97, 0.95, 0.02)),
        stored(b"caf\xe9.jpg", 2, Tag("dog", "beagle", Rank.SUBCLASS, 0.9, 0.7, 0.1)),
        stored(b"some bird.jpg", 3, Tag("bird", None, Rank.SUPERCLASS, 0.8, 0.45, 0.5)),
        stored(b"teapot.jpg", 4, Tag(None, None, Rank.NONE, 0.4, 0.2, 0.99)),
        stored(b"gone.jpg", 5, Tag("dog", "boxer", Rank.SUBCLASS, 0.99, 0.98, 0.01)),
    ]
    broken = Failure(photo(b"broken.jpg", 6), FailureKind.TRUNCATED, "ends after 12 of 40 rows")
    with Store.open(path) as store, store.writing("tag"):
        model_id = store.models.register(
            hash=hashlib.sha256(b"sample model").hexdigest(),
            name="sample",
            backbone="tf_efficientnet_lite0",
            taxonomy=Taxonomy.from_pairs(PAIRS),
            metrics={"subclass_accuracy": 0.9},
        )
        run_id = store.runs.begin("tag", model_id=model_id, device="cpu", runtime="torch")
        store.tags.save_batch(model_id=model_id, tagged=tagged, failures=[broken])
        store.runs.finish(run_id, {"tagged": 5, "failed": 1})
        store.tags.set_human(tagged[1].photo.path, superclass="dog", subclass="boxer")
        gone = store.photos.find(tagged[4].photo.path)
        store.photos.mark_missing([gone.id] if gone else [])
        review(store, tagged, model_id)
    with closing(sqlite3.connect(path)) as connection:
        # One file, without a journal beside it, as small as can be.
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("VACUUM")
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    target = Path(__file__).with_name(f"{HEAD}.db")
    if target.exists():
        sys.exit(f"{target} exists; a released schema's sample is never changed")
    make(target)
