"""Keywords are added by inserting bytes and nothing else, twice changes nothing, and undoing is exact."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phototag.metadata.xmp import (
    XmpError,
    add_keywords,
    edit_jpeg,
    embedded_packets,
    fresh_packet,
    jpeg_packet,
    keywords_in,
    pack_splices,
    read_packet,
    remove_keywords,
    replace_jpeg_packet,
    revert,
    sidecar_from,
    unpack_splices,
)
from tests.metadata.test_packets import listed, packet

WANTED = {"dc:subject": ["bird", "robin"], "lr:hierarchicalSubject": ["bird|robin"]}


def check_round_trip(data: bytes, wanted: dict[str, list[str]]) -> bytes:
    edit = add_keywords(data, wanted)
    assert add_keywords(edit.data, wanted).data == edit.data
    assert revert(edit.data, unpack_splices(pack_splices(edit.splices))) == data
    inserted = iter(edit.data)
    dropped = b"".join(splice.removed for splice in edit.splices)
    assert dropped.replace(b"\0", b"") in (b"", b"/", b"//")  # what made an empty tag
    if not dropped:
        assert all(byte in inserted for byte in data)  # what was there is still there, in order
    removed = remove_keywords(edit.data, edit.added, created=edit.created)
    assert {label: items for label, items in keywords_in(removed).items() if items} == {
        label: items for label, items in keywords_in(data).items() if items
    }
    return edit.data


def test_sidecars_of_many_programs_come_back_to_the_byte(shared: Path) -> None:
    edited = 0
    for path in sorted((shared / "data" / "metadata" / "xmp").iterdir()):
        try:
            keywords_in(path.read_bytes())
        except XmpError:
            assert path.stem.startswith("bad_") or path.stem in ("et2", "et3")
            continue
        new = check_round_trip(path.read_bytes(), WANTED)
        before, after = read_packet(path.read_bytes()), read_packet(new)
        assert (before.rating, before.label, before.taken) == (after.rating, after.label, after.taken)
        edited += 1
    assert edited >= 36


LAYOUTS = {
    "fresh": fresh_packet().decode(),
    "one line": packet(listed("dc:subject", "Alps")),
    "no description": packet().replace(packet()[packet().index("<rdf:Desc") : packet().index("</rdf:RDF>")], ""),
    "closed description": packet().replace("></rdf:Description>", "/>"),
    "empty list": packet("<dc:subject>\n <rdf:Bag/>\n</dc:subject><lr:hierarchicalSubject/>"),
    "empty lists": packet(
        "<dc:subject></dc:subject><lr:hierarchicalSubject><rdf:Seq></rdf:Seq></lr:hierarchicalSubject>"
    ),
    "lines": packet("\n\t" + listed("dc:subject", "\n\t\tAlps", "Rome").replace("<rdf:li>", "\n\t\t\t<rdf:li>") + "\n"),
    "comments": "<!-- > -->" + packet("<!-- <dc:subject> -->" + listed("dc:subject", "<![CDATA[A<B]]>", "&#x20AC;")),
}


@given(
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "iso-8859-1"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(str.strip), min_size=1
    ),
)
def test_any_keyword_goes_into_any_layout_and_out_again(layout: str, codec: str, end: str, names: list[str]) -> None:
    names = [name for name in names if name and not set(name) & {"\ufffe", "\uffff"}]
    text = LAYOUTS[layout].replace("\n", end)
    if codec == "iso-8859-1":
        text = f'<?xml version="1.0" encoding="{codec}"?>{text}'.replace("\ufeff", "")
    data = text.encode(codec)
    if codec != "iso-8859-1" or "<!--" not in text:
        check_round_trip(data, {"dc:subject": names, "lr:hierarchicalSubject": ["|".join(names)]})


def test_ten_thousand_keywords_are_no_problem() -> None:
    names = [f"keyword {number}" for number in range(10_000)]
    edit = add_keywords(fresh_packet(), {"dc:subject": names})
    assert keywords_in(edit.data) == {"dc:subject": names}
    assert remove_keywords(edit.data, edit.added, created=edit.created) == fresh_packet()


def test_keyword_of_a_person_is_not_added_again_nor_cut() -> None:
    data = packet(listed("dc:subject", "Robin", "Café")).encode()
    edit = add_keywords(data, {"dc:subject": ["robin", "cafe\u0301", "bird", "Bird"]})
    assert edit.added == {"dc:subject": ["Bird"]} or edit.added == {"dc:subject": ["bird"]}
    assert remove_keywords(edit.data, edit.added) == data


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("<dc:subject>bird</dc:subject>", "single text"),
        (listed("dc:subject", "a") + listed("dc:subject", "b"), "2 times"),
        (listed("dc:subject", "a", kind="Alt"), "alternatives"),
        ("<dc:subject><dc:x/></dc:subject>", "single text"),
        ("<dc:subject><rdf:Bag/><rdf:Bag/></dc:subject>", "other than a list"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(properties: str, reason: str) -> None:
    with pytest.raises(XmpError, match=reason):
        add_keywords(packet(properties).encode(), WANTED)


def test_control_characters_are_refused() -> None:
    with pytest.raises(XmpError, match="control character"):
        add_keywords(fresh_packet(), {"dc:subject": ["a\0b"]})


@given(st.data())
def test_damaged_packets_are_edited_whole_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(packet("\n " + listed("dc:subject", "Bäume")).encode())
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        edit = add_keywords(bytes(damaged), WANTED)
    except XmpError as error:
        assert error.reason
    else:
        assert revert(edit.data, edit.splices) == damaged


@given(st.data())
def test_damaged_pictures_are_edited_so_that_it_can_be_undone_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(jpeg(packet(listed("dc:subject", "Alps")).encode()))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    if damaged:
        damaged[data.draw(st.integers(0, min(len(damaged), 1200) - 1))] = data.draw(st.integers(0, 255))
    try:
        edit = edit_jpeg(bytes(damaged), lambda body: add_keywords(body, WANTED))
    except XmpError as error:
        assert error.reason
    else:
        assert revert(edit.data, edit.splices) == damaged


def test_our_keywords_are_cut_after_others_rewrote_the_file() -> None:
    edit = add_keywords(packet(listed("dc:subject", "Alps")).encode(), WANTED)
    rewritten = ElementTree.tostring(ElementTree.fromstring(edit.data))
    left = remove_keywords(rewritten, edit.added, created=edit.created)
    assert keywords_in(left) == {"dc:subject": ["Alps"]}
    # A property that we made stays once somebody else put something into it.
    more = add_keywords(rewritten, {"lr:hierarchicalSubject": ["trips|Alps"]}).data
    assert keywords_in(remove_keywords(more, edit.added, created=edit.created)) == {
        "dc:subject": ["Alps"],
        "lr:hierarchicalSubject": ["trips|Alps"],
    }


def test_new_sidecar_says_all_that_the_picture_said() -> None:
    note = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    inside = packet(
        '<xmpMM:DerivedFrom xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"><rdf:Description/></xmpMM:DerivedFrom>'
        + listed("dc:subject", "Alps"),
        f'xmp:Rating="5" {note} xmpNote:Other="1"',
    )
    made = sidecar_from((f"{inside}\n{' ' * 2000}\n<?xpacket end='w'?>".encode(),))
    assert b"DerivedFrom" not in made and b"xmpNote:Other" not in made and len(made) < len(inside)
    facts = read_packet(made)
    assert (facts.flat, facts.rating) == (("Alps",), 5)
    with pytest.raises(XmpError, match="64 kB"):
        sidecar_from((inside.encode(), inside.encode()))
    with pytest.raises(XmpError, match="64 kB"):
        sidecar_from((inside.replace("xmpNote:Other", "xmpNote:HasExtendedXMP").encode(),))


def jpeg(xmp: bytes | None, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").resize((40, 30))
    picture.save(buffer, "JPEG", **({} if xmp is None else {"xmp": xmp}), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("padding", [0, 10, 3000], ids="{} bytes of padding".format)
def test_embedding_keeps_pixels_and_comes_back_to_the_byte(padding: int) -> None:
    inside = f'{packet(listed("dc:subject", "Alps"))}{" " * padding}\n<?xpacket end="w"?>'.encode()
    for xmp in (None, inside):
        data = jpeg(xmp, exif=Image.Exif())
        edit = edit_jpeg(data, lambda body: add_keywords(body, WANTED))
        assert revert(edit.data, edit.splices) == data
        with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(edit.data)) as after:
            assert before.tobytes() == after.tobytes()
        (found,) = embedded_packets(io.BytesIO(edit.data))
        assert set(read_packet(found).flat) == {"bird", "robin"} | ({"Alps"} if xmp else set())
        assert edit_jpeg(edit.data, lambda body: add_keywords(body, WANTED)).data == edit.data
        if xmp and padding == 3000:
            assert len(edit.data) == len(data)
        # Another program's rewriting leaves ours to be cut alone.
        body = jpeg_packet(edit.data)
        assert body is not None
        less = replace_jpeg_packet(edit.data, remove_keywords(body, edit.added, created=edit.created))
        assert set(read_packet(embedded_packets(io.BytesIO(less))[0]).flat) == ({"Alps"} if xmp else set())


def test_embedding_is_refused_where_something_would_be_lost() -> None:
    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    rest = jpeg(None)[2:]
    head = b"http://ns.adobe.com/xap/1.0/\0"
    for segments, reason in (
        ([segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))], "extended"),
        ([segment(0xE1, head + packet().encode())] * 2, "several"),
        ([segment(0xE1, head + packet().encode()[:-3])], "well-formed"),
        ([segment(0xE2, b"MPF\0" + bytes(40)), segment(0xE1, head + packet().encode())], "further pictures"),
        ([segment(0xE1, (head + packet(listed("dc:subject", "x")).encode()).ljust(65_500, b" "))], "no room"),
    ):
        with pytest.raises(XmpError, match=reason):
            edit_jpeg(b"\xff\xd8" + b"".join(segments) + rest, lambda body: add_keywords(body, WANTED))
