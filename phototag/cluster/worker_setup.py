"""What a worker needs to be the tagger that the driver would be: the model, and one precision for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from phototag import settings
from phototag._version import __version__
from phototag.choices import DecodeOn, Device, Precision, RuntimeName
from phototag.errors import ModelError, RuntimeUnavailableError, UsageError
from phototag.files import atomic_write, keep_newest
from phototag.imaging import MAX_MEGAPIXELS
from phototag.model import SUFFIX, Model, file_hash, open_model
from phototag.runtime import Target
from phototag.tagging import Tagger

_MODELS_KEPT = 8


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """How every worker of a run computes.

    Args:
        model: The model. Its path is where workers look first.
        device: See `Tagger`; so are the others. Resolved by each worker.
        precision: For all of them. With AUTO the tags are those of F32 on each machine, whether it has a faster one.
        jobs: Cores that are used at most on each machine; None is all.
    """

    model: Model
    device: Device = Device.AUTO
    runtime: RuntimeName = RuntimeName.AUTO
    precision: Precision = Precision.AUTO
    batch_size: int | None = None
    workers: int | None = None
    jobs: int | None = None
    compiled: bool = False
    max_megapixels: int = MAX_MEGAPIXELS
    decode_on: DecodeOn = DecodeOn.CPU
    version: str = __version__

    @property
    def target(self) -> Target:
        """What was asked for, as the record of a run has it."""
        return Target(self.device, self.runtime)

    def fixed(self) -> WorkerSetup:
        """Return it with the model's hashes worked out, which name it on other machines.

        Raises:
            UsageError: the network depends on the machine.
            ModelError: the model's file cannot be read.
        """
        if self.precision is Precision.INT8:
            raise UsageError(
                "int8 is calibrated again on each machine, so the workers of a cluster would not agree; "
                "use --runtime-precision auto, f32, bf16 or f16"
            )
        # Both are kept in the object, and go along with it.
        _ = self.model.hash, self.model.weights_hash
        return self

    def tagger(self, *, cores: int | None, fetch: Callable[[], bytes] | None = None) -> Tagger:
        """Return the tagger, in a worker.

        Args:
            cores: That this worker may use; None is all.
            fetch: Gives the bytes of the model's file, where it is not here.

        Raises:
            ModelError: the model is not here, or another one lies in its place.
            RuntimeUnavailableError: this worker has another version of phototag, or not that device or runtime.
        """
        if self.version != __version__:
            raise RuntimeUnavailableError(
                f"a worker has phototag {__version__}, the run was started with {self.version}; "
                "install the same version on all machines"
            )
        return Tagger(
            model_here(self.model.name, self.model.path, self.model.hash, fetch),
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            batch_size=self.batch_size,
            workers=self.workers,
            jobs=cores,
            compiled=self.compiled,
            max_megapixels=self.max_megapixels,
            decode_on=self.decode_on,
        )


def model_here(name: str, path: Path | None, wanted: str, fetch: Callable[[], bytes] | None = None) -> Model:
    """Return a model as this machine has it: at the same path, by its name, or in the cache by its hash.

    Args:
        name: Of the model.
        path: Of its file on another machine; None is the built-in model.
        wanted: SHA-256 of the file, in hex.
        fetch: Gives the bytes of the file; they are kept in the cache.

    Raises:
        ModelError: it is not here, or what was fetched is another one.
    """
    if path is None:
        built_in = open_model(name)
        if built_in.hash != wanted:
            raise ModelError("a worker has another built-in model; install the same packages on all machines")
        return built_in
    kept = settings.cache_folder() / "models" / f"{wanted}{SUFFIX}"
    for file in (path, settings.models_folder() / path.name, kept):
        if file.is_file() and file_hash(file) == wanted:
            return replace(open_model(file), name=name)
    if fetch is None:
        raise ModelError(
            f"{path}: not on this machine, or another model lies there; copy the file there, "
            f"or into {settings.models_folder()}"
        )
    settings.make_own_folder(kept.parent)
    atomic_write(kept, fetch())
    if file_hash(kept) != wanted:
        kept.unlink()
        raise ModelError(f"{path}: the file was replaced since the run began; start it again")
    keep_newest(kept.parent, f"*{SUFFIX}", count=_MODELS_KEPT)
    return replace(open_model(kept), name=name)
