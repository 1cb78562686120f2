"""Scores of photos that a model has not seen yet, stored beside their tags, which stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from tqdm import tqdm

from phototag.choices import Scored
from phototag.model import Model
from phototag.paths import PhotoPath
from phototag.records import Photo, PhotoState
from phototag.store import KnownPhoto, ReviewFilter, Store
from phototag.tagging.pipeline import Batch
from phototag.tagging.registration import register
from phototag.tagging.tagger import Tagger

_COMMAND = "phototag model diff"
_WAIT_SECONDS = 60.0


@dataclass(slots=True)
class ScoringReport:
    """Contents that were scored now, that could not be read, and that changed since `phototag tag` last saw them."""

    scored: int = 0
    failed: int = 0
    changed: int = 0


def score_missing(store: Store, model: Model, which: Scored, *, under: PhotoPath | None = None) -> ScoringReport:
    """Run a model on photos whose contents it has not scored yet, each content once, and keep what it says.

    The right to write is taken for each batch, so a watcher may go on beside it.

    Raises:
        LockedError: another process writes to the database for long.
        StoreError: the database cannot be read or written.
        ModelError: the model's file cannot be read.
    """
    report = ScoringReport()
    wanted = [] if which is Scored.NONE else list(_unscored(store, model, which, under))
    if not wanted:
        return report
    with (
        Tagger(model) as tagger,
        tqdm(desc=f"scoring with {model.name}", total=len(wanted), disable=None) as bar,
        closing(tagger.process(_photo(known) for known in wanted)) as batches,
    ):
        for batch in batches:
            _save(store, model, batch, report)
            bar.update(len(batch.items))
    return report


def _save(store: Store, model: Model, batch: Batch, report: ScoringReport) -> None:
    report.failed += len(batch.failures)
    if not batch.tagged:
        return
    with store.writing(_COMMAND, wait_seconds=_WAIT_SECONDS):
        saved = store.scores.save(model_id=register(store, model), scored=batch.tagged)
    report.scored += saved
    report.changed += len(batch.tagged) - saved


def _unscored(store: Store, model: Model, which: Scored, under: PhotoPath | None) -> Iterator[KnownPhoto]:
    model_id = store.models.find(hash=model.hash, weights_hash=model.weights_hash)
    reviewed = {review.content_hash for review in store.reviews.find_all(ReviewFilter(under=under))}
    seen: set[bytes] = set()
    for page in store.photos.contents(under=under):
        there = [
            (content_hash, known)
            for content_hash, known in page
            if known.state is PhotoState.OK and (which is Scored.ALL or content_hash in reviewed)
        ]
        if model_id is not None:
            seen.update(store.scores.of_contents(model_id, [content_hash for content_hash, _ in there]))
        for content_hash, known in there:
            if content_hash not in seen:
                seen.add(content_hash)
                yield known


def _photo(known: KnownPhoto) -> Photo:
    return Photo(
        known.path,
        size_bytes=known.size_bytes,
        modified_ns=known.modified_ns,
        changed_ns=known.changed_ns,
        inode=known.inode,
    )
