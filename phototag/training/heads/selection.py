"""The two linear heads on frozen features: fitted, and how to fit them chosen by pictures that a fit does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from phototag.choices import Balance
from phototag.dataset import dealt_folds
from phototag.decision import gather, join
from phototag.model import Floats, LinearHead
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.heads.balance import LONG_TAIL, unevenness
from phototag.training.heads.logistic import Labels, Scaling, Target, fit_alike, fit_scaled
from phototag.training.heads.part import Part

# Strengths of the ridge penalty to choose from, by the likelihood of pictures that the fit did not see.
PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2)

# Strategies are compared on so many principal components:
# docs/experiments.md#comparing-strategies-on-principal-components
_COMPONENTS = 256

# With fewer validation pictures in a class the comparison is by cross-validation over all pictures.
_ENOUGH = 5
_FOLDS = 3
_MOST_CROSS_VALIDATED = 20_000

# Where no class has this many times the pictures of another, the strategies come to the same.
_UNEVEN = 1.5

# How many standard errors better than none a strategy has to be; where some class has so many times the pictures of
# another, any gain will do: a gain is expected there, and rare classes have too few pictures to prove it.
_CLEARLY = 2.0
_TEMPERATURES = np.geomspace(0.5, 4, 13)


def fit_heads(
    features: Floats,
    labels: tuple[Labels, Labels],
    taxonomy: Taxonomy,
    *,
    penalties: tuple[float, float],
    strategy: Balance,
    seed: int,
    blocks: Sequence[int] | None = None,
) -> tuple[LinearHead, LinearHead]:
    """Return the superclass and the subclass head, fitted on features [N, D] and the labels [N] of both levels.

    `penalties` and `labels` are in that order too; see `fit_head`.

    Raises:
        UsageError: the strategy is `auto`, or the blocks do not make up the features.
    """
    classes = (len(taxonomy.superclasses), len(taxonomy.subclasses))
    targets = [Target(*each) for each in zip(labels, classes, penalties, strict=True)]
    superclass, subclass = fit_alike(features, targets, strategy=strategy, seed=seed, blocks=blocks)
    return superclass, subclass


@dataclass(frozen=True)
class HeadChoice:
    """How the heads are to be fitted, and why.

    Attributes:
        strategy: Never `auto`.
        penalties: Of the superclass and of the subclass head.
        table: One row for everything that was compared: the strategy, the penalties, and on pictures that the fit did
            not see the negative log-likelihood of the right subclass and its recall, both averaged over the subclasses
            ("balanced_loss", "macro_recall"), the accuracy, and the gain in balanced loss over `none` with its standard
            error ("gain", "gain_error"). Empty where there was nothing to compare.
    """

    strategy: Balance
    penalties: tuple[float, float]
    table: list[dict[str, Any]]


def choose_heads(
    training: Part,
    validation: Part,
    taxonomy: Taxonomy,
    *,
    strategy: Balance,
    seed: int,
    blocks: Sequence[int] | None = None,
) -> HeadChoice:
    """Choose penalties, and under `auto` the strategy against uneven classes, by pictures that the fit does not see.

    These are the validation pictures with a subclass, or, where some class has few of them, folds of all pictures.

    Each head's penalty is that of the greatest likelihood, over the pictures under `none` and averaged over the classes
    under the others. `auto` compares the joint decision's likelihood of the subclass, averaged over the subclasses, at
    each strategy's best temperature. It takes the best one if that is better than `none`, by two standard errors
    where classes differ less than tenfold; `logits` counts as the best within one standard error, as it alone aims at
    the balanced error (Menon et al., ICLR 2021, section 4). Macro-F1 itself is no guide: under the shares of the
    training pictures it blames a strategy for every picture of a large class that it gives to a small one.

    Raises:
        UsageError: the blocks do not make up the features.
    """
    trials = _Trials.of(training, validation.known(), taxonomy, seed=seed, blocks=blocks)
    if strategy is Balance.AUTO and trials.unevenness < _UNEVEN:
        strategy = Balance.NONE
    if not trials.evaluated:
        return HeadChoice(Balance.NONE if strategy is Balance.AUTO else strategy, (PENALTIES[0], PENALTIES[0]), [])
    if strategy is Balance.AUTO:
        return _choose_strategy(trials)
    trial = trials.run(strategy, trials.penalties(strategy))
    return HeadChoice(strategy, trial.penalties, [trial.to_json()])


def accuracies_by_pictures(
    part: Part, taxonomy: Taxonomy, choice: HeadChoice, *, seed: int, blocks: Sequence[int] | None = None
) -> tuple[float, float]:
    """Return the shares of right superclasses and subclasses in folds of single pictures, as if none were of a series.

    They tell how much is flattery by series, and nothing of other photos.
    """
    known = part.known()
    inputs = _components(Scaling.of(known.features, blocks).apply(known.features), seed)
    singly = np.arange(len(known))
    folds = dealt_folds(known.subclasses, singly, folds=_FOLDS, seed=seed)
    parts = [(singly[folds != fold], singly[folds == fold]) for fold in range(_FOLDS)]
    trials = _Trials(inputs, known.labels, taxonomy, [each for each in parts if len(each[1])], seed)
    found = join(gather(trials.scores(choice.strategy, choice.penalties), taxonomy))
    superclass, subclass = (
        float((best == trials.truth(level)).mean()) for level, best in enumerate((found.chosen, found.child))
    )
    return superclass, subclass


def _choose_strategy(trials: _Trials) -> HeadChoice:
    plain = trials.run(Balance.NONE, trials.penalties(Balance.NONE))
    names = [name for name in Balance if name not in (Balance.AUTO, Balance.NONE)]
    others = {name: trials.run(name, plain.penalties) for name in names}
    best = min(others.values(), key=lambda trial: trial.balanced_loss)
    behind, error = best.gain(others[Balance.LOGITS])
    if behind <= error:
        best = others[Balance.LOGITS]
    table = [trial.to_json(plain) for trial in (plain, *others.values())]
    gain, error = best.gain(plain)
    if gain <= (_CLEARLY * error if trials.unevenness < LONG_TAIL else 0):
        return HeadChoice(Balance.NONE, plain.penalties, table)
    # A strategy may want other penalties than none does.
    penalties = trials.penalties(best.strategy)
    if penalties != best.penalties:
        table.append(trials.run(best.strategy, penalties).to_json(plain))
    return HeadChoice(best.strategy, penalties, table)


@dataclass(frozen=True)
class _Trial:
    """What a strategy came to on the evaluated pictures: truth, loss and whether it was right, each [M]."""

    strategy: Balance
    penalties: tuple[float, float]
    truth: Labels
    losses: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def balanced_loss(self) -> float:
        return float(_by_class(self.losses, self.truth).mean())

    def gain(self, other: _Trial) -> tuple[float, float]:
        """Return how much lower the balanced loss is than another's, and the standard error over the classes."""
        differences = _by_class(other.losses - self.losses, self.truth)
        return float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))

    def to_json(self, plain: _Trial | None = None) -> dict[str, Any]:
        row = {
            "strategy": str(self.strategy),
            "penalties": list(self.penalties),
            "balanced_loss": self.balanced_loss,
            "macro_recall": float(_by_class(self.right, self.truth).mean()),
            "accuracy": float(self.right.mean()),
        }
        if plain is not None:
            row["gain"], row["gain_error"] = self.gain(plain)
        return row


