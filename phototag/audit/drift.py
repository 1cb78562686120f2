"""Whether a library is still like what a model was trained on, and its newer photos like the older ones.

Two things may move. The mix of classes (label shift): a library holds more birds than the training did. That is
natural, and no reason to distrust scores. And the scores given to photos of the same class (score shift): then what
their calibration was measured on other pictures than these.

Distances between distributions of scores are Kolmogorov's and Smirnov's: the largest difference of their cumulative
shares. What chance may do is bounded for any numbers of photos by the inequality of Dvoretzky, Kiefer and Wolfowitz for
two samples (Wei and Dudley, "Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities", Statistics and Probability Letters
2012); only the part of a distance beyond that is called a shift.

Of the training only the scores of all classes together are known. So from the library's photos, class by class, that
mix is taken which comes nearest to them, each class being at least a fifth as frequent as if all were equally so: what
then is left, no plausible mix of classes explains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.evaluation import Floats, ScoreTable

CHANCE = 0.01
"""How often a shift may be seen where there is none."""

FEWEST = 50
"""With fewer photos on a side nothing is said."""

Classes: TypeAlias = Sequence[str] | NDArray[np.int64]
"""The class of each photo, [N]: names, or numbers that stand for them."""

_SOME, _STRONG = 0.05, 0.15
_UNIT = 10_000
_STEPS = 400
_LEAST_SHARE = 0.2
_DRAWS = 400
_LABELS_STRONG = 0.1


class Shift(StrEnum):
    """How much differs that chance does not explain."""

    UNKNOWN = "unknown"  # too few photos, or nothing to compare with
    NONE = "none"
    SOME = "some"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """How scores of one level differ from those they are compared with.

    `distance` is Kolmogorov's of all photos, `unexplained` what is left of it when the mix of classes is made equal,
    `proven` the part of that which chance does not explain. `mean` and `mean_reference` are the mean scores.
    """

    level: str
    shift: Shift
    photos: int
    distance: float | None = None
    unexplained: float | None = None
    proven: float | None = None
    mean: float | None = None
    mean_reference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class LabelShift:
    """How the mix of classes differs: the divergence of Jensen and Shannon in bits, and what chance makes of it.

    `grown` and `shrunk` are the classes whose shares changed most, with both shares.
    """

    shift: Shift
    photos: int
    divergence: float | None = None
    by_chance: float | None = None
    grown: tuple[tuple[str, float, float], ...] = ()
    shrunk: tuple[tuple[str, float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


def score_shift(
    level: str, scores: Floats, classes: Classes, reference: ScoreTable, *, chance: float = CHANCE
) -> ScoreShift:
    """Compare scores [N] of photos tagged with `classes` [N] with those of the validation pictures of the training."""
    if len(scores) < FEWEST or reference.total < FEWEST:
        return ScoreShift(level, Shift.UNKNOWN, len(scores))
    known = np.zeros(_UNIT + 1)
    known[list(reference.scores)] = reference.pictures
    target = np.cumsum(known) / known.sum()
    curves, sizes = _curves(scores, classes)
    whole = sizes @ curves / sizes.sum()
    shares = _nearest_mix(curves, target)
    mixed = shares @ curves
    effective = 1 / float((shares**2 / sizes).sum())
    distance, left = (float(np.abs(one - target).max()) for one in (whole, mixed))
    proven = max(0.0, left - _allowed(effective, reference.total, chance))
    mean = float(known @ np.arange(_UNIT + 1) / known.sum() / _UNIT)
    return ScoreShift(
        level, _judged(proven), len(scores), distance, left, proven, float(np.mean(scores)), round(mean, 6)
    )


def recent_shift(
    level: str,
    scores: Floats,
    classes: Classes,
    recent: NDArray[np.bool_],
    *,
    chance: float = CHANCE,
) -> ScoreShift:
    """Compare the scores [N] of `recent` photos with those of the others, the others in the mix of classes of these."""
    new, old = int(recent.sum()), int((~recent).sum())
    names = _as_array(classes)
    # A class without older photos has nothing to be compared with.
    both = np.isin(names, np.intersect1d(names[recent], names[~recent]))
    if min(new, old) < FEWEST or (both & recent).sum() < FEWEST or (both & ~recent).sum() < FEWEST:
        return ScoreShift(level, Shift.UNKNOWN, new)
    plain = [_curves(scores[part], np.zeros(int(part.sum()), dtype=np.int64))[0][0] for part in (recent, ~recent)]
    mine, mine_sizes = _curves(scores[recent & both], names[recent & both])
    others, other_sizes = _curves(scores[~recent & both], names[~recent & both])
    shares = mine_sizes / mine_sizes.sum()
    left = float(np.abs(shares @ mine - shares @ others).max())
    effective = 1 / float((shares**2 / other_sizes).sum())
    proven = max(0.0, left - _allowed(effective, float(mine_sizes.sum()), chance))
    return ScoreShift(
        level,
        _judged(proven),
        new,
        float(np.abs(plain[0] - plain[1]).max()),
        left,
        proven,
        float(scores[recent].mean()),
        float(scores[~recent].mean()),
    )


def label_shift(counts: Mapping[str, int], reference: Mapping[str, int], *, exact: bool = False) -> LabelShift:
    """Compare how often classes occur with how often they did, as numbers of photos by class.

    `exact`: the reference is not itself a sample, as the classes of a training are what they are. What chance does to
    the divergence is simulated, always the same way, with the shares of both sides together.
    """
    names = sorted({*counts, *reference})
    new, old = (np.array([part.get(name, 0) for name in names], dtype=np.float64) for part in (counts, reference))
    if min(new.sum(), old.sum()) < FEWEST:
        return LabelShift(Shift.UNKNOWN, int(new.sum()))
    p, q = new / new.sum(), old / old.sum()
    random = np.random.default_rng(0)
    pooled = q if exact else (new + old) / (new.sum() + old.sum())
    drawn = random.multinomial(int(new.sum()), pooled, size=_DRAWS) / new.sum()
    against = (
        np.broadcast_to(q, drawn.shape) if exact else random.multinomial(int(old.sum()), pooled, _DRAWS) / old.sum()
    )
    by_chance = float(np.quantile(_jensen_shannon(drawn, against), 1 - CHANCE))
    found = float(_jensen_shannon(p, q))
    shift = Shift.NONE
    if found > by_chance:
        shift = Shift.STRONG if found - by_chance > _LABELS_STRONG else Shift.SOME
    order = np.argsort(p - q, kind="stable")
    moved = [(names[row], float(p[row]), float(q[row])) for row in order.tolist()]
    return LabelShift(
        shift,
        int(new.sum()),
        found,
        by_chance,
        tuple(entry for entry in reversed(moved[-3:]) if entry[1] > entry[2]),
        tuple(entry for entry in moved[:3] if entry[1] < entry[2]),
    )


def _jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Return shares' [..., C] divergence in bits (Lin, IEEE Trans. on Information Theory 1991, equation 4.1)."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(one > 0, one * np.log2(one / middle), 0.0).sum(axis=-1) for one in (p, q)]
    result: Floats = np.maximum((parts[0] + parts[1]) / 2, 0.0)
    return result


def _allowed(size: float, other: float, chance: float) -> float:
    """Return how far two samples of one distribution may lie apart, but for that chance."""
    return math.sqrt(math.log(2 / chance) / 2 * (1 / size + 1 / other))


def _judged(proven: float) -> Shift:
    if proven <= _SOME:
        return Shift.NONE
    return Shift.SOME if proven <= _STRONG else Shift.STRONG


def _as_array(classes: Classes) -> NDArray[Any]:
    # Not numpy's own texts, which end at a zero character.
    return classes if isinstance(classes, np.ndarray) else np.array(classes, dtype=object)


def _curves(scores: Floats, classes: Classes) -> tuple[Floats, Floats]:
    """Return the cumulative shares of scores for each class [C, 10,001], and the numbers of photos [C]."""
    names, rows = np.unique(_as_array(classes), return_inverse=True)
    steps = np.clip(np.floor(scores * _UNIT), 0, _UNIT).astype(np.int64)
    flat = np.bincount(rows * (_UNIT + 1) + steps, minlength=len(names) * (_UNIT + 1))
    counts = flat.reshape(len(names), _UNIT + 1).astype(np.float64)
    sizes: Floats = counts.sum(axis=1)
    curves: Floats = np.cumsum(counts, axis=1) / sizes[:, None]
    return curves, sizes


def _nearest_mix(curves: Floats, target: Floats) -> Floats:
    """Return shares of classes [C] whose mixed `curves` [C, K] come nearest to the `target` [K], by squares.

    Exponentiated gradient (Kivinen and Warmuth, Information and Computation 1997) keeps them shares.
    """
    places = np.linspace(0, len(target) - 1, 201).astype(np.int64)
    # High scores are the most frequent ones by far: let every part of the target count alike.
    places = np.unique(np.concatenate([places, np.searchsorted(target, np.linspace(0.005, 0.995, 100))]))
    some, wanted = curves[:, places.clip(0, len(target) - 1)], target[places.clip(0, len(target) - 1)]
    shares: Floats = np.full(len(curves), 1 / len(curves))
    least_share = _LEAST_SHARE / len(curves)
    best, least = shares, math.inf
    for step in range(_STEPS):
        mixed = least_share + (1 - least_share * len(curves)) * shares
        left = mixed @ some - wanted
        error = float((left**2).mean())
        if error < least:
            best, least = mixed, error
        slope = some @ left / len(wanted)
        shares = shares * np.exp(-20 / (1 + step / 50) * (slope - slope.min()))
        shares = shares / shares.sum()
    return best


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return value.value if isinstance(value, Shift) else value
