"""The queue: chunks of photos that wait for workers, in a table of the database on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Update, delete, func, insert, select, text, update

from phototag.database import Database, chunks
from phototag.errors import StoreError

# The server's clock alone: those of the workers may be wrong.
_TAKE = text(
    "UPDATE chunks SET state = 'leased', owner = :owner, lease_until = clock_timestamp() + :length,"
    " tries = tries + CASE WHEN state = 'leased' THEN 1 ELSE 0 END"
    " WHERE id = (SELECT id FROM chunks WHERE state = 'waiting'"
    " OR (state = 'leased' AND lease_until < clock_timestamp()) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, payload, tries"
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
    """The chunks of one run at a time. All but the last two methods write; StoreError is raised when that cannot be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def clear(self) -> None:
        """Drop all chunks: a worker that still has one saves nothing of it."""
        with self._database.write() as connection:
            connection.execute(delete(chunks))

    def put(self, run: str, payloads: Sequence[bytes], *, instead_of: TakenChunk | None = None) -> None:
        """Add chunks of a run; or none, if they come instead of one that is this worker's no longer."""
        with self._database.write() as connection:
            if instead_of is not None:
                if connection.execute(_own(instead_of).values(state="failed")).rowcount != 1:
                    return
                connection.execute(delete(chunks).where(chunks.c.id == instead_of.id))
            if rows := [{"batch": run, "payload": payload, "state": "waiting", "tries": 0} for payload in payloads]:
                connection.execute(insert(chunks), rows)

    def take(self, owner: str, *, seconds: float) -> TakenChunk | None:
        """Take a chunk that waits, or whose lease ran out, for so long; None if there is none."""
        with self._database.write() as connection:
            values = {"owner": owner, "length": timedelta(seconds=seconds)}
            row = connection.execute(_TAKE, values).one_or_none()
            return None if row is None else TakenChunk(int(row.id), owner, bytes(row.payload), int(row.tries))

    def extend(self, chunk: TakenChunk, *, seconds: float) -> bool:
        """Keep a chunk for so long from now on; False if it is this worker's no longer."""
        with self._database.write() as connection:
            until = func.clock_timestamp() + timedelta(seconds=seconds)
            return connection.execute(_own(chunk).values(lease_until=until)).rowcount == 1

    def give_back(self, chunk: TakenChunk) -> None:
        """Let another worker take a chunk at once."""
        with self._database.write() as connection:
            connection.execute(_own(chunk).values(state="waiting", owner=None, lease_until=None))

    def completing(self, chunk: TakenChunk, result: bytes) -> Callable[[Connection], None]:
        """Return what notes in another transaction that a chunk is done, and what came of it.

        What is returned raises LeaseLostError, which undoes that transaction, if it is this worker's no longer.
        """

        def complete(connection: Connection) -> None:
            if connection.execute(_own(chunk).values(state="done", payload=result)).rowcount != 1:
                raise LeaseLostError("another worker has this chunk by now, or its run ended")

        return complete

    def collect(self, run: str) -> tuple[list[bytes], int]:
        """Take what came of the chunks of a run that are done, and count those that are not."""
        done = delete(chunks).where(chunks.c.batch == run, chunks.c.state == "done").returning(chunks.c.payload)
        left = select(func.count()).select_from(chunks).where(chunks.c.batch == run)
        with self._database.write() as connection:
            results = [bytes(payload) for payload in connection.execute(done).scalars()]
            return results, int(connection.execute(left).scalar_one())

    def in_hand(self) -> int:
        """Return how many chunks workers have now, of whatever run."""
        with self._database.read() as connection:
            held = (chunks.c.state == "leased", chunks.c.lease_until > func.clock_timestamp())
            return int(connection.execute(select(func.count()).select_from(chunks).where(*held)).scalar_one())

    def unfinished(self) -> int:
        """Return how many chunks are not done, of whatever run."""
        with self._database.read() as connection:
            statement = select(func.count()).select_from(chunks).where(chunks.c.state != "done")
            return int(connection.execute(statement).scalar_one())


def _own(chunk: TakenChunk) -> Update:
    return update(chunks).where(chunks.c.id == chunk.id, chunks.c.owner == chunk.owner, chunks.c.state == "leased")
