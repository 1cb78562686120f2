"""The packets that new sidecars, and pictures without one, begin with."""

from __future__ import annotations

import re

from phototag.metadata.xmp.elements import Element, XmpError, decode_packet, parse_elements
from phototag.metadata.xmp.properties import PHOTOSHOP, XMP_NOTE, descriptions, find_rdf
from phototag.metadata.xmp.splices import apply_splices

_DERIVED_FROM = ("http://ns.adobe.com/xap/1.0/mm/", "DerivedFrom")
_EXTENDED = (XMP_NOTE, "HasExtendedXMP")
_PADDING = re.compile(rb"\s*(\n<\?xpacket end=)")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")


def fresh_packet(sidecar_for: str | None = None) -> bytes:
    """Return an empty packet; `sidecar_for`: the suffix, without a dot, of the file that a sidecar belongs to."""
    belongs = (
        "" if sidecar_for is None else f' xmlns:photoshop="{PHOTOSHOP}" photoshop:SidecarForExtension="{sidecar_for}"'
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="phototag">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about=""{belongs}>\n'
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>\n'
    ).encode()


def sidecar_from(packets: tuple[bytes, ...]) -> bytes:
    """Return what a new sidecar of a picture with these embedded packets begins with: all that they say.

    digiKam and darktable look at the sidecar alone once there is one: what only the picture said would be lost to them.
    Left out are what belongs to the picture's own packet (xmpNote), and a structure that stopped darktable 5 from
    writing (xmpMM:DerivedFrom).

    Raises:
        XmpError: it does not fit into one packet, or cannot be read.
    """
    if len(packets) > 1:
        raise XmpError("has XMP of more than 64 kB inside, which a new sidecar would hide")
    packet = decode_packet(packets[0])
    rdf = find_rdf(parse_elements(packet.utf8))
    cuts: list[tuple[int, bytes, bytes]] = []
    for description in descriptions(rdf):
        if _EXTENDED in description.attributes or any(child.name == _EXTENDED for child in description.children):
            raise XmpError("has XMP of more than 64 kB inside, which a new sidecar would hide")
        for child in description.children:
            if child.name[0] == XMP_NOTE or (child.name == _DERIVED_FROM and child.children):
                cuts.append((child.start, packet.utf8[child.start : child.end], b""))
        cuts += _notes(packet.utf8, description)
    new, _ = apply_splices(packet.utf8, cuts)
    return packet.encode(_PADDING.sub(rb"\1", new))


def _notes(utf8: bytes, description: Element) -> list[tuple[int, bytes, bytes]]:
    cuts = []
    for found in _ATTRIBUTE.finditer(utf8, description.start, description.tag_end):
        prefix, colon, _ = found[1].decode().partition(":")
        if colon and prefix != "xmlns" and description.uri_of(prefix) == XMP_NOTE:
            cuts.append((found.start(), found[0], b""))
    return cuts
