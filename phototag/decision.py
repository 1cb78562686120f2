"""From the two heads' scores to one consistent tag. Pure: numpy only, no torch, no store.

The two heads both speak about the superclass: the superclass head directly, with probabilities P(s), and the subclass
head through the sum over each superclass's children, Q(s) = sum of Q(c) for c under s. They are joined by a logarithmic
opinion pool with equal weights (Genest and Zidek, "Combining probability distributions", Statistical Science 1986,
section 2.2):

    p(s)    = P(s)^1/2 Q(s)^1/2 / Z
    p(s, c) = p(s) Q(c) / Q(s)     for c under s, and 0 otherwise

So p is one distribution over consistent pairs, p(s) is the sum of its p(s, c), and where the heads agree p equals
them. The superclass is decided first, the subclass among its children: backing off never changes the superclass.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.errors import ModelError, StoreError
from phototag.records import Rank, Scores, Tag
from phototag.taxonomy import Taxonomy

Floats = NDArray[np.float32]

_PACK_VERSION = 1
_PACK_HEADER = struct.Struct("<BHB")
_TOP = 10


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least probability a tag needs at each level; below, it backs off to the level above, then to none.

    Raises:
        ModelError: a threshold is not between 0 and 1; they may come from an untrusted model file.
    """

    superclass: float
    subclass: float

    def __post_init__(self) -> None:
        for value in (self.superclass, self.subclass):
            if not 0.0 <= value <= 1.0:
                raise ModelError(f"thresholds must lie between 0 and 1: {self}")

    def to_json(self) -> dict[str, float]:
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Thresholds:
        """The inverse of `to_json`; ModelError if the value is not a pair of thresholds."""
        try:
            return cls(superclass=float(value["superclass"]), subclass=float(value["subclass"]))
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"not a pair of thresholds: {error}") from error


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a decision needs of B photos' scores, compact enough to be stored with every photo.

    `superclass` [B, S] are the superclass head's logits, `pooled` [B, S] the log-sum-exp of the subclass logits under
    each superclass, `best` [B, S] the position of the best subclass under each and `best_logit` [B, S] its logit.
    `top` [B, K] and `top_logit` [B, K] are the K best subclasses of all, best first.
    """

    superclass: Floats
    pooled: Floats
    best: NDArray[np.uint16]
    best_logit: Floats
    top: NDArray[np.uint16]
    top_logit: Floats


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


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def pooled_logits(subclass: Floats, taxonomy: Taxonomy) -> Floats:
    """Log-sum-exp of the subclass logits [B, C] under each superclass: [B, S].

    For a network with no superclass head these are its superclass logits: their softmax is the sum of the subclasses'
    probabilities.
    """
    columns = []
    for children in taxonomy.children:
        part = subclass[:, children].astype(np.float64)
        top = part.max(axis=1)
        columns.append(top + np.log(np.exp(part - top[:, None]).sum(axis=1)))
    return np.stack(columns, axis=1).astype(np.float32)


def gather(scores: Scores, taxonomy: Taxonomy) -> Evidence:
    """Reduce raw scores to what decisions need.

    Raises:
        ModelError: the scores do not have the taxonomy's shape, or hold values that are not finite.
    """
    photos = len(scores.subclass)
    wanted = ((photos, len(taxonomy.superclasses)), (photos, len(taxonomy.subclasses)))
    if (scores.superclass.shape, scores.subclass.shape) != wanted:
        raise ModelError(f"scores of shape {scores.superclass.shape}, {scores.subclass.shape}; expected {wanted}")
    if not (np.isfinite(scores.superclass).all() and np.isfinite(scores.subclass).all()):
        raise ModelError("the network gave scores that are not finite; the model is broken or overflows")
    best = np.empty(wanted[0], dtype=np.uint16)
    for position, children in enumerate(taxonomy.children):
        best[:, position] = np.asarray(children)[scores.subclass[:, children].argmax(axis=1)]
    keep = min(_TOP, len(taxonomy.subclasses))
    top = np.argsort(-scores.subclass, axis=1, kind="stable")[:, :keep].astype(np.uint16)
    return Evidence(
        superclass=scores.superclass.astype(np.float32),
        pooled=pooled_logits(scores.subclass, taxonomy),
        best=best,
        best_logit=np.take_along_axis(scores.subclass, best.astype(np.intp), axis=1).astype(np.float32),
        top=top,
        top_logit=np.take_along_axis(scores.subclass, top.astype(np.intp), axis=1).astype(np.float32),
    )


def join(evidence: Evidence) -> Joint:
    """The joint distribution of the two heads; the module's docstring says which."""
    by_head = _log_softmax(evidence.superclass.astype(np.float64))
    by_children = _log_softmax(evidence.pooled.astype(np.float64))
    superclass = np.exp(_log_softmax((by_head + by_children) / 2))
    rows = np.arange(len(superclass))
    chosen = superclass.argmax(axis=1)
    share = np.exp(evidence.best_logit[rows, chosen].astype(np.float64) - evidence.pooled[rows, chosen])
    child_score = superclass[rows, chosen] * np.minimum(share, 1.0)
    return Joint(superclass, chosen, evidence.best[rows, chosen].astype(np.intp), child_score)


