"""One pass over some places: compare disk and database, process what needs it, save batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from tqdm import tqdm

from phototag.decision import decide, unpack
from phototag.errors import ObjectStorageError, UsageError
from phototag.library import ScanProblems
from phototag.model import ModelHeader
from phototag.paths import PhotoPath
from phototag.records import Photo, PhotoState, Source
from phototag.store import KnownPhoto, ScoredContent, Store
from phototag.tagging.dedup import BloomFilter
from phototag.tagging.descriptions import Describer, written_keywords
from phototag.tagging.executor import Executor, SavingExecutor
from phototag.tagging.missing import MissingPhotos, note_mount_points
from phototag.tagging.moved import MovedPhotos
from phototag.tagging.pairing import PassPairs
from phototag.tagging.pipeline import Batch, Lookup
from phototag.tagging.plan import Need, Step, compare, need_of
from phototag.tagging.scope import Scope
from phototag.tagging.tag_report import TagReport
from phototag.tagging.unread_facts import UnreadFacts
from phototag.tagging.writer import BatchWriter, Sink, pass_on

# For each chunk the database is asked a few times, whether little or much of it is of interest.
_STEPS = 2000
_CHUNK = 500


class Runner(Executor, Protocol):
    """What a pass needs of the tagger that runs it."""

    @property
    def workers(self) -> int:
        """Threads that decode."""
        ...

    @property
    def header(self) -> ModelHeader:
        """Of the model."""
        ...


def never() -> bool:
    """Return False: a pass that is not stopped."""
    return False


class Pass:
    """One pass of a tagger over a scope.

    Args:
        runner: The tagger.
        store: The database; opened for writing unless `writes` is false.
        model_id: The model's id there; None if it is not known there.
        scored_by: The id of a model there with the same weights, whose stored scores will do; None is `model_id`.
        force: Run the network on every photo.
        writes: False for a dry run.
        progress: What a progress bar calls the pass; None shows none.
        stop: Asked before every photo; once it says yes, what is under way is finished and saved.
        hold: Whether a photo that would be read is better left for later, as it may still be being written.
        since: When a watcher had looked at everything; a photo that is gone takes the place of a copy that came since.
        sinks: What follows saved batches, after the report and the progress bar; in a dry run all batches.
        executor: What computes the batches, or has others save them; None is the tagger itself.
    """

    def __init__(
        self,
        runner: Runner,
        store: Store,
        model_id: int | None,
        *,
        scored_by: int | None = None,
        force: bool = False,
        writes: bool = True,
        progress: str | None = None,
        stop: Callable[[], bool] = never,
        hold: Callable[[Photo], bool] | None = None,
        since: datetime | None = None,
        sinks: Sequence[Sink] = (),
        executor: Executor | SavingExecutor | None = None,
    ) -> None:
        self._runner, self._store, self._model_id = runner, store, model_id
        self._executor: Executor | SavingExecutor = runner if executor is None else executor
        self._scored_by = model_id if scored_by is None else scored_by
        self._force, self._writes = force, writes
        self._stop, self._hold = stop, hold
        self._progress = progress
        self._report = TagReport()
        self._problems = ScanProblems()
        self._moved = MovedPhotos(store, writes=writes)
        self._pairs = PassPairs(store, self._moved, writes=writes)
        self._since = since
        self._back: list[int] = []
        self._describe = Describer(partial(written_keywords, store))
        self._unread_facts = UnreadFacts(store, self._describe, runner.workers)
        self._bar: tqdm[Any] | None = None
        self._sinks: list[Sink] = [self._report.add, self._show, *sinks]

    def over(self, scope: Scope) -> TagReport:
        """Run the pass. Ctrl-C ends the pass early; what was saved stays."""
        report, started = self._report, time.monotonic()
        with tqdm(
            desc=self._progress, unit="photo", disable=True if self._progress is None else None, leave=False
        ) as bar:
            self._bar = bar
            if not bar.disable:
                bar.total = scope.count()
            try:
                self._run(scope)
            except KeyboardInterrupt:
                report.interrupted = True
            except ObjectStorageError as error:  # every further photo would fail alike, and be marked so
                report.interrupted = True
                report.problems.append(str(error))
        report.seconds = time.monotonic() - started
        report.moved += len(self._moved.ids)
        report.problems = self._problems.lines + report.problems
        report.left_out = self._problems.left_out
        return report

    def _run(self, scope: Scope) -> None:
        missing = MissingPhotos(scope.roots, self._problems, self._store)
        wanted = self._wanted(scope, missing)
        first = next(wanted, None)
        if first is not None:
            self._process(chain([first], wanted), large=scope.is_large())
        alone = self._not_paired()
        first = next(alone, None)
        if first is not None:
            self._process(chain([first], alone), large=False)
            self._pairs.lead_the_unreadable()
        if self._writes and not self._report.interrupted:
            self._note_back()
            self._unread_facts.fill()
            self._mark_missing(missing)
            self._report.missing += self._moved.overwritten
            note_mount_points(self._store, scope.roots)

    def _process(self, photos: Iterator[Photo], *, large: bool) -> None:
        if isinstance(self._executor, SavingExecutor):
            self._follow(photos, self._executor)
            return
        known = self._lookup(large=large)
        started = time.monotonic()
        self._name_bar("loading the network")
        # Closed here: whatever ends the run, no more photos are begun when the tagger is closed.
        with closing(self._executor.process(photos, known=known, describe=self._describe)) as batches:
            self._name_bar(self._progress)
            self._report.load_seconds += time.monotonic() - started
            if self._writes:
                self._save_all(batches)
            else:
                for batch in batches:
                    self._moved.by_content(batch.without_gone())
                    pass_on(batch.without_gone(), self._sinks)

    def _follow(self, photos: Iterator[Photo], executor: SavingExecutor) -> None:
        """Let others tag and save."""
        if self._model_id is None or not self._writes:
            raise UsageError("a dry run needs what becomes of photos; leave --dry-run or the queue away")
        with closing(executor.save_all(photos, model_id=self._model_id, reuse=not self._force)) as parts:
            for part in parts:
                self._report.add_saved(part.report)
                self._moved.ids.update(part.moved)
                if self._bar is not None:
                    self._bar.update(part.report.photos)

    def _save_all(self, batches: Iterator[Batch]) -> None:
        with BatchWriter(self._save, self._sinks) as writer:
            for batch in batches:
                writer.put(batch.without_gone())

    def _save(self, batch: Batch) -> None:
        if self._model_id is not None:
            self._moved.by_content(batch)
            self._store.tags.save_batch(model_id=self._model_id, tagged=batch.tagged, failures=batch.failures)

    def _name_bar(self, words: str | None) -> None:
        if self._bar is not None and not self._bar.disable:
            self._bar.set_description(words)

    def _show(self, batch: Batch) -> None:
        if self._bar is not None:
            self._bar.update(len(batch.items))

    def _lookup(self, *, large: bool) -> Lookup | None:
        """Return what finds what this model said of a content before.

        For many photos it pays to read all hashes once, see docs/experiments.md: most contents need no look-up then.
        """
        model_id = self._scored_by
        if model_id is None or self._force:
            return None
        if not large:
            return lambda content_hashes: self._store.scores.known_contents(model_id, content_hashes)
        seen = BloomFilter()
        for content_hash in self._store.scores.hashes(model_id):
            seen.add(content_hash)

        def known(content_hashes: Collection[bytes]) -> dict[bytes, ScoredContent]:
            again = [content_hash for content_hash in content_hashes if content_hash in seen]
            for content_hash in content_hashes:
                seen.add(content_hash)  # saved in a moment
            return self._store.scores.known_contents(model_id, again) if again else {}

        return known

    # -- what needs tagging

    def _wanted(self, scope: Scope, missing: MissingPhotos) -> Iterator[Photo]:
        """Yield the photos that have to be read; the others are dealt with on the way."""
        photos, known = scope.photos(self._problems), scope.known(self._store)
        steps_left = compare(photos, known, model_id=self._model_id, force=self._force)
        while chunk := list(islice(steps_left, _STEPS)):
            if self._stopped():
                return
            self._skip_settled([step.known for step in chunk if step.is_settled and step.known is not None])
            yield from self._to_read(self._alone([step for step in chunk if not step.is_settled], missing))

    def _alone(self, chunk: Sequence[Step], missing: MissingPhotos) -> Sequence[Step]:
        """Return the steps of photos for which no other file decides; note those that are gone."""
        moved = self._moved.by_identity(chunk)
        if moved:
            self._describe.look_again()
        steps = [self._at_its_new_place(step, moved.get(number)) for number, step in enumerate(chunk)]
        paired = self._pairs.sort_out(steps, force=self._force)
        for number, as_it_was in paired.items():
            if as_it_was:
                self._skip(steps[number])
        alone = [step for number, step in enumerate(steps) if number not in paired]
        for step in alone:
            if step.need is Need.MISSING and step.known is not None:
                missing.add(step.known)
        return alone

    def _to_read(self, steps: Sequence[Step]) -> Iterator[Photo]:
        """Yield the photos that have to be read; deal with the others."""
        decided = self._decide_again([step for step in steps if step.need is Need.TAG and self._may_have_scores(step)])
        for step in steps:
            if step.need is Need.NOTHING:
                self._skip(step)
            elif step.need is Need.GIVEN_UP:
                self._give_up(step)
            elif step.need is Need.LEFT_OUT:
                self._leave_out(step)
            elif not self._writes and step.known is not None and step.known.tag_source == Source.HUMAN:
                self._skip(step)  # a dry run shows what would change, and a human's tag would not
            elif step.photo is not None and step.photo.path not in decided and not self._is_held(step):
                if self._stopped():
                    return
                yield step.photo

    def _not_paired(self) -> Iterator[Photo]:
        """Yield the photos that were left to another file of the same photo, and have to be read after all."""
        if self._report.interrupted:
            return
        for step, follows in self._pairs.settle():
            if follows:
                self._report.tagged += 1
                self._pass_by(step)
            else:
                yield from self._to_read([step])

    def _stopped(self) -> bool:
        """Return whether the run is to end here, which the report says then."""
        if self._stop():
            self._report.interrupted = True
        return self._report.interrupted

    def _at_its_new_place(self, step: Step, row: KnownPhoto | None) -> Step:
        if row is None or step.photo is None:
            return step
        return Step(need_of(step.photo, row, model_id=self._model_id, force=self._force), step.photo, row)

    def _may_have_scores(self, step: Step) -> bool:
        return step.same_content and not self._force and self._writes

    def _is_held(self, step: Step) -> bool:
        if step.photo is None or self._may_have_scores(step):
            return False
        return self._hold is not None and self._hold(step.photo)

    def _skip(self, step: Step) -> None:
        self._report.unchanged += 1
        self._pass_by(step)

    def _skip_settled(self, photos: Sequence[KnownPhoto]) -> None:
        self._report.unchanged += len(photos)
        self._count(len(photos))
        if self._writes:
            self._unread_facts.add(photos)

    def _give_up(self, step: Step) -> None:
        self._report.failed += 1
        self._report.given_up += 1
        self._pass_by(step)

    def _leave_out(self, step: Step) -> None:
        if step.known is not None and step.known.error_kind is not None:
            self._report.unsupported[step.known.error_kind] += 1
        self._pass_by(step)

    def _pass_by(self, step: Step) -> None:
        """Count a photo that is not read; one that was missing is there again."""
        self._count(1)
        if step.known is not None and step.same_content and self._writes:
            self._unread_facts.add([step.known])
        if step.known is not None and step.known.state == PhotoState.MISSING:
            self._back.append(step.known.id)
            if self._writes and len(self._back) >= _CHUNK:
                self._note_back()

    def _count(self, photos: int) -> None:
        self._report.photos += photos
        if self._bar is not None:
            self._bar.update(photos)

    def _note_back(self) -> None:
        if self._back:
            self._store.photos.mark_seen(self._back)
            self._back = []

    def _decide_again(self, steps: Sequence[Step]) -> set[PhotoPath]:
        """Decide unchanged photos again where this model's scores of them are stored; which ones. Writes.

        What a human tagged stays so: that the scores are there is enough.
        """
        hashes = [step.known.content_hash for step in steps if step.known and step.known.content_hash]
        stored = self._store.scores.of_contents(self._model_id, hashes) if hashes and self._model_id is not None else {}
        again = [(step, step.known, stored.get(step.known.content_hash or b"")) for step in steps if step.known]
        known = [(step, row, scores) for step, row, scores in again if scores is not None]
        for step, row, _ in known:
            if row.tag_source is Source.HUMAN:
                self._skip(step)
            else:
                self._report.tagged += 1
                self._pass_by(step)
        undecided = {row.id: scores for _, row, scores in known if row.tag_source is not Source.HUMAN}
        if self._model_id is not None and undecided:
            header = self._runner.header
            tags = decide(unpack(list(undecided.values()), header.taxonomy), header.taxonomy, header.thresholds)
            self._store.tags.save(model_id=self._model_id, decided=list(zip(undecided, tags, strict=True)))
        return {row.path for _, row, _ in known}

    def _mark_missing(self, missing: MissingPhotos) -> None:
        if not missing:
            return
        ids, self._report.suspended, lines = missing.settle()
        self._report.problems += lines
        # Noted before they turned up elsewhere, or while their disk was being copied.
        ids = [number for number in ids if number not in self._moved.ids]
        taken_over = set(self._store.moves.take_over(ids, self._since)) if self._since is not None else set()
        self._report.moved += len(taken_over)
        ids = [number for number in ids if number not in taken_over]
        self._store.photos.mark_missing(ids)
        self._report.missing = len(ids)
