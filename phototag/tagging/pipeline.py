"""Photos to decided tags: decode threads, a bounded queue, batches through the runtime, decisions for whole batches."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from phototag.decision import decide, gather, pack, unpack
from phototag.errors import DecodeError
from phototag.imaging import Decode, read_bytes
from phototag.records import Failure, FailureKind, Photo
from phototag.runtime import PendingScores, Runtime, bounded_map, decode_threads
from phototag.store import ScoredContent, StoredTag
from phototag.tagging.dedup import Decided, Recent
from phototag.tagging.descriptions import Describe, Described, describe_alone

# Batches are cut when so many photos came together, decoded or not, so that failures and known contents are saved too.
_MOST_IN_BATCH = 256
# While one batch is computed the next is begun, so that the network never waits for decisions.
_UNDER_WAY = 2
_LEAST_REMEMBERED = 2048

# What is known of contents is asked for so many at a time, with one query: few enough that a thread holds little more
# than one large file, as their bytes are kept until they are decoded.
_MOST_IN_PIECE, _MOST_BYTES_IN_PIECE = 16, 8 << 20

Lookup = Callable[[Collection[bytes]], Mapping[bytes, ScoredContent]]


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

    def without_gone(self) -> Batch:
        """Leave out the photos that vanished before they were read: if they were known, the next scan misses them."""
        there = tuple(item for item in self.items if isinstance(item, StoredTag) or item.kind is not FailureKind.GONE)
        return Batch(there, self.inferred)


@dataclass(frozen=True, slots=True)
class _Read:
    """A photo whose file was read."""

    photo: Photo
    content_hash: bytes
    data: bytes
    described: Described


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A photo decoded for the model: upright RGB `pixels`, uint8 [H, W, 3]; its size is that of the photo in full."""

    photo: Photo
    content_hash: bytes
    width: int
    height: int
    pixels: NDArray[np.uint8]
    described: Described


@dataclass(frozen=True, slots=True)
class _Known:
    """A photo whose content was scored before."""

    photo: Photo
    content_hash: bytes
    content: ScoredContent
    described: Described


_Outcome = _Decoded | _Known | Failure


