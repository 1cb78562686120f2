"""The tests' own models: the smallest backbone, with random weights."""

from __future__ import annotations

from pathlib import Path

from phototag.decision import Thresholds
from phototag.imaging.preprocessing import Preprocessing
from phototag.model.file import ModelHeader, write_tensors
from phototag.taxonomy import Taxonomy

TINY_BACKBONE = "test_efficientnet"
TINY_TAXONOMY = Taxonomy.from_pairs(
    [("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("dog", "boxer"), ("reptile", "gecko")]
)


def write_tiny_model(path: Path, *, seed: int) -> Path:
    """Write a model file of the tiny taxonomy with random weights, which tags a picture in a millisecond."""
    import torch

    from phototag.model.backbones import create_backbone
    from phototag.model.network import DualHead, to_numpy

    torch.manual_seed(seed)
    backbone = create_backbone(TINY_BACKBONE)
    network = DualHead(
        backbone, superclasses=len(TINY_TAXONOMY.superclasses), subclasses=len(TINY_TAXONOMY.subclasses)
    ).eval()
    preprocessing = Preprocessing(size=32, crop=1.0)
    with torch.no_grad():
        # Random features hardly differ between pictures: centre and stretch what the heads make of them.
        features = backbone(torch.rand(64, 3, 1, 1).expand(-1, -1, 32, 32) * 2 - 1)
        for head in (network.superclass_head, network.subclass_head):
            assert head is not None
            head.weight.normal_()
            outputs = features @ head.weight.T
            head.weight.mul_(2 / outputs.std(dim=0, keepdim=True).T)
            head.bias.copy_(-(features @ head.weight.T).mean(dim=0))
    header = ModelHeader(
        backbone=TINY_BACKBONE,
        taxonomy=TINY_TAXONOMY,
        preprocessing=preprocessing,
        thresholds=Thresholds(superclass=0.4, subclass=0.25),
        metrics={"subclass_accuracy": 0.9, "superclass_accuracy": 0.95},
        record={"source": "random weights, for tests"},
        created_at="2026-01-01T00:00:00+00:00",
    )
    write_tensors(path, to_numpy(network), header.to_json())
    return path


def random_weights(path: Path, backbone: str = TINY_BACKBONE, *, seed: int = 7) -> Path:
    """A weights file of a whole timm classifier, random, that serves as "pretrained" with no network."""
    import timm
    import torch

    torch.manual_seed(seed)
    torch.save(timm.create_model(backbone, pretrained=False).state_dict(), path)
    return path
