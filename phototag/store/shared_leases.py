"""Which photos of a sample are open where, for all computers that use a database on a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from phototag.database import LARGEST_INTEGER, Database, leases, translated_errors


class SharedLeases:
    """Places of samples by who looks at them, in a table. All methods raise StoreError when the server is away.

    Nothing of it is part of the library: no right to write is needed, and no reader is told.
    """

    def __init__(self, database: Database, *, seconds: float) -> None:
        """Make leases that end so long after they were last asked for, by the server's clock."""
        self._database, self._end = database, func.now() + timedelta(seconds=seconds)

    def take(self, sample_id: int, holder: str, positions: Sequence[int], *, want: int) -> list[int]:
        """Lease the first `want` of these places that no one else holds."""
        others = (leases.c.sample_id == sample_id) & (leases.c.holder != holder) & (leases.c.ends_at > func.now())
        free = or_(leases.c.holder == holder, leases.c.ends_at <= func.now())
        taken: list[int] = []
        with self._connected() as connection:
            held = set(connection.execute(select(leases.c.position).where(others)).scalars())
            for position in positions:
                if len(taken) == want:
                    break
                if position not in held and self._put(connection, sample_id, holder, position, only_if=free):
                    taken.append(position)
        return taken

    def keep(self, sample_id: int, holder: str, positions: Sequence[int]) -> None:
        """Hold these places from now on, even if another holder has them."""
        with self._connected() as connection:
            for position in positions:
                self._put(connection, sample_id, holder, position)

    def release(self, sample_id: int, holder: str) -> None:
        """Give back all places of the holder, and what nobody asked for any more."""
        own = (leases.c.sample_id == sample_id) & (leases.c.holder == holder)
        with self._connected() as connection:
            connection.execute(delete(leases).where(or_(own, leases.c.ends_at <= func.now())))

    def _put(
        self,
        connection: Connection,
        sample_id: int,
        holder: str,
        position: int,
        *,
        only_if: ColumnElement[bool] | None = None,
    ) -> bool:
        if position > LARGEST_INTEGER:
            return False
        row = {"sample_id": sample_id, "position": position, "holder": holder, "ends_at": self._end}
        statement = insert(leases).values(row)
        change = statement.on_conflict_do_update(
            index_elements=[leases.c.sample_id, leases.c.position],
            set_={"holder": holder, "ends_at": self._end},
            where=only_if,
        )
        return connection.execute(change.returning(leases.c.position)).first() is not None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        # Each statement is a transaction: two who ask for the same places never wait for each other's.
        with translated_errors(self._database.location), self._database.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
