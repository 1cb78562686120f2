"""A model's scores of labelled pictures, decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.choices import DEFAULT_BATCH_SIZE
from phototag.dataset import Content, check_labels, data_digest, load_data, read_content
from phototag.evaluation.validation import Validation, label_indexes
from phototag.model import Model
from phototag.records import Scores
from phototag.runtime import Runtime, Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What could be read of labelled pictures, their decoded scores in the same order, and the digest of the data."""

    content: Content
    validation: Validation
    digest: str


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

    Raises:
        DataError: the data is not usable, holds labels that the model does not know, or more than 5 % of its pictures
            cannot be read.
    """
    labelled = load_data(data)
    if labelled.ignored:
        log.warning("%d pictures lie in no superclass/subclass folder and are left out", labelled.ignored)
    taxonomy = model.header.taxonomy
    check_labels(labelled, taxonomy)
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
    if digest == model.header.record.get("data_digest"):
        log.warning("the model learned from these very pictures: the figures flatter it")
    for line in content.unreadable:
        log.warning("left out: %s", line)
    labels = label_indexes(content.pictures, taxonomy)
    return Scored(content, Validation.of(labels, _joined(parts), taxonomy, novelty=model.novelty), digest)


def _joined(parts: Sequence[Scores]) -> Scores:
    embeddings = [part.embedding for part in parts if part.embedding is not None]
    return Scores(
        np.concatenate([part.superclass for part in parts]),
        np.concatenate([part.subclass for part in parts]),
        np.concatenate(embeddings) if embeddings else None,
    )
