"""What the rounds showed, as a table to read and as values for JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from _contender import Answer, Run

STAGES = ("decode alone", "network alone")
_PACKAGES = ("phototag", "torch", "torchvision", "timm", "openvino", "numba", "pillow", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one kind of pictures; `setting` is what it chose, `peak_bytes` 0 where it cannot be known."""

    name: str
    setting: str
    runs: Sequence[Run]
    load_seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Photos a second, the median of the rounds."""
        return median(run.rate for run in self.runs)

    @property
    def answers(self) -> Mapping[str, Answer]:
        """What it said, by file name."""
        return self.runs[-1].answers


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast as another, round by round: what slows the machine slows both alike."""

    median: float
    least: float
    most: float


def ratio(first: Row, second: Row) -> Ratio:
    """`first` to `second`."""
    each = [one.rate / other.rate for one, other in zip(first.runs, second.runs, strict=True)]
    return Ratio(median(each), min(each), max(each))


def bound(rows: Sequence[Row], *, shared: bool) -> float:
    """Photos a second if nothing but decoding and the network took time.

    On a CPU both need the same cores, so the times that a photo takes in each add up: 1 / (1 / decode + 1 / network).
    On a GPU they run side by side, and the slower one is the bound.
    """
    rates = [row.rate for row in rows if row.name in STAGES]
    return 1 / sum(1 / rate for rate in rates) if shared else min(rates)


def agreement(first: Row, second: Row) -> dict[str, float]:
    """The share of pictures with the same best subclass, and with the same stored superclass and whole tag."""
    pairs = [(answer, second.answers[name]) for name, answer in first.answers.items()]
    same = {
        "top1": [one.top1 == other.top1 for one, other in pairs],
        "superclass": [one.superclass == other.superclass for one, other in pairs],
        "tag": [(one.superclass, one.subclass) == (other.superclass, other.subclass) for one, other in pairs],
    }
    return {name: sum(values) / len(values) for name, values in same.items()}


def as_lines(title: str, rows: Sequence[Row], *, peers: Sequence[str], shared: bool) -> list[str]:
    """The table of one kind: the first row is phototag, `peers` name the rows that it is compared with."""
    subject = rows[0]
    header = f"  {'':<28}{'photos/s':>9}{'min-max':>16}{'phototag is':>22}{'memory':>10}  setting"
    lines = [title, header]
    for row in rows:
        rates = [run.rate for run in row.runs]
        text = f"  {row.name:<28}{row.rate:>9.1f}{f'{min(rates):.1f}-{max(rates):.1f}':>16}"
        times = ratio(subject, row)
        digits = 1 if times.least >= 1 else 2
        shown = f"{times.median:.{digits}f}x ({times.least:.{digits}f}-{times.most:.{digits}f})"
        memory = f"{row.peak_bytes / 2**20:.0f} MiB" if row.peak_bytes else "unknown"
        lines.append(f"{text}{shown if row is not subject else '':>22}{memory:>10}  {row.setting}")
    most = bound(rows, shared=shared)
    how = "sharing the cores" if shared else "side by side"
    share = f"phototag reaches {subject.rate / most:.2f} of that"
    lines.append(f"  decoding and network {how}: at most {most:.1f} photos/s; {share}")
    for row in rows:
        if row.name in peers:
            same = agreement(subject, row)
            lines.append(
                f"  same as {row.name}: best subclass {same['top1']:.1%}, superclass stored {same['superclass']:.1%}, "
                f"whole tag stored {same['tag']:.1%}"
            )
    return lines


def as_json(rows: Sequence[Row], *, peers: Sequence[str], shared: bool) -> dict[str, Any]:
    """The same as `as_lines`, and every round."""
    subject, found = rows[0], {}
    for row in rows:
        values: dict[str, Any] = {
            "photos_per_second": row.rate,
            "rounds": [run.rate for run in row.runs],
            "photos": row.runs[0].photos,
            "setting": row.setting,
            "load_seconds": row.load_seconds,
            "peak_memory_bytes": row.peak_bytes or None,
        }
        if row is not subject:
            times = ratio(subject, row)
            values["phototag_is_times"] = {"median": times.median, "least": times.least, "most": times.most}
        if row.name in peers:
            values["agreement"] = agreement(subject, row)
        found[row.name] = values
    found[subject.name]["share_of_bound"] = subject.rate / bound(rows, shared=shared)
    return found


def machine() -> dict[str, Any]:
    """What all this ran on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": usable,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
