"""From what was learned to a model: calibrated scores, novelty, thresholds, metrics, and what the file is to say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.decision import NoveltyModel, Space, Thresholds, Tier
from phototag.evaluation import Metrics, ValidationScores, judge_scores
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.calibration import calibrate, choose_thresholds, novelty_limits
from phototag.training.config import KEEP_KNOWN, KEEP_KNOWN_WITH_TARGET, TrainingConfig
from phototag.training.heads import Examples, Rule
from phototag.training.tuning import promise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a way of training comes to.

    Attributes:
        tensors: Of the whole network.
        validation: The pictures that it is judged by.
        scores: Of these, with embeddings, by a network that did not learn from them.
        space: Where the classes lie among the embeddings.
        rule: How novelty shows.
        examples: For `--extend`.
        digest: Of all pictures.
        details: More for the training record.
        interrupted: Whether Ctrl-C cut it short.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    validation: Sequence[LabelledPicture]
    scores: Scores
    space: Space
    rule: Rule
    examples: Examples
    digest: str
    details: Mapping[str, Any]
    interrupted: bool = False


@dataclass(frozen=True)
class Finished:
    """All that a model file needs besides what the network is."""

    tensors: dict[str, NDArray[Any]]
    novelty: NoveltyModel
    thresholds: Thresholds
    metrics: Metrics
    details: dict[str, Any]


def finish(outcome: Outcome, taxonomy: Taxonomy, config: TrainingConfig) -> Finished:
    """Calibrate, choose thresholds, and judge on the validation pictures.

    Heads that were fitted once more on all pictures take the temperatures of those that were judged: nothing is left
    to fit their own on, and a fifth more pictures changes them little. The same holds for how large the energies of
    known pictures are.
    """
    calibration = calibrate(outcome.validation, outcome.scores, taxonomy)
    scores = calibration.temperatures.scaled(outcome.scores)
    judged = outcome.rule.model(outcome.space, _of_known(outcome.validation, scores))
    keep_known = config.keep_known or (KEEP_KNOWN if config.target_precision is None else KEEP_KNOWN_WITH_TARGET)
    limits = novelty_limits(outcome.validation, scores, taxonomy, judged, keep_known=keep_known)
    # What is certified has to be what is stored: behind the very limits that will apply.
    tuned_limits = (
        limits
        if config.target_precision is not None
        else novelty_limits(outcome.validation, scores, taxonomy, judged, keep_known=KEEP_KNOWN_WITH_TARGET)
    )
    familiar = judged.probabilities(scores) <= np.array(tuned_limits, dtype=np.float32)
    tables = ValidationScores.of(
        outcome.validation,
        scores,
        taxonomy,
        familiar=[familiar[:, Tier.SUPERCLASS], np.logical_and.reduce(familiar, axis=1)],
    )
    details = {
        **outcome.details,
        "calibration": calibration.to_json(),
        "validation_scores": tables.to_json(),
        "novelty": {**outcome.rule.to_json(), "keep_known": keep_known, "limits_with_target": list(tuned_limits)},
    }
    if config.target_precision is None:
        plain = choose_thresholds(outcome.validation, scores, taxonomy)
    else:
        plain, details["promise"] = promise(tables, config.target_precision)
    thresholds = Thresholds(plain.superclass, plain.subclass, *limits)
    tensors = calibration.temperatures.folded(outcome.tensors) | judged.tensors() | outcome.examples.tensors()
    metrics = judge_scores(outcome.validation, scores, taxonomy, thresholds, judged)
    return Finished(tensors, judged, thresholds, metrics, details)


def _of_known(pictures: Sequence[LabelledPicture], scores: Scores) -> Scores:
    """The scores of the pictures with a subclass; all where there are none."""
    rows = np.array([picture.subclass is not None for picture in pictures], dtype=np.bool_)
    if not rows.any() or scores.embedding is None:
        return scores
    return Scores(scores.superclass[rows], scores.subclass[rows], scores.embedding[rows])
