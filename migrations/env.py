"""What alembic runs, on the connection and in a transaction of `phototag.database.schema.migrate`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from phototag.database import metadata
from phototag.errors import StoreError


def run() -> None:
    """Run the wanted migrations on the caller's connection, inside the caller's transaction."""
    connection = context.config.attributes.get("connection")
    if not isinstance(connection, Connection):
        raise StoreError("migrations need phototag's own connection; run: phototag db upgrade")
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot change a column in place: make the table anew and copy the rows.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run()
