"""Photos per second of phototag beside a plain PyTorch loop with the same weights: benchmarks/README.md explains it.

python benchmarks/throughput.py [--kinds 64px 500px 12mp 24mp png] [--photos N] [--rounds N] [--json FILE] ...
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _pictures
import _report
from _contender import Options, Process, Run
from _report import Row

from phototag.choices import Device, Precision
from phototag.runtime import choose_target

CONTENDERS = {  # phototag first: the others are compared with it
    "phototag": "_phototag:phototag",
    "plain loop": "_plain_loop:plain",
    "plain loop, channels_last": "_plain_loop:plain_channels_last",
    "decode alone": "_phototag:decode_alone",
    "network alone": "_phototag:network_alone",
}
PEERS = ("plain loop", "plain loop, channels_last")


def main() -> int:
    """Run it; see `--help`."""
    arguments = _parse()
    options = Options(
        model=_model(arguments.model),
        device=arguments.device,
        batch_size=arguments.batch_size,
        precision=arguments.runtime_precision,
    )
    kinds = [kind for kind in _pictures.KINDS if kind.name in arguments.kinds]
    shared = choose_target(Device(options.device)).device is Device.CPU
    started = time.monotonic()
    results: dict[str, Any] = {"machine": _report.machine(), "options": asdict(options), "kinds": {}}
    print("\n".join(f"{name}: {value}" for name, value in results["machine"].items()), flush=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phototag-benchmark-")))
        os.environ["PHOTOTAG_HOME"] = str(scratch / "home")  # the caches of whoever runs this are not touched
        root = arguments.pictures or scratch
        folders = {kind: _make_pictures(kind, arguments.photos or kind.photos, root) for kind in kinds}
        processes = stack.enter_context(_processes(options, next(iter(folders.values()))))
        for kind, folder in folders.items():
            rows = _compare(processes, folder, arguments.rounds, label=kind.name)
            print("", *_report.as_lines(_title(kind, folder), rows, peers=PEERS, shared=shared), sep="\n", flush=True)
            results["kinds"][kind.name] = _report.as_json(rows, peers=PEERS, shared=shared)
    results["seconds"] = time.monotonic() - started
    print(f"\n{arguments.rounds} rounds, median of each; {results['seconds']:.0f} s in all")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [kind.name for kind in _pictures.KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="the pictures to compare on")
    parser.add_argument("--photos", type=_positive, metavar="N", help="pictures of each kind [64 or 96]")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="passes of each contender [3]")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep the pictures here, use those already there")
    parser.add_argument("--model", help="a trained model's file or name [the built-in model]")
    parser.add_argument("--device", choices=[device.value for device in Device], default="auto", help="for both [auto]")
    parser.add_argument("--batch-size", type=_positive, default=32, metavar="N", help="for both [32]")
    precisions = [precision.value for precision in Precision]
    parser.add_argument("--runtime-precision", choices=precisions, default="auto", help="of phototag [auto]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _model(reference: str | None) -> str | None:
    """The file of a named model, found before its folder is out of sight."""
    if reference is None:
        return None
    from phototag.model import open_model

    path = open_model(reference).path
    return None if path is None else str(path)


def _make_pictures(kind: _pictures.Kind, photos: int, root: Path) -> Path:
    made = 0

    def count() -> None:
        nonlocal made
        made += 1
        _say(f"{kind.name}: drawing pictures, {made} of {photos}")

    return _pictures.ensure(kind, photos, root, on_picture=count)


def _title(kind: _pictures.Kind, folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.iterdir()]
    mean_kilobytes = sum(sizes) / len(sizes) / 1000
    return f"{kind.name}: {len(sizes)} {kind.described}, {mean_kilobytes:.1f} kB each"


@contextmanager
def _processes(options: Options, folder: Path) -> Iterator[dict[str, Process]]:
    with ExitStack() as stack:
        # Whoever loads a model first converts it for OpenVINO, with torch in memory, and measures what precision will
        # do; later ones find all that done.
        _say("loading: phototag, for the first time")
        first = Process("phototag", CONTENDERS["phototag"], options)
        first.prepare(folder)
        first.close()
        processes = {}
        for name, maker in CONTENDERS.items():
            _say(f"loading: {name}")
            processes[name] = Process(name, maker, options)
            stack.callback(processes[name].close)
        yield processes


def _compare(processes: dict[str, Process], folder: Path, rounds: int, *, label: str) -> list[Row]:
    """Every contender on one folder, in rounds; every second round goes through them backwards."""
    settings: dict[str, str] = {}
    for name in CONTENDERS:
        _say(f"{label}: warming up: {name}")
        settings[name] = processes[name].prepare(folder)
    runs: dict[str, list[Run]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        order = list(CONTENDERS) if number % 2 == 0 else list(CONTENDERS)[::-1]
        for name in order:
            _say(f"{label}: round {number + 1} of {rounds}: {name}")
            runs[name].append(processes[name].run())
    return [
        Row(name, settings[name], runs[name], processes[name].load_seconds, processes[name].peak_bytes)
        for name in CONTENDERS
    ]


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif "drawing" not in text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
