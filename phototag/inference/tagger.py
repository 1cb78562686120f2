"""The batch tagger: scan, compare with the database, process what needs it, save batch by batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from phototag.decision import decide, unpack
from phototag.inference.names import DEFAULT_BATCH_SIZE, Device, RuntimeName
from phototag.inference.pipeline import Batch, process
from phototag.inference.runtime import Runtime, choose_target
from phototag.learning.registry import Model, open_model
from phototag.library.plan import Need, Step, compare
from phototag.library.scan import ScanProblems, count, resolve_roots, scan
from phototag.records import Failure, Photo, Source, Tag
from phototag.store import Store, StoredTag

_CHUNK = 500
_FAILURES_KEPT = 20


@dataclass
class TagReport:
    """What a run did.

    `photos` were found; of them `tagged` got a tag, `inferred` of these through the network and the rest from scores
    stored before; `unchanged` had theirs; `failed` cannot be read, `given_up` of these without another try. `missing`
    were known and are marked as gone. `load_seconds` of all `seconds` went into loading the model. `failures` holds the
    first ones, `problems` the folders that could not be read.
    """

    photos: int = 0
    tagged: int = 0
    inferred: int = 0
    unchanged: int = 0
    failed: int = 0
    given_up: int = 0
    missing: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    interrupted: bool = False
    failures: list[Failure] = field(default_factory=list)
    failure_kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every photo has its tag."""
        return not (self.failed or self.problems or self.interrupted)

    def counts(self) -> dict[str, int]:
        """The numbers, for the record of the run."""
        names = ("photos", "tagged", "inferred", "unchanged", "failed", "given_up", "missing")
        return {name: getattr(self, name) for name in names}

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        failures = batch.failures
        self.photos += len(batch.items)
        self.tagged += len(batch.items) - len(failures)
        self.inferred += batch.inferred
        self.failed += len(failures)
        self.failure_kinds.update(str(failure.kind) for failure in failures)
        self.failures += failures[: _FAILURES_KEPT - len(self.failures)]


