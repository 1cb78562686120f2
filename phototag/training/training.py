"""Train a model from labelled pictures: the data, heads on frozen features, gradient steps, the model file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from phototag.choices import Tune
from phototag.dataset import DataSource, KeywordedLibrary, default_look
from phototag.errors import ModelError, UsageError
from phototag.evaluation import Metrics
from phototag.model import Model, ModelHeader, check_activation, open_model, set_active, state_path
from phototag.progress import waiting
from phototag.runtime import Target, choose_target, current_world
from phototag.training.activation import active_model, why_not_active
from phototag.training.config import TrainingConfig
from phototag.training.finalize import Finished, Outcome, finish
from phototag.training.finetune import train_by_gradient
from phototag.training.heads import fit_heads_only
from phototag.training.output import LEAST_ROOM_BYTES, check_room, choose_output, extended_output, write_model
from phototag.training.session import Pictures, Session, circumstances

if TYPE_CHECKING:
    from phototag.training.extension import Extension

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """A trained model, its metrics on the validation pictures, and whether Ctrl-C cut the run short.

    `inactive` says why it was not made the active model; it is empty where it was, or was not to be. `extension` tells
    what became of the old classes and how good the new ones are, after `extend`.

    >>> result = phototag.train("my_photos", output="colours")
    >>> result.model.header.taxonomy.superclasses, result.interrupted
    (('cold', 'warm'), False)
    """

    model: Model
    metrics: Metrics
    seconds: float
    interrupted: bool = False
    inactive: str = ""
    extension: Extension | None = None


def train(
    data: str | Path | KeywordedLibrary,
    *,
    config: TrainingConfig | None = None,
    output: str | Path | None = None,
    val: str | Path | None = None,
    extend: Model | str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    activate: bool = True,
) -> TrainingResult:
    """Train a model from a folder superclass/subclass/*, a CSV or a keyworded library, and write it to a model file.

    Args:
        data: The labelled pictures.
        config: What and how to learn; None is the default.
        output: A name in the models folder, or a file ending in .safetensors; None makes a name of data and backbone,
            or of the model that is extended.
        val: Labelled pictures for validation; None keeps a share of `data` apart, class by class.
        extend: A trained model to which the classes of `data` are added; its backbone stays.
        resume: Go on with an interrupted run of the same data and configuration, if there is one.
        overwrite: Replace an existing model, and forget an interrupted run.
        activate: Make the new model the default one, unless its data looks like a library of photos, or it is no better
            than guessing, or much worse than the active model on the classes of both.

    Returns:
        The model with its validation metrics. After Ctrl-C it is the best one so far.

    Raises:
        DataError: the data is not usable.
        ModelError: the backbone's weights cannot be had, the model to extend keeps no examples, or the model cannot be
            written.
        UsageError: the configuration makes no sense, or the output exists already.

    >>> result = phototag.train("my_photos", config=phototag.TrainingConfig(tune="heads"), output="colours")
    >>> result.model.name, result.metrics.superclass_accuracy > 0.5
    ('colours', True)
    """
    if extend is not None and (val is not None or resume):
        raise UsageError("a model is extended in seconds, and evaluated on its own examples: no --val and no --resume")
    config, started = config or TrainingConfig(), time.monotonic()
    source = data if isinstance(data, KeywordedLibrary) else Path(data)
    place = source if isinstance(source, Path) else source.root
    # The name of the model is held for as long as it is trained.
    with ExitStack() as held, current_world() as world:
        if activate:
            world.first(_warn_of_activation)
        if extend is not None:
            parent = extend if isinstance(extend, Model) else open_model(extend)
            path = world.first(lambda: extended_output(output, parent, overwrite=overwrite, held=held))
            return world.first(lambda: _extend(parent, source, config, path, activate=activate, started=started))
        path, session = _open(
            source,
            config,
            lambda: choose_output(output, place, config.backbone, resume=resume, overwrite=overwrite, held=held),
            Path(val) if val is not None else None,
        )
        if session.tune is Tune.HEADS:
            _check_heads_options(config, path, resume=resume)
            learn: Callable[[], Outcome] = partial(fit_heads_only, session)
        else:
            learn = train_by_gradient(session, path, resume=resume).outcome

        def complete() -> TrainingResult:
            outcome = learn()
            finished = _finish(outcome, session.header(), config)
            written = _write(path, outcome, finished, config, session.target, started)
            result = _activated(written, doubt=session.pictures.doubt) if activate else written
            if not outcome.interrupted:
                state_path(path).unlink(missing_ok=True)
            return result

        return world.first(complete)


def _open(
    source: DataSource, config: TrainingConfig, choose_path: Callable[[], Path], val: Path | None
) -> tuple[Path, Session]:
    """Return where the model goes, and a session with its pictures split; what would stop the run is found first."""
    world, target = current_world(), choose_target(config.device)
    look = default_look(target, config.workers)
    loaded = world.first(lambda: Pictures.load(source, val, config.data))
    path = world.first(choose_path)
    world.first(lambda: check_room(path, LEAST_ROOM_BYTES))  # more exactly once the backbone is known
    session = Session.open(loaded, config, target)
    world.first(lambda: check_room(path, session.written_bytes()))
    # Only now, as looking at pictures takes its time.
    session.pictures = pictures = world.first(lambda: loaded.split(config.data, look))
    log.info(
        "%d pictures of %d subclasses in %d superclasses; %s, tuning %s on %s",
        len(pictures.training) + len(pictures.validation),
        len(pictures.taxonomy.subclasses),
        len(pictures.taxonomy.superclasses),
        session.backbone_name,
        session.tune,
        target.device,
    )
    return path, session


def _warn_of_activation() -> None:
    """Say before the work, not after it, that the active model cannot be written down."""
    try:
        check_activation()
    except ModelError as error:
        log.warning("the model will not become the active one: %s", error)


def _extend(
    parent: Model, data: DataSource, config: TrainingConfig, path: Path, *, activate: bool, started: float
) -> TrainingResult:
    from phototag.training.extension import extend

    target = choose_target(config.device)
    if parent.path is not None:
        check_room(path, parent.path.stat().st_size)
    extension = extend(parent, data, config.data, target)
    finished = _finish(extension.outcome, extension.header(parent), config)
    extension = extension.finished(finished)
    written = _write(path, extension.outcome, finished, config, target, started)
    result = replace(written, extension=extension)
    return _activated(result, doubt=extension.doubt) if activate else result


def _activated(result: TrainingResult, *, doubt: str) -> TrainingResult:
    """Make a new model the active one, unless that would be a mistake; the result says so then."""
    if result.inactive:  # it lies where it cannot stay
        return result
    active = active_model()
    why = why_not_active(result.metrics, active, doubt=doubt, extension=result.extension)
    if not why:
        try:
            set_active(result.model)
        except ModelError as error:  # what was learned is worth more than that
            why = str(error)
    elif active is not None and active.path == result.model.path:
        log.warning("the new model took the place of the active one, its file being the same, although %s", why)
        return result
    return replace(result, inactive=why)


def _finish(outcome: Outcome, header: ModelHeader, config: TrainingConfig) -> Finished:
    with waiting("choosing thresholds"):
        return finish(outcome, header, config.thresholds)


def _write(
    path: Path,
    outcome: Outcome,
    finished: Finished,
    config: TrainingConfig,
    target: Target,
    started: float,
) -> TrainingResult:
    """Write the model with the circumstances of its training."""
    seconds = time.monotonic() - started
    record = {
        "configuration": config.to_json(),
        **finished.header.record,
        **circumstances(outcome, seconds, target.device),
    }
    header = replace(finished.header, record=record, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
    written, problem = write_model(path, finished.tensors, header.to_json())
    return TrainingResult(open_model(written), finished.metrics, seconds, outcome.interrupted, inactive=problem)


def _check_heads_options(config: TrainingConfig, path: Path, *, resume: bool) -> None:
    """Say what has no effect on fitted heads, and keep a run by gradient from being replaced by them.

    Raises:
        UsageError: an interrupted run by gradient was to be resumed.
    """
    if resume and state_path(path).exists():
        raise UsageError(
            f"{path}: the interrupted run trained by gradient; give its options again (--tune full or last), or start "
            "again with --overwrite"
        )
    usual = TrainingConfig(pretrained=config.pretrained)
    names = ("epochs", "batch_size", "lr", "amp", "accumulate", "compiled")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(config, name) != getattr(usual, name)]
    if given:
        options = ", ".join(given).replace("--compiled", "--compile")
        log.warning("%s: no effect on heads on frozen features; --tune full trains by gradient", options)
