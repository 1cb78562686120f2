"""Raw photos with a preview beside JPEG files of the same picture and size: decoding them for a network, side by side.

    python benchmarks/raw.py [--photos N] [--rounds N]

Each raw photo is a DNG file with 16 bits a pixel and the JPEG file in it that it is compared with. Both lie in memory.
In each round the two take turns, photo by photo, in one thread, every second round backwards. What is printed is the
median over the rounds of processor time, and the median ratio. Reading and hashing all bytes, of which a raw photo has
more, is timed apart.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _pictures import KINDS, ensure
from PIL import Image

sys.path.append(str(Path(__file__).parents[1]))
from phototag.imaging import Decoder, Preprocessing, read_bytes
from tests.support.raw_files import dng

_KIND = next(kind for kind in KINDS if kind.name == "24mp")


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=9)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Decoder(Preprocessing(size=224)) as decode:
        root = Path(folder)
        jpegs = sorted(ensure(_KIND, words.photos, root, on_picture=lambda: None).glob("*.jpg"))
        raws = [_raw(jpeg) for jpeg in jpegs]
        pairs = [(read_bytes(jpeg), read_bytes(raw)) for jpeg, raw in zip(jpegs, raws, strict=True)]
        for pair in pairs:
            for data in pair:
                decode(data, root)  # what is loaded on first use is not what is measured
        figures = []
        for number in range(words.rounds):
            spent = [0.0, 0.0]
            for pair in pairs:
                for side in (0, 1) if number % 2 else (1, 0):
                    data = pair[side]
                    spent[side] += _seconds(lambda data=data: decode(data, root))  # type: ignore[misc]
            figures.append([seconds / len(pairs) for seconds in spent])
        bytes_of = [sum(len(pair[side]) for pair in pairs) / len(pairs) for side in (0, 1)]
        reading = [
            median(_seconds(lambda path=path: hashlib.sha256(read_bytes(path)).digest()) for path in paths)  # type: ignore[misc]
            for paths in (jpegs, raws)
        ]
    ratio = median(jpeg / raw for jpeg, raw in figures)
    for side, name in enumerate(("JPEG", "RAW")):
        decoding = 1000 * median(figure[side] for figure in figures)
        print(
            f"{name:4}  {bytes_of[side] / 1e6:5.1f} MB  decoded in {decoding:5.1f} ms, "
            f"read and hashed in {1000 * reading[side]:5.1f} ms of processor time a photo"
        )
    print(f"RAW with a preview: {ratio:.2f} of the photos a second of JPEG, beyond reading the bytes")


def _raw(jpeg: Path) -> Path:
    path = jpeg.with_suffix(".dng")
    with Image.open(jpeg) as image:
        path.write_bytes(dng(image.convert("RGB"), preview=jpeg.read_bytes(), thumbnail=160))
    return path


def _seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main()
