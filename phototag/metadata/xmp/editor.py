"""Add keywords to an XMP packet, and take them out again, by inserting and cutting bytes: all others stay as they are.

What is inserted follows the layout around it: white space, line ends, prefixes, encoding. Every result is read again
and compared before it is given back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from phototag.metadata.xmp.elements import Element, Encoded, XmpError, decode_packet, parse_elements
from phototag.metadata.xmp.properties import (
    KEYWORD_PROPERTIES,
    PROPERTY_OF,
    RDF,
    KeywordProperty,
    about,
    comparable,
    descriptions,
    find_rdf,
    list_items,
    list_of,
)
from phototag.metadata.xmp.splices import Splice, apply_splices

_INDENT = re.compile(rb"(?:\r\n|\n|\r)[ \t]*$")
_LEAD = re.compile(rb"(?:\r\n|\n|\r)?[ \t]*$")
_TAG_NAME = re.compile(rb"<([^\s/>]+)")
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ALTERNATIVES = (RDF, "Alt")
_LONGEST_INDENT = 400

Keywords = Mapping[str, Sequence[str]]
"""Keywords by the property that lists them, as in {"dc:subject": ["bird"]}."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of a packet.

    Args:
        data: The new packet.
        splices: What undoes it.
        added: The keywords that were not there before, by property.
        created: The properties that were not there before.
    """

    data: bytes
    splices: tuple[Splice, ...] = ()
    added: Keywords = field(default_factory=dict)
    created: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listed:
    """A property with its list; None for the list where the property is empty."""

    element: Element
    container: Element | None

    @property
    def items(self) -> list[Element]:
        return [] if self.container is None else list(list_items(self.container))


class _Packet:
    """A packet that is open for editing: one subject, and keywords in lists or nowhere.

    Raises:
        XmpError: it is none of that kind; the text says why.
    """

    def __init__(self, data: bytes) -> None:
        self.encoded: Encoded = decode_packet(data)
        self.utf8 = self.encoded.utf8
        self.rdf = find_rdf(parse_elements(self.utf8))
        self.descriptions = descriptions(self.rdf)
        if len({about(description) for description in self.descriptions}) > 1:
            raise XmpError("describes several things (rdf:about)")
        self.lists = {
            keyword_property.label: listed
            for keyword_property in KEYWORD_PROPERTIES
            if (listed := self._find(keyword_property)) is not None
        }

    def _find(self, keyword_property: KeywordProperty) -> _Listed | None:
        names, label = keyword_property.names, keyword_property.label
        if any(name in names for description in self.descriptions for name in description.attributes):
            raise XmpError(f"has {label} as a single text, not as a list")
        found = [child for description in self.descriptions for child in description.children if child.name in names]
        if not found:
            return None
        if len(found) > 1:
            raise XmpError(f"has {label} {len(found)} times")
        element = found[0]
        container = list_of(element)
        if container is None:
            if element.children or element.text.strip() or any(uri == RDF for uri, _ in element.attributes):
                raise XmpError(f"has {label} as a single text, not as a list")
        elif len(element.children) > 1 or element.text.strip():
            raise XmpError(f"has {label} as something other than a list")
        elif container.name == _ALTERNATIVES:
            raise XmpError(f"has {label} as alternatives of which only one holds")
        return _Listed(element, container)

    def keywords(self) -> dict[str, list[str]]:
        """Return what the lists hold."""
        return {label: [item.text.strip() for item in listed.items] for label, listed in self.lists.items()}

    def indent(self, position: int) -> str:
        """Return the line end and white space before a position, if nothing else stands on its line."""
        found = _INDENT.search(self.utf8, max(0, position - _LONGEST_INDENT), position)
        return found[0].decode() if found else ""

    def lead(self, position: int) -> int:
        """Return where the white space before a position begins, back to the end of the line above."""
        found = _LEAD.search(self.utf8, max(0, position - _LONGEST_INDENT), position)
        return found.start() if found else position

    def escaped(self, keyword: str) -> str:
        """Return a keyword as XML, with a number for what the encoding does not have."""
        if _UNFIT.search(keyword):
            raise XmpError(f"cannot hold the control character in {keyword!r}")
        text = escape(keyword, {"\r": "&#xD;"})
        if self.encoded.can_write(text):
            return text
        return "".join(mark if self.encoded.can_write(mark) else f"&#x{ord(mark):X};" for mark in text)

    def result(self, changes: Iterable[tuple[int, bytes, bytes]]) -> tuple[bytes, tuple[Splice, ...]]:
        """Return the packet with changes that are given in UTF-8, as bytes of its own encoding."""
        encoded = self.encoded
        if encoded.codec == "utf-8":
            start = len(encoded.bom)
            return apply_splices(
                encoded.bom + self.utf8, ((start + offset, removed, inserted) for offset, removed, inserted in changes)
            )

        def own(utf8: bytes) -> bytes:
            return utf8.decode().encode(encoded.codec)

        return apply_splices(
            encoded.encode(self.utf8),
            (
                (len(encoded.bom) + len(own(self.utf8[:offset])), own(removed), own(inserted))
                for offset, removed, inserted in changes
            ),
        )


def keywords_in(data: bytes) -> dict[str, list[str]]:
    """Return the keywords of a packet by property, as far as it can be edited.

    Raises:
        XmpError: it cannot be edited.
    """
    return _Packet(data).keywords()


def add_keywords(data: bytes, wanted: Keywords) -> Edit:
    """Return a packet with keywords added that are not there yet; where all are, the same bytes.

    Keywords are compared as people do: "Robin" is there where "robin" is.

    Raises:
        XmpError: it cannot be done without changing something else.
    """
    packet = _Packet(data)
    before = packet.keywords()
    added: dict[str, list[str]] = {}
    for label, keywords in wanted.items():
        there = {comparable(keyword) for keyword in before.get(label, ())}
        missing = {comparable(keyword): keyword for keyword in reversed(keywords)}
        todo = [keyword for key, keyword in reversed(missing.items()) if key not in there]
        if todo:
            added[label] = todo
    if not added:
        return Edit(data)
    changes: list[tuple[int, bytes, bytes]] = []
    for label, keywords in added.items():
        if label in packet.lists:
            changes += _into_list(packet, packet.lists[label], PROPERTY_OF[label], keywords)
    created = tuple(label for label in added if label not in packet.lists)
    if created:
        changes.append(_new_properties(packet, {label: added[label] for label in created}))
    new, splices = packet.result(changes)
    expected = {label: [*before.get(label, ()), *added.get(label, ())] for label in {**before, **added}}
    if _Packet(new).keywords() != expected:
        raise XmpError("could not be edited: read again, it holds other keywords than were meant")
    return Edit(new, splices, added, created)


def _into_list(
    packet: _Packet, listed: _Listed, keyword_property: KeywordProperty, keywords: Sequence[str]
) -> Iterator[tuple[int, bytes, bytes]]:
    element, container = listed.element, listed.container
    rdf = _rdf_prefix(element)
    items = listed.items
    if container is not None and not container.is_empty_tag:
        if items:
            position, indent = items[-1].end, packet.indent(items[-1].start)
        else:
            position = container.tag_end
            indent = packet.indent(container.start)
            indent += " " if indent else ""
        yield position, b"", _items(packet, rdf, indent, keywords).encode()
        return
    # <dc:subject/>, <dc:subject></dc:subject> or <dc:subject><rdf:Bag/></dc:subject>: open the innermost tag.
    indent = packet.indent(element.start)
    inner = _items(packet, rdf, f"{indent}  " if indent else "", keywords) + (f"{indent} " if indent else "")
    if container is None:
        kind = keyword_property.container
        inner = f"{indent and indent + ' '}<{rdf}:{kind}>{inner}</{rdf}:{kind}>{indent}"
    opened = element if container is None else container
    if opened.is_empty_tag:
        found = _TAG_NAME.match(packet.utf8, opened.start)
        name = found[1].decode() if found else ""
        yield opened.tag_end - 2, b"/", b""
        yield opened.tag_end, b"", f"{inner}</{name}>".encode()
    else:
        yield opened.tag_end, b"", inner.encode()


def _items(packet: _Packet, rdf: str, indent: str, keywords: Sequence[str]) -> str:
    return "".join(f"{indent}<{rdf}:li>{packet.escaped(keyword)}</{rdf}:li>" for keyword in keywords)


def _rdf_prefix(element: Element) -> str:
    prefix = element.prefix_of(RDF)
    if prefix is None:
        raise XmpError("has no prefix for RDF where keywords have to go")
    return prefix


def _new_properties(packet: _Packet, properties: Keywords) -> tuple[int, bytes, bytes]:
    """Return the insertion of new properties: into the last open description, or one of their own."""
    hosts = [
        each for each in packet.descriptions if not each.is_empty_tag and (RDF, "parseType") not in each.attributes
    ]
    if hosts:
        host = hosts[-1]
        indent = packet.indent(host.children[-1].start) if host.children else packet.indent(host.end_start)
        if indent and not host.children:
            indent += " "
        position = host.children[-1].end if host.children else host.tag_end
        return position, b"", _properties(packet, host, indent, properties).encode()
    if packet.rdf.is_empty_tag:
        raise XmpError("has an empty rdf:RDF")
    rdf = _rdf_prefix(packet.rdf)
    last = packet.descriptions[-1] if packet.descriptions else None
    indent = packet.indent(packet.rdf.start if last is None else last.start)
    if indent and last is None:
        indent += " "
    subject = quoteattr(about(last) if last is not None else "")
    text = (
        f"{indent}<{rdf}:Description {rdf}:about={subject}>"
        f"{_properties(packet, packet.rdf, indent and indent + ' ', properties)}{indent}</{rdf}:Description>"
    )
    return (packet.rdf.tag_end if last is None else last.end), b"", text.encode()


def _properties(packet: _Packet, scope: Element, indent: str, properties: Keywords) -> str:
    rdf = _rdf_prefix(scope)
    inner, innermost = (indent and indent + " "), (indent and indent + "  ")
    text = ""
    for label, keywords in properties.items():
        keyword_property = PROPERTY_OF[label]
        prefix, declaration = _prefix_for(scope, keyword_property)
        name, kind = f"{prefix}:{keyword_property.local}", keyword_property.container
        text += (
            f"{indent}<{name}{declaration}>{inner}<{rdf}:{kind}>{_items(packet, rdf, innermost, keywords)}"
            f"{inner}</{rdf}:{kind}>{indent}</{name}>"
        )
    return text


def _prefix_for(scope: Element, keyword_property: KeywordProperty) -> tuple[str, str]:
    """Return a prefix for a property's namespace, and its declaration unless it is declared already."""
    prefix = scope.prefix_of(keyword_property.uri)
    if prefix is not None:
        return prefix, ""
    prefix = keyword_property.prefix
    while scope.uri_of(prefix) is not None:  # taken by another
        prefix += "_"
    return prefix, f' xmlns:{prefix}="{keyword_property.uri}"'


