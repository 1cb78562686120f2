"""Training pictures for gradient steps: decoded, cropped and changed by chance, and collated to batches.

What is drawn for a picture depends on (seed, epoch, picture) alone, not on what came before or which process does it.
"""

from __future__ import annotations

import logging
import math
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, decode_whole, read_bytes
from phototag.imaging.preprocessing import Preprocessing
from phototag.learning.config import TrainingConfig
from phototag.learning.dataset import LabelledPicture

log = logging.getLogger(__name__)

# Crops keep at least this much of a picture's side more than the input, so that enlarging stays rare.
_CROP_MARGIN = 1.5

Batch = tuple[Tensor, Tensor]


def seed_all(*parts: object) -> None:
    """Seed every generator that augmentation draws from, by what is drawn for rather than what came before."""
    seed = random.Random(repr(parts)).getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)  # timm's mixup and RandAugment draw from the global generator
    torch.manual_seed(seed)


class TrainingPictures(Dataset[Any]):
    """Pictures as uint8 tensors [H, W, 3] with their subclass index; None for one that cannot be read any more."""

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        labels: Sequence[int],
        preprocessing: Preprocessing,
        *,
        augment: Callable[[Any], Any] | None,
        seed: tuple[object, ...],
    ) -> None:
        self._pictures = pictures
        self._labels = labels
        self._preprocessing = preprocessing
        self._augment = augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | None:
        path = self._pictures[index].path
        try:
            data = read_bytes(path)
            if self._augment is None:
                pixels = decode_bytes(data, self._preprocessing, path)[0]
            else:
                seed_all(*self._seed, index)
                short_side = math.ceil(_CROP_MARGIN * self._preprocessing.size)
                pixels = np.asarray(self._augment(decode_whole(data, short_side=short_side, path=path)))
        except DecodeError as error:
            log.warning("skipped: %s", error)
            return None
        return torch.from_numpy(np.array(pixels)), self._labels[index]


def collate(items: Sequence[tuple[Tensor, int] | None]) -> Batch | None:
    """Stack what could be read: pixels [B, H, W, 3] and labels [B]; None when nothing could."""
    read = [item for item in items if item is not None]
    if not read:
        return None
    return torch.stack([pixels for pixels, _ in read]), torch.tensor([label for _, label in read])


def start_worker(_: int) -> None:
    """Set up a process that decodes: one thread of its own, and deaf to Ctrl-C."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the trainer ends its workers


def augmentation(preprocessing: Preprocessing, config: TrainingConfig) -> Callable[[Any], Any]:
    """Random crop, flip and RandAugment, from an upright image to one of the input size."""
    from timm.data.auto_augment import rand_augment_transform
    from timm.data.transforms import RandomResizedCropAndInterpolation
    from torchvision.transforms import Compose, RandomHorizontalFlip

    steps: list[Any] = [
        RandomResizedCropAndInterpolation(
            preprocessing.size, scale=(config.min_crop, 1.0), interpolation=preprocessing.interpolation
        ),
        RandomHorizontalFlip(),
    ]
    if config.augment:
        fill = tuple(round(255 * channel) for channel in preprocessing.mean)
        steps.append(
            rand_augment_transform(config.augment, {"translate_const": preprocessing.size // 4, "img_mean": fill})
        )
    composed: Callable[[Any], Any] = Compose(steps)
    return composed
