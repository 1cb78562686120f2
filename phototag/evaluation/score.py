"""A model's scores of labelled pictures, decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.choices import DEFAULT_BATCH_SIZE
from phototag.dataset import (
    Content,
    count_remembered,
    data_digest,
    group_numbers,
    listed_names,
    load_data,
    read_content,
    unknown_labels,
    without_contradictions,
)
from phototag.evaluation.validation import Validation, label_indexes
from phototag.model import Model
from phototag.records import Scores
from phototag.runtime import Runtime, Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What could be read of labelled pictures, their decoded scores in the same order, and the digest of the data.

    `unknown` are labels that the model does not know.
    """

    content: Content
    validation: Validation
    digest: str
    unknown: tuple[str, ...]


def score_labelled(
    data: Path,
    model: Model,
    *,
    target: Target,
    batch_size: int | None = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
    what: str = "evaluating",
) -> Scored:
    """Run a model on labelled pictures: a folder superclass/subclass/*, or a CSV. `what` names it in the progress.

    A label that the model does not know counts as none of its classes at that level.

    Raises:
        DataError: the data is not usable, or more than 5 % of its pictures cannot be read.
    """
    taxonomy = model.header.taxonomy
    labelled = without_contradictions(load_data(data), once=True)
    unknown = unknown_labels(labelled, taxonomy)
    if unknown:
        log.warning(
            "labels that the model does not know, so that their pictures are of none of its classes there: %s",
            listed_names(unknown),
        )
    run = Runtime(model, target=target, batch_size=batch_size)
    waiting: list[NDArray[np.uint8]] = []
    parts: list[Scores] = []

    def compute() -> None:
        parts.append(run(np.stack(waiting).transpose(0, 3, 1, 2)))
        waiting.clear()

    def take(_: bytes, pixels: NDArray[np.uint8]) -> None:
        waiting.append(pixels)
        if len(waiting) == run.batch_size:
            compute()

    content = read_content(labelled.pictures, model.header.preprocessing, workers=workers, take=take, what=what)
    if waiting:
        compute()
    digest = data_digest(content.pictures, content.hashes)
    record, pictures = model.header.record, len(content.hashes)
    seen = pictures if digest == record.get("data_digest") else count_remembered(record.get("contents"), content.hashes)
    if seen:
        which = "these very pictures" if seen == pictures else f"{seen:,} of these {pictures:,} pictures"
        log.warning("the model learned from %s: the figures flatter it", which)
    for line in content.unreadable:
        log.warning("left out: %s", line)
    labels = label_indexes(content.pictures, taxonomy)
    groups = group_numbers(content.pictures)
    validation = Validation.of(labels, _joined(parts), taxonomy, novelty=model.novelty, groups=groups)
    return Scored(content, validation, digest, tuple(unknown))


def _joined(parts: Sequence[Scores]) -> Scores:
    embeddings = [part.embedding for part in parts if part.embedding is not None]
    return Scores(
        np.concatenate([part.superclass for part in parts]),
        np.concatenate([part.subclass for part in parts]),
        np.concatenate(embeddings) if embeddings else None,
    )
