"""How time, memory and disk grow with a library: 10,000, 100,000 and a million photos side by side.

    python benchmarks/scale.py                                  # half an hour; 1.5 GB, and 1.1 million empty files
    python benchmarks/scale.py --photos 10000 100000            # minutes
    python benchmarks/scale.py --only serve query --keep ~/bench

The libraries are made up: rows written into the database, and an empty file for each photo, which a pass finds
unchanged. Every command runs in a process of its own: its time, and the most memory it held. `growth` is the exponent p
in time = constant * photos ** p between the last two sizes: 1 is in proportion, more is out of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import IO, Any
from urllib.parse import urlencode

import _report

SIZES = (10_000, 100_000, 1_000_000)
SAMPLES = Path(__file__).resolve().parents[1] / "sample_images"
TURNS = 5
GROUPS = ("rescan", "serve", "query", "retag", "audit", "novel", "check")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one thing took: seconds by the clock and of the processors, and the most memory, 0 where not measured."""

    seconds: float
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Library:
    """A made-up library, and where its files would be."""

    database: Path
    root: Path
    model: Path
    home: Path


def main() -> None:
    """Run it; see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=list(SIZES), help="sizes of libraries, ascending")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="what to measure")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the libraries here, or use those that are here")
    parser.add_argument("--model", type=Path, help="a trained model's file [one trained on sample_images/]")
    parser.add_argument("--one-folder", action="store_true", help="all photos of a library in one folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phototag-scale-") as scratch:
        folder = arguments.keep or Path(scratch)
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PHOTOTAG_HOME"] = str(home)
        model = arguments.model or _train(folder / "scale.safetensors")
        results: dict[int, Figures] = {}
        for size in arguments.photos:
            results[size] = _measure(size, arguments.only, folder, home, model, one_folder=arguments.one_folder)
    print("\n".join(_table(results)))
    if arguments.json:
        rows = {what: {size: _as_json(found.get(what)) for size, found in results.items()} for what in _names(results)}
        arguments.json.write_text(json.dumps({"machine": _report.machine(), "figures": rows}, indent=1) + "\n")


def _train(model: Path) -> Path:
    if not model.exists():
        subprocess.run(_phototag("train", SAMPLES, "--output", model), check=True, stdout=subprocess.DEVNULL)
    return model


def _measure(size: int, wanted: Sequence[str], folder: Path, home: Path, model: Path, *, one_folder: bool) -> Figures:
    figures: Figures = {}
    library = Library(folder / f"{size}.db", folder / f"{size}", model, home)
    if not library.database.exists():
        # A process begins with the most memory that its parent ever held, so this one stays small.
        maker = get_context("spawn").Process(target=_make, args=(library, size, one_folder))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(f"{library.database}: could not be made")
    figures["database"] = Figure(0, peak_bytes=library.database.stat().st_size)
    for name in wanted:
        print(f"{size:,} photos: {name}", file=sys.stderr)
        figures |= _STEPS[name](library)
    return figures


def _make(library: Library, size: int, one_folder: bool) -> None:
    from _library import make_library

    from phototag.model import open_model

    model = open_model(str(library.model))
    make_library(library.database, size, model, root=library.root, files=True, one_folder=one_folder)


# ---- what is measured


def _rescan(library: Library) -> Figures:
    tag = ("tag", library.root, "--model", library.model, "--db", library.database)
    _run(*tag)  # puts what is on disk into the operating system's memory
    return {"tag, nothing changed": _run(*tag)}


def _serve(library: Library) -> Figures:
    shutil.rmtree(library.home / "cache" / "catalog", ignore_errors=True)
    figures: Figures = {}
    for what in ("serve, first time", "serve, again"):
        with _served(library) as page:
            figures |= {f"{what}: {name}": figure for name, figure in page.figures.items()}
            # The index is saved once nothing has happened for a while.
            time.sleep(10 if what == "serve, first time" else 0)
        figures[what] = page.whole
    index = library.home / "cache" / "catalog"
    sizes = [file.stat().st_size for file in index.glob("*")] if index.exists() else []
    return figures | {"index": Figure(0, peak_bytes=sum(sizes))}


def _query(library: Library) -> Figures:
    db = ("--db", library.database)
    return {
        "query --count": _run("query", "--count", *db),
        "query, 50 by path": _run("query", *db),
        "query, 50 by novelty": _run("query", "--sort", "novelty", *db),
        "query, 50 by score": _run("query", "--sort", "-subclass_score", *db),
        "query, all as ndjson": _run("query", "--format", "ndjson", *db),
    }


def _retag(library: Library) -> Figures:
    retag = ("retag", "--model", library.model, "--db", library.database)
    return {
        "retag --dry-run": _run(*retag, "--subclass-threshold", "0.9", "--dry-run"),
        "retag, many changed": _run(*retag, "--subclass-threshold", "0.9"),
        "retag, back": _run(*retag),
    }


def _audit(library: Library) -> Figures:
    db = ("--db", library.database)
    figures = {"audit sample": _run("audit", "sample", "scale", "--size", "300", *db)}
    _review(library)
    figures |= {
        "audit report": _run("audit", "report", "--sample", "scale", *db),
        "audit report --ppi": _run("audit", "report", "--sample", "scale", "--ppi", *db),
    }
    _run("audit", "sample", "scale", "--remove", *db)
    return figures


def _review(library: Library) -> None:
    """Say of all sampled photos that they show the first class that the model has learned."""
    from phototag.store import Review, Store

    with Store.open(library.database) as store, store.writing("benchmark"):
        sample = store.samples.find("scale")
        if sample is None:
            raise SystemExit("no sample was drawn")
        taxonomy = store.models.find_all()[0].taxonomy
        name = taxonomy.subclasses[0]
        store.reviews.save_all(
            [
                Review(photo_id=item.photo_id, superclass=taxonomy.parent(name), subclass=name, sample_id=sample.id)
                for item in store.samples.items(sample.id)
            ]
        )


def _novel(library: Library) -> Figures:
    # The pictures of contact sheets would be missing.
    return {"novel --no-sheets": _run("novel", "--no-sheets", "--model", library.model, "--db", library.database)}


def _check(library: Library) -> Figures:
    return {"db check": _run("db", "check", "--db", library.database)}


_STEPS: dict[str, Callable[[Library], Figures]] = {
    "rescan": _rescan,
    "serve": _serve,
    "query": _query,
    "retag": _retag,
    "audit": _audit,
    "novel": _novel,
    "check": _check,
}


# ---- processes


def _phototag(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "phototag", *map(str, arguments)]


def _run(*arguments: object) -> Figure:
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(_phototag(*arguments), stdout=subprocess.DEVNULL, stderr=errors)
        figure = _ended(process, started)
        if process.returncode not in (0, 1):
            errors.seek(0)
            raise SystemExit(f"{arguments[0]}: {errors.read().decode()}")
        return figure


def _ended(process: subprocess.Popen[Any], started: float) -> Figure:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Figure(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


class _Page:
    """A page that is served, and how long what is asked of it takes."""

    def __init__(self, link: str, opened: Figure) -> None:
        self.figures: Figures = {"opened": opened}
        self.whole = opened
        self._address = link.partition("?")[0]
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._get(link)

    def _get(self, address: str) -> str:
        with self._browser.open(address) as answer:
            text: str = answer.read().decode()
            return text

    def ask(self, what: str, *queries: str) -> str:
        """Ask for some pages, and note what the median took."""
        taken, text = [], ""
        for query in queries:
            started = time.perf_counter()
            text = self._get(self._address + query)
            taken.append(time.perf_counter() - started)
        self.figures[what] = Figure(median(taken))
        return text


@contextmanager
def _served(library: Library) -> Iterator[_Page]:
    command = _phototag("serve", "--db", library.database, "--port", "0", "--no-open")
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        link = _link(process.stdout)
        if not link:
            raise SystemExit("serve did not start")
        page = _Page(link, Figure(time.perf_counter() - started, 0, _resident(process.pid)))
        try:
            first = page.ask("first page and facets", "")
            numbers = list(dict.fromkeys(re.findall(r"/photos/(\d+)", first)))[: TURNS + 1]
            page.ask("similar photos, first time", *[f"photos/{number}/similar" for number in numbers[:1]])
            page.ask("page and facets again", *[""] * TURNS)
            page.ask("one year", *[f"?taken={2021 + turn}" for turn in range(TURNS)])
            page.ask("search", *["?" + urlencode({"text": f"snow {turn}"}) for turn in range(TURNS)])
            page.ask("similar photos", *[f"photos/{number}/similar" for number in numbers[1:]])
            yield page
        finally:
            process.send_signal(signal.SIGINT)
            page.whole = _ended(process, started)


def _link(output: IO[str] | None) -> str:
    return "" if output is None else output.readline().strip()


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


# ---- the table


def _names(results: dict[int, Figures]) -> list[str]:
    return list(dict.fromkeys(name for figures in results.values() for name in figures))


def _table(results: dict[int, Figures]) -> Iterator[str]:
    yield " | ".join(["", "", *(f"{size:,}" for size in results), "growth", ""]).strip()
    yield "|---" * (len(results) + 2) + "|"
    for name in _names(results):
        found = [figures.get(name) for figures in results.values()]
        cells = ["" if figure is None else _cell(figure) for figure in found]
        yield f"| {name} | {' | '.join(cells)} | {_growth(list(results), found)} |"


def _cell(figure: Figure) -> str:
    parts = []
    if figure.seconds:
        parts.append(f"{figure.seconds:.3g} s" if figure.seconds >= 1 else f"{1000 * figure.seconds:.0f} ms")
    if figure.cpu_seconds:
        parts.append(f"({figure.cpu_seconds:.3g} s)")
    if figure.peak_bytes:
        parts.append(f"{figure.peak_bytes / 2**20:,.0f} MiB")
    return " ".join(parts)


def _growth(sizes: Sequence[int], figures: Sequence[Figure | None]) -> str:
    both = [(size, figure) for size, figure in zip(sizes, figures, strict=True) if figure is not None]
    if len(both) < 2:
        return ""
    (few, one), (many, other) = both[-2:]
    values = [figure.cpu_seconds or figure.seconds or figure.peak_bytes for figure in (one, other)]
    return f"{math.log(values[1] / values[0]) / math.log(many / few):.2f}" if all(values) else ""


def _as_json(figure: Figure | None) -> dict[str, float] | None:
    if figure is None:
        return None
    return {"seconds": figure.seconds, "cpu_seconds": figure.cpu_seconds, "peak_bytes": figure.peak_bytes}


if __name__ == "__main__":
    main()
