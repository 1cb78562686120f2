"""Runs of commands that wrote to a database: when, with what, and what they counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from phototag._version import __version__
from phototag.database import Database, insert_row, runs, tried_again
from phototag.store.photos import clean_text


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run of a command that wrote here. `finished_at` is None while it goes on, and when it was killed."""

    id: int
    kind: str
    started_at: datetime
    finished_at: datetime | None
    counts: Mapping[str, int] | None
    error: str | None


class Runs:
    """Note the runs of commands. Both methods write, and raise StoreError when that cannot be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def begin(self, kind: str, *, model_id: int | None, device: str | None, runtime: str | None) -> int:
        """Note that a run starts; returns its id for `finish`.

        The caller is the only tagger: runs that others began and did not finish were killed, and are closed.
        """
        values = {
            "kind": kind,
            "started_at": self._database.next_moment(),
            "model_id": model_id,
            "device": device,
            "runtime": runtime,
            "version": __version__,
        }
        with self._database.write() as connection:
            killed = {"finished_at": values["started_at"], "error": "killed; noted by the run after it"}
            connection.execute(update(runs).where(runs.c.finished_at.is_(None)).values(killed))
            return insert_row(connection, runs, values)

    @tried_again
    def finish(self, run_id: int, counts: Mapping[str, int], error: str | None = None) -> None:
        """Note that a run is over, what it counted, and what stopped it early."""
        stopped = None if error is None else clean_text(error)
        values = {"finished_at": self._database.next_moment(), "counts": dict(counts), "error": stopped}
        with self._database.write() as connection:
            connection.execute(update(runs).where(runs.c.id == run_id).values(values))


def last_run(connection: Connection) -> RunInfo | None:
    """Return the run that started last, None if there was none."""
    columns = (runs.c.id, runs.c.kind, runs.c.started_at, runs.c.finished_at, runs.c.counts, runs.c.error)
    row = connection.execute(select(*columns).order_by(runs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else RunInfo(*row)
