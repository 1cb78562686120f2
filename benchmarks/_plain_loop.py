"""The usual way: timm's inference script, with the same weights that phototag uses.

The steps of timm's inference.py: `create_dataset`, `create_loader` (full decode by Pillow, torchvision's resize and
crop, batches through a DataLoader, normalised behind it), an eager network in evaluation mode, `inference_mode`, and
the best class of each picture. It writes its answers nowhere.
"""

from __future__ import annotations

import itertools
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _contender import Answer, Contender, Options, Run
from timm.data import create_dataset, create_loader, resolve_model_data_config
from torch import Tensor

from phototag.choices import Device
from phototag.decision import decide, gather, pooled_logits
from phototag.model import build, open_model
from phototag.records import Scores
from phototag.runtime import choose_target

# Of so many batches the number of workers is chosen; on fewer, starting and ending would decide.
_BATCHES_TO_TRY = 2


def plain(options: Options) -> Contender:
    """The loop as timm's inference.py runs it by default."""
    return PlainLoop(options, memory_format=torch.contiguous_format)


def plain_channels_last(options: Options) -> Contender:
    """The loop as timm's inference.py runs it with --channels-last."""
    return PlainLoop(options, memory_format=torch.channels_last)


class PlainLoop:
    """See the module; the number of workers is the fastest of 0, 1, 2, 4 ... cores, tried on every folder."""

    def __init__(self, options: Options, *, memory_format: torch.memory_format) -> None:
        model = open_model(options.model or "builtin")
        self._header, self._novelty = model.header, model.novelty
        self._device = torch.device(str(choose_target(Device(options.device)).device))
        self._batch_size = options.batch_size
        network = build(model.header, model.tensors())
        self._config = resolve_model_data_config(network.backbone) | self._own_preprocessing()
        self._network = network.to(self._device).to(memory_format=memory_format).eval()
        self._folder = Path()
        self._loader: Any = None

    def _own_preprocessing(self) -> dict[str, Any]:
        own = self._header.preprocessing
        names = {"crop_pct": own.crop, "interpolation": own.interpolation, "mean": own.mean, "std": own.std}
        return {"input_size": (3, own.size, own.size), **names}

    def prepare(self, folder: Path) -> str:
        """See `Contender`."""
        self._folder = folder
        seconds = {workers: self._try(workers) for workers in _candidates()}
        best = min(seconds, key=lambda workers: seconds[workers])
        self._loader = self._make_loader(best)
        tried = ", ".join(f"{workers}" for workers in seconds)
        return f"{best} workers, of {tried}"

    def _try(self, workers: int) -> float:
        # Without the old workers ended, they would take memory and time from the new ones.
        self._loader = self._make_loader(workers)
        batches = max(_BATCHES_TO_TRY, len(self._loader) // 2)
        started = time.perf_counter()
        self._logits(batches)
        return time.perf_counter() - started

    def _make_loader(self, workers: int) -> Any:
        self._loader = None
        dataset = create_dataset(name="", root=str(self._folder))
        make = partial(create_loader, dataset, batch_size=self._batch_size, num_workers=workers, device=self._device)
        return make(use_prefetcher=True, **self._config)

    def run(self) -> Run:
        """See `Contender`."""
        started = time.perf_counter()
        outputs = self._logits()
        seconds = time.perf_counter() - started
        names = self._loader.dataset.filenames(basename=True)
        answers = dict(zip(names, self._answers(outputs), strict=True))
        return Run(len(names), seconds, answers)

    def _logits(self, batches: int | None = None) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """One array [N, .] for each head, over all pictures or so many batches."""
        gathered = []
        with torch.inference_mode():
            for images, _ in itertools.islice(self._loader, batches):
                outputs: tuple[Tensor, ...] = self._network(images)
                outputs[min(1, len(outputs) - 1)].softmax(-1).topk(1)
                gathered.append([output.float().cpu().numpy() for output in outputs])
        return [np.concatenate(parts) for parts in zip(*gathered, strict=True)]

    def _answers(self, outputs: list[np.ndarray[Any, np.dtype[np.float32]]]) -> list[Answer]:
        """What phototag's decision makes of these logits, outside the timed part."""
        taxonomy = self._header.taxonomy
        if len(outputs) == 1:
            scores = Scores(pooled_logits(outputs[0], taxonomy), outputs[0])
        else:
            scores = Scores(outputs[0], outputs[1], embedding=outputs[2] if len(outputs) > 2 else None)
        evidence = gather(scores, taxonomy, self._novelty)
        tags = decide(evidence, taxonomy, self._header.thresholds)
        return [Answer.of(top, tag) for top, tag in zip(evidence.top[:, 0], tags, strict=True)]


def _candidates() -> list[int]:
    cores = os.cpu_count() or 1
    return sorted({0, cores, *(2**power for power in range(cores.bit_length()) if 2**power < cores)})
