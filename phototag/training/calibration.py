"""What the validation pictures say about the scores: temperatures that make them honest, and plain thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import LabelledPicture
from phototag.decision import NoveltyModel, Thresholds, Tier
from phototag.evaluation import expected_calibration_error
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor
from phototag.evaluation import best_scores, label_indexes

# A score below a half never keeps more than it loses; above, backing off is a matter of taste.
_HIGHEST = 0.5
_LOST_SHARE = 0.0025
_LOST_SUPERCLASSES = 0.1
_FEWEST_RIGHT = 20

FEWEST_PICTURES = 50
"""With fewer labelled validation pictures a level keeps the temperature 1: the fit would follow chance."""

# A level this honest is left alone. Where hardly anything is wrong the likelihood asks for bolder scores still, which
# gains nothing there and shows on kinds never learned: of those with an unknown superclass, 77 % instead of 63 % got a
# superclass score above 0.9 (measured).
_HONEST_ECE = 0.01
_RANGE = (0.2, 5.0)
_MOST_PICTURES = 10_000
_BINS = 15


@dataclass(frozen=True, slots=True)
class Temperatures:
    """What the logits of each head are divided by; above 1 the scores become more modest, below 1 bolder."""

    superclass: float = 1.0
    subclass: float = 1.0

    def scaled(self, scores: Scores) -> Scores:
        """The scores that a network has after `folded`."""
        return Scores(
            scores.superclass / np.float32(self.superclass),
            scores.subclass / np.float32(self.subclass),
            scores.embedding,
        )

    def folded(self, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The tensors of a `DualHead` whose logits are calibrated: the heads' weights and biases are divided.

        So whatever reads the model, in whatever runtime, needs to know nothing of temperatures.
        """
        result = dict(tensors)
        for level, value in asdict(self).items():
            for kind in ("weight", "bias"):
                name = f"{level}_head.{kind}"
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
    """How far the scores of one level can be believed: expected calibration error before and after, and the bins after.

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

    def to_json(self) -> dict[str, Any]:
        """As plain values for the training record."""
        return asdict(self)


def calibrate(pictures: Sequence[LabelledPicture], scores: Scores, taxonomy: Taxonomy) -> Calibration:
    """Fit the temperatures to validation scores, and tell how honest the scores are without and with them.

    The errors are taken on the pictures that the temperatures were fitted on. For two numbers fitted on fifty or more
    pictures, mostly hundreds, the flattery is far below what chance does to the error itself.
    """
    temperatures = fit_temperatures(pictures, scores, taxonomy)
    labels = label_indexes(pictures, taxonomy)
    before = _confidences(scores, taxonomy, labels)
    after = _confidences(temperatures.scaled(scores), taxonomy, labels)
    levels = [
        Reliability(expected_calibration_error(*old), expected_calibration_error(*new), _reliability(*new))
        for old, new in zip(before, after, strict=True)
    ]
    return Calibration(temperatures, *levels)


def fit_temperatures(pictures: Sequence[LabelledPicture], scores: Scores, taxonomy: Taxonomy) -> Temperatures:
    """The temperatures under which the joint distribution of `decision.join` makes the true labels likeliest.

    Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2) with one
    temperature a head, fitted together since each head speaks about both levels. Minimised is the mean of -log p(s)
    over the pictures with a superclass plus that of -log p(s, c) over those with a subclass. The temperatures lie
    between 0.2 and 5. A level with fewer than `FEWEST_PICTURES` labels keeps 1, and so does one whose expected
    calibration error is 1 % or less as it is.
    """
    import torch

    # Two numbers need no more pictures than that.
    step = math.ceil(len(pictures) / _MOST_PICTURES) or 1
    scores = Scores(scores.superclass[::step], scores.subclass[::step])
    labels = label_indexes(pictures[::step], taxonomy)
    errors = [
        (len(right), expected_calibration_error(values, right))
        for values, right in _confidences(scores, taxonomy, labels)
    ]
    free = torch.tensor([count >= FEWEST_PICTURES and (error or 0.0) > _HONEST_ECE for count, error in errors])
    if not free.any():
        return Temperatures()
    logits = (torch.from_numpy(scores.superclass).double(), torch.from_numpy(scores.subclass).double())
    truth = [torch.from_numpy(of_level.astype(np.int64)) for of_level in labels]
    logs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperatures = (logs * free).exp()
        loss = _negative_log_likelihood(logits[0] / temperatures[0], logits[1] / temperatures[1], truth, taxonomy)
        # As much as one picture has to say: it keeps a level without a single mistake from asking for certainty.
        loss = loss + logs.square().sum() / (2 * max(count for count, _ in errors))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    superclass, subclass = (logs * free).detach().exp().clamp(*_RANGE).tolist()
    return Temperatures(superclass, subclass)


def _negative_log_likelihood(
    superclass: Tensor, subclass: Tensor, truth: Sequence[Tensor], taxonomy: Taxonomy
) -> Tensor:
    """The loss of `fit_temperatures` for logits [N, S] and [N, C] and true indexes [N], -1 where there is none."""
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


def _confidences(
    scores: Scores, taxonomy: Taxonomy, labels: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Of each level the scores, and whether they are right, of the pictures with a label there."""
    pairs = zip(best_scores(scores, taxonomy), labels, strict=True)
    return [(values[truth >= 0], chosen[truth >= 0] == truth[truth >= 0]) for (chosen, values), truth in pairs]


