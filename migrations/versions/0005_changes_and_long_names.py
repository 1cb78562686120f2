"""The fifth schema: what changed photos are found by; on PostgreSQL long names of classes, too, are indexed.

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
    """Add the last transaction that wrote a row to photos and tags, and let PostgreSQL index long names.

    No row is touched: a constant default is kept with the table alone.
    """
    for table in ("photos", "tags"):
        op.add_column(table, sa.Column("written", sa.BigInteger(), nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        _name_transactions()
        _index_long_names()


def _name_transactions() -> None:
    """Let rows that are copied in, which name no transaction, get its number."""
    for table in ("photos", "tags"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN written SET DEFAULT txid_current()")


def _index_long_names() -> None:
    """Index two names apart, or their hash, as two together may be longer than PostgreSQL takes (2,704 bytes)."""
    op.execute("DROP INDEX ix_tags_superclass_subclass")
    op.create_index("ix_tags_superclass", "tags", ["superclass"])
    op.create_index("ix_tags_subclass", "tags", ["subclass"])
    # The name of a stratum may be those of two classes. A foreign key would need an index of the name itself.
    op.execute("ALTER TABLE sample_items DROP CONSTRAINT fk_sample_items_sample_id_sample_strata")
    op.execute("ALTER TABLE sample_strata DROP CONSTRAINT pk_sample_strata")
    op.execute("CREATE UNIQUE INDEX pk_sample_strata ON sample_strata (sample_id, md5(stratum))")
