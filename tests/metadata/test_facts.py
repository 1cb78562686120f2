"""Capture facts: read from every container, tidied, and nothing made up of what is damaged."""

from __future__ import annotations

import random
import struct
from datetime import datetime

import pytest

from phototag.metadata import describe, read_facts
from phototag.metadata.facts import camera_name, parse_moment
from phototag.records import CaptureFacts
from tests.support.exif import BERLIN, CAMERA, TAKEN, exif_block, picture

ALL = CaptureFacts(
    taken_at=datetime(2026, 5, 3, 14, 22, 1, 250_000),
    utc_offset_minutes=120,
    camera="Nikon D850",
    camera_serial="6012345",
    lens="Nikkor 50mm",
    latitude=52.51,
    longitude=13.405,
    rating=4,
)
EXIF = exif_block({**CAMERA, 0x4746: 4}, TAKEN, BERLIN)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def heic(tiff: bytes) -> bytes:
    """A file as HEIC is built, with an item of EXIF and no picture."""
    start = box(b"ftyp", b"heic\0\0\0\0heic")
    infe = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 7, 0, b"Exif") + b"\0")

    def meta(place: int) -> bytes:
        places = struct.pack(">HHHHII", 1, 7, 0, 1, place, len(tiff) + 4)
        return box(
            b"meta", bytes(4) + box(b"iinf", bytes(4) + b"\0\1" + infe) + box(b"iloc", bytes(4) + b"\x44\0" + places)
        )

    place = len(start) + len(meta(0)) + 8
    return start + meta(place) + box(b"mdat", bytes(4) + tiff)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
def test_facts_are_read_in_every_format(form: str) -> None:
    found = read_facts(picture(form, exif=EXIF))
    # Pillow writes TIFF without the directory of what it calls interoperability only; all else is there.
    assert found == ALL


def test_facts_are_read_in_heic_and_in_tiff_of_either_byte_order() -> None:
    assert read_facts(heic(EXIF[6:])) == ALL
    assert read_facts(EXIF[6:]) == ALL


def test_files_without_facts_have_none() -> None:
    for data in (b"", b"hello", picture(), picture("GIF"), picture("PNG"), picture("BMP"), b"\xff\xd8\xff\xe1"):
        assert read_facts(data) == CaptureFacts()


@pytest.mark.parametrize(
    ("text", "taken_at", "offset"),
    [
        ("2026:05:03 14:22:01", datetime(2026, 5, 3, 14, 22, 1), None),
        ("2026-05-03T14:22:01.25+02:00", datetime(2026, 5, 3, 14, 22, 1, 250_000), 120),
        ("2026:05:03 14:22Z", datetime(2026, 5, 3, 14, 22), 0),
        ("2026-05-03", datetime(2026, 5, 3), None),
        ("2026:05:03 14:22:01-09:30", datetime(2026, 5, 3, 14, 22, 1), -570),
        ("2026:05:03 14:22:01+29:00", datetime(2026, 5, 3, 14, 22, 1), None),
        ("0000:00:00 00:00:00", None, None),
        ("2026:02:30 10:00:00", None, None),
        ("    :  :     :  :  ", None, None),
        ("2026", None, None),
    ],
)
def test_moments_are_read_as_programs_write_them(text: str, taken_at: datetime | None, offset: int | None) -> None:
    assert parse_moment(text) == (taken_at, offset)


def test_best_moment_counts_and_a_damaged_one_leaves_the_next() -> None:
    def when(**tags: str) -> CaptureFacts:
        return read_facts(
            picture(exif=exif_block({0x0132: "2020:01:01 00:00:00"}, {int(k[1:], 16): v for k, v in tags.items()}))
        )

    assert when().taken_at == datetime(2020, 1, 1)
    assert when(x9004="2019:05:05 05:05:05").taken_at == datetime(2019, 5, 5, 5, 5, 5)
    assert when(x9003="2019:99:05 05:05:05", x9004="2019:05:05 05:05:05").taken_at == datetime(2019, 5, 5, 5, 5, 5)
    # The zone and the fraction of another moment say nothing of this one.
    other = when(x9003="2018:01:01 10:00:00", x9012="+05:00", x9292="5")
    assert (other.taken_at, other.utc_offset_minutes) == (datetime(2018, 1, 1, 10), None)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({}, (52.51, 13.405)),
        ({1: "S", 3: "W"}, (-52.51, -13.405)),
        ({2: (91.0, 0.0, 0.0)}, (None, None)),
        ({4: (180.0, 0.0, 1.0)}, (None, None)),
        ({1: ""}, (None, None)),
        ({9: "V"}, (None, None)),
        ({2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, (None, None)),
        ({4: (0.0, 0.0, 0.0)}, (52.51, 0.0)),
    ],
)
def test_places_that_cannot_be_are_none(change: dict[int, object], place: tuple[float | None, float | None]) -> None:
    found = read_facts(picture(exif=exif_block(CAMERA, TAKEN, {**BERLIN, **change})))
    assert (found.latitude, found.longitude) == place
    assert found.camera == "Nikon D850"


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY", "ILCE-7M4", "Sony ILCE-7M4"),
        ("OLYMPUS IMAGING CORP.  ", "E-M1MarkII", "Olympus E-M1MarkII"),
        ("EASTMAN KODAK COMPANY", "KODAK EASYSHARE", "Kodak EASYSHARE"),
        ("RICOH IMAGING COMPANY, LTD.", "PENTAX K-1", "Pentax K-1"),
        ("samsung", "SM-G998B", "Samsung SM-G998B"),
        ("", "unknown", None),
        ("", "", None),
    ],
)
def test_camera_is_called_as_people_call_it(make: str, model: str, name: str | None) -> None:
    assert camera_name(make, model) == name


def test_damaged_files_raise_nothing_and_keep_what_is_sound() -> None:
    rng = random.Random(1)
    for whole in (picture("PNG", exif=EXIF), picture("WEBP", exif=EXIF), heic(EXIF[6:]), EXIF[6:], picture(exif=EXIF)):
        for _ in range(150):
            data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.4 else whole)
            for _ in range(rng.randrange(6)):
                if data:
                    data[rng.randrange(min(len(data), 500))] = rng.randrange(256)
            read_facts(bytes(data))
    start = picture(exif=EXIF)
    assert read_facts(start[: start.index(b"\xff\xdb")]) == ALL  # the header alone


def test_xmp_tells_what_exif_does_not_and_a_sidecar_before_the_file() -> None:
    def packet(attributes: str, keyword: str = "Anna") -> bytes:
        return (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/" {attributes}>'
            f"<dc:subject><rdf:Bag><rdf:li>{keyword}</rdf:li></rdf:Bag></dc:subject>"
            "</rdf:Description></rdf:RDF></x:xmpmeta>"
        ).encode()

    embedded = packet('xmp:Rating="2" exif:DateTimeOriginal="2020-02-02T20:20:20+01:00"')
    facts, keywords = describe(picture(xmp=embedded))
    assert (facts.taken_at, facts.utc_offset_minutes, facts.rating) == (datetime(2020, 2, 2, 20, 20, 20), 60, 2)
    assert keywords == ("Anna",)
    facts, keywords = describe(picture(exif=EXIF, xmp=embedded), [packet('xmp:Rating="5"', "Ben"), b"<torn"])
    assert (facts.taken_at, facts.rating, facts.camera) == (ALL.taken_at, 5, ALL.camera)
    assert keywords == ("Anna", "Ben")
