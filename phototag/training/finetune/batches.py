"""Which pictures come in which step: the order of an epoch, its batches, and the part of each that a process takes.

Pictures of a batch go in pairs, 0 with 1, 2 with 3, and so on, which mixup and CutMix mix; batches are cut between
pairs only. So a step comes to the same however many processes, and parts of a step, a batch is dealt to.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from phototag.errors import UsageError

T = TypeVar("T", bound=Sequence[int])


def steps_an_epoch(pictures: int, batch_size: int) -> int:
    """Return the steps of an epoch: whole batches only, but at least one."""
    return max(1, pictures // batch_size)


def epoch_batches(
    pictures: int, sampling: NDArray[np.float32] | None, *, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the positions of each step's pictures in an epoch, in pairs; an odd one at the end of a batch stays out.

    `sampling` [N] tells how often each picture is to be sampled in relation to the others; with None each comes once,
    apart from those that fill no batch.
    """
    order = random.Random(f"{seed}:{epoch}:order")
    indexes = list(range(pictures))
    if sampling is None:
        order.shuffle(indexes)
    else:
        indexes = order.choices(indexes, weights=sampling.tolist(), k=pictures)
    size = min(batch_size, pictures)
    even = size - size % 2
    return [indexes[step * size : step * size + even] for step in range(steps_an_epoch(pictures, batch_size))]


def cut(count: int, parts: int) -> list[slice]:
    """Return slices that cut `count` paired things into so many parts of nearly the same number of pairs."""
    pairs = count // 2
    edges = [2 * (pairs * part // parts) for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def own_share(batches: Sequence[list[int]], *, rank: int, size: int) -> list[list[int]]:
    """Return what process `rank` of `size` takes of each batch.

    Raises:
        UsageError: there are more processes than pairs in a batch.
    """
    fewest = min(len(batch) for batch in batches)
    if fewest < 2 * size:
        raise UsageError(
            f"{size} processes need batches of {2 * size} pictures or more, and these have {fewest}; raise "
            "--batch-size, or start fewer processes"
        )
    return [batch[cut(len(batch), size)[rank]] for batch in batches]
