"""Keywords are read from all places where programs write them, each once, and nothing damaged raises."""

from __future__ import annotations

import hashlib
import io
import random
import struct

import pytest

from phototag.metadata import keywords_of
from tests.support.keywords import packet

_LONG = "thesaurus " * 6 + "abcé, cut in the middle of a letter at sixty-four bytes"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _xmp(packet: bytes) -> bytes:
    return _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def _iptc(*keywords: bytes, utf8: bool = False, extended: bool = False, digest: bytes | None = None) -> bytes:
    records = b"\x1c\x01\x5a\x00\x03\x1b%G" if utf8 else b""
    for each in keywords:
        size = struct.pack(">HI", 0x8004, len(each)) if extended else struct.pack(">H", len(each))
        records += b"\x1c\x02\x19" + size + each
    stamp = hashlib.md5(records).digest() if digest is None else digest
    resources = b"".join(
        b"8BIM" + struct.pack(">H", number) + b"\x03abc" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)
        for number, data in ((0x0404, records), (0x0425, stamp))
        if data
    )
    return _segment(0xED, b"Photoshop 3.0\0" + resources)


def _windows(text: str) -> bytes:
    value = (text + "\0").encode("utf-16-le")
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x9C9E, 1, len(value), 26, 0) + value
    return _segment(0xE1, b"Exif\0\0" + tiff)


def _jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + _segment(0xDA, b"\0" * 8) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([_iptc(b"K\xe4fer")], ("Käfer",)),
        ([_iptc("Žluťák".encode())], ("Žluťák",)),
        ([_iptc("Žluťák".encode(), b"bird", utf8=True)], ("Žluťák", "bird")),
        ([_iptc(b"rooster", extended=True)], ("rooster",)),
        ([_windows("Birds of prey;hawk; ")], ("Birds of prey", "hawk")),
        ([_windows("hawk"), _iptc(b"owl")], ("owl",)),
        ([_xmp(packet(("owl",))), _iptc(b"hawk"), _windows("swift")], ("owl",)),
        ([_xmp(packet(("owl",))), _iptc(b"hawk", digest=b"of what it was")], ("owl", "hawk")),
        ([_xmp(packet((_LONG,))), _iptc(_LONG.encode()[:64], digest=b"of what it was")], (_LONG,)),
        ([_iptc(_LONG.encode()[:64])], ("thesaurus " * 6 + "abc",)),
    ],
)
def test_keywords_of_older_places_count_where_xmp_has_none_or_is_older(
    segments: list[bytes], found: tuple[str, ...]
) -> None:
    assert keywords_of(_jpeg(*segments), ()) == found


def test_keyword_without_levels_is_the_one_with_levels_that_holds_it() -> None:
    embedded = packet(("Rooster", "Animals", "sunny"), ("Animals", "Animals|bird|rooster", "animals|Bird"))
    sidecar = packet(("SUNNY", "rooster", "Cafe\u0301"), ("Animals|bird|Rooster", "Places|Café"))
    assert keywords_of(_jpeg(_xmp(embedded)), [sidecar]) == ("Animals|bird|rooster", "Places|Café", "sunny")


def test_strange_keywords_come_as_they_are() -> None:
    strange = ("a;b,c/d", "\u200fعصفور", "two\nlines", "&<>")
    assert keywords_of(b"", [packet(strange, ("|x||y| ", "||"))]) == ("x|y", *strange)


def test_what_phototag_wrote_counts_nowhere_and_a_persons_word_stays() -> None:
    ours = {"dc:subject": ["bird", "rooster"], "lr:hierarchicalSubject": ["bird|rooster", "sunny"]}
    data = _jpeg(_xmp(packet(("sunny", "bird", "Rooster"), ("bird|rooster", "sunny", "People|Anna"))))
    assert keywords_of(data, (), written=[ours]) == ("People|Anna", "sunny")
    assert keywords_of(data, [data], written=[ours])[0] == "People|Anna"
    # digiKam copies a keyword to its own property, and to IPTC.
    copied = packet(("bird", "rooster"), ("bird|rooster",)).replace(
        b"</rdf:Description>",
        b'<d:TagsList xmlns:d="http://www.digikam.org/ns/1.0/"><rdf:Seq><rdf:li>bird/rooster</rdf:li></rdf:Seq>'
        b"</d:TagsList></rdf:Description>",
    )
    assert keywords_of(_jpeg(_xmp(copied), _iptc(b"rooster", b"bird")), (), written=[ours]) == ()
    assert keywords_of(_jpeg(_xmp(copied)), ()) == ("bird|rooster",)
    in_persons_list = {"lr:hierarchicalSubject": ["bird|rooster"], "digiKam:TagsList": []}
    assert keywords_of(_jpeg(_xmp(copied)), (), written=[in_persons_list]) == ("bird|rooster",)


def test_ten_thousand_keywords_and_as_many_levels_take_no_time() -> None:
    many = tuple(f"keyword {number}" for number in range(10_000))
    found = keywords_of(b"", [packet(many, ("|".join(many),))])
    assert len(found) == 10_001


def test_damage_never_raises_and_a_file_is_read_like_its_bytes() -> None:
    whole = _jpeg(_xmp(packet(("owl",), ("bird|owl",))), _iptc(b"hawk", b"owl"), _windows("hawk;owl"))
    chance = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(8)):
            damaged[chance.randrange(len(damaged)) :][:1] = bytes([chance.randrange(256)])
        keywords_of(bytes(damaged), [bytes(damaged)])
        if damaged:
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        assert keywords_of(bytes(damaged), ()) == keywords_of(io.BytesIO(damaged), ())
