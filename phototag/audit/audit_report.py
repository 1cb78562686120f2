"""What reviewed samples say of a library: estimates with their intervals, what more reviews would bring, and drift."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phototag.audit.accuracy import Accuracy, Row
from phototag.audit.confusion import Confusion, confusion
from phototag.audit.estimation import Estimate
from phototag.audit.library_drift import LibraryDrift, library_drift
from phototag.audit.overconfidence import ScoreTest, score_test
from phototag.audit.reviewed import ReviewedSample, read_reviewed_samples, usable_samples
from phototag.audit.sample_size import Plan, plan
from phototag.audit.sampling import Scope
from phototag.audit.score_curves import ScoreCurves, score_curves
from phototag.choices import By
from phototag.errors import UsageError
from phototag.evaluation import FEWEST_REVIEWS, parse_gates
from phototag.paths import PhotoPath
from phototag.records import LEVELS
from phototag.store import Sample, Store
from phototag.text import percent, percent_range

ESTIMATED = (
    "superclass_precision_given",
    "subclass_precision_given",
    "superclass_accuracy",
    "subclass_accuracy",
    "hierarchical_precision",
    "hierarchical_recall",
    "hierarchical_f1",
    "novel_superclass_rejected",
    "novel_subclass_rejected",
)
"""The metrics that can be gates of a report from samples."""

BOUNDS_NOTE = "The bounds say how far intervals could reach if all skipped photos were tagged wrong, or right."
"""The note for where the `bounds` of a report are shown."""

_ROUNDING = 1e-12
_USUALLY_RIGHT = 0.9


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Groups of photos that belong together among the reviewed ones: how many, and the photos of the `largest`.

    `in_series` photos share their group with another reviewed one, and `parts` of groups were sampled, 0 where photos
    were sampled one by one. By level: how many times the variance of the share of right tags is that of as many photos
    of different groups (`design_effect`), and that share for photos still to come (`new_photos`), by groups.
    """

    count: int
    parts: int
    in_series: int
    largest: int
    design_effect: Mapping[str, float | None]
    new_photos: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "count": self.count,
            "parts": self.parts,
            "in_series": self.in_series,
            "largest": self.largest,
            "design_effect": {
                level: None if effect is None else round(effect, 3) for level, effect in self.design_effect.items()
            },
            "new_photos": {level: estimate.to_json() for level, estimate in self.new_photos.items()},
        }


@dataclass(frozen=True)
class AuditReport:
    """What samples say of a library.

    `samples` were used, the newest first; of the photos `drawn` some were `reviewed` or `skipped`, have `changed` since
    or are `pending`. `population` counts the photos sampled from, and those with a label at each level; None where only
    a folder is judged. `promised` are the mean scores of all these labels, `bounds` what the skipped photos could make
    of the intervals. `score_tests`, `curves` and `confusions` are by level; `groups` are those of the reviewed photos.
    """

    samples: tuple[Sample, ...]
    drawn: int
    reviewed: int
    skipped: int
    changed: int
    pending: int
    population: Mapping[str, int] | None
    metrics: Mapping[str, Estimate]
    promised: Mapping[str, float | None]
    bounds: Mapping[str, tuple[float, float] | None]
    by: By
    rows: tuple[Row, ...]
    predictions: bool
    plan: Plan | None
    drift: LibraryDrift | None
    score_tests: Mapping[str, ScoreTest]
    curves: Mapping[str, ScoreCurves]
    confusions: Mapping[str, Confusion]
    groups: GroupFigures
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "samples": [sample.name for sample in self.samples],
            "drawn": self.drawn,
            "reviewed": self.reviewed,
            "skipped": self.skipped,
            "changed": self.changed,
            "pending": self.pending,
            "population": None if self.population is None else dict(self.population),
            "predictions": self.predictions,
            **{name: estimate.to_json() for name, estimate in self.metrics.items()},
            "promised": dict(self.promised),
            "bounds": {level: None if ends is None else list(ends) for level, ends in self.bounds.items()},
            "by": self.by.value,
            "rows": [row.to_json() for row in self.rows],
            "plan": None if self.plan is None else self.plan.to_json(),
            "drift": None if self.drift is None else self.drift.to_json(),
            "score_tests": {level: test.to_json() for level, test in self.score_tests.items()},
            "curves": {level: curves.to_json() for level, curves in self.curves.items()},
            "confusions": {level: found.to_json() for level, found in self.confusions.items()},
            "groups": self.groups.to_json(),
            "notes": list(self.notes),
        }

    def json_text(self) -> str:
        """Return one line of JSON, all of it ASCII."""
        return json.dumps(self.to_json(), allow_nan=False)


