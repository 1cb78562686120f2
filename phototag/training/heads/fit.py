"""Everything that is fitted on features at once: the heads, the embedding, and the rule that tells novelty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from phototag.evaluation import Validation
from phototag.model import Embedding, Floats, Kinship, LinearHead, Pretraining, PretrainingPosteriors
from phototag.progress import waiting
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.config import HeadsConfig
from phototag.training.heads.embedding import extend_embedding, fit_embedding
from phototag.training.heads.novelty_rule import Rule, learn_rule
from phototag.training.heads.part import Labels, Part
from phototag.training.heads.selection import HeadChoice, accuracies_by_pictures, choose_heads, fit_heads


@dataclass(frozen=True)
class Fitted:
    """Both heads and the embedding, all linear maps of the same features."""

    superclass: LinearHead
    subclass: LinearHead
    embedding: Embedding

    def scores(self, features: Floats) -> Scores:
        """Return scores of features [N, D]."""
        return Scores(self.superclass.logits(features), self.subclass.logits(features), self.embedding(features))


def accuracy(fitted: Fitted, part: Part, taxonomy: Taxonomy) -> float:
    """Return the share of right subclasses by the joint decision, among the pictures that have one; 0 without any."""
    known = part.known()
    return Validation.of(known.labels, fitted.scores(known.features), taxonomy).subclass.accuracy or 0.0


@dataclass(frozen=True)
class Recipe:
    """How everything is to be fitted.

    `choice` is what `choose_heads` found, `blocks` are the widths of the parts of the features. With `pretraining`,
    the classifier that the backbone was pretrained with, the embedding and the rule know of pretraining classes.
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
        config: HeadsConfig,
        blocks: Sequence[int],
        pretraining: Pretraining | None = None,
    ) -> Recipe:
        """Return the recipe that does best on the validation part."""
        with waiting("choosing how the heads are fitted"):
            strategy, seed = config.balance, config.seed
            choice = choose_heads(training, validation, taxonomy, strategy=strategy, seed=seed, blocks=blocks)
        return cls(choice, blocks, config.seed, pretraining)

    def fit(self, part: Part, taxonomy: Taxonomy, *, embedding: Embedding | None = None) -> Fitted:
        """Fit heads on a part, and the embedding unless one is given; pictures without a subclass are left out."""
        known = part.known()
        with waiting("fitting the heads"):
            features, labels = known.with_views()
            superclass, subclass = fit_heads(
                features,
                labels,
                taxonomy,
                penalties=self.choice.penalties,
                strategy=self.choice.strategy,
                seed=self.seed,
                blocks=self.blocks,
            )
            if embedding is None:
                embedding = self._embedding(known, taxonomy)
        return Fitted(superclass, subclass, embedding)

    def accuracies_by_pictures(self, part: Part, taxonomy: Taxonomy) -> tuple[float, float]:
        """Return shares of right labels in folds of single pictures; see there."""
        return accuracies_by_pictures(part, taxonomy, self.choice, seed=self.seed, blocks=self.blocks)

    def extend(
        self, embedding: Embedding, part: Part, taxonomy: Taxonomy, *, moved: Labels, learned: Labels
    ) -> Embedding:
        """Return the embedding with the classes of a taxonomy, from pictures of all; see `extend_embedding`."""
        posteriors = self._posteriors(part)
        extended = extend_embedding(
            embedding,
            part.features,
            part.subclasses,
            classes=len(taxonomy.subclasses),
            moved=moved,
            learned=learned,
            posteriors=posteriors,
        )
        return replace(extended, kinship=_kinship(posteriors, part, taxonomy))

    def rule(self, part: Part, taxonomy: Taxonomy) -> Rule:
        """Learn how novelty shows, by holding out classes of this part."""
        known = part.known()
        with waiting("learning what is novel"):
            return learn_rule(
                known.features,
                known.subclasses,
                taxonomy,
                blocks=self.blocks,
                posteriors=self._posteriors(known),
                groups=known.groups,
                seed=self.seed,
            )

    def _embedding(self, known: Part, taxonomy: Taxonomy) -> Embedding:
        posteriors, classes = self._posteriors(known), len(taxonomy.subclasses)
        embedding = fit_embedding(known.features, known.subclasses, classes=classes, posteriors=posteriors)
        return replace(embedding, kinship=_kinship(posteriors, known, taxonomy))

    def _posteriors(self, part: Part) -> PretrainingPosteriors | None:
        return None if self.pretraining is None else self.pretraining.posteriors(part.features)

    def to_json(self) -> dict[str, Any]:
        """Return what was chosen and what it was chosen from, for the training record."""
        return {
            "penalties": list(self.choice.penalties),
            "balance": str(self.choice.strategy),
            "balance_trials": self.choice.table,
        }


def _kinship(posteriors: PretrainingPosteriors | None, part: Part, taxonomy: Taxonomy) -> Kinship | None:
    return None if posteriors is None else posteriors.kinship(part.superclasses, len(taxonomy.superclasses))
