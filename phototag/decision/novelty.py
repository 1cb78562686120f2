"""How far a photo is out of distribution, from what one forward pass gives. Pure: numpy only.

Novelty has two tiers: a photo may be of an unknown superclass, or of a known superclass and an unknown subclass. Each
has its own probability, by logistic regression on a few signals:

- the free energy of each head, -log sum exp(logits) (Liu et al., "Energy-based out-of-distribution detection", NeurIPS
  2020, equation 4), which is low for photos that some class claims;
- the relative Mahalanobis distance of the embedding: to the nearest class, less that to all classes as one (Ren et al.,
  "A simple fix to Mahalanobis distance for improving near-OOD detection", 2021, equation 3);
- how much nearer the nearest class is than the second one, and how far from everything the photo lies;
- how much nearer the nearest class is than the nearest pretraining class: one that the backbone was pretrained with
  and that is none of the known ones (`phototag.model.pretrained` tells how these are found);
- how little what the classifier of the pretraining says of the photo is like what it says of a known superclass. That
  moves least in photos taken unlike the training's: a photo of a dog is like a dog to it, whoever took it.

The embedding is a linear map of the features in which the classes of the training have unit variance about their means
(linear discriminant analysis), so Mahalanobis distances are Euclidean ones there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.records import Scores

Floats = NDArray[np.float64]

SIGNALS = ("energy", "superclass_energy", "relative", "margin", "background", "foreign", "unrelated")
# Files written before there were pretraining classes know the others.
_FEWEST_SIGNALS = 5
NOVELTY = "novelty."
_LARGEST_WEIGHT = 1e6
_MEANS, _SPREAD = f"{NOVELTY}means", f"{NOVELTY}spread"
_PRETRAINING, _PENALTIES = f"{NOVELTY}foreign", f"{NOVELTY}setbacks"


class Tier(IntEnum):
    """What may be unknown of a photo, in the order of the probabilities."""

    SUPERCLASS = 0
    SUBCLASS = 1


@dataclass(frozen=True, slots=True)
class PretrainingClasses:
    """Where pretraining classes lie among the embeddings: `means` [K, E].

    `penalties` [K] are added to the squared distances: the more, the more a known class is like that one.
    """

    means: NDArray[np.float32]
    penalties: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Space:
    """Where the known classes lie among the embeddings.

    `means` [C, E] are those of the subclasses, about the mean of all pictures; `spread` [E] is the variance of all
    pictures along each axis, that within the classes being 1. `pretraining` is None where no pretraining classes
    are known. Embeddings with kinship have one number more, behind the axes; see `phototag.model.Kinship`.
    """

    means: NDArray[np.float32]
    spread: NDArray[np.float32]
    pretraining: PretrainingClasses | None = None

    def squared_distances(self, embedding: NDArray[np.floating[Any]]) -> Floats:
        """Return the squared distances [B, C] of embeddings [B, E] to the mean of every class."""
        return _squared_distances(embedding, self.means)

    def signals(self, scores: Scores) -> Floats:
        """Return the signals [B, F] of scores with an embedding, higher where a photo is more novel; see `SIGNALS`.

        Raises:
            ModelError: the scores have no embedding, or one of another width or with values that are not finite.
        """
        embedding, axes = scores.embedding, len(self.spread)
        if embedding is None or embedding.ndim != 2 or embedding.shape[1] - axes not in (0, 1):
            raise ModelError("the scores hold no embedding that fits the model's; the model file is damaged")
        if not np.isfinite(embedding).all():
            raise ModelError("the network gave an embedding that is not finite; the model is broken or overflows")
        # The sum is 0 where there is no kinship.
        embedding, kinship = embedding[:, :axes], embedding[:, axes:].sum(axis=1)
        distances = self.squared_distances(embedding)
        nearest = np.partition(distances, 1, axis=1)[:, :2] if distances.shape[1] > 1 else distances.repeat(2, axis=1)
        background = (embedding.astype(np.float64) ** 2 / self.spread).sum(1)
        return np.stack(
            [
                _energy(scores.subclass),
                _energy(scores.superclass),
                nearest[:, 0] - background,
                nearest[:, 0] - nearest[:, 1],
                np.sqrt(background),
                self._nearer_pretraining(embedding, nearest[:, 0]),
                -kinship,
            ],
            axis=1,
        )

    def _nearer_pretraining(self, embedding: NDArray[np.float32], nearest: Floats) -> Floats:
        """Return how much nearer [B] a pretraining class lies than the nearest known one; 0 where none is known."""
        if self.pretraining is None:
            return np.zeros(len(embedding))
        distances = _squared_distances(embedding, self.pretraining.means) + self.pretraining.penalties
        result: Floats = nearest - distances.min(axis=1)
        return result


def _squared_distances(embedding: NDArray[np.floating[Any]], means: NDArray[np.float32]) -> Floats:
    points, centres = embedding.astype(np.float64), means.astype(np.float64)
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1)[None]
    result: Floats = np.maximum(squares - 2 * points @ centres.T, 0.0)
    return result


def _energy(logits: NDArray[np.float32]) -> Floats:
    values = logits.astype(np.float64)
    top = values.max(axis=1)
    result: Floats = -(top + np.log(np.exp(values - top[:, None]).sum(axis=1)))
    return result


@dataclass(frozen=True, slots=True)
class Standardizer:
    """Standardizes signals by the means [F] and standard deviations [F] of those of known photos."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, signals: Floats) -> Self:
        """Return that of the signals [N, F] of known photos."""
        return cls(signals.mean(0), np.maximum(signals.std(0), 1e-6))

    def __call__(self, signals: Floats) -> Floats:
        """Return the signals [B, F] in standard deviations from the mean, clipped to what can be."""
        result: Floats = np.clip((signals - self.mean) / self.deviation, -20.0, 20.0)
        return result


