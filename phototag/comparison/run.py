"""What one trained model says of the test pictures of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Device
from phototag.comparison.result import Run
from phototag.decision import decide, gather
from phototag.evaluation import best_scores, judge_scores, label_indexes, score_labelled
from phototag.model import Model
from phototag.records import Scores

_DIGITS = 5


def judge_run(model: Model, test: Path, *, backbone: str, seed: int, device: Device, workers: int | None) -> Run:
    """Judge a model on the pictures of a CSV; those without a subclass are the novel ones.

    Raises:
        DataError: more than 5 % of the pictures cannot be read.
    """
    header = model.header
    taxonomy = header.taxonomy
    scored = score_labelled(test, model, device=device, workers=workers, what=f"judging {backbone}")
    pictures = scored.content.pictures
    labels = label_indexes(pictures, taxonomy)
    known = labels[1] >= 0
    chosen = [picture for picture, one in zip(pictures, known.tolist(), strict=True) if one]
    metrics = judge_scores(chosen, _rows(scored.scores, known), taxonomy, header.thresholds, model.novelty)
    tags = decide(gather(scored.scores, taxonomy, model.novelty), taxonomy, header.thresholds)
    novelty = np.array([tag.novelty for tag in tags])
    named = np.array([tag.subclass is not None for tag in tags])
    record = header.record
    levels = [
        (found[known], values[known], truth[known])
        for (found, values), truth in zip(best_scores(scored.scores, taxonomy), labels, strict=True)
    ]
    return Run(
        backbone=backbone,
        full_name=header.backbone,
        seed=seed,
        superclasses=taxonomy.superclasses,
        subclasses=tuple(taxonomy.qualified(index) for index in range(len(taxonomy.subclasses))),
        truth=tuple(tuple(truth.tolist()) for _, _, truth in levels),
        predicted=tuple(tuple(found.tolist()) for found, _, _ in levels),
        scores=tuple(_rounded(values) for _, values, _ in levels),
        novelty=(_rounded(novelty[known]), _rounded(novelty[~known])),
        novel_rejected=float((~named[~known]).mean()) if (~known).any() else None,
        metrics=metrics.scalars(),
        calibration=record.get("calibration"),
        curves=tuple(record.get("curves") or ()),
        seconds=float(record.get("seconds", 0.0)),
        size=header.preprocessing.size,
        tune=str(record.get("tune", "")),
        weights=str(record.get("weights", "")),
        device=str(record.get("device", "")),
        versions=dict(record.get("versions") or {}),
        digest=scored.digest,
        unreadable=len(scored.content.unreadable),
    )


def _rows(scores: Scores, chosen: NDArray[np.bool_]) -> Scores:
    embedding = None if scores.embedding is None else scores.embedding[chosen]
    return Scores(scores.superclass[chosen], scores.subclass[chosen], embedding)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, _DIGITS).tolist())
