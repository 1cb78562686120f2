"""Judge a model on labelled pictures that it has not learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.choices import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.dataset import LabelledPicture
from phototag.decision import Evidence, NoveltyModel, Thresholds, decide, gather
from phototag.evaluation.intervals import wilson
from phototag.evaluation.label_index import best_scores, label_indexes
from phototag.evaluation.metrics import Judged, Metrics, measure
from phototag.evaluation.score import score_labelled
from phototag.evaluation.score_table import ValidationScores
from phototag.model import Model, open_model
from phototag.records import Scores
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


def judge_scores(
    pictures: Sequence[LabelledPicture],
    scores: Scores,
    taxonomy: Taxonomy,
    thresholds: Thresholds,
    novelty: NoveltyModel | None = None,
) -> Metrics:
    """Metrics of a model's scores for labelled pictures; `novelty` is the model's, if it has one.

    Accuracies and distances are those of the decoded pair, the best superclass and the best subclass under it, so that
    models with different thresholds compare. Coverage, precision where a label was given and rejection are those of the
    tags that would be stored, after backing off.
    """
    evidence = gather(scores, taxonomy, novelty)
    # With thresholds of zero nothing backs off: the tag is the decoded pair.
    pairs = measure(_judged(pictures, evidence, taxonomy, Thresholds(0.0, 0.0)), taxonomy=taxonomy)
    tags = measure(_judged(pictures, evidence, taxonomy, thresholds), taxonomy=taxonomy)
    return replace(pairs, **{name: getattr(tags, name) for name in _OF_TAGS})


def _judged(
    pictures: Sequence[LabelledPicture], evidence: Evidence, taxonomy: Taxonomy, thresholds: Thresholds
) -> list[Judged]:
    tags = decide(evidence, taxonomy, thresholds)
    return [
        Judged(
            truth=(picture.superclass, picture.subclass),
            predicted=(tag.superclass, tag.subclass),
            superclass_score=tag.superclass_score,
            subclass_score=tag.subclass_score,
            top_subclasses=candidates.top,
            heads=candidates.heads,
        )
        for picture, tag, candidates in zip(pictures, tags, read_candidates(evidence, taxonomy), strict=True)
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
    """Judge a model on labelled pictures: a folder superclass/subclass/*, or a CSV.

    An empty subclass or superclass in a CSV says that the picture is of none of the model's classes at that level.

    Args:
        data: The folder or CSV.
        model: A model, its name or its file; None is the active one.
        device: Where to run it.
        runtime: What to run it with.
        batch_size: Pictures in a batch.
        workers: Threads that decode; None is one a core.

    Raises:
        DataError: the data is not usable, holds labels that the model does not know, or more than 5 % of its pictures
            cannot be read.
        ModelError: there is no such model.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    header = opened.header
    scored = score_labelled(
        Path(data),
        opened,
        device=Device(device),
        runtime=RuntimeName(runtime),
        batch_size=batch_size,
        workers=workers,
    )
    return judge_scores(scored.content.pictures, scored.scores, header.taxonomy, header.thresholds, opened.novelty)


_TOP = 5


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best subclasses in full, best first, and the best superclass and subclass of each head by itself."""

    top: tuple[str, ...]
    heads: tuple[str, str]


def read_candidates(evidence: Evidence, taxonomy: Taxonomy) -> list[Candidates]:
    """The candidates of each photo of the evidence, in order."""
    return [
        Candidates(
            top=tuple(taxonomy.qualified(index) for index in top[:_TOP]),
            heads=(taxonomy.superclasses[head], taxonomy.subclasses[top[0]]),
        )
        for top, head in zip(evidence.top.tolist(), evidence.superclass.argmax(axis=1), strict=True)
    ]


@dataclass(frozen=True)
class Level:
    """The pictures with a true label at one level: scores [N] of the labels given, and whether they are right [N]."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson)."""
        return wilson(int(self.right.sum()), len(self.right))


@dataclass(frozen=True)
class Evaluation:
    """A model with its metrics on labelled pictures, and the curves over its scores; superclass level first."""

    model: Model
    source: Path
    metrics: Metrics
    coverages: Mapping[str, Mapping[str, float]]
    validation: ValidationScores
    levels: tuple[Level, Level]
    unreadable: int


def examine(
    data: str | Path,
    *,
    model: Model | str | Path | None = None,
    device: Device = Device.AUTO,
    runtime: RuntimeName = RuntimeName.AUTO,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Judge a model on labelled pictures; see `evaluate.evaluate` for the arguments.

    Raises:
        DataError: the data is not usable, holds labels that the model does not know, or more than 5 % of its pictures
            cannot be read.
        ModelError: there is no such model.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    header, taxonomy = opened.header, opened.header.taxonomy
    scored = score_labelled(Path(data), opened, device=device, runtime=runtime, batch_size=batch_size, workers=workers)
    pictures = scored.content.pictures
    tables = ValidationScores.of(pictures, scored.scores, taxonomy)
    superclass, subclass = (
        Level(values[truth >= 0], chosen[truth >= 0] == truth[truth >= 0])
        for (chosen, values), truth in zip(
            best_scores(scored.scores, taxonomy), label_indexes(pictures, taxonomy), strict=True
        )
    )
    return Evaluation(
        model=opened,
        source=Path(data),
        metrics=judge_scores(pictures, scored.scores, taxonomy, header.thresholds, opened.novelty),
        coverages=tables.coverages(),
        validation=tables,
        levels=(superclass, subclass),
        unreadable=len(scored.content.unreadable),
    )
