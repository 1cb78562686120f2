"""Labelled pictures with a model's scores, decoded once: what calibration, thresholds and metrics are taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.decision import Evidence, NoveltyModel, Tier, gather, join
from phototag.evaluation.intervals import wilson
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

Labels = NDArray[np.intp]
Mask = NDArray[np.bool_]


def label_indexes(pictures: Sequence[LabelledPicture], taxonomy: Taxonomy) -> tuple[Labels, Labels]:
    """Return superclass and subclass indexes [N] of the true labels; -1 where a picture has none that is known."""
    pairs = {(taxonomy.parent(name), name): index for name, index in taxonomy.subclass_index.items()}
    labels = [(picture.superclass or "", picture.subclass or "") for picture in pictures]
    return (
        np.array([taxonomy.superclass_index.get(superclass, -1) for superclass, _ in labels], dtype=np.intp),
        np.array([pairs.get(label, -1) for label in labels], dtype=np.intp),
    )


@dataclass(frozen=True)
class Level:
    """The pictures with a true label at one level: scores [N] of the labels given, and whether they are right [N]."""

    scores: NDArray[np.float64]
    right: Mask

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson)."""
        return wilson(int(self.right.sum()), len(self.right))


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """One level of N pictures: the true class, -1 for none, and the best one with its joint probability, each [N]."""

    truth: Labels
    best: Labels
    scores: NDArray[np.float64]

    @property
    def right(self) -> Mask:
        """Whether the best class is the true one [N]; never where there is none."""
        result: Mask = self.best == self.truth
        return result

    @property
    def labelled(self) -> Level:
        """The pictures with a true class."""
        rows = self.truth >= 0
        return Level(self.scores[rows], self.right[rows])

    @property
    def accuracy(self) -> float | None:
        """The share of right classes among the pictures with a true one; None without any."""
        right = self.labelled.right
        return float(right.mean()) if len(right) else None


@dataclass(frozen=True, eq=False, slots=True)
class Validation:
    """Pictures with true labels and a model's scores of them, decoded once: the best class and its score at each level.

    Novelty probabilities are in `evidence`, where the novelty model was given.
    """

    taxonomy: Taxonomy
    scores: Scores
    evidence: Evidence
    superclass: Decoded
    subclass: Decoded

    @classmethod
    def of(
        cls, labels: tuple[Labels, Labels], scores: Scores, taxonomy: Taxonomy, *, novelty: NoveltyModel | None = None
    ) -> Self:
        """Decode the scores of pictures with these superclass and subclass indexes [N]; see `label_indexes`."""
        evidence = gather(scores, taxonomy, novelty)
        joint = join(evidence)
        top = joint.superclass[np.arange(len(joint.chosen)), joint.chosen]
        return cls(
            taxonomy,
            scores,
            evidence,
            Decoded(labels[0], joint.chosen, top.clip(0, 1)),
            Decoded(labels[1], joint.child, joint.child_score.clip(0, 1)),
        )

    def __len__(self) -> int:
        return len(self.superclass.truth)

    @property
    def levels(self) -> tuple[Decoded, Decoded]:
        """Both levels, superclass first."""
        return self.superclass, self.subclass

    def rows(self, chosen: Mask | slice) -> Self:
        """Return some of the pictures, not decoded again."""
        return type(self)(
            self.taxonomy,
            *(_rows(part, chosen) for part in (self.scores, self.evidence, self.superclass, self.subclass)),
        )

    def known(self, limits: tuple[float, float]) -> tuple[Mask, Mask]:
        """Return for each level which pictures [N] keep their label behind the limits on novelty of both levels."""
        # Comparisons with NaN are false: nothing is novel where the model does not tell.
        kept = ~(self.evidence.novelty > np.array(limits, dtype=np.float32))
        return kept[:, Tier.SUPERCLASS], np.logical_and.reduce(kept, axis=1)


def _rows(part: Any, chosen: Mask | slice) -> Any:
    values = (getattr(part, field.name) for field in fields(part))
    return type(part)(*(None if value is None else value[chosen] for value in values))
