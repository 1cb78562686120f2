"""Temperatures that calibrate scores on validation pictures, and by how much they do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation import Level, Validation, expected_calibration_error
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor

FEWEST_PICTURES = 50
"""With fewer labelled validation pictures a level keeps the temperature 1: the fit would follow chance."""

# A level this well calibrated is left alone: more only makes scores bolder.
# docs/experiments.md#levels-that-are-calibrated-already
_CALIBRATED = 0.01
_RANGE = (0.2, 5.0)
_MOST_PICTURES = 10_000
_BINS = 15


@dataclass(frozen=True, slots=True)
class Temperatures:
    """What the logits of each head are divided by; above 1 the scores become more modest, below 1 bolder."""

    superclass: float = 1.0
    subclass: float = 1.0

    def scaled(self, scores: Scores) -> Scores:
        """Return the scores that a network has after `folded`."""
        return Scores(
            scores.superclass / np.float32(self.superclass),
            scores.subclass / np.float32(self.subclass),
            scores.embedding,
        )

    def folded(self, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return the tensors of a `DualHead` whose logits are calibrated: the heads' weights and biases are divided.

        So whatever reads the model, in whatever runtime, needs to know nothing of temperatures.
        """
        result = dict(tensors)
        for level, value in asdict(self).items():
            for part in ("weight", "bias"):
                name = f"{level}_head.{part}"
                result[name] = tensors[name] / np.float32(value)
        return result


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores in (low, high]: their number, their mean, and the share of them that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well one level is calibrated: the expected calibration error before and after, and the bins after.

    Over the pictures with a label at this level. The errors are None where there are none.
    """

    ece_before: float | None
    ece_after: float | None
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The temperatures of a model and what they did to the scores at each level."""

    temperatures: Temperatures
    superclass: Reliability
    subclass: Reliability

    @classmethod
    def of(cls, temperatures: Temperatures, before: Validation, after: Validation) -> Calibration:
        """Return what temperatures did to the scores of the pictures that they were fitted on.

        For two numbers fitted on fifty or more pictures, mostly hundreds, the flattery is far below what chance does to
        the error itself.
        """
        levels = [(old.labelled, new.labelled) for old, new in zip(before.levels, after.levels, strict=True)]
        return cls(temperatures, *(Reliability(_error(old), _error(new), _bins(new)) for old, new in levels))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for the training record."""
        return asdict(self)


def fit_temperatures(validation: Validation) -> Temperatures:
    """Return the temperatures under which the joint distribution of `decision.join` makes the true labels likeliest.

    Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2) with one
    temperature a head, fitted together since each head speaks about both levels. Minimised is the mean of -log p(s)
    over the pictures with a superclass plus that of -log p(s, c) over those with a subclass. The temperatures lie
    between 0.2 and 5. A level with fewer than `FEWEST_PICTURES` labels keeps 1, and so does one whose expected
    calibration error is 1 % or less as it is.
    """
    import torch

    # Two numbers need no more pictures than that.
    validation = validation.rows(slice(None, None, math.ceil(len(validation) / _MOST_PICTURES) or 1))
    levels = [level.labelled for level in validation.levels]
    counts = [len(level.right) for level in levels]
    wrong = [(_error(level) or 0.0) > _CALIBRATED for level in levels]
    free = torch.tensor([count >= FEWEST_PICTURES and far for count, far in zip(counts, wrong, strict=True)])
    if not free.any():
        return Temperatures()
    scores, taxonomy = validation.scores, validation.taxonomy
    logits = (torch.from_numpy(scores.superclass).double(), torch.from_numpy(scores.subclass).double())
    truth = [torch.from_numpy(level.truth.astype(np.int64)) for level in validation.levels]
    logs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperatures = (logs * free).exp()
        loss = _negative_log_likelihood(logits[0] / temperatures[0], logits[1] / temperatures[1], truth, taxonomy)
        # As much as one picture has to say: it keeps a level without a single mistake from asking for certainty.
        loss = loss + logs.square().sum() / (2 * max(counts))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    superclass, subclass = (logs * free).detach().exp().clamp(*_RANGE).tolist()
    return Temperatures(superclass, subclass)


def _negative_log_likelihood(
    superclass: Tensor, subclass: Tensor, truth: Sequence[Tensor], taxonomy: Taxonomy
) -> Tensor:
    """Return the loss of `fit_temperatures` for logits [N, S] and [N, C] and true indexes [N], -1 for none."""
    import torch

    pooled = torch.stack([subclass[:, children].logsumexp(1) for children in taxonomy.children], dim=1)
    joint = ((superclass.log_softmax(1) + pooled.log_softmax(1)) / 2).log_softmax(1)
    parents = torch.empty(len(taxonomy.subclasses), dtype=torch.int64)
    for parent, children in enumerate(taxonomy.children):
        parents[list(children)] = parent
    (top,), (sub,) = ((labels >= 0).nonzero(as_tuple=True) for labels in truth)
    total = torch.zeros((), dtype=superclass.dtype)
    if len(top):
        total = total - joint[top, truth[0][top]].mean()
    if len(sub):
        child = truth[1][sub]
        parent_of = parents[child]
        total = total - (joint[sub, parent_of] + subclass[sub, child] - pooled[sub, parent_of]).mean()
    return total


def _error(level: Level) -> float | None:
    return expected_calibration_error(level.scores, level.right)


def _bins(level: Level) -> tuple[Bin, ...]:
    """Return the bins that hold something, cut as for the expected calibration error."""
    edges = np.arange(1, _BINS) / _BINS
    values, right = level.scores, level.right
    which = np.searchsorted(edges, values, side="left")
    return tuple(
        Bin(
            low=round(number / _BINS, 4),
            high=round((number + 1) / _BINS, 4),
            count=int((which == number).sum()),
            confidence=round(float(values[which == number].mean()), 5),
            accuracy=round(float(right[which == number].mean()), 5),
        )
        for number in np.unique(which).tolist()
    )
