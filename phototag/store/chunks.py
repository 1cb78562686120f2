"""The queue: chunks of photos that wait for workers, in a table of the database on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Update, delete, func, insert, select, text, update

from phototag.errors import StoreError
from phototag.store.database import Database
from phototag.store.tables import chunks

# The server's clock alone: those of the workers may be wrong.
_TAKE = text(
    "UPDATE chunks SET state = 'leased', owner = :owner,"
    " lease_until = clock_timestamp() + :seconds * interval '1 second',"
    " tries = tries + CASE WHEN state = 'leased' THEN 1 ELSE 0 END"
    " WHERE id = (SELECT id FROM chunks WHERE state = 'waiting'"
    " OR (state = 'leased' AND lease_until < clock_timestamp()) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, payload, tries"
)
_EXTEND = text(
    "UPDATE chunks SET lease_until = clock_timestamp() + :seconds * interval '1 second'"
    " WHERE id = :id AND owner = :owner AND state = 'leased'"
)


class LeaseLostError(StoreError):
    """Raised when a chunk is no longer this worker's: its lease ran out, or the run was started again."""


@dataclass(frozen=True, slots=True)
class TakenChunk:
    """A chunk that a worker has. `deaths` counts the leases of it that ran out: workers that died, or were lost."""

    id: int
    owner: str
    payload: bytes
    deaths: int


class Chunks:
    """The chunks of one run at a time. All methods write, and raise StoreError when that cannot be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def clear(self) -> None:
        """Drop all chunks: a worker that still has one saves nothing of it."""
        with self._database.write() as connection:
            connection.execute(delete(chunks))

    def put(self, run: str, payloads: Sequence[bytes]) -> None:
        """Add chunks of a run."""
        with self._database.write() as connection:
            _put(connection, run, payloads)

    def take(self, owner: str, *, seconds: float) -> TakenChunk | None:
        """Take a chunk that waits, or whose lease ran out, for so long; None if there is none."""
        with self._database.write() as connection:
            row = connection.execute(_TAKE, {"owner": owner, "seconds": seconds}).one_or_none()
            return None if row is None else TakenChunk(int(row.id), owner, bytes(row.payload), int(row.tries))

    def extend(self, chunk: TakenChunk, *, seconds: float) -> bool:
        """Keep a chunk for so long from now on; False if it is this worker's no longer."""
        with self._database.write() as connection:
            values = {"id": chunk.id, "owner": chunk.owner, "seconds": seconds}
            return connection.execute(_EXTEND, values).rowcount == 1

    def give_back(self, chunk: TakenChunk) -> None:
        """Let another worker take a chunk at once."""
        with self._database.write() as connection:
            connection.execute(_own(chunk).values(state="waiting", owner=None, lease_until=None))

    def replace(self, chunk: TakenChunk, run: str, payloads: Sequence[bytes]) -> None:
        """Put other chunks in the place of one, unless it is this worker's no longer."""
        with self._database.write() as connection:
            if connection.execute(_own(chunk).values(state="failed")).rowcount == 1:
                connection.execute(delete(chunks).where(chunks.c.id == chunk.id))
                _put(connection, run, payloads)

    def completing(self, chunk: TakenChunk, result: bytes) -> Callable[[Connection], None]:
        """Return what notes in another transaction that a chunk is done, and what came of it.

        What is returned raises LeaseLostError, which undoes that transaction, if it is this worker's no longer.
        """

        def complete(connection: Connection) -> None:
            done = _own(chunk).values(state="done", payload=result, lease_until=None)
            if connection.execute(done).rowcount != 1:
                raise LeaseLostError("another worker has this chunk by now")

        return complete

    def collect(self, run: str) -> tuple[list[bytes], int]:
        """Take what came of the chunks of a run that are done, and count those that are not."""
        with self._database.write() as connection:
            done = delete(chunks).where(chunks.c.batch == run, chunks.c.state == "done").returning(chunks.c.payload)
            results = [bytes(payload) for payload in connection.execute(done).scalars()]
            left = select(func.count()).select_from(chunks).where(chunks.c.batch == run)
            return results, int(connection.execute(left).scalar_one())

    def unfinished(self) -> int:
        """Return how many chunks are not done, of whatever run."""
        with self._database.read() as connection:
            statement = select(func.count()).select_from(chunks).where(chunks.c.state.in_(("waiting", "leased")))
            return int(connection.execute(statement).scalar_one())


def _put(connection: Connection, run: str, payloads: Sequence[bytes]) -> None:
    rows = [{"batch": run, "payload": payload, "state": "waiting", "tries": 0} for payload in payloads]
    if rows:
        connection.execute(insert(chunks), rows)


def _own(chunk: TakenChunk) -> Update:
    return update(chunks).where(chunks.c.id == chunk.id, chunks.c.owner == chunk.owner, chunks.c.state == "leased")
