"""From the two heads' scores to one consistent tag. Pure: numpy only, no torch, no store.

The two heads both speak about the superclass: the superclass head directly, with probabilities P(s), and the subclass
head through the sum over each superclass's children, Q(s) = sum of Q(c) for c under s. They are joined by a logarithmic
opinion pool with equal weights (Genest and Zidek, "Combining probability distributions", Statistical Science 1986,
section 2.2):

    p(s)    = P(s)^1/2 Q(s)^1/2 / Z
    p(s, c) = p(s) Q(c) / Q(s)     for c under s, and 0 otherwise

So p is one distribution over consistent pairs, p(s) is the sum of its p(s, c), and where the heads agree p equals
them. The superclass is decided first, the subclass among its children: backing off never changes the superclass.

Where the model has novelty scores (`phototag.decision.novelty`), a photo that is too strange backs off as well: to the
superclass when only the subclass looks unknown, to none when the superclass does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision.novelty import NoveltyModel, Tier
from phototag.errors import ModelError, StoreError
from phototag.records import Rank, Scores, Tag
from phototag.taxonomy import Taxonomy

Floats = NDArray[np.float32]

# Scores of models without an embedding, and of those with one: its width stands in the header too.
_PLAIN_VERSION, _PLAIN_HEADER = 1, struct.Struct("<BHB")
_PACK_VERSION, _PACK_HEADER = 2, struct.Struct("<BHBH")
_TOP = 10
_HALF_MOST = float(np.finfo(np.float16).max)


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
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Thresholds:
        """The inverse of `to_json`; ModelError if the value is not a pair of thresholds."""
        try:
            return cls(
                superclass=float(value["superclass"]),
                subclass=float(value["subclass"]),
                # Models without novelty scores say nothing of these.
                novel_superclass=float(value.get("novel_superclass", 1.0)),
                novel_subclass=float(value.get("novel_subclass", 1.0)),
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError(f"not a pair of thresholds: {error}") from error


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a decision needs of B photos' scores, compact enough to be stored with every photo.

    `superclass` [B, S] are the superclass head's logits, `pooled` [B, S] the log-sum-exp of the subclass logits under
    each superclass, `best` [B, S] the position of the best subclass under each and `best_logit` [B, S] its logit.
    `top` [B, K] and `top_logit` [B, K] are the K best subclasses of all, best first. `novelty` [B, 2] are the
    probabilities that the superclass and the subclass are unknown, NaN where the model does not tell, and `embedding`
    [B, E] describes what the photo shows; E is 0 where the model has none.
    """

    superclass: Floats
    pooled: Floats
    best: NDArray[np.uint16]
    best_logit: Floats
    top: NDArray[np.uint16]
    top_logit: Floats
    novelty: Floats
    embedding: NDArray[np.float16]


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


def gather(scores: Scores, taxonomy: Taxonomy, novelty: NoveltyModel | None = None) -> Evidence:
    """Reduce raw scores to what decisions need; `novelty` is the model's, if it has one.

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
    if novelty is None or scores.embedding is None:
        strange, embedding = np.full((photos, len(Tier)), np.nan, dtype=np.float32), np.zeros((photos, 0), np.float16)
    else:
        strange = novelty.probabilities(scores)
        embedding = scores.embedding.clip(-_HALF_MOST, _HALF_MOST).astype(np.float16)
    keep = min(_TOP, len(taxonomy.subclasses))
    top = np.argsort(-scores.subclass, axis=1, kind="stable")[:, :keep].astype(np.uint16)
    return Evidence(
        superclass=scores.superclass.astype(np.float32),
        pooled=pooled_logits(scores.subclass, taxonomy),
        best=best,
        best_logit=np.take_along_axis(scores.subclass, best.astype(np.intp), axis=1).astype(np.float32),
        top=top,
        top_logit=np.take_along_axis(scores.subclass, top.astype(np.intp), axis=1).astype(np.float32),
        novelty=strange,
        embedding=embedding,
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

    Novelty is the probability that the subclass is unknown. Where the model does not tell, it is one less the best
    subclass's probability, the maximum softmax probability baseline of Hendrycks and Gimpel (ICLR 2017), here on the
    joint distribution.
    """
    joint = join(evidence)
    tags = []
    for row, (superclass, subclass) in enumerate(zip(joint.chosen, joint.child, strict=True)):
        superclass_score = float(joint.superclass[row, superclass])
        subclass_score = float(joint.child_score[row])
        strange_superclass, strange_subclass = evidence.novelty[row].tolist()
        # Comparisons with NaN are false: no back-off where nothing is known.
        rank = Rank.NONE
        if superclass_score >= thresholds.superclass and not strange_superclass > thresholds.novel_superclass:
            rank = Rank.SUPERCLASS
            if subclass_score >= thresholds.subclass and not strange_subclass > thresholds.novel_subclass:
                rank = Rank.SUBCLASS
        tags.append(
            Tag(
                superclass=None if rank is Rank.NONE else taxonomy.superclasses[superclass],
                subclass=taxonomy.subclasses[subclass] if rank is Rank.SUBCLASS else None,
                rank=rank,
                superclass_score=superclass_score,
                subclass_score=subclass_score,
                novelty=1.0 - subclass_score if math.isnan(strange_subclass) else strange_subclass,
            )
        )
    return tags


