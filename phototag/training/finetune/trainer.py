"""Training by gradient: one network, both heads, from where the fitted heads left off.

Everything random is seeded by (seed, epoch, picture) or (seed, epoch, step), never by what ran before: an interrupted
run that goes on from its last whole epoch ends where an uninterrupted one does. Nor does it matter how many processes
share a step, or in how many parts it is computed: every picture counts the same. The one exception are networks with
batch norm that start from random weights: there, its statistics are those of a process's part.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from phototag.choices import Device
from phototag.dataset import LabelledPicture
from phototag.errors import UsageError
from phototag.evaluation import Validation, label_indexes
from phototag.imaging import Preprocessing
from phototag.model import DualHead, FromUint8
from phototag.records import Scores
from phototag.runtime import current_world
from phototag.taxonomy import Taxonomy
from phototag.text import percent
from phototag.training.config import FinetuneConfig
from phototag.training.finetune.augment import Batch, TrainingPictures, augmentation, collate_pairs, seed_all
from phototag.training.finetune.batches import cut, epoch_batches, own_share, steps_an_epoch
from phototag.training.finetune.folding import folded, norms_after_convolutions
from phototag.training.finetune.forward import ForwardPasses, Precision
from phototag.training.finetune.losses import Anchor, Compiled, Features, Learner, Objective
from phototag.training.finetune.mixup import Mix, Mixing
from phototag.training.finetune.optimizer import create_optimizer, freeze, set_rates

log = logging.getLogger(__name__)

# Standard deviations of features are known to 5 % from so many pictures.
_ANCHOR_PICTURES = 256


@dataclass
class Progress:
    """How far a run is: what a resumed run needs besides tensors."""

    epoch: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Tally:
    """What some pictures came to: their number, the sum of their losses, and how many were right at each level."""

    pictures: float = 0.0
    loss: float = 0.0
    superclass: float = 0.0
    subclass: float = 0.0

    def add(self, other: Tally) -> None:
        """Count the other's pictures too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        count = max(self.pictures, 1.0)
        accuracies = f"superclass {percent(self.superclass / count)}, subclass {percent(self.subclass / count)}"
        return f"loss {self.loss / count:.3f}, {accuracies}"


