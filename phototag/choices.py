"""What can be chosen of devices, precisions, training and thresholds. Light to import: the command line names it."""

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


class Tune(StrEnum):
    """How much of the network learns."""

    AUTO = "auto"
    HEADS = "heads"
    LAST = "last"
    FULL = "full"


class Balance(StrEnum):
    """What is done about classes of unequal size."""

    AUTO = "auto"
    NONE = "none"
    SAMPLER = "sampler"
    LOSS = "loss"
    LOGITS = "logits"
    MIX = "mix"


LEAST_TARGET, HIGHEST_TARGET = 0.5, 0.999
"""What can be asked of a precision. Below, a label says little; above, it takes thousands of pictures without fault."""

KEEP_KNOWN = 0.94
"""The default share of right subclasses that is kept when photos are called novel."""

KEEP_KNOWN_WITH_TARGET = 0.99
"""The same with a target precision: naming one asks for as many labels as it allows."""

LEAST_KEPT = 0.5
"""The least share of right labels that may be left when photos are called novel."""
