"""A space of novelty with made-up numbers, and its sizes."""

from __future__ import annotations

import numpy as np

from phototag.decision.novelty import PretrainingClasses, Space

CLASSES, WIDTH, AXES, FOREIGN = 4, 3, 5, 7


def space_of(*, classes: int = CLASSES, seed: int = 0) -> Space:
    random = np.random.default_rng(seed)
    means = random.normal(0, 3, (classes, AXES)).astype(np.float32)
    elsewhere = random.normal(0, 3, (FOREIGN, AXES)).astype(np.float32)
    pretraining = PretrainingClasses(elsewhere, np.linspace(0, 9, FOREIGN, dtype=np.float32))
    return Space(means, (1 + means.var(axis=0)).astype(np.float32), pretraining)
