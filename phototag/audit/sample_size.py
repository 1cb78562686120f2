"""How many more photos have to be reviewed until estimates are as precise as wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phototag.audit.accuracy import Row
from phototag.audit.estimation import Estimate
from phototag.audit.sampling import allocate, allocation_weights
from phototag.choices import Allocation
from phototag.evaluation import finite_size, needed_size
from phototag.store import Sample

_DESIGN_EFFECTS = (0.25, 4.0)


@dataclass(frozen=True, slots=True)
class Need:
    """How far an estimate is from the wanted half-width.

    `needed` reviews in all, `more` of them beyond those there are; among photos with such a tag, so that in a simple
    sample of everything it takes as many times more as such tags are rare.
    """

    name: str
    level: str
    population: int | None
    reviewed: int
    half_width: float | None
    needed: int
    more: int

    @property
    def reached(self) -> bool:
        """Return whether the estimate is as precise as wanted."""
        return self.more == 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes until estimates have the wanted half-width.

    `whole` are the needs of the estimates for the whole library, `parts` those of its classes, strata or folders.
    `allocation` says how many further photos each stratum of the newest sample would give, so that the whole is known
    as wanted.
    """

    half_width: float
    whole: tuple[Need, ...]
    parts: tuple[Need, ...]
    allocation: tuple[tuple[str, int], ...]

    @property
    def more(self) -> int:
        """Return how many photos to sample for the whole, beyond those that wait for a review."""
        return sum(number for _, number in self.allocation)

    @property
    def reached(self) -> bool:
        """Return whether nothing more is needed, for the whole."""
        return all(need.reached for need in self.whole)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "half_width": self.half_width,
            "reached": self.reached,
            "more": self.more,
            "whole": [{**asdict(need), "reached": need.reached} for need in self.whole],
            "parts": [{**asdict(need), "reached": need.reached} for need in self.parts],
            "allocation": [{"stratum": name, "more": number} for name, number in self.allocation],
        }


def need_of(
    name: str, level: str, estimate: Estimate, wanted: float, *, population: int | None, promised: float | None = None
) -> Need:
    """Return what an estimate needs: Wilson's interval at the present share, for a sample of a finite population.

    One right and one wrong photo are added to the share, as it is known from few. The design tells as much more or less
    than a simple sample as it does now. Without any review the share is taken to be the one `promised` by the scores.
    """
    share = 0.9 if promised is None else min(max(promised, 0.5), 0.98)
    effect = 1.0
    size = math.inf if population is None else float(population)
    if estimate.value is not None and estimate.effective is not None:
        equal = min(finite_size(estimate.reviewed, size), 1e9) if population else float(estimate.reviewed)
        if math.isfinite(estimate.effective) and estimate.effective > 0:
            effect = min(max(equal / estimate.effective, _DESIGN_EFFECTS[0]), _DESIGN_EFFECTS[1])
        share = (estimate.value * estimate.reviewed + 1) / (estimate.reviewed + 2)
    needed = math.ceil(needed_size(share, wanted, population=size) * effect)
    if population is not None:
        needed = min(needed, population)
    width = estimate.half_width
    if width is not None and width <= wanted + 1e-9:
        return Need(name, level, population, estimate.reviewed, width, min(needed, estimate.reviewed), 0)
    # The interval is wider than wanted, so at least one more is needed, unless there are no more.
    most = math.inf if population is None else population - estimate.reviewed
    more = int(min(max(1, needed - estimate.reviewed), most))
    return Need(name, level, population, estimate.reviewed, width, estimate.reviewed + more, more)


def plan(
    metrics: Mapping[str, Estimate],
    rows: Sequence[Row],
    wanted: float,
    *,
    sample: Sample,
    done: tuple[int, int],
    population: Mapping[str, int] | None,
    levels: Sequence[str] = ("superclass", "subclass"),
) -> Plan:
    """Return the plan for a wanted half-width, from estimates of the whole and of its parts.

    Args:
        metrics: The estimates of the whole, by name.
        rows: Those of its parts.
        wanted: The half-width, as a share: 0.03 is 3 points up and down.
        sample: The newest sample, whose design goes on.
        done: How many photos of all samples were reviewed, and how many wait for a review.
        population: Photos of the library with a label, by level.
        levels: The levels that the parts are to be known at.
    """
    whole = [
        need_of(
            "all",
            level,
            metrics[f"{level}_precision_given"],
            wanted,
            population=None if population is None else population[level],
        )
        for level in ("superclass", "subclass")
    ]
    parts = [
        need_of(row.name, level, getattr(row, level), wanted, population=row.population)
        for row in rows
        for level in levels
    ]
    more = 0
    for need in whole:
        # Of the sampled photos not all have a label at the level.
        rate = need.reviewed / max(done[0], 1)
        more = max(more, math.ceil(need.more / rate) if rate else need.more)
    return Plan(wanted, tuple(whole), tuple(parts), _allocation(sample, max(0, more - done[1])))


def _allocation(sample: Sample, further: int) -> tuple[tuple[str, int], ...]:
    """Return how the strata share `further` photos."""
    population = np.array([each.population for each in sample.strata], dtype=np.int64)
    drawn = np.array([each.drawn for each in sample.strata], dtype=np.int64)
    names = [each.name for each in sample.strata]
    if not further:
        return tuple((name, 0) for name in names)
    known = dict(sample.parameters.get("errors") or {})
    errors = np.array([float(known.get(name, 0.1)) for name in names])
    allocation = Allocation(sample.parameters.get("allocation") or Allocation.PROPORTIONAL)
    weights = allocation_weights(population, errors, allocation)
    total = allocate(weights, population, int(drawn.sum()) + further, least=drawn)
    return tuple(zip(names, (total - drawn).tolist(), strict=True))
