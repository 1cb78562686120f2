"""The linear maps of a model: a head gives logits of features, an embedding gives a short description of them."""

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
class Embedding(LinearHead):
    """Embeddings are the logits of a head with weight [E, D] and bias [E]; `space` tells where classes lie in them."""

    space: Space

    def __call__(self, features: Floats) -> Floats:
        """Return embeddings [N, E] of features [N, D]."""
        return self.logits(features)
