"""Describe how a picture becomes a network's input."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from phototag.errors import ModelError

LARGEST_INPUT = 2048  # pixels; a batch of these takes as much memory as a network should
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Input size, central crop and normalisation of a backbone.

    `size` is the side of the square input in pixels. `crop` is the share of the picture's shorter side that is kept,
    so 0.875 cuts a margin of 1/16 on both sides. `mean` and `std` are per RGB channel, on a scale of 0 to 1.

    Raises:
        ModelError: a value is out of range; the values may come from an untrusted model file.
    """

    size: int
    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        numbers = (self.crop, *self.mean, *self.std)
        if not all(math.isfinite(number) for number in numbers) or not 0 < self.crop <= 1 or min(self.std) <= 0:
            raise ModelError(f"preprocessing out of range: {self}")
        if len(self.mean) != 3 or len(self.std) != 3 or not 16 <= self.size <= LARGEST_INPUT:
            raise ModelError(f"preprocessing out of range: {self}")
        if self.interpolation not in INTERPOLATIONS:
            raise ModelError(f"unknown interpolation {self.interpolation!r}; known: {', '.join(INTERPOLATIONS)}")

    @property
    def short_side(self) -> int:
        """Return how many pixels the shorter side of a picture needs for the input to be no enlarged one."""
        return math.ceil(self.size / self.crop)

    def to_json(self) -> dict[str, Any]:
        """Return the values as plain ones for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Preprocessing:
        """Return the preprocessing that `to_json` gave the values of.

        Raises:
            ModelError: the value is not a preprocessing.
        """
        try:
            return cls(
                size=int(value["size"]),
                crop=float(value["crop"]),
                interpolation=str(value["interpolation"]),
                mean=_triple(value["mean"]),
                std=_triple(value["std"]),
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ModelError(f"not a preprocessing: {error}") from error


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)
