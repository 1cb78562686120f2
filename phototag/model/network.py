"""The network: a timm backbone with two linear heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from phototag.decision import NOVELTY, Space
from phototag.errors import ModelError, UsageError
from phototag.imaging import Preprocessing
from phototag.model.backbones import create_backbone, misfit, resolve_backbone
from phototag.model.file import ModelHeader
from phototag.text import first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phototag.model.linear import Embedding, Kinship, LinearHead


# What a network has besides its tensors, and what is needed to fill them for a start.
_SLACK_NUMBERS = 16 << 20
# Of the last stages; earlier ones see edges and colours more than shapes.
_POOLED_STAGES = 3
_KINSHIP = "kinship.weight"


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


class KinshipLayer(nn.Module):
    """`phototag.model.Kinship` in a network: features [B, D] to kinship [B, 1]. The weights are in half precision."""

    weight: Tensor
    bias: Tensor
    relations: Tensor

    def __init__(self, classes: int, width: int, superclasses: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, width, dtype=torch.float16))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("relations", torch.zeros(classes, superclasses))

    @classmethod
    def of(cls, kinship: Kinship) -> KinshipLayer:
        """Return the layer that does what `kinship` does."""
        classes, width = kinship.weight.shape
        layer = cls(classes, width, kinship.relations.shape[1])
        for name, buffer in layer.named_buffers():
            most = torch.finfo(buffer.dtype).max
            buffer.copy_(torch.from_numpy(getattr(kinship, name)).clamp(-most, most))
        return layer

    def numbers(self) -> Kinship:
        """Invert `of`."""
        from phototag.model.linear import Kinship

        return Kinship(*(each.detach().cpu().float().numpy().copy() for each in self.buffers()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the kinship [B, 1] of features [B, D]."""
        first, kind = features[:, : self.weight.shape[1]], features.dtype
        logits = nn.functional.linear(first, self.weight.to(kind), self.bias.to(kind))
        return (logits.softmax(dim=1) @ self.relations.to(kind)).amax(dim=1, keepdim=True)


class DualHead(nn.Module):
    """A backbone without its classifier, and one linear head each for superclasses and subclasses.

    Images [B, 3, H, W], normalised, to logits (superclass [B, S], subclass [B, C]), with the embedding as a third where
    there is one: [B, E], or [B, E + 1] with kinship. With `superclasses` None there is no superclass head and no
    embedding, and only the subclass logits are returned.
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
        self.kinship: KinshipLayer | None = None

    def features(self, images: Tensor) -> Tensor:
        """Return features [B, D] of normalised images, which both heads and the embedding start from."""
        return PooledFeatures(self.backbone, self.stages)(images)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits of both heads, and the embedding; see the class."""
        features = self.features(images)
        if self.superclass_head is None:
            return (self.subclass_head(features),)
        logits = (self.superclass_head(features), self.subclass_head(features))
        if self.embedding is None:
            return logits
        embedding = self.embedding(features)
        return (*logits, embedding if self.kinship is None else torch.cat([embedding, self.kinship(features)], dim=1))

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
        self.kinship = None if embedding.kinship is None else KinshipLayer.of(embedding.kinship)

    def fitted_embedding(self, space: Space) -> Embedding:
        """Return the embedding as it is; `space` is where the classes lie in it."""
        from phototag.model.linear import Embedding

        if self.embedding is None:
            raise ModelError("this network has no embedding")
        weight, bias = (value.detach().cpu().numpy().copy() for value in (self.embedding.weight, self.embedding.bias))
        return Embedding(weight, bias, space, None if self.kinship is None else self.kinship.numbers())

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


class _Allowance(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses to make more numbers than so many, before they are all in memory."""

    def __init__(self, numbers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        # What is made of other tensors is gone again soon.
        if isinstance(made, Tensor) and not any(isinstance(each, Tensor) for each in args):
            self._left -= made.numel()
            if self._left < 0:
                raise ModelError("the model's tensors do not fit its backbone: the file is too small for it")
        return made


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
    taken = {name: value for name, value in tensors.items() if not name.startswith(NOVELTY)}
    # A small file may name the largest backbone of all.
    with _Allowance(_SLACK_NUMBERS + 2 * sum(value.size for value in taken.values())):
        backbone = create_backbone(name)
        if header.stages and (
            max(header.stages) >= len(_stage_widths(backbone)) or not hasattr(backbone, "forward_intermediates")
        ):
            raise ModelError(
                f"the model's stages {list(header.stages)} are not those of its backbone {header.backbone}"
            )
        network = DualHead(
            backbone,
            superclasses=len(taxonomy.superclasses) if header.superclass_head else None,
            subclasses=len(taxonomy.subclasses),
            stages=header.stages,
            embedding=header.embedding,
        )
        shape = taken[_KINSHIP].shape if _KINSHIP in taken else ()
        # Whatever is not of that shape does not belong.
        if network.embedding is not None and len(shape) == 2 and shape[1] <= network.subclass_head.in_features:
            network.kinship = KinshipLayer(*shape, len(taxonomy.superclasses))
    problem = misfit(network.state_dict(), taken)
    if problem is not None:
        raise ModelError(f"the model's tensors do not fit its backbone {header.backbone}: {problem}")
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in taken.items()})
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"the model's tensors do not fit its backbone {header.backbone}: {first_line(error)}"
        ) from error
    network.eval()
    return network.to(memory_format=torch.channels_last)


def to_numpy(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return all of a network's tensors as contiguous numpy arrays on the CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