class Trainer:
    """Trains a network by gradient, epoch by epoch; `network` is changed in place.

    `start` holds the network's tensors before the first step, `best` those of the best epoch so far, averaged over
    steps (EMA), by the mean of both accuracies on the validation pictures. Once `stopping` is set, from whatever thread
    or signal and in whichever process, the run ends with KeyboardInterrupt after the step it is in.

    Where several processes train (see `distributed.World`), each makes a trainer with the same arguments and calls the
    same methods; all come to the same result.
    """

    def __init__(
        self,
        network: DualHead,
        taxonomy: Taxonomy,
        preprocessing: Preprocessing,
        *,
        training: Sequence[LabelledPicture],
        validation: Sequence[LabelledPicture],
        config: FinetuneConfig,
        device: Device,
    ) -> None:
        from timm.utils import ModelEmaV3

        self.config, self.taxonomy, self.preprocessing = config, taxonomy, preprocessing
        self.training, self.validation = training, validation
        self.device = torch.device(device)
        self.progress = Progress()
        self.stopping = False
        self._world = current_world()
        self._world.check_device(device)
        self._precision = Precision(device, wanted=config.amp, filters_learn=not config.pretrained)
        self._passes = ForwardPasses(
            preprocessing,
            batch_size=config.batch_size,
            workers=config.workers,
            device=device,
            precision=self._precision,
            world=self._world,
        )
        self._labels = np.array(
            [taxonomy.subclass_index[picture.subclass or ""] for picture in training], dtype=np.intp
        )
        self._batches = steps_an_epoch(len(training), config.batch_size)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self._input = FromUint8(self.network, preprocessing).to(self.device)
        freeze(network, network.backbone, config.optimizer, on_cpu=self.device.type == "cpu")
        # Statistics of the pretraining stay, and a compiler joins norms to convolutions by itself.
        joined = config.pretrained and not config.compiled
        self._norms = norms_after_convolutions(network, preprocessing.size) if joined else []
        self._shared, self._forward = self._learner()
        self.start = self.best = _tensors(self.network)
        self._optimizer = create_optimizer(network, network.backbone, config.optimizer)
        # The average looks back over about half an epoch.
        self._ema = ModelEmaV3(self.network, decay=1 - 1 / max(10.0, self._batches / 2))
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._precision.scaled)
        self._objective = Objective(taxonomy, self._labels, config.loss, self.device)
        self._mixing = Mixing(config.augmentation, self._objective.rare(self._labels, len(taxonomy.subclasses)))
        self._anchor = self._create_anchor() if config.distillation and config.pretrained else None

    def _learner(self) -> tuple[DistributedDataParallel | None, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
        """Return what gives gradients: the network, shared between processes and compiled if wanted."""
        learner = Learner(self.network)
        shared = None
        if self._world.size > 1:
            self.network.load_state_dict(self._world.broadcast_object(_tensors(self.network)))
            # Newer releases of torch call it otherwise, and warn of the old name.
            known = inspect.signature(DistributedDataParallel).parameters
            name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
            apart: dict[str, Any] = {name: False}
            shared = DistributedDataParallel(
                learner,
                device_ids=[self._world.local_rank] if self.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                **apart,
            )
        return shared, Compiled(shared or learner) if self.config.compiled else (shared or learner)

    def _create_anchor(self) -> Anchor:
        """Return the anchor at the network's features of now; a resumed run starts from the same network."""
        teacher = Features(copy.deepcopy(self.network).eval().requires_grad_(False))
        step = max(1, len(self.training) // _ANCHOR_PICTURES)
        some = self.training[::step][:_ANCHOR_PICTURES]
        _, (features,) = self._passes.outputs(teacher, some, "starting features", stopping=lambda: self.stopping)
        return Anchor(teacher, features, self.config.distillation, self.device)

    # -- epochs

    def fit(self, after_epoch: Callable[[Trainer], None]) -> None:
        """Run the epochs that are left; `after_epoch` is called after each in the writing process, to save the state.

        Raises:
            KeyboardInterrupt: some process was told to stop.
            RuntimeUnavailableError: another process has gone, or the network cannot be compiled.
            UsageError: the loss is no longer finite, or there are too few pictures for so many processes.
        """
        if not self.progress.history and self.config.pretrained:
            # The fitted heads are the first candidate: fine-tuning has to beat them.
            self._compare(self.network, epoch=0, loss=math.nan)
            self._world.first(lambda: after_epoch(self))
        for epoch in range(self.progress.epoch, self.config.epochs):
            if epoch - self.progress.best_epoch >= self.config.patience:
                log.info("no better for %d epochs: stopped early", self.config.patience)
                break
            started = time.monotonic()
            loss = self._run_epoch(epoch)
            self._compare(self._ema.module, epoch=epoch + 1, loss=loss)
            self.progress.epoch = epoch + 1
            self.progress.seconds += time.monotonic() - started
            self._report(loss)
            self._world.first(lambda: after_epoch(self))

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
        self._set_training()
        loader = self._training_loader(epoch)
        tally = Tally()
        name = f"epoch {epoch + 1}/{self.config.epochs}"
        with folded(self._norms), tqdm(loader, desc=name, disable=self._passes.quiet, leave=False) as bar:
            for index, batch in enumerate(bar):
                step = epoch * self._batches + index
                seed_all(self.config.seed, epoch, "step", index)
                set_rates(self._optimizer, step, self.config.epochs * self._batches, self.config.optimizer)
                tally.add(self._step(batch, step))
                bar.set_postfix_str(str(tally))
                self._stop_if_asked()
        if not self.config.pretrained:
            self._average_statistics()
        return tally.loss / max(tally.pictures, 1)

    def _set_training(self) -> None:
        self.network.train()
        if self.config.pretrained:
            # Statistics of the pretraining hold for more photos than a small data set shows.
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _average_statistics(self) -> None:
        """Make the batch-norm statistics of all processes one: each has seen its own share of the pictures."""
        for network in (self.network, self._ema.module):
            self._world.average([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def _stop_if_asked(self) -> None:
        if self._world.sum([float(self.stopping)])[0]:
            raise KeyboardInterrupt

    # -- steps

    def _step(self, batch: Batch | None, step: int) -> Tally:
        """Make one step on this process's share of a batch, None if it is empty, and return what the batch came to."""
        pixels, labels = self._nothing() if batch is None else batch
        counted = 0 if batch is None else len(labels)
        (pictures,) = self._world.sum([counted])
        if not pictures:
            return Tally()
        mix = self._mixing.sample()
        self._optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3, device=self.device)
        parts = [part for part in cut(len(labels), self.config.accumulate) if part.start < part.stop]
        for number, part in enumerate(parts, 1):
            share = min(counted, part.stop - part.start) / pictures
            with self._apart(number < len(parts)):
                sums = self._backward(pixels[part], labels[part], mix, share)
            totals += sums * share * pictures
        tally = Tally(pictures, *self._world.sum(totals.tolist()))
        if not math.isfinite(tally.loss):
            raise UsageError("the training loss is no longer finite; try a smaller --lr or --no-amp")
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._ema.update(self.network, step=step)
        return tally

    def _nothing(self) -> Batch:
        """Return a pair that counts nothing: a process with no readable picture in a step has to take part too."""
        size = self.preprocessing.size
        return torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)

    def _apart(self, more_to_come: bool) -> AbstractContextManager[None]:
        """Keep gradients to this process until the last part of a step."""
        result: AbstractContextManager[None] = nullcontext()
        if self._shared is not None and more_to_come:
            result = self._shared.no_sync()
        return result

    def _backward(self, pixels: Tensor, labels: Tensor, mix: Mix | None, share: float) -> Tensor:
        """Add the gradients of one part of a step, which is `share` of its pictures; the part's means.

        Returns:
            [3]: the loss, and the shares of right superclasses and subclasses.
        """
        pixels, labels = pixels.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        images = self._input.normalised(pixels)
        targets = F.one_hot(labels, len(self.taxonomy.subclasses)).float()
        if mix is not None:
            images, targets = self._mixing.apply(mix, images, targets)
        images = images.contiguous(memory_format=torch.channels_last)
        with self._precision.autocast():
            superclass, subclass, features = self._forward(images)
            distance = self._anchor(images, features) if self._anchor is not None else 0.0
        loss = self._loss((superclass, subclass), targets) + distance
        # Gradients come as means over the processes.
        self._connected_backward(self._scaler.scale(loss * (share * self._world.size)))
        parents = (targets @ self._objective.parents).argmax(1)
        right = ((superclass.argmax(1) == parents), (subclass.argmax(1) == targets.argmax(1)))
        return torch.stack([loss.detach(), *(each.float().mean() for each in right)])

    def _connected_backward(self, loss: Tensor) -> None:
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            # Torch's messages between processes lack only a separate class.
            if self._world.size > 1 and not isinstance(error, torch.OutOfMemoryError):
                raise self._world.lost("sharing gradients", error) from error
            raise

    def _loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """Return the loss of logits (superclass [B, S], subclass [B, C]) against soft subclass targets [B, C]."""
        superclass, subclass = outputs
        return self._objective(superclass, subclass, targets)

    # -- pictures

    def _training_loader(self, epoch: int) -> DataLoader[Any]:
        batches = epoch_batches(
            len(self.training),
            self._objective.balancing.sampling,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
        )
        pictures = TrainingPictures(
            self.training,
            self._labels.tolist(),
            self.preprocessing,
            augment=augmentation(self.preprocessing, self.config.augmentation),
            seed=(self.config.seed, epoch, "picture"),
        )
        share = own_share(batches, rank=self._world.rank, size=self._world.size)
        return self._passes.loader(pictures, share, collate_pairs)

    # -- evaluation

    def evaluate(self, network: nn.Module) -> Validation:
        """Return a network's decoded scores of the readable validation pictures."""
        read, outputs = self._passes.outputs(network, self.validation, "validation", stopping=lambda: self.stopping)
        labels = label_indexes([self.validation[index] for index in read], self.taxonomy)
        return Validation.of(labels, Scores(*outputs), self.taxonomy)

    def _compare(self, network: nn.Module, *, epoch: int, loss: float) -> None:
        """Evaluate the network of an epoch, and keep it if it is the best so far."""
        superclass, subclass = (level.accuracy or 0.0 for level in self.evaluate(network).levels)
        entry = {"epoch": float(epoch), "superclass_accuracy": superclass, "subclass_accuracy": subclass}
        if math.isfinite(loss):
            entry["loss"] = loss
        self.progress.history.append(entry)
        score = (superclass + subclass) / 2
        if score > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = score, epoch
            self.best = _tensors(network)

    def best_network(self) -> DualHead:
        """Return a copy of the network with the best tensors."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.best)
        return network.eval()

    # -- state of an interrupted run

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all tensors, and all other values for JSON, that `restore` needs."""
        optimizer = self._optimizer.state_dict()
        tensors = {f"network.{name}": value for name, value in _tensors(self.network).items()}
        tensors |= {f"ema.{name}": value for name, value in _tensors(self._ema.module).items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value.detach().cpu().clone() for name, value in values.items()}
        return tensors, {"progress": asdict(self.progress), "scaler": self._scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from a saved state, the same in all processes."""

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


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