def process(
    photos: Iterable[Photo],
    runtime: Runtime,
    decode: Decode,
    *,
    workers: int | None = None,
    known: Lookup | None = None,
    describe: Describe = describe_alone,
) -> Generator[Batch]:
    """Decode, score and decide photos, in order, a bounded number of them in memory. Equal contents are scored once.

    Args:
        photos: What to process.
        runtime: Scores batches.
        decode: From a file's bytes to pixels [H, W, 3], width and height; called from several threads at once.
        workers: Threads that decode; None is one a core.
        known: Gives what this model said of contents before, by their hashes; such photos are not decoded. Called
            from the decode threads.
        describe: What photos say of themselves.
    """
    threads = decode_threads(workers)
    reader = _Reader(decode, known, describe)
    batches = _Batches(runtime, remembered=max(_LEAST_REMEMBERED, 16 * runtime.batch_size))
    waiting: list[_Outcome] = []
    decoded = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        most = _MOST_IN_PIECE if known is not None else 1
        limit = max(threads + 1, 2 * (threads + runtime.batch_size) // most)
        for outcome in chain.from_iterable(bounded_map(pool, reader.outcomes, _pieces(photos, most), limit=limit)):
            waiting.append(outcome)
            decoded += isinstance(outcome, _Decoded)
            if decoded >= runtime.batch_size or len(waiting) >= _MOST_IN_BATCH + runtime.batch_size:
                yield from batches.add(waiting)
                waiting, decoded = [], 0
        if waiting:
            yield from batches.add(waiting)
        yield from batches.rest()
    finally:
        # After Ctrl-C there is no waiting for a picture that takes minutes.
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads and decodes photos, a piece of them in one thread."""

    decode: Decode
    known: Lookup | None
    describe: Describe

    def outcomes(self, piece: Sequence[Photo]) -> list[_Outcome]:
        """Read photos, ask with one query what is known of their contents, and decode the others."""
        files = [self._read(photo) for photo in piece]
        hashes = {file.content_hash for file in files if isinstance(file, _Read)}
        found = self.known(hashes) if self.known is not None and hashes else {}
        return [
            file if isinstance(file, Failure) else self._finish(file, found.get(file.content_hash)) for file in files
        ]

    def _read(self, photo: Photo) -> _Read | Failure:
        digest = None
        try:
            data = read_bytes(photo.path)
            digest = hashlib.sha256(data).digest()
            return _Read(photo, digest, data, self.describe(data, photo.path))
        except DecodeError as error:
            return Failure(photo, FailureKind(error.kind), error.reason, digest)

    def _finish(self, file: _Read, content: ScoredContent | None) -> _Outcome:
        if content is not None:
            return _Known(file.photo, file.content_hash, content, file.described)
        try:
            pixels, width, height = self.decode(file.data, file.photo.path)
        except DecodeError as error:
            return Failure(file.photo, FailureKind(error.kind), error.reason, file.content_hash)
        return _Decoded(file.photo, file.content_hash, width, height, pixels, file.described)


def _pieces(photos: Iterable[Photo], most: int) -> Iterator[list[Photo]]:
    """Cut photos into pieces, each read by one thread."""
    piece: list[Photo] = []
    size_bytes = 0
    for photo in photos:
        if piece and (len(piece) >= most or size_bytes + photo.size_bytes > _MOST_BYTES_IN_PIECE):
            yield piece
            piece, size_bytes = [], 0
        piece.append(photo)
        size_bytes += photo.size_bytes
    if piece:
        yield piece


class _Batches:
    """Batches on their way through the network."""

    def __init__(self, runtime: Runtime, *, remembered: int) -> None:
        self._runtime = runtime
        self._recent = Recent(remembered)
        self._under_way: deque[tuple[list[_Outcome], list[_Decoded], PendingScores | None]] = deque()

    def add(self, outcomes: list[_Outcome]) -> Iterator[Batch]:
        """Begin a batch; yield those that are through."""
        fresh = []
        for outcome in outcomes:
            if isinstance(outcome, _Decoded) and self._recent.begin(outcome.content_hash):
                fresh.append(outcome)
        scores = self._runtime.start([outcome.pixels for outcome in fresh]) if fresh else None
        self._under_way.append((outcomes, fresh, scores))
        while len(self._under_way) >= _UNDER_WAY:
            yield self._finish(*self._under_way.popleft())

    def rest(self) -> Iterator[Batch]:
        """Wait for all that is under way."""
        while self._under_way:
            yield self._finish(*self._under_way.popleft())

    def _finish(self, outcomes: list[_Outcome], fresh: list[_Decoded], scores: PendingScores | None) -> Batch:
        """Decide what was scored together with what was known."""
        header = self._runtime.model.header
        done: dict[bytes, Decided] = {}
        if scores is not None:
            evidence = gather(scores.result(), header.taxonomy, self._runtime.model.novelty)
            tags = decide(evidence, header.taxonomy, header.thresholds)
            for outcome, packed, tag in zip(fresh, pack(evidence), tags, strict=True):
                done[outcome.content_hash] = Decided(packed, tag)
                self._recent.finish(outcome.content_hash, done[outcome.content_hash])
        known = [outcome for outcome in outcomes if isinstance(outcome, _Known)]
        if known:
            stored = [outcome.content.scores for outcome in known]
            tags = decide(unpack(stored, header.taxonomy), header.taxonomy, header.thresholds)
            for before, packed, tag in zip(known, stored, tags, strict=True):
                done[before.content_hash] = Decided(packed, tag)
        return Batch(tuple(self._item(outcome, done) for outcome in outcomes), len(fresh))

    def _item(self, outcome: _Outcome, done: dict[bytes, Decided]) -> StoredTag | Failure:
        if isinstance(outcome, Failure):
            return outcome
        size = outcome if isinstance(outcome, _Decoded) else outcome.content
        # A content that an earlier batch scored is through by now: batches finish in the order they began.
        decided = done.get(outcome.content_hash) or self._recent.get(outcome.content_hash)
        if decided is None:
            raise RuntimeError(f"{outcome.photo.path}: its scores were forgotten before they were used")
        return StoredTag(
            outcome.photo,
            outcome.content_hash,
            size.width,
            size.height,
            decided.scores,
            decided.tag,
            outcome.described.capture(outcome.photo.modified_ns),
        )
