"""Everything that is fitted on features at once: the heads, the embedding, and the rule that tells novelty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.decision import gather, join
from phototag.evaluation import label_indexes
from phototag.model import Embedding, LinearHead, Pretraining, Reading
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.config import Balance
from phototag.training.heads.embedding import fit_embedding
from phototag.training.heads.novelty_rule import Rule, learn_rule
from phototag.training.heads.selection import HeadChoice, choose_heads, fit_heads

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Features [N, D] of some pictures, and their superclass and subclass labels [N]; -1 is none of the taxonomy."""

    features: Floats
    superclasses: Labels
    subclasses: Labels

    @classmethod
    def of(cls, features: Floats, pictures: Sequence[LabelledPicture], taxonomy: Taxonomy) -> Part:
        """The part of these pictures."""
        return cls(features, *label_indexes(pictures, taxonomy))

    @classmethod
    def of_subclasses(cls, features: Floats, subclasses: Labels, taxonomy: Taxonomy) -> Part:
        """The part with these subclass labels."""
        return cls(features, np.asarray(taxonomy.parents, dtype=np.intp)[subclasses], subclasses)

    @property
    def labels(self) -> tuple[Labels, Labels]:
        """Of both levels."""
        return self.superclasses, self.subclasses

    def known(self) -> Part:
        """The pictures with a subclass."""
        rows = self.subclasses >= 0
        return Part(self.features[rows], self.superclasses[rows], self.subclasses[rows])

    def __add__(self, other: Part) -> Part:
        return Part(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.superclasses, other.superclasses]),
            np.concatenate([self.subclasses, other.subclasses]),
        )


@dataclass(frozen=True)
class Fitted:
    """Both heads and the embedding, all linear maps of the same features."""

    superclass: LinearHead
    subclass: LinearHead
    embedding: Embedding

    def scores(self, features: Floats) -> Scores:
        """Scores of features [N, D]."""
        return Scores(self.superclass.logits(features), self.subclass.logits(features), self.embedding(features))


def accuracy(fitted: Fitted, part: Part, taxonomy: Taxonomy) -> float:
    """Share of right subclasses by the joint decision, among the pictures that have one."""
    known = part.known()
    if not len(known.subclasses):
        return 0.0
    return float((join(gather(fitted.scores(known.features), taxonomy)).child == known.subclasses).mean())


@dataclass(frozen=True)
class Recipe:
    """How everything is to be fitted.

    `choice` is what `choose_heads` found, `blocks` are the widths of the parts of the features. With `pretraining`,
    the classifier that the backbone was pretrained with, the embedding and the rule know of foreign classes.
    """

    choice: HeadChoice
    blocks: Sequence[int]
    seed: int
    pretraining: Pretraining | None = None

    @classmethod
    def choose(
        cls,
        training: Part,
        validation: Part,
        taxonomy: Taxonomy,
        *,
        strategy: Balance,
        blocks: Sequence[int],
        seed: int,
        pretraining: Pretraining | None = None,
    ) -> Recipe:
        """The recipe that does best on the validation part."""
        choice = choose_heads(
            training.features,
            training.labels,
            validation.features,
            validation.labels,
            taxonomy,
            strategy=strategy,
            seed=seed,
            blocks=blocks,
        )
        return cls(choice, blocks, seed, pretraining)

    def fit(self, part: Part, taxonomy: Taxonomy, *, embedding: Embedding | None = None) -> Fitted:
        """Fit heads on a part, and the embedding unless one is given; pictures without a subclass are left out."""
        known = part.known()
        superclass, subclass = fit_heads(
            known.features,
            known.labels,
            taxonomy,
            penalties=self.choice.penalties,
            strategy=self.choice.strategy,
            seed=self.seed,
            blocks=self.blocks,
        )
        if embedding is None:
            embedding = fit_embedding(
                known.features, known.subclasses, classes=len(taxonomy.subclasses), reading=self._reading(known)
            )
        return Fitted(superclass, subclass, embedding)

    def rule(self, part: Part, taxonomy: Taxonomy) -> Rule:
        """How novelty shows, learned by leaving classes of this part out."""
        known = part.known()
        return learn_rule(
            known.features,
            known.subclasses,
            taxonomy,
            blocks=self.blocks,
            reading=self._reading(known),
            seed=self.seed,
        )

    def _reading(self, part: Part) -> Reading | None:
        return None if self.pretraining is None else self.pretraining.read(part.features)

    def to_json(self) -> dict[str, Any]:
        """What was chosen and what it was chosen from, for the training record."""
        return {
            "penalties": list(self.choice.penalties),
            "balance": str(self.choice.strategy),
            "balance_trials": self.choice.table,
        }
