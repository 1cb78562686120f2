"""What gradient steps minimise: the cross-entropies of both heads, and the distance from the starting features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from phototag.choices import Balance
from phototag.errors import RuntimeUnavailableError
from phototag.model import DualHead
from phototag.settings import compile_privately
from phototag.taxonomy import Taxonomy
from phototag.training.config import LossConfig
from phototag.training.heads import Balancing, balancing

# Features that hardly vary would otherwise outweigh all others.
_LEAST_SCALE_SHARE = 0.05


class Learner(nn.Module):
    """A network's forward pass for training: images [B, 3, H, W] to logits [B, S] and [B, C], and features [B, D]."""

    def __init__(self, network: DualHead) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return superclass and subclass logits, and the features that they are made of."""
        features = self.network.features(images)
        superclass_head: nn.Linear = self.network.superclass_head  # type: ignore[assignment]
        return superclass_head(features), self.network.subclass_head(features), features


class Compiled:
    """A module behind torch.compile, whose parameters and their names stay the module's own.

    Raises:
        RuntimeUnavailableError: when called, where there is no compiler that torch can use.
    """

    def __init__(self, module: nn.Module) -> None:
        compile_privately()
        self._forward = torch.compile(module)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            result: tuple[Tensor, Tensor, Tensor] = self._forward(images)
        except (TorchDynamoException, InvalidCxxCompiler) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RuntimeUnavailableError(
                f"the network cannot be compiled here: {reason}; install a C++ compiler, or train without --compile"
            ) from error
        return result


@dataclass(frozen=True)
class _Level:
    """How one head's loss treats its K classes: weights [K], offsets [K] of its logits, and its share of the sum."""

    weights: Tensor | None
    offsets: Tensor | None
    share: float

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Return the mean cross-entropy of logits [B, K] against soft targets [B, K]."""
        if self.offsets is not None:
            logits = logits + self.offsets
        each = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return each.mean() if self.weights is None else (targets @ self.weights * each).mean()


class Objective:
    """The loss of both heads, balanced as configured over the classes of subclass labels [N]."""

    def __init__(self, taxonomy: Taxonomy, labels: NDArray[np.intp], config: LossConfig, device: torch.device) -> None:
        # What is left to choose has been chosen with the heads; without those there is nothing to choose by.
        strategy = Balance.NONE if config.balance is Balance.AUTO else config.balance
        parents = np.asarray(taxonomy.parents, dtype=np.intp)
        self.balancing = balancing(strategy, labels, len(taxonomy.subclasses))
        above = balancing(strategy, parents[labels], len(taxonomy.superclasses))
        self._smoothing = config.label_smoothing
        self._subclass = _level(self.balancing, 1.0, device)
        self._superclass = _level(above, config.superclass_weight, device)
        self.parents = F.one_hot(torch.from_numpy(parents), len(taxonomy.superclasses)).float().to(device)

    def __call__(self, superclass: Tensor, subclass: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted sum of both heads' mean cross-entropies against soft subclass targets [B, C].

        The superclass targets are the sums of their children's, so a mix of two dogs is entirely a dog.
        """
        total = torch.zeros((), device=targets.device)
        for level, logits, wanted in (
            (self._subclass, subclass, targets),
            (self._superclass, superclass, targets @ self.parents),
        ):
            total = total + level.share * level.loss(logits.float(), wanted, self._smoothing)
        return total

    def rare(self, labels: NDArray[np.intp], classes: int) -> Tensor | None:
        """Return which classes [C] are sampled more often than others; None where none are to be mixed."""
        if not self.balancing.mix_rare or self.balancing.sampling is None:
            return None
        often = np.zeros(classes, dtype=np.bool_)
        often[labels] = self.balancing.sampling > 1
        return torch.from_numpy(often).to(self.parents.device)


def _level(found: Balancing, share: float, device: torch.device) -> _Level:
    def tensor(values: NDArray[np.float32] | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values).to(device)

    return _Level(tensor(found.sample_weights), tensor(found.logit_offsets), share)


class Features(nn.Module):
    """Only the features of a network, for images [B, 3, H, W]: a tuple of one, [B, D]."""

    def __init__(self, network: DualHead) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return the features of the images."""
        return (self.network.features(images),)


class Anchor:
    """Keeps features near what the starting network makes of the same pictures: feature distillation.

    The loss is weight * mean(((f - f0) / scale)^2) over pictures and features, with the standard deviation of each
    feature over pictures as its scale [D].
    """

    def __init__(self, teacher: Features, features: NDArray[np.float32], weight: float, device: torch.device) -> None:
        deviation = features.std(axis=0)
        least = _LEAST_SCALE_SHARE * float(np.sqrt(np.mean(deviation**2))) or 1.0
        self._scale = torch.from_numpy(np.maximum(deviation, least)).to(device)
        self._teacher, self._weight = teacher, weight

    def __call__(self, images: Tensor, features: Tensor) -> Tensor:
        """Return the loss of the learning network's features [B, D] of normalised images."""
        with torch.no_grad():
            (wanted,) = self._teacher(images)
        away: Tensor = (features.float() - wanted.float()) / self._scale
        return self._weight * away.square().mean()
