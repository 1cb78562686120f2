"""Features of some pictures with their labels: what heads are fitted on and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.evaluation import label_indexes
from phototag.model import Floats
from phototag.taxonomy import Taxonomy

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Features [N, D] of some pictures, and their superclass and subclass labels [N]; -1 is none of the taxonomy."""

    features: Floats
    superclasses: Labels
    subclasses: Labels

    @classmethod
    def of(cls, features: Floats, pictures: Sequence[LabelledPicture], taxonomy: Taxonomy) -> Part:
        """Return the part of these pictures."""
        return cls(features, *label_indexes(pictures, taxonomy))

    @classmethod
    def of_subclasses(cls, features: Floats, subclasses: Labels, taxonomy: Taxonomy) -> Part:
        """Return the part with these subclass labels."""
        return cls(features, np.asarray(taxonomy.parents, dtype=np.intp)[subclasses], subclasses)

    @property
    def labels(self) -> tuple[Labels, Labels]:
        """Of both levels."""
        return self.superclasses, self.subclasses

    def known(self) -> Part:
        """Return the pictures with a subclass."""
        rows = self.subclasses >= 0
        return Part(self.features[rows], self.superclasses[rows], self.subclasses[rows])

    def __add__(self, other: Part) -> Part:
        return Part(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.superclasses, other.superclasses]),
            np.concatenate([self.subclasses, other.subclasses]),
        )
