"""What a training run is told to do, and views of that for its parts. Torch-free: the command line names defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from phototag.choices import (
    HIGHEST_TARGET,
    KEEP_KNOWN,
    KEEP_KNOWN_WITH_TARGET,
    LARGEST_SEED,
    LEAST_KEPT,
    LEAST_TARGET,
    Balance,
    Device,
    GroupsBy,
    Tune,
)
from phototag.errors import UsageError

View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How labelled pictures are split and read; see `TrainingConfig`, as for all views."""

    val_fraction: float
    seed: int
    workers: int | None
    groups: GroupsBy
    without: Path | None


@dataclass(frozen=True, slots=True)
class HeadsConfig:
    """How heads are fitted on frozen features."""

    balance: Balance
    seed: int


@dataclass(frozen=True, slots=True)
class ThresholdConfig:
    """What thresholds are to reach.

    Raises:
        UsageError: a target or a share lies outside its range.
    """

    target_precision: float | None = None
    keep_known: float | None = None

    def __post_init__(self) -> None:
        if self.target_precision is not None and not LEAST_TARGET <= self.target_precision <= HIGHEST_TARGET:
            raise UsageError(f"the target precision must lie between {LEAST_TARGET} and {HIGHEST_TARGET}")
        if self.keep_known is not None and not LEAST_KEPT <= self.keep_known <= 1:
            raise UsageError(f"the share of known subclasses to keep must lie between {LEAST_KEPT} and 1")

    @property
    def share_kept(self) -> float:
        """The share of right subclasses to keep; the default where none is named."""
        return self.keep_known or (KEEP_KNOWN if self.target_precision is None else KEEP_KNOWN_WITH_TARGET)


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Which parameters learn, and how fast."""

    pretrained: bool
    tune: Tune
    lr: float
    head_lr_factor: float
    weight_decay: float
    warmup_share: float
    layer_decay: float
    frozen_stages: int


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What gradient steps minimise."""

    balance: Balance
    superclass_weight: float
    label_smoothing: float


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """How training pictures are changed and mixed."""

    augment: str
    min_crop: float
    mixup: float
    cutmix: float


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How a network is trained by gradient."""

    pretrained: bool
    epochs: int
    batch_size: int
    accumulate: int
    compiled: bool
    amp: bool | None
    workers: int | None
    seed: int
    clip_norm: float
    patience: int
    distillation: float
    optimizer: OptimizerConfig
    loss: LossConfig
    augmentation: AugmentationConfig


# A default that depends on other choices; `TrainingConfig` replaces it.
_CHOSEN: Any = None

# Pretrained features are to be changed little: smoothed or mixed labels pull them away from what they are good at.
_FROM_PRETRAINED: dict[str, Any] = {
    "epochs": 6,
    "lr": 2e-4,
    "head_lr_factor": 3.0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "frozen_stages": 2,
}
_FROM_RANDOM: dict[str, Any] = {
    "epochs": 10,
    "lr": 1e-3,
    "head_lr_factor": 1.0,
    "label_smoothing": 0.1,
    "mixup": 0.2,
    "cutmix": 0.5,
    "frozen_stages": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training run learns, apart from the data.

    Attributes:
        backbone: An alias or any timm name.
        weights: A file with pretrained weights; None looks in the installed package, then in timm's hub.
        pretrained: False starts from random weights.
        epochs: Passes over the data by gradient; `heads` makes none. None is 6 from pretrained weights, else 10.
        img_size: Side of the input in pixels; None is the backbone's own.
        batch_size: Pictures in a step, on all devices together and over all `accumulate` parts.
        accumulate: Parts that a step is computed in, so that large batches fit into little memory.
        compiled: Let torch.compile make the gradient steps faster.
        lr: Peak learning rate of the backbone; None is 2e-4 from pretrained weights and 1e-3 from random ones.
        tune: `heads` fits linear heads on frozen features, `last` and `full` go on from there by gradient; `auto` is
            `heads` on a CPU and `full` on a GPU.
        val_fraction: Share of each class kept for validation, where no validation data is given.
        groups: What tells which pictures belong together, so that they stay on one side of every split: `auto` is the
            column "group" of a CSV, or how they look and when they were taken; `folder` the folder that they lie in.
        without: A CSV with a column "filepath" of pictures to leave out, such as `phototag dataset check` writes.
        balance: `sampler` samples every class equally often, `loss` weighs classes by their effective number of
            pictures, `logits` adjusts the logits by the classes' shares, `mix` adds mixed pictures of rare classes;
            `auto` takes what does best on validation pictures.
        device: Where to train.
        amp: Mixed precision; None is on for CUDA, and from pretrained weights on a CPU with AMX.
        workers: Processes or threads that decode; None chooses.
        seed: Of the split, the order and the augmentation.
        head_lr_factor: The heads' learning rate over the backbone's; None is 3 from pretrained weights, else 1.
        superclass_weight: Weight of the superclass loss; the subclass loss has weight 1.
        label_smoothing: Of both losses, in gradient training; None is 0 from pretrained weights, else 0.1.
        mixup: Alpha of mixup; 0 switches it off, and None is 0 from pretrained weights, else 0.2.
        cutmix: Alpha of cutmix; 0 switches it off, and None is 0 from pretrained weights, else 0.5.
        augment: RandAugment in timm's notation; empty switches it off.
        min_crop: The least share of a picture's area that a random crop keeps.
        weight_decay: Of AdamW; biases and norms have none.
        clip_norm: The most the gradient's norm may be.
        warmup_share: Share of all steps in which the learning rate rises.
        patience: Epochs without improvement after which training stops.
        layer_decay: The learning rate of each stage of the backbone over that of the next deeper one.
        frozen_stages: Stages at the backbone's beginning that stay as they are, the stem with them; None is 2 from
            pretrained weights and 0 from random ones.
        distillation: Weight of the squared distance, in standard deviations, between a picture's features and what the
            starting weights make of it; 0 switches it off.
        target_precision: The share of stored labels that is certified to be right, 0.5 to 0.999; None chooses
            thresholds that lose hardly any right label, higher where fewer than about 94 % were right then.
        keep_known: The share of right subclasses that are kept when photos are called novel; None is 0.94, and 0.99
            with a target precision.

    Raises:
        UsageError: a value is out of range, or two do not go together.

    >>> phototag.TrainingConfig(tune="heads", target_precision=0.95).backbone
    'efficientnet_lite0'
    """

    backbone: str = "efficientnet_lite0"
    weights: Path | None = None
    pretrained: bool = True
    epochs: int = _CHOSEN
    img_size: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    compiled: bool = False
    lr: float = _CHOSEN
    tune: Tune = Tune.AUTO
    val_fraction: float = 0.2
    groups: GroupsBy = GroupsBy.AUTO
    without: Path | None = None
    balance: Balance = Balance.AUTO
    device: Device = Device.AUTO
    amp: bool | None = None
    workers: int | None = None
    seed: int = 0
    head_lr_factor: float = _CHOSEN
    superclass_weight: float = 0.5
    label_smoothing: float = _CHOSEN
    mixup: float = _CHOSEN
    cutmix: float = _CHOSEN
    augment: str = "rand-m6-n2-mstd0.5-inc1"
    min_crop: float = 0.35
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    warmup_share: float = 0.1
    patience: int = 5
    layer_decay: float = 0.75
    frozen_stages: int = _CHOSEN
    distillation: float = 0.0
    target_precision: float | None = None
    keep_known: float | None = None

    def __post_init__(self) -> None:
        # From Python it is natural to write tune="heads".
        for name, choices in (("tune", Tune), ("balance", Balance), ("device", Device), ("groups", GroupsBy)):
            given = getattr(self, name)
            if given not in list(choices):
                raise UsageError(f"{name} must be one of {', '.join(choices)}, not {given!r}")
            object.__setattr__(self, name, choices(given))
        for name, value in (_FROM_PRETRAINED if self.pretrained else _FROM_RANDOM).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        checks = (
            (self.pretrained or self.weights is None, "weights from a file and random weights exclude each other"),
            (self.epochs >= 1, "epochs must be 1 or more"),
            (self.img_size is None or 32 <= self.img_size <= 2048, "the image size must lie between 32 and 2048"),
            (self.batch_size >= 2, "the batch size must be 2 or more"),
            (
                1 <= self.accumulate <= self.batch_size,
                "the parts of a step must be 1 or more, and no more than its pictures",
            ),
            (0 < self.layer_decay <= 1, "the layer decay must lie between 0 and 1"),
            (self.frozen_stages >= 0, "frozen stages must not be negative"),
            (self.distillation >= 0, "the weight of distillation must not be negative"),
            (0 < self.lr <= 1, "the learning rate must lie between 0 and 1"),
            (0 < self.val_fraction < 1, "the validation fraction must lie between 0 and 1"),
            (self.workers is None or self.workers >= 0, "workers must not be negative"),
            (0 <= self.seed <= LARGEST_SEED, f"the seed must lie between 0 and {LARGEST_SEED}"),
            (0 <= self.label_smoothing < 1, "label smoothing must lie between 0 and 1"),
        )
        for fine, problem in checks:
            if not fine:
                raise UsageError(problem)
        _ = self.thresholds  # checks itself

    def _view(self, view: type[View]) -> View:
        return view(**{field.name: getattr(self, field.name) for field in fields(view)})  # type: ignore[arg-type]

    @property
    def data(self) -> DataConfig:
        """How the pictures are split and read."""
        return self._view(DataConfig)

    @property
    def heads(self) -> HeadsConfig:
        """How the heads are fitted."""
        return self._view(HeadsConfig)

    @property
    def thresholds(self) -> ThresholdConfig:
        """What the thresholds are to reach."""
        return self._view(ThresholdConfig)

    @property
    def optimizer(self) -> OptimizerConfig:
        """Which parameters learn, and how fast."""
        return self._view(OptimizerConfig)

    @property
    def loss(self) -> LossConfig:
        """What gradient steps minimise."""
        return self._view(LossConfig)

    @property
    def augmentation(self) -> AugmentationConfig:
        """How training pictures are changed and mixed."""
        return self._view(AugmentationConfig)

    @property
    def finetuning(self) -> FinetuneConfig:
        """How the network is trained by gradient."""
        return self._view(FinetuneConfig)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
