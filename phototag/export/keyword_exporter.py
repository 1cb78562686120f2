"""Write the keywords of photos into sidecars and pictures, take them out again, and keep the ledger of both.

A batch of files goes through three steps: what is to be written is noted, the files are replaced, and what was done is
noted. Whenever this ends in between, the next run finds out by the files' hashes which of them were replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from phototag.export.keyword_file import JPEG_FORM, SIDECAR_FORM, FilePlan, digest, plan_export, plan_undo
from phototag.export.keyword_report import KeywordReport
from phototag.export.keyword_rule import KeywordRule
from phototag.export.keyword_targets import KeywordTask, KeywordTasks, reason_of, seed_of
from phototag.metadata import (
    ChangedMeanwhileError,
    Rewrite,
    SeenFile,
    XmpError,
    check_replaceable,
    read_seen,
    rewrite_all,
)
from phototag.paths import PhotoPath
from phototag.records import Photo, PhotoState, Source
from phototag.store import ExportKind, FileKeywords, KeywordCandidate, KeywordExport, Query, Settled, Store

Item = TypeVar("Item")

_BATCH = 256
# A round holds its files in memory twice, as they are and as they will be; photos can be large.
_MOST_BYTES = 128 << 20
_TRIES = 3
_FOLDERS = 64
_JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}
_COMMAND = "phototag export xmp"
_WAIT_SECONDS = 60.0
_UNTOLD = FileKeywords()


@dataclass(frozen=True, slots=True)
class _Planned:
    task: KeywordTask
    seen: SeenFile | None
    plan: FilePlan

    @property
    def changes_file(self) -> bool:
        return self.plan.data != (None if self.seen is None else self.seen.data)

    @property
    def lacks_ours(self) -> bool:
        """Whether someone took keywords out that are not written again."""
        return self.task.names is not None and bool(self.plan.after.withdrawn)

    @property
    def export(self) -> KeywordExport:
        """The entry of the ledger while this is planned."""
        export = self.task.export
        if not export.state.items:  # what the file holds if this never happens
            export = replace(
                export, state=FileKeywords(hash_after=digest(None if self.seen is None else self.seen.data))
            )
        return replace(export, planned=self.plan.after)


class KeywordExporter:
    """Writes keywords of photos, and takes them out again.

    Args:
        store: The database.
        rule: Which tags become keywords.
        embed: Write into JPEG files themselves; their sidecars, where there are any, get the same.
        again: Write again what someone took out elsewhere.
        dry_run: Write nothing, and only count.
    """

    def __init__(
        self,
        store: Store,
        rule: KeywordRule | None = None,
        *,
        embed: bool = False,
        again: bool = False,
        dry_run: bool = False,
    ) -> None:
        self._store, self._ledger = store, store.keyword_exports
        self._again, self._dry_run = again, dry_run
        self.report = KeywordReport()
        self._tasks = KeywordTasks(store, rule or KeywordRule(), self.report, embed=embed, dry_run=dry_run)

    def export(self, query: Query) -> KeywordReport:
        """Bring the keywords of all readable photos that a query asks for up to date. Ctrl-C ends it early.

        Raises:
            StoreError: the database cannot be read or written.
        """
        total = self._store.count(replace(query, state=PhotoState.OK))
        pages = self._ledger.candidates(query)
        return self._run((photo for page in pages for photo in page), self._export_batch, total)

    def export_paths(self, paths: Iterable[PhotoPath]) -> None:
        """Bring the keywords of these photos up to date.

        Raises:
            StoreError: the database cannot be read or written.
        """
        self._tasks.look_again()
        photos = self._ledger.candidates_at(map(bytes, paths))
        for start in range(0, len(photos), _BATCH):
            self._export_batch(photos[start : start + _BATCH])

    def undo(self, query: Query | None = None) -> KeywordReport:
        """Take out what phototag wrote: for the photos that a query asks for, or everywhere. Ctrl-C ends it early.

        Raises:
            StoreError: the database cannot be read or written.
        """
        ids = None
        if query is not None:
            ids = {photo.id for page in self._ledger.candidates(query) for photo in page}
        exports = (each for each in self._ledger.all() if each.state.items and (ids is None or each.photo_id in ids))
        return self._run(exports, self._undo_batch, None)

    def _run(self, items: Iterator[Item], write: Callable[[Sequence[Item]], None], total: int | None) -> KeywordReport:
        try:
            if not self._dry_run:
                self.recover()
            with tqdm(total=total, desc="keywords", unit="photo", disable=None, leave=False) as bar:
                while batch := list(islice(items, _BATCH)):
                    write(batch)
                    bar.update(len(batch))
        except KeyboardInterrupt:
            self.report.interrupted = True
            if not self._dry_run:
                self.recover()
        return self.report

    # ---- one batch

    def _export_batch(self, photos: Sequence[KeywordCandidate]) -> None:
        if self._dry_run:
            self._write(self._tasks.of(photos))
            return
        with self._store.writing(_COMMAND, wait_seconds=_WAIT_SECONDS):
            self._write(self._tasks.of(photos))

    def _undo_batch(self, exports: Sequence[KeywordExport]) -> None:
        if self._dry_run:
            self._write(self._tasks.to_undo(exports))
            return
        with self._store.writing(_COMMAND, wait_seconds=_WAIT_SECONDS):
            self._write(self._tasks.to_undo(exports))

    def _write(self, tasks: Sequence[KeywordTask]) -> None:
        for part in _parts(tasks):
            left: Sequence[KeywordTask] = part
            for _ in range(_TRIES):
                left = self._round(left) if left else left
            for task in left:
                self.report.refuse(task.path, "another program keeps writing it")

    def _round(self, tasks: Sequence[KeywordTask]) -> list[KeywordTask]:
        """Plan and write; the tasks that have to be planned again are returned."""
        planned = []
        for task in tasks:
            try:
                planned.append(self._plan(task))
            except (XmpError, OSError) as error:
                self.report.refuse(task.path, reason_of(error))
        for each in planned:
            self.report.taken_out += each.lacks_ours
        todo = [each for each in planned if each.changes_file or _is_news(each)]
        idle = len(planned) - sum(each.changes_file for each in todo)
        self.report.unchanged += idle
        if self._dry_run or not todo:
            self._count(each for each in todo if each.changes_file)
            return []
        exports = [each.export for each in todo]
        self._ledger.plan(exports)
        writes = [each for each in todo if each.changes_file]
        results = rewrite_all([Rewrite(each.task.path, each.seen, each.plan.data) for each in writes])
        failed = {id(each): result for each, result in zip(writes, results, strict=True) if result is not None}
        self._ledger.settle(exports, [_end(each, done=id(each) not in failed) for each in todo])
        self._count(each for each in writes if id(each) not in failed)
        again = []
        for each in writes:
            problem = failed.get(id(each))
            if isinstance(problem, ChangedMeanwhileError):
                again.append(each.task)
                self.report.taken_out -= each.lacks_ours
            elif problem is not None:
                self.report.refuse(each.task.path, reason_of(problem))
        if not again:
            return []
        # What is known of them may have changed as well.
        known = self._ledger.at([task.export.path_bytes for task in again])
        return [replace(task, export=known.get(task.export.path_bytes, task.export)) for task in again]

    def _count(self, written: Iterable[_Planned]) -> None:
        for each in written:
            if each.plan.after.items:
                self.report.written += 1
            else:
                self.report.removed += 1

    def _plan(self, task: KeywordTask) -> _Planned:
        if self._is_done(task):
            return _Planned(task, None, FilePlan(None, task.export.state))
        seen = read_seen(task.path)
        current = None if seen is None else seen.data
        known = task.export.state
        if task.names is None:
            plan = plan_undo(current, known, task.form)
        else:
            photo = task.photo
            if task.export.kind is ExportKind.EMBEDDED and photo is not None and digest(current) != photo.content_hash:
                raise XmpError("changed since it was tagged; run phototag tag first")
            plan = plan_export(
                current,
                known,
                task.names,
                task.form,
                seed=lambda: seed_of(task),
                answered_at=photo.tagged_at if photo is not None and photo.source is Source.HUMAN else None,
                again=self._again,
            )
        if seen is not None and plan.data != current:
            check_replaceable(seen)
        return _Planned(task, seen, plan)

    def _is_done(self, task: KeywordTask) -> bool:
        """Return whether a photo's own file is as it should be, without reading all of it."""
        known, photo = task.export.state, task.photo
        return (
            task.export.kind is ExportKind.EMBEDDED
            and photo is not None
            and bool(known.items)
            and known.names == task.names
            and not known.withdrawn
            and known.hash_after == photo.content_hash
            and photo.is_untouched()
        )

    # ---- what was interrupted

    def recover(self) -> None:
        """Find out of writes that were planned and not settled whether they happened.

        Raises:
            StoreError: the database cannot be read or written.
        """
        if next(self._ledger.all(unsettled=True), None) is None:
            return
        # Listed under the lock: another process that is between planning and writing looks as if it had been killed.
        with self._store.writing(_COMMAND, wait_seconds=_WAIT_SECONDS):
            exports = list(self._ledger.all(unsettled=True))
            ends = []
            for export in exports:
                self._tasks.sweep(export.path.parent)
                try:
                    end = _what_happened(export)
                except (OSError, XmpError):  # it cannot be known today
                    continue
                ends.append(end)
            if ends:
                self._ledger.settle(exports, ends)