def make_report(
    store: Store,
    *,
    sample: str | None = None,
    under: PhotoPath | None = None,
    by: By = By.SUPERCLASS,
    predictions: bool = False,
    half_width: float | None = None,
) -> AuditReport:
    """Make the report on a library from its reviewed samples.

    Args:
        store: The database.
        sample: The sample to use; None takes the newest, and those that may be taken together with it.
        under: Judge only photos at or under this path.
        by: What the rows are.
        predictions: Let the scores of all photos make the intervals narrower (prediction-powered inference).
        half_width: Plan for this half-width; None plans nothing.

    Raises:
        UsageError: no sample fits, or nothing was reviewed.
        StoreError: the database cannot be read.
    """
    used, notes = usable_samples(store, sample)
    samples = read_reviewed_samples(store, used)
    accuracy = Accuracy(samples, under=under, predictions=predictions)
    metrics, rows, population = accuracy.metrics(), _rows(accuracy, by), accuracy.population()
    report = AuditReport(
        samples=tuple(used),
        drawn=sum(each.size for each in used),
        reviewed=accuracy.reviewed,
        skipped=sum(photo.truth is None for each in samples for photo in each.photos),
        changed=sum(each.changed for each in samples),
        pending=sum(each.pending for each in samples),
        population=population,
        metrics=metrics,
        promised={
            level: None if under is not None else _promised(samples[0], place) for place, level in enumerate(LEVELS)
        },
        bounds={level: accuracy.bounds(level) for level in LEVELS},
        by=by,
        rows=tuple(rows),
        predictions=predictions,
        plan=None if half_width is None else _plan(metrics, rows, half_width, used, population, by),
        drift=_drift(store, used[0], under),
        score_tests={level: score_test(accuracy, level) for level in LEVELS},
        curves={level: score_curves(accuracy, level) for level in LEVELS},
        confusions={level: confusion(accuracy, level) for level in LEVELS},
        groups=_groups(accuracy, samples),
        notes=(),
    )
    return replace(report, notes=(*notes, *_notes(report, under=under)))


def _plan(
    metrics: Mapping[str, Estimate],
    rows: Sequence[Row],
    half_width: float,
    used: Sequence[Sample],
    population: Mapping[str, int] | None,
    by: By,
) -> Plan:
    reviewed, pending = (sum(getattr(each, name) for each in used) for name in ("reviewed", "pending"))
    return plan(
        metrics,
        rows,
        half_width,
        sample=used[0],
        done=(reviewed, pending),
        population=population,
        levels=(by.value,) if by in (By.SUPERCLASS, By.SUBCLASS) else LEVELS,
    )


def _rows(accuracy: Accuracy, by: By) -> list[Row]:
    if by is By.STRATUM:
        return accuracy.strata()
    return accuracy.folders() if by is By.FOLDER else accuracy.classes(by.value)


def _drift(store: Store, newest: Sample, under: PhotoPath | None) -> LibraryDrift | None:
    described = newest.parameters.get("scope")
    scope = Scope() if described is None else Scope.from_json(described)
    return library_drift(store, Scope(under or scope.under, scope.model, scope.superclass))


def _promised(sample: ReviewedSample, place: int) -> float | None:
    cells = [cell for cell in sample.cells if (cell.superclass, cell.subclass)[place] is not None]
    photos = sum(cell.photos for cell in cells)
    return round(sum(cell.scores[place] for cell in cells) / photos, 6) if photos else None


def _groups(accuracy: Accuracy, samples: Sequence[ReviewedSample]) -> GroupFigures:
    sizes = accuracy.group_sizes()
    found = {level: accuracy.by_groups(level) for level in LEVELS}
    return GroupFigures(
        count=len(sizes),
        parts=sum(len({photo.part for photo in each.reviewed}) for each in samples if each.parts is not None),
        in_series=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max(initial=0)),
        design_effect={level: effect for level, (effect, _) in found.items()},
        new_photos={level: estimate for level, (_, estimate) in found.items()},
    )


