"""Batch norm as part of the convolution before it: the same outputs and gradients with two passes less over each map.

With statistics that stay, batch norm is an affine map of every channel, which the convolution's weights can take up:
norm(conv(x; W)) = conv(x; s W) + (b - s m), s = g / sqrt(v + eps), with mean m, variance v, scale g and shift b of the
norm. Weights are many times fewer than the numbers of a map: docs/experiments.md#gradient-steps-on-a-cpu.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[nn.Conv2d, nn.modules.batchnorm._BatchNorm]


def norms_after_convolutions(network: nn.Module, size: int) -> list[Pair]:
    """Return each batch norm that is given what a convolution returns, with that convolution.

    Found by a forward pass of a picture of `size` pixels; what is called more than once in it is in no pair.
    """
    returned: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: list[Pair] = []
    calls: Counter[nn.Module] = Counter()

    def convolved(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] += 1
        returned[id(output)] = module, output  # held, so that no other tensor gets its id

    def normed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        before, _ = returned.get(id(inputs[0]), (None, None))
        if isinstance(before, nn.Conv2d) and isinstance(module, nn.modules.batchnorm._BatchNorm):
            pairs.append((before, module))

    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(convolved).remove)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                hooks.callback(module.register_forward_pre_hook(normed).remove)
        device = next(network.parameters()).device
        network.eval()(torch.zeros(1, 3, size, size, device=device))
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if norm.affine and norm.track_running_stats and calls[convolution] == calls[norm] == 1
    ]


@contextmanager
def folded(pairs: list[Pair]) -> Iterator[None]:
    """Compute those norms, in evaluation mode, as parts of their convolutions; parameters and their names stay."""
    with ExitStack() as undo:
        for convolution, norm in pairs:
            undo.callback(_fold(convolution, norm))
        yield


def _fold(convolution: nn.Conv2d, norm: nn.modules.batchnorm._BatchNorm) -> Callable[[], None]:
    """Replace what both compute, and return what puts it back."""
    given = convolution.forward

    mean, variance = (value for name, value in norm.named_buffers() if name.startswith("running_"))

    def forward(images: Tensor) -> Tensor:
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shift = norm.bias - mean * scale
        if convolution.bias is not None:
            shift = shift + convolution.bias * scale
        # An attribute of the object itself is found before the module's parameter of that name.
        vars(convolution).update(weight=convolution.weight * scale[:, None, None, None], bias=shift)
        try:
            return given(images)
        finally:
            del vars(convolution)["weight"], vars(convolution)["bias"]

    def rest(images: Tensor) -> Tensor:
        # timm's norms do what follows them as well.
        act, drop = getattr(norm, "act", None), getattr(norm, "drop", None)
        dropped = images if drop is None else drop(images)
        result: Tensor = dropped if act is None else act(dropped)
        return result

    vars(convolution)["forward"], vars(norm)["forward"] = forward, rest

    def undo() -> None:
        del vars(convolution)["forward"], vars(norm)["forward"]

    return undo
