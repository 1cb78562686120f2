"""Training by gradient: from fitted heads, or from random weights; state of a run that goes on later."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phototag.choices import Balance
from phototag.dataset import Content, LabelledPicture, read_content, report_unreadable
from phototag.errors import RuntimeUnavailableError
from phototag.model import state_path
from phototag.runtime import current_world
from phototag.training.config import HeadsConfig
from phototag.training.finalize import Outcome
from phototag.training.heads import (
    Fitted,
    Part,
    Recipe,
    SplitFeatures,
    Start,
    accuracy,
    choose_start,
    ease_of_draw,
    evaluated_by,
    is_long_tailed,
    network_with,
)
from phototag.training.output import read_state, save_state
from phototag.training.session import Session, readable_parts

if TYPE_CHECKING:
    from phototag.model import DualHead
    from phototag.training.finetune.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What all processes need to know before the first step; picklable."""

    strategy: Balance
    training: tuple[LabelledPicture, ...]
    validation: tuple[LabelledPicture, ...]
    fingerprint: str


@dataclass
class Trained:
    """A network trained by gradient, and all that `outcome` needs; of that, `start` is known to the writer only."""

    session: Session
    trainer: Trainer
    network: DualHead
    start: Start | None
    averaging: list[dict[str, float]]
    interrupted: bool

    def outcome(self) -> Outcome:
        """Return what the training comes to: heads, embedding and novelty that go with the backbone.

        Heads fitted on the new features at once are mostly a little better than those that the last step left
        (docs/experiments.md#heads-fitted-again-after-fine-tuning); the validation pictures decide. As with frozen
        features they are then fitted on all pictures.
        """
        session, network, progress = self.session, self.network.cpu(), self.trainer.progress
        features, taxonomy = SplitFeatures.of(session, network.backbone), session.pictures.taxonomy
        training, validation = features.parts
        recipe = self._recipe(features.parts)
        evaluated = recipe.fit(training, taxonomy)
        stepped = Fitted(*network.heads(), evaluated.embedding)
        fits = accuracy(evaluated, validation, taxonomy) >= accuracy(stepped, validation, taxonomy)
        final = evaluated = evaluated if fits else stepped
        refitted = fits and session.pictures.kept_apart
        if refitted:
            final = recipe.fit(training + validation, taxonomy, embedding=evaluated.embedding)
        draw = ease_of_draw(self.start, taxonomy) if self.start is not None and session.pictures.kept_apart else None
        return features.outcome(
            session,
            network,
            evaluated=[evaluated_by(evaluated, validation)],
            final=final,
            # Learned, where there are such, on features that the classes left out did not shape.
            rule=self.start.rule if self.start is not None else recipe.rule(training, taxonomy),
            details={
                **recipe.to_json(),
                "curves": progress.history,
                "best_epoch": progress.best_epoch,
                "averaging": self.averaging,
                "heads": "fitted" if fits else "gradient",
                "refitted_on_all": refitted,
                **({} if draw is None else {"draw": draw}),
            },
            interrupted=self.interrupted,
        )

    def _recipe(self, parts: tuple[Part, Part]) -> Recipe:
        if self.start is not None:
            return self.start.recipe
        session, loss = self.session, self.trainer.config.loss
        config = HeadsConfig(loss.balance, session.config.seed)
        return Recipe.choose(*parts, session.pictures.taxonomy, config=config, blocks=session.blocks)


def train_by_gradient(session: Session, path: Path, *, resume: bool) -> Trained:
    """Train by gradient from fitted heads, or from random ones where the backbone is random too.

    Where several processes train, all call this and train the same network.
    """
    from phototag.training.finetune.averaging import averaged
    from phototag.training.finetune.trainer import Trainer

    config, world = session.config, current_world()
    started: list[Start] = []

    def prepare() -> _Plan:
        training, validation, strategy = _readable(session, started)
        return _Plan(strategy, training.pictures, validation.pictures, _fingerprint(session, training, validation))

    plan = world.first(prepare)
    start = started[0] if started else None
    trainer = Trainer(
        # The trainer gives all processes the tensors of the first.
        network_with(session, start.recipe.fit(start.features.parts[0], session.pictures.taxonomy) if start else None),
        session.pictures.taxonomy,
        session.preprocessing,
        training=plan.training,
        validation=plan.validation,
        config=replace(config, tune=session.tune, balance=plan.strategy).finetuning,
        device=session.target.device,
    )
    with killed_loaders_told():
        interrupted = _run(trainer, state_path(path), plan.fingerprint, resume=resume)
        best, trials = averaged(trainer) if config.pretrained else (trainer.best_network(), [])
    return Trained(session, trainer, best, start, trials, interrupted)


def _readable(session: Session, started: list[Start]) -> tuple[Content, Content, Balance]:
    """Return both parts' readable pictures, and the strategy; with pretrained weights `started` gets fitted heads."""
    pictures, config = session.pictures, session.config
    if config.pretrained:
        start = choose_start(session)
        started.append(start)
        return start.features.training, start.features.validation, start.recipe.choice.strategy
    both = read_content((*pictures.training, *pictures.validation), session.preprocessing, workers=config.workers)
    report_unreadable(both)
    training, validation = readable_parts(both, pictures.training, kept_apart=pictures.kept_apart)
    labels = np.array([pictures.taxonomy.subclass_index[picture.subclass or ""] for picture in training.pictures])
    strategy = config.balance
    if strategy is Balance.AUTO:
        strategy = Balance.LOGITS if is_long_tailed(labels) else Balance.NONE
    return training, validation, strategy


def _run(trainer: Trainer, state: Path, fingerprint: str, *, resume: bool) -> bool:
    """Train to the end; True if Ctrl-C came before it, and there is something to keep."""
    if resume:
        saved = current_world().first(lambda: read_state(state, fingerprint) if state.exists() else None)
        if saved is None:
            log.info("no interrupted run to resume: starting from the beginning")
        else:
            trainer.restore(*saved)
            log.info("resumed after epoch %d of %d", trainer.progress.epoch, trainer.config.epochs)
    try:
        with _stopped_between_steps(trainer):
            trainer.fit(lambda current: save_state(current, state, fingerprint))
    except KeyboardInterrupt:
        trainer.stopping = False
        if not trainer.progress.history:
            raise
        log.warning("interrupted: keeping the best model so far; go on with --resume")
        return True
    return False


@contextmanager
def killed_loaders_told() -> Iterator[None]:
    """Say what to do when a process that decodes beside the network is killed.

    Raises:
        RuntimeUnavailableError: one was.
    """
    try:
        yield
    except RuntimeError as error:  # raised by torch wherever the program happens to be
        if "DataLoader worker" not in str(error):
            raise
        raise RuntimeUnavailableError(
            "a process that decodes pictures was killed, as when memory runs out; free some, or use fewer --workers, "
            "and go on with --resume"
        ) from error


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


def _fingerprint(session: Session, training: Content, validation: Content) -> str:
    """Return a digest of what must stay for a run to go on: data, its order and parts, classes, configuration."""
    configuration = session.config.to_json()
    # Groups tell in the parts of the data.
    irrelevant_names = ("workers", "device", "target_precision", "keep_known", "accumulate", "compiled", "groups")
    for irrelevant in irrelevant_names:
        configuration.pop(irrelevant)
    data = [
        [(picture.subclass, content.hex()) for picture, content in zip(part.pictures, part.hashes, strict=True)]
        for part in (training, validation)
    ]
    described = json.dumps([configuration, session.backbone_name, data, session.pictures.taxonomy.digest])
    return hashlib.sha256(described.encode()).hexdigest()
