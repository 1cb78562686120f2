"""Forward passes of a network over whole sets of pictures, dealt to all processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from phototag.choices import Device
from phototag.dataset import LabelledPicture
from phototag.errors import DataError
from phototag.imaging import Preprocessing
from phototag.model import FromUint8
from phototag.runtime import World
from phototag.training.finetune.augment import Batch, TrainingPictures, collate, start_worker


class Precision:
    """In which floating-point types a device computes: autocast to half the width where that is wanted.

    `wanted` None is where it is fast: on CUDA, and on a CPU with matrix units for bf16 (AMX) unless `filters_learn`.
    The gradients of depthwise filters take it several times longer so: docs/experiments.md#gradient-steps-on-a-cpu.
    """

    def __init__(self, device: Device, *, wanted: bool | None, filters_learn: bool) -> None:
        self._kind = torch.device(device).type
        fast = device is Device.CUDA or (self._kind == "cpu" and not filters_learn and _has_matrix_units())
        self.mixed = fast if wanted is None else wanted
        self._dtype = torch.float16 if _needs_fp16(device) else torch.bfloat16
        self.scaled = self.mixed and self._dtype is torch.float16
        """Whether gradients need scaling, or else the small ones vanish."""

    def autocast(self) -> torch.autocast:
        """Return the context to compute in."""
        return torch.autocast(self._kind, dtype=self._dtype, enabled=self.mixed)


def _has_matrix_units() -> bool:
    # The public torch.cpu.get_capabilities() is younger than the oldest torch that phototag takes.
    return bool(torch.cpu._is_amx_tile_supported())


def _needs_fp16(device: Device) -> bool:
    if device is Device.CUDA:
        return not torch.cuda.is_bf16_supported()
    return device is Device.MPS


class ForwardPasses:
    """Runs networks over pictures without changing them."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        workers: int | None,
        device: Device,
        precision: Precision,
        world: World,
    ) -> None:
        self.preprocessing, self._batch_size, self._workers, self._world = preprocessing, batch_size, workers, world
        self._device, self._precision = torch.device(device), precision

    @property
    def quiet(self) -> bool | None:
        """What progress bars take for `disable`; None is for a terminal only."""
        return None if self._world.is_writer else True

    def loader(
        self, pictures: TrainingPictures, batches: Sequence[list[int]], together: Callable[..., Batch | None]
    ) -> DataLoader[Any]:
        """Return a loader that decodes those batches of pictures beside the network."""
        workers = self._workers
        if workers is None:
            cores = max(1, (os.cpu_count() or 1) // self._world.local_size)
            # On a CPU the network needs the cores itself; decoding beside it takes one.
            workers = min(cores, 8) if self._device.type != "cpu" else (1 if cores > 1 else 0)
        return DataLoader(
            pictures,
            batch_sampler=batches,
            collate_fn=together,
            num_workers=workers,
            worker_init_fn=start_worker,
            pin_memory=self._device.type == "cuda",
        )

    def outputs(
        self, network: nn.Module, pictures: Sequence[LabelledPicture], name: str, *, stopping: Callable[[], bool]
    ) -> tuple[list[int], tuple[NDArray[np.float32], ...]]:
        """Return the positions of the readable pictures, and a network's outputs [N, ...]; each process does a share.

        Raises:
            DataError: none can be read.
            KeyboardInterrupt: `stopping` said so in some process.
        """
        indexes = list(range(len(pictures)))
        own, size = indexes[self._world.rank :: self._world.size], self._batch_size
        dataset = TrainingPictures(pictures, indexes, self.preprocessing, augment=None, seed=())
        loader = self.loader(dataset, [own[start : start + size] for start in range(0, len(own), size)], collate)
        network.eval()
        wrapped = FromUint8(network, self.preprocessing).to(self._device)
        found: list[tuple[list[int], list[NDArray[np.float32]]]] = []
        with torch.inference_mode():
            for batch in tqdm(loader, desc=name, disable=self.quiet, leave=False):
                if stopping():
                    break
                if batch is None:
                    continue
                with self._precision.autocast():
                    outputs = wrapped(batch[0].to(self._device))
                found.append((batch[1].tolist(), [output.float().cpu().numpy() for output in outputs]))
        if self._world.sum([float(stopping())])[0]:
            raise KeyboardInterrupt
        everything = [entry for share in self._world.gather(found) for entry in share]
        if not everything:
            raise DataError(f"none of the {len(pictures)} pictures for {name} can be read any more")
        read = np.concatenate([positions for positions, _ in everything])
        order = np.argsort(read)
        columns = zip(*(outputs for _, outputs in everything), strict=True)
        return read[order].tolist(), tuple(np.concatenate(column)[order] for column in columns)