def decide(evidence: Evidence, taxonomy: Taxonomy, thresholds: Thresholds) -> list[Tag]:
    """Decide the tags of a batch. A tag's subclass always lies under its superclass.

    Novelty is one less the best subclass's probability, the maximum softmax probability baseline of Hendrycks and
    Gimpel (ICLR 2017), here on the joint distribution.
    """
    joint = join(evidence)
    tags = []
    for row, (superclass, subclass) in enumerate(zip(joint.chosen, joint.child, strict=True)):
        superclass_score = float(joint.superclass[row, superclass])
        subclass_score = float(joint.child_score[row])
        rank = Rank.NONE
        if superclass_score >= thresholds.superclass:
            rank = Rank.SUBCLASS if subclass_score >= thresholds.subclass else Rank.SUPERCLASS
        tags.append(
            Tag(
                superclass=None if rank is Rank.NONE else taxonomy.superclasses[superclass],
                subclass=taxonomy.subclasses[subclass] if rank is Rank.SUBCLASS else None,
                rank=rank,
                superclass_score=superclass_score,
                subclass_score=subclass_score,
                novelty=1.0 - subclass_score,
            )
        )
    return tags


def pack(evidence: Evidence) -> list[bytes]:
    """One compact blob a photo, from which `unpack` restores the evidence exactly."""
    photos, superclasses = evidence.superclass.shape
    header = _PACK_HEADER.pack(_PACK_VERSION, superclasses, evidence.top.shape[1])
    parts = [
        np.ascontiguousarray(evidence.superclass, dtype="<f4"),
        np.ascontiguousarray(evidence.pooled, dtype="<f4"),
        np.ascontiguousarray(evidence.best, dtype="<u2"),
        np.ascontiguousarray(evidence.best_logit, dtype="<f4"),
        np.ascontiguousarray(evidence.top, dtype="<u2"),
        np.ascontiguousarray(evidence.top_logit, dtype="<f4"),
    ]
    return [header + b"".join(part[row].tobytes() for part in parts) for row in range(photos)]


def unpack(blobs: Sequence[bytes], taxonomy: Taxonomy) -> Evidence:
    """The evidence of the blobs that `pack` made, in order.

    Raises:
        StoreError: a blob is damaged or belongs to another taxonomy.
    """
    superclasses, keep = len(taxonomy.superclasses), min(_TOP, len(taxonomy.subclasses))
    header = _PACK_HEADER.pack(_PACK_VERSION, superclasses, keep)
    layout = np.dtype(
        [
            ("header", "u1", _PACK_HEADER.size),
            ("superclass", "<f4", superclasses),
            ("pooled", "<f4", superclasses),
            ("best", "<u2", superclasses),
            ("best_logit", "<f4", superclasses),
            ("top", "<u2", keep),
            ("top_logit", "<f4", keep),
        ]
    )
    if any(len(blob) != layout.itemsize or not blob.startswith(header) for blob in blobs):
        raise StoreError("stored scores are damaged or of another model; run: phototag tag --force")
    rows = np.frombuffer(b"".join(blobs), dtype=layout)
    # A field of length 1 comes back without its axis.
    fields = {name: rows[name].reshape(len(blobs), -1) for name in layout.names or () if name != "header"}
    if len(rows) and max(fields["best"].max(), fields["top"].max()) >= len(taxonomy.subclasses):
        raise StoreError("stored scores are damaged or of another model; run: phototag tag --force")
    return Evidence(**fields)
