"""Mixup and CutMix between neighbours of a batch, so that a batch can be cut between any two pairs.

mixup: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018. CutMix: Yun et al., "CutMix:
regularization strategy to train strong classifiers with localizable features", ICCV 2019, section 3.1.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from phototag.training.config import AugmentationConfig

_SHARE_OF_STEPS = 0.5
# Rare classes are mixed even where mixing is switched off for all others.
_RARE_ALPHA = 0.2


@dataclass(frozen=True, slots=True)
class Mix:
    """How one step mixes: each picture keeps the share `kept`, 0 to 1; the rest is its neighbour's.

    With a box (top, bottom, left, right), in shares of height and width, the rest lies there; without, everywhere.
    `everything` False mixes only pairs with a picture of a rare class.
    """

    kept: float
    box: tuple[float, float, float, float] | None
    everything: bool


class Mixing:
    """Mixes some steps of a training. `rare` [C] tells classes whose pictures are always mixed, or is None."""

    def __init__(self, config: AugmentationConfig, rare: Tensor | None = None) -> None:
        self._mixup, self._cutmix, self._rare = config.mixup, config.cutmix, rare
        if rare is not None and not self._mixup and not self._cutmix:
            self._share, self._mixup = 0.0, _RARE_ALPHA
        else:
            self._share = _SHARE_OF_STEPS if self._mixup or self._cutmix else 0.0

    def sample(self) -> Mix | None:
        """Sample how the next step mixes, by Python's generator, to be seeded by the step; None for not at all."""
        everything = random.random() < self._share
        if not everything and self._rare is None:
            return None
        cut = bool(self._cutmix) and (not self._mixup or random.random() < 0.5)
        alpha = self._cutmix if cut else self._mixup
        kept = random.betavariate(alpha, alpha)
        if not cut:
            return Mix(kept, None, everything)
        side = (1 - kept) ** 0.5
        vertical, horizontal = random.random(), random.random()
        edges = (vertical - side / 2, vertical + side / 2, horizontal - side / 2, horizontal + side / 2)
        top, bottom, left, right = (min(max(edge, 0.0), 1.0) for edge in edges)
        return Mix(kept, (top, bottom, left, right), everything)

    def apply(self, mix: Mix, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images [2P, 3, H, W] and their targets [2P, C]: 0 with 1, 2 with 3, and so on."""
        others, kept = _neighbours(images), mix.kept
        if mix.box is None:
            mixed = images * kept + others * (1 - kept)
        else:
            height, width = images.shape[2:]
            top, bottom = (round(edge * height) for edge in mix.box[:2])
            left, right = (round(edge * width) for edge in mix.box[2:])
            mixed = images.clone()
            mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / (height * width)
        wanted = targets * kept + _neighbours(targets) * (1 - kept)
        if mix.everything or self._rare is None:
            return mixed, wanted
        rare = self._rare[targets.argmax(1)]
        chosen = rare | _neighbours(rare)
        return torch.where(chosen[:, None, None, None], mixed, images), torch.where(chosen[:, None], wanted, targets)


def _neighbours(values: Tensor) -> Tensor:
    """Return the values [2P, ...] with the two of each pair exchanged."""
    return values.view(-1, 2, *values.shape[1:]).flip(1).reshape(values.shape)
