"""Other thresholds for a trained model: the same network in a new model file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision import Thresholds, Tier
from phototag.errors import ModelError, UsageError
from phototag.evaluation import ValidationScores, judge_scores
from phototag.model import SUFFIX, Model, ModelHeader, model_path, open_model, read_tensors, write_tensors
from phototag.training.calibration import novelty_limits
from phototag.training.config import HIGHEST_TARGET, KEEP_KNOWN_WITH_TARGET, LEAST_TARGET
from phototag.training.risk_control import DELTA, promised_thresholds

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
    write_tensors(path, _all_tensors(model), replace(header, created_at=_now()).to_json())
    return TuningResult(open_model(path), scores)


def _all_tensors(model: Model) -> Mapping[str, NDArray[Any]]:
    """Those of the network, and the examples that `train --extend` learns from."""
    return model.tensors() if model.path is None else read_tensors(model.path, under="")


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
    plain, record = promise(scores, target, source=str(_promise_of(model).get("source", "validation")))
    limits = _limits_of(model)
    thresholds = Thresholds(plain.superclass, plain.subclass, *limits)
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


def _limits_of(model: Model) -> tuple[float, float]:
    """The limits on novelty that the validation scores in the model file stand behind."""
    if model.header.novelty is None:
        return 1.0, 1.0
    try:
        superclass, subclass = (float(value) for value in model.header.record["novelty"]["limits_with_target"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.name}: does not tell what its validation scores stand behind ({error}); give labelled pictures "
            "with --data"
        ) from error
    return superclass, subclass


def _by_data(model: Model, data: Path, target: float) -> tuple[ModelHeader, ValidationScores]:
    from phototag.evaluation import score_labelled

    taxonomy = model.header.taxonomy
    scored = score_labelled(data, model, what="tuning")
    pictures, novelty = scored.content.pictures, model.novelty
    limits, familiar = (1.0, 1.0), None
    if novelty is not None:
        limits = novelty_limits(pictures, scored.scores, taxonomy, novelty, keep_known=KEEP_KNOWN_WITH_TARGET)
        kept = novelty.probabilities(scored.scores) <= np.array(limits, dtype=np.float32)
        familiar = [kept[:, Tier.SUPERCLASS], np.logical_and.reduce(kept, axis=1)]
    scores = ValidationScores.of(pictures, scored.scores, taxonomy, familiar=familiar)
    plain, record = promise(scores, target, source=scored.digest)
    thresholds = Thresholds(plain.superclass, plain.subclass, *limits)
    metrics = judge_scores(pictures, scored.scores, taxonomy, thresholds, novelty).scalars()
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
    limits = [thresholds.novel_superclass, thresholds.novel_subclass]
    if model.header.novelty is not None:
        told = kept.get("novelty")
        kept["novelty"] = {**(told if isinstance(told, dict) else {}), "limits_with_target": limits}
    return replace(model.header, thresholds=thresholds, metrics=metrics, record=kept)