def remove_keywords(data: bytes, keywords: Keywords, *, created: Iterable[str] = ()) -> bytes:
    """Return a packet without keywords that were added to it, whatever other programs did to it since.

    Of each keyword one is cut, the last. A property among `created` goes when nothing else is left in it, and so does
    a description that held nothing else.

    Raises:
        XmpError: it cannot be edited.
    """
    packet = _Packet(data)
    before = packet.keywords()
    after = dict(before)
    cuts: list[tuple[int, int]] = []
    emptied: list[Element] = []
    for label, unwanted in keywords.items():
        listed = packet.lists.get(label)
        if listed is None:
            continue
        left = Counter(keyword.strip() for keyword in unwanted)
        found, kept = [], []
        for item in reversed(listed.items):
            text = item.text.strip()
            if left[text] and not item.children:
                left[text] -= 1
                found.append(item)
            else:
                kept.append(text)
        after[label] = kept[::-1]
        if label in created and len(found) == len(listed.items):
            emptied.append(listed.element)
            del after[label]
        else:
            cuts += [(packet.lead(item.start), item.end) for item in found]
    cuts += _emptied(packet, emptied)
    if not cuts:
        return data
    new, _ = packet.result((start, packet.utf8[start:end], b"") for start, end in cuts)
    if _Packet(new).keywords() != after:
        raise XmpError("could not be edited: read again, it holds other keywords than were meant")
    return new


def _emptied(packet: _Packet, properties: Sequence[Element]) -> Iterator[tuple[int, int]]:
    """Yield what to cut so that properties go, and descriptions which held nothing else beside another one."""
    left = len(packet.descriptions)
    for description in packet.descriptions:
        inside = [element for element in properties if element.parent is description]
        whole = len(inside) == len(description.children) and not description.text.strip()
        if inside and whole and set(description.attributes) <= {(RDF, "about"), ("", "about")} and left > 1:
            left -= 1
            yield packet.lead(description.start), description.end
        else:
            yield from ((packet.lead(element.start), element.end) for element in inside)