@dataclass(frozen=True, slots=True)
class NoveltyModel:
    """The probabilities of both tiers, given signals: sigmoid of `weights` [2, F] @ signals + `biases` [2]."""

    space: Space
    standard: Standardizer
    weights: Floats
    biases: Floats

    def probabilities(self, scores: Scores) -> NDArray[np.float32]:
        """Return the probabilities that the superclass, and the subclass, of each photo is unknown: [B, 2]; see `Tier`.

        The second one is at least the first one: a photo of an unknown superclass is of an unknown subclass.
        """
        logits = self.standard(self.space.signals(scores)) @ self.weights.T + self.biases
        each = 1 / (1 + np.exp(-logits.clip(-500, 500)))
        # In this form rounding never takes it below the first one.
        each[:, Tier.SUBCLASS] = each[:, Tier.SUPERCLASS] + each[:, Tier.SUBCLASS] * (1 - each[:, Tier.SUPERCLASS])
        result: NDArray[np.float32] = each.astype(np.float32)
        return result

    def to_json(self) -> dict[str, Any]:
        """Return all but the space, as plain values for JSON."""
        return {
            "signals": list(SIGNALS),
            "mean": self.standard.mean.tolist(),
            "deviation": self.standard.deviation.tolist(),
            "weights": self.weights.tolist(),
            "biases": self.biases.tolist(),
        }

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the space, as tensors of a model file."""
        pretraining = self.space.pretraining
        known = {_MEANS: self.space.means, _SPREAD: self.space.spread}
        if pretraining is None:
            return known
        return {**known, _PRETRAINING: pretraining.means, _PENALTIES: pretraining.penalties}

    @classmethod
    def from_json(cls, value: Any, tensors: Mapping[str, NDArray[np.float32]]) -> Self:
        """Return the inverse of `to_json` and `tensors`; both may be untrusted.

        Raises:
            ModelError: they are not such a model, or of another phototag.
        """
        try:
            signals = tuple(value["signals"])
            if signals != SIGNALS[: max(len(signals), _FEWEST_SIGNALS)]:
                raise ModelError("the model's novelty scores are of another phototag; train it again")
            mean, deviation, weights, biases = (
                np.asarray(value[name], dtype=np.float64) for name in ("mean", "deviation", "weights", "biases")
            )
            space = Space(tensors[_MEANS], tensors[_SPREAD], _pretraining(tensors))
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ModelError(f"the model's novelty scores are damaged: {error}") from error
        count = len(signals)
        shapes = (mean.shape, deviation.shape, weights.shape, biases.shape)
        fits = shapes == ((count,), (count,), (len(Tier), count), (len(Tier),))
        arrays = (mean, deviation, weights, biases)
        if (
            not fits
            or not _is_sound(space)
            or not all(np.isfinite(array).all() for array in arrays)
            or not (deviation > 0).all()
            or max(np.abs(weights).max(), np.abs(biases).max()) > _LARGEST_WEIGHT
        ):
            raise ModelError("the model's novelty scores are damaged: shapes or values that cannot be")
        more = (0, len(SIGNALS) - count)
        standard = Standardizer(np.pad(mean, more), np.pad(deviation, more, constant_values=1.0))
        return cls(space, standard, np.pad(weights, ((0, 0), more)), biases)


def _pretraining(tensors: Mapping[str, NDArray[np.float32]]) -> PretrainingClasses | None:
    if _PRETRAINING in tensors or _PENALTIES in tensors:
        return PretrainingClasses(tensors[_PRETRAINING], tensors[_PENALTIES])
    return None


def _is_sound(space: Space) -> bool:
    """Return whether the shapes fit each other and all values are possible."""
    arrays, pretraining = [space.means, space.spread], space.pretraining
    fits = space.means.ndim == 2 and len(space.means) > 0 and space.means.shape[1:] == space.spread.shape
    if pretraining is not None:
        means, penalties = pretraining.means, pretraining.penalties
        arrays += [means, penalties]
        fits &= len(means) > 0 and means.shape == (*penalties.shape, *space.spread.shape)
    return (
        fits
        and all(np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all() for array in arrays)
        and bool((space.spread > 0).all())
    )
