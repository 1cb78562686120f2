"""Made-up scores of pictures, calibrated or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.dataset.labelled import LabelledPicture
from phototag.decision.novelty import NoveltyModel
from phototag.evaluation.validation import Validation, label_indexes
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_pairs([(f"s{number // 4}", f"c{number:02}") for number in range(12)])


def calibrated(count: int, *, seed: int = 0, spread: float = 2.0) -> tuple[list[LabelledPicture], Scores]:
    """Pictures whose labels are drawn from the very distribution that their scores state."""
    random = np.random.default_rng(seed)
    subclass = random.normal(0, spread, (count, 12)).astype(np.float32)
    # Such a superclass head agrees with the sums over the subclasses, so the joint distribution is theirs.
    superclass = np.log(np.exp(subclass).reshape(count, 3, 4).sum(axis=2)).astype(np.float32)
    chances = np.exp(subclass - subclass.max(axis=1, keepdims=True)).astype(np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = [int(random.choice(12, p=row)) for row in chances]
    return [picture(TAXONOMY.parent(f"c{number:02}"), f"c{number:02}") for number in drawn], Scores(
        superclass, subclass
    )


def validation(pictures: list[LabelledPicture], scores: Scores, *, novelty: NoveltyModel | None = None) -> Validation:
    """Return the decoded scores of these pictures."""
    return Validation.of(label_indexes(pictures, TAXONOMY), scores, TAXONOMY, novelty=novelty)


def picture(superclass: str | None, subclass: str | None) -> LabelledPicture:
    return LabelledPicture(Path("a.jpg"), superclass, subclass, "a test")


def draw_scores(
    count: int, random: np.random.Generator, *, steep: float = 3.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores uniform in [0, 1] whose chance of being right is 1 - (1 - score) ** steep."""
    values = random.random(count)
    return values, random.random(count) < 1 - (1 - values) ** steep
