"""The devices, runtimes and precisions there are. Imports nothing heavy: the command line names the choices at once."""

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


class Precision(StrEnum):
    """The numbers a network computes with. AUTO takes a faster one than F32 only where the tags proved to agree."""

    AUTO = "auto"
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    INT8 = "int8"


class DecodeOn(StrEnum):
    """Where JPEG files are decoded."""

    CPU = "cpu"
    GPU = "gpu"
