"""What one trained model says of the test pictures of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.comparison.result import Run
from phototag.decision import decide
from phototag.evaluation import measure_tags, mistakes_of, score_labelled
from phototag.model import Model
from phototag.runtime import Target

_DIGITS = 5


def evaluate_run(model: Model, test: Path, *, backbone: str, seed: int, target: Target, workers: int | None) -> Run:
    """Evaluate a model on the pictures of a CSV; those without a subclass are the novel ones.

    Raises:
        DataError: more than 5 % of the pictures cannot be read.
    """
    header = model.header
    taxonomy = header.taxonomy
    scored = score_labelled(test, model, target=target, workers=workers, what=f"evaluating {backbone}")
    known = scored.validation.subclass.truth >= 0
    validation = scored.validation.rows(known)
    metrics = measure_tags(validation, header.thresholds)
    tags = decide(scored.validation.evidence, taxonomy, header.thresholds)
    novelty = np.array([tag.novelty for tag in tags])
    named = np.array([tag.subclass is not None for tag in tags])
    record = header.record
    return Run(
        backbone=backbone,
        full_name=header.backbone,
        seed=seed,
        superclasses=taxonomy.superclasses,
        subclasses=tuple(taxonomy.qualified(index) for index in range(len(taxonomy.subclasses))),
        truth=tuple(tuple(level.truth.tolist()) for level in validation.levels),
        predicted=tuple(tuple(level.best.tolist()) for level in validation.levels),
        scores=tuple(_rounded(level.scores) for level in validation.levels),
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
        mistakes=mistakes_of(scored),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, _DIGITS).tolist())
