"""Models by name: the built-in one, those in the models folder, and any file; and which one is active."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from phototag import settings
from phototag.decision import NOVELTY, NoveltyModel
from phototag.errors import ModelError, UsageError
from phototag.files import atomic_write, check_writable, read_regular
from phototag.model import builtin
from phototag.model.file import SUFFIX, ModelHeader, file_hash, read_header, read_tensors, weights_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_REFERENCE = 1 << 16


@dataclass(frozen=True)
class Model:
    """A model that can be used: its name, its file (None for the built-in one) and its header."""

    name: str
    path: Path | None
    header: ModelHeader

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model file, in hex; it names the model in databases."""
        return builtin.builtin_hash() if self.path is None else file_hash(self.path)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of all that its scores depend on, in hex: unlike `hash` it stays when only thresholds change."""
        return builtin.builtin_hash() if self.path is None else weights_hash(self.path, self.header)

    @cached_property
    def novelty(self) -> NoveltyModel | None:
        """How it tells novel photos; None where it does not. ModelError if the file is damaged."""
        if self.path is None or self.header.novelty is None:
            return None
        found = NoveltyModel.from_json(self.header.novelty, read_tensors(self.path, under=NOVELTY))
        if found.space.means.shape != (len(self.header.taxonomy.subclasses), self.header.embedding):
            raise ModelError(f"{self.path}: the model's novelty scores are damaged: not of its classes and embedding")
        return found

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the network's tensors; ModelError if the file is damaged."""
        return builtin.builtin_tensors() if self.path is None else read_tensors(self.path)


def model_path(reference: str | Path) -> Path:
    """Return the file that a name or path refers to, whether it exists or not.

    A plain name means a file in the models folder; anything with a folder or the suffix .safetensors is a path.

    Raises:
        UsageError: the name cannot be a file name, or is the built-in model's.
    """
    text = os.fspath(reference)
    if isinstance(reference, Path) or os.sep in text or (os.altsep and os.altsep in text) or text.endswith(SUFFIX):
        return settings.full_path(text)
    if text == builtin.NAME:
        raise UsageError(f"{builtin.NAME!r} is the built-in model; choose another name")
    path = settings.models_folder() / f"{text}{SUFFIX}"
    # A file that someone put there has whatever name it has.
    if not re.fullmatch(r"[\w][\w .+-]*", text) and not (text.strip(".") and _is_there(path)):
        raise UsageError(f"{text!r} cannot name a model; use letters, digits, '.', '_', '-'")
    return path


def _is_there(path: Path) -> bool:
    """Return whether there is a file or folder of that name.

    Raises:
        ModelError: that cannot be known, as with a name that is too long.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of names that no file can have
        return False
    except OSError as error:
        raise ModelError(f"{path}: cannot be looked at: {error.strerror or error}") from error
    return True


def state_path(path: Path) -> Path:
    """Return where the state of an unfinished run lies: beside its model, hidden."""
    return path.with_name(f".{path.stem}.run{SUFFIX}")


def open_model(reference: str | Path | None = None) -> Model:
    """Return the model of that name or path; with None the active one.

    Raises:
        ModelError: there is no such model, or its file is damaged.
    """
    if reference is None:
        reference = active_reference()
    if reference == builtin.NAME:
        return Model(builtin.NAME, None, builtin.builtin_header())
    path = model_path(reference)
    if not _is_there(path):
        known = ", ".join(model.name for model in list_models()[0])
        raise ModelError(f"{path}: no such model; known: {known} (see: phototag model list)")
    if path.suffix != SUFFIX and path.is_file():
        raise ModelError(f"{path}: not a phototag model; those end in {SUFFIX}")
    return Model(path.stem, path, read_header(path))


def list_models() -> tuple[list[Model], list[str]]:
    """Return all models by name, the built-in one first, and a line for each file that cannot be read."""
    models = [Model(builtin.NAME, None, builtin.builtin_header())]
    broken = []
    for path in sorted(settings.models_folder().glob(f"*{SUFFIX}")):
        if path.name.startswith("."):
            continue
        try:
            models.append(Model(path.stem, path, read_header(path)))
        except ModelError as error:
            broken.append(str(error))
    return models, broken


def _active_file() -> Path:
    return settings.data_folder() / "active-model"


def active_reference() -> str:
    """Return what `open_model` opens by default: a name, a path, or the built-in model's name."""
    try:
        data = read_regular(_active_file(), most_bytes=_LONGEST_REFERENCE)
        # Folders may have names that are not UTF-8.
        text = (os.fsdecode(data) if data.startswith(os.fsencode(os.sep)) else data.decode("utf-8-sig")).strip()
    except FileNotFoundError:
        return builtin.NAME
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{_active_file()}: cannot be read: {error}; run: phototag model use NAME") from error
    return text or builtin.NAME


def _is_named(model: Model) -> bool:
    """Return whether the model's name is enough to find its file again."""
    try:
        return model_path(model.name) == model.path
    except UsageError:
        return False


def set_active(model: Model) -> None:
    """Make a model the default from now on.

    Raises:
        ModelError: the choice cannot be written down.
    """
    text = model.name if model.path is None or _is_named(model) else str(model.path)
    with suppress(OSError):  # told when writing
        settings.make_own_folder(settings.data_folder())
    atomic_write(_active_file(), os.fsencode(f"{text}\n"), error=ModelError, way_out="")


def check_activation() -> None:
    """Find out before a model is trained, not after it, whether it can be made the default.

    Raises:
        ModelError: it cannot.
    """
    try:
        check_writable(_active_file())
    except UsageError as error:
        raise ModelError(str(error)) from error


def remove_model(name: str) -> Path:
    """Delete a model of the models folder; the built-in model becomes active if it was the active one.

    Raises:
        UsageError: the name is the built-in model's, or a path outside the models folder.
        ModelError: there is no such model, or it cannot be deleted.
    """
    path = model_path(name)
    if path.parent != settings.models_folder():
        raise UsageError(f"{path}: not in the models folder; delete the file yourself")
    try:
        path.unlink()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model (see: phototag model list)") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be deleted: {error.strerror or error}") from error
    state_path(path).unlink(missing_ok=True)
    if active_reference() == path.stem:
        set_active(Model(builtin.NAME, None, builtin.builtin_header()))
    return path
