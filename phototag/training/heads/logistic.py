"""Multinomial logistic regression on frozen features, fitted in seconds by L-BFGS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from phototag.choices import Balance
from phototag.errors import UsageError
from phototag.model import Floats, LinearHead
from phototag.training.heads.balance import balancing, mixed_rare

Labels = NDArray[np.intp]

_MAX_ITERATIONS = 200
_MOST_AXES = 640

# How much the features of earlier stages count beside the last ones, after scaling.
_EARLIER_WEIGHT = 0.6


@dataclass(frozen=True)
class Scaling:
    """An affine change of features that makes one penalty fit all of them, and folds into the weights afterwards."""

    shift: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Floats, blocks: Sequence[int] | None = None) -> Scaling:
        """Return the scaling of features [N, D] that are a network's last ones, followed by those of earlier stages.

        `blocks` are the widths of these parts, in sum D; None is one block.

        Raises:
            UsageError: the widths do not make up the features.
        """
        widths = [features.shape[1]] if blocks is None else list(blocks)
        if sum(widths) != features.shape[1]:
            raise UsageError(f"{features.shape[1]} features cannot be parts of {widths}")
        # Half-way between raw and standardised features: docs/experiments.md#scaling-of-features
        scales = []
        for number, deviation in enumerate(np.split(features.std(axis=0), np.cumsum(widths)[:-1])):
            typical = float(np.sqrt(np.mean(deviation**2))) or 1.0
            scale = np.sqrt(np.maximum(deviation, 1e-3 * typical) * typical)
            scales.append(scale if number == 0 else scale / np.float32(_EARLIER_WEIGHT))
        return cls(features.mean(axis=0), np.concatenate(scales))

    def apply(self, features: Floats) -> Floats:
        """Return the scaled features [N, D]."""
        result: Floats = (features - self.shift) / self.scale
        return result


def fit_head(
    features: Floats,
    labels: Labels,
    *,
    classes: int,
    penalty: float,
    strategy: Balance = Balance.NONE,
    seed: int = 0,
    blocks: Sequence[int] | None = None,
) -> LinearHead:
    """Fit logistic regression on features [N, D] and labels [N].

    Minimises mean cross-entropy + penalty / 2 * |W|^2 on scaled features, with the loss changed by `strategy`; see
    `fit_scaled`. `blocks` are those of `Scaling.of`.
    There is no label smoothing: docs/experiments.md#label-smoothing-of-heads.

    Raises:
        UsageError: the strategy is `auto`, or the blocks do not make up the features.
    """
    (head,) = fit_alike(features, [Target(labels, classes, penalty)], strategy=strategy, seed=seed, blocks=blocks)
    return head


@dataclass(frozen=True)
class Target:
    """What a head is to learn: labels [N] below `classes`, with a ridge penalty."""

    labels: Labels
    classes: int
    penalty: float


def fit_alike(
    features: Floats, targets: Sequence[Target], *, strategy: Balance, seed: int, blocks: Sequence[int] | None = None
) -> list[LinearHead]:
    """Return a head for each target, fitted on the same features [N, D]; see `fit_head`."""
    scaling = Scaling.of(features, blocks)
    inputs = scaling.apply(features)
    axes = _principal_axes(inputs)
    if axes is not None:
        inputs = inputs @ axes
    heads = []
    for target in targets:
        matrix, bias = fit_scaled(
            inputs, target.labels, classes=target.classes, penalty=target.penalty, strategy=strategy, seed=seed
        )
        weight = (matrix if axes is None else matrix @ axes.T) / scaling.scale
        folded = bias - weight @ scaling.shift
        heads.append(LinearHead(weight.astype(np.float32), folded.astype(np.float32)))
    return heads


def _principal_axes(inputs: Floats) -> Floats | None:
    """Return the principal axes [D, K] of many features [N, D]; None where all are to be taken.

    A rotation changes no fit, and what varies least tells nothing: docs/experiments.md#views.
    """
    if inputs.shape[1] <= _MOST_AXES or len(inputs) <= _MOST_AXES:
        return None
    _, vectors = np.linalg.eigh((inputs.T @ inputs).astype(np.float64))
    result: Floats = vectors[:, ::-1][:, :_MOST_AXES].astype(np.float32)
    return result


def fit_scaled(
    inputs: Floats, labels: Labels, *, classes: int, penalty: float, strategy: Balance, seed: int
) -> tuple[Floats, Floats]:
    """Return the matrix [K, D] and bias [K] of logistic regression on scaled features [N, D].

    There is no sampling in a fit over all pictures at once: under `sampler` each counts as often as it would be
    sampled on average. Under `mix` pictures mixed by `mixed_rare` are added.

    Raises:
        UsageError: the strategy is `auto`.
    """
    plan = balancing(strategy, labels, classes)
    weights = plan.sampling
    if plan.mix_rare:
        inputs, labels = mixed_rare(inputs, labels, classes, seed=seed)
        weights = None
    if plan.sample_weights is not None:
        weights = plan.sample_weights[labels]
    offsets = torch.zeros(classes) if plan.logit_offsets is None else torch.from_numpy(plan.logit_offsets)
    factors = torch.ones(len(labels)) if weights is None else torch.from_numpy(weights)
    return _minimise(torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)), factors, offsets, penalty)


def _minimise(
    inputs: Tensor, targets: Tensor, factors: Tensor, offsets: Tensor, penalty: float
) -> tuple[Floats, Floats]:
    matrix = torch.zeros(len(offsets), inputs.shape[1], requires_grad=True)
    bias = torch.zeros(len(offsets), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [matrix, bias], max_iter=_MAX_ITERATIONS, history_size=10, line_search_fn="strong_wolfe", tolerance_grad=1e-5
    )

    def closure() -> Tensor:
        matrix.grad = bias.grad = None
        logits = torch.addmm(bias + offsets, inputs, matrix.T)
        loss = (factors * F.cross_entropy(logits, targets, reduction="none")).mean()
        loss = loss + penalty / 2 * matrix.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return matrix.detach().numpy(), bias.detach().numpy()
