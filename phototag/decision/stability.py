"""Which tags stay as they are when a network's numbers move a little, as faster arithmetic moves them. Numpy only.

What a tag rests on is put as numbers which small errors of logits move by about as much wherever a photo stands: the
log-odds of its probabilities, and by how much the best classes lead the next ones, as a logarithm of the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.decision.evidence import pooled_logits
from phototag.decision.novelty import NoveltyModel, Tier
from phototag.decision.rule import Thresholds, log_softmax
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

Floats = NDArray[np.float64]

# The most that a stored score may differ from that of exact arithmetic.
MOST_MOVE = 0.02
# Scores are kept to that with so many times the errors: with the largest so far by itself one in 3,000 moved by more.
_SCORE_SAFETY = 1.2
# Values are taken no further than this: what is surer is equally sure, and its errors are those of large logits. So far
# leads the best class where there is no other.
_SURE = 7.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where B photos stand: `classes` [B, 2] are the best superclass and the best subclass under it.

    `values` [B, V] are the log-odds of both, by how much each leads the next one, and where the model has novelty
    scores the log-odds of these.
    """

    classes: NDArray[np.intp]
    values: Floats

    def moved(self, other: Standing) -> Floats:
        """Return how far each value [B, V] is from that of `other`; infinite where that is no number."""
        return np.nan_to_num(np.abs(self.values - other.values), nan=np.inf)


def standing(
    scores: Scores, taxonomy: Taxonomy, novelty: NoveltyModel | None, classes: NDArray[np.intp] | None = None
) -> Standing:
    """Return where photos stand by raw scores, for given classes or, without them, for those that lead."""
    pooled = pooled_logits(scores.subclass, taxonomy).astype(np.float64)
    parents, rows = np.asarray(taxonomy.parents), np.arange(len(pooled))
    superclass = log_softmax((log_softmax(scores.superclass.astype(np.float64)) + log_softmax(pooled)) / 2)
    best = superclass.argmax(axis=1) if classes is None else classes[:, 0]
    shift = superclass[rows, best] - pooled[rows, best]
    subclass = np.where(parents == best[:, None], scores.subclass + shift[:, None], -np.inf)
    child = subclass.argmax(axis=1) if classes is None else classes[:, 1]
    columns = [_odds(superclass[rows, best]), _odds(subclass[rows, child])]
    for values, leader in ((superclass, best), (subclass, child)):
        own = values[rows, leader]
        values[rows, leader] = -np.inf
        columns.append((own - values.max(axis=1)).clip(-_SURE, _SURE))
    if novelty is not None and scores.embedding is not None:
        columns += list(_odds(np.log(novelty.probabilities(scores).astype(np.float64).clip(1e-30))).T)
    return Standing(np.stack([best, child], axis=1), np.stack(columns, axis=1))


def settled(found: Standing, errors: Floats, thresholds: Thresholds, *, safety: float) -> NDArray[np.bool_]:
    """Return for which photos [B] nothing comes out otherwise while the values are off by `errors` [B, V].

    That is: no score moves by more than `MOST_MOVE`, with a little to spare; and even with `safety` times the errors
    both labels stay the best, and each check of `phototag.decision.rule.reason_of` ends as it does.
    """
    values = found.values
    middle = _probability(values)
    off = _SCORE_SAFETY * errors
    moves = np.maximum(_probability(values + off) - middle, middle - _probability(values - off))
    # The leads, columns 2 and 3, are no probabilities.
    scores = [column for column in range(values.shape[1]) if column not in (2, 3)]
    certain: NDArray[np.bool_] = np.asarray((moves[:, scores] <= MOST_MOVE).all(axis=1))
    certain &= (values[:, 2:4] > safety * errors[:, 2:4]).all(axis=1)
    low, high = _probability(values - safety * errors), _probability(values + safety * errors)
    checks = [(low[:, 0] >= thresholds.superclass, high[:, 0] < thresholds.superclass)]
    if values.shape[1] > 4:
        limit, column = thresholds.novel_superclass, 4 + Tier.SUPERCLASS
        checks.append((high[:, column] <= limit, low[:, column] > limit))
    checks.append((low[:, 1] >= thresholds.subclass, high[:, 1] < thresholds.subclass))
    if values.shape[1] > 4:
        limit, column = thresholds.novel_subclass, 4 + Tier.SUBCLASS
        checks.append((high[:, column] <= limit, low[:, column] > limit))
    # The first check that fails decides, and those behind it do not count.
    reached = np.ones(len(values), dtype=bool)
    for passes, fails in checks:
        certain &= ~reached | passes | fails
        reached &= passes
    return certain


def _odds(logarithms: Floats) -> Floats:
    """Return log-odds of probabilities given by their logarithms."""
    bounded = np.minimum(logarithms, -1e-12)
    odds: Floats = (bounded - np.log(-np.expm1(bounded))).clip(-_SURE, _SURE)
    return odds


def _probability(odds: Floats) -> Floats:
    """Return the probabilities of log-odds; what is at the end of the scale may lie anywhere beyond it."""
    result: Floats = 1 / (1 + np.exp(-odds))
    return np.where(odds >= _SURE, 1.0, np.where(odds <= -_SURE, 0.0, result))
