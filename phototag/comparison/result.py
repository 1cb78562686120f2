"""What several trainings of several backbones come to, and which differences between them are real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation import (
    ALPHA,
    PRECISIONS,
    Mistake,
    ScoreTable,
    auroc,
    bootstrap_difference,
    bootstrap_mean,
    discordant,
    holm,
    mcnemar,
    risk_coverage,
)
from phototag.records import LEVELS
from phototag.text import Column, numbers, percent, table

_NAME_WIDTH = 26


@dataclass(frozen=True, slots=True)
class Run:
    """One trained model evaluated on N known and M novel test pictures.

    `superclasses` and `subclasses` name the classes, the latter in full. `truth`, `predicted` and `scores` hold a row
    [N] for each level, superclass first: positions of the classes, and the probability of the predicted one. `novelty`
    holds that of the known [N] and of the novel pictures [M]; `novel_rejected` is the share of the novel ones that got
    no subclass. `seconds` is the time of the training. `mistakes` are as in an `Evaluation`, none in files of earlier
    versions.
    """

    backbone: str
    full_name: str
    seed: int
    superclasses: tuple[str, ...]
    subclasses: tuple[str, ...]
    truth: tuple[tuple[int, ...], ...]
    predicted: tuple[tuple[int, ...], ...]
    scores: tuple[tuple[float, ...], ...]
    novelty: tuple[tuple[float, ...], tuple[float, ...]]
    novel_rejected: float | None
    metrics: Mapping[str, float | None]
    calibration: Mapping[str, Any] | None
    curves: tuple[Mapping[str, float], ...]
    seconds: float
    size: int
    tune: str
    weights: str
    device: str
    versions: Mapping[str, str]
    digest: str
    unreadable: int
    mistakes: tuple[Mistake, ...] = ()

    def right(self, level: int) -> NDArray[np.bool_]:
        """Return whether the label of that level is right [N]."""
        right: NDArray[np.bool_] = np.array(self.predicted[level]) == np.array(self.truth[level])
        return right

    def values(self, level: int) -> NDArray[np.float64]:
        """Return the scores of that level [N]."""
        return np.array(self.scores[level], dtype=np.float64)

    def novelties(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the novelty of the known pictures [N] and of the novel ones [M]."""
        known, novel = (np.array(part, dtype=np.float64) for part in self.novelty)
        return known, novel

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Invert `to_json`; KeyError, TypeError or ValueError if the value is no run."""
        known, novel = value["novelty"]
        rows = {name: tuple(tuple(row) for row in value[name]) for name in ("truth", "predicted", "scores")}
        lengths = {len(row) for part in rows.values() for row in part}
        if len(lengths) != 1 or any(len(part) != len(LEVELS) for part in rows.values()):
            raise ValueError("the rows are not of one length")
        plain = {name: tuple(value[name]) for name in ("superclasses", "subclasses", "curves")}
        mistakes = tuple(Mistake(**each) for each in value.get("mistakes", ()))
        novelty = tuple(known), tuple(novel)
        return cls(**{**value, **rows, **plain, "novelty": novelty, "mistakes": mistakes})


@dataclass(frozen=True)
class Contender:
    """A backbone with its runs."""

    name: str
    runs: tuple[Run, ...]

    def right(self, level: int) -> NDArray[np.bool_]:
        """Return whether each run [R] labels each picture right: [R, N]."""
        return np.stack([run.right(level) for run in self.runs])

    def accuracy(self, level: int) -> dict[str, Any]:
        """Return the mean over runs with its 95 % interval over pictures and runs, and each run's own."""
        return self._accuracies[level]

    @cached_property
    def _accuracies(self) -> list[dict[str, Any]]:
        found = []
        for level in range(len(LEVELS)):
            right = self.right(level)
            low, high = bootstrap_mean(right)
            each = [float(share) for share in right.mean(axis=1)]
            found.append({"mean": float(right.mean()), "low": low, "high": high, "per_seed": each})
        return found

    def spread(self, of: Callable[[Run], float | None]) -> dict[str, float] | None:
        """Return the mean, least and most of a number of each run; None if one of them is unknown."""
        values = [of(run) for run in self.runs]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return {"mean": float(np.mean(known)), "min": min(known), "max": max(known)}

    def metric(self, name: str) -> dict[str, float] | None:
        """Return the `spread` of one of the metrics."""
        return self.spread(lambda run: run.metrics.get(name))

    def validation_error(self, level: str, when: str) -> dict[str, float] | None:
        """Return the `spread` of the calibration error on the validation pictures, "before" or "after" calibrating."""

        def error(run: Run) -> float | None:
            found = ((run.calibration or {}).get(level) or {}).get(f"ece_{when}")
            return None if found is None else float(found)

        return self.spread(error)

    def coverage_at(self, level: int, precision: float) -> float:
        """Return the share of pictures that can keep their label at this precision, on average over the runs."""
        tables = (ScoreTable.of(run.values(level), run.right(level)) for run in self.runs)
        return float(np.mean([table.coverage_at(precision) for table in tables]))

    def area(self, level: int) -> dict[str, float] | None:
        """Return the `spread` of the mean risk over all coverages."""
        return self.spread(lambda run: risk_coverage(run.values(level), run.right(level)).area)

    def to_json(self) -> dict[str, Any]:
        """Return all figures of the backbone as plain values for JSON."""
        first = self.runs[0]
        return {
            "backbone": self.name,
            "full_name": first.full_name,
            "weights": first.weights,
            "tune": first.tune,
            "img_size": first.size,
            "device": first.device,
            **{f"{level}_accuracy": self.accuracy(place) for place, level in enumerate(LEVELS)},
            "metrics": {name: self.metric(name) for name in first.metrics},
            "novelty": {
                "auroc": self.spread(lambda run: auroc(*run.novelties())),
                "rejected": self.spread(lambda run: run.novel_rejected),
            },
            "risk_coverage": {
                level: {
                    "area": self.area(place),
                    "coverage_at_precision": {f"{at:g}": self.coverage_at(place, at) for at in PRECISIONS},
                }
                for place, level in enumerate(LEVELS)
            },
            "training_seconds": self.spread(lambda run: run.seconds),
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Two backbones at one level. `corrected` p-values are those after Holm, over the pairs of the level."""

    first: str
    second: str
    level: str
    runs: int
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    only_first: int
    only_second: int
    mcnemar: float
    mcnemar_corrected: float
    pairs: int

    @property
    def real(self) -> bool:
        """Whether both tests call the difference real."""
        away = self.low > 0 or self.high < 0
        return away and self.p_corrected < ALPHA and self.mcnemar_corrected < ALPHA

    @property
    def statement(self) -> str:
        """The result as a sentence."""
        first, second, low, high = self.first, self.second, self.low, self.high
        if self.difference < 0:
            first, second, low, high = second, first, -high, -low
        level, points = self.level.capitalize(), f"{abs(self.difference) * 100:.1f}"
        interval = f"95 % interval {low * 100:.1f} to {high * 100:.1f}".replace("-", "−")
        if self.real:
            hedge = (
                ""
                if self.runs > 1
                else " That is of these two models: with one seed each, another training may differ."
            )
            return f"{level}: {first} is better than {second} by {points} points, {interval}.{hedge}"
        shown = f"no difference between {first} and {second} can be shown"
        why = ""
        if low > 0 or high < 0:
            # The interval alone would say otherwise.
            corrected = f" once corrected for {self.pairs} pairs" if self.pairs > 1 else ""
            why = f"; McNemar’s test on the pictures says p = {self.mcnemar_corrected:.2f}{corrected}"
            if self.p_corrected >= ALPHA:
                why = f"; for {self.pairs} pairs of backbones that is too little"
        return f"{level}: {shown} ({points} points for {first}, {interval}{why})."

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {**asdict(self), "real": self.real, "statement": self.statement}


@dataclass(frozen=True)
class Comparison:
    """All runs of all backbones over the same pictures, what the backbones cost, and how it was done.

    `parts` counts the training, test and novel pictures; `costs` are those of `complexity.Cost` by backbone, empty
    where not measured.
    """

    source: str
    runs: tuple[Run, ...]
    costs: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, int]
    novel_subclasses: tuple[str, ...]
    configuration: Mapping[str, Any]
    machine: str
    folder: str

    @cached_property
    def contenders(self) -> tuple[Contender, ...]:
        """The backbones in the order they were named."""
        names = dict.fromkeys(run.backbone for run in self.runs)
        return tuple(Contender(name, tuple(run for run in self.runs if run.backbone == name)) for name in names)

    @property
    def seeds(self) -> int:
        """Runs of each backbone."""
        return len(self.contenders[0].runs)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair of backbones at both levels, subclasses first: they tell more."""
        return tuple(pair for level in (1, 0) for pair in self._pairs(level))

    def _pairs(self, level: int) -> list[Pair]:
        couples = list(combinations(self.contenders, 2))
        rights = [(first.right(level), second.right(level)) for first, second in couples]
        differences = [bootstrap_difference(*right) for right in rights]
        counts = [discordant(*right) for right in rights]
        exact = [mcnemar(*count) for count in counts]
        corrected = holm([difference.p for difference in differences])
        return [
            Pair(
                first=first.name,
                second=second.name,
                level=LEVELS[level],
                runs=self.seeds,
                difference=difference.value,
                low=difference.low,
                high=difference.high,
                p=difference.p,
                p_corrected=p_corrected,
                only_first=only[0],
                only_second=only[1],
                mcnemar=p_exact,
                mcnemar_corrected=exact_corrected,
                pairs=len(couples),
            )
            for (first, second), difference, p_corrected, only, p_exact, exact_corrected in zip(
                couples, differences, corrected, counts, exact, holm(exact), strict=True
            )
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all figures, without those of single pictures, as plain values for JSON."""
        return {
            "data": self.source,
            "pictures": dict(self.parts),
            "unreadable_test_pictures": self.runs[0].unreadable,
            "novel_subclasses": list(self.novel_subclasses),
            "seeds": self.seeds,
            "configuration": dict(self.configuration),
            "machine": self.machine,
            "versions": dict(self.runs[0].versions),
            "backbones": [{**each.to_json(), "cost": self.costs.get(each.name)} for each in self.contenders],
            "pairs": [pair.to_json() for pair in self.pairs],
        }

    def table(self) -> str:
        """Return the main figures for a terminal, one line a backbone, and a sentence for each pair."""
        names = ("superclass", "subclass", "hier. F1", "ECE", "AUROC novel", "pictures/s", "training")
        columns = [Column("mean over seeds", _NAME_WIDTH, most=_NAME_WIDTH), *numbers(*names)]
        rows = []
        for each in self.contenders:
            cost, figures = self.costs.get(each.name), each.to_json()
            cells = [
                each.name,
                *(_mean_percent(figures[f"{level}_accuracy"]) for level in LEVELS),
                _mean_percent(figures["metrics"]["hierarchical_f1"]),
                _mean_percent(figures["metrics"]["subclass_ece"]),
                "-" if figures["novelty"]["auroc"] is None else f"{figures['novelty']['auroc']['mean']:.3f}",
                "-" if cost is None else f"{cost['pictures_per_second']:.0f}",
                f"{figures['training_seconds']['mean']:.0f} s",
            ]
            rows.append(cells)
        return "\n".join([*table(columns, rows), "", *(pair.statement for pair in self.pairs)])


def _mean_percent(found: Mapping[str, float] | None) -> str:
    return percent(None if found is None else found["mean"])


def most_confused(runs: Sequence[Run], *, count: int) -> list[tuple[str, str, int, int]]:
    """Return the subclasses most often confused: truth, label, how often over all runs, and pictures of the truth."""
    wrong: dict[tuple[int, int], int] = {}
    for run in runs:
        for truth, found in zip(run.truth[1], run.predicted[1], strict=True):
            if truth != found:
                wrong[truth, found] = wrong.get((truth, found), 0) + 1
    names, of = runs[0].subclasses, np.bincount(runs[0].truth[1], minlength=len(runs[0].subclasses)) * len(runs)
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:count]
    return [(names[truth], names[found], number, int(of[truth])) for (truth, found), number in ordered]


def confusion(runs: Sequence[Run], level: int) -> NDArray[np.int64]:
    """Return counts [truth, label] of a level over all runs."""
    size = len(runs[0].superclasses if level == 0 else runs[0].subclasses)
    counts = np.zeros((size, size), dtype=np.int64)
    for run in runs:
        np.add.at(counts, (np.array(run.truth[level]), np.array(run.predicted[level])), 1)
    return counts
