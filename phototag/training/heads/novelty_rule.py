"""Learn to tell known photos from novel ones, by cross-validation over classes that are held out.

Whole subclasses, and whole superclasses, are held out fold by fold. Heads and embedding are fitted on what is left; the
signals of `phototag.decision.novelty` are taken of known pictures that this fit did not see and of the pictures of
the classes held out. For each tier, that sum of standardised signals is chosen that tells the two apart best, on
average over the folds. Sums with given weights, not fitted ones: docs/experiments.md#weights-of-the-signals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Balance
from phototag.dataset import held_out
from phototag.decision import SIGNALS, NoveltyModel, Space, Standardizer, Tier
from phototag.evaluation import auroc
from phototag.model import PretrainingPosteriors
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.heads.embedding import fit_embedding
from phototag.training.heads.logistic import Scaling, fit_scaled

log = logging.getLogger(__name__)

_SUBCLASS_FOLDS = 3
_SUPERCLASS_FOLDS = 3
_FEWEST_LEFT = 4
_FEWEST_KNOWN = 20
_KNOWN_SHARE = 0.25
_PENALTY = 1e-3
_MOST_PICTURES = 10_000

Labels = NDArray[np.intp]
Sum = Mapping[str, float]

# What is chosen from, with the weight of each signal; the first that is as good as any is taken. Why these:
# docs/experiments.md#weights-of-the-signals
_SUMS: dict[Tier, tuple[Sum, ...]] = {
    Tier.SUPERCLASS: (
        {"unrelated": 1.0, "energy": 0.1, "superclass_energy": 0.1},
        {"unrelated": 1.0, "energy": 0.5, "superclass_energy": 0.5},
        {"energy": 1.0, "superclass_energy": 1.0},
        {"superclass_energy": 1.0},
        {"energy": 0.5, "superclass_energy": 1.0},
        {"superclass_energy": 1.0, "relative": 1.0},
        {"relative": 1.0},
    ),
    Tier.SUBCLASS: (
        {"foreign": 1.0, "energy": 0.5},
        {"foreign": 1.0, "energy": 0.5, "relative": 0.5},
        {"relative": 1.0, "energy": 0.5},
        {"relative": 1.0},
        {"relative": 1.0, "energy": 0.5, "margin": 0.5},
        {"relative": 1.0, "energy": 0.5, "superclass_energy": 0.5},
    ),
}
_BY_PRETRAINING = {"foreign", "unrelated"}
_AS_GOOD = 0.005
# Where there are too few classes to hold some out: what pretraining classes are worth has to be seen.
_USUAL: dict[Tier, Sum] = {
    Tier.SUPERCLASS: {"energy": 1.0, "superclass_energy": 1.0},
    Tier.SUBCLASS: {"relative": 1.0, "energy": 0.5},
}
_USUAL_SLOPE, _USUAL_BIAS = 1.0, {Tier.SUPERCLASS: -4.0, Tier.SUBCLASS: -2.0}


@dataclass(frozen=True)
class _Fold:
    """Standardised signals of known pictures [N, F] and of those of classes that were held out [M, F]."""

    tier: Tier
    known: NDArray[np.float64]
    novel: NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How standardised signals make the probabilities of both tiers, and how it was found.

    `tried` has, for each tier, the mean area under the ROC curve of every sum over the folds.
    """

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    tried: dict[str, dict[str, float]]

    def model(self, space: Space, known: NDArray[np.float64]) -> NoveltyModel:
        """Return the novelty model of a network, given signals [N, F] of known pictures that it did not learn from."""
        return NoveltyModel(space, Standardizer.of(known), self.weights, self.biases)

    def to_json(self) -> dict[str, Any]:
        """Return what was tried, for the training record."""
        return {"area_under_curve": self.tried}


