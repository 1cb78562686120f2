"""Keeps a database up to date with some folders, for months: a scan, hints of what changed, a scan now and then.

The scanner is the truth. Every hint only says where to look sooner, so whatever is lost is found by the next scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from phototag.errors import LockedError, StoreError
from phototag.library import Exclusion, Mode, Partners, Settling, Watcher, has_pictures
from phototag.paths import PhotoPath
from phototag.records import Failure, FailureKind, Photo, PhotoState
from phototag.store import Store
from phototag.tagging.pipeline import Batch
from phototag.tagging.plan import MAX_ATTEMPTS
from phototag.tagging.registration import begin_run, register
from phototag.tagging.scope import Places, Roots, Scope
from phototag.tagging.status import StatusBoard
from phototag.tagging.sync import Pass
from phototag.tagging.tag_report import TagReport
from phototag.tagging.tagger import Tagger
from phototag.tagging.writer import Sink

_CHECK_SECONDS = 1.0
# Folders without events are looked through again after this long, or ten times as long as that took.
_POLL_SECONDS = 10.0
_POLL_SHARE = 10.0
# On a drive of another computer, whose clock may differ, a file counts as new for longer.
_REMOTE_CLOCK_SECONDS = 60.0
_TROUBLE_SECONDS = (10.0, 600.0)
_LOCK_SECONDS = 0.25
# The first retry of a file that may have been half written comes after this long, or after as many settling times.
_RETRY_SECONDS = 5.0
_RETRY_FACTOR = 5
# With --once, files that are still being written are waited for as many settling times, and then left.
_ONCE_SETTLINGS = 15
_ONCE_SECONDS = 5.0
_MOST_STANDING = 1000
_FAILURES_SHOWN = 20
_HALF_WRITTEN = (FailureKind.TRUNCATED, FailureKind.EMPTY, FailureKind.CORRUPT, FailureKind.NOT_AN_IMAGE)
_RETRIED = frozenset({*_HALF_WRITTEN, FailureKind.BUSY})


class WatchService:
    """Watches roots and tags what appears there.

    Args:
        tagger: Tags.
        store: Where the tags go.
        roots: From `resolve_roots`.
        poll: Ask the operating system for no events, and look for oneself.
        settle_seconds: How long a file has to stand still before it is read.
        rescan_seconds: How long until everything is looked through again.
        exclude: Patterns to leave out; see `Exclusion`.
        force: Run the network on every photo in the first scan.
        say: Takes each line for the user.
        sinks: What follows saved batches, after the watcher itself.
    """

    def __init__(
        self,
        tagger: Tagger,
        store: Store,
        roots: Sequence[Path],
        *,
        poll: bool = False,
        settle_seconds: float = 2.0,
        rescan_seconds: float = 3600.0,
        exclude: Sequence[str] = (),
        force: bool = False,
        say: Callable[[str], None] = print,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._tagger, self._store, self._roots = tagger, store, list(roots)
        self._settle_seconds, self._rescan_seconds = settle_seconds, rescan_seconds
        self._exclude = Exclusion(exclude)
        self._force, self._say_line = force, say
        self._watcher = Watcher(self._roots, poll=poll, is_excluded=self._is_excluded)
        self._settling = Settling(settle_seconds)
        self._stopping = False
        self._model_id = 0
        self._folders: set[Path] = set()
        self._next_scan = dict.fromkeys(self._roots, 0.0)
        self._suspended: set[PhotoPath] = set()
        self._standing: dict[str, frozenset[PhotoPath]] = {}
        self._said_left_out: dict[frozenset[PhotoPath], str] = {}
        self._said_of_lock = ""
        self._trouble_seconds = 0.0
        self._trouble_until = float("-inf")
        self._once = False
        self._since: datetime | None = None
        self._scanned_once = False
        self._failing: dict[PhotoPath, Failure] = {}
        self.totals = TagReport()
        self._board = StatusBoard(
            store,
            tagger.model.name,
            self._roots,
            modes=self._watcher.modes,
            waiting=lambda: len(self._settling) + len(self._folders),
        )
        self._sinks: list[Sink] = [self._note_failures, self._board.saved, *sinks]

    def is_stopping(self) -> bool:
        """Return whether `stop` was called."""
        return self._stopping

    def stop(self) -> None:
        """Finish what is in hand and end. Safe in a signal handler."""
        self._stopping = True
        self._watcher.wake()

    def run(self, *, once: bool = False) -> TagReport:
        """Watch until `stop` is called, or with `once` until everything is up to date. Returns what was done in all.

        Raises:
            LockedError: another tagger works on this database.
            StoreError: the database cannot be written at the start; later that is waited out, but not with `once`.
        """
        self._once, started = once, time.monotonic()
        with self._store.tagging("phototag watch"), self._watcher:
            with self._writing():
                self._model_id = register(self._store, self._tagger.model)
                run_id = begin_run(self._store, "watch", self._model_id, self._tagger.target)
            if not once:
                names = ", ".join(str(root) for root in self._roots)
                self._say_line(f"Watching {names} with model {self._tagger.model.name}. Ctrl-C stops.")
            try:
                self._loop()
            finally:
                self._board.stopped(self.totals)
                self._finish_run(run_id)
        if once:
            self.totals.interrupted = self._stopping
            self.totals.failures = list(self._failing.values())[:_FAILURES_SHOWN]
            self.totals.failed = len(self._failing) + self.totals.given_up
            self.totals.photos = self.totals.unchanged + self.totals.tagged + self.totals.failed
            self.totals.seconds = time.monotonic() - started
        return self.totals

    def _finish_run(self, run_id: int) -> None:
        try:
            with self._writing():
                self._store.runs.finish(run_id, self.totals.counts())
        except StoreError as error:
            self._say(f"the end of this run could not be noted: {error}")

    # -- the loop

    def _loop(self) -> None:
        give_up: float | None = None
        while not self.is_stopping():
            now = time.monotonic()
            self._watcher.check(now)
            self._take(0.0 if self._has_work(now) else self._pause(now))
            if self.is_stopping():
                return
            self._work()
            if not self._once:
                continue
            now = time.monotonic()
            if not self._has_work(now) and not self._waits_for_files():
                return
            if give_up is None:  # only now: the first scan may take hours
                give_up = now + max(_ONCE_SETTLINGS * self._settle_seconds, _ONCE_SECONDS)
            elif now > give_up:
                self._say(f"{len(self._settling):,} files are still being written; they are left for the next time")
                return

    def _take(self, timeout_seconds: float) -> None:
        """Wait for hints, and sort them."""
        hints = self._watcher.take(timeout_seconds)
        now = time.monotonic()
        for notice in hints.notices:
            self._say(notice)
        for path in hints.touched:
            self._settling.note(path, now)
        for path in hints.closed:
            self._settling.note(path, now, closed=True)
        self._folders |= hints.folders
        for root in hints.lost:
            self._next_scan[root] = min(self._next_scan[root], now)
        self._board.look_again()

    def _has_work(self, now: float) -> bool:
        if now < self._trouble_until:
            return False
        deadline = self._settling.next_deadline()
        return bool(self._folders or self._roots_due(now) or (deadline is not None and deadline <= now))

    def _pause(self, now: float) -> float:
        deadline = self._settling.next_deadline()
        modes = self._watcher.modes()
        # A root that is away is due again as soon as it is back, and that is for `check` to see.
        times = [_CHECK_SECONDS, *(at - now for root, at in self._next_scan.items() if modes[root] is not Mode.AWAY)]
        times += [deadline - now] if deadline is not None else []
        if now < self._trouble_until:
            return min(_CHECK_SECONDS, self._trouble_until - now)
        return max(0.0, min(times))

    def _waits_for_files(self) -> bool:
        deadline = self._settling.next_deadline()
        # What is to be tried again much later is not waited for.
        return deadline is not None and deadline <= time.monotonic() + self._settle_seconds

    def _roots_due(self, now: float) -> list[Path]:
        modes = self._watcher.modes()
        for root in {each for each in self._roots if each in self._suspended and modes[each] is not Mode.AWAY}:
            if has_pictures(root):
                self._suspended.discard(root)
                self._next_scan[root] = now
        return [root for root in self._roots if self._next_scan[root] <= now and modes[root] is not Mode.AWAY]

    def _work(self) -> None:
        """Do what is due; a database that cannot be written is waited out, and everything looked through again then."""
        now = time.monotonic()
        if not self._has_work(now):
            return
        roots = self._roots_due(now)
        files = [file for file in self._settling.due(now) if not any(file.is_relative_to(root) for root in roots)]
        folders, self._folders = self._folders, set()
        try:
            if files:
                # What happens to one file of a pair concerns the other.
                files = sorted(Partners().with_partners(files))
                self._pass(Places(self._roots, files=files, exclude=self._exclude))
            if folders and not self.is_stopping():
                self._pass(Places(self._roots, folders=folders, exclude=self._exclude), hold=self._hold)
            if roots and not self.is_stopping():
                self._scan(roots)
        except StoreError as error:
            if self._once or not self._scanned_once:
                raise
            if not self.is_stopping():
                self._wait_out(error)
            return
        if self._trouble_seconds and (files or folders or roots):
            self._trouble_seconds = 0.0
            self._say("the database can be written again")

    def _wait_out(self, error: StoreError) -> None:
        """Leave the database alone for a while; longer each time it still cannot be written."""
        first, most = _TROUBLE_SECONDS
        if not self._trouble_seconds:
            self._say(f"{error}; trying again from time to time")
        self._trouble_seconds = min(max(first, 2 * self._trouble_seconds), most)
        self._trouble_until = time.monotonic() + self._trouble_seconds
        self._next_scan = dict.fromkeys(self._roots, self._trouble_until)
        self._board.trouble(str(error))

    def _scan(self, roots: Sequence[Path]) -> None:
        self._board.scanning(roots)
        started = time.monotonic()
        report = self._pass(Roots(roots, self._exclude), hold=self._hold, force=self._force and not self._scanned_once)
        if report.interrupted:
            return
        seconds = time.monotonic() - started
        lines = filter(None, [report.unread_line, report.left_out.line()])
        self._tell_left_out("; ".join(lines), frozenset(roots))
        self.totals.left_out, self.totals.unsupported = report.left_out, report.unsupported
        if not self._scanned_once:
            # Copies that are there at the start are copies; one that comes later may be the first half of a move.
            self._since = datetime.now(UTC)
            self.totals.unchanged, self.totals.given_up = report.unchanged, report.given_up
        self._scanned_once = True
        self._forget_what_is_over(roots, report)
        self._board.scanned(roots, report, seconds)
        modes = self._watcher.modes()
        for root in roots:
            wait = max(_POLL_SECONDS, _POLL_SHARE * seconds) if modes[root] is Mode.POLLING else self._rescan_seconds
            self._next_scan[root] = time.monotonic() + min(wait, self._rescan_seconds)

    # -- one pass

    def _is_over(self) -> bool:
        """Return whether the pass is to end: asked all the time, so that `phototag status` hears in a long one, too."""
        self._board.look_again()
        return self.is_stopping()

    def _pass(self, scope: Scope, *, hold: Callable[[Photo], bool] | None = None, force: bool = False) -> TagReport:
        with self._writing():
            report = Pass(
                self._tagger,
                self._store,
                self._model_id,
                force=force,
                progress="tagging" if isinstance(scope, Roots) else None,
                stop=self._is_over,
                hold=hold,
                since=self._since,
                sinks=self._sinks,
            ).over(scope)
        self.totals.add_pass(report)
        self.totals.failed -= report.given_up  # or every scan would count them again
        self.totals.load_seconds += report.load_seconds
        self._suspended |= set(report.suspended)
        self._tell(report, scope)
        self._board.passed(report, self.totals)
        return report

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the right to write; once the first scan is over, another process that has it is waited for."""
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._store.writing("phototag watch"))
                    break
                except LockedError as error:
                    if not self._scanned_once or self.is_stopping():
                        raise
                    if str(error) != self._said_of_lock:
                        self._said_of_lock = str(error)
                        self._say(f"waiting: {error}")
                        self._board.trouble(str(error))
                    time.sleep(_LOCK_SECONDS)
            yield

    def _note_failures(self, batch: Batch) -> None:
        failures = [failure for failure in batch.failures if failure.kind.state is PhotoState.UNREADABLE]
        for failure in failures:
            if not self._once:  # then the summary says it
                self._say_line(f"{datetime.now():%Y-%m-%d %H:%M:%S} {failure.photo.path}: {failure.reason}")
            if failure.kind in _RETRIED:
                self._retry(failure.photo)
        if self._once:
            for item in batch.tagged:
                self._failing.pop(item.photo.path, None)
            self._failing.update((failure.photo.path, failure) for failure in failures)

    def _retry(self, photo: Photo) -> None:
        """Look again later: it may have been half written, or this computer may have been short of memory."""
        known = self._store.photos.find(photo.path)
        if known is not None and known.attempts < MAX_ATTEMPTS:
            first = max(_RETRY_SECONDS, _RETRY_FACTOR * self._settle_seconds)
            due = time.monotonic() + first * _RETRY_FACTOR ** (known.attempts - 1)
            self._settling.retry(cast("Path", photo.path), due)

    def _hold(self, photo: Photo) -> bool:
        """Return whether a photo that was found, not announced, may still be being written."""
        modes = self._watcher.modes()
        remote = any(modes[root] is Mode.POLLING for root in self._roots if photo.path.is_relative_to(root))
        window = max(self._settle_seconds, _REMOTE_CLOCK_SECONDS if remote else 0.0)
        # Clocks are asked only who may wait; whether it stands still is seen by looking twice.
        age_seconds = time.time() - max(photo.modified_ns, photo.changed_ns) / 1e9
        if age_seconds >= window or self._settle_seconds == 0:
            return False
        self._settling.note(cast("Path", photo.path), time.monotonic())
        return True

    def _is_excluded(self, path: Path) -> bool:
        return any(self._exclude.covers(path, root) for root in self._roots)

    # -- words

    def _tell(self, report: TagReport, scope: Scope) -> None:
        parts = [f"{report.tagged:,} tagged"] if report.tagged else []
        parts += [f"{report.failed - report.given_up:,} failed"] if report.failed > report.given_up else []
        parts += [f"{report.moved:,} moved"] if report.moved else []
        parts += [f"{report.missing:,} missing"] if report.missing else []
        if parts and not self._once:
            self._say_line(f"{', '.join(parts)} ({report.seconds:.1f} s)")
        if report.unread_line and not isinstance(scope, Roots) and not self._once:
            self._say_line(report.unread_line)
        for problem in report.problems:
            if problem not in self._standing:
                if len(self._standing) >= _MOST_STANDING:
                    self._standing.clear()
                self._standing[problem] = frozenset(scope.roots)
                self._board.notice(problem)
                if not self._once:  # then the summary says it
                    self._say_line(problem)

    def _tell_left_out(self, line: str, roots: frozenset[PhotoPath]) -> None:
        """Say once what scans of these roots leave out, and again when that is something else."""
        if line and self._said_left_out.get(roots) != line:
            self._said_left_out[roots] = line
            if not self._once:  # then the summary says it
                self._say(line)

    def _forget_what_is_over(self, roots: Sequence[Path], report: TagReport) -> None:
        """Problems are said once for as long as they last; one that comes back is said again."""
        self.totals.problems = report.problems
        scanned, lasting = frozenset(roots), set(report.problems)
        self._standing = {
            problem: seen_in
            for problem, seen_in in self._standing.items()
            if problem in lasting or not seen_in <= scanned
        }

    def _say(self, text: str) -> None:
        self._board.notice(text)
        self._say_line(text)
