"""The maps of a model: a head gives logits of features, an embedding gives a short description of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.decision import Space

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier: logits = features @ weight.T + bias, with weight [K, D] and bias [K]."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Return logits [N, K] of features [N, D]."""
        result: Floats = features @ self.weight.T + self.bias
        return result


@dataclass(frozen=True)
class Kinship:
    """How much what the classifier of the pretraining says of a photo is like what it says of a known superclass.

    The classifier has weight [K, W] and bias [K], on the first W features; `relations` [K, S] are how much each of its
    classes is like each superclass. A photo's kinship is the largest mean of these under its probabilities.
    """

    weight: Floats
    bias: Floats
    relations: Floats

    def of(self, probabilities: Floats) -> Floats:
        """Return the kinship [N] of photos, given the probabilities [N, K] of the classifier's classes."""
        result: Floats = (probabilities @ self.relations).max(axis=1)
        return result


@dataclass(frozen=True)
class Embedding(LinearHead):
    """Embeddings are the logits of a head with weight [E, D] and bias [E]; `space` tells where classes lie in them.

    With `kinship` they have that as one number more.
    """

    space: Space
    kinship: Kinship | None = None

    def __call__(self, features: Floats) -> Floats:
        """Return embeddings [N, E], or [N, E + 1], of features [N, D]."""
        axes, kinship = self.logits(features), self.kinship
        if kinship is None:
            return axes
        probabilities = softmax(features[:, : kinship.weight.shape[1]] @ kinship.weight.T + kinship.bias)
        return np.column_stack([axes, kinship.of(probabilities)])


def softmax(logits: Floats) -> Floats:
    """Return the probabilities [N, K] of logits [N, K], in their place."""
    np.exp(logits - logits.max(axis=1, keepdims=True), out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