def learn_rule(
    features: NDArray[np.float32],
    labels: Labels,
    taxonomy: Taxonomy,
    *,
    blocks: Sequence[int] | None = None,
    posteriors: PretrainingPosteriors | None = None,
    groups: Labels | None = None,
    seed: int,
) -> Rule:
    """Learn what tells novel pictures apart, from features [N, D] of labelled pictures with subclass labels [N].

    `blocks` are the widths of the parts of the features; see `Scaling.of`. `posteriors` are those of
    the pretraining's classifier, if there is one. `groups` [N] are kept whole: a fit has not seen a picture if it has
    seen none of its group. With None each picture is its own.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    random = np.random.default_rng(seed)
    if len(features) > _MOST_PICTURES:
        chosen = np.sort(random.choice(len(features), _MOST_PICTURES, replace=False))
        features, labels, groups = features[chosen], labels[chosen], groups[chosen]
        posteriors = None if posteriors is None else posteriors.rows(chosen)
    features = Scaling.of(features, blocks).apply(features)
    parents = np.asarray(taxonomy.parents)
    folds = []
    for classes, tier in _held_out(taxonomy, random):
        unseen = held_out(labels, groups, fraction=_KNOWN_SHARE, seed=int(random.integers(1 << 31)))
        fold = _evaluate_fold(features, labels, parents, classes, unseen, tier, posteriors)
        folds += [] if fold is None else [fold]
    weights, biases = np.zeros((len(Tier), len(SIGNALS))), np.zeros(len(Tier))
    tried: dict[str, dict[str, float]] = {}
    for tier in Tier:
        own = [fold for fold in folds if fold.tier is tier]
        sums = [each for each in _SUMS[tier] if posteriors is not None or not _BY_PRETRAINING & each.keys()]
        areas = [float(np.mean([_area(fold, each) for fold in own])) for each in sums] if own else []
        good = max(areas, default=0.0) - _AS_GOOD
        best = sums[next(i for i, area in enumerate(areas) if area >= good)] if own else _USUAL[tier]
        slope, bias = _logistic(own, best) if own else (_USUAL_SLOPE, _USUAL_BIAS[tier])
        weights[tier] = slope * _weights(best)
        biases[tier] = bias
        tried[tier.name.lower()] = {
            " + ".join(f"{weight:g} {name}" for name, weight in each.items()): round(area, 4)
            for each, area in zip(sums, areas, strict=False)
        }
    if len(tried) < len(Tier) or not all(tried.values()):
        log.info("too few classes to leave some out: novelty is told by the usual signals")
    return Rule(weights, biases, tried)


def _weights(signals: Sum) -> NDArray[np.float64]:
    return np.array([signals.get(signal, 0.0) for signal in SIGNALS])


def _area(fold: _Fold, signals: Sum) -> float:
    """Return how well a sum of signals tells the novel pictures of a fold from the known ones; it has both."""
    chosen = _weights(signals)
    return auroc(fold.known @ chosen, fold.novel @ chosen) or 0.0


def _held_out(taxonomy: Taxonomy, random: np.random.Generator) -> Iterator[tuple[Labels, Tier]]:
    """Yield the subclasses to hold out in each fold, and the tier that they are unknown at."""
    parts: list[list[int]] = [[] for _ in range(_SUBCLASS_FOLDS)]
    for children in taxonomy.children:
        # One at least stays, so that the superclass is known.
        shuffled = random.permutation(children)[: len(children) - 1]
        for position, subclass in enumerate(shuffled.tolist()):
            # A fifth of the classes or so is novel at a time, as in a library.
            if position < len(shuffled) * 0.8 or len(shuffled) < _SUBCLASS_FOLDS:
                parts[position % _SUBCLASS_FOLDS].append(subclass)
    for part in parts:
        yield np.array(part, dtype=np.intp), Tier.SUBCLASS
    if len(taxonomy.superclasses) >= 3:
        for superclass in random.permutation(len(taxonomy.superclasses))[:_SUPERCLASS_FOLDS].tolist():
            yield np.array(taxonomy.children[superclass], dtype=np.intp), Tier.SUPERCLASS


def _evaluate_fold(
    features: NDArray[np.float32],
    labels: Labels,
    parents: Labels,
    classes: Labels,
    unseen: NDArray[np.bool_],
    tier: Tier,
    posteriors: PretrainingPosteriors | None,
) -> _Fold | None:
    novel = np.isin(labels, classes)
    unseen = unseen & ~novel
    fit = ~novel & ~unseen
    left = np.unique(labels[fit])
    if len(left) < _FEWEST_LEFT or not novel.any() or unseen.sum() < _FEWEST_KNOWN:
        return None
    position = np.searchsorted(left, labels[fit])
    superclasses, parent_of = np.unique(parents[left], return_inverse=True)
    subclass, superclass = (
        fit_scaled(features[fit], targets, classes=classes, penalty=_PENALTY, strategy=Balance.NONE, seed=0)
        for targets, classes in ((position, len(left)), (parent_of[position], len(superclasses)))
    )
    fitted = None if posteriors is None else posteriors.rows(fit)
    # No sum for superclasses uses where pretraining classes lie, and to find that takes longest. Without them no signal
    # depends on the axes that the embedding would be filled with.
    placed = fitted if tier is Tier.SUBCLASS else None
    embedding = fit_embedding(features[fit], position, classes=len(left), filled=placed is not None, posteriors=placed)
    kinship = None if fitted is None else fitted.kinship(parent_of[position], len(superclasses))

    def signals(of: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows = features[of]
        logits = [rows @ matrix.T + bias for matrix, bias in (superclass, subclass)]
        description = embedding.logits(rows)
        if kinship is not None and posteriors is not None:
            # The features are scaled here: what the classifier says of them as they are is known.
            description = np.column_stack([description, kinship.of(posteriors.probabilities[of])])
        return embedding.space.signals(Scores(logits[0], logits[1], description))

    known = signals(unseen)
    standard = Standardizer.of(known)
    return _Fold(tier, standard(known), standard(signals(novel)))


def _logistic(folds: Sequence[_Fold], signals: Sum) -> tuple[float, float]:
    """Return slope and bias that make a sum of signals a probability; known and novel pictures count alike."""
    import torch
    from torch.nn import functional as F

    chosen = _weights(signals)
    known = np.concatenate([fold.known @ chosen for fold in folds])
    novel = np.concatenate([fold.novel @ chosen for fold in folds])
    sums = torch.from_numpy(np.concatenate([known, novel]))
    targets = torch.from_numpy(np.repeat([0.0, 1.0], [len(known), len(novel)]))
    weights = torch.from_numpy(np.repeat([0.5 / len(known), 0.5 / len(novel)], [len(known), len(novel)]))
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(line[0] * sums + line[1], targets, weight=weights, reduction="sum")
        # Where the two are entirely apart the slope would grow without end.
        loss = loss + 1e-3 * line.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    slope, bias = line.detach().tolist()
    return max(slope, 0.05), bias
