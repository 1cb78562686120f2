"""Train a model from labelled pictures: the data, heads on frozen features, gradient steps, the model file."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phototag.audit.evaluate import judge_scores
from phototag.audit.metrics import Metrics
from phototag.decision import Thresholds
from phototag.errors import UsageError
from phototag.learning.calibration import calibrate, choose_thresholds, label_indexes
from phototag.learning.checkpoint import ModelHeader, write_tensors
from phototag.learning.config import Balance, TrainingConfig, Tune
from phototag.learning.features import Content, Features, data_digest, read_content
from phototag.learning.guarantee import ValidationScores
from phototag.learning.registry import Model, open_model, set_active, state_path
from phototag.learning.runs import choose_output, restore_state, save_state
from phototag.learning.session import Outcome, Pictures, Session, readable_parts, report_unreadable
from phototag.learning.tuning import promise
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

if TYPE_CHECKING:
    from phototag.learning.network import DualHead
    from phototag.learning.trainer import Trainer

log = logging.getLogger(__name__)

_DEFAULTS = TrainingConfig()

__all__ = ["Balance", "TrainingConfig", "TrainingResult", "Tune", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """A trained model, its metrics on the validation pictures, and whether Ctrl-C cut the run short."""

    model: Model
    metrics: Metrics
    seconds: float
    interrupted: bool = False


def train(
    data: str | Path,
    *,
    config: TrainingConfig | None = None,
    output: str | Path | None = None,
    val: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    activate: bool = True,
) -> TrainingResult:
    """Train a model from a folder superclass/subclass/* or a CSV, and write it to a model file.

    Args:
        data: The labelled pictures.
        config: What and how to learn; None is the default.
        output: A name in the models folder, or a file ending in .safetensors; None makes a name of data and backbone.
        val: Labelled pictures for validation; None keeps a share of `data` apart, class by class.
        resume: Go on with an interrupted run of the same data and configuration, if there is one.
        overwrite: Replace an existing model, and forget an interrupted run.
        activate: Make the new model the default one.

    Returns:
        The model with its validation metrics. After Ctrl-C it is the best one so far.

    Raises:
        DataError: the data is not usable.
        ModelError: the backbone's weights cannot be had, or the model cannot be written.
        UsageError: the configuration makes no sense, or the output exists already.
    """
    started = time.monotonic()
    config = config or TrainingConfig()
    pictures = Pictures.load(Path(data), Path(val) if val is not None else None, config)
    path = choose_output(output, Path(data), config, resume=resume, overwrite=overwrite)
    session = Session.open(pictures, config)
    log.info(
        "%d pictures of %d subclasses in %d superclasses; %s, tuning %s on %s",
        len(pictures.training) + len(pictures.validation),
        len(pictures.taxonomy.subclasses),
        len(pictures.taxonomy.superclasses),
        session.backbone_name,
        session.tune,
        session.device,
    )
    if session.tune is Tune.HEADS:
        _check_heads_options(config, path, resume=resume)
    outcome = _fit_heads_only(session) if session.tune is Tune.HEADS else _fit_gradient(session, path, resume=resume)
    outcome, thresholds = _calibrated(outcome, pictures.taxonomy, config)
    metrics = judge_scores(outcome.validation, outcome.scores, pictures.taxonomy, thresholds)
    seconds = time.monotonic() - started
    header = ModelHeader(
        backbone=session.backbone_name,
        taxonomy=pictures.taxonomy,
        preprocessing=session.preprocessing,
        thresholds=thresholds,
        metrics=metrics.scalars(),
        record=session.record(outcome, seconds),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_tensors(path, outcome.tensors, header.to_json())
    if not outcome.interrupted:
        state_path(path).unlink(missing_ok=True)
    model = open_model(path)
    if activate:
        set_active(model)
    return TrainingResult(model, metrics, seconds, outcome.interrupted)


def _calibrated(outcome: Outcome, taxonomy: Taxonomy, config: TrainingConfig) -> tuple[Outcome, Thresholds]:
    """The outcome with temperatures folded into its heads, and the thresholds to go with it.

    Heads that were fitted once more on all pictures take the temperatures of those that were judged: nothing is left
    to fit their own on, and a fifth more pictures changes them little.
    """
    calibration = calibrate(outcome.validation, outcome.scores, taxonomy)
    scores = calibration.temperatures.scaled(outcome.scores)
    tables = ValidationScores.of(outcome.validation, scores, taxonomy)
    details = {**outcome.details, "calibration": calibration.to_json(), "validation_scores": tables.to_json()}
    if config.target_precision is None:
        thresholds = choose_thresholds(outcome.validation, scores, taxonomy)
    else:
        thresholds, details["promise"] = promise(tables, config.target_precision)
    tensors = calibration.temperatures.folded(outcome.tensors)
    return replace(outcome, tensors=tensors, scores=scores, details=details), thresholds


def _check_heads_options(config: TrainingConfig, path: Path, *, resume: bool) -> None:
    """Say what has no effect on fitted heads, and keep a run by gradient from being replaced by them.

    Raises:
        UsageError: an interrupted run by gradient was to be resumed.
    """
    if resume and state_path(path).exists():
        raise UsageError(
            f"{path}: the interrupted run trained by gradient; give its options again (--tune full or last), or start "
            "anew with --overwrite"
        )
    names = ("epochs", "batch_size", "lr", "amp")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(config, name) != getattr(_DEFAULTS, name)]
    if given:
        log.warning("%s: no effect on heads on frozen features; --tune full trains by gradient", ", ".join(given))


@dataclass(frozen=True)
class _FittedHeads:
    """A network with heads fitted on the training part, and what its features say of both parts."""

    network: DualHead
    training: Features
    validation: Features
    scores: Scores
    penalties: tuple[float, float]


def _fit_heads(session: Session) -> _FittedHeads:
    from phototag.learning.heads import choose_head
    from phototag.learning.network import DualHead

    pictures, taxonomy = session.pictures, session.pictures.taxonomy
    training, validation = readable_parts(session.features((*pictures.training, *pictures.validation)), pictures)
    classes = (len(taxonomy.superclasses), len(taxonomy.subclasses))
    heads = []
    for labels, unseen, count in zip(
        label_indexes(training.pictures, taxonomy), label_indexes(validation.pictures, taxonomy), classes, strict=True
    ):
        known = unseen >= 0
        heads.append(
            choose_head(
                training.values,
                labels,
                validation.values[known],
                unseen[known],
                classes=count,
                balanced=session.config.balance is not Balance.NONE,
            )
        )
    superclass, subclass = heads
    network = DualHead(session.backbone, superclasses=classes[0], subclasses=classes[1])
    network.set_heads(superclass.weight, superclass.bias, subclass.weight, subclass.bias)
    scores = Scores(superclass.logits(validation.values), subclass.logits(validation.values))
    return _FittedHeads(network, training, validation, scores, (superclass.penalty, subclass.penalty))


def _fit_heads_only(session: Session) -> Outcome:
    """Heads on frozen features.

    Judged on the validation pictures, then, where those were split off the training data, fitted once more on all of
    it: a fifth more pictures a class is worth more than a file that equals what was judged.
    """
    from phototag.learning.heads import fit_head
    from phototag.learning.network import to_numpy

    taxonomy = session.pictures.taxonomy
    fitted = _fit_heads(session)
    digest = _digest(fitted.training, fitted.validation)
    if session.pictures.kept_apart:
        everything = (*fitted.training.pictures, *fitted.validation.pictures)
        values = np.concatenate([fitted.training.values, fitted.validation.values])
        superclass, subclass = (
            fit_head(
                values,
                labels,
                classes=classes,
                penalty=penalty,
                balanced=session.config.balance is not Balance.NONE,
            )
            for labels, classes, penalty in zip(
                label_indexes(everything, taxonomy),
                (len(taxonomy.superclasses), len(taxonomy.subclasses)),
                fitted.penalties,
                strict=True,
            )
        )
        fitted.network.set_heads(superclass.weight, superclass.bias, subclass.weight, subclass.bias)
    return Outcome(
        tensors=to_numpy(fitted.network),
        validation=fitted.validation.pictures,
        scores=fitted.scores,
        digest=digest,
        details={"penalties": list(fitted.penalties), "refitted_on_all": session.pictures.kept_apart},
    )


def _fit_gradient(session: Session, path: Path, *, resume: bool) -> Outcome:
    """Gradient training from fitted heads, or from random ones where the backbone is random too."""
    from phototag.learning.network import DualHead, to_numpy
    from phototag.learning.trainer import Trainer

    pictures, taxonomy = session.pictures, session.pictures.taxonomy
    if session.config.pretrained:
        fitted = _fit_heads(session)
        network = fitted.network
        training: Content = fitted.training
        validation: Content = fitted.validation
    else:
        network = DualHead(
            session.backbone, superclasses=len(taxonomy.superclasses), subclasses=len(taxonomy.subclasses)
        )
        everything = (*pictures.training, *pictures.validation)
        both = read_content(everything, session.preprocessing, workers=session.config.workers)
        report_unreadable(both)
        training, validation = readable_parts(both, pictures)
    trainer = Trainer(
        network,
        taxonomy,
        session.preprocessing,
        training=training.pictures,
        validation=validation.pictures,
        config=replace(session.config, tune=session.tune),
        device=session.device,
    )
    fingerprint = _fingerprint(session, training, validation)
    state = state_path(path)
    if resume and state.exists():
        restore_state(trainer, state, fingerprint)
    elif resume:
        log.info("no interrupted run to resume: starting from the beginning")
    interrupted = False
    try:
        with _stopped_between_steps(trainer):
            trainer.fit(lambda current: save_state(current, state, fingerprint))
    except KeyboardInterrupt:
        trainer.stopping = False
        if not trainer.progress.history:
            raise
        interrupted = True
        log.warning("interrupted: keeping the best model so far; go on with --resume")
    best = trainer.best_network()
    judged, scores = trainer.scores(best)
    return Outcome(
        tensors=to_numpy(best),
        validation=judged,
        scores=scores,
        digest=_digest(training, validation),
        details={"curves": trainer.progress.history, "best_epoch": trainer.progress.best_epoch},
        interrupted=interrupted,
    )


@contextmanager
def _stopped_between_steps(trainer: Trainer) -> Iterator[None]:
    """Let the first Ctrl-C end the run after the step it is in; the second one acts at once, as usual.

    An exception raised wherever the program happens to be can get lost in a callback that swallows it, such as those of
    a fork when worker processes start.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, usual)
        trainer.stopping = True

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _digest(training: Content, validation: Content) -> str:
    return data_digest((*training.pictures, *validation.pictures), (*training.hashes, *validation.hashes))


def _fingerprint(session: Session, training: Content, validation: Content) -> str:
    """What has to be the same for a run to go on: data in the same order and parts, classes and configuration."""
    configuration = session.config.to_json()
    for irrelevant in ("workers", "device", "target_precision"):
        configuration.pop(irrelevant)
    data = [
        [(picture.subclass, content.hex()) for picture, content in zip(part.pictures, part.hashes, strict=True)]
        for part in (training, validation)
    ]
    described = json.dumps([configuration, session.backbone_name, data, session.pictures.taxonomy.digest])
    return hashlib.sha256(described.encode()).hexdigest()
