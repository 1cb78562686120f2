"""What every runtime offers: pictures in, a network's outputs later, so that nothing waits for anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Precision

Outputs = tuple[NDArray[np.float32], ...]
Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


class Pending(Protocol):
    """A batch on its way through a network."""

    def result(self) -> Outputs:
        """Wait for it: the network's outputs, float32 with a row for each picture.

        They are the logits of superclasses and of subclasses and the embedding; of a network with one head (ImageNet's
        classes) its logits alone.
        """
        ...


class Engine(Protocol):
    """A network ready to run. To be used from one thread at a time."""

    name: str
    device: str
    precision: Precision
    batch_size: int

    def start(self, pictures: Pictures) -> Pending:
        """Begin with up to `batch_size` uint8 pictures [H, W, 3]; they must not change before the result is there."""
        ...


class Done:
    """A batch that is through already."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def result(self) -> Outputs:
        """See `Pending`."""
        return self._outputs
