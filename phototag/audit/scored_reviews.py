"""A reviewed sample as thresholds for its library need it: with a model's stored scores of all photos."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phototag.audit.sample_creation import find_sample
from phototag.audit.sampling import Scope
from phototag.dataset import Links, near_pairs
from phototag.decision import Evidence, join, unpack
from phototag.errors import UsageError
from phototag.evaluation import FEWEST_REVIEWS, Floats, LibraryScores
from phototag.model import Model
from phototag.store import Sample, SampleItem, SavedReview, Store

# Of embeddings, by cosine: docs/experiments.md#thresholds-from-reviews
_NEAR = 0.25
_NEXT_NUMBERS = 2
_NUMBERED = re.compile(rb"(.*?)(\d{1,9})\D*\Z", re.DOTALL)

_Judged = tuple[SampleItem, SavedReview]


def read_library_scores(store: Store, name: str, model: Model) -> LibraryScores:
    """Read a reviewed sample, and what a model said of its photos and of all others that it was sampled from.

    Raises:
        UsageError: there is no such sample, it says nothing of the library, too few of its photos were reviewed, or the
            model has not scored them.
        StoreError: the database cannot be read, or holds damaged scores.
        ModelError: the model's file cannot be read.
    """
    sample = find_sample(store, name)
    scope = _checked_scope(sample)
    judged = [(item, item.review) for item in store.samples.items(sample.id) if item.review and not item.changed]
    _refuse_few(sample, len(judged), "reviewed")
    model_id = store.models.find(hash=model.hash, weights_hash=model.weights_hash)
    found = {} if model_id is None else store.scores.of_contents(model_id, [item.content_hash for item, _ in judged])
    judged = [(item, review) for item, review in judged if item.content_hash in found]
    if model_id is None or not judged:
        tagged_by = next((known.name for known in store.models.find_all() if known.id == sample.model_id), None)
        way = "tag them: phototag tag FOLDER" if tagged_by is None else f"name the model that did: {tagged_by}"
        raise UsageError(f"model {model.name} has scored no reviewed photo of sample {name!r}; {way}")
    _refuse_few(sample, len(judged), f"reviewed and scored by {model.name}")
    taxonomy = model.header.taxonomy
    own = unpack([found[item.content_hash] for item, _ in judged], taxonomy)
    parts = [(own, *_scores(own))]
    known = {item.photo_id for item, _ in judged}
    models = {each.id for each in store.models.find_all() if scope.model in (None, each.name)}
    for page in store.scores.tagged(model_id, under=scope.under, readable=True):
        blobs = [row.scores for row in page if row.scores and row.model_id in models and row.photo_id not in known]
        if blobs:
            evidence = unpack(blobs, taxonomy)
            parts.append((evidence, *_scores(evidence)))
    return LibraryScores(
        sample=name,
        scores=np.concatenate([scores for _, scores, _ in parts]),
        novelty=np.concatenate([novelty for _, _, novelty in parts]),
        reviewed=np.arange(len(judged)),
        right=_right(own, model, [review for _, review in judged]),
        weights=_weights(sample, [item for item, _ in judged]),
        groups=_groups([item for item, _ in judged], own.embedding.astype(np.float32)),
    )


def _checked_scope(sample: Sample) -> Scope:
    if not sample.for_estimation:
        raise UsageError(
            f"sample {sample.name!r} was chosen for being doubtful, not sampled at random: it says nothing of the "
            "library; take one: phototag audit sample"
        )
    scope = Scope.from_json(sample.parameters.get("scope"))
    if scope.superclass is not None:
        raise UsageError(
            f"sample {sample.name!r} holds only photos tagged as {scope.superclass}, and thresholds are for all; take "
            "one of the whole library: phototag audit sample"
        )
    return scope


def _refuse_few(sample: Sample, number: int, what: str) -> None:
    if number >= FEWEST_REVIEWS:
        return
    quoted, missing = shlex.quote(sample.name), FEWEST_REVIEWS - number
    review = f"review more: phototag audit review {quoted}"
    add = f"add some: phototag audit sample {quoted} --more {max(missing, 200 - sample.size)}, and review them"
    raise UsageError(
        f"sample {sample.name!r}: {number} of its photos are {what}, and thresholds need at least {FEWEST_REVIEWS}; "
        f"200 are a good number; {review if sample.pending >= missing else add}"
    )


def _scores(evidence: Evidence) -> tuple[Floats, Floats]:
    """Return scores [B, 2] and novelty [B, 2] of a batch."""
    joint = join(evidence)
    top = joint.superclass[np.arange(len(joint.chosen)), joint.chosen]
    return np.stack([top, joint.child_score], axis=1).clip(0, 1), evidence.novelty.astype(np.float64)


def _right(evidence: Evidence, model: Model, reviews: Sequence[SavedReview]) -> NDArray[np.bool_]:
    """Return whether the best superclass and subclass [n, 2] are what people say; names, since theirs may be others."""
    taxonomy, joint = model.header.taxonomy, join(evidence)
    rows = []
    for chosen, child, review in zip(joint.chosen.tolist(), joint.child.tolist(), reviews, strict=True):
        superclass = taxonomy.superclasses[chosen] == review.superclass
        rows.append((superclass, superclass and taxonomy.subclasses[child] == review.subclass))
    return np.array(rows, dtype=np.bool_).reshape(-1, 2)


def _weights(sample: Sample, items: Sequence[SampleItem]) -> Floats:
    """Return how many photos each reviewed one stands for: those of its stratum over the reviewed ones there."""
    reviewed = Counter(item.stratum for item in items)
    population = {stratum.name: stratum.population for stratum in sample.strata}
    return np.array([population[item.stratum] / reviewed[item.stratum] for item in items])


def _groups(items: Sequence[SampleItem], embedding: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the group [n] of each photo: of the same content, nearly the same look, or next to it by file number."""
    links = Links(len(items))
    first: dict[bytes, int] = {}
    links.join((first.setdefault(item.content_hash, place), place) for place, item in enumerate(items))
    if embedding.shape[1]:
        links.join(near_pairs(embedding, _NEAR))
    links.join(_next_by_number(items))
    return links.groups()


def _next_by_number(items: Sequence[SampleItem]) -> Iterator[tuple[int, int]]:
    series: dict[tuple[bytes, bytes], list[tuple[int, int]]] = defaultdict(list)
    for place, item in enumerate(items):
        folder, name = os.path.split(item.path_bytes)
        numbered = _NUMBERED.match(name.rpartition(b".")[0])
        if numbered is not None:
            series[folder, numbered[1]].append((int(numbered[2]), place))
    for known in series.values():
        known.sort()
        for (number, place), (later, other) in pairwise(known):
            if later - number <= _NEXT_NUMBERS:
                yield place, other
