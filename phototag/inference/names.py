"""The devices and runtimes there are. Imports nothing heavy, so that the command line can name the choices at once."""

from __future__ import annotations

from enum import StrEnum

DEFAULT_BATCH_SIZE = 32


class Device(StrEnum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class RuntimeName(StrEnum):
    """What runs a network."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"
