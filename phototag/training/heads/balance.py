"""Strategies against classes of unequal size: what each changes in a loss or in the order of pictures. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Balance
from phototag.errors import UsageError

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]

# How far sampling evens out the classes, as a power of their sizes: 1 is every class equally often.
_SAMPLING_POWER = {Balance.SAMPLER: 1.0, Balance.MIX: 0.5}

_MOST_MIXED = 2
_LARGER = 3  # the kappa of Remix


@dataclass(frozen=True)
class Balancing:
    """What a strategy changes in training on N pictures of C classes; None is no change.

    Attributes:
        sample_weights: [C], the factor of each picture's loss by its class, with mean 1 over the pictures.
        logit_offsets: [C], what is added to the logits in the training loss, and never at inference.
        sampling: [N], how often each picture is to be sampled in relation to the others, with mean 1; None samples each
            once an epoch.
        mix_rare: Whether the pictures that are sampled more often than once are to be mixed with others.
    """

    sample_weights: Floats | None = None
    logit_offsets: Floats | None = None
    sampling: Floats | None = None
    mix_rare: bool = False


def balancing(strategy: Balance, labels: Labels, classes: int) -> Balancing:
    """Return what `strategy` changes in training on pictures with these labels [N], each 0 to `classes` - 1.

    Raises:
        UsageError: the strategy is `auto`, which has to be resolved first.
    """
    if strategy is Balance.AUTO:
        raise UsageError("the balance 'auto' is chosen from the other strategies by a training's heads; name one")
    counts = np.bincount(labels, minlength=classes)
    if strategy is Balance.LOSS:
        return Balancing(sample_weights=effective_weights(counts))
    if strategy is Balance.LOGITS:
        return Balancing(logit_offsets=prior_offsets(counts))
    if strategy in _SAMPLING_POWER:
        sampling = 1 / np.maximum(counts, 1)[labels] ** _SAMPLING_POWER[strategy]
        even = (sampling / sampling.mean()).astype(np.float32) if len(labels) else sampling.astype(np.float32)
        return Balancing(sampling=even, mix_rare=strategy is Balance.MIX)
    return Balancing()


def effective_weights(counts: Labels) -> Floats:
    """Return weights [C], inverse to the effective number of each class's pictures; 0 for classes without any.

    E_n = (1 - beta^n) / (1 - beta) with beta = (N - 1) / N, where N stands for the number of distinct pictures that a
    class could show (Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, eq. 2 and
    section 3). N is taken as the size of the largest class, so that its pictures count as 63 % of their number and
    those of small classes nearly in full. The weights have mean 1 over the pictures.
    """
    weights = np.zeros(len(counts))
    present = counts > 0
    if not present.any():
        return weights.astype(np.float32)
    beta = 1 - 1 / counts.max()
    # The limit of beta = 0, one picture a class, is the same for all classes.
    weights[present] = (1 - beta) / (1 - beta ** counts[present])
    result: Floats = (weights * counts.sum() / (weights @ counts)).astype(np.float32)
    return result


def prior_offsets(counts: Labels) -> Floats:
    """Return the logarithm [C] of each class's share of the pictures: added to the logits, a loss learns the rest.

    Logit adjustment with tau = 1 (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, eq. 10). A class
    without pictures has offset 0, the highest there is: training then makes it the least likely, as without offsets.
    """
    offsets = np.zeros(len(counts))
    present = counts > 0
    offsets[present] = np.log(counts[present] / counts.sum())
    return offsets.astype(np.float32)


def mixed_rare(features: Floats, labels: Labels, classes: int, *, seed: int) -> tuple[Floats, Labels]:
    """Return features [N + M, D] and labels [N + M]: those given, and M mixed ones of the rarer classes after them.

    Every class of n pictures gets as many as make sqrt(n * most), the geometric mean of its size and that of the
    largest class; all together no more than twice as many as were given. A mixed one is a * x + (1 - a) * y with a
    sampled from [0.5, 1], x of the rare class and y of the same class or of one at least three times as large, and is
    labelled as x: so the rare class takes the space between itself and its larger neighbours (Chou et al., "Remix:
    rebalanced mixup", ECCV 2020 workshops, eq. 6, in the space of features).
    """
    random = np.random.default_rng(seed)
    counts = np.bincount(labels, minlength=classes)
    wanted = np.where(counts > 0, np.sqrt(counts * counts.max(initial=0)) - counts, 0)
    most = _MOST_MIXED * len(labels)
    wanted = np.rint(wanted * min(1.0, most / max(wanted.sum(), 1.0))).astype(np.intp)
    parts, names = [features], [labels]
    for label in np.flatnonzero(wanted):
        of_class = labels == label
        partners = np.flatnonzero(of_class | (counts[labels] >= _LARGER * counts[label]))
        first = features[random.choice(np.flatnonzero(of_class), wanted[label])]
        second = features[random.choice(partners, wanted[label])]
        share = random.uniform(0.5, 1, (wanted[label], 1)).astype(np.float32)
        parts.append(share * first + (1 - share) * second)
        names.append(np.full(wanted[label], label, dtype=labels.dtype))
    return np.concatenate(parts), np.concatenate(names)


LONG_TAIL = 10.0
"""Where some class has so many times the pictures of another, something is to be done about it."""


def unevenness(labels: NDArray[np.intp]) -> float:
    """Return how many times as many pictures the largest class has as the smallest that has any."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return float(counts.max() / counts.min()) if len(counts) else 1.0


def is_long_tailed(labels: NDArray[np.intp]) -> bool:
    """Return whether classes are so unequal that adjusting for it is sure to help."""
    return unevenness(labels) >= LONG_TAIL
