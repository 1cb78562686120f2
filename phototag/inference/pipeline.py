"""Photos to decided tags: decode threads, a bounded queue, batches through the runtime, decisions for whole batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from phototag.decision import decide, gather, pack, unpack
from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, picture_size, read_bytes
from phototag.inference.runtime import Runtime
from phototag.inference.threads import bounded_map, decode_threads
from phototag.records import Decoded, Failure, FailureKind, Photo, Tag
from phototag.store import StoredTag

# Batches are cut when so many photos came together, decoded or not, so that failures and known contents are saved too.
_MOST_IN_BATCH = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of some photos, in their order, and how many of them went through the network."""

    items: tuple[StoredTag | Failure, ...]
    inferred: int

    @property
    def tagged(self) -> list[StoredTag]:
        """The photos that have a tag now."""
        return [item for item in self.items if isinstance(item, StoredTag)]

    @property
    def failures(self) -> list[Failure]:
        """The photos that cannot be read."""
        return [item for item in self.items if isinstance(item, Failure)]


@dataclass(frozen=True, slots=True)
class _Known:
    """A photo whose content was scored before."""

    photo: Photo
    content_hash: bytes
    width: int
    height: int
    scores: bytes


def process(
    photos: Iterable[Photo],
    runtime: Runtime,
    *,
    workers: int | None = None,
    known_scores: Callable[[bytes], bytes | None] | None = None,
) -> Iterator[Batch]:
    """Decode, score and decide photos, in order, with a bounded number of them in memory.

    `known_scores` gives the packed scores of a content hash, if this model scored that content before; such photos are
    not decoded and not scored again. It is called from the decode threads.
    """
    threads = decode_threads(workers)

    def read(photo: Photo) -> Decoded | _Known | Failure:
        digest = None
        try:
            data = read_bytes(photo.path)
            digest = hashlib.sha256(data).digest()
            scores = known_scores(digest) if known_scores is not None else None
            if scores is not None:
                return _Known(photo, digest, *picture_size(data, photo.path), scores)
            pixels, width, height = decode_bytes(data, runtime.model.header.preprocessing, photo.path)
        except DecodeError as error:
            return Failure(photo, FailureKind(error.kind), error.reason, digest)
        return Decoded(photo, digest, width, height, pixels)

    waiting: list[Decoded | _Known | Failure] = []
    decoded = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for outcome in bounded_map(pool, read, photos, limit=2 * (threads + runtime.batch_size)):
            waiting.append(outcome)
            decoded += isinstance(outcome, Decoded)
            if decoded == runtime.batch_size or len(waiting) == _MOST_IN_BATCH:
                yield _finish(waiting, runtime)
                waiting, decoded = [], 0
        if waiting:
            yield _finish(waiting, runtime)


def _finish(outcomes: list[Decoded | _Known | Failure], runtime: Runtime) -> Batch:
    """Score what was decoded, decide it together with what was known."""
    decoded = [outcome for outcome in outcomes if isinstance(outcome, Decoded)]
    known = [outcome for outcome in outcomes if isinstance(outcome, _Known)]
    taxonomy, thresholds = runtime.model.header.taxonomy, runtime.model.header.thresholds
    done: dict[int, tuple[bytes, Tag]] = {}
    if decoded:
        images = np.stack([outcome.pixels for outcome in decoded]).transpose(0, 3, 1, 2)
        evidence = gather(runtime(images), taxonomy)
        tags = decide(evidence, taxonomy, thresholds)
        done |= {id(o): pair for o, pair in zip(decoded, zip(pack(evidence), tags, strict=True), strict=True)}
    if known:
        tags = decide(unpack([outcome.scores for outcome in known], taxonomy), taxonomy, thresholds)
        done |= {id(outcome): (outcome.scores, tag) for outcome, tag in zip(known, tags, strict=True)}
    items: list[StoredTag | Failure] = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            items.append(outcome)
        else:
            scores, tag = done[id(outcome)]
            items.append(StoredTag(outcome.photo, outcome.content_hash, outcome.width, outcome.height, scores, tag))
    return Batch(tuple(items), len(decoded))
