"""What a training run is told to do. Torch-free, so that the command line can name the choices at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from phototag.errors import UsageError
from phototag.inference.names import Device

LEAST_TARGET, HIGHEST_TARGET = 0.5, 0.999
"""What can be asked of a precision. Below, a label says little; above, it takes thousands of pictures without fault."""


class Tune(StrEnum):
    """How much of the network learns."""

    AUTO = "auto"
    HEADS = "heads"
    LAST = "last"
    FULL = "full"


class Balance(StrEnum):
    """What is done about classes of unequal size."""

    NONE = "none"
    SAMPLER = "sampler"
    LOSS = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training run learns, apart from the data.

    Attributes:
        backbone: An alias or any timm name.
        weights: A file with pretrained weights; None looks in the installed package, then in timm's hub.
        pretrained: False starts from random weights.
        epochs: Passes over the data by gradient; `heads` makes none.
        img_size: Side of the input in pixels; None is the backbone's own.
        batch_size: Pictures in a step.
        lr: Peak learning rate of the backbone; None is 1e-4 from pretrained weights and 1e-3 from random ones.
        tune: `heads` fits linear heads on frozen features, `last` and `full` go on from there by gradient; `auto` is
            `heads` on a CPU and `full` on a GPU.
        val_fraction: Share of each class kept for validation, where no validation data is given.
        balance: `sampler` draws every class equally often, `loss` weighs every class equally.
        device: Where to train.
        amp: Mixed precision; None is on for CUDA only.
        workers: Processes or threads that decode; None chooses.
        seed: Of the split, the order and the augmentation.
        head_lr_factor: The heads' learning rate over the backbone's; None is 3 from pretrained weights, else 1.
        superclass_weight: Weight of the superclass loss; the subclass loss has weight 1.
        label_smoothing: Of both losses, in gradient training.
        mixup: Alpha of mixup; 0 switches it off.
        cutmix: Alpha of cutmix; 0 switches it off.
        augment: RandAugment in timm's notation; empty switches it off.
        min_crop: The least share of a picture's area that a random crop keeps.
        weight_decay: Of AdamW; biases and norms have none.
        clip_norm: The most the gradient's norm may be.
        warmup_share: Share of all steps in which the learning rate rises.
        patience: Epochs without improvement after which training stops.
        target_precision: The share of stored labels that is promised to be right, 0.5 to 0.999; None chooses
            thresholds that lose hardly any right label.
    """

    backbone: str = "efficientnet_lite0"
    weights: Path | None = None
    pretrained: bool = True
    epochs: int = 10
    img_size: int | None = None
    batch_size: int = 32
    lr: float | None = None
    tune: Tune = Tune.AUTO
    val_fraction: float = 0.2
    balance: Balance = Balance.NONE
    device: Device = Device.AUTO
    amp: bool | None = None
    workers: int | None = None
    seed: int = 0
    head_lr_factor: float | None = None
    superclass_weight: float = 0.5
    label_smoothing: float = 0.1
    mixup: float = 0.2
    cutmix: float = 0.5
    augment: str = "rand-m6-n2-mstd0.5-inc1"
    min_crop: float = 0.35
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    warmup_share: float = 0.1
    patience: int = 5
    target_precision: float | None = None

    def __post_init__(self) -> None:
        # From Python it is natural to write tune="heads".
        for name, choices in (("tune", Tune), ("balance", Balance), ("device", Device)):
            given = getattr(self, name)
            if given not in list(choices):
                raise UsageError(f"{name} must be one of {', '.join(choices)}, not {given!r}")
            object.__setattr__(self, name, choices(given))
        checks = (
            (self.pretrained or self.weights is None, "weights from a file and random weights exclude each other"),
            (self.epochs >= 1, "epochs must be 1 or more"),
            (self.img_size is None or 32 <= self.img_size <= 2048, "the image size must lie between 32 and 2048"),
            (self.batch_size >= 2, "the batch size must be 2 or more"),
            (self.lr is None or 0 < self.lr <= 1, "the learning rate must lie between 0 and 1"),
            (0 < self.val_fraction < 1, "the validation fraction must lie between 0 and 1"),
            (self.workers is None or self.workers >= 0, "workers must not be negative"),
            (
                self.target_precision is None or LEAST_TARGET <= self.target_precision <= HIGHEST_TARGET,
                f"the target precision must lie between {LEAST_TARGET} and {HIGHEST_TARGET}",
            ),
            (0 <= self.label_smoothing < 1, "label smoothing must lie between 0 and 1"),
        )
        for fine, problem in checks:
            if not fine:
                raise UsageError(problem)

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
