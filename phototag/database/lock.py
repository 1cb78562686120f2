"""The right to write to a database: held by one process at a time, and the others are told by whom.

Of a database in a file the right is the lock of a file beside it, on a server a lock of the server's.

SQLite up to 3.51.2 can corrupt a database in WAL mode that two connections write to, and two taggers at once
would only do the same work twice.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag.database.location import Location
from phototag.errors import LockedError, StoreError
from phototag.files import read_regular, replacing
from phototag.settings import make_own_folder

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from phototag.database.server_lock import ServerRight

# The holder writes who it is just after it got the lock: wait that long for the note before doing without it.
_NOTE_WAIT_SECONDS = 0.25
_PROBE_WAIT_SECONDS = 0.2
_MOST_NOTE_BYTES = 1 << 16


class Role(StrEnum):
    """What a lock gives the right to."""

    WRITE = "write"  # for as long as a command writes
    TAG = "tag"  # for as long as a tagger or a watcher runs: two of them would undo each other's work
    ANSWER = "answer"  # on a server, for as long as what a human said is written, beside a command that writes


def lock_file(location: Location, role: Role) -> Path | None:
    """Return the file that is locked; None for a database in memory, which is not shared."""
    path = location.lock_path
    return path if path is None or role is Role.WRITE else path.with_name(f"{path.name}.{role}")


@contextmanager
def holding(
    location: Location,
    command: str,
    role: Role = Role.WRITE,
    *,
    engine: Engine | None = None,
    wait_seconds: float = 0.0,
) -> Iterator[ServerRight | None]:
    """Hold the right to write to `location`, or to tag into it, for the command "phototag `command`".

    On a server it is held through `engine`, if there is one already, waited for in its queue, and given to the caller.

    Raises:
        LockedError: another process has it.
        StoreError: the lock cannot be made there.
    """
    if location.url is not None:
        # Imported here, as a file needs none of it.
        from phototag.database.server_lock import server_right

        def refused(note: Any) -> str:
            return _refused(location, _holder(note))

        with server_right(location, role, _note_of(command), refused, engine, wait_seconds) as right:
            yield right
        return
    path = lock_file(location, role)
    with nullcontext() if path is None else _locked(path, location, command):
        yield None


@contextmanager
def _locked(path: Path, location: Location, command: str) -> Iterator[None]:
    """Hold the lock of a file, and leave a note of who does beside it."""
    if location.is_default:
        try:
            make_own_folder(path.parent)
        except OSError as error:
            raise StoreError(
                f"{path.parent}: cannot be made: {error.strerror}; name a database elsewhere with --db, "
                "or another home with PHOTOTAG_HOME"
            ) from error
    # Here, and not at the top: reading needs no lock, and this import would cost every query its time.
    from filelock import FileLock, Timeout

    # Not thread-local: a command may open the store in one thread and write from another.
    lock, note = FileLock(path, thread_local=False), _note_file(path)
    try:
        # Not quite at once: another process may only be asking who has it.
        lock.acquire(timeout=_PROBE_WAIT_SECONDS, poll_interval=0.02)
    except Timeout as error:
        raise LockedError(_refusal(location, note)) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"{location.shown}: cannot be written to, since {path} cannot be locked: "
            f"{reason}; check the permissions of the folder, or name another database with --db"
        ) from error
    try:
        _leave_note(note, command)
        yield
    finally:
        try:
            with suppress(OSError):  # a stale note does no harm
                note.unlink()
        finally:
            lock.release()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, as far as it said."""

    pid: int
    host: str
    command: str
    since: datetime


def holder_of(location: Location, role: Role) -> Holder | None:
    """Return who holds that lock now; None if it is free, or it cannot be known."""
    if location.url is not None:
        from phototag.database.server_lock import server_holder

        return _holder(server_holder(location, role))
    path = lock_file(location, role)
    if path is None or not path.exists():
        return None
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _read_note(_note_file(path))
    except (OSError, NotImplementedError):
        return None
    lock.release()
    return None


def _note_file(path: Path) -> Path:
    """Return the note of who holds a lock. The lock decides: after a kill -9 the note is stale and the lock is free."""
    return path.with_name(f"{path.name}.json")


def _note_of(command: str) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command.removeprefix("phototag "),
        "since": datetime.now(UTC).isoformat(),
    }


def _leave_note(file: Path, command: str) -> None:
    # On a full disk the lock still counts; the other process only hears less.
    with suppress(OSError), replacing(file) as partial:
        partial.write_text(json.dumps(_note_of(command)), encoding="utf-8")


def _read_note(file: Path) -> Holder | None:
    """Return what a note says; None when there is none that can be understood."""
    try:
        return _holder(json.loads(read_regular(file, most_bytes=_MOST_NOTE_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None


def _holder(note: Any) -> Holder | None:
    try:
        return Holder(
            pid=int(note["pid"]),
            host=_plain(note["host"]),
            command=_plain(note["command"]),
            since=datetime.fromisoformat(note["since"]).astimezone(),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _refusal(location: Location, note: Path) -> str:
    give_up = time.monotonic() + _NOTE_WAIT_SECONDS
    while (holder := _read_note(note)) is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return _refused(location, holder)


def _refused(location: Location, holder: Holder | None) -> str:
    if holder is None:
        return f"{location.shown}: another process is writing to this database; wait for it to finish"
    same_day = holder.since.date() == datetime.now().astimezone().date()
    since = holder.since.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")
    return (
        f"{location.shown}: 'phototag {holder.command}' "
        f"(process {holder.pid} on {holder.host}, since {since}) is writing to this database; "
        "wait for it to finish, or stop it"
    )


def _plain(value: object) -> str:
    """Return a text that cannot steer a terminal."""
    return "".join(character for character in str(value) if character.isprintable())[:80]
