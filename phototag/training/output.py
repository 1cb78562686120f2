"""Where a training run writes its model, and the state from which an unfinished run goes on."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag import settings
from phototag.errors import DataError, ModelError, UsageError
from phototag.model import SUFFIX, Model, model_path, read_json_header, read_tensors, state_path, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from phototag.training.finetune import Trainer

log = logging.getLogger(__name__)

# File systems take names of 255 bytes; a letter takes up to 4.
_LONGEST_STEM = 40


def choose_output(output: str | Path | None, data: Path, backbone: str, *, resume: bool, overwrite: bool) -> Path:
    """Return the file to write.

    Raises:
        UsageError: it exists, or an interrupted run lies beside it, and neither `resume` nor `overwrite` was said.
    """
    if output is None:
        source = data.absolute()
        stem = source.parent.name if source.suffix.lower() == ".csv" else source.name
        clean = "".join(mark if mark.isalnum() or mark in "-_" else "_" for mark in stem).strip("_-") or "model"
        _check_folder(settings.models_folder())
        name = f"{clean[:_LONGEST_STEM]}-{backbone.split('.')[0]}"
        if not overwrite or resume:
            return _free_name(name, resume=resume)
        path = settings.models_folder() / f"{name}{SUFFIX}"
        state_path(path).unlink(missing_ok=True)
        return path
    path = model_path(output)
    _check_folder(path.parent)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name a file")
    state = state_path(path)
    if overwrite and not resume:
        state.unlink(missing_ok=True)
    elif not resume:
        if state.exists():
            raise UsageError(f"{path}: an interrupted run lies beside it; --resume goes on, --overwrite starts again")
        if path.exists():
            raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    elif path.exists() and not state.exists() and not overwrite:
        raise UsageError(f"{path}: complete already; nothing to resume")
    return path


def extended_output(output: str | Path | None, parent: Model, *, overwrite: bool) -> Path:
    """Return the file that a model extended from `parent` goes to.

    Raises:
        UsageError: it exists and `overwrite` was not said, or it is the parent's own.
    """
    if output is None:
        _check_folder(settings.models_folder())
        return _free_name(f"{parent.name[:_LONGEST_STEM]}-extended", resume=False)
    path = model_path(output)
    _check_folder(path.parent)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path == parent.path:
        raise UsageError(f"{path}: the model that is to be extended; choose another --output")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    return path


def _check_folder(folder: Path) -> None:
    """Find out before the training, not after it, that a model cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(f"{folder}: no permission to write there")


def _free_name(stem: str, *, resume: bool) -> Path:
    """Return the first name that is free; to resume, the one with an interrupted run."""
    folder = settings.models_folder()
    candidates = [folder / f"{stem}{SUFFIX}", *(folder / f"{stem}-{number}{SUFFIX}" for number in range(2, 10_000))]
    if resume:
        for path in candidates:
            if state_path(path).exists():
                return path
            if not path.exists():
                break
    for path in candidates:
        if not path.exists() and not state_path(path).exists():
            return path
    raise UsageError(f"{folder}: thousands of models named {stem}; use --output")


def save_state(trainer: Trainer, path: Path, fingerprint: str) -> None:
    """Save a run so that it can go on; `fingerprint` says what it was a run of."""
    tensors, values = trainer.state()
    arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
    write_tensors(path, arrays, {"run": fingerprint, **values})


def read_state(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of a saved run, as `Trainer.restore` takes it.

    Raises:
        ModelError: the file is damaged.
        DataError: it is a run of something else.
    """
    import torch

    try:
        values = read_json_header(path)
        arrays = read_tensors(path)
    except ModelError as error:
        raise ModelError(f"{error}; --overwrite starts again") from error
    if not isinstance(values, dict) or values.get("run") != fingerprint:
        raise DataError(
            f"{path}: an interrupted run with other data or options; use the same ones, or start again with --overwrite"
        )
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, values
