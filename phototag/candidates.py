"""What a model thought of: the best subclasses by the joint distribution of `phototag.decision`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phototag.decision import Evidence, join
from phototag.taxonomy import Taxonomy

MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subclass that a model thought of, and its joint probability, as in `Tag.subclass_score`."""

    superclass: str
    subclass: str
    score: float


def best_subclasses(evidence: Evidence, taxonomy: Taxonomy, *, most: int = MOST) -> tuple[Candidate, ...]:
    """The subclasses of the highest joint probability of one photo, best first; `phototag.decision` says of which.

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
