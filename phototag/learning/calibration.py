"""Thresholds from the validation pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phototag.decision import Thresholds, gather, join
from phototag.learning.dataset import LabelledPicture
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

# A score below a half never keeps more than it loses; above, backing off is a matter of taste.
_HIGHEST = 0.5
_LOST_SHARE = 0.0025


def label_indexes(pictures: Sequence[LabelledPicture], taxonomy: Taxonomy) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Superclass and subclass indexes [N] of the true labels; -1 where the picture has none of that level."""
    return (
        np.array([taxonomy.superclass_index.get(picture.superclass or "", -1) for picture in pictures], dtype=np.intp),
        np.array([taxonomy.subclass_index.get(picture.subclass or "", -1) for picture in pictures], dtype=np.intp),
    )


def choose_thresholds(
    pictures: Sequence[LabelledPicture], scores: Scores, taxonomy: Taxonomy, *, lost_share: float = _LOST_SHARE
) -> Thresholds:
    """The highest thresholds, up to a half, that back off from at most `lost_share` of the right labels.

    Judged on these pictures, which the model should not have learned from.
    """
    joint = join(gather(scores, taxonomy))
    superclasses, subclasses = label_indexes(pictures, taxonomy)
    chosen_scores = joint.superclass[np.arange(len(pictures)), joint.chosen]
    return Thresholds(
        superclass=_low_quantile(chosen_scores[joint.chosen == superclasses], lost_share),
        subclass=_low_quantile(joint.child_score[joint.child == subclasses], lost_share),
    )


def _low_quantile(scores: NDArray[np.float64], share: float) -> float:
    return min(_HIGHEST, float(np.quantile(scores, share, method="lower"))) if len(scores) else _HIGHEST