@dataclass
class _Trials:
    """Fits on some rows, evaluated on others: `inputs` [N, P] are components of scaled features.

    `parts` are pairs of rows to fit on and rows to evaluate on; no row is evaluated twice.
    """

    inputs: Floats
    labels: tuple[Labels, Labels]
    taxonomy: Taxonomy
    parts: list[tuple[Labels, Labels]]
    seed: int
    _logits: dict[tuple[int, Balance, float], Floats] = field(default_factory=dict)

    @classmethod
    def of(
        cls, training: Part, validation: Part, taxonomy: Taxonomy, *, seed: int, blocks: Sequence[int] | None
    ) -> _Trials:
        scaling = Scaling.of(training.features, blocks)
        both = training + validation
        inputs = _components(scaling.apply(both.features), seed)
        rows = np.arange(len(inputs))
        apart = np.bincount(validation.subclasses, minlength=len(taxonomy.subclasses))
        if apart.min() >= _ENOUGH or len(inputs) > _MOST_CROSS_VALIDATED:
            border = len(training.subclasses)
            parts = [(rows[:border], rows[border:])]
        else:
            folds = dealt_folds(both.subclasses, both.groups, folds=_FOLDS, seed=seed)
            parts = [(rows[folds != fold], rows[folds == fold]) for fold in range(_FOLDS)]
        return cls(inputs, both.labels, taxonomy, [part for part in parts if len(part[1])], seed)

    @property
    def evaluated(self) -> int:
        """How many pictures are evaluated."""
        return sum(len(evaluated) for _, evaluated in self.parts)

    @property
    def unevenness(self) -> float:
        """How many times as many pictures the largest class has as the smallest, at the level where that is more."""
        return max(map(unevenness, self.labels))

    def penalties(self, strategy: Balance) -> tuple[float, float]:
        """Return the best penalty of each head; the likelihood rises with the penalty up to it and falls after."""
        found = []
        for level in range(2):
            best, least = PENALTIES[0], np.inf
            for penalty in PENALTIES:
                loss = self._level_loss(level, strategy, penalty)
                if loss >= least:
                    break
                best, least = penalty, loss
            found.append(best)
        return found[0], found[1]

    def run(self, strategy: Balance, penalties: tuple[float, float]) -> _Trial:
        """Evaluate the joint decision."""
        scores, truth = self.scores(strategy, penalties), self.truth(1)
        tried = [_joint_losses(scores, truth, self.taxonomy, temperature) for temperature in _TEMPERATURES]
        losses = min(tried, key=lambda losses: float(_by_class(losses, truth).mean()))
        right = (join(gather(scores, self.taxonomy)).child == truth).astype(np.float64)
        return _Trial(strategy, penalties, truth, losses, right)

    def scores(self, strategy: Balance, penalties: tuple[float, float]) -> Scores:
        """Return scores of the evaluated pictures, fold by fold."""
        return Scores(self._head(0, strategy, penalties[0]), self._head(1, strategy, penalties[1]))

    def truth(self, level: int) -> Labels:
        """Return their labels at a level."""
        return np.concatenate([self.labels[level][evaluated] for _, evaluated in self.parts])

    def _level_loss(self, level: int, strategy: Balance, penalty: float) -> float:
        logits, truth = self._head(level, strategy, penalty), self.truth(level)
        if strategy is Balance.NONE:
            return float(_losses(logits, truth).mean())
        return min(
            float(_by_class(_losses(logits / np.float32(value), truth), truth).mean()) for value in _TEMPERATURES
        )

    def _head(self, level: int, strategy: Balance, penalty: float) -> Floats:
        key = (level, strategy, penalty)
        if key not in self._logits:
            classes = len(self.taxonomy.subclasses if level else self.taxonomy.superclasses)
            parts = []
            for fitted, evaluated in self.parts:
                matrix, bias = fit_scaled(
                    self.inputs[fitted],
                    self.labels[level][fitted],
                    classes=classes,
                    penalty=penalty,
                    strategy=strategy,
                    seed=self.seed,
                )
                parts.append(self.inputs[evaluated] @ matrix.T + bias)
            self._logits[key] = np.concatenate(parts)
        return self._logits[key]


