"""Contents met before, in a fixed amount of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from phototag.records import Tag

_BITS = 1 << 23
_PROBES = 4


class BloomFilter:
    """A Bloom filter of content hashes, 1 MiB: "no" is certain, "maybe" is to be looked up.

    With a million contents one look-up in fifty is for nothing (Bloom, CACM 1970).
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)
        self._lock = threading.Lock()

    def add(self, content_hash: bytes) -> None:
        """Note a SHA-256; from several threads at once if need be."""
        with self._lock:  # two that change bits of one byte would lose one
            for bit in _places(content_hash):
                self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, content_hash: bytes) -> bool:
        return all(self._bits[bit >> 3] & 1 << (bit & 7) for bit in _places(content_hash))


def _places(content_hash: bytes) -> list[int]:
    # A SHA-256 is as good as random: its own bytes serve as the hash functions.
    return [int.from_bytes(content_hash[4 * probe : 4 * probe + 4], "little") % _BITS for probe in range(_PROBES)]


@dataclass(frozen=True, slots=True)
class Decided:
    """Packed scores of a content, and the tag made of them."""

    scores: bytes
    tag: Tag


class Recent:
    """What became of the last contents of a run; None while one is still on its way through the network.

    It reaches back further than the batches that are not stored yet, so between this and the database every content
    that was ever scored is found.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._contents: OrderedDict[bytes, Decided | None] = OrderedDict()

    def begin(self, content_hash: bytes) -> bool:
        """Note that a content is met, and return whether it is new here, and so has to be scored."""
        new = content_hash not in self._contents
        if new:
            self._contents[content_hash] = None
        else:
            self._contents.move_to_end(content_hash)
        while len(self._contents) > self._capacity:
            self._contents.popitem(last=False)
        return new

    def finish(self, content_hash: bytes, decided: Decided) -> None:
        """Note what became of it."""
        if content_hash in self._contents:
            self._contents[content_hash] = decided

    def get(self, content_hash: bytes) -> Decided | None:
        """Return what became of a content."""
        return self._contents.get(content_hash)
