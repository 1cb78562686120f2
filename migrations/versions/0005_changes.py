"""The fifth schema: by which transaction photos and tags were written last, so that what has changed is found.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column to photos and tags. Rows stay as they are: a constant default is kept with the table alone."""
    for table in ("photos", "tags"):
        op.add_column(table, sa.Column("written", sa.BigInteger(), nullable=False, server_default="0"))
        if op.get_bind().dialect.name == "postgresql":
            # For rows that are copied in, which name no transaction.
            op.execute(f"ALTER TABLE {table} ALTER COLUMN written SET DEFAULT txid_current()")