def _components(inputs: Floats, seed: int) -> Floats:
    """Return the principal components of scaled features, or all of few features: a rotation changes no fit."""
    if min(inputs.shape) <= _COMPONENTS:
        return inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        values = torch.from_numpy(inputs)
        _, _, axes = torch.svd_lowrank(values, q=_COMPONENTS, niter=2)
        result: Floats = (values @ axes).numpy()
    return result


def _losses(logits: Floats, truth: Labels) -> NDArray[np.float64]:
    """Return negative log-likelihoods [N] of the true classes."""
    targets = torch.from_numpy(truth.astype(np.int64))
    result: NDArray[np.float64] = F.cross_entropy(torch.from_numpy(logits).double(), targets, reduction="none").numpy()
    return result


def _joint_losses(scores: Scores, truth: Labels, taxonomy: Taxonomy, temperature: float) -> NDArray[np.float64]:
    """Return negative log-likelihoods [N] of the true subclasses under the joint distribution of `decision`."""
    factor = np.float32(temperature)
    cooled = Scores(scores.superclass / factor, scores.subclass / factor)
    evidence = gather(cooled, taxonomy)
    rows, parents = np.arange(len(truth)), np.asarray(taxonomy.parents)[truth]
    share = cooled.subclass[rows, truth].astype(np.float64) - evidence.pooled[rows, parents]
    tiny = np.finfo(np.float64).tiny
    result: NDArray[np.float64] = -share - np.log(np.maximum(join(evidence).superclass[rows, parents], tiny))
    return result


def _by_class(values: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """Return the means [C'] over each class's rows of values [N], of the classes that have some."""
    counts = np.bincount(labels)
    present = counts > 0
    result: NDArray[np.float64] = np.bincount(labels, weights=values)[present] / counts[present]
    return result
