"""Turn what was learned into a model: calibrated scores, novelty, thresholds, metrics and the training record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision import NoveltyModel, Space, Thresholds, Tier
from phototag.evaluation import Metrics, Validation, measure_tags
from phototag.model import Examples, ModelHeader
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.calibration import Calibration, Temperatures, fit_temperatures
from phototag.training.config import ThresholdConfig
from phototag.training.heads import Rule
from phototag.training.thresholds import choose_thresholds

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Evaluated:
    """Pictures scored by heads that had learned from none of their group: a validation part, or a fold.

    `labels` are their superclasses and subclasses [N], `scores` come with embeddings, and `space` is where the classes
    lie among these.
    """

    labels: tuple[Labels, Labels]
    groups: Labels
    scores: Scores
    space: Space

    def validation(
        self, taxonomy: Taxonomy, temperatures: Temperatures, novelty: NoveltyModel | None = None
    ) -> Validation:
        """Return the decoded pictures, with novelty by the rule of a model whose classes may lie elsewhere."""
        own = None if novelty is None else replace(novelty, space=self.space)
        scores = temperatures.scaled(self.scores)
        return Validation.of(self.labels, scores, taxonomy, novelty=own, groups=self.groups)

    def known_signals(self, temperatures: Temperatures) -> NDArray[np.float64]:
        """Return the signals of novelty [M, F] of the pictures with a subclass; of all where there are none."""
        scores, rows = temperatures.scaled(self.scores), self.labels[1] >= 0
        if rows.any() and scores.embedding is not None:
            scores = Scores(scores.superclass[rows], scores.subclass[rows], scores.embedding[rows])
        return self.space.signals(scores)


@dataclass(frozen=True)
class Outcome:
    """What a training yields, by whatever method.

    Attributes:
        tensors: Of the whole network.
        evaluated: The validation pictures, or folds of all pictures.
        space: Where the classes lie among the network's embeddings.
        rule: How novelty shows.
        examples: For `--extend`.
        digest: Of all pictures.
        details: More for the training record.
        interrupted: Whether Ctrl-C cut it short.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    evaluated: Sequence[Evaluated]
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
    parts = outcome.evaluated
    raw = Validation.joined([part.validation(taxonomy, Temperatures()) for part in parts])
    temperatures = fit_temperatures(raw)
    known = np.concatenate([part.known_signals(temperatures) for part in parts])
    novelty = outcome.rule.model(outcome.space, known)
    validation = Validation.joined([part.validation(taxonomy, temperatures, novelty) for part in parts])
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
