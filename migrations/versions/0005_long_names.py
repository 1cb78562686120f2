"""The fifth schema: names of classes as long as they may be, in indexes of PostgreSQL.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let PostgreSQL index two names apart, or their hash, as two together may be longer than it takes (2,704 bytes).

    In SQLite all stays as it is.
    """
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP INDEX ix_tags_superclass_subclass")
    op.create_index("ix_tags_superclass", "tags", ["superclass"])
    op.create_index("ix_tags_subclass", "tags", ["subclass"])
    # The name of a stratum may be those of two classes. A foreign key would need an index of the name itself.
    op.execute("ALTER TABLE sample_items DROP CONSTRAINT fk_sample_items_sample_id_sample_strata")
    op.execute("ALTER TABLE sample_strata DROP CONSTRAINT pk_sample_strata")
    op.execute("CREATE UNIQUE INDEX pk_sample_strata ON sample_strata (sample_id, md5(stratum))")