class Tagger:
    """A model ready to tag photos.

    Args:
        model: A model, its name or its file; None is the active one, and before any training the built-in one.
        device: `auto`, `cpu`, `cuda` or `mps`.
        runtime: `auto`, `torch` or `openvino`.
        batch_size: Photos in a batch.
        workers: Threads that decode; None is one a core.

    Raises:
        ModelError: there is no such model, or its file is damaged.
        RuntimeUnavailableError: the device or runtime is not here.
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        *,
        device: Device | str = Device.AUTO,
        runtime: RuntimeName | str = RuntimeName.AUTO,
        batch_size: int = DEFAULT_BATCH_SIZE,
        workers: int | None = None,
    ) -> None:
        self.model = model if isinstance(model, Model) else open_model(model)
        self._target = choose_target(Device(device), RuntimeName(runtime))
        self._batch_size = batch_size
        self._workers = workers
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """The network, loaded when it is first needed: a run that finds nothing new never loads it."""
        if self._runtime is None:
            self._runtime = Runtime(self.model, target=self._target, batch_size=self._batch_size)
        return self._runtime

    def predict(self, *paths: str | Path) -> Iterator[tuple[Path, Tag | Failure]]:
        """Tag photos without a database: each picture at or under `paths`, with its tag or why it has none.

        Raises:
            UsageError: a path does not exist, or is no picture.
        """
        photos = scan(resolve_roots(paths), ScanProblems())
        for batch in process(photos, self.runtime, workers=self._workers):
            for item in batch.items:
                yield item.photo.path, item.tag if isinstance(item, StoredTag) else item

    def tag(
        self,
        paths: Sequence[str | Path],
        store: Store,
        *,
        force: bool = False,
        dry_run: bool = False,
        on_batch: Callable[[Batch], None] | None = None,
    ) -> TagReport:
        """Tag every picture at or under `paths` and save the tags, one transaction a batch.

        What is unchanged and tagged by this model is skipped; what was scored by it before, under whatever name, is
        decided again without running the network. A human's tag is never replaced. Ctrl-C ends the run; what was
        saved stays, and the next run goes on from there.

        Args:
            paths: Folders, searched with all below them, and files.
            store: Where the tags go.
            force: Run the network on every photo.
            dry_run: Write nothing.
            on_batch: Called with every batch after it was saved.

        Raises:
            UsageError: a path does not exist, or is no picture.
            LockedError: another process is writing to this database.
            StoreError: the database cannot be written.
        """
        roots = resolve_roots(paths)
        if dry_run:
            known = {model.hash: model.id for model in store.models()}
            return _Run(self, store, known.get(self.model.hash), force=force, writes=False, on_batch=on_batch).go(roots)
        with store.writing("phototag tag"):
            header = self.model.header
            model_id = store.register_model(
                hash=self.model.hash,
                name=self.model.name,
                backbone=header.backbone,
                taxonomy=header.taxonomy,
                metrics=header.metrics,
            )
            return _Run(self, store, model_id, force=force, writes=True, on_batch=on_batch).go(roots)


class _Run:
    """One pass over some roots."""

    def __init__(
        self,
        tagger: Tagger,
        store: Store,
        model_id: int | None,
        *,
        force: bool,
        writes: bool,
        on_batch: Callable[[Batch], None] | None,
    ) -> None:
        self._tagger, self._store, self._model_id = tagger, store, model_id
        self._force, self._writes, self._on_batch = force, writes, on_batch
        self._report = TagReport()
        self._problems = ScanProblems()
        self._seen: list[int] = []
        self._gone: list[tuple[Path, int]] = []
        self._not_empty: set[Path] = set()
        self._bar: tqdm[Any] | None = None

    def go(self, roots: Sequence[Path]) -> TagReport:
        """Do it all; see `Tagger.tag`."""
        report, started = self._report, time.monotonic()
        run_id = None
        if self._writes:
            target = self._tagger._target
            run_id = self._store.begin_run(
                "tag", model_id=self._model_id, device=str(target.device), runtime=str(target.runtime)
            )
        with tqdm(total=count(roots), desc="tagging", unit="photo", disable=None, leave=False) as self._bar:
            try:
                self._pass(roots)
            except KeyboardInterrupt:
                report.interrupted = True
        report.seconds = time.monotonic() - started
        report.problems = self._problems.lines
        if run_id is not None:
            self._store.finish_run(run_id, report.counts(), "interrupted" if report.interrupted else None)
        return report

    def _pass(self, roots: Sequence[Path]) -> None:
        wanted = self._wanted(roots)
        first = next(wanted, None)
        if first is not None:
            started = time.monotonic()
            runtime = self._tagger.runtime
            self._report.load_seconds = time.monotonic() - started
            # One look-up a photo is dear beside the network; a model that is new here has nothing to look up.
            known = self._model_id is not None and not self._force and self._store.has_predictions(self._model_id)
            lookup = self._known_scores if known else None
            for batch in process(chain([first], wanted), runtime, workers=self._tagger._workers, known_scores=lookup):
                if self._writes and self._model_id is not None:
                    self._store.save_batch(model_id=self._model_id, tagged=batch.tagged, failures=batch.failures)
                self._count(batch)
        if self._writes:
            self._flush_seen()
            self._mark_missing(roots)

    def _count(self, batch: Batch) -> None:
        self._report.add(batch)
        if self._bar is not None:
            self._bar.update(len(batch.items))
        if self._on_batch is not None:
            self._on_batch(batch)

    def _known_scores(self, content_hash: bytes) -> bytes | None:
        if self._model_id is None:
            return None
        return self._store.predictions_for(self._model_id, [content_hash]).get(content_hash)

    # -- what needs tagging

    def _wanted(self, roots: Sequence[Path]) -> Iterator[Photo]:
        """The photos that have to be read; the others are dealt with on the way."""
        chunk: list[Step] = []
        steps = compare(
            self._scan(roots),
            self._store.known_photos(roots),
            model_id=self._model_id,
            force=self._force,
        )
        for step in steps:
            if step.need is Need.MISSING and step.known is not None:
                self._gone.append((step.known.path, step.known.id))
            elif step.need is Need.NOTHING:
                self._skip(step)
            elif step.need is Need.GIVEN_UP:
                self._give_up(step)
            elif not self._writes and step.known is not None and step.known.tag_source == Source.HUMAN:
                self._skip(step)  # a dry run shows what would change, and a human's tag would not
            elif step.same_content and not self._force and self._writes:
                chunk.append(step)
                if len(chunk) == _CHUNK:
                    yield from self._without_stored_scores(chunk)
                    chunk = []
            elif step.photo is not None:
                yield step.photo
        yield from self._without_stored_scores(chunk)

    def _scan(self, roots: Sequence[Path]) -> Iterator[Photo]:
        for root in roots:
            for photo in scan([root], self._problems):
                self._not_empty.add(root)
                yield photo

    def _skip(self, step: Step) -> None:
        self._report.photos += 1
        self._report.unchanged += 1
        self._note_seen(step)

    def _give_up(self, step: Step) -> None:
        self._report.photos += 1
        self._report.failed += 1
        self._report.given_up += 1
        self._note_seen(step)

    def _note_seen(self, step: Step) -> None:
        if step.known is not None:
            self._seen.append(step.known.id)
        if self._bar is not None:
            self._bar.update()
        if self._writes and len(self._seen) >= _CHUNK:
            self._flush_seen()

    def _flush_seen(self) -> None:
        if self._seen:
            self._store.mark_seen(self._seen)
            self._seen = []

    def _without_stored_scores(self, steps: Sequence[Step]) -> Iterator[Photo]:
        """Decide unchanged photos again where this model's scores of them are stored; yield the others. Writes."""
        if not steps:
            return
        hashes = [step.known.content_hash for step in steps if step.known and step.known.content_hash]
        stored = self._store.predictions_for(self._model_id, hashes) if self._model_id is not None else {}
        again: list[tuple[Step, bytes]] = []
        for step in steps:
            scores = stored.get(step.known.content_hash or b"") if step.known is not None else None
            if scores is not None:
                again.append((step, scores))
            elif step.photo is not None:
                yield step.photo
        if not again:
            return
        header = self._tagger.model.header
        tags = decide(unpack([scores for _, scores in again], header.taxonomy), header.taxonomy, header.thresholds)
        changed: list[tuple[int, Tag]] = []
        for (step, _), tag in zip(again, tags, strict=True):
            if step.known is None:
                continue
            if step.known.tag_source == Source.HUMAN:
                self._skip(step)
            else:
                changed.append((step.known.id, tag))
                self._report.photos += 1
                self._report.tagged += 1
                self._note_seen(step)
        if self._model_id is not None and changed:
            self._store.save_tags(model_id=self._model_id, tags=changed)

    def _mark_missing(self, roots: Sequence[Path]) -> None:
        """Mark what is gone, unless it looks as if a whole disk were gone.

        An empty mount point looks like a folder whose photos were all deleted. Then nothing below it is marked.
        """
        all_readable = not self._problems.lines
        gone = {root: [number for path, number in self._gone if path.is_relative_to(root)] for root in roots}
        for root, ids in gone.items():
            if not ids:
                continue
            if root not in self._not_empty:
                self._problems.lines.append(
                    f"{root}: all {len(ids)} known photos are gone; nothing was marked missing. Is the disk mounted?"
                )
            elif not all_readable:
                self._problems.lines.append(
                    f"{root}: {len(ids)} known photos were not seen; not marked missing while folders cannot be read"
                )
            else:
                self._store.mark_missing(ids)
                self._report.missing += len(ids)