def _parts(tasks: Sequence[KeywordTask]) -> Iterator[list[KeywordTask]]:
    """Yield tasks in parts, in order, the files of which together are no larger than memory should hold."""
    part: list[KeywordTask] = []
    size = 0
    for task in tasks:
        try:
            own = task.path.stat().st_size
        except OSError:
            own = 0  # not there yet; or reading it will say why
        if part and size + own > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(task)
        size += own
    if part:
        yield part


def _what_happened(export: KeywordExport) -> Settled:
    seen = read_seen(export.path)
    before, after = export.state, export.planned or export.state
    if seen is not None and not seen.data and before.hash_after is None:
        seen.path.unlink()  # its name was claimed, and no more
        seen = None
    found = digest(None if seen is None else seen.data)
    if found in (after.hash_after, before.hash_after):
        done = found == after.hash_after
    else:
        # Another program wrote since: it kept what was there.
        form = JPEG_FORM if export.kind is ExportKind.EMBEDDED else SIDECAR_FORM
        have = {} if seen is None else form.keywords(seen.data)
        there = {(label, item) for label, items in have.items() for item in items}
        ours = {(label, item) for label, items in after.items.items() for item in items}
        old = {(label, item) for label, items in before.items.items() for item in items}
        done = bool(ours - old & there) if ours - old else not old & there
    contents = tuple(each for each in (before.hash_after, after.hash_before, before.hash_before) if each)
    return Settled(export.path_bytes, done, _photo(export) if found == after.hash_after else None, contents)


def _end(planned: _Planned, *, done: bool) -> Settled:
    export = planned.task.export
    before = None if planned.seen is None else digest(planned.seen.data)
    photo = _photo(export) if done and planned.changes_file else None
    return Settled(export.path_bytes, done, photo, () if before is None else (before,))


def _photo(export: KeywordExport) -> Photo | None:
    """Return a photo with the stat that its file has after keywords were embedded into it."""
    if export.kind is not ExportKind.EMBEDDED:
        return None
    try:
        status = export.path.stat()
    except OSError:  # gone already
        return None
    return Photo(export.path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_news(planned: _Planned) -> bool:
    """Return whether the ledger does not know yet what is planned, though no file changes."""
    export, after = planned.task.export, planned.plan.after
    if export.id is None:
        return bool(after.items or after.withdrawn)
    return after != export.state
