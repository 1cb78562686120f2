"""How long it takes to write the keywords of many photos, to find that nothing changed, and to take them out again."""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from phototag.export import KeywordExporter
from phototag.metadata import add_keywords, fresh_packet
from phototag.records import Photo, Rank, Tag
from phototag.store import Query, Store, StoredTag
from phototag.taxonomy import Taxonomy

IN_FOLDER = 500
TAGS = [Tag("bird", "robin", Rank.SUBCLASS, 0.9, 0.8, 0.1), Tag("dog", None, Rank.SUPERCLASS, 0.9, 0.4, 0.3)]


def make_library(folder: Path, store: Store, count: int, *, sidecars: bool) -> None:
    """Make tagged photos of 400 x 300 pixels, with a person's keywords beside them if asked for."""
    picture = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((400, 300)).save(picture, "JPEG")
    content, digest = picture.getvalue(), hashlib.sha256(picture.getvalue()).digest()
    person = add_keywords(fresh_packet(), {"dc:subject": ["Alps", "holiday"]}).data
    taxonomy = Taxonomy.from_pairs([("bird", "robin"), ("dog", "beagle")])
    model_id = store.models.register(hash="0" * 64, name="model", backbone="none", taxonomy=taxonomy, metrics={})
    for start in range(0, count, IN_FOLDER):
        below = folder / f"{start:07}"
        below.mkdir(parents=True)
        tagged = []
        for number in range(start, min(start + IN_FOLDER, count)):
            path = below / f"{number:07}.jpg"
            path.write_bytes(content)
            if sidecars:
                path.with_name(f"{path.name}.xmp").write_bytes(person)
            status = path.stat()
            photo = Photo(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            tagged.append(StoredTag(photo, digest, 400, 300, b"", TAGS[number % len(TAGS)]))
        store.tags.save_batch(model_id=model_id, tagged=tagged)


def timed(words: str, count: int, run: Callable[[], object]) -> None:
    """Run something, and print how long it took."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    seconds, used = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{words}: {seconds:.1f} s, {1000 * seconds / count:.2f} ms a photo, of the processor {1000 * used / count:.2f}"
    )


def main() -> None:
    """Measure with new sidecars, with such as a person has, or embedded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--into", choices=("new", "sidecars", "embedded"), default="new")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "photos.db") as store:
        with store.writing("benchmark"):
            make_library(Path(folder) / "photos", store, options.photos, sidecars=options.into == "sidecars")
        embed = options.into == "embedded"
        timed("written", options.photos, lambda: KeywordExporter(store, embed=embed).export(Query()))
        timed("unchanged", options.photos, lambda: KeywordExporter(store, embed=embed).export(Query()))
        timed("undone", options.photos, lambda: KeywordExporter(store).undo())


if __name__ == "__main__":
    main()
