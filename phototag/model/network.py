"""The network: a timm backbone with two linear heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from phototag.decision import NOVELTY, Space
from phototag.errors import ModelError, UsageError
from phototag.imaging import Preprocessing
from phototag.model.backbones import create_backbone, resolve_backbone
from phototag.model.file import ModelHeader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phototag.model.linear import Embedding, LinearHead


# Of the last stages; earlier ones see edges and colours more than shapes.
_POOLED_STAGES = 3


def pooled_stages(backbone: nn.Module) -> tuple[int, ...]:
    """Return the stages, by position, whose averages join the features: the last three if timm gives them.

    What a late stage has not yet condensed helps to tell similar classes apart:
    docs/experiments.md#stages-that-join-the-features.
    """
    count = len(_stage_widths(backbone))
    return tuple(range(count)[-_POOLED_STAGES:]) if hasattr(backbone, "forward_intermediates") else ()


def _stage_widths(backbone: nn.Module) -> list[int]:
    info = getattr(backbone, "feature_info", None)
    entries = getattr(info, "info", info) or ()
    return [int(entry["num_chs"]) for entry in entries]


def feature_blocks(backbone: nn.Module, stages: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of the features' parts: the backbone's own first, then those of the pooled stages."""
    # Some families (ConvNeXt with a hidden head layer) give features of another width than their last stage has.
    own: int = getattr(backbone, "head_hidden_size", None) or backbone.num_features  # type: ignore[assignment]
    widths = _stage_widths(backbone)
    return (own, *(widths[stage] for stage in stages))


class PooledFeatures(nn.Module):
    """A backbone's features [B, D], with the averages over the picture of some of its stages behind them."""

    def __init__(self, backbone: nn.Module, stages: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = list(stages)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of normalised images [B, 3, H, W]."""
        if not self.stages:
            features: Tensor = self.backbone(images)
            return features
        backbone: Any = self.backbone
        last, maps = backbone.forward_intermediates(images, indices=self.stages, output_fmt="NCHW")
        # timm cuts the last stage off where only its map is wanted; the classifier's side begins after it.
        return torch.cat([backbone.forward_head(last, pre_logits=True), *(each.mean((2, 3)) for each in maps)], dim=1)


class DualHead(nn.Module):
    """A backbone without its classifier, and one linear head each for superclasses and subclasses.

    Images [B, 3, H, W], normalised, to logits (superclass [B, S], subclass [B, C]), with the embedding [B, E] as a
    third where there is one. With `superclasses` None there is no superclass head and no embedding, and only the
    subclass logits are returned.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        superclasses: int | None,
        subclasses: int,
        stages: Sequence[int] = (),
        embedding: int = 0,
    ) -> None:
        super().__init__()
        self.stages = tuple(stages)
        width = sum(feature_blocks(backbone, stages))
        self.backbone = backbone
        self.superclass_head = nn.Linear(width, superclasses) if superclasses else None
        self.subclass_head = nn.Linear(width, subclasses)
        self.embedding = nn.Linear(width, embedding) if embedding else None

    def features(self, images: Tensor) -> Tensor:
        """Return features [B, D] of normalised images, which both heads and the embedding start from."""
        return PooledFeatures(self.backbone, self.stages)(images)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits of both heads, and the embedding; see the class."""
        features = self.features(images)
        if self.superclass_head is None:
            return (self.subclass_head(features),)
        logits = (self.superclass_head(features), self.subclass_head(features))
        return logits if self.embedding is None else (*logits, self.embedding(features))

    def set_heads(self, superclass: LinearHead, subclass: LinearHead) -> None:
        """Put fitted heads in place."""
        if self.superclass_head is None:
            raise ModelError("this network has no superclass head")
        for layer, head in ((self.superclass_head, superclass), (self.subclass_head, subclass)):
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(head.weight))
                layer.bias.copy_(torch.from_numpy(head.bias))

    def set_embedding(self, embedding: Embedding) -> None:
        """Put a fitted embedding in place."""
        layer = nn.Linear(embedding.weight.shape[1], embedding.weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(embedding.weight))
            layer.bias.copy_(torch.from_numpy(embedding.bias))
        self.embedding = layer

    def fitted_embedding(self, space: Space) -> Embedding:
        """Return the embedding as it is; `space` is where the classes lie in it."""
        from phototag.model.linear import Embedding

        if self.embedding is None:
            raise ModelError("this network has no embedding")
        weight, bias = (value.detach().cpu().numpy().copy() for value in (self.embedding.weight, self.embedding.bias))
        return Embedding(weight, bias, space)

    def resize(self, superclasses: int, subclasses: int) -> None:
        """Make room for other numbers of classes; both heads are random then."""
        width = self.subclass_head.in_features
        self.superclass_head = nn.Linear(width, superclasses)
        self.subclass_head = nn.Linear(width, subclasses)

    def heads(self) -> tuple[LinearHead, LinearHead]:
        """Return both heads, the superclasses' first, as they are."""
        from phototag.model.linear import LinearHead

        if self.superclass_head is None:
            raise ModelError("this network has no superclass head")
        superclass, subclass = (
            LinearHead(layer.weight.detach().cpu().numpy().copy(), layer.bias.detach().cpu().numpy().copy())
            for layer in (self.superclass_head, self.subclass_head)
        )
        return superclass, subclass


class FromUint8(nn.Module):
    """`network` behind the normalisation of its preprocessing: uint8 [B, H, W, 3] in, the network's outputs out.

    Normalising belongs to the network's side: bytes cross to the device, four times fewer than floats.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255.0)

    def forward(self, images: Tensor) -> Any:
        """Return the network's outputs for uint8 images [B, H, W, 3]."""
        return self.network(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """Return floats [B, 3, H, W] of uint8 images [B, H, W, 3]; the permuted view is channels_last as it is."""
        return (images.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


def build(header: ModelHeader, tensors: Mapping[str, NDArray[np.float32]]) -> DualHead:
    """Return the network of a model file, in evaluation mode and channels_last.

    Raises:
        ModelError: timm has no such backbone, or the tensors do not fit it and the header's taxonomy.
    """
    taxonomy = header.taxonomy
    try:
        # The header is untrusted, and timm would fetch a name like "hf-hub:..." from the network.
        name = resolve_backbone(header.backbone)
    except UsageError as error:
        raise ModelError(f"the model's backbone cannot be built: {error}") from error
    backbone = create_backbone(name)
    if header.stages and (
        max(header.stages) >= len(_stage_widths(backbone)) or not hasattr(backbone, "forward_intermediates")
    ):
        raise ModelError(f"the model's stages {list(header.stages)} are not those of its backbone {header.backbone}")
    network = DualHead(
        backbone,
        superclasses=len(taxonomy.superclasses) if header.superclass_head else None,
        subclasses=len(taxonomy.subclasses),
        stages=header.stages,
        embedding=header.embedding,
    )
    try:
        network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in tensors.items() if not name.startswith(NOVELTY)}
        )
    except RuntimeError as error:
        raise ModelError(f"the model's tensors do not fit its backbone {header.backbone}: {error}") from error
    network.eval()
    return network.to(memory_format=torch.channels_last)


def to_numpy(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return all of a network's tensors as contiguous numpy arrays on the CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
