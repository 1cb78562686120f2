"""Labelled pictures with a model's scores, decoded once: what calibration, thresholds and metrics are taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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

    Novelty probabilities are in `evidence`, where the novelty model was given. `groups` [N] numbers what belongs
    together, such as the pictures of one series: their scores, right or wrong, are not independent.
    """

    taxonomy: Taxonomy
    scores: Scores
    evidence: Evidence
    superclass: Decoded
    subclass: Decoded
    groups: Labels

    @classmethod
    def of(
        cls,
        labels: tuple[Labels, Labels],
        scores: Scores,
        taxonomy: Taxonomy,
        *,
        novelty: NoveltyModel | None = None,
        groups: Labels | None = None,
    ) -> Self:
        """Decode the scores of pictures with these superclass and subclass indexes [N]; see `label_indexes`.

        Without `groups` [N] each picture is one of its own.
        """
        evidence = gather(scores, taxonomy, novelty)
        joint = join(evidence)
        top = joint.superclass[np.arange(len(joint.chosen)), joint.chosen]
        return cls(
            taxonomy,
            scores,
            evidence,
            Decoded(labels[0], joint.chosen, top.clip(0, 1)),
            Decoded(labels[1], joint.child, joint.child_score.clip(0, 1)),
            np.arange(len(joint.chosen)) if groups is None else groups,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return all pictures of parts that share neither a picture nor a group, in order, such as evaluated folds.

        The parts may be by different models of one taxonomy. Embeddings of unequal width are left out.
        """
        ends = np.cumsum([0, *(int(part.groups.max(initial=-1)) + 1 for part in parts)])
        evidence = _concatenated([part.evidence for part in parts])
        if evidence.embedding is None:
            evidence = replace(evidence, embedding=np.zeros((len(evidence.novelty), 0), np.float16))
        return cls(
            parts[0].taxonomy,
            _concatenated([part.scores for part in parts]),
            evidence,
            _concatenated([part.superclass for part in parts]),
            _concatenated([part.subclass for part in parts]),
            np.concatenate([part.groups + end for part, end in zip(parts, ends[:-1], strict=True)]),
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
            _rows(self.scores, chosen),
            _rows(self.evidence, chosen),
            _rows(self.superclass, chosen),
            _rows(self.subclass, chosen),
            self.groups[chosen],
        )

    def known(self, limits: tuple[float, float]) -> tuple[Mask, Mask]:
        """Return for each level which pictures [N] keep their label behind the limits on novelty of both levels."""
        # Comparisons with NaN are false: nothing is novel where the model does not tell.
        kept = ~(self.evidence.novelty > np.array(limits, dtype=np.float32))
        return kept[:, Tier.SUPERCLASS], np.logical_and.reduce(kept, axis=1)


def _rows(part: Any, chosen: Mask | slice) -> Any:
    values = (getattr(part, field.name) for field in fields(part))
    return type(part)(*(None if value is None else value[chosen] for value in values))


def _concatenated(parts: Sequence[Any]) -> Any:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(parts[0]))
    return type(parts[0])(*(_column(values) for values in columns))


def _column(values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    given = [value for value in values if value is not None]
    if len(given) == len(values) and len({value.shape[1:] for value in given}) == 1:
        return np.concatenate(given)
    return None
