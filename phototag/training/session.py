"""One training run: its pictures, its configuration and starting weights, and what comes of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from phototag._version import __version__
from phototag.choices import Device, Tune
from phototag.dataset import (
    Content,
    Features,
    LabelledData,
    LabelledPicture,
    check_labels,
    features_of,
    load_data,
    split,
    training_taxonomy,
    unchecked_classes,
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

_MOST_NAMED = 10


@dataclass(frozen=True)
class Pictures:
    """Training and validation pictures, by path only. `kept_apart`: validation was split off the training data."""

    taxonomy: Taxonomy
    training: Sequence[LabelledPicture]
    validation: Sequence[LabelledPicture]
    kept_apart: bool

    @classmethod
    def load(cls, data: Path, val: Path | None, config: DataConfig) -> Pictures:
        """Return the pictures of `data`, and of `val` where it is given; DataError if they are not usable."""
        labelled = load_counted(data)
        taxonomy = training_taxonomy(labelled)
        if val is None:
            training, validation = split(labelled.pictures, fraction=config.val_fraction, seed=config.seed)
            check_unchecked(labelled)
            return cls(taxonomy, training, validation, kept_apart=True)
        other = load_counted(val)
        check_labels(other, taxonomy)
        return cls(taxonomy, labelled.pictures, other.pictures, kept_apart=False)


def check_unchecked(data: LabelledData) -> None:
    """Warn of classes with a single picture; DataError if there is no other class: nothing could be checked."""
    alone = unchecked_classes(data.pictures)
    if len(alone) == len(data.pictures):
        raise DataError(f"{data.source}: one picture of each class leaves none to check with; add more")
    if alone:
        listed = ", ".join(alone[:_MOST_NAMED]) + (" and others" if len(alone) > _MOST_NAMED else "")
        log.warning("one picture each of %s: nothing checks how well such classes are learned", listed)


def load_counted(source: Path) -> LabelledData:
    """Return labelled pictures, with a warning of those that are left out; DataError if they are not usable."""
    data = load_data(source)
    if data.ignored:
        log.warning("%s: %d pictures lie in no superclass/subclass folder and are left out", source, data.ignored)
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

    def features(self, pictures: Sequence[LabelledPicture], backbone: torch.nn.Module | None = None) -> Features:
        """Return features of the starting weights, or of another `backbone`."""
        workers, backbone = self.config.workers, backbone or self.backbone
        return features_of(pictures, backbone, self.stages, self.preprocessing, target=self.target, workers=workers)

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
        "validation_pictures": len(outcome.labels[1]),
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


def readable_parts(content: Read, pictures: Pictures) -> tuple[Read, Read]:
    """Return the readable training and validation pictures; both were read at once.

    Raises:
        DataError: nothing could be read of one of them.
    """
    training, validation = content.cut(len(pictures.training))
    for part, what in ((training, "training"), (validation, "validation")):
        if not part.pictures:
            raise DataError(f"none of the {what} pictures can be read")
    return training, validation
