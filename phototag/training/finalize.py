"""Turn what was learned into a model: calibrated scores, novelty, thresholds, metrics and the training record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision import Space, Thresholds, Tier
from phototag.evaluation import Metrics, Validation, measure_tags
from phototag.model import Examples, ModelHeader
from phototag.records import Scores
from phototag.training.calibration import Calibration, fit_temperatures
from phototag.training.config import ThresholdConfig
from phototag.training.heads import Rule
from phototag.training.thresholds import choose_thresholds

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Outcome:
    """What a training yields, by whatever method.

    Attributes:
        tensors: Of the whole network.
        labels: Superclasses and subclasses [N] of the validation pictures.
        scores: Of these, with embeddings, by a network that did not learn from them.
        space: Where the classes lie among the embeddings.
        rule: How novelty shows.
        examples: For `--extend`.
        digest: Of all pictures.
        details: More for the training record.
        interrupted: Whether Ctrl-C cut it short.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    labels: tuple[Labels, Labels]
    scores: Scores
    space: Space
    rule: Rule
    examples: Examples
    digest: str
    details: Mapping[str, Any]
    interrupted: bool = False


@dataclass(frozen=True)
class Finished:
    """What the model file is to hold, but for the circumstances of its making, and all metrics.

    `known` [N] says which validation pictures the model does not call novel.
    """

    tensors: dict[str, NDArray[Any]]
    header: ModelHeader
    metrics: Metrics
    known: NDArray[np.bool_]


def finish(outcome: Outcome, header: ModelHeader, wanted: ThresholdConfig) -> Finished:
    """Calibrate, choose thresholds, and measure on the validation pictures; `header` says what the network is.

    Heads that were fitted again on all pictures take the temperatures of those that were evaluated: nothing is left to
    fit their own on, and a fifth more pictures changes them little. The same holds for how large the energies of known
    pictures are.
    """
    taxonomy = header.taxonomy
    raw = Validation.of(outcome.labels, outcome.scores, taxonomy)
    temperatures = fit_temperatures(raw)
    scores = temperatures.scaled(outcome.scores)
    novelty = outcome.rule.model(outcome.space, _of_known(outcome.labels[1], scores))
    validation = Validation.of(outcome.labels, scores, taxonomy, novelty=novelty)
    choice = choose_thresholds(validation, wanted)
    metrics = measure_tags(validation, choice.thresholds)
    record = {
        **header.record,
        **outcome.details,
        "calibration": Calibration.of(temperatures, raw, validation).to_json(),
        "novelty": {
            **outcome.rule.to_json(),
            "keep_known": wanted.share_kept,
            "limits_with_target": list(choice.limits_with_target),
        },
        **choice.record(),
    }
    complete = replace(
        header,
        thresholds=choice.thresholds,
        embedding=len(outcome.space.spread),
        novelty=novelty.to_json(),
        metrics=metrics.scalars(),
        record=record,
    )
    tensors = temperatures.folded(outcome.tensors) | novelty.tensors() | outcome.examples.tensors()
    return Finished(tensors, complete, metrics, known_to(validation, choice.thresholds))


def known_to(validation: Validation, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Return which pictures [N] are not called novel, at either level."""
    return validation.known((thresholds.novel_superclass, thresholds.novel_subclass))[Tier.SUBCLASS]


def _of_known(subclasses: Labels, scores: Scores) -> Scores:
    """Return the scores of the pictures with a subclass; all where there are none."""
    rows = subclasses >= 0
    if not rows.any() or scores.embedding is None:
        return scores
    return Scores(scores.superclass[rows], scores.subclass[rows], scores.embedding[rows])
