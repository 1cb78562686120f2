"""Training by gradient: one network, both heads, from where the fitted heads left off.

Everything random is seeded by (seed, epoch, picture) or (seed, epoch, step), never by what ran before: an interrupted
run that goes on from its last whole epoch ends where an uninterrupted one does.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from phototag.decision import gather, join
from phototag.errors import UsageError
from phototag.imaging.preprocessing import Preprocessing
from phototag.inference.names import Device
from phototag.learning.augment import Batch, TrainingPictures, augmentation, collate, seed_all, start_worker
from phototag.learning.calibration import label_indexes
from phototag.learning.config import Balance, TrainingConfig, Tune
from phototag.learning.dataset import LabelledPicture
from phototag.learning.heads import class_weights
from phototag.learning.network import DualHead, FromUint8
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

log = logging.getLogger(__name__)

_MIN_LR_SHARE = 0.01


@dataclass
class Progress:
    """How far a run is: what a resumed run needs besides tensors."""

    epoch: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains a network by gradient, epoch by epoch; `network` is changed in place.

    `best` holds the tensors of the best epoch so far, averaged over steps (EMA), by the mean of both accuracies on the
    validation pictures. Once `stopping` is set, from whatever thread or signal, the next step raises KeyboardInterrupt.
    """

    def __init__(
        self,
        network: DualHead,
        taxonomy: Taxonomy,
        preprocessing: Preprocessing,
        *,
        training: Sequence[LabelledPicture],
        validation: Sequence[LabelledPicture],
        config: TrainingConfig,
        device: Device,
    ) -> None:
        from timm.utils import ModelEmaV3

        self.config, self.taxonomy, self.preprocessing = config, taxonomy, preprocessing
        self.training, self.validation = training, validation
        self.device = torch.device(device)
        self.progress = Progress()
        self.stopping = False
        self._labels = [taxonomy.subclass_index[picture.subclass or ""] for picture in training]
        self._batches = max(1, len(training) // config.batch_size)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self._input = FromUint8(self.network, preprocessing).to(self.device)
        parameters = self._trainable()
        self._optimizer = self._create_optimizer(parameters)
        # The average looks back over about half an epoch.
        self._ema = ModelEmaV3(self.network, decay=1 - 1 / max(10.0, self._batches / 2))
        self.best = _tensors(self._ema.module)
        amp = config.amp if config.amp is not None else device is Device.CUDA
        self._amp_dtype = torch.bfloat16 if not _needs_fp16(device) else torch.float16
        self._amp = amp
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=amp and self._amp_dtype is torch.float16)
        self._parents = F.one_hot(torch.tensor(taxonomy.parents), len(taxonomy.superclasses)).float().to(self.device)
        self._class_weights = self._loss_weights()
        self._mixup = self._create_mixup()

    # -- what learns, and how fast

    def _trainable(self) -> dict[str, nn.Parameter]:
        named = dict(self.network.named_parameters())
        if self.config.tune is Tune.LAST:
            learning = {f"backbone.{name}" for name in _last_groups(self.network.backbone)}
            for name, parameter in named.items():
                parameter.requires_grad = not name.startswith("backbone.") or name in learning
        return {name: parameter for name, parameter in named.items() if parameter.requires_grad}

    def _create_optimizer(self, parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        config = self.config
        rate = config.lr or (1e-4 if config.pretrained else 1e-3)
        factor = config.head_lr_factor or (3.0 if config.pretrained else 1.0)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            key = (name.startswith("backbone."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": members,
                    "peak": rate if in_backbone else rate * factor,
                    "weight_decay": config.weight_decay if decays else 0.0,
                }
                for (in_backbone, decays), members in groups.items()
            ],
            lr=rate,
        )

    def _set_rate(self, step: int) -> None:
        total = self.config.epochs * self._batches
        warmup = max(1, round(self.config.warmup_share * total))
        if step < warmup:
            share = (step + 1) / warmup
        else:
            done = (step - warmup) / max(1, total - warmup)
            share = _MIN_LR_SHARE + (1 - _MIN_LR_SHARE) * (1 + math.cos(math.pi * done)) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * share

    # -- losses

    def _loss_weights(self) -> Tensor | None:
        if self.config.balance is not Balance.LOSS:
            return None
        weights = class_weights(np.array(self._labels), len(self.taxonomy.subclasses))
        return torch.from_numpy(weights).to(self.device)

    def _create_mixup(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
        from timm.data.mixup import Mixup

        config = self.config
        if not config.mixup and not config.cutmix:
            return None
        mixup: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = Mixup(
            config.mixup, config.cutmix, prob=0.5, label_smoothing=0.0, num_classes=len(self.taxonomy.subclasses)
        )
        return mixup

    def _loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """Weighted sum of both heads' cross-entropies against soft subclass targets [B, C].

        The superclass targets are the sums of their children's, so a mix of two dogs is wholly a dog.
        """
        superclass, subclass = (output.float() for output in outputs)
        smoothing = self.config.label_smoothing
        weights = targets @ self._class_weights if self._class_weights is not None else None
        total = torch.zeros((), device=targets.device)
        for logits, wanted, share in (
            (subclass, targets, 1.0),
            (superclass, targets @ self._parents, self.config.superclass_weight),
        ):
            each = F.cross_entropy(logits, wanted, label_smoothing=smoothing, reduction="none")
            total = total + share * (each.mean() if weights is None else (weights * each).mean())
        return total

    # -- epochs

    def fit(self, after_epoch: Callable[[Trainer], None]) -> None:
        """Run the epochs that are left; `after_epoch` is called after each, to save the state."""
        if not self.progress.history and self.config.pretrained:
            # The fitted heads are the first candidate: fine-tuning has to beat them.
            self._judge(self.network, epoch=0, loss=math.nan)
            after_epoch(self)
        for epoch in range(self.progress.epoch, self.config.epochs):
            if epoch - self.progress.best_epoch >= self.config.patience:
                log.info("no better for %d epochs: stopped early", self.config.patience)
                break
            started = time.monotonic()
            loss = self._run_epoch(epoch)
            self._judge(self._ema.module, epoch=epoch + 1, loss=loss)
            self.progress.epoch = epoch + 1
            self.progress.seconds += time.monotonic() - started
            self._report(loss)
            after_epoch(self)

    def _report(self, loss: float) -> None:
        progress, last = self.progress, self.progress.history[-1]
        left = progress.seconds / progress.epoch * (self.config.epochs - progress.epoch)
        log.info(
            "epoch %d of %d: loss %.3f, validation superclass %.1f %%, subclass %.1f %%, about %s left",
            progress.epoch,
            self.config.epochs,
            loss,
            100 * last["superclass_accuracy"],
            100 * last["subclass_accuracy"],
            _duration(left),
        )

    def _run_epoch(self, epoch: int) -> float:
        self.network.train()
        if self.config.pretrained:
            # Statistics of the pretraining hold for more photos than a small data set shows.
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        loader = self._training_loader(epoch)
        losses, seen, right = 0.0, 0, np.zeros(2)
        with tqdm(loader, desc=f"epoch {epoch + 1}/{self.config.epochs}", disable=None, leave=False) as bar:
            for index, batch in enumerate(bar):
                self._stop_if_asked()
                if batch is None or len(batch[1]) < 2:
                    continue
                step = epoch * self._batches + index
                seed_all(self.config.seed, epoch, "step", index)
                self._set_rate(step)
                loss, correct = self._step(batch, step)
                losses, seen, right = losses + loss * len(batch[1]), seen + len(batch[1]), right + correct
                bar.set_postfix_str(
                    f"loss {losses / seen:.3f}, superclass {right[0] / seen:.1%}, subclass {right[1] / seen:.1%}"
                )
        return losses / max(seen, 1)

    def _stop_if_asked(self) -> None:
        if self.stopping:
            raise KeyboardInterrupt

    def _step(self, batch: Batch, step: int) -> tuple[float, np.ndarray[Any, Any]]:
        pixels, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        if len(labels) % 2:  # mixup pairs pictures
            pixels, labels = pixels[:-1], labels[:-1]
        images = self._input.normalised(pixels).contiguous(memory_format=torch.channels_last)
        targets = F.one_hot(labels, len(self.taxonomy.subclasses)).float()
        if self._mixup is not None:
            images, targets = self._mixup(images, labels)
        with torch.autocast(self.device.type, dtype=self._amp_dtype, enabled=self._amp):
            outputs = self.network(images)
        loss = self._loss(outputs, targets.float())
        if not torch.isfinite(loss):
            raise UsageError("the training loss is no longer finite; try a smaller --lr or --no-amp")
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._ema.update(self.network, step=step)
        wanted = targets.argmax(1)
        right = [
            (outputs[0].argmax(1) == (targets @ self._parents).argmax(1)).sum().item(),
            (outputs[1].argmax(1) == wanted).sum().item(),
        ]
        return float(loss.item()), np.array(right)

    def _training_loader(self, epoch: int) -> DataLoader[Any]:
        config = self.config
        order = random.Random(f"{config.seed}:{epoch}:order")
        indexes = list(range(len(self.training)))
        if config.balance is Balance.SAMPLER:
            weights = class_weights(np.array(self._labels), len(self.taxonomy.subclasses))[self._labels]
            indexes = order.choices(indexes, weights=weights.tolist(), k=len(indexes))
        else:
            order.shuffle(indexes)
        if len(indexes) >= config.batch_size:
            indexes = indexes[: self._batches * config.batch_size]
        pictures = TrainingPictures(
            self.training,
            self._labels,
            self.preprocessing,
            augment=augmentation(self.preprocessing, config),
            seed=(config.seed, epoch, "picture"),
        )
        return self._loader(pictures, sampler=indexes)

    def _loader(self, pictures: TrainingPictures, sampler: Sequence[int] | None = None) -> DataLoader[Any]:
        workers = self.config.workers
        if workers is None:
            cores = os.cpu_count() or 1
            # On a CPU the network needs the cores itself; decoding beside it takes one.
            workers = min(cores, 8) if self.device.type != "cpu" else (1 if cores > 1 else 0)
        return DataLoader(
            pictures,
            batch_size=self.config.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=start_worker,
            pin_memory=self.device.type == "cuda",
        )

    # -- judging

    def scores(self, network: nn.Module) -> tuple[list[LabelledPicture], Scores]:
        """The readable validation pictures and a network's scores of them."""
        indexes = list(range(len(self.validation)))
        pictures = TrainingPictures(self.validation, indexes, self.preprocessing, augment=None, seed=())
        network.eval()
        wrapped = FromUint8(network, self.preprocessing).to(self.device)
        read: list[int] = []
        superclass, subclass = [], []
        with torch.inference_mode():
            for batch in tqdm(self._loader(pictures), desc="validation", disable=None, leave=False):
                self._stop_if_asked()
                if batch is None:
                    continue
                with torch.autocast(self.device.type, dtype=self._amp_dtype, enabled=self._amp):
                    outputs = wrapped(batch[0].to(self.device))
                superclass.append(outputs[0].float().cpu().numpy())
                subclass.append(outputs[1].float().cpu().numpy())
                read += batch[1].tolist()
        return [self.validation[index] for index in read], Scores(np.concatenate(superclass), np.concatenate(subclass))

    def _judge(self, network: nn.Module, *, epoch: int, loss: float) -> None:
        pictures, scores = self.scores(network)
        joint = join(gather(scores, self.taxonomy))
        superclasses, subclasses = label_indexes(pictures, self.taxonomy)
        superclass_accuracy = _accuracy(joint.chosen, superclasses)
        subclass_accuracy = _accuracy(joint.child, subclasses)
        entry = {
            "epoch": float(epoch),
            "superclass_accuracy": superclass_accuracy,
            "subclass_accuracy": subclass_accuracy,
        }
        if math.isfinite(loss):
            entry["loss"] = loss
        self.progress.history.append(entry)
        score = (superclass_accuracy + subclass_accuracy) / 2
        if score > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = score, epoch
            self.best = _tensors(network)

    def best_network(self) -> nn.Module:
        """A copy of the network with the best tensors."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.best)
        return network.eval()

    # -- state of an interrupted run

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All tensors, and all other values for JSON, that `restore` needs."""
        optimizer = self._optimizer.state_dict()
        tensors = {f"network.{name}": value for name, value in _tensors(self.network).items()}
        tensors |= {f"ema.{name}": value for name, value in _tensors(self._ema.module).items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value.detach().cpu() for name, value in values.items()}
        return tensors, {"progress": vars(self.progress), "scaler": self._scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from a saved state."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(under("network."))
        self._ema.module.load_state_dict(under("ema."))
        self.best = under("best.")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        self._scaler.load_state_dict(values["scaler"])
        self.progress = Progress(**values["progress"])


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _accuracy(found: NDArray[np.intp], truth: NDArray[np.intp]) -> float:
    """Share of right ones among those that have a label; the label of none is -1."""
    known = truth >= 0
    return float((found[known] == truth[known]).mean()) if known.any() else 0.0


def _needs_fp16(device: Device) -> bool:
    if device is Device.CUDA:
        return not torch.cuda.is_bf16_supported()
    return device is Device.MPS


def _last_groups(backbone: nn.Module) -> set[str]:
    """Names of the parameters of the last two stages, by timm's own grouping of layers."""
    from timm.models import group_parameters

    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise UsageError("this backbone does not name its stages; use --tune heads or --tune full")
    groups = group_parameters(backbone, matcher(coarse=True))
    return {name for key in sorted(groups)[-2:] for name in groups[key]}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
