"""Pretraining classes: where the classes lie that a backbone was pretrained with, and that no known class is like.

A pretrained backbone comes with a classifier. Its names are of no use for tags, but it has seen many more classes than
the training shows. Photos of an unknown class often look like a class of the pretraining that no known class looks
like; so it is worth knowing where its pictures would lie, though there are none.

A classifier's weights point to where the means of its classes lie (Papyan, Han and Donoho, "Prevalence of neural
collapse during the terminal phase of deep learning training", PNAS 2020; used for new classes by Qi, Brown and Lowe,
"Low-shot learning with imprinted weights", CVPR 2018). How far off, and what the other features are there, is learned
from the training pictures by ridge regression: from the mean of the weights under what the classifier says of a
picture, to its features. So the map suits pictures unlike those of the pretraining, and tuned backbones.

What this gains, and where it does not: docs/experiments.md#pretraining-classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.model.file import EXAMPLES
from phototag.model.linear import Floats, Kinship, softmax

if TYPE_CHECKING:
    import torch

_WEIGHT, _BIAS = f"{EXAMPLES}classifier.weight", f"{EXAMPLES}classifier.bias"
# With few classes the classifier tells of little that the training does not show; with many, scoring a photo would take
# as long as one of the smaller layers.
_FEWEST, _MOST = 50, 2000
# Of the regression, in shares of the mean squared length of what it starts from.
_PENALTY = 2e-3
# A class of the pretraining with this much posterior in a known class hardly stands for unknown ones; how much farther
# it counts to be then, for each e-fold, as a squared distance.
_COMMON, _PENALTY_OF_DISTANCE = 0.03, 50.0


@dataclass(frozen=True)
class Pretraining:
    """The classifier that a backbone was pretrained with: weight [K, W] and bias [K], on its own features [N, W]."""

    weight: Floats
    bias: Floats

    @classmethod
    def find(cls, tensors: Mapping[str, torch.Tensor], backbone: torch.nn.Module, width: int) -> Self | None:
        """Return the classifier among a backbone's pretrained tensors; None without one on features of that width."""
        name = getattr(backbone, "pretrained_cfg", {}).get("classifier")
        if not isinstance(name, str) or not {f"{name}.weight", f"{name}.bias"} <= tensors.keys():
            return None
        weight, bias = (tensors[f"{name}.{part}"].detach().cpu().float().numpy() for part in ("weight", "bias"))
        # Some are convolutions over one pixel.
        weight = weight.reshape(weight.shape[:2]) if weight.size == np.prod(weight.shape[:2]) else weight
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1] or len(bias) < _FEWEST:
            return None
        return cls(weight, bias)

    def posteriors(self, features: Floats) -> PretrainingPosteriors:
        """Return what the classifier says of pictures, from features [N, D] whose first ones are the backbone's own."""
        logits = softmax(features[:, : self.weight.shape[1]] @ self.weight.T + self.bias)
        classifier = self
        if len(logits.T) > _MOST:
            # Those that the pictures look like most: what is unknown will be of the same world.
            chosen = np.sort(np.argsort(-logits.mean(axis=0), kind="stable")[:_MOST])
            classifier, logits = Pretraining(self.weight[chosen], self.bias[chosen]), logits[:, chosen]
        prototypes = classifier.weight - classifier.weight.mean(axis=0)
        return PretrainingPosteriors(classifier, prototypes, logits, logits @ prototypes)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return it as tensors of a model file, in half precision; only `--extend` reads them."""
        most = float(np.finfo(np.float16).max)
        return {
            name: value.clip(-most, most).astype(np.float16)
            for name, value in ((_WEIGHT, self.weight), (_BIAS, self.bias))
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], *, width: int) -> Self | None:
        """Invert `tensors`, for features of `width` in all; None where there are none.

        The file is untrusted.

        Raises:
            ModelError: they are damaged.
        """
        if _WEIGHT not in tensors and _BIAS not in tensors:
            return None
        weight, bias = tensors.get(_WEIGHT, np.empty(0)), tensors.get(_BIAS, np.empty(0))
        if (
            weight.ndim != 2
            or not 0 < weight.shape[1] <= width
            or len(weight) < _FEWEST
            or bias.shape != weight.shape[:1]
            or not all(np.issubdtype(value.dtype, np.floating) and np.isfinite(value).all() for value in (weight, bias))
        ):
            raise ModelError("the classifier that the model's backbone was pretrained with is damaged; train it again")
        return cls(weight.astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True)
class PretrainingPosteriors:
    """What the classifier of the pretraining says of N pictures.

    `classifier` is it, or the classes of it that were taken. `prototypes` [K, W] are its weights about their mean,
    `probabilities` [N, K] those of its classes, and `expected` [N, W] the means of the prototypes under these.
    """

    classifier: Pretraining
    prototypes: Floats
    probabilities: Floats
    expected: Floats

    def rows(self, chosen: NDArray[Any]) -> PretrainingPosteriors:
        """Return those of some of the pictures."""
        return replace(self, probabilities=self.probabilities[chosen], expected=self.expected[chosen])

    def means(self, points: Floats) -> NDArray[np.float64]:
        """Return where the means of the classes [K, D] would lie among the pictures' points [N, D], whose mean is 0."""
        middle = self.expected.mean(axis=0)
        about = self.expected - middle
        covariance = (about.T @ about).astype(np.float64) / len(about)
        covariance[np.diag_indices_from(covariance)] += max(_PENALTY * float(np.trace(covariance)), 1e-12)
        slopes = np.linalg.solve(covariance, (about.T @ points).astype(np.float64) / len(about))
        result: NDArray[np.float64] = (self.prototypes - middle) @ slopes
        return result

    def distance_penalties(self, labels: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how much farther each class [K] counts to be, as a squared distance: more if like a known class.

        `labels` [N] are those of the pictures, `counts` [C] how many each known class has.
        """
        sums = np.zeros((len(counts), self.probabilities.shape[1]))
        np.add.at(sums, labels, self.probabilities)
        most = (sums / np.maximum(counts, 1)[:, None]).max(axis=0)
        result: NDArray[np.float64] = _PENALTY_OF_DISTANCE * np.log(np.maximum(most / _COMMON, 1.0))
        return result

    def kinship(self, labels: NDArray[np.intp], classes: int) -> Kinship:
        """Return what tells how much a photo is like one of the known classes, given their labels [N] of the pictures.

        Each class points where the mean of its pictures' expected prototypes does, and a class of the pretraining is
        as much like it as its prototype goes that way: so breeds that no picture shows are like the breeds shown. Means
        of distances in the features would move with the style of pictures: docs/experiments.md#kinship.
        """
        directions = np.zeros((classes, self.prototypes.shape[1]))
        np.add.at(directions, labels, self.expected)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        return Kinship(
            self.classifier.weight, self.classifier.bias, (self.prototypes @ directions.T).astype(np.float32)
        )
