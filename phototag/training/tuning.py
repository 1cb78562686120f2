"""Other thresholds for a trained model, by labelled data or for a library: the same network in a new model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from phototag.choices import HIGHEST_TARGET, LEAST_TARGET, PrecisionBasis
from phototag.decision import Thresholds
from phototag.errors import ModelError, UsageError
from phototag.evaluation import (
    SURENESS,
    LibraryFigure,
    LibraryScores,
    ValidationScores,
    choose_for_library,
    crossfitted_figures,
    figures_at,
    measure_tags,
    score_labelled,
)
from phototag.model import SUFFIX, Model, model_path, open_model, read_tensors, write_tensors
from phototag.records import LEVELS
from phototag.runtime import choose_target
from phototag.text import percent
from phototag.training.config import ThresholdConfig
from phototag.training.thresholds import Choice, certify, choose_thresholds

# What thresholds for a library are chosen for where no precision is asked for.
_USUAL_TARGET = 0.9
_REVIEWED = "-reviewed"
_DOUBTS = {
    PrecisionBasis.LIKELY: f"the target is likely ({percent(SURENESS[PrecisionBasis.LIKELY], 0)}), but not sure",
    PrecisionBasis.NONE: "the target is not shown to be reached at any threshold, and none will be stored",
}

Numbers = Mapping[str, float | None]


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
    path = _output(f"{model.name}-p{100 * target_precision:g}" if output is None else output, overwrite=overwrite)
    choice, metrics = _on_validation(model, target_precision) if data is None else _on_data(model, Path(data), wanted)
    return TuningResult(_written(model, path, choice.thresholds, metrics, _record(model, choice)), choice.scores)


Figures = tuple[LibraryFigure, LibraryFigure]


@dataclass(frozen=True)
class LibraryTuning:
    """A model with thresholds for a library, and what becomes of its labels.

    Attributes:
        model: The new model.
        target: The share of stored labels that was to be right.
        bases: What stands behind that at each level, superclass first.
        before: The labels by the model's thresholds of before.
        after: The labels by thresholds chosen in the same way, cross-fitted: each photo's by reviews of others.
        warnings: For each level that is not sure, why, and what would do.
    """

    model: Model
    target: float
    bases: tuple[PrecisionBasis, PrecisionBasis]
    before: Figures
    after: Figures
    warnings: tuple[str, ...]


def tune_for_library(
    reference: str | Path | None,
    library: LibraryScores,
    *,
    target_precision: float | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> LibraryTuning:
    """Write a copy of a model with thresholds and limits on novelty for a library, chosen by reviews of its photos.

    Args:
        reference: The model, by its name or file; None is the active one.
        library: The model's scores of the library, and the reviews: `phototag.audit.read_library_scores`.
        target_precision: The share of stored labels that shall be right, 0.5 to 0.999; None is the target that the
            model was made for, else 0.9.
        output: A name in the models folder, or a file ending in .safetensors; None appends "-reviewed", and a number
            where there is one already.
        overwrite: Replace an existing model.

    Raises:
        UsageError: the target or the output makes no sense, the output exists already, or nothing could be stored.
        ModelError: there is no such model, or the new one cannot be written.
    """
    model = open_model(reference)
    target = _usual_target(model) if target_precision is None else target_precision
    ThresholdConfig(target)
    path = _free_name(model) if output is None else _output(output, overwrite=overwrite)
    own = model.header.thresholds
    choice = choose_for_library(library, target, own)
    bases = (choice.levels[0].basis, choice.levels[1].basis)
    advice = [each.advice for each in choice.levels]
    if bases[0] is PrecisionBasis.NONE:
        raise UsageError(f"no threshold is shown to give labels of which {percent(target)} are right: {advice[0]}")
    before, after = figures_at(library, own), crossfitted_figures(library, target, own)
    warnings = tuple(
        f"{level}: {_DOUBTS[basis]}: {more}" for level, basis, more in zip(LEVELS, bases, advice, strict=True) if more
    )
    metrics = dict(model.header.metrics)
    for level, figure in zip(LEVELS, after, strict=True):
        metrics |= {f"{level}_precision_given": figure.precision, f"{level}_coverage": figure.coverage}
        metrics[f"novel_{level}_rejected"] = None
    photos = len(library.reviewed)
    certificate = {
        "target_precision": target,
        "confidence": SURENESS[PrecisionBasis.ESTIMATED],
        "pictures": photos,
        "source": f"reviews of {library.sample}",
        "kept_back": list(warnings),
    }
    reviews = {
        "sample": library.sample,
        "photos": photos,
        "library": len(library.scores),
        "basis": dict(zip(LEVELS, bases, strict=True)),
        "before": dict(zip(LEVELS, map(asdict, before), strict=True)),
        "after": dict(zip(LEVELS, map(asdict, after), strict=True)),
    }
    record = {**model.header.record, "promise": certificate, "reviews": reviews}
    tuned = _written(model, path, choice.thresholds, metrics, record)
    return LibraryTuning(tuned, target, bases, before, after, warnings)


def _usual_target(model: Model) -> float:
    certificate = model.header.record.get("promise")
    target = certificate.get("target_precision") if isinstance(certificate, dict) else None
    # The file is untrusted.
    return target if isinstance(target, float) and LEAST_TARGET <= target <= HIGHEST_TARGET else _USUAL_TARGET


def _free_name(model: Model) -> Path:
    base = model.name.partition(_REVIEWED)[0] + _REVIEWED
    paths = (model_path(base if number == 1 else f"{base}-{number}") for number in count(1))
    return next(path for path in paths if not path.exists())


def _output(reference: str | Path, *, overwrite: bool) -> Path:
    path = model_path(reference)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    return path


def _written(model: Model, path: Path, thresholds: Thresholds, metrics: Numbers, record: Mapping[str, Any]) -> Model:
    """Write the model with other thresholds, metrics and training record, and open it."""
    tensors = model.tensors() if model.path is None else read_tensors(model.path, under="")
    header = replace(
        model.header,
        thresholds=thresholds,
        metrics=metrics,
        record={**record, "tuned_from": {"name": model.name, "hash": model.hash}},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_tensors(path, tensors, header.to_json())
    return open_model(path)


def tune_limits(
    reference: str | Path | None,
    *,
    novel_superclass: float | None,
    novel_subclass: float | None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Model:
    """Write a copy of a model with other limits on novelty, of which nothing is certified; None leaves one as it is.

    Raises:
        UsageError: the output makes no sense, or exists already.
        ModelError: there is no such model, a limit is not between 0 and 1, or the new one cannot be written.
    """
    model = open_model(reference)
    given = {"novel_superclass": novel_superclass, "novel_subclass": novel_subclass}
    limits = {name: value for name, value in given.items() if value is not None}
    path = _output(f"{model.name}-limits" if output is None else output, overwrite=overwrite)
    # What was measured and certified of stored labels stood behind the limits of before.
    record = {name: value for name, value in model.header.record.items() if name != "promise"}
    stored = [f"{level}_{figure}" for level in LEVELS for figure in ("precision_given", "coverage")]
    metrics = {**model.header.metrics, **dict.fromkeys(stored)}
    return _written(model, path, replace(model.header.thresholds, **limits), metrics, record)


def validation_scores(model: Model) -> ValidationScores | None:
    """Return the validation scores that the model file keeps, or None; ModelError if they are damaged."""
    kept = model.header.record.get("validation_scores")
    return None if kept is None else ValidationScores.from_json(kept)


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


def _record(model: Model, choice: Choice) -> dict[str, Any]:
    """Return the training record of the model with other thresholds."""
    # What was chosen by reviews before is no more.
    record = {key: value for key, value in model.header.record.items() if key != "reviews"} | choice.record()
    if model.header.novelty is not None:
        known = record.get("novelty")
        limits = {"limits_with_target": list(choice.limits_with_target)}
        record["novelty"] = {**(known if isinstance(known, dict) else {}), **limits}
    return record
