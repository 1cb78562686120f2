"""The bytes of labelled pictures: which can be read, and what identifies them."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from phototag.choices import DEFAULT_BATCH_SIZE
from phototag.dataset.labelled import LabelledPicture
from phototag.errors import DataError, DecodeError
from phototag.imaging import Decoder, Preprocessing, read_bytes
from phototag.runtime import bounded_map, decode_threads
from phototag.text import percent

log = logging.getLogger(__name__)

MAX_UNREADABLE_SHARE = 0.05
# Two of a million pictures have the same beginning once in two evaluations of a million others.
_REMEMBERED_BYTES = 5
_MOST_REMEMBERED = 1_000_000


@dataclass(frozen=True)
class Content:
    """The readable pictures of a data set with the SHA-256 of their bytes, and one line for each unreadable one.

    `positions` are those of the readable pictures among all that were given, rising.
    """

    pictures: tuple[LabelledPicture, ...]
    hashes: tuple[bytes, ...]
    positions: tuple[int, ...]
    unreadable: tuple[str, ...]

    def part(self, places: Sequence[int]) -> Self:
        """Return some of the readable pictures; `unreadable` stays whole."""
        return replace(
            self,
            pictures=tuple(self.pictures[place] for place in places),
            hashes=tuple(self.hashes[place] for place in places),
            positions=tuple(self.positions[place] for place in places),
        )


def check_unreadable(unreadable: Sequence[str], total: int) -> None:
    """Refuse data of which too much cannot be read.

    Raises:
        DataError: more than 5 % are unreadable; the first ones are listed.
    """
    if len(unreadable) > MAX_UNREADABLE_SHARE * total:
        listed = "\n  ".join(unreadable[:5])
        raise DataError(
            f"{len(unreadable)} of {total} pictures cannot be read, more than {percent(MAX_UNREADABLE_SHARE, 0)}; "
            f"mend or remove them:\n  {listed}"
        )


def report_unreadable(content: Content) -> None:
    """Say which pictures cannot be read, and how many."""
    for line in content.unreadable[:10]:
        log.warning("skipped: %s", line)
    if content.unreadable:
        log.warning("%d pictures cannot be read and were skipped", len(content.unreadable))


def data_digest(pictures: Sequence[LabelledPicture], hashes: Sequence[bytes]) -> str:
    """Return SHA-256 over labels and contents, in hex: the same for the same data, wherever it lies."""
    lines = sorted(
        f"{picture.superclass}/{picture.subclass}:{content.hex()}"
        for picture, content in zip(pictures, hashes, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def remembered(hashes: Iterable[bytes], *, earlier: object = None) -> str:
    """Return the beginnings of hashes in a text, by which a model file knows what it learned from, `earlier` included.

    Of more than a million pictures it knows none: the header of a model file is to stay small.
    """
    known = sorted(_known(earlier) | {content[:_REMEMBERED_BYTES] for content in hashes})
    return base64.b64encode(b"".join(known)).decode() if len(known) <= _MOST_REMEMBERED else ""


def count_remembered(text: object, hashes: Iterable[bytes]) -> int:
    """Return how many of these contents `remembered` gave this text for; it may come from an untrusted file."""
    known = _known(text)
    return sum(content[:_REMEMBERED_BYTES] in known for content in hashes)


def _known(text: object) -> set[bytes]:
    try:
        joined = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return set()
    return {joined[start : start + _REMEMBERED_BYTES] for start in range(0, len(joined), _REMEMBERED_BYTES)}


def read_content(
    pictures: Sequence[LabelledPicture],
    preprocessing: Preprocessing,
    *,
    workers: int | None = None,
    skip: Container[bytes] = frozenset(),
    take: Callable[[bytes, NDArray[np.uint8]], None] | None = None,
    what: str = "reading",
) -> Content:
    """Read, hash and decode every picture once.

    `take` gets the content hash and the pixels [H, W, 3] of every picture whose content is not in `skip`, in order.

    Raises:
        DataError: more than 5 % of the pictures are unreadable.
    """

    def read(picture: LabelledPicture) -> tuple[LabelledPicture, bytes, NDArray[np.uint8] | None] | str:
        try:
            data = read_bytes(picture.path)
            digest = hashlib.sha256(data).digest()
            if digest in skip:
                return picture, digest, None
            return picture, digest, decode(data, picture.path)[0]
        except DecodeError as error:
            return str(error)

    readable: list[tuple[int, LabelledPicture, bytes]] = []
    unreadable: list[str] = []
    threads = decode_threads(workers)
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(pictures), desc=what, unit="picture", disable=None, leave=False) as bar,
        # Closed first: whatever ends this, no thread is to wait for a picture that takes minutes.
        Decoder(preprocessing) as decode,
    ):
        outcomes = bounded_map(pool, read, pictures, limit=4 * threads + DEFAULT_BATCH_SIZE)
        for position, outcome in enumerate(outcomes):
            bar.update()
            if isinstance(outcome, str):
                unreadable.append(outcome)
                continue
            picture, digest, pixels = outcome
            readable.append((position, picture, digest))
            if pixels is not None and take is not None:
                take(digest, pixels)
    check_unreadable(unreadable, len(pictures))
    return Content(
        pictures=tuple(picture for _, picture, _ in readable),
        hashes=tuple(digest for _, _, digest in readable),
        positions=tuple(position for position, _, _ in readable),
        unreadable=tuple(unreadable),
    )
