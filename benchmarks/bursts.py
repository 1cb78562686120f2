"""How often a certified precision holds where pictures come in series: simulated validations, by groups and without.

Each picture has a score, uniform over [0, 1] and alike within a series (`alike`: the correlation of its normal scores),
and is right with chance 1 - (1 - score) ** steep. Within a series being right is correlated too: with chance
sqrt(together) a picture shares the series' luck, so that two of equal score have that correlation. Sizes of series are
geometric, cut at 20. A certificate holds if of a large population of such series at least the target is right.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation.risk_control import certified_threshold
from phototag.evaluation.score_table import ScoreTable

_MOST = 20
_POPULATION = 200_000
_NORMAL = np.linspace(-6, 6, 4001)
_CHANCE = np.array([NormalDist().cdf(value) for value in _NORMAL.tolist()])

Pictures = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]


@dataclass(frozen=True)
class Series:
    """How pictures come: `groups` of them in a validation, of `mean` size; see the module's docstring for the rest."""

    groups: int
    mean: float
    together: float
    alike: float
    steep: float

    def draw(self, random: np.random.Generator, groups: int | None = None) -> Pictures:
        """Return scores [N], whether each picture is right [N] and its group [N]."""
        count = self.groups if groups is None else groups
        sizes = np.minimum(random.geometric(1 / self.mean, count), _MOST)
        group = np.repeat(np.arange(count), sizes)
        normal = np.sqrt(self.alike) * random.normal(size=count)[group]
        normal += np.sqrt(1 - self.alike) * random.normal(size=len(group))
        scores = np.interp(normal, _NORMAL, _CHANCE)
        shared = random.random(len(group)) < np.sqrt(self.together)
        luck = np.where(shared, random.random(count)[group], random.random(len(group)))
        return scores, luck < 1 - (1 - scores) ** self.steep, group

    def truth(self) -> ScoreTable:
        """Return the table of a large population."""
        scores, right, _ = self.draw(np.random.default_rng(0), _POPULATION)
        return ScoreTable.of(scores, right)


SERIES = (
    Series(80, 4, together=0.3, alike=0.0, steep=8),
    Series(80, 4, together=0.9, alike=0.5, steep=8),
    Series(150, 8, together=0.6, alike=0.3, steep=8),
    Series(150, 8, together=0.9, alike=0.8, steep=8),
    Series(300, 4, together=0.3, alike=0.0, steep=3),
    Series(300, 4, together=0.6, alike=0.5, steep=3),
    Series(300, 4, together=0.9, alike=0.0, steep=3),
    Series(300, 4, together=0.9, alike=0.8, steep=3),
    Series(1000, 3, together=0.6, alike=0.5, steep=3),
    Series(1000, 1, together=0.0, alike=0.0, steep=3),
)


def simulate(series: Series, target: float, runs: int, *, by_groups: bool) -> tuple[float, float, float]:
    """Return how often what is certified holds, the mean coverage, and how often nothing is certified."""
    population = series.truth()
    held, covered, nothing = 0, 0.0, 0
    for run in range(runs):
        scores, right, group = series.draw(np.random.default_rng([run, 1]))
        found = certified_threshold(ScoreTable.of(scores, right, group if by_groups else None), target)
        precision, coverage = population.at(1.1 if found is None else found)
        held += precision is None or precision >= target
        covered += coverage or 0.0
        nothing += found is None
    return held / runs, covered / runs, nothing / runs


def main() -> None:
    """Run it; see `--help`."""
    parser = argparse.ArgumentParser(description="How often a certified precision holds on series of pictures.")
    parser.add_argument("--runs", type=int, default=200, help="validations drawn for each row")
    parser.add_argument("--target", type=float, nargs="+", default=[0.95, 0.9])
    arguments = parser.parse_args()
    print(
        "| target | groups | mean size | together | alike | best | by pictures: held, coverage | by groups | nothing |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for target in arguments.target:
        for series in SERIES:
            (held, covered, _), (group_held, group_covered, nothing) = (
                simulate(series, target, arguments.runs, by_groups=by_groups) for by_groups in (False, True)
            )
            print(
                f"| {target:g} | {series.groups} | {series.mean:g} | {series.together:g} | {series.alike:g} "
                f"| {series.truth().coverage_at(target):.2f} | {held:.1%}, {covered:.2f} "
                f"| {group_held:.1%}, {group_covered:.2f} | {nothing:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
