"""What a packet says is read in whatever form programs write it; what cannot be read is refused with the reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phototag.metadata.xmp import XmpError, XmpFacts, embedded_packets, read_packet

NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
    ' xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:MP="http://ns.microsoft.com/photo/1.0"'
    ' xmlns:MS="http://ns.microsoft.com/photo/1.0/" xmlns:mediapro="http://ns.iview-multimedia.com/mediapro/1.0/"'
    ' xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
)


def packet(properties: str = "", attributes: str = "") -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {NAMESPACES} {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def listed(name: str, *items: str, kind: str = "Bag") -> str:
    return f"<{name}><rdf:{kind}>{''.join(f'<rdf:li>{item}</rdf:li>' for item in items)}</rdf:{kind}></{name}>"


def test_keywords_of_all_properties_are_read() -> None:
    facts = read_packet(
        packet(
            listed("dc:subject", "bird", " robin ", kind="Seq")
            + listed("lr:hierarchicalSubject", "bird|robin")
            + listed("digiKam:TagsList", "People/Anna", kind="Seq")
            + listed("MP:LastKeywordXMP", "Places/Alps")
            + listed("MS:LastKeywordXMP", "Places/Rome")
            + listed("mediapro:CatalogSets", "bird|robin", "trips|2026"),
            'acdsee:categories="&lt;Categories&gt;&lt;Category Assigned=&quot;0&quot;&gt;Dogs&lt;Category '
            'Assigned=&quot;1&quot;&gt;Rex&lt;/Category&gt;&lt;/Category&gt;&lt;/Categories&gt;"',
        ).encode()
    )
    assert facts.flat == ("bird", "robin")
    assert set(facts.hierarchical) == {
        "bird|robin", "People|Anna", "Places|Alps", "Places|Rome", "trips|2026", "Dogs|Rex"
    }  # fmt: skip


def test_single_values_are_read_as_attributes_and_as_elements() -> None:
    as_attributes = packet(
        attributes='xmp:Rating="4" xmp:Label="Red" exif:DateTimeOriginal="2026-05-03T14:22:01.25" '
        'exif:GPSLatitude="48,12.5N" exif:GPSLongitude="16,22,30W" photoshop:SidecarForExtension="NEF"'
    )
    as_elements = packet(
        "<xmp:Rating>4</xmp:Rating><xmp:Label>Red</xmp:Label><xmp:CreateDate>2026-06-01</xmp:CreateDate>"
        "<exif:DateTimeOriginal>2026-05-03T14:22:01.25</exif:DateTimeOriginal><exif:GPSLatitude>48,12.5N"
        "</exif:GPSLatitude><exif:GPSLongitude>16,22,30W</exif:GPSLongitude>"
        "<photoshop:SidecarForExtension>NEF</photoshop:SidecarForExtension>"
    )
    facts = read_packet(as_attributes.encode())
    assert facts == read_packet(as_elements.encode())
    assert (facts.rating, facts.label, facts.taken, facts.sidecar_for) == (4, "Red", "2026-05-03T14:22:01.25", "NEF")
    assert (facts.latitude, facts.longitude) == pytest.approx((48 + 12.5 / 60, -16.375))


@pytest.mark.parametrize("rating", ["", "many", "6", "nan", "1e999", "9" * 5000])
def test_nonsense_of_one_property_is_no_fact(rating: str) -> None:
    attributes = f'xmp:Rating="{rating}" exif:GPSLatitude="95,0N" exif:GPSLongitude="1,0E"'
    assert read_packet(packet(attributes=attributes).encode()) == XmpFacts()


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "iso-8859-1", "cp1252"])
def test_encodings(codec: str) -> None:
    declaration = f'<?xml version="1.0" encoding="{codec}"?>' if codec[0] in "ic" else ""
    text = declaration + packet(listed("dc:subject", "Bäume &amp; Wiesen"))
    assert read_packet(text.encode(codec)).flat == ("Bäume & Wiesen",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (packet().encode()[:-3], "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]>' + packet().encode(), "DOCTYPE"),
        (b"<a>" * 101 + b"</a>" * 101, "100 levels"),
        (b"<a>" + b"<b/>" * 250_001 + b"</a>", "250,000 elements"),
        (b" " * ((32 << 20) + 1), "32 MB"),
        (b"<html/>", "no rdf:RDF"),
        (b"\xff\xd8\xff\xe0 a picture", "not utf-8"),
        (packet().encode("utf-16")[:-1], "not utf-16"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "unknown encoding"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(XmpError, match=reason):
        read_packet(data)


@given(st.data())
def test_damaged_packets_are_read_or_refused(data: st.DataObject) -> None:
    whole = packet(listed("dc:subject", "bird", "Bäume"), 'xmp:Rating="3"').encode(
        data.draw(st.sampled_from(["utf-8", "utf-16", "utf-32"]))
    )
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_packet(bytes(damaged))
    except XmpError as error:
        assert error.reason


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def pictures_with(xmp: bytes) -> dict[str, bytes]:
    files = {}
    for form in ("JPEG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, form, **({"tiffinfo": {700: xmp}} if form == "TIFF" else {"xmp": xmp}))
        files[form] = buffer.getvalue()
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    packed = b"XML:com.adobe.xmp\0\1\0en\0Wort\0" + zlib.compress(xmp)
    files["PNG"] = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"iTXt", text) + chunk(b"IEND", b"")
    files["PNG compressed"] = b"\x89PNG\r\n\x1a\n" + chunk(b"iTXt", packed)
    entry = struct.pack(">B3xHH4s", 2, 7, 0, b"mime") + b"\0application/rdf+xml\0"
    info = box(b"iinf", struct.pack(">4xH", 1) + box(b"infe", entry))
    for name, method in (("HEIC", 0), ("HEIC inside", 1)):
        start = b"" if method else box(b"ftyp", b"heic0000")

        def meta(at: int, info: bytes = info, method: int = method) -> bytes:
            where = struct.pack(">B3xBBHHHHHII", 1, 0x44, 0, 1, 7, method, 0, 1, at, len(xmp))
            return box(b"meta", bytes(4) + info + box(b"iloc", where) + (box(b"idat", xmp) if method else b""))

        offset = 0 if method else len(start) + len(meta(0)) + 8
        files[name] = (start or box(b"ftyp", b"heic0000")) + meta(offset) + (b"" if method else box(b"mdat", xmp))
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    files["CR3"] = box(b"ftyp", b"crx 0000") + box(b"uuid", uuid + xmp)
    files["RAF"] = b"FUJIFILMCCD-RAW".ljust(84) + struct.pack(">I", 92) + bytes(4) + files["JPEG"]
    return files


def test_packet_is_found_in_every_format_and_damage_is_refused() -> None:
    xmp = packet(listed("dc:subject", "bird")).encode()
    for name, data in pictures_with(xmp).items():
        assert embedded_packets(io.BytesIO(data)) == (xmp,), name
        for end in range(0, min(len(data), 900), 7):
            try:
                assert embedded_packets(io.BytesIO(data[:end])) in ((), (xmp,)), name
            except XmpError as error:
                assert error.reason


def test_extended_xmp_is_put_together_in_order_and_several_packets_are_refused() -> None:
    def segment(content: bytes) -> bytes:
        return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content

    xmp, more = packet(listed("dc:subject", "bird")).encode(), packet(listed("dc:subject", "robin")).encode()
    main = segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    parts = [segment(head + struct.pack(">II", len(more), at) + more[at : at + 300]) for at in range(0, len(more), 300)]
    end = b"\xff\xda"
    assert embedded_packets(io.BytesIO(b"\xff\xd8" + main + b"".join(reversed(parts)) + end + b"\0\0")) == (xmp, more)
    with pytest.raises(XmpError, match="several"):
        embedded_packets(io.BytesIO(b"\xff\xd8" + main + main + end + b"\0\0"))


def test_sidecars_of_many_programs(shared: Path) -> None:
    refused = set()
    for path in sorted((shared / "data" / "metadata" / "xmp").iterdir()):
        try:
            facts = read_packet(path.read_bytes())
        except XmpError:
            refused.add(path.stem)
        else:
            assert all(facts.flat)
    assert refused == {"bad_doctype", "bad_empty", "bad_jpeg", "bad_truncated", "et2"}
