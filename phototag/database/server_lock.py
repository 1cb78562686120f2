"""The right to write to a database on a server: an advisory lock, which the server gives back when the session ends.

Who loses the session loses the right, and may not notice: so each right that is given gets the next number (an epoch,
in the table `revision`), and a transaction that writes is refused once a later one was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from phototag.database.connection import make_engine, translated_errors
from phototag.database.location import Location
from phototag.database.notes import read_note, write_note
from phototag.database.tables import revision
from phototag.errors import LockedError, StoreError

# By what the schema is called, since one database may hold several; the server keeps them apart by database.
_KEY = "hashtextextended('phototag ' || coalesce(current_schema(), '') || ' ' || :role, 0)"
# Who looks at the server's sessions sees by whom it is held.
_TAKE = text(f"SELECT CASE WHEN pg_try_advisory_lock({_KEY}) THEN set_config('application_name', :name, false) END")
_WAIT_FOR = text(f"SELECT set_config('application_name', :name, false), pg_advisory_lock({_KEY})")
_MOST_WAIT = text("SELECT set_config('lock_timeout', :milliseconds, false)")
_GIVE_BACK = text(f"SELECT pg_advisory_unlock({_KEY}), set_config('application_name', 'phototag', false)")
_IS_HELD = text(
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"  # noqa: S608  # the key is ours
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND (classid::bigint << 32) | objid::bigint = {_KEY})"
)
_PROCESS = text("SELECT pg_backend_pid()")
_POOLER_TRIES = 3
# Engines whose connections keep their sessions.
_LENT_BY_SESSION: WeakSet[Engine] = WeakSet()
_TABLE_IS_THERE = text("SELECT to_regclass('revision') IS NOT NULL")


class ServerRight:
    """A right that is held. `epoch` is its number, None where there are no tables yet, or the right has none."""

    def __init__(
        self,
        engine: Engine,
        location: Location,
        role: str,
        note: Mapping[str, Any],
        refusal: Callable[[Any], str],
        wait_seconds: float,
    ) -> None:
        """Take it; `note` says who holds it then, and `refusal` makes a text of the note of who holds it already.

        Raises:
            LockedError: another session has it.
        """
        self._engine, self._location, self._role = engine, location, role
        self._note, self._refusal = note, refusal
        self.epoch: int | None = None
        self._connection = self._take(wait_seconds)

    def renew(self) -> None:
        """Take the right again if the session that held it ended, unless another has it now.

        Raises:
            LockedError: another session has it.
        """
        try:
            self._connection.execute(select(1))
            return
        except SQLAlchemyError:
            self._connection.invalidate()
            self._connection.close()
        self._connection = self._take()

    def release(self) -> None:
        """Give the right back; where the server cannot be reached, it does so itself."""
        try:
            self._connection.execute(_GIVE_BACK, {"role": self._role})
        except SQLAlchemyError:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
        finally:
            with suppress(SQLAlchemyError):
                self._connection.close()

    def _take(self, wait_seconds: float = 0.0) -> Connection:
        with translated_errors(self._location):
            # No transaction stays open, however long the right is held.
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                self._refuse_moving(connection)
                if not self._is_given(connection, wait_seconds):
                    raise LockedError(self._refusal(_read(connection, self._role)))
                if connection.execute(_TABLE_IS_THERE).scalar_one():
                    self._sign(connection)
            except LockedError:
                connection.close()
                raise
            except BaseException:
                # Whatever is half taken ends with the session.
                connection.invalidate()
                connection.close()
                raise
        return connection

    def _refuse_moving(self, connection: Connection) -> None:
        """Raise StoreError where a pooler gives each transaction another session: a lock would hold nothing.

        A pooler tells its clients a process of its own, and not the server's. It moves a connection if its process is
        another one, or another connection's, while that one has a transaction open.
        """
        if self._engine in _LENT_BY_SESSION:
            return
        told = getattr(getattr(connection.connection.driver_connection, "info", None), "backend_pid", None)
        own = connection.execute(_PROCESS).scalar_one()
        for _ in range(_POOLER_TRIES if told not in (None, own) else 0):
            with self._engine.connect() as other:
                if other.execute(_PROCESS).scalar_one() == own or connection.execute(_PROCESS).scalar_one() != own:
                    raise StoreError(
                        f"{self._location.shown}: a pooler is between that lends connections by the transaction, and "
                        "the right to write is a lock of a session; set pool_mode=session there, or name the server"
                    )
        _LENT_BY_SESSION.add(self._engine)

    def _is_given(self, connection: Connection, wait_seconds: float) -> bool:
        asked = {"role": self._role, "name": f"phototag {self._note['command']}"[:60]}
        if connection.execute(_TAKE, asked).scalar_one():
            return True
        if wait_seconds <= 0:
            return False
        # In the server's queue, so that all who wait have their turn.
        connection.execute(_MOST_WAIT, {"milliseconds": f"{wait_seconds * 1000:.0f}"})
        try:
            connection.execute(_WAIT_FOR, asked)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            return False
        finally:
            if not connection.invalidated:
                connection.execute(_MOST_WAIT, {"milliseconds": "0"})
        return True

    def _sign(self, connection: Connection) -> None:
        column = {"write": revision.c.writer, "tag": revision.c.tagger}.get(self._role)
        if column is not None:
            # Who is just committing under the right of before has locked the row, and is waited for.
            self.epoch = connection.execute(
                update(revision).values({column: column + 1}).returning(column)
            ).scalar_one()
        write_note(connection, _note_name(self._role), dict(self._note))


@contextmanager
def server_right(
    location: Location,
    role: str,
    note: Mapping[str, Any],
    refusal: Callable[[Any], str],
    engine: Engine | None,
    wait_seconds: float,
) -> Iterator[ServerRight]:
    """Hold a right; without an engine of the caller's, through one of its own."""
    own = engine is None
    used = make_engine(location) if engine is None else engine
    try:
        right = ServerRight(used, location, role, note, refusal, wait_seconds)
        try:
            yield right
        finally:
            right.release()
    finally:
        if own:
            used.dispose()


def server_holder(location: Location, role: str) -> Any:
    """Return the note of who holds a right; None where nobody does, or it cannot be known."""
    engine = make_engine(location)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            held = connection.execute(_IS_HELD, {"role": role}).scalar_one()
            return _read(connection, role) if held else None
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()


def _note_name(role: str) -> str:
    return f"lock.{role}"


def _read(connection: Connection, role: str) -> Any:
    return read_note(connection, _note_name(role)) if connection.execute(_TABLE_IS_THERE).scalar_one() else None
