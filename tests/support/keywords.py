"""XMP packets with keywords, and sidecars of photos that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape


def packet(flat: Sequence[str] = (), levels: Sequence[str] = ()) -> bytes:
    """A packet with keywords without levels (dc:subject) and with levels (lr:hierarchicalSubject)."""
    lists = "".join(
        f"<{name}><rdf:Bag>{''.join(f'<rdf:li>{escape(each)}</rdf:li>' for each in words)}</rdf:Bag></{name}>"
        for name, words in (("dc:subject", flat), ("lr:hierarchicalSubject", levels))
        if words
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:lr="http://ns.adobe.com/lightroom/1.0/">{lists}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def write_keywords(photo: Path, *keywords: str) -> Path:
    """Give a photo a sidecar with keywords; those with "|" have levels."""
    flat = [keyword for keyword in keywords if "|" not in keyword]
    sidecar = photo.with_name(f"{photo.name}.xmp")
    sidecar.write_bytes(packet(flat, [keyword for keyword in keywords if "|" in keyword]))
    return sidecar