def _reliability(values: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The bins that hold something, cut as for the expected calibration error."""
    edges = np.arange(1, _BINS) / _BINS
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


def choose_thresholds(
    pictures: Sequence[LabelledPicture], scores: Scores, taxonomy: Taxonomy, *, lost_share: float = _LOST_SHARE
) -> Thresholds:
    """The highest thresholds, up to a half, that back off from at most `lost_share` of the right labels.

    Judged on these pictures, which the model should not have learned from. They say nothing of novelty.
    """
    return Thresholds(
        *(
            _low_quantile(values[chosen == truth], lost_share)
            for (chosen, values), truth in zip(
                best_scores(scores, taxonomy), label_indexes(pictures, taxonomy), strict=True
            )
        )
    )


def _low_quantile(scores: NDArray[np.float64], share: float) -> float:
    return min(_HIGHEST, float(np.quantile(scores, share, method="lower"))) if len(scores) else _HIGHEST


def novelty_limits(
    pictures: Sequence[LabelledPicture],
    scores: Scores,
    taxonomy: Taxonomy,
    novelty: NoveltyModel,
    *,
    keep_known: float,
) -> tuple[float, float]:
    """The most that the probability of an unknown superclass, and of an unknown subclass, may be in a tag.

    So that of the pictures whose subclass is right the share `keep_known` keeps it, as far as novelty goes. Of those
    whose superclass is right nearly all keep it: an unknown superclass stands out far more than an unknown subclass.
    Judged on these pictures, which the model should not have learned from. With fewer than 20 right ones at a level
    nothing backs off that is not stranger than all of them, and more likely novel than not: a handful says little of
    the strangest to come.
    """
    strange = novelty.probabilities(scores).astype(np.float64)
    lost = (_LOST_SUPERCLASSES * (1 - keep_known), 1 - keep_known)
    limits = []
    for tier, (chosen, _), truth in zip(
        Tier, best_scores(scores, taxonomy), label_indexes(pictures, taxonomy), strict=True
    ):
        values = strange[(truth >= 0) & (chosen == truth), tier]
        if len(values) >= _FEWEST_RIGHT:
            limit = float(np.quantile(values, 1 - lost[tier], method="higher"))
        else:
            limit = max([0.5, *values.tolist()]) if len(values) else 1.0
        limits.append(min(1.0, float(np.nextafter(np.float32(limit), np.float32(2)))))
    return limits[0], limits[1]
