"""The keywords of a photo, from its file and its sidecars, as all programs that people keep photos with write them.

Programs write the same keyword to several places, with its levels and without, and each reads some of them. Here all
count: what is written without levels and is a level of another keyword is the same one, and what is the beginning of a
longer one is, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import BinaryIO

from phototag.metadata.iptc import may_be_cut, older_keywords
from phototag.metadata.xmp import XmpError, XmpFacts, embedded_packets, read_packet
from phototag.metadata.xmp.properties import comparable

# Deeper ones are nobody's keywords; each beginning of them all would take time that grows with its square.
_DEEPEST = 64
# Parts of the names of all properties that are read, as they stand in UTF-8; in UTF-16 there are zeros among them.
_TELLING = re.compile(
    rb"[sS]ubject|TagsList|LastKeyword|CatalogSets|categories|Rating|DateTimeOriginal|DateCreated|GPSL"
)
_UTF16_BYTES = 64


Written = Mapping[str, Collection[str]]
"""Keywords that phototag wrote itself into a file, by property ("dc:subject"), as they stand there."""


def _say_nothing(_place: int, _reason: str) -> None:
    pass


def keywords_of(
    data: bytes | BinaryIO,
    sidecars: Sequence[bytes],
    *,
    written: Sequence[Written] = (),
    tell: Callable[[int, str], None] = _say_nothing,
) -> tuple[str, ...]:
    """Return the keywords of a photo, each once; levels are joined by "|", outermost first.

    Those with levels come first, as they stand in the XMP packets of the file and then of its sidecars; after them
    those without. IPTC (2:25) and Windows' XPKeywords count where the file's XMP has no keywords, or IPTC is newer.
    Spellings that differ only in capitals or in Unicode's form are one keyword, written as it stands first. What cannot
    be read of the file or of a sidecar is left out; damage never raises.

    Args:
        data: The photo's file, or a file open to read and to seek; of bytes its beginning is enough where it holds the
            metadata.
        sidecars: What its sidecars hold.
        written: What phototag wrote into the file, and then into each sidecar: it counts nowhere.
        tell: Gets the place, 0 for the file and from 1 on for the sidecars, and the reason where XMP cannot be read.

    Raises:
        OSError: an open file cannot be read.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    packets = read_packets(file, sidecars, written=written, tell=tell)
    return without_repeats(file, *packets, written=written)


def read_packets(
    file: BinaryIO,
    sidecars: Sequence[bytes],
    *,
    written: Sequence[Written] = (),
    tell: Callable[[int, str], None] = _say_nothing,
) -> tuple[list[XmpFacts], list[XmpFacts]]:
    """Return what the packets of an open file say, and those of its sidecars; see `keywords_of`."""
    embedded: Sequence[bytes] = ()
    try:
        embedded = embedded_packets(file)
    except XmpError as error:
        tell(0, str(error))
    ours = dict(enumerate(written))

    def read(packets: Iterable[tuple[int, bytes]]) -> Iterator[XmpFacts]:
        for place, packet in packets:
            # Parsing takes a hundred times as long, and nobody is told of damage.
            if tell is _say_nothing and not (_TELLING.search(packet) or b"\0" in packet[:_UTF16_BYTES]):
                continue
            try:
                yield read_packet(packet, without=ours.get(place, {}))
            except XmpError as error:
                tell(place, str(error))

    return list(read((0, packet) for packet in embedded)), list(read(enumerate(sidecars, start=1)))


def without_repeats(
    file: BinaryIO, embedded: Sequence[XmpFacts], beside: Sequence[XmpFacts], *, written: Sequence[Written] = ()
) -> tuple[str, ...]:
    """Return the keywords of a file, of its packets and of its sidecars', as `keywords_of` does."""
    in_xmp = any(facts.flat or facts.hierarchical for facts in embedded)
    found = [*embedded, *beside]
    # Programs that write to several places copy to IPTC what they found in XMP.
    copied = {comparable(keyword) for keywords in chain(*(w.values() for w in written[:1])) for keyword in keywords}
    older = (each for each in older_keywords(file, beside_xmp=in_xmp) if comparable(each) not in copied)
    return joined_keywords(chain(*(facts.hierarchical for facts in found), *(facts.flat for facts in found), older))


def embedded_lists(file: BinaryIO) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keywords in a picture's file without levels, and those with levels, as they stand there.

    Raises:
        XmpError: its XMP cannot be read.
        OSError: the file cannot be read.
    """
    found = [read_packet(packet) for packet in embedded_packets(file)]
    flat = tuple(keyword for facts in found for keyword in facts.flat)
    levels = tuple(keyword for facts in found for keyword in facts.hierarchical)
    return flat or older_keywords(file, beside_xmp=bool(levels)), levels


def joined_keywords(keywords: Iterable[str]) -> tuple[str, ...]:
    """Return keywords, each once, without those that say no more than another one does."""
    paths: dict[tuple[str, ...], str] = {}
    for keyword in keywords:
        levels = [level for each in keyword.split("|") if (level := each.strip())]
        if levels:
            paths.setdefault(tuple(map(comparable, levels)), "|".join(levels))
    said: set[tuple[str, ...]] = set()
    for path in paths:
        if 1 < len(path) <= _DEEPEST:
            said.update(path[:depth] for depth in range(1, len(path)))
            said.update((level,) for level in path)
    kept = {path: keyword for path, keyword in paths.items() if path not in said}
    cut = _beginnings({*kept.values(), *(level for keyword in kept.values() for level in keyword.split("|"))})
    with_levels = [keyword for path, keyword in kept.items() if len(path) > 1]
    return (*with_levels, *(keyword for path, keyword in kept.items() if len(path) == 1 and keyword not in cut))


def _beginnings(keywords: Iterable[str]) -> set[str]:
    """Return the keywords that may be cut, as IPTC cuts them, and that a longer one begins with."""
    found = set()
    ordered = sorted(keywords)
    for keyword, following in pairwise(ordered):
        if may_be_cut(keyword) and following.startswith(keyword):
            found.add(keyword)
    return found
