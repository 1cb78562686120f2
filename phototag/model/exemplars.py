"""Features of some pictures of every class, kept in the model file: what `train --extend` learns the old classes from.

They are averages over whole pictures, from which no picture can be made again. With them goes the classifier that the
backbone was pretrained with, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.model.file import EXAMPLES
from phototag.model.pretrained import Pretraining

_EACH = 64
_MOST = 16_384
_NAMES = ("features", "labels", "unseen")


@dataclass(frozen=True)
class Examples:
    """Features [M, D] and subclass labels [M]; `unseen` [M] are those that nothing was learned from by gradient."""

    features: NDArray[np.float32]
    labels: NDArray[np.intp]
    unseen: NDArray[np.bool_]
    pretraining: Pretraining | None = None

    @staticmethod
    def most(classes: int) -> int:
        """Return the most examples that are kept of so many classes."""
        return classes * max(2, min(_EACH, _MOST // classes))

    @classmethod
    def of(
        cls,
        training: tuple[NDArray[np.float32], NDArray[np.intp]],
        validation: tuple[NDArray[np.float32], NDArray[np.intp]],
        *,
        classes: int,
        seed: int,
        pretraining: Pretraining | None = None,
    ) -> Self:
        """Return up to 64 of each class, fewer for hundreds of classes, from features and labels of both parts."""
        features = np.concatenate([training[0], validation[0]])
        labels = np.concatenate([training[1], validation[1]])
        unseen = np.arange(len(labels)) >= len(training[1])
        each = cls.most(classes) // classes
        random = np.random.default_rng(seed)
        chosen: list[int] = []
        for label in range(classes):
            # In the same proportion of both parts, so that the parts stay what they are.
            for part in (False, True):
                members = np.flatnonzero((labels == label) & (unseen == part))
                share = max(1, round(each * len(members) / max(1, (labels == label).sum())))
                chosen += random.permutation(members)[:share].tolist()
        rows = np.sort(np.array(chosen, dtype=np.intp))
        return cls(features[rows], labels[rows], unseen[rows], pretraining)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return them as tensors of a model file, in half precision."""
        most = float(np.finfo(np.float16).max)
        arrays = (self.features.clip(-most, most).astype(np.float16), self.labels.astype(np.int32))
        names = (f"{EXAMPLES}{name}" for name in _NAMES)
        examples: dict[str, NDArray[Any]] = dict(zip(names, (*arrays, self.unseen.astype(np.uint8)), strict=True))
        return examples if self.pretraining is None else examples | self.pretraining.tensors()

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], *, classes: int, width: int) -> Self:
        """Invert `tensors`; the file is untrusted.

        Raises:
            ModelError: there are no examples, or they do not fit the model.
        """
        try:
            features, labels, unseen = (tensors[f"{EXAMPLES}{name}"] for name in _NAMES)
        except KeyError:
            raise ModelError("the model keeps no examples of its classes; train it again with all data") from None
        count = labels.size
        if (
            (labels.shape, unseen.shape, features.shape) != ((count,), (count,), (count, width))
            or not (np.issubdtype(labels.dtype, np.integer) and np.issubdtype(features.dtype, np.floating))
            or not np.isfinite(features).all()
            or not ((labels >= 0) & (labels < classes)).all()
        ):
            raise ModelError("the model's examples are damaged; train it again with all data")
        without = classes - len(np.unique(labels))
        if without:
            raise ModelError(f"the model keeps no examples of {without} of its classes; train it again with all data")
        pretraining = Pretraining.from_tensors(tensors, width=width)
        return cls(features.astype(np.float32), labels.astype(np.intp), unseen.astype(np.bool_), pretraining)

    def parts(self) -> Sequence[NDArray[np.bool_]]:
        """Return which examples are to be learned from, and which are for validation."""
        return ~self.unseen, self.unseen
