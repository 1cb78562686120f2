"""Evaluate a model on labelled pictures that it has not learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from phototag.choices import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.decision import Evidence, Thresholds, decide
from phototag.evaluation.metrics import Label, Metrics, Prediction, measure
from phototag.evaluation.score import Scored, score_labelled
from phototag.evaluation.score_table import ValidationScores
from phototag.evaluation.validation import Labels, Level, Validation
from phototag.model import Model, open_model
from phototag.paths import absolute
from phototag.runtime import choose_target
from phototag.taxonomy import Taxonomy

# Metrics that only make sense of tags as they are stored, after backing off.
_OF_TAGS = (
    "superclass_coverage",
    "subclass_coverage",
    "superclass_precision_given",
    "subclass_precision_given",
    "novel_superclass_rejected",
    "novel_subclass_rejected",
)


def measure_tags(validation: Validation, thresholds: Thresholds) -> Metrics:
    """Measure a model's tags of labelled pictures.

    Accuracies and distances are those of the decoded pair, the best superclass and the best subclass under it, so that
    models with different thresholds compare. Coverage, precision where a label was given and rejection are those of the
    tags that would be stored, after backing off.
    """
    taxonomy, (superclass, subclass) = validation.taxonomy, validation.levels
    pairs = [
        Prediction(
            truth=truth,
            predicted=predicted,
            superclass_score=superclass_score,
            subclass_score=subclass_score,
            top_subclasses=candidates.top,
            heads=candidates.heads,
        )
        for truth, predicted, superclass_score, subclass_score, candidates in zip(
            _names(superclass.truth, subclass.truth, taxonomy),
            _names(superclass.best, subclass.best, taxonomy),
            superclass.scores.tolist(),
            subclass.scores.tolist(),
            read_candidates(validation.evidence, taxonomy),
            strict=True,
        )
    ]
    tags = [
        replace(pair, predicted=(tag.superclass, tag.subclass))
        for pair, tag in zip(pairs, decide(validation.evidence, taxonomy, thresholds), strict=True)
    ]
    stored = measure(tags, taxonomy=taxonomy)
    return replace(measure(pairs, taxonomy=taxonomy), **{name: getattr(stored, name) for name in _OF_TAGS})


def _names(superclasses: Labels, subclasses: Labels, taxonomy: Taxonomy) -> list[Label]:
    """Return the labels of indexes [N] at both levels."""
    return [
        (
            taxonomy.superclasses[superclass] if superclass >= 0 else None,
            taxonomy.subclasses[subclass] if subclass >= 0 else None,
        )
        for superclass, subclass in zip(superclasses.tolist(), subclasses.tolist(), strict=True)
    ]


def evaluate(
    data: str | Path,
    *,
    model: Model | str | Path | None = None,
    device: Device | str = Device.AUTO,
    runtime: RuntimeName | str = RuntimeName.AUTO,
    batch_size: int | None = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> Metrics:
    """Evaluate a model on labelled pictures: a folder superclass/subclass/*, or a CSV.

    A label that is empty in a CSV, or that the model does not know, says that the picture is of none of the model's
    classes at that level.

    Args:
        data: The folder or CSV.
        model: A model, its name or its file; None is the active one.
        device: Where to run it.
        runtime: What to run it with.
        batch_size: Pictures in a batch.
        workers: Threads that decode; None is one a core.

    Raises:
        DataError: the data is not usable, or more than 5 % of its pictures cannot be read.
        ModelError: there is no such model.

    >>> metrics = phototag.evaluate("truth", model="animals")
    >>> metrics.photos, 0 <= metrics.hierarchical_f1 <= 1
    (2, True)
    """
    return examine(data, model=model, device=device, runtime=runtime, batch_size=batch_size, workers=workers).metrics


_TOP = 5


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best subclasses in full, best first, and the best superclass and subclass of each head by itself."""

    top: tuple[str, ...]
    heads: tuple[str, str]


def read_candidates(evidence: Evidence, taxonomy: Taxonomy) -> list[Candidates]:
    """Return the candidates of each photo of the evidence, in order."""
    return [
        Candidates(
            top=tuple(taxonomy.qualified(index) for index in top[:_TOP]),
            heads=(taxonomy.superclasses[head], taxonomy.subclasses[top[0]]),
        )
        for top, head in zip(evidence.top.tolist(), evidence.superclass.argmax(axis=1), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture whose best subclass is wrong: positions of the true and of the predicted class, and its score."""

    path: str
    truth: int
    predicted: int
    score: float


def mistakes_of(scored: Scored) -> tuple[Mistake, ...]:
    """Return the pictures with a true subclass whose best one is wrong, those of the highest score first."""
    level = scored.validation.subclass
    wrong = np.flatnonzero((level.truth >= 0) & ~level.right)
    order = wrong[np.argsort(-level.scores[wrong], kind="stable")].tolist()
    return tuple(
        Mistake(
            path=str(absolute(scored.content.pictures[place].path)),
            truth=int(level.truth[place]),
            predicted=int(level.best[place]),
            score=round(float(level.scores[place]), 5),
        )
        for place in order
    )


@dataclass(frozen=True)
class Evaluation:
    """A model with its metrics on labelled pictures, and the curves over its scores; superclass level first.

    `mistakes` are the pictures whose best subclass is wrong, those of the highest score first; `unknown` are labels of
    the pictures that the model does not know.
    """

    model: Model
    source: Path
    metrics: Metrics
    coverages: Mapping[str, Mapping[str, float]]
    validation: ValidationScores
    levels: tuple[Level, Level]
    mistakes: tuple[Mistake, ...]
    unreadable: int
    unknown: tuple[str, ...]


def examine(
    data: str | Path,
    *,
    model: Model | str | Path | None = None,
    device: Device | str = Device.AUTO,
    runtime: RuntimeName | str = RuntimeName.AUTO,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Evaluate a model on labelled pictures; see `evaluate` for the arguments.

    Raises:
        DataError: the data is not usable, or more than 5 % of its pictures cannot be read.
        ModelError: there is no such model.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    target = choose_target(Device(device), RuntimeName(runtime))
    scored = score_labelled(Path(data), opened, target=target, batch_size=batch_size, workers=workers)
    tables = ValidationScores.of(scored.validation)
    return Evaluation(
        model=opened,
        source=Path(data),
        metrics=measure_tags(scored.validation, opened.header.thresholds),
        coverages=tables.coverages(),
        validation=tables,
        levels=(scored.validation.superclass.labelled, scored.validation.subclass.labelled),
        mistakes=mistakes_of(scored),
        unreadable=len(scored.content.unreadable),
        unknown=scored.unknown,
    )
