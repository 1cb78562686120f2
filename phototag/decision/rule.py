"""From the two heads' scores to one consistent tag. Pure: numpy only, no torch, no store.

The two heads both speak about the superclass: the superclass head directly, with probabilities P(s), and the subclass
head through the sum over each superclass's children, Q(s) = sum of Q(c) for c under s. They are joined by a logarithmic
opinion pool with equal weights (Genest and Zidek, "Combining probability distributions", Statistical Science 1986,
section 2.2):

    p(s)    = P(s)^1/2 Q(s)^1/2 / Z
    p(s, c) = p(s) Q(c) / Q(s)     for c under s, and 0 otherwise

So p is one distribution over consistent pairs, p(s) is the sum of its p(s, c), and where the heads agree p equals
them. The superclass is decided first, the subclass among its children: backing off never changes the superclass.

Where the model has novelty scores (`phototag.decision.novelty`), a photo that is too novel backs off as well: to the
superclass when only the subclass looks unknown, to none when the superclass does.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision.evidence import Evidence
from phototag.errors import ModelError
from phototag.records import Rank, Reason, Tag
from phototag.taxonomy import Taxonomy

MOST = 5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least probability a tag needs at each level; below, it backs off to the level above, then to none.

    `novel_superclass` and `novel_subclass` are the most that the probability of being novel at that level may be;
    above, it backs off as well.

    Raises:
        ModelError: a threshold is not between 0 and 1; they may come from an untrusted model file.
    """

    superclass: float
    subclass: float
    novel_superclass: float = 1.0
    novel_subclass: float = 1.0

    def __post_init__(self) -> None:
        for value in asdict(self).values():
            if not 0.0 <= value <= 1.0:
                raise ModelError(f"thresholds must lie between 0 and 1: {self}")

    def to_json(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Thresholds:
        """Return the inverse of `to_json`; ModelError if the value is not a pair of thresholds."""
        try:
            return cls(
                superclass=float(value["superclass"]),
                subclass=float(value["subclass"]),
                # Models without novelty scores say nothing of these.
                novel_superclass=float(value.get("novel_superclass", 1.0)),
                novel_subclass=float(value.get("novel_subclass", 1.0)),
            )
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"not a pair of thresholds: {error}") from error


@dataclass(frozen=True, slots=True)
class Joint:
    """The joint distribution of B photos, as far as a tag needs it.

    `superclass` [B, S] are the p(s); `chosen` [B] is the best superclass, `child` [B] the best subclass under it and
    `child_score` [B] its p(s, c).
    """

    superclass: NDArray[np.float64]
    chosen: NDArray[np.intp]
    child: NDArray[np.intp]
    child_score: NDArray[np.float64]


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def join(evidence: Evidence) -> Joint:
    """Return the joint distribution of the two heads; the module's docstring says which."""
    by_head = log_softmax(evidence.superclass.astype(np.float64))
    by_children = log_softmax(evidence.pooled.astype(np.float64))
    superclass = np.exp(log_softmax((by_head + by_children) / 2))
    rows = np.arange(len(superclass))
    chosen = superclass.argmax(axis=1)
    share = np.exp(evidence.best_logit[rows, chosen].astype(np.float64) - evidence.pooled[rows, chosen])
    child_score = superclass[rows, chosen] * np.minimum(share, 1.0)
    return Joint(superclass, chosen, evidence.best[rows, chosen].astype(np.intp), child_score)


def decide(evidence: Evidence, taxonomy: Taxonomy, thresholds: Thresholds) -> list[Tag]:
    """Decide the tags of a batch. A tag's subclass always lies under its superclass.

    Novelty is the probability that the subclass is unknown. Where the model does not tell, it is one less the best
    subclass's probability, the maximum softmax probability baseline of Hendrycks and Gimpel (ICLR 2017), here on the
    joint distribution.
    """
    joint = join(evidence)
    tags = []
    for row, (superclass, subclass) in enumerate(zip(joint.chosen, joint.child, strict=True)):
        scores = float(joint.superclass[row, superclass]), float(joint.child_score[row])
        novel_superclass, novel_subclass = evidence.novelty[row].tolist()
        reason = reason_of(scores, (novel_superclass, novel_subclass), thresholds)
        rank = reason.rank
        tags.append(
            Tag(
                superclass=None if rank is Rank.NONE else taxonomy.superclasses[superclass],
                subclass=taxonomy.subclasses[subclass] if rank is Rank.SUBCLASS else None,
                rank=rank,
                superclass_score=scores[0],
                subclass_score=scores[1],
                novelty=1.0 - scores[1] if math.isnan(novel_subclass) else novel_subclass,
                reason=reason,
            )
        )
    return tags


def reason_of(scores: tuple[float, float], novelty: tuple[float, float], thresholds: Thresholds) -> Reason:
    """Return why a tag goes as deep as it does: the first check that fails, from the superclass down.

    At each level the score is checked before novelty. `scores` and `novelty` are those of the superclass and of the
    subclass; novelty is NaN where the model does not tell.
    """
    if not scores[0] >= thresholds.superclass:
        return Reason.LOW_SUPERCLASS_SCORE
    # Comparisons with NaN are false: no back-off where nothing is known.
    if novelty[0] > thresholds.novel_superclass:
        return Reason.NOVEL_SUPERCLASS
    if not scores[1] >= thresholds.subclass:
        return Reason.LOW_SUBCLASS_SCORE
    if novelty[1] > thresholds.novel_subclass:
        return Reason.NOVEL_SUBCLASS
    return Reason.SUBCLASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subclass that a model considered, and its joint probability, as in `Tag.subclass_score`."""

    superclass: str
    subclass: str
    score: float


def best_subclasses(evidence: Evidence, taxonomy: Taxonomy, *, most: int = MOST) -> tuple[Candidate, ...]:
    """Return the subclasses of the highest joint probability of one photo, best first.

    Stored are the best subclasses of all and the best one under each superclass: the rest cannot be told.
    """
    numbers = np.concatenate([evidence.top[0], evidence.best[0]]).astype(np.intp)
    logits = np.concatenate([evidence.top_logit[0], evidence.best_logit[0]]).astype(np.float64)
    parents = np.asarray(taxonomy.parents, dtype=np.intp)[numbers]
    share = np.minimum(np.exp(logits - evidence.pooled[0, parents]), 1.0)
    joint = join(evidence).superclass[0, parents] * share
    by_number = {int(number): float(score) for number, score in zip(numbers, joint, strict=True)}
    best = sorted(by_number.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    return tuple(
        Candidate(
            superclass=taxonomy.superclasses[taxonomy.parents[number]],
            subclass=taxonomy.subclasses[number],
            score=score,
        )
        for number, score in best
    )
