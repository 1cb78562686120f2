"""What it costs to read when, where and with what photos were taken: `python benchmarks/read_facts.py`.

CPU time of one thread for each photo, beside that of hashing and decoding it. The network comes on top, so that the
share of tagging is smaller.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _pictures import KINDS, draw
from PIL import Image

from phototag.imaging import Decoder, Preprocessing
from phototag.metadata import describe

TAGS = {
    0x010F: "NIKON CORPORATION",
    0x0110: "NIKON D850",
    0x8769: {0x9003: "2026:05:03 14:22:01", 0x9011: "+02:00", 0x9291: "25", 0xA431: "6012345", 0xA434: "50 mm f/1.8"},
    0x8825: {1: "N", 2: (52.0, 30.0, 36.0), 3: "E", 4: (13.0, 24.0, 18.0)},
}
# As long as what Adobe's programs embed, of which develop settings are most.
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmp:Rating="3">'
    "<dc:subject><rdf:Bag><rdf:li>bird</rdf:li><rdf:li>robin</rdf:li></rdf:Bag></dc:subject><crs:Curve><rdf:Seq>"
    + "<rdf:li>0, 0, 128, 128</rdf:li>" * 150
    + "</rdf:Seq></crs:Curve></rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """CPU time of one call, the least of three attempts."""
    found = []
    for _ in range(3):
        started = time.thread_time()
        for _ in range(rounds):
            work()
        found.append((time.thread_time() - started) / rounds)
    return 1000 * min(found)


def decode(decoder: Decoder, data: bytes) -> None:
    """What tagging does of a photo at least."""
    hashlib.sha256(data)
    decoder(data, Path("a.jpg"))


def main() -> None:
    """Print a line for each kind of picture."""
    exif = Image.Exif()
    for tag, value in TAGS.items():
        if isinstance(value, dict):
            exif.get_ifd(tag).update(value)
        else:
            exif[tag] = value
    decoder = Decoder(Preprocessing(size=224))
    for kind in KINDS:
        if kind.quality is None:
            continue
        for packet in (b"", PACKET):
            file = io.BytesIO()
            draw(kind, 0).save(file, "JPEG", quality=kind.quality, exif=exif, **({"xmp": packet} if packet else {}))
            data = file.getvalue()
            reading = milliseconds(partial(describe, data), 200)
            decoding = milliseconds(partial(decode, decoder, data), 10)
            words = (
                f"{kind.name}, EXIF and {len(packet) / 1000:.0f} kB of XMP" if packet else f"{kind.name}, EXIF alone"
            )
            print(f"{words}: {reading:.3f} ms beside {decoding:.2f} ms, {reading / decoding:.1%}")
    decoder.close()


if __name__ == "__main__":
    main()
