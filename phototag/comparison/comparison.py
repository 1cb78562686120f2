"""Train several backbones alike and evaluate them on the same pictures.

A test part is kept apart, the same for all. Whole subclasses are left out of the training, too: their pictures are what
no model was taught, and show how well it notices. Every finished training leaves a small result file, so that a run
that was interrupted goes on from there, and one with more backbones or seeds takes over what is there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from phototag import settings
from phototag.choices import Balance, Device, GroupsBy, Tune
from phototag.comparison.result import Comparison, Run
from phototag.comparison.run import evaluate_run
from phototag.comparison.split import ComparisonConfig, Parts, divide, identity
from phototag.dataset import (
    COLUMNS,
    GROUP_COLUMN,
    LabelledPicture,
    default_look,
    grouped,
    groups_line,
    load_data,
    without_contradictions,
)
from phototag.errors import DataError, DecodeError, UsageError
from phototag.files import read_regular, write_text
from phototag.imaging import Decoder, Preprocessing, read_bytes
from phototag.model import (
    check_size,
    create_backbone,
    default_preprocessing,
    load_weights,
    open_model,
    resolve_backbone,
    state_path,
)
from phototag.paths import absolute
from phototag.progress import waiting
from phototag.runtime import Cost, Target, choose_target, costs, machine, step_seconds
from phototag.training import TrainingConfig, train

log = logging.getLogger(__name__)

__all__ = ["ComparisonConfig", "Parts", "compare", "divide"]

_FORMAT = 1
_MOST_RESULT_BYTES = 1 << 30
_LEAST_SIZE, _SIZE_STEP = 64, 32
_MEASURED_PICTURES = 50
_STARTING_SECONDS = 5.0
_IRRELEVANT = ("workers", "device")


def compare(data: str | Path, config: ComparisonConfig, *, output: str | Path | None = None) -> Comparison:
    """Train every backbone with every seed, and evaluate all of them on the same pictures.

    Args:
        data: Labelled pictures: a folder superclass/subclass/* or a CSV.
        config: What is compared, and how.
        output: A folder that keeps the results and the models; None keeps results, and one model of each backbone, in
            the cache.

    Raises:
        DataError: the data is not usable.
        ModelError: the weights of a backbone cannot be had, or a model cannot be written.
        UsageError: there is no such backbone, or one cannot be trained like that.
        KeyboardInterrupt: Ctrl-C; what is finished is kept, and the same call goes on from there.
    """
    source = Path(data)
    names = _resolved(config)
    groups = config.training.groups
    loaded = load_data(source, deep=groups is GroupsBy.FOLDER)
    _check_start(config, names)
    target = choose_target(config.training.device)
    clean = without_contradictions(loaded, once=True)
    pictures = grouped(clean.pictures, groups, default_look(target, config.training.workers))
    log.info("%s", groups_line(pictures))
    parts = divide(replace(clean, pictures=pictures), config)
    # The lists of pictures say what belongs together.
    config = replace(config, training=replace(config.training, groups=GroupsBy.AUTO))
    config = replace(config, training=_adapted(config.training, parts, names))
    named = identity(parts)
    folder = Path(output) if output is not None else settings.cache_folder() / "compare" / named[:16]
    bench = _Bench(source, folder, parts, config, names, named, keep_models=output is not None, target=target)
    bench.prepare()
    runs = bench.runs()
    return Comparison(
        source=str(source),
        runs=tuple(runs),
        costs={name: cost.to_json() for name, cost in bench.costs().items()},
        parts={"training": len(parts.training), "test": len(parts.test), "novel": len(parts.novel)},
        novel_subclasses=parts.novel_subclasses,
        configuration=config.training.to_json(),
        machine=machine(),
        folder=str(folder),
    )


def _resolved(config: ComparisonConfig) -> dict[str, str]:
    """Return timm's full name of each backbone."""
    names = {name: resolve_backbone(name) for name in dict.fromkeys(config.backbones)}
    if len(set(names.values())) < len(config.backbones):
        raise UsageError("the same backbone is named twice; a comparison takes different ones")
    return names


def _check_start(config: ComparisonConfig, names: Mapping[str, str]) -> None:
    """Find out before hours of training whether all backbones can start: their weights, which may be downloaded."""
    if config.training.pretrained:
        for name, full in names.items():
            load_weights(full, config.weights.get(name))
    if config.training.img_size is not None:
        for full in names.values():
            check_size(create_backbone(full), config.training.img_size)


def _adapted(training: TrainingConfig, parts: Parts, names: Mapping[str, str]) -> TrainingConfig:
    """Return a configuration that treats all alike: no early end, no chosen balance, one size for random weights."""
    training = replace(training, patience=max(training.epochs, training.patience))
    if training.balance is Balance.AUTO:
        # It may choose differently for each training, and then not only the backbones differ.
        training = replace(training, balance=Balance.NONE)
    if training.pretrained or training.img_size is not None:
        return training
    # Nothing was learned at any size yet, and magnified pictures take longer and show no more.
    own = min(default_preprocessing(create_backbone(full)).size for full in names.values())
    size = min(own, max(_LEAST_SIZE, _SIZE_STEP * math.ceil(_usual_side(parts.training) / _SIZE_STEP)))
    try:
        for full in names.values():
            check_size(create_backbone(full), size)
    except UsageError:
        return training
    return replace(training, img_size=size)


def _usual_side(pictures: Sequence[LabelledPicture]) -> int:
    """Return the median of the shorter sides, in pixels, of some of the pictures."""
    sides = []
    with Decoder(Preprocessing(size=_LEAST_SIZE)) as decode:
        for picture in random.Random(0).sample(list(pictures), min(_MEASURED_PICTURES, len(pictures))):
            try:
                sides.append(min(decode(read_bytes(picture.path), picture.path)[1:]))
            except DecodeError:
                continue  # told when it is decoded for training
    return int(median(sides)) if sides else _LEAST_SIZE


@dataclass(eq=False)
class _Bench:
    """The folder of a comparison, and the work in it."""

    source: Path
    folder: Path
    parts: Parts
    config: ComparisonConfig
    names: Mapping[str, str]
    identity: str
    keep_models: bool
    target: Target

    def prepare(self) -> None:
        """Write the lists of pictures; UsageError if the folder cannot be used."""
        rows = (("training", self.parts.training), ("test", (*self.parts.test, *self.parts.novel)))
        for name, pictures in rows:
            path = self._list(name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow([*COLUMNS, GROUP_COLUMN])
                    writer.writerows([(absolute(p.path), p.superclass, p.subclass or "", p.group) for p in pictures])
            except OSError as error:
                raise UsageError(
                    f"{path}: cannot be written: {error.strerror or error}; name another --output"
                ) from error

    def runs(self) -> list[Run]:
        """Return all runs, those that were finished earlier from their files; in the order of backbones, then seeds."""
        # Seed by seed, so that what an interruption leaves can be compared.
        order = [(name, seed) for seed in range(self.config.seeds) for name in self.names]
        found = {key: run for key in order if (run := self._finished(*key)) is not None}
        trained = [key for key in order if key not in found]
        if found:
            log.info("%d of %d trainings are finished already: %s", len(found), len(order), self.folder)
        if trained:
            self._announce(trained)
        seconds: dict[str, float] = {}
        for number, (name, seed) in enumerate(trained):
            log.info("%s, seed %d: training %d of %d", name, seed, number + 1, len(trained))
            started = time.monotonic()
            found[name, seed] = self._run(name, seed)
            # The last one says most: with frozen features the first one of a backbone also computes these.
            seconds[name] = time.monotonic() - started
            left = [other for other, _ in trained[number + 1 :]]
            # One backbone's time says nothing of another's.
            if left and seconds.keys() >= set(left):
                log.info("about %s left", _duration(sum(seconds[other] for other in left)))
        digests = {run.digest for run in found.values()}
        if len(digests) > 1:
            raise DataError(f"{self.source}: the pictures changed between the trainings; name another --output")
        return [found[name, seed] for name in self.names for seed in range(self.config.seeds)]

    def costs(self) -> dict[str, Cost]:
        """Return what each backbone costs; nothing where a model is no longer there."""
        paths = {name: self._model(name, 0) for name in self.names}
        if not all(path.exists() for path in paths.values()):
            return {}
        with waiting("measuring speed and memory side by side"):
            found = costs([open_model(path) for path in paths.values()], target=self.target)
        return dict(zip(paths, found, strict=True))

    def _training(self, name: str, seed: int) -> TrainingConfig:
        return replace(self.config.training, backbone=name, weights=self.config.weights.get(name), seed=seed)

    def _list(self, name: str) -> Path:
        return self.folder / f"{name}.csv"

    def _key(self, name: str, seed: int) -> str:
        """Return the name of a run; another configuration or other data make another run."""
        configuration = self._training(name, seed).to_json()
        for irrelevant in _IRRELEVANT:
            configuration.pop(irrelevant, None)
        described = json.dumps([_FORMAT, configuration, self.names[name], self.identity], sort_keys=True)
        return f"{name}-seed{seed}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"

    def _model(self, name: str, seed: int) -> Path:
        return (self.folder / f"{self._key(name, seed)}.safetensors").absolute()

    def _result(self, name: str, seed: int) -> Path:
        return self.folder / f"{self._key(name, seed)}.json"

    def _finished(self, name: str, seed: int) -> Run | None:
        path = self._result(name, seed)
        try:
            return Run.from_json(json.loads(read_regular(path, most_bytes=_MOST_RESULT_BYTES)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: cannot be used, training again: %s", path, error)
            return None

    def _run(self, name: str, seed: int) -> Run:
        path = self._model(name, seed)
        state = state_path(path)
        if not path.exists() or state.exists():
            result = train(
                self._list("training"),
                config=self._training(name, seed),
                output=path,
                resume=state.exists(),
                activate=False,
            )
            if result.interrupted:
                raise KeyboardInterrupt
        model = open_model(path)
        run = evaluate_run(
            model,
            self._list("test"),
            backbone=name,
            seed=seed,
            target=self.target,
            workers=self.config.training.workers,
        )
        write_text(self._result(name, seed), json.dumps(run.to_json(), allow_nan=False))
        if seed and not self.keep_models:
            path.unlink(missing_ok=True)
        return run

    def _announce(self, waiting: Sequence[tuple[str, int]]) -> None:
        """Say how much there is to do, and on a CPU how long it will take by the time of one step."""
        training = self.config.training
        log.info(
            "%d %s on %d pictures, tested on %d others and on %d novel ones, of %s; Ctrl-C keeps what is "
            "finished, and the same command goes on",
            len(waiting),
            "training" if len(waiting) == 1 else "trainings",
            len(self.parts.training),
            len(self.parts.test),
            len(self.parts.novel),
            ", ".join(self.parts.novel_subclasses) or "no class",
        )
        heads = training.tune is Tune.HEADS or (training.tune is Tune.AUTO and training.pretrained)
        if self.target.device is Device.CPU and not heads:
            seconds_each = {name: self._seconds(name) for name in dict.fromkeys(name for name, _ in waiting)}
            log.info(
                "on this CPU that takes about %s; fewer --epochs or --seeds, or a smaller --img-size, take less",
                _duration(sum(seconds_each[name] for name, _ in waiting)),
            )

    def _seconds(self, name: str) -> float:
        """Return how long one training of that backbone is likely to take, by the time of a step."""
        training = self.config.training
        backbone = create_backbone(self.names[name])
        size = default_preprocessing(backbone, training.img_size).size
        step = step_seconds(backbone, size, batch_size=training.batch_size, device=Device.CPU)
        steps = max(1, round(len(self.parts.training) * (1 - training.val_fraction) / training.batch_size))
        log.info("%s: %.2f s a step, %d steps an epoch at %d px, %d epochs", name, step, steps, size, training.epochs)
        # Choosing the best epoch takes a forward pass of a quarter of the pictures: a twelfth of what learning takes.
        return 1.1 * step * steps * training.epochs + _STARTING_SECONDS


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
