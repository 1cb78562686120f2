"""What a watcher does at present, for `phototag status`: kept in a note beside the database."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag._version import __version__
from phototag.database import Role, holder_of
from phototag.library import Mode
from phototag.records import PhotoState
from phototag.store import Query, Store

if TYPE_CHECKING:  # `phototag status` loads none of these
    from phototag.tagging.pipeline import Batch
    from phototag.tagging.tag_report import TagReport

_NOTE = "watch"
# A watcher writes at least every minute, but not while a network is loaded or the database is waited for.
_SILENT_SECONDS = 600.0
_EVERY_SECONDS = 2.0
_IDLE_SECONDS = 60.0
_KEPT = 20


def watcher_status(location: str | Path | None = None) -> dict[str, Any]:
    """Return what a watcher noted of itself, whether it still runs, who writes, and the photos by state; fit for JSON.

    Raises:
        SchemaError: the database's schema is another one.
        StoreError: there is no database, or it cannot be read.
    """
    with Store.open(location, create=False) as store:
        photos = {str(state): store.count(Query(state=state)) for state in sorted(PhotoState)}
        note = store.notes.read(_NOTE)
        tagger, writer = (holder_of(store.location, role) for role in (Role.TAG, Role.WRITE))
    holder = tagger or writer
    return {
        "database": str(store.location),
        "running": tagger is not None and tagger.command == "watch",
        "watcher": note if isinstance(note, dict) else None,
        "holder": None
        if holder is None
        else {
            "pid": holder.pid,
            "host": holder.host,
            "command": holder.command,
            "since": holder.since.isoformat(timespec="seconds"),
        },
        "photos": {state: number for state, number in photos.items() if number},
    }


def is_well(found: Mapping[str, Any]) -> bool:
    """Return whether, by what `watcher_status` found, a watcher runs and has written in the last ten minutes."""
    try:
        heard = datetime.fromisoformat(found["watcher"]["updated_at"])
        silent = (datetime.now(UTC) - heard).total_seconds()
    except (KeyError, TypeError, ValueError):
        return False
    return bool(found["running"]) and silent < _SILENT_SECONDS


class StatusBoard:
    """Writes down what a watcher does, at most every two seconds."""

    def __init__(
        self,
        store: Store,
        model: str,
        roots: Sequence[Path],
        *,
        modes: Callable[[], Mapping[Path, Mode]],
        waiting: Callable[[], int],
    ) -> None:
        self._store, self._modes, self._waiting = store, modes, waiting
        self._queue = 0
        self._written = 0.0
        self._rate: tuple[int, float] = (0, 0.0)
        self._failures: deque[dict[str, str]] = deque(maxlen=_KEPT)
        self._notices: deque[dict[str, str]] = deque(maxlen=_KEPT)
        self._scans: dict[Path, dict[str, Any]] = {root: {} for root in roots}
        self._values: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "version": __version__,
            "model": model,
            "started_at": _now(),
            "stopped_at": None,
            "doing": "starting",
            "totals": {},
            "photos_per_second": None,
        }

    def look_again(self) -> None:
        """Write now and then, also while nothing happens."""
        self._write(urgent=False, idle=self._waiting() == self._queue)

    def scanning(self, roots: Sequence[Path]) -> None:
        """Note that a scan starts."""
        self._values["doing"] = f"scanning {len(roots)} roots" if len(roots) > 1 else f"scanning {roots[0]}"
        self._write()

    def scanned(self, roots: Sequence[Path], report: TagReport, seconds: float) -> None:
        """Note that a scan is over."""
        for root in roots:
            self._scans[root] = {"last_scan_at": _now(), "last_scan_seconds": round(seconds, 1)}
            self._scans[root]["suspended"] = root in report.suspended
        self._write()

    def saved(self, batch: Batch) -> None:
        """Note that a batch was saved."""
        for failure in batch.failures:
            path = str(failure.photo.path)
            self._failures.append({"path": path, "kind": failure.kind, "error": failure.reason, "at": _now()})
        self._values["doing"] = "tagging"
        self._write(urgent=False)

    def passed(self, report: TagReport, totals: TagReport) -> None:
        """Note that a pass is over."""
        busy = report.seconds - report.load_seconds
        if report.inferred and busy > 0:
            self._values["photos_per_second"] = round(report.inferred / busy, 1)
        for root, scan in self._scans.items():
            if root in report.suspended:
                scan["suspended"] = True
        self._values["totals"] = _totals(totals)
        self._values["doing"] = "waiting for changes"
        self._write()

    def trouble(self, text: str) -> None:
        """Note that the database cannot be written at present."""
        self._values["doing"] = f"waiting: {text}"
        self._write()

    def notice(self, text: str) -> None:
        """Note what the user was told."""
        self._notices.append({"text": text, "at": _now()})
        self._write()

    def stopped(self, totals: TagReport) -> None:
        """Note that the watcher ends."""
        self._values |= {"stopped_at": _now(), "doing": "stopped", "totals": _totals(totals)}
        self._write()

    def _write(self, *, urgent: bool = True, idle: bool = False) -> None:
        now = time.monotonic()
        if not urgent and now - self._written < (_IDLE_SECONDS if idle else _EVERY_SECONDS):
            return
        self._written, self._queue = now, self._waiting()
        modes = self._modes()
        roots = [{"path": str(root), "mode": modes[root], **scan} for root, scan in self._scans.items()]
        fresh = {"updated_at": _now(), "queue": self._queue, "roots": roots}
        lists = {"failures": list(self._failures), "notices": list(self._notices)}
        self._store.notes.write(_NOTE, self._values | fresh | lists)


def _totals(report: TagReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in ("tagged", "inferred", "failed", "moved", "missing")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
