"""What a network costs: parameters, multiply-adds, memory, pictures a second, and the seconds of a training step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from phototag.choices import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.model import Model, open_model
from phototag.runtime.runtime import Runtime, Target, network_of

if TYPE_CHECKING:
    import torch

_ROUNDS = 5
_ROUND_SECONDS = 0.8
_MEMORY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Cost:
    """What tagging with a model takes on this machine.

    `multiply_adds` are those of its convolutions and linear layers for one picture, two floating-point operations each.
    `pictures_per_second` is the median of all rounds, and `rounds` are these: the network alone, in full batches.
    `memory_bytes` is the most that a process with nothing but this model held, on CUDA the most on the device; None
    where it cannot be known.
    """

    parameters: int
    multiply_adds: int
    pictures_per_second: float
    rounds: tuple[float, ...]
    memory_bytes: int | None
    device: str
    runtime: str
    batch_size: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)


def multiply_adds(network: torch.nn.Module, size: int) -> int:
    """Count those that one picture of `size` pixels takes, in one pass of zeros through the network.

    Multiplications of one activation with another, as in attention, are not layers and are not counted.
    """
    import torch
    from torch import nn

    counted = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(layer, nn.Linear):
            counted += output.numel() * layer.in_features
        elif isinstance(layer, nn.modules.conv._ConvNd):
            each = layer.in_channels // layer.groups
            for side in layer.kernel_size:
                each *= side
            counted += output.numel() * each

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    learning = network.training
    try:
        with torch.inference_mode():
            parameter = next(network.parameters())
            network.eval()(torch.zeros(1, 3, size, size, device=parameter.device, dtype=parameter.dtype))
    finally:
        network.train(learning)
        for hook in hooks:
            hook.remove()
    return counted


def costs(models: Sequence[Model], *, target: Target, seconds: float = _ROUND_SECONDS) -> list[Cost]:
    """Measure models side by side, alternating, so that whatever else the machine does slows all of them.

    `seconds` is how long each of five rounds takes with each model.
    """
    from phototag.runtime.benchmark import network_speed

    runtimes = [Runtime(model, target=target, batch_size=DEFAULT_BATCH_SIZE) for model in models]
    # Now that the models are converted, another process only has to load them.
    memory = [_memory_bytes(model, target) for model in models]
    rounds = [[network_speed(runtime, seconds=seconds) for runtime in runtimes] for _ in range(_ROUNDS)]
    found = []
    for place, (model, runtime) in enumerate(zip(models, runtimes, strict=True)):
        network = network_of(model)()
        speeds = tuple(round(each[place], 2) for each in rounds)
        found.append(
            Cost(
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                multiply_adds=multiply_adds(network, model.header.preprocessing.size),
                pictures_per_second=median(speeds),
                rounds=speeds,
                memory_bytes=memory[place],
                device=str(target.device),
                runtime=str(target.runtime),
                batch_size=runtime.batch_size,
            )
        )
    return found


def step_seconds(backbone: torch.nn.Module, size: int, *, batch_size: int, device: Device) -> float:
    """Return the seconds of a gradient step: forward and backward of a random batch, the faster one of two."""
    import torch

    place = torch.device(device)
    backbone = backbone.to(place).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch_size, 3, size, size, device=place).contiguous(memory_format=torch.channels_last)
    passed = []
    for _ in range(3):
        started = time.perf_counter()
        backbone(images).float().square().mean().backward()
        if place.type == "cuda":
            torch.cuda.synchronize()
        passed.append(time.perf_counter() - started)
        backbone.zero_grad(set_to_none=True)
    # The first one prepares things.
    return min(passed[1:])


def _memory_bytes(model: Model, target: Target) -> int | None:
    """Return the peak memory of a separate process that scores batches with this model; None where it cannot be
    measured.
    """
    if model.path is None:
        return None
    command = [sys.executable, "-m", "phototag.runtime.complexity"]
    words = [str(model.path), str(target.device), str(target.runtime), str(DEFAULT_BATCH_SIZE)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [*command, json.dumps(words)], capture_output=True, timeout=_MEMORY_SECONDS, check=True
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return answer if isinstance(answer, int) else None


def _peak_bytes(device: Device) -> int | None:
    """Return the most memory that this process held so far, on CUDA that of the device."""
    if device is Device.CUDA:
        import torch

        return torch.cuda.max_memory_reserved()
    try:
        # Not what getrusage says: that begins with the memory of the process that started this one.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _score_two_batches(words: Sequence[str]) -> None:
    """Score two batches and print the peak memory in bytes as JSON: what the process that measures memory does."""
    path, device, runtime, batch_size = words
    target = Target(Device(device), RuntimeName(runtime))
    model = open_model(Path(path))
    run = Runtime(model, target=target, batch_size=int(batch_size))
    size = model.header.preprocessing.size
    for _ in range(2):
        run.start(np.zeros((run.batch_size, size, size, 3), dtype=np.uint8)).result()
    print(json.dumps(_peak_bytes(target.device)))  # noqa: T201 - read by the process that started this one


if __name__ == "__main__":
    _score_two_batches(json.loads(sys.argv[1]))
