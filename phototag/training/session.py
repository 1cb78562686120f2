"""One training run: its pictures, its configuration and starting weights, and what comes of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from phototag._version import __version__
from phototag.choices import Device, GroupsBy, Tune
from phototag.dataset import (
    Content,
    DataSource,
    Features,
    LabelledData,
    LabelledPicture,
    Look,
    check_labels,
    features_of,
    grouped,
    groups_line,
    listed_names,
    load_data,
    not_learned_from,
    split,
    training_taxonomy,
    unchecked_classes,
    without_contradictions,
    without_listed,
)
from phototag.decision import Thresholds
from phototag.errors import DataError
from phototag.imaging import Preprocessing
from phototag.model import (
    Examples,
    ModelHeader,
    Pretraining,
    check_size,
    create_backbone,
    default_preprocessing,
    load_into,
    load_weights,
    resolve_backbone,
)
from phototag.runtime import Target, current_world, machine
from phototag.taxonomy import Taxonomy
from phototag.training.config import DataConfig, TrainingConfig

if TYPE_CHECKING:
    import torch

    from phototag.training.finalize import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Training and validation pictures, by path only. `kept_apart`: validation was split off the training data.

    `source` is where they come from, and `doubt` says why the data looks like something else than labelled pictures.
    """

    source: Path
    taxonomy: Taxonomy
    training: Sequence[LabelledPicture]
    validation: Sequence[LabelledPicture]
    kept_apart: bool
    doubt: str = ""

    @classmethod
    def load(cls, data: DataSource, val: Path | None, config: DataConfig) -> Pictures:
        """Return the pictures of `data`, and of `val` where it is given, before any is looked at; see `split`.

        Raises:
            DataError: they are not usable.
        """
        labelled = load_once(data, config.groups, config.without)
        taxonomy = training_taxonomy(labelled)
        if val is None:
            return cls(labelled.source, taxonomy, labelled.pictures, (), kept_apart=True, doubt=labelled.doubt)
        other = load_once(val, config.groups, config.without)
        check_labels(other, taxonomy)
        apart = not_learned_from(other.pictures, labelled.pictures)
        return cls(labelled.source, taxonomy, labelled.pictures, apart, kept_apart=False, doubt=labelled.doubt)

    def split(self, config: DataConfig, look: Look) -> Pictures:
        """Return them with what belongs together, and validation kept apart where none is given."""
        if self.kept_apart:
            parts = split_by_groups(LabelledData(self.source, tuple(self.training)), config, look)
            return replace(self, training=parts[0], validation=parts[1])
        training, validation = (grouped(part, config.groups, look) for part in (self.training, self.validation))
        return replace(self, training=training, validation=validation)


