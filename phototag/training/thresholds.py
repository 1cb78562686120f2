"""Thresholds of a model, put together alike for `train`, `train --extend` and `model tune`.

Limits on novelty come first, then thresholds of the scores behind these limits: certified ones where a precision is
wanted, otherwise ones that lose hardly any right label, or higher ones where too many of the labels were wrong then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.choices import KEEP_KNOWN_WITH_TARGET
from phototag.decision import Thresholds, Tier
from phototag.evaluation import DELTA, Validation, ValidationScores, certified_thresholds, likely_threshold
from phototag.training.config import ThresholdConfig

log = logging.getLogger(__name__)

# A score below a half never keeps more than it loses; above, backing off is a matter of taste.
_HIGHEST = 0.5
_LOST_SHARE = 0.0025
# One standard error's worth of caution: of photos taken elsewhere somewhat fewer labels are right than on validation.
_RIGHT_SHARE, _DOUBT = 0.94, 0.16
_LOST_SUPERCLASSES = 0.1
_FEWEST_RIGHT = 20


@dataclass(frozen=True)
class Choice:
    """Thresholds, and what the model file keeps of how they were chosen.

    Attributes:
        thresholds: Of scores and of novelty, at both levels.
        scores: How many labels are right at and above each score, behind `limits_with_target`.
        limits_with_target: The limits on novelty that apply with a target precision, whether there is one or not.
        certificate: What is certified of the precision, for the training record; None without a target.
    """

    thresholds: Thresholds
    scores: ValidationScores
    limits_with_target: tuple[float, float]
    certificate: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Return what the training record says of it, apart from novelty."""
        certificate = {} if self.certificate is None else {"promise": self.certificate}
        return {"validation_scores": self.scores.to_json(), **certificate}


def choose_thresholds(validation: Validation, wanted: ThresholdConfig, *, source: str = "validation") -> Choice:
    """Choose all thresholds on pictures that the model has not learned from; see `certify` for `source`."""
    limits = novelty_limits(validation, keep_known=wanted.share_kept)
    if wanted.target_precision is not None:
        # What is certified has to be what is stored: behind the very limits that will apply.
        scores = ValidationScores.of(validation, limits=limits)
        return certify(scores, limits, wanted.target_precision, source=source)
    later = novelty_limits(validation, keep_known=KEEP_KNOWN_WITH_TARGET)
    thresholds = Thresholds(*default_thresholds(validation, limits), *limits)
    return Choice(thresholds, ValidationScores.of(validation, limits=later), later)


def certify(scores: ValidationScores, limits: tuple[float, float], target: float, *, source: str) -> Choice:
    """Choose thresholds with the target precision from score tables behind limits on novelty.

    Warns where nothing can be certified. `source` is "validation" for the pictures kept apart at the training, else the
    digest of the labelled data.
    """
    (superclass, subclass), warnings = certified_thresholds(scores, target)
    for warning in warnings:
        log.warning("%s", warning)
    certificate = {
        "target_precision": target,
        "confidence": 1 - DELTA,
        "pictures": scores.subclass.total,
        "groups": sum(scores.subclass.groups) or scores.subclass.total,
        "source": source,
        "kept_back": warnings,
    }
    return Choice(Thresholds(superclass, subclass, *limits), scores, limits, certificate)


def default_thresholds(
    validation: Validation, limits: tuple[float, float] = (1.0, 1.0), *, lost_share: float = _LOST_SHARE
) -> tuple[float, float]:
    """Return the highest thresholds, up to a half, that back off from at most `lost_share` of the right labels.

    Where behind the limits on novelty it is not likely that 94 % of the labels at or above such a threshold are right,
    it is the lowest at which that is; with too few pictures to tell, nothing is raised.
    """
    tables = ValidationScores.of(validation, limits=limits)
    superclass, subclass = (
        max(
            _low_quantile(level.scores[level.right], lost_share),
            likely_threshold(table, _RIGHT_SHARE, doubt=_DOUBT),
        )
        for level, table in zip(validation.levels, (tables.superclass, tables.subclass), strict=True)
    )
    return superclass, subclass


def _low_quantile(scores: NDArray[np.float64], share: float) -> float:
    return min(_HIGHEST, float(np.quantile(scores, share, method="lower"))) if len(scores) else _HIGHEST


def novelty_limits(validation: Validation, *, keep_known: float) -> tuple[float, float]:
    """Return the most that the probability of an unknown superclass, and of an unknown subclass, may be in a tag.

    So that of the pictures whose subclass is right the share `keep_known` keeps it, as far as novelty goes. Of those
    whose superclass is right nearly all keep it: an unknown superclass stands out far more than an unknown subclass.
    With fewer than 20 right ones at a level nothing backs off that is not more novel than all of them, and more likely
    novel than not: a handful says little of the most unusual to come. Both are 1 for a model without novelty scores.
    """
    novelty = validation.evidence.novelty.astype(np.float64)
    if np.isnan(novelty).all():
        return 1.0, 1.0
    lost = (_LOST_SUPERCLASSES * (1 - keep_known), 1 - keep_known)
    limits = []
    for tier, level in zip(Tier, validation.levels, strict=True):
        values = novelty[level.right, tier]
        if len(values) >= _FEWEST_RIGHT:
            limit = float(np.quantile(values, 1 - lost[tier], method="higher"))
        else:
            limit = max([0.5, *values.tolist()]) if len(values) else 1.0
        limits.append(min(1.0, float(np.nextafter(np.float32(limit), np.float32(2)))))
    return limits[0], limits[1]
