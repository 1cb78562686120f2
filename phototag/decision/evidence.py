"""What a decision needs of a network's scores, compact enough to be stored with every photo. Pure: numpy only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.decision.novelty import NoveltyModel, Tier
from phototag.errors import ModelError, StoreError
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

Floats = NDArray[np.float32]

# Scores of models without an embedding, and of those with one: its width stands in the header too.
_PLAIN_VERSION, _PLAIN_HEADER = 1, struct.Struct("<BHB")
_PACK_VERSION, _PACK_HEADER = 2, struct.Struct("<BHBH")
_TOP = 10
_HALF_MOST = float(np.finfo(np.float16).max)


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


def pooled_logits(subclass: Floats, taxonomy: Taxonomy) -> Floats:
    """Return the log-sum-exp of the subclass logits [B, C] under each superclass: [B, S].

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
        probabilities = np.full((photos, len(Tier)), np.nan, dtype=np.float32)
        embedding = np.zeros((photos, 0), np.float16)
    else:
        probabilities = novelty.probabilities(scores)
        # Kinship, behind the axes, has told what it has to tell.
        axes = scores.embedding[:, : len(novelty.space.spread)]
        embedding = axes.clip(-_HALF_MOST, _HALF_MOST).astype(np.float16)
    keep = min(_TOP, len(taxonomy.subclasses))
    top = np.argsort(-scores.subclass, axis=1, kind="stable")[:, :keep].astype(np.uint16)
    return Evidence(
        superclass=scores.superclass.astype(np.float32),
        pooled=pooled_logits(scores.subclass, taxonomy),
        best=best,
        best_logit=np.take_along_axis(scores.subclass, best.astype(np.intp), axis=1).astype(np.float32),
        top=top,
        top_logit=np.take_along_axis(scores.subclass, top.astype(np.intp), axis=1).astype(np.float32),
        novelty=probabilities,
        embedding=embedding,
    )


def pack(evidence: Evidence) -> list[bytes]:
    """Pack the evidence into one compact blob a photo, from which `unpack` restores it exactly."""
    photos, superclasses = evidence.superclass.shape
    keep, width = evidence.top.shape[1], evidence.embedding.shape[1]
    if width:
        header = _PACK_HEADER.pack(_PACK_VERSION, superclasses, keep, width)
    else:
        header = _PLAIN_HEADER.pack(_PLAIN_VERSION, superclasses, keep)
    parts = [
        np.ascontiguousarray(getattr(evidence, name), dtype=dtype)
        for name, dtype, _ in _layout(superclasses, keep, width)
    ]
    return [header + b"".join(part[row].tobytes() for part in parts) for row in range(photos)]


def _layout(superclasses: int, keep: int, width: int) -> list[tuple[str, str, int]]:
    """Return what a blob holds behind its header: fields of `Evidence`, their type and their number."""
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
    """Return the evidence of the blobs that `pack` made of scores by one model, in order.

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
