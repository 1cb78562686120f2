"""Where a training run writes its model, and the state from which an unfinished run goes on."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag import settings
from phototag.errors import DataError, ModelError, UsageError
from phototag.files import NO_LOCKS
from phototag.model import SUFFIX, Model, model_path, read_json_header, read_tensors, state_path, write_tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from phototag.training.finetune import Trainer

log = logging.getLogger(__name__)

# File systems take names of 255 bytes; a letter takes up to 4.
_LONGEST_STEM = 40
# Of the default backbone; with less the disk is as good as full.
LEAST_ROOM_BYTES = 16 << 20


def choose_output(
    output: str | Path | None, data: Path, backbone: str, *, resume: bool, overwrite: bool, held: ExitStack
) -> Path:
    """Return the file to write; no other training takes that name until `held` is closed.

    Raises:
        UsageError: it exists, or an interrupted run lies beside it, and neither `resume` nor `overwrite` was said; or
            another training writes it.
        ModelError: nothing can be written there.
    """
    if output is None:
        source = data.absolute()
        stem = source.parent.name if source.suffix.lower() == ".csv" else source.name
        clean = "".join(mark if mark.isalnum() or mark in "-_" else "_" for mark in stem).strip("_-") or "model"
        name = f"{clean[:_LONGEST_STEM]}-{backbone.split('.')[0]}"
        if not overwrite or resume:
            return _free_name(name, resume=resume, held=held)
        output = name
    path = _named(output, held)
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


def extended_output(output: str | Path | None, parent: Model, *, overwrite: bool, held: ExitStack) -> Path:
    """Return the file that a model extended from `parent` goes to; nothing else takes it until `held` is closed.

    Raises:
        UsageError: it exists and `overwrite` was not said, another training writes it, or it is the parent's own.
        ModelError: nothing can be written there.
    """
    if output is None:
        return _free_name(f"{parent.name[:_LONGEST_STEM]}-extended", resume=False, held=held)
    if parent.path is not None and model_path(output) == parent.path:
        raise UsageError(f"{parent.path}: the model that is to be extended; choose another --output")
    path = _named(output, held)
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; use --overwrite, or another --output")
    return path


def check_room(path: Path, need_bytes: int) -> None:
    """Find out before the training, not after it, that there is no room for what it writes.

    Raises:
        ModelError: there is none.
    """
    with suppress(OSError):
        usage = shutil.disk_usage(path.parent)
        if usage.total and usage.free < need_bytes:
            raise ModelError(
                f"{path.parent}: {usage.free / 1e6:,.0f} MB are free, and the training takes about "
                f"{need_bytes / 1e6:,.0f} there; make room, or name another folder with --output"
            )


def write_model(path: Path, tensors: Mapping[str, NDArray[np.generic]], header: Mapping[str, Any]) -> tuple[Path, str]:
    """Write a trained model, and return where it lies and what was wrong with `path`, which is empty if nothing was.

    What took hours is not lost with the last of the room: where `path` cannot be written any more, it is kept in a
    folder for temporary files, or else in the working or home folder.

    Raises:
        ModelError: it cannot be written anywhere.
    """
    try:
        write_tensors(path, tensors, header)
        return path, ""
    except ModelError as error:
        for place in (tempfile.gettempdir, Path.cwd, Path.home):
            with suppress(ModelError, OSError, RuntimeError):
                kept = Path(tempfile.mkdtemp(prefix="phototag-model-", dir=place())) / path.name
                try:
                    write_tensors(kept, tensors, header)
                except ModelError:
                    kept.parent.rmdir()
                    raise
                return kept, f"{error}; it lies in {kept.parent} for now: make room, and move it where it is to stay"
        raise


def _named(output: str | Path, held: ExitStack) -> Path:
    """Return the file that was asked for, reserved."""
    path = model_path(output)
    _make_folder(path.parent)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model file ends in {SUFFIX}")
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name a file")
    if not _reserve(path, held):
        raise UsageError(f"{path}: another training writes this model now; wait for it, or choose another --output")
    return path


def _make_folder(folder: Path) -> None:
    """Find out before the training, not after it, that a model cannot be written."""
    try:
        if folder == settings.models_folder():
            settings.make_own_folder(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(f"{folder}: no permission to write there")


def _reserve(path: Path, held: ExitStack) -> bool:
    """Keep a name for this process until `held` is closed; False if another one has it."""
    from filelock import FileLock, Timeout

    # The longest name that a training gives to a file beside the model: a model's name that is too long shows here.
    file = state_path(path).with_suffix(f"{SUFFIX}.lock")
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except NotImplementedError:
        return True
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error

    def release() -> None:
        with suppress(OSError):
            file.unlink()
        lock.release()

    held.callback(release)
    return True


def _free_name(stem: str, *, resume: bool, held: ExitStack) -> Path:
    """Return the first name that is free, reserved; to resume, the one with an interrupted run."""
    folder = settings.models_folder()
    _make_folder(folder)
    names = [stem, *(f"{stem}-{number}" for number in range(2, 10_000))]
    if resume:
        for path in (folder / f"{name}{SUFFIX}" for name in names):
            if state_path(path).exists() and _reserve(path, held):
                return path
            if not path.exists() and not state_path(path).exists():
                break
    for path in (folder / f"{name}{SUFFIX}" for name in names):
        # Looked at again once it is reserved: another training may have finished in between.
        if _is_free(path) and _reserve(path, held) and _is_free(path):
            return path
    raise UsageError(f"{folder}: thousands of models named {stem}; use --output")


def _is_free(path: Path) -> bool:
    return not path.exists() and not state_path(path).exists()


def save_state(trainer: Trainer, path: Path, fingerprint: str) -> None:
    """Save a run so that it can go on, or say that this is not possible; `fingerprint` says what it was a run of."""
    tensors, values = trainer.state()
    arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
    try:
        write_tensors(path, arrays, {"run": fingerprint, **values})
    except ModelError as error:
        log.warning("%s; the training goes on, but once interrupted, --resume begins with what was saved before", error)


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