def split_by_groups(
    data: LabelledData, config: DataConfig, look: Look
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Find what belongs together, say so, and split by groups into training and validation pictures.

    Where each class is one group only single pictures can be split, with a warning: nothing then tells how good the
    model is on other photos. Classes of one group among others are learned and not checked, with a warning too.

    Raises:
        DataError: there is one picture of each class.
    """
    pictures = grouped(data.pictures, config.groups, look)
    alone = unchecked_classes(pictures)
    if len(alone) == len(pictures):
        raise DataError(f"{data.source}: one picture of each class leaves none to check with; add more")
    log.info("%s", groups_line(pictures))
    training, validation = split(pictures, fraction=config.val_fraction, seed=config.seed)
    if not validation:
        log.warning(
            "the pictures of each class are one series: how good the model is on photos of other series cannot be told "
            "by them, and the figures that follow are too good; add other photos, or name groups (--groups)"
        )
        groups = {picture.path: picture.group for picture in pictures}
        singly = [replace(picture, group=None) for picture in data.pictures]
        parts = split(singly, fraction=config.val_fraction, seed=config.seed)
        training, validation = ([replace(each, group=groups[each.path]) for each in part] for part in parts)
    elif alone:
        log.warning(
            "one series or picture each of %s: nothing checks how well such classes are learned", listed_names(alone)
        )
    return training, validation


def load_once(source: DataSource, groups: GroupsBy = GroupsBy.AUTO, without: Path | None = None) -> LabelledData:
    """Return labelled pictures, each content once and none that `without` lists; DataError if they are not usable."""
    everything = load_data(source, deep=groups is GroupsBy.FOLDER)
    if without is not None:
        everything = without_listed(everything, without)
    data = without_contradictions(everything, once=True)
    lost = set(map(_class_of, everything.pictures)) - set(map(_class_of, data.pictures))
    if lost:
        raise DataError(
            f"{data.source}: each picture of {listed_names(sorted(lost))} lies in another class as well; "
            "leave it in the right one"
        )
    if data.doubt:
        log.warning("%s: is this a library, and not pictures in folders of their classes? %s", data.source, data.doubt)
    return data


@dataclass
class Session:
    """One training run: the pictures, the configuration, and the backbone with its starting weights.

    `pretraining` is the classifier that these come with; None if they are random or come without, and in the processes
    besides the first one, which have no need of it.
    """

    pictures: Pictures
    config: TrainingConfig
    backbone_name: str
    backbone: torch.nn.Module
    weights_origin: str
    preprocessing: Preprocessing
    target: Target
    tune: Tune
    stages: tuple[int, ...]
    pretraining: Pretraining | None

    @classmethod
    def open(cls, pictures: Pictures, config: TrainingConfig, target: Target) -> Session:
        """Make the backbone with its starting weights.

        Raises:
            ModelError: the weights cannot be had.
            UsageError: there is no such backbone, or it cannot take that size.
        """
        import torch

        from phototag.model import feature_blocks, pooled_stages

        name = resolve_backbone(config.backbone)
        torch.manual_seed(config.seed)
        backbone = create_backbone(name)
        stages = pooled_stages(backbone)
        origin, pretraining = "random", None
        if config.pretrained:

            def load() -> str:
                nonlocal pretraining
                weights = load_weights(name, config.weights)
                load_into(backbone, weights)
                pretraining = Pretraining.find(weights.tensors, backbone, feature_blocks(backbone, stages)[0])
                return weights.origin

            # Of several processes only the first one needs them: training gives all the same tensors.
            origin = current_world().first(load)
        tune = config.tune
        if tune is Tune.AUTO:
            # Heads on random features are useless, and gradients take long on a CPU.
            tune = Tune.HEADS if target.device is Device.CPU and config.pretrained else Tune.FULL
        preprocessing = default_preprocessing(backbone, config.img_size)
        if config.img_size is not None:
            check_size(backbone, config.img_size)
        return cls(pictures, config, name, backbone.eval(), origin, preprocessing, target, tune, stages, pretraining)

    def features(
        self, pictures: Sequence[LabelledPicture], backbone: torch.nn.Module | None = None, *, views: int = 0
    ) -> Features:
        """Return features of the starting weights, or of another `backbone`: of pictures, or of views of them."""
        return features_of(
            pictures,
            backbone or self.backbone,
            self.stages,
            self.preprocessing,
            target=self.target,
            workers=self.config.workers,
            told=not views,
            views=views,
        )

    @property
    def blocks(self) -> tuple[int, ...]:
        """Widths of the parts of the features."""
        from phototag.model import feature_blocks

        return feature_blocks(self.backbone, self.stages)

    def written_bytes(self) -> int:
        """Return about how many bytes of room the training takes where it writes the model."""
        network: int = sum(tensor.numel() * tensor.element_size() for tensor in self.backbone.state_dict().values())
        width, taxonomy = sum(self.blocks), self.pictures.taxonomy
        pictures = len(self.pictures.training) + len(self.pictures.validation)
        classes = len(taxonomy.subclasses) + len(taxonomy.superclasses)
        model = network + 4 * width * classes + 2 * width * min(pictures, Examples.most(len(taxonomy.subclasses)))
        # The state of a run by gradient holds three networks and the optimizer's two averages, the old beside the new.
        return model if self.tune is Tune.HEADS else model + 10 * network

    def header(self) -> ModelHeader:
        """Return what the model file says of the network and its data; thresholds are still to be chosen."""
        return ModelHeader(
            backbone=self.backbone_name,
            taxonomy=self.pictures.taxonomy,
            preprocessing=self.preprocessing,
            thresholds=Thresholds(1.0, 1.0),
            stages=self.stages,
            record={
                "tune": str(self.tune),
                "weights": self.weights_origin,
                "training_pictures": len(self.pictures.training),
                "class_pictures": class_pictures((*self.pictures.training, *self.pictures.validation)),
            },
        )


def class_pictures(pictures: Sequence[LabelledPicture]) -> dict[str, int]:
    """Return the number of pictures of each subclass, by its full name; libraries are compared with it."""
    counts = Counter(f"{picture.superclass}/{picture.subclass}" for picture in pictures if picture.subclass)
    return dict(sorted(counts.items()))


def circumstances(outcome: Outcome, seconds: float, device: Device) -> dict[str, Any]:
    """Return what every training record says of a run: its data, its machine, how long it took."""
    import timm
    import torch

    return {
        "data_digest": outcome.digest,
        "validation_pictures": sum(len(part.groups) for part in outcome.evaluated),
        "seconds": round(seconds, 1),
        "interrupted": outcome.interrupted,
        "device": str(device),
        "machine": machine(),
        "versions": {
            "phototag": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
    }


Read = TypeVar("Read", bound=Content)


def readable_parts(content: Read, training: Sequence[LabelledPicture], *, kept_apart: bool = True) -> tuple[Read, Read]:
    """Return the readable training and validation pictures, which were read at once, the first ones first.

    A class of which no training picture can be read learns from those that were kept apart.

    Raises:
        DataError: nothing can be read of a class, or nothing that could serve as validation.
    """
    places = range(len(content.pictures))
    first = [place for place in places if content.positions[place] < len(training)]
    rest = [place for place in places if content.positions[place] >= len(training)]
    unread = {_class_of(picture) for picture in training} - {_class_of(content.pictures[place]) for place in first}
    if kept_apart and unread:
        moved = [place for place in rest if _class_of(content.pictures[place]) in unread]
        first, rest = [*first, *moved], [place for place in rest if place not in set(moved)]
        unread -= {_class_of(content.pictures[place]) for place in moved}
    if unread:
        raise DataError(f"none of the pictures of {listed_names(sorted(unread))} can be read; mend or remove them")
    if not rest:
        raise DataError("none of the validation pictures can be read")
    return content.part(first), content.part(rest)


def _class_of(picture: LabelledPicture) -> str:
    return f"{picture.superclass}/{picture.subclass}"
