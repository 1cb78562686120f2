"""Other thresholds for a trained model: the same network in a new model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from phototag.errors import ModelError, UsageError
from phototag.evaluation import ValidationScores, measure_tags, score_labelled
from phototag.model import SUFFIX, Model, ModelHeader, model_path, open_model, read_tensors, write_tensors
from phototag.runtime import choose_target
from phototag.training.config import ThresholdConfig
from phototag.training.thresholds import Choice, certify, choose_thresholds


@dataclass(frozen=True)
class TuningResult:
    """The model with its new thresholds, and the scores that they were chosen by."""

    model: Model
    scores: ValidationScores


def tune(
    reference: str | Path,
    *,
    target_precision: float,
    data: str | Path | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> TuningResult:
    """Write a copy of a model whose thresholds certify a precision; `evaluation.risk_control` says in which sense.

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
    wanted = ThresholdConfig(target_precision)
    model = open_model(reference)
    path = model_path(f"{model.name}-p{100 * target_precision:g}" if output is None else output)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    choice, metrics = _on_validation(model, target_precision) if data is None else _on_data(model, Path(data), wanted)
    tensors = model.tensors() if model.path is None else read_tensors(model.path, under="")
    write_tensors(path, tensors, _header(model, choice, metrics).to_json())
    return TuningResult(open_model(path), choice.scores)


def validation_scores(model: Model) -> ValidationScores | None:
    """Return the validation scores that the model file keeps, or None; ModelError if they are damaged."""
    kept = model.header.record.get("validation_scores")
    return None if kept is None else ValidationScores.from_json(kept)


Numbers = Mapping[str, float | None]


def _on_validation(model: Model, target: float) -> tuple[Choice, Numbers]:
    """Choose thresholds by the scores that the model file keeps, and tell what is known of the metrics then."""
    scores = validation_scores(model)
    if scores is None:
        raise ModelError(f"{model.name}: keeps no validation scores; give labelled pictures with --data")
    earlier = model.header.record.get("promise")
    source = str(earlier.get("source", "validation")) if isinstance(earlier, dict) else "validation"
    choice = certify(scores, _limits_of(model), target, source=source)
    metrics = dict(model.header.metrics)
    for level, table, threshold in (
        ("superclass", scores.superclass, choice.thresholds.superclass),
        ("subclass", scores.subclass, choice.thresholds.subclass),
    ):
        precision, coverage = table.at(threshold)
        metrics |= {f"{level}_precision_given": precision, f"{level}_coverage": coverage}
        # The tables do not tell which pictures are of no known class.
        metrics[f"novel_{level}_rejected"] = None
    return choice, metrics


def _limits_of(model: Model) -> tuple[float, float]:
    """Return the limits on novelty that the validation scores in the model file stand behind."""
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


def _on_data(model: Model, data: Path, wanted: ThresholdConfig) -> tuple[Choice, Numbers]:
    scored = score_labelled(data, model, target=choose_target(), what="tuning")
    choice = choose_thresholds(scored.validation, wanted, source=scored.digest)
    return choice, measure_tags(scored.validation, choice.thresholds).scalars()


def _header(model: Model, choice: Choice, metrics: Numbers) -> ModelHeader:
    """Return the header of the model with other thresholds."""
    record = {**model.header.record, **choice.record(), "tuned_from": {"name": model.name, "hash": model.hash}}
    if model.header.novelty is not None:
        known = record.get("novelty")
        limits = {"limits_with_target": list(choice.limits_with_target)}
        record["novelty"] = {**(known if isinstance(known, dict) else {}), **limits}
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(model.header, thresholds=choice.thresholds, metrics=metrics, record=record, created_at=created_at)
