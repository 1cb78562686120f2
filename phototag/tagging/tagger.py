"""The batch tagger: a model ready to tag photos, and to keep a database of them up to date."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from phototag.choices import DecodeOn, Device, Precision, RuntimeName
from phototag.errors import DecodeError, ModelError, PhotoTagError, StoreError, UsageError
from phototag.imaging import MAX_MEGAPIXELS, Decode, Decoder, read_bytes
from phototag.library import Exclusion, ScanProblems, resolve_roots, scan
from phototag.model import Model, ModelHeader, file_hash, open_model
from phototag.paths import PhotoPath
from phototag.records import Failure, Photo, Tag
from phototag.runtime import (
    LEAST_PHOTOS,
    SAMPLE_PHOTOS,
    DoubtingRuntime,
    PrecisionChooser,
    Runtime,
    bounded_map,
    choose_target,
    decode_threads,
)
from phototag.store import Store, StoredTag
from phototag.tagging.descriptions import Describe, describe_alone
from phototag.tagging.executor import Executor, SavingExecutor
from phototag.tagging.pipeline import Batch, Lookup, process
from phototag.tagging.registration import begin_run, register
from phototag.tagging.scope import Roots
from phototag.tagging.sync import Pass, never
from phototag.tagging.tag_report import TagReport
from phototag.tagging.writer import Sink


class Tagger:
    """A model ready to tag photos. Close it, or use it in a `with`: it may have processes that decode for it.

    Args:
        model: A model, its name or its file; None is the active one, and before any training the built-in one.
        device: `auto`, `cpu`, `cuda` or `mps`.
        runtime: `auto`, `torch` or `openvino`.
        precision: `auto`, `f32`, `f16`, `bf16` or `int8`. Photos that a faster one leaves in doubt are computed in
            `f32` too; `auto` takes what gains most.
        batch_size: Photos in a batch; None suits the device.
        workers: Threads that decode; None is one a core.
        jobs: Cores to use at most; None is all there are.
        compiled: Use torch.compile on a GPU.
        max_megapixels: Larger pictures are refused.
        decode_on: GPU lets a CUDA device decode the JPEG files that it can.

    Raises:
        ModelError: there is no such model, or its file is damaged.
        UsageError: runtime, device and precision do not fit each other.
        RuntimeUnavailableError: the device or runtime is not here.

    >>> with phototag.Tagger("animals") as tagger, phototag.Store.open("photos.db") as store:
    ...     for path, tag in tagger.predict("inbox/photo0.jpg"):
    ...         print(path.name, tag.superclass in (None, "bird", "dog", "reptile"))
    ...     report = tagger.tag(["inbox"], store)
    photo0.jpg True
    >>> report.tagged, report.failed
    (3, 1)
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        *,
        device: Device | str = Device.AUTO,
        runtime: RuntimeName | str = RuntimeName.AUTO,
        precision: Precision | str = Precision.AUTO,
        batch_size: int | None = None,
        workers: int | None = None,
        jobs: int | None = None,
        compiled: bool = False,
        max_megapixels: int = MAX_MEGAPIXELS,
        decode_on: DecodeOn = DecodeOn.CPU,
    ) -> None:
        self.model = model if isinstance(model, Model) else open_model(model)
        self.target = choose_target(Device(device), RuntimeName(runtime))
        self.workers = workers or (decode_threads(None) if jobs is None else min(jobs, decode_threads(None)))
        self._precision = PrecisionChooser(
            self.model,
            self.target,
            Precision(precision),
            batch_size=batch_size,
            threads=jobs,
            compiled=compiled,
        )
        self._runtime: Runtime | None = None
        self._looked_for_faster = False
        self._decoder = Decoder(self.header.preprocessing, max_megapixels=max_megapixels)
        self.decode: Decode = self._decoder
        if decode_on is DecodeOn.GPU:
            self.decode = self._decoding_on_gpu(max_megapixels)

    def close(self) -> None:
        """End the processes that decode. The tagger cannot be used again."""
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decoding_on_gpu(self, max_megapixels: int) -> Decode:
        if self.target.device is not Device.CUDA:
            raise UsageError(f"--decode-on gpu needs a CUDA device, and the network runs on {self.target.device}")
        from phototag.runtime import GpuJpegDecoder

        return GpuJpegDecoder(self.header.preprocessing, self._decoder, max_pixels=max_megapixels * 1_000_000)

    @property
    def header(self) -> ModelHeader:
        """Of the model."""
        return self.model.header

    @property
    def runtime(self) -> Runtime:
        """The network, loaded when it is first needed: a run that finds nothing new never loads it."""
        if self._runtime is None:
            self._refuse_if_changed()
            self._runtime = self._precision.open()
        return self._runtime

    def _refuse_if_changed(self) -> None:
        """Raise once the model's file was replaced: a watcher may load it weeks after it started."""
        if self.model.path is not None and file_hash(self.model.path) != self.model.hash:
            raise ModelError(f"{self.model.path}: this model was replaced since it was opened; start again")

    def prepare(self, photos: Iterator[Photo]) -> tuple[Runtime, Iterator[Photo]]:
        """Return the network, loaded, and all of `photos`, of which the first may have been looked at.

        Where something is faster than F32 it takes a second network, which is loaded once many photos come; int8 may
        have to be calibrated on the first ones.
        """
        if not self._looked_for_faster and (self._precision.has_faster or self._precision.needs_sample):
            first = list(islice(photos, SAMPLE_PHOTOS))
            many = len(first) == SAMPLE_PHOTOS
            if many or self._runtime is None:
                self._refuse_if_changed()
                sample = self._pixels(first) if self._precision.needs_sample and len(first) >= LEAST_PHOTOS else ()
                self._runtime = self._precision.open(list(sample), many=many)
                self._looked_for_faster = many or isinstance(self._runtime, DoubtingRuntime)
            photos = chain(first, photos)
        return self.runtime, photos

    def _pixels(self, photos: Sequence[Photo]) -> Iterator[NDArray[np.uint8]]:
        """Yield the readable ones of some photos, decoded to [H, W, 3]."""

        def read(photo: Photo) -> NDArray[np.uint8] | None:
            try:
                return self.decode(read_bytes(photo.path), photo.path)[0]
            except DecodeError:
                return None  # the run itself says why

        with ThreadPoolExecutor(self.workers) as pool:
            for pixels in bounded_map(pool, read, photos, limit=len(photos) + 1):
                if pixels is not None:
                    yield pixels

    def process(
        self, photos: Iterator[Photo], *, known: Lookup | None = None, describe: Describe = describe_alone
    ) -> Generator[Batch]:
        """Return what comes of photos, in their order, batch by batch; returns once the network is loaded.

        Args:
            photos: What to process.
            known: See `phototag.tagging.pipeline.process`; so is `describe`.
        """
        runtime, photos = self.prepare(photos)
        return process(photos, runtime, self.decode, workers=self.workers, known=known, describe=describe)

    def predict(self, *paths: str | PhotoPath) -> Iterator[tuple[PhotoPath, Tag | Failure]]:
        """Tag photos without a database: each picture at or under `paths`, with its tag or why it has none.

        Raises:
            UsageError: a path does not exist, or is no picture.
        """
        photos = (found.photo() for found in scan(resolve_roots(paths), ScanProblems()))
        with closing(self.process(photos)) as batches:
            for batch in batches:
                for item in batch.items:
                    yield item.photo.path, item.tag if isinstance(item, StoredTag) else item

    def tag(
        self,
        paths: Sequence[str | PhotoPath],
        store: Store,
        *,
        force: bool = False,
        dry_run: bool = False,
        exclude: Sequence[str] = (),
        stop: Callable[[], bool] = never,
        sinks: Sequence[Sink] = (),
        executor: Executor | SavingExecutor | None = None,
    ) -> TagReport:
        """Tag every picture at or under `paths` and save the tags, one transaction a batch.

        What is unchanged and tagged by this model is skipped; what was scored by it before, under whatever name, is
        decided again without running the network. A human's tag is never replaced. Ctrl-C ends the run; what was
        saved stays, and the next run goes on from there.

        Args:
            paths: Folders, searched with all below them, files, and addresses of objects, as in "s3://bucket/prefix".
            store: Where the tags go.
            force: Run the network on every photo.
            dry_run: Write nothing.
            exclude: Patterns of files and folders to leave out; see `Exclusion`.
            stop: Asked before every photo; once it says yes, what is under way is finished and saved.
            sinks: What follows saved batches: each is called with every batch after it was saved.
            executor: What computes the batches, as other machines do, or has others save them; None is this tagger.

        Raises:
            UsageError: a path does not exist, or is no picture.
            LockedError: another process is writing to this database.
            StoreError: the database cannot be written.
        """
        scope = Roots(resolve_roots(paths), Exclusion(exclude))

        def whole(model_id: int | None, scored_by: int | None = None) -> TagReport:
            return Pass(
                self,
                store,
                model_id,
                scored_by=scored_by,
                force=force,
                writes=not dry_run,
                progress="tagging",
                stop=stop,
                sinks=sinks,
                executor=executor,
            ).over(scope)

        if dry_run:
            same_file = store.models.find(hash=self.model.hash)
            return whole(same_file, store.models.find(hash=self.model.hash, weights_hash=self.model.weights_hash))
        with store.tagging("phototag tag"), store.writing("phototag tag"):
            model_id = register(store, self.model)
            run_id = begin_run(store, "tag", model_id, (executor or self).target)
            try:
                report = whole(model_id)
            except PhotoTagError as error:
                with suppress(StoreError):  # which may be what ended it; the run after it notes it then
                    store.runs.finish(run_id, {}, str(error))
                raise
            store.runs.finish(run_id, report.counts(), "interrupted" if report.interrupted else None)
            return report
