"""The fourth schema: what several computers that use one database have to know of each other.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# SQLite counts up by itself only for a column that is exactly INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make four small tables; PostgreSQL gets other indexes where it takes no long values. Rows stay as they are."""
    _notes()
    _leases()
    _revision()
    _chunks()
    if op.get_bind().dialect.name == "postgresql":
        _short_indexes()


def _notes() -> None:
    op.create_table(
        "notes",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_notes"),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("sample_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sample_id", "position", name="pk_leases"),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name="fk_leases_sample_id_samples", ondelete="CASCADE"),
    )


def _revision() -> None:
    table = op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("writer", sa.BigInteger(), nullable=False),
        sa.Column("tagger", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_id")),
    )
    op.bulk_insert(table, [{"id": 1, "number": 0, "writer": 0, "tagger": 0}])


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("batch", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_chunks"),
        sa.CheckConstraint("state IN ('waiting', 'leased', 'done', 'failed')", name=op.f("ck_chunks_state")),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_chunks_tries")),
    )
    op.create_index("ix_chunks_batch_state", "chunks", ["batch", "state"])


def _short_indexes() -> None:
    """Index hashes and starts of values that may be longer than the 2,704 bytes which an index of PostgreSQL takes."""
    for name in ("photos", "keyword_exports"):
        op.execute(f"ALTER TABLE {name} DROP CONSTRAINT uq_{name}_path_bytes")
        op.execute(f"CREATE UNIQUE INDEX uq_{name}_path_bytes ON {name} (sha256(path_bytes))")
        op.execute(f"CREATE INDEX ix_{name}_path_bytes ON {name} (substr(path_bytes, 1, 1024))")
    op.execute("ALTER TABLE keywords DROP CONSTRAINT pk_keywords")
    op.execute("CREATE UNIQUE INDEX pk_keywords ON keywords (photo_id, md5(keyword))")
    op.execute("DROP INDEX ix_keywords_keyword")
    op.execute("CREATE INDEX ix_keywords_keyword ON keywords USING hash (keyword)")
