"""Other thresholds for a trained model: the same network in a new model file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phototag.audit.evaluate import judge_scores
from phototag.decision import Thresholds
from phototag.errors import ModelError, UsageError
from phototag.learning.checkpoint import SUFFIX, ModelHeader, write_tensors
from phototag.learning.config import HIGHEST_TARGET, LEAST_TARGET
from phototag.learning.guarantee import DELTA, ValidationScores, promised_thresholds
from phototag.learning.registry import Model, model_path, open_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningResult:
    """The model with its new thresholds, and the scores that they were chosen by."""

    model: Model
    scores: ValidationScores


def promise(
    scores: ValidationScores, target: float, *, source: str = "validation"
) -> tuple[Thresholds, dict[str, Any]]:
    """Thresholds with the target precision, and what the model file records of them.

    Says so where nothing can be promised. `source` is "validation" for the pictures kept apart at the training, else
    the digest of the labelled data.
    """
    thresholds, warnings = promised_thresholds(scores, target)
    for warning in warnings:
        log.warning("%s", warning)
    return thresholds, {
        "target_precision": target,
        "confidence": 1 - DELTA,
        "pictures": scores.subclass.total,
        "source": source,
        "kept_back": warnings,
    }


def tune(
    reference: str | Path,
    *,
    target_precision: float,
    data: str | Path | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> TuningResult:
    """Write a copy of a model whose thresholds promise a precision; `guarantee` says what the promise is.

    Args:
        reference: The model, by its name or file.
        target_precision: The share of stored labels that shall be right, 0.5 to 0.999.
        data: Labelled pictures that the model has not learned from; None takes the validation scores in the model file.
        output: A name in the models folder, or a file ending in .safetensors; None appends the target to the name.
        overwrite: Replace an existing model.

    Raises:
        UsageError: the target or the output makes no sense, or the output exists already.
        ModelError: there is no such model, it keeps no validation scores and there is no `data`, or the new one cannot
            be written.
        DataError: the data is not usable.
    """
    if not LEAST_TARGET <= target_precision <= HIGHEST_TARGET:
        raise UsageError(f"the target precision must lie between {LEAST_TARGET} and {HIGHEST_TARGET}")
    model = open_model(reference)
    path = model_path(f"{model.name}-p{100 * target_precision:g}" if output is None else output)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    if data is None:
        header, scores = _by_validation(model, target_precision)
    else:
        header, scores = _by_data(model, Path(data), target_precision)
    write_tensors(path, model.tensors(), replace(header, created_at=_now()).to_json())
    return TuningResult(open_model(path), scores)


def validation_scores(model: Model) -> ValidationScores | None:
    """The validation scores that the model file keeps, or None; ModelError if they are damaged."""
    kept = model.header.record.get("validation_scores")
    return None if kept is None else ValidationScores.from_json(kept)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _by_validation(model: Model, target: float) -> tuple[ModelHeader, ValidationScores]:
    scores = validation_scores(model)
    if scores is None:
        raise ModelError(f"{model.name}: keeps no validation scores; give labelled pictures with --data")
    thresholds, record = promise(scores, target, source=str(_promise_of(model).get("source", "validation")))
    metrics: dict[str, float | None] = dict(model.header.metrics)
    for level, table, threshold in (
        ("superclass", scores.superclass, thresholds.superclass),
        ("subclass", scores.subclass, thresholds.subclass),
    ):
        precision, coverage = table.at(threshold)
        metrics |= {f"{level}_precision_given": precision, f"{level}_coverage": coverage}
        # The tables do not tell which pictures are of no known class.
        metrics[f"novel_{level}_rejected"] = None
    return _renewed(model, thresholds, metrics, record, scores), scores


def _by_data(model: Model, data: Path, target: float) -> tuple[ModelHeader, ValidationScores]:
    from phototag.learning.scoring import score_labelled

    taxonomy = model.header.taxonomy
    scored = score_labelled(data, model, what="tuning")
    scores = ValidationScores.of(scored.content.pictures, scored.scores, taxonomy)
    thresholds, record = promise(scores, target, source=scored.digest)
    metrics = judge_scores(scored.content.pictures, scored.scores, taxonomy, thresholds).scalars()
    return _renewed(model, thresholds, metrics, record, scores), scores


def _promise_of(model: Model) -> dict[str, Any]:
    found = model.header.record.get("promise")
    return found if isinstance(found, dict) else {}


def _renewed(
    model: Model,
    thresholds: Thresholds,
    metrics: dict[str, float | None],
    record: dict[str, Any],
    scores: ValidationScores,
) -> ModelHeader:
    kept = {
        **model.header.record,
        "promise": record,
        "validation_scores": scores.to_json(),
        "tuned_from": {"name": model.name, "hash": model.hash},
    }
    return replace(model.header, thresholds=thresholds, metrics=metrics, record=kept)
