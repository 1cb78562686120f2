"""Training pictures for gradient steps: decoded, cropped, changed and degraded at random, and collated to batches.

What happens to a picture depends on (seed, epoch, picture) alone, not on what came before or which process does it.
"""

from __future__ import annotations

import io
import logging
import math
import os
import random
import signal
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset

from phototag.dataset import LabelledPicture
from phototag.errors import DecodeError
from phototag.imaging import Decoder, Preprocessing, WholeDecoder, read_bytes
from phototag.training.config import AugmentationConfig

log = logging.getLogger(__name__)

# Crops keep at least this much of a picture's side more than the input, so that enlarging stays rare.
_CROP_MARGIN = 1.5

# What training pictures went through and photos did not, or the other way round: each happens to this share of them,
# independently, so that six in ten pictures stay as they are.
_DEGRADED_SHARE = 0.12
_LEAST_SIZE_SHARE = 0.4
_BLUR_PIXELS = (0.3, 1.2)
_SHARPENING_PERCENT = (50, 200)
_JPEG_QUALITY = (20, 85)

Batch = tuple[Tensor, Tensor]


def seed_all(*parts: object) -> None:
    """Seed every generator that a training step samples from, as `seed_augmentation` does, and that of the GPU."""
    torch.manual_seed(seed_augmentation(*parts))  # takes a millisecond: too much for every picture


def seed_augmentation(*parts: object) -> int:
    """Seed every generator that augmentation samples from, by what is sampled for rather than what came before."""
    seed = random.Random(repr(parts)).getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)  # timm's mixup and RandAugment sample from the global generator
    torch.default_generator.manual_seed(seed)
    return seed


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
                pixels = _decoder(os.getpid(), self._preprocessing)(data, path)[0]
            else:
                seed_augmentation(*self._seed, index)
                short_side = math.ceil(_CROP_MARGIN * self._preprocessing.size)
                pixels = np.asarray(self._augment(_whole_decoder(os.getpid(), short_side)(data, path)))
        except DecodeError as error:
            log.warning("skipped: %s", error)
            return None
        return torch.from_numpy(np.array(pixels)), self._labels[index]


@cache
def _decoder(process: int, preprocessing: Preprocessing) -> Decoder:
    """Return what decodes in this process until it ends: what was made before a fork is of no use after it."""
    made = Decoder(preprocessing)
    Finalize(None, made.close, exitpriority=0)
    return made


@cache
def _whole_decoder(process: int, short_side: int) -> WholeDecoder:
    """Return what decodes whole pictures in this process until it ends."""
    made = WholeDecoder(short_side)
    Finalize(None, made.close, exitpriority=0)
    return made


def collate(items: Sequence[tuple[Tensor, int] | None]) -> Batch | None:
    """Stack what could be read: pixels [B, H, W, 3] and labels [B]; None when nothing could."""
    read = [item for item in items if item is not None]
    if not read:
        return None
    return torch.stack([pixels for pixels, _ in read]), torch.tensor([label for _, label in read])


def collate_pairs(items: Sequence[tuple[Tensor, int] | None]) -> Batch | None:
    """Stack pairs, items 0 and 1, 2 and 3, like `collate`; one with an unreadable picture is left out entirely."""
    pairs = zip(items[::2], items[1::2], strict=False)
    return collate([item for pair in pairs if None not in pair for item in pair])


def start_worker(_: int) -> None:
    """Set up a process that decodes: one thread, and deaf to Ctrl-C."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the trainer ends its workers


def augmentation(preprocessing: Preprocessing, config: AugmentationConfig) -> Callable[[Any], Any]:
    """Return random crop, flip, RandAugment and `degrade`, from an upright image to one of the input size."""
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
        steps.append(degrade)
    composed: Callable[[Any], Any] = Compose(steps)
    return composed


def degrade(image: Image.Image) -> Image.Image:
    """Lower an RGB image's resolution, blur, sharpen or compress it, each now and then at random.

    So that a network does not tell classes by how soft or compressed their training pictures are.
    """
    if random.random() < _DEGRADED_SHARE:
        share = random.uniform(_LEAST_SIZE_SHARE, 1.0)
        small = (max(1, round(share * image.width)), max(1, round(share * image.height)))
        how = random.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX))
        image = image.resize(small, how).resize(image.size, Image.Resampling.BILINEAR)
    if random.random() < _DEGRADED_SHARE:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(*_BLUR_PIXELS)))
    if random.random() < _DEGRADED_SHARE:
        image = image.filter(ImageFilter.UnsharpMask(radius=1.0, percent=random.randint(*_SHARPENING_PERCENT)))
    if random.random() < _DEGRADED_SHARE:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=random.randint(*_JPEG_QUALITY))
        image = Image.open(buffer, formats=["JPEG"]).convert("RGB")
    return image
