"""Features of some pictures with their labels: what heads are fitted on and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture, group_numbers
from phototag.evaluation import label_indexes
from phototag.model import Floats
from phototag.taxonomy import Taxonomy

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Features [N, D] of some pictures, their superclass and subclass labels [N], -1 for none, and their groups [N].

    `views` [N, V, D] are features of random views of them; V may be 0.
    """

    features: Floats
    superclasses: Labels
    subclasses: Labels
    groups: Labels
    views: Floats

    @classmethod
    def of(
        cls,
        features: Floats,
        pictures: Sequence[LabelledPicture],
        taxonomy: Taxonomy,
        *,
        views: Floats | None = None,
    ) -> Part:
        """Return the part of these pictures, without views unless they are given."""
        found = _no_views(features) if views is None else views
        return cls(features, *label_indexes(pictures, taxonomy), group_numbers(pictures), found)

    @classmethod
    def of_subclasses(cls, features: Floats, subclasses: Labels, taxonomy: Taxonomy) -> Part:
        """Return the part with these subclass labels, each picture its own group."""
        parents = np.asarray(taxonomy.parents, dtype=np.intp)
        return cls(features, parents[subclasses], subclasses, np.arange(len(subclasses)), _no_views(features))

    @property
    def labels(self) -> tuple[Labels, Labels]:
        """Of both levels."""
        return self.superclasses, self.subclasses

    def known(self) -> Part:
        """Return the pictures with a subclass."""
        return self.rows(self.subclasses >= 0)

    def rows(self, chosen: NDArray[np.bool_]) -> Part:
        """Return some of the pictures."""
        return Part(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.subclasses)

    def __add__(self, other: Part) -> Part:
        """Return the pictures of both, which have no group in common."""
        return Part(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.superclasses, other.superclasses]),
            np.concatenate([self.subclasses, other.subclasses]),
            np.concatenate([self.groups, other.groups + self.groups.max(initial=-1) + 1]),
            np.concatenate([self.views, other.views]),
        )

    def with_views(self) -> tuple[Floats, tuple[Labels, Labels]]:
        """Return features [N + N * V, D] and labels of the pictures, followed by those of their views."""
        count = self.views.shape[1]
        features = np.concatenate([self.features, self.views.reshape(-1, self.features.shape[1])])
        superclasses, subclasses = (np.concatenate([labels, labels.repeat(count)]) for labels in self.labels)
        return features, (superclasses, subclasses)


def _no_views(features: Floats) -> Floats:
    return np.zeros((len(features), 0, features.shape[1]), dtype=np.float32)
