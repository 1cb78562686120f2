"""The network: a timm backbone with two linear heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from phototag.errors import ModelError, UsageError
from phototag.imaging.preprocessing import Preprocessing
from phototag.learning.backbones import create_backbone, resolve_backbone
from phototag.learning.checkpoint import ModelHeader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DualHead(nn.Module):
    """A backbone without its classifier, and one linear head each for superclasses and subclasses.

    Images [B, 3, H, W], normalised, to logits (superclass [B, S], subclass [B, C]). With `superclasses` None there is
    no superclass head, and only the subclass logits are returned.
    """

    def __init__(self, backbone: nn.Module, *, superclasses: int | None, subclasses: int) -> None:
        super().__init__()
        # Some families (ConvNeXt with a hidden head layer) give features of another width than their last stage has.
        width: int = getattr(backbone, "head_hidden_size", None) or backbone.num_features  # type: ignore[assignment]
        self.backbone = backbone
        self.superclass_head = nn.Linear(width, superclasses) if superclasses else None
        self.subclass_head = nn.Linear(width, subclasses)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of both heads; see the class."""
        features = self.backbone(images)
        if self.superclass_head is None:
            return (self.subclass_head(features),)
        return self.superclass_head(features), self.subclass_head(features)

    def set_heads(
        self,
        superclass_weight: NDArray[np.float32],
        superclass_bias: NDArray[np.float32],
        subclass_weight: NDArray[np.float32],
        subclass_bias: NDArray[np.float32],
    ) -> None:
        """Put fitted linear heads in place: weights [K, D] and biases [K]."""
        if self.superclass_head is None:
            raise ModelError("this network has no superclass head")
        with torch.no_grad():
            self.superclass_head.weight.copy_(torch.from_numpy(superclass_weight))
            self.superclass_head.bias.copy_(torch.from_numpy(superclass_bias))
            self.subclass_head.weight.copy_(torch.from_numpy(subclass_weight))
            self.subclass_head.bias.copy_(torch.from_numpy(subclass_bias))


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
        """The network's outputs for uint8 images [B, H, W, 3]."""
        return self.network(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """Floats [B, 3, H, W] of uint8 images [B, H, W, 3]; the permuted view is channels_last as it is."""
        return (images.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


def build(header: ModelHeader, tensors: Mapping[str, NDArray[np.float32]]) -> DualHead:
    """The network of a model file, in evaluation mode and channels_last.

    Raises:
        ModelError: timm has no such backbone, or the tensors do not fit it and the header's taxonomy.
    """
    taxonomy = header.taxonomy
    try:
        # The header may come from a stranger, and timm would fetch a name like "hf-hub:..." from the network.
        name = resolve_backbone(header.backbone)
    except UsageError as error:
        raise ModelError(f"the model's backbone cannot be built: {error}") from error
    network = DualHead(
        create_backbone(name),
        superclasses=len(taxonomy.superclasses) if header.superclass_head else None,
        subclasses=len(taxonomy.subclasses),
    )
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    except RuntimeError as error:
        raise ModelError(f"the model's tensors do not fit its backbone {header.backbone}: {error}") from error
    network.eval()
    return network.to(memory_format=torch.channels_last)


def to_numpy(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """All of a network's tensors as contiguous numpy arrays on the CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
