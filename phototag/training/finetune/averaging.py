"""Weight-space averaging with the starting weights: what fine-tuning gained, without what it forgot.

Between the weights before and after fine-tuning lie networks that are about as good on the pictures of the training and
better on others (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). How far to go is chosen by the
validation pictures, which are like the training ones and so never ask to stay near the start. Therefore the nearest
network wins that is not worse than the best by more than chance would make it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from phototag.model import DualHead
    from phototag.training.finetune.trainer import Trainer

log = logging.getLogger(__name__)

SHARES = (0.8, 1.0)
"""How far from the starting weights to those of the best epoch: docs/experiments.md#averaging-with-the-start."""

# Standard errors of the difference, as in the choice of a tree's size by cross-validation (Breiman et al., 1984,
# section 3.4.3).
_ERRORS = 1.0


def averaged(trainer: Trainer) -> tuple[DualHead, list[dict[str, float]]]:
    """Return the network to keep, and what each one tried came to on the validation pictures."""
    trials: list[dict[str, float]] = []
    best = trainer.best_network()
    if trainer.progress.best_epoch == 0:
        return best, trials
    right = []
    for share in SHARES:
        found = trainer.evaluate(_between(trainer, best, share))
        truth = found.subclass.truth
        hits = (found.scores.subclass.argmax(axis=1) == truth)[truth >= 0]
        if not len(hits):
            return best, []
        right.append(hits.astype(np.float64))
        trials.append({"share": share, "subclass_accuracy": float(hits.mean())})
    top = int(np.argmax([hits.mean() for hits in right]))
    chosen = top
    for index in range(top):
        # The same pictures: what counts is the spread of the differences.
        differences = right[top] - right[index]
        if differences.mean() <= _ERRORS * differences.std() / np.sqrt(len(differences)):
            chosen = index
            break
    log.info(
        "weights averaged %.0f %% of the way from the start: validation subclass %.1f %%",
        100 * SHARES[chosen],
        100 * trials[chosen]["subclass_accuracy"],
    )
    return _between(trainer, best, SHARES[chosen]), trials


def _between(trainer: Trainer, best: DualHead, share: float) -> DualHead:
    start = trainer.start
    end = {name: value.cpu() for name, value in best.state_dict().items()}
    mixed: dict[str, Tensor] = {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
    network = trainer.best_network()
    network.load_state_dict(mixed)
    return network
