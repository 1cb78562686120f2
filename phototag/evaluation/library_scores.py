"""Thresholds for one library, by a few of its photos that a person reviewed, and honest figures from the same reviews.

Thresholds of a level are certified where the exact tests of `risk_control` show on the reviewed photos alone that the
target is kept: photos sampled at random from a library are exchangeable draws from it, whatever belongs together in it.
Two hundred reviews seldom prove that much. Otherwise they are estimated (`library_precision`): the precision over all
photos of the library is at least the target with 95 % posterior probability, or else with 75 %. Where not even that
can be said, a level stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phototag.choices import PrecisionBasis
from phototag.dataset import dealt_folds
from phototag.decision import Thresholds, Tier
from phototag.evaluation.intervals import Floats, wilson_interval
from phototag.evaluation.library_precision import Mask, Posterior
from phototag.evaluation.risk_control import certified_threshold
from phototag.evaluation.score_table import ScoreTable

FEWEST_REVIEWS = 50
"""With fewer reviewed photos nothing is chosen by them."""

SURENESS = {PrecisionBasis.ESTIMATED: 0.95, PrecisionBasis.LIKELY: 0.75}
"""How surely an estimated threshold reaches the target: its posterior probability. What is surer is tried first."""

_SURE = SURENESS[PrecisionBasis.ESTIMATED]
_FOLDS = 10
_FEWEST_LABELS = 20
# Limits on novelty that are tried: how many of the photos they keep. One is taken for more labels, not for a few more.
_SHARES_KEPT = (0.7, 0.8, 0.9)
_WORTH = 1.25
# Of the labels that an estimate stores a certificate has to store so many to be preferred.
_LEFT = 0.95
_HALF = 0.5
_TIMES = (1.5, 2.0, 3.0, 5.0)
_OTHER_TARGETS = (0.98, 0.95, 0.9, 0.85, 0.8, 0.7)


@dataclass(frozen=True, eq=False, slots=True)
class LibraryScores:
    """What a model says of the photos of a library, and what a person says of some of them.

    Attributes:
        sample: The name of the sample that was reviewed.
        scores: The joint probabilities of the best superclass and subclass, [N, 2].
        novelty: The probabilities that either is unknown, [N, 2]; NaN where the model does not tell.
        reviewed: The rows [n] of the reviewed photos.
        right: Whether the best superclass and subclass are what the person says, [n, 2]. A label that the model does
            not know, or none, is never right; a superclass alone is right at its level.
        weights: How many photos of the library each reviewed one stands for, [n].
        groups: Numbers [n] of the groups of reviewed photos that belong together.
    """

    sample: str
    scores: Floats
    novelty: Floats
    reviewed: NDArray[np.intp]
    right: NDArray[np.bool_]
    weights: Floats
    groups: NDArray[np.intp]

    def reviews(self, chosen: Mask) -> LibraryScores:
        """Return the library with some of its reviews [n]; the others are photos like all."""
        parts = {name: getattr(self, name)[chosen] for name in ("reviewed", "right", "weights", "groups")}
        return replace(self, **parts)

    def stored(self, thresholds: Thresholds) -> tuple[Mask, Mask]:
        """Return which photos [N] get a superclass, and which of these a subclass."""
        novelty, limits = self.novelty, (thresholds.novel_superclass, thresholds.novel_subclass)
        least = np.array([thresholds.superclass, thresholds.subclass])
        # Comparisons with NaN are false: nothing is novel where the model does not tell.
        kept = (self.scores >= least) & ~(novelty > np.array(limits))
        return kept[:, Tier.SUPERCLASS], kept[:, Tier.SUPERCLASS] & kept[:, Tier.SUBCLASS]


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """How the threshold of a level was chosen; `advice` says what would make it surer."""

    basis: PrecisionBasis
    threshold: float = 1.0
    limit: float = 1.0
    advice: str = ""


@dataclass(frozen=True, slots=True)
class LibraryChoice:
    """Thresholds for a library, and how those of each level were chosen, superclass first."""

    thresholds: Thresholds
    levels: tuple[LevelChoice, LevelChoice]


@dataclass(frozen=True, slots=True)
class LibraryFigure:
    """Labels of a level in a library, estimated from reviews: the share stored, and of these the share that is right.

    `low` and `high` are the ends of the 95 % interval of `precision`; all three are None where no reviewed photo has a
    label.
    """

    coverage: float
    precision: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, library: LibraryScores, stored: Mask, right: Mask) -> LibraryFigure:
        """Return that of labels `stored` [n] for the reviewed photos, some of them `right` [n]."""
        weights = library.weights * stored
        whole = float(weights.sum())
        coverage = whole / float(library.weights.sum())
        if not whole:
            return cls(coverage, None, None, None)
        # Photos that belong together count as one (the effective sample size of Kish, "Survey sampling", 1965).
        size = whole**2 / float((np.bincount(library.groups, weights) ** 2).sum())
        share = float((weights * right).sum()) / whole
        low, high = wilson_interval(np.array(share), np.array(size))
        return cls(coverage, share, float(low), float(high))


def figures_at(library: LibraryScores, thresholds: Thresholds) -> tuple[LibraryFigure, LibraryFigure]:
    """Return the figures of both levels at thresholds that do not depend on these reviews."""
    stored = library.stored(thresholds)
    first, second = (
        LibraryFigure.of(library, kept[library.reviewed], library.right[:, tier])
        for tier, kept in zip(Tier, stored, strict=True)
    )
    return first, second


def crossfitted_figures(library: LibraryScores, target: float, own: Thresholds) -> tuple[LibraryFigure, LibraryFigure]:
    """Return the figures of both levels at chosen thresholds, each photo's by reviews of other groups than its own.

    Fold by fold thresholds are chosen by the reviews of all other folds; groups stay whole. The figures are those of
    the choice with a tenth fewer reviews, so rather too modest than flattered.
    """
    count = len(library.reviewed)
    folds = dealt_folds(np.zeros(count, dtype=np.intp), library.groups, folds=_FOLDS, seed=0)
    stored = np.zeros((count, len(Tier)), dtype=np.bool_)
    for fold in range(_FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            thresholds = choose_for_library(library.reviews(~held), target, own, advise=False).thresholds
            both = library.stored(thresholds)
            stored[held] = np.stack([kept[library.reviewed[held]] for kept in both], axis=1)
    first, second = (LibraryFigure.of(library, stored[:, tier], library.right[:, tier]) for tier in Tier)
    return first, second


def choose_for_library(
    library: LibraryScores,
    target: float,
    own: Thresholds,
    *,
    advise: bool = True,
) -> LibraryChoice:
    """Choose thresholds and limits on novelty with which a share `target` of the stored labels is right.

    Args:
        library: The photos and reviews.
        target: The share.
        own: The model's thresholds; its limits on novelty stay unless others store clearly more.
        advise: Say what would make a level surer.
    """
    kept = np.ones(len(library.scores), dtype=np.bool_)
    levels: list[LevelChoice] = []
    for tier, limit in zip(Tier, (own.novel_superclass, own.novel_subclass), strict=True):
        level = _Level(library, tier, kept, target)
        choice = level.choose(limit, least=levels[0] if levels else None)
        if advise and choice.basis in (PrecisionBasis.NONE, PrecisionBasis.LIKELY):
            choice = replace(choice, advice=level.advice(limit))
        levels.append(choice)
        kept = kept & level.known(choice.limit) & (library.scores[:, tier] >= choice.threshold)
    first, second = levels
    # So that what is certified for the subclass alone holds for what is stored.
    thresholds = Thresholds(first.threshold, max(first.threshold, second.threshold), first.limit, second.limit)
    return LibraryChoice(thresholds, (first, second))


@dataclass(frozen=True, eq=False, slots=True)
class _Level:
    """One level of a library, for the photos [N] that are `kept` at the level above."""

    library: LibraryScores
    tier: Tier
    kept: Mask
    target: float

    def known(self, limit: float) -> Mask:
        known: Mask = ~(self.library.novelty[:, self.tier] > limit)
        return known

    def choose(self, own: float, *, least: LevelChoice | None) -> LevelChoice:
        """Choose the limit and threshold that store most; `own` is the model's limit, `least` the level above."""
        for basis, confidence in SURENESS.items():
            best = self._choose(own, basis, confidence, least)
            if best.basis is not PrecisionBasis.NONE:
                break
        return best

    def _choose(self, own: float, basis: PrecisionBasis, confidence: float, least: LevelChoice | None) -> LevelChoice:
        best, most = self._at(own, basis, confidence)
        proven = self._certified(own, least)
        if proven is not None:
            number = int((self._members(own) & (self.library.scores[:, self.tier] >= proven)).sum())
            if number >= _LEFT * most:
                best, most = LevelChoice(PrecisionBasis.CERTIFIED, proven, own), number
        for limit in self._limits(own):
            other, number = self._at(limit, basis, confidence)
            if number > _WORTH * most:
                best, most = other, number
        return best

    def _limits(self, own: float) -> Sequence[float]:
        novelty = self.library.novelty[self.kept, self.tier]
        novelty = novelty[~np.isnan(novelty)]
        if not len(novelty):
            return ()
        return [limit for limit in (1.0, *np.quantile(novelty, _SHARES_KEPT).tolist()) if limit != own]

    def _members(self, limit: float) -> Mask:
        return self.kept & self.known(limit)

    def _posterior(self, limit: float, times: float = 1.0) -> Posterior | None:
        library = self.library
        rows = self._members(limit)[library.reviewed]
        if rows.sum() < _FEWEST_LABELS:
            return None
        # Where reviews count unequally, all together count as many as they are worth (Kish 1965).
        weights = library.weights[rows]
        weights = weights * (times * weights.sum() / (weights**2).sum())
        scores = library.scores[library.reviewed[rows], self.tier]
        return Posterior.of(scores, library.right[rows, self.tier], weights)

    def _at(self, limit: float, basis: PrecisionBasis, confidence: float) -> tuple[LevelChoice, int]:
        """Return the estimated threshold behind a limit on novelty, and how many photos it keeps."""
        posterior = self._posterior(limit)
        scores = self.library.scores[self._members(limit), self.tier]
        found = None if posterior is None else posterior.curve(scores, self.target).lowest(confidence)
        if found is None:
            return LevelChoice(PrecisionBasis.NONE, limit=limit), 0
        threshold, number = found
        # What keeps all of this library is not to lose a lower score than any of it.
        threshold = min(threshold, _HALF) if number == len(scores) else threshold
        return LevelChoice(basis, threshold, limit), number

    def _certified(self, own: float, least: LevelChoice | None) -> float | None:
        """Return the threshold that tests on the reviewed photos certify behind the model's own limit, if any."""
        library = self.library
        # Tests take each photo for one; and what the level above keeps has to be certified, or depend on nothing.
        if np.ptp(library.weights) > 1e-9 * library.weights.max() or (
            least is not None and least.basis is not PrecisionBasis.CERTIFIED
        ):
            return None
        known = self.known(own)[library.reviewed]
        scores = library.scores[library.reviewed, self.tier].clip(0, 1) * known
        return certified_threshold(ScoreTable.of(scores, library.right[:, self.tier] & known), self.target)

    def advice(self, limit: float) -> str:
        """Say how many reviews would do, and which target can be reached by those there are."""
        count = len(self.library.reviewed)
        scores = self.library.scores[self._members(limit), self.tier]
        for times in _TIMES:
            posterior = self._posterior(limit, times)
            if posterior is not None and posterior.curve(scores, self.target).lowest(_SURE) is not None:
                more = f"about {round(times * count, -1):,.0f} reviews like these {count:,} would do"
                break
        else:
            more = f"{_TIMES[-1] * count:,.0f} reviews like these {count:,} would not do either"
        posterior = self._posterior(limit)
        for target in _OTHER_TARGETS:
            reachable = None if posterior is None else posterior.curve(scores, target).lowest(_SURE)
            if target < self.target and reachable is not None:
                return f"{more}, and a target of {target:g} can be reached by these"
        return more
