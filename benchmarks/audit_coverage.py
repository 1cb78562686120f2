"""How often the intervals of audits hold the truth where photos come in series.

    python benchmarks/audit_coverage.py
    python benchmarks/audit_coverage.py --audits 200 --photos 2000

Libraries of known truth are made up: half of the photos alone, the others in series of 10 on average, or long ones (a
fixed camera). Photos of a series are right or wrong together, by the share of the variance that lies between series.
Each row is so many audits of about 200 photos each:

- by group: series are sampled, as by `phototag audit sample --by group`; the truth is the share of right tags of the
  library. Beside it what the same photos would say, taken for photos sampled one by one.
- one by one: photos are sampled without regard to series; the truth is that of the library.
- new photos: the same photos, where the truth is the share among endlessly many other series like these; counted by
  groups, and beside it by photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.audit.estimation import Ratios, SamplingDesign, Sums, Units, ratio
from phototag.audit.group_sampling import parts_for, parts_of

SIZE = 200


@dataclass(frozen=True)
class Library:
    """N photos: the group and the part that each lies in, and whether its tag is right."""

    groups: NDArray[np.intp]
    parts: NDArray[np.intp]
    right: NDArray[np.float64]


def library(random: np.random.Generator, *, photos: int, accuracy: float, alike: float, long: bool) -> Library:
    """Make up a library; `alike` is the share of the variance of being right that lies between series."""
    sizes = [1] * (photos // 2)
    while sum(sizes) < photos:
        size = int(random.lognormal(2.5, 1.2)) if long else int(random.geometric(0.1))
        sizes.append(max(2, min(size, photos - sum(sizes), photos // 10)))
    groups = np.repeat(np.arange(len(sizes)), sizes)[:photos].astype(np.intp)
    spread = 1 / alike - 1
    chances = random.beta(accuracy * spread, (1 - accuracy) * spread, len(sizes))
    right = (random.random(photos) < chances[groups]).astype(np.float64)
    paths = [number.to_bytes(4) for number in range(photos)]
    return Library(groups, parts_of(groups, paths), right)


def by_group(random: np.random.Generator, photos: Library) -> tuple[Ratios, Ratios]:
    """Return what an audit of groups says of the library, and what its photos would say, were they sampled alone."""
    parts, population = int(photos.parts.max()) + 1, len(photos.right)
    chosen = random.choice(parts, parts_for(SIZE, parts=parts, population=population), replace=False)
    rows = np.flatnonzero(np.isin(photos.parts, chosen))
    of = np.unique(photos.parts[rows], return_inverse=True)[1].astype(np.intp)
    units = Units(np.zeros(len(chosen), dtype=np.intp), of, np.ones(len(rows)))
    design = SamplingDesign.of(np.array([parts]), np.array([len(chosen)]), in_groups=True)
    right, whole = photos.right[rows], np.ones(len(rows))
    return ratio(design, Sums.of(units, 1, right, whole)), _one_by_one(right, population)


def one_by_one(random: np.random.Generator, photos: Library) -> tuple[Ratios, Ratios, Ratios]:
    """Return what photos sampled alone say of the library, and of new photos by groups and without them."""
    rows = random.choice(len(photos.right), min(SIZE, len(photos.right)), replace=False)
    right, whole = photos.right[rows], np.ones(len(rows))
    of = np.unique(photos.groups[rows], return_inverse=True)[1].astype(np.intp)
    count = int(of.max()) + 1
    units = Units(np.zeros(count, dtype=np.intp), of, whole)
    grouped = ratio(SamplingDesign.endless(count), Sums.of(units, 1, right, whole))
    return _one_by_one(right, len(photos.right)), grouped, _one_by_one(right, 10**9)


def _one_by_one(right: NDArray[np.float64], population: int) -> Ratios:
    design = SamplingDesign.of(np.array([population]), np.array([len(right)]))
    units = Units.photos(np.zeros(len(right), dtype=np.intp))
    return ratio(design, Sums.of(units, 1, right, np.ones(len(right))))


def coverages(
    *, audits: int, photos: int, accuracy: float, alike: float, long: bool, seed: int
) -> Iterator[tuple[str, float, float]]:
    """Yield for each way its name, how often its intervals hold the truth, and their mean length."""
    random = np.random.default_rng(seed)
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(audits):
        made = library(random, photos=photos, accuracy=accuracy, alike=alike, long=long)
        truth = float(made.right.mean())
        grouped, blind = by_group(random, made)
        alone, new, new_blind = one_by_one(random, made)
        for name, one, value in (
            ("by group", grouped, truth),
            ("the same, groups ignored", blind, truth),
            ("one by one", alone, truth),
            ("new photos", new, accuracy),
            ("the same, groups ignored ", new_blind, accuracy),
        ):
            holds = bool(one.low <= value <= one.high)
            found.setdefault(name, []).append((holds, float(one.high - one.low)))
    for name, rows in found.items():
        yield name, float(np.mean([holds for holds, _ in rows])), float(np.mean([length for _, length in rows]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Coverage of audits where photos come in series")
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| series | right | alike | way | holds the truth | length |\n| --- | --- | --- | --- | --- | --- |")
    for long in (False, True):
        for accuracy in (0.8, 0.93, 0.99):
            for alike in (0.3, 0.9):
                for name, share, length in coverages(
                    audits=given.audits, photos=given.photos, accuracy=accuracy, alike=alike, long=long, seed=given.seed
                ):
                    series = "long" if long else "short"
                    print(
                        f"| {series} | {accuracy} | {alike} | {name} | {100 * share:.1f} % | {100 * length:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