def _groups_notes(groups: GroupFigures, reviewed: int) -> list[str]:
    if not groups.in_series:
        return []
    notes = [
        f"{groups.in_series:,} of the {reviewed:,} reviewed photos lie in series with others: {groups.count:,} groups, "
        f"the largest {groups.largest:,}. "
        + (
            "They were sampled together, and intervals count parts of groups, not photos."
            if groups.parts
            else "Intervals are right for this library all the same, as each photo was sampled by itself."
        )
    ]
    shares = [
        f"{level} {percent(one.value)} ({percent_range(one.low, one.high)})"
        for level, one in groups.new_photos.items()
        if one.value is not None and one.low is not None and one.high is not None
    ]
    if shares:
        notes.append(f"For photos still to come, of other series like these, groups count: {', '.join(shares)} right.")
    return notes


def _notes(report: AuditReport, *, under: PhotoPath | None) -> list[str]:
    notes = []
    if len(report.samples) > 1:
        notes.append(f"Samples taken together: {', '.join(each.name for each in report.samples)}.")
    if report.skipped:
        were, others = ("photo was", "it") if report.skipped == 1 else ("photos were", "them")
        notes.append(
            f"{report.skipped:,} {were} skipped; estimates take {others} to be like the others of the same stratum."
        )
        if any(ends is not None for ends in report.bounds.values()):
            notes.append(BOUNDS_NOTE)
    if report.changed:
        have = "photo has changed since, and is" if report.changed == 1 else "photos have changed since, and are"
        notes.append(f"{report.changed:,} sampled {have} left out.")
    if report.pending:
        wait = "sampled photo waits" if report.pending == 1 else "sampled photos wait"
        notes.append(f"{report.pending:,} {wait} for a review: phototag audit review {report.samples[0].name}")
    if report.predictions:
        how = (
            "are not used, as they are not known for all photos below a folder alone"
            if under is not None
            else ("serve as predictions (prediction-powered inference); estimates stay right even where scores are not")
        )
        notes.append(f"Scores {how}.")
    if report.drift is not None and report.samples[0].model_id is not None and report.drift.photos:
        notes += _other_model(report.samples[0], report.drift)
    notes += [test.statement for test in report.score_tests.values()]
    return notes + _groups_notes(report.groups, report.reviewed)


def _other_model(newest: Sample, drift: LibraryDrift) -> list[str]:
    reviewed = newest.parameters.get("model")
    if reviewed is None or reviewed == drift.model:
        return []
    return [f"The sample has tags of model {reviewed}; most photos now have tags of {drift.model}: take a new one."]


# ---- gates


def read_gates(texts: Sequence[str]) -> dict[str, float]:
    """Return gates by metric, as `evaluation.parse_gates` reads them.

    Raises:
        UsageError: a gate cannot be read, or its metric cannot be estimated from samples.
    """
    gates = parse_gates(texts)
    for name in gates:
        if name not in ESTIMATED:
            raise UsageError(f"{name} is not estimated from samples; these can be gates: {', '.join(ESTIMATED)}")
    return gates


def worth_fitting(report: AuditReport) -> bool:
    """Return whether thresholds fitted to the library would help: enough reviews, and too many wrong subclasses."""
    right = report.metrics["subclass_precision_given"].value
    return report.samples[0].reviewed >= FEWEST_REVIEWS and right is not None and right < _USUALLY_RIGHT


def missed_gates(report: AuditReport, gates: Mapping[str, float]) -> list[str]:
    """Return a sentence for each gate that is missed: where the lower end of the interval is below it.

    So a gate that is met was shown to be met, but for one time in 40; an estimate alone would meet a gate by luck every
    other time.
    """
    lines = []
    for name, gate in gates.items():
        estimate, wanted = report.metrics[name], f"the gate of {percent(gate, None)}"
        if estimate.value is None or estimate.low is None or estimate.high is None:
            lines.append(f"{name} cannot be known, as no reviewed photo tells, so {wanted} is missed")
        elif estimate.low < gate - _ROUNDING:
            reach = " More reviews may show that it is met." if estimate.value >= gate else ""
            lines.append(
                f"{name} is {percent(estimate.value)}, but may be as low as {percent(estimate.low)}, below {wanted}."
                f"{reach}"
            )
    return lines
