"""Batch norm computed with the convolution before it: nothing that anybody sees changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from phototag.model.backbones import create_backbone
from phototag.training.finetune.folding import folded, norms_after_convolutions


def outputs_and_gradients(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    features = network(images)
    features.square().sum().backward()
    gradients = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    return {"": features.detach(), **gradients}


@pytest.mark.parametrize(("name", "norms"), [("test_efficientnet", 13), ("test_resnet", 15), ("test_vit", 0)])
def test_outputs_gradients_and_names_stay(name: str, norms: int) -> None:
    torch.manual_seed(0)
    network = create_backbone(name).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    size = 160 if name == "test_vit" else 64
    images = torch.randn(2, 3, size, size)
    plain, parameters = outputs_and_gradients(network, images), list(network.state_dict())
    pairs = norms_after_convolutions(network, size)
    assert len(pairs) == norms
    with folded(pairs):
        assert list(network.state_dict()) == parameters
        joined = outputs_and_gradients(network, images)
    assert joined.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(joined[key], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()))
    again = outputs_and_gradients(network, images)
    assert all(torch.equal(again[key], value) for key, value in plain.items())


def test_what_follows_no_convolution_or_is_called_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.alone = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.norm(self.conv(self.alone(images)))))

    assert norms_after_convolutions(Twice(), 8) == []
