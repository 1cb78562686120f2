"""Labels as indexes of a taxonomy, next to the best class of each level with its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.decision import gather, join
from phototag.records import Scores
from phototag.taxonomy import Taxonomy


def label_indexes(pictures: Sequence[LabelledPicture], taxonomy: Taxonomy) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Superclass and subclass indexes [N] of the true labels; -1 where the picture has none of that level."""
    return (
        np.array([taxonomy.superclass_index.get(picture.superclass or "", -1) for picture in pictures], dtype=np.intp),
        np.array([taxonomy.subclass_index.get(picture.subclass or "", -1) for picture in pictures], dtype=np.intp),
    )


def best_scores(scores: Scores, taxonomy: Taxonomy) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Of each level the best class [N] and its joint probability [N], as decisions see them; superclass first."""
    joint = join(gather(scores, taxonomy))
    top = joint.superclass[np.arange(len(joint.chosen)), joint.chosen]
    return [(joint.chosen, top.clip(0, 1)), (joint.child, joint.child_score.clip(0, 1))]