def pack(evidence: Evidence) -> list[bytes]:
    """One compact blob a photo, from which `unpack` restores the evidence exactly."""
    photos, superclasses = evidence.superclass.shape
    keep, width = evidence.top.shape[1], evidence.embedding.shape[1]
    if width:
        header = _PACK_HEADER.pack(_PACK_VERSION, superclasses, keep, width)
    else:
        header = _PLAIN_HEADER.pack(_PLAIN_VERSION, superclasses, keep)
    parts = [
        np.ascontiguousarray(getattr(evidence, name), dtype=kind)
        for name, kind, _ in _layout(superclasses, keep, width)
    ]
    return [header + b"".join(part[row].tobytes() for part in parts) for row in range(photos)]


def _layout(superclasses: int, keep: int, width: int) -> list[tuple[str, str, int]]:
    """What a blob holds behind its header: fields of `Evidence`, their type and their number."""
    fields = [
        ("superclass", "<f4", superclasses),
        ("pooled", "<f4", superclasses),
        ("best", "<u2", superclasses),
        ("best_logit", "<f4", superclasses),
        ("top", "<u2", keep),
        ("top_logit", "<f4", keep),
    ]
    return [*fields, ("novelty", "<f4", len(Tier)), ("embedding", "<f2", width)] if width else fields


def unpack(blobs: Sequence[bytes], taxonomy: Taxonomy) -> Evidence:
    """The evidence of the blobs that `pack` made of scores by one model, in order.

    Raises:
        StoreError: a blob is damaged or belongs to another taxonomy.
    """
    superclasses, keep = len(taxonomy.superclasses), min(_TOP, len(taxonomy.subclasses))
    header, width = _PLAIN_HEADER.pack(_PLAIN_VERSION, superclasses, keep), 0
    if blobs and blobs[0][:1] == bytes([_PACK_VERSION]) and len(blobs[0]) >= _PACK_HEADER.size:
        width = _PACK_HEADER.unpack_from(blobs[0])[3]
        header = _PACK_HEADER.pack(_PACK_VERSION, superclasses, keep, width)
    fields = _layout(superclasses, keep, width)
    layout = np.dtype([("header", "u1", len(header)), *fields])
    if any(len(blob) != layout.itemsize or not blob.startswith(header) for blob in blobs):
        raise StoreError("stored scores are damaged or of another model; run: phototag tag --force")
    rows = np.frombuffer(b"".join(blobs), dtype=layout)
    # A field of length 1 comes back without its axis.
    found = {name: rows[name].reshape(len(blobs), -1) for name, _, _ in fields}
    if len(rows) and max(found["best"].max(), found["top"].max()) >= len(taxonomy.subclasses):
        raise StoreError("stored scores are damaged or of another model; run: phototag tag --force")
    if not width:
        found["novelty"] = np.full((len(blobs), len(Tier)), np.nan, dtype=np.float32)
        found["embedding"] = np.zeros((len(blobs), 0), dtype=np.float16)
    return Evidence(**found)


MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subclass that a model thought of, and its joint probability, as in `Tag.subclass_score`."""

    superclass: str
    subclass: str
    score: float


def best_subclasses(evidence: Evidence, taxonomy: Taxonomy, *, most: int = MOST) -> tuple[Candidate, ...]:
    """The subclasses of the highest joint probability of one photo, best first; `phototag.decision.rule` says of which.

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
