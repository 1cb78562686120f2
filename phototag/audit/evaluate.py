"""Judge a model on labelled pictures that it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from phototag.audit.candidates import read_candidates
from phototag.audit.metrics import Judged, Metrics, measure
from phototag.decision import Evidence, Thresholds, decide, gather
from phototag.inference.names import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.learning.dataset import LabelledPicture
from phototag.learning.registry import Model, open_model
from phototag.learning.scoring import score_labelled
from phototag.novelty import NoveltyModel
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
