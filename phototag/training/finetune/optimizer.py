"""What of a network learns, and how fast: frozen stages, learning rates by depth, and their course over the steps."""

from __future__ import annotations

import logging
import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from phototag.choices import Tune
from phototag.errors import UsageError
from phototag.training.config import OptimizerConfig

log = logging.getLogger(__name__)

_MIN_LR_SHARE = 0.01
_LAST_STAGES = 2


def stages(backbone: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of the stem and of each stage, by timm's own grouping; empty without any."""
    from timm.models import group_parameters

    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return []
    groups = group_parameters(backbone, matcher(coarse=True))
    return [list(groups[key]) for key in sorted(groups)]


def freeze(network: nn.Module, backbone: nn.Module, config: OptimizerConfig, *, on_cpu: bool) -> None:
    """Let only those parameters of the network require gradients that are to learn.

    From pretrained weights the first stages have little to learn, and frozen ones are fast:
    docs/experiments.md#frozen-first-stages. On a CPU so it is with depthwise filters, which are few and whose gradients
    take it longer than all others: docs/experiments.md#gradient-steps-on-a-cpu.

    Raises:
        UsageError: only the last stages are to learn, and the backbone does not name them.
    """
    groups = stages(backbone)
    if config.tune is Tune.LAST:
        if not groups:
            raise UsageError("this backbone does not name its stages; use --tune heads or --tune full")
        frozen = groups[:-_LAST_STAGES]
    else:
        frozen = groups[: _frozen_groups(len(groups), config)]
    still = {name for names in frozen for name in names}
    if config.pretrained and on_cpu:
        still |= _depthwise(backbone)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad = name not in still
    for name, parameter in network.named_parameters():
        if not name.startswith("backbone."):
            # The embedding is fitted to the features afterwards, not learned.
            parameter.requires_grad = name.startswith(("superclass_head.", "subclass_head."))


def _depthwise(backbone: nn.Module) -> set[str]:
    """Return the names of the parameters of convolutions that see each channel alone, and of the norms behind them."""
    names = set()
    for parent, module in backbone.named_modules():
        for (name, child), (after, norm) in pairwise([*module.named_children(), ("", nn.Identity())]):
            if isinstance(child, nn.Conv2d) and child.groups == child.in_channels > 1:
                prefix = f"{parent}." if parent else ""
                names |= {f"{prefix}{name}.{parameter}" for parameter, _ in child.named_parameters()}
                if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                    names |= {f"{prefix}{after}.{parameter}" for parameter, _ in norm.named_parameters()}
    return names


def _frozen_groups(groups: int, config: OptimizerConfig) -> int:
    """Return how many groups stay as they are; the stem is the first of them, and the last always learns."""
    if not config.pretrained or not config.frozen_stages:
        return 0
    stages_there = max(groups - 1, 0)
    frozen = min(config.frozen_stages, max(stages_there - 1, 0))
    if frozen < config.frozen_stages:
        log.warning("%d stages of the backbone stay frozen, as it names %d and one has to learn", frozen, stages_there)
    return frozen + 1 if frozen else 0


def create_optimizer(network: nn.Module, backbone: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return AdamW over all parameters that learn; each group's "peak" is its learning rate at the end of the warm-up.

    From pretrained weights each stage of the backbone learns slower than the next deeper one, by the factor
    `layer_decay`: what is common to all photos shall change less than what tells classes apart (Howard and Ruder,
    "Universal language model fine-tuning for text classification", ACL 2018, section 3.2).
    """
    factors = _depth_factors(backbone, config)
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            in_backbone = name.startswith("backbone.")
            factor = factors.get(name.removeprefix("backbone."), 1.0) if in_backbone else config.head_lr_factor
            members.setdefault((config.lr * factor, parameter.ndim > 1), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "peak": peak, "weight_decay": config.weight_decay if decays else 0.0}
        for (peak, decays), parameters in members.items()
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def _depth_factors(backbone: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    if not config.pretrained or config.tune is Tune.LAST:
        return {}
    groups = stages(backbone)
    return {
        name: config.layer_decay ** (len(groups) - 1 - position)
        for position, names in enumerate(groups)
        for name in names
    }


def set_rates(optimizer: torch.optim.Optimizer, step: int, total: int, config: OptimizerConfig) -> None:
    """Set the learning rates for step number `step` of `total`: a linear warm-up, then half a cosine."""
    warmup = max(1, round(config.warmup_share * total))
    if step < warmup:
        share = (step + 1) / warmup
    else:
        done = (step - warmup) / max(1, total - warmup)
        share = _MIN_LR_SHARE + (1 - _MIN_LR_SHARE) * (1 + math.cos(math.pi * done)) / 2
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
