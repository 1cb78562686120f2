"""How fast photos in a bucket are tagged, beside the same files in a folder.

    python benchmarks/objects.py                        # about three minutes
    python benchmarks/objects.py --kinds 12mp --photos 64 --rounds 5

The server is the small one of the tests, in a process of its own on the same cores: what it takes counts against the
bucket. Folder and bucket take turns with one network; the figures are medians, with the least and the most.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import _pictures

from phototag.choices import Precision
from phototag.paths import S3Path
from phototag.store import Store
from phototag.tagging import Tagger

KINDS = {kind.name: kind for kind in _pictures.KINDS}


def serve(folders: dict[str, Path], ready: Connection) -> None:
    """Answer requests for the files of folders, a bucket each, until the other end of `ready` is closed."""
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    server = importlib.import_module("tests.support.s3_server").S3Server()
    for bucket, folder in folders.items():
        for file in sorted(folder.iterdir()):
            server.put(bucket, file.name, file.read_bytes())
    with server.running():
        ready.send(server.url)
        ready.poll(None)


def measure(kind: str, folder: Path, rounds: int) -> None:
    """Print what one kind of pictures takes."""
    places: dict[str, Path | S3Path] = {"folder": folder, "bucket": S3Path(f"s3://{kind}")}
    rates: dict[str, list[float]] = {name: [] for name in places}
    photos = len(list(folder.iterdir()))
    with Tagger("builtin", precision=Precision.F32) as tagger:
        for turn in range(rounds + 1):
            for name, place in list(places.items())[:: 1 if turn % 2 else -1]:
                with tempfile.TemporaryDirectory() as scratch, Store.open(Path(scratch) / "photos.db") as store:
                    report = tagger.tag([place], store)
                if report.tagged != photos:
                    raise SystemExit(f"{place}: {report.tagged} of {photos} photos were tagged")
                if turn:  # the first is for warming up
                    rates[name].append(photos / report.seconds)
    ratios = [bucket / plain for plain, bucket in zip(rates["folder"], rates["bucket"], strict=True)]
    print(
        f"{kind}: folder {median(rates['folder']):.0f}, bucket {median(rates['bucket']):.0f} photos/s, "
        f"ratio {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    """Run it; see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["500px", "12mp"])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=Path, help="keep the pictures here, or use those that are here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phototag-bench-") as scratch:
        root = chosen.pictures or Path(scratch)
        folders = {
            kind: _pictures.ensure(KINDS[kind], chosen.photos, root, on_picture=lambda: None) for kind in chosen.kinds
        }
        start = multiprocessing.get_context("spawn")
        ours, theirs = start.Pipe()
        start.Process(target=serve, args=(folders, theirs), daemon=True).start()
        os.environ.update(
            AWS_ENDPOINT_URL=ours.recv(), AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark"
        )
        for kind, folder in folders.items():
            measure(kind, folder, chosen.rounds)


if __name__ == "__main__":
    main()
