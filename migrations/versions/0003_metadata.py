"""The third schema: what a file says of itself, pairs, since when a file is missing, and keywords written into files.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# SQLite counts up by itself only for a column that is exactly INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add three columns' worth to photos, and make three tables. What is known stays as it is."""
    _photos()
    _captures()
    _keywords()
    _keyword_exports()


def _photos() -> None:
    with op.batch_alter_table("photos") as table:
        table.drop_constraint(op.f("ck_photos_state"), type_="check")
        table.create_check_constraint(
            op.f("ck_photos_state"), "state IN ('ok', 'unreadable', 'unsupported', 'missing')"
        )
        table.add_column(sa.Column("missing_since", MOMENT, nullable=True))
        table.add_column(sa.Column("lead_id", sa.BigInteger(), nullable=True))
        table.create_foreign_key(op.f("fk_photos_lead_id_photos"), "photos", ["lead_id"], ["id"], ondelete="SET NULL")
        table.create_index(op.f("ix_photos_lead_id"), ["lead_id"])
        # By which a file that was moved is found without reading it.
        table.create_index(op.f("ix_photos_inode"), ["inode"])
    # Nobody wrote down when they went: they were last there when they were last seen.
    op.execute("UPDATE photos SET missing_since = last_seen_at WHERE state = 'missing'")


def _captures() -> None:
    op.create_table(
        "captures",
        sa.Column("photo_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("sidecar_modified_ns", sa.BigInteger(), nullable=True),
        sa.Column("taken_at", sa.String(32), nullable=True),
        sa.Column("utc_offset_minutes", sa.Integer(), nullable=True),
        sa.Column("camera", sa.Text(), nullable=True),
        sa.Column("camera_serial", sa.Text(), nullable=True),
        sa.Column("lens", sa.Text(), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("photo_id", name="pk_captures"),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_captures_photo_id_photos", ondelete="CASCADE"),
        sa.CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name=op.f("ck_captures_place")),
    )
    op.create_index("ix_captures_taken_at", "captures", ["taken_at"])
    op.create_index("ix_captures_camera", "captures", ["camera"])


def _keywords() -> None:
    op.create_table(
        "keywords",
        sa.Column("photo_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("keyword", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "keyword", name="pk_keywords"),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_keywords_photo_id_photos", ondelete="CASCADE"),
    )
    op.create_index("ix_keywords_keyword", "keywords", ["keyword"])


def _keyword_exports() -> None:
    op.create_table(
        "keyword_exports",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("photo_id", BIG_ID, nullable=True),
        sa.Column("path_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("path_text", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("hash_before", sa.LargeBinary(32), nullable=True),
        sa.Column("hash_after", sa.LargeBinary(32), nullable=True),
        sa.Column("edits", sa.LargeBinary(), nullable=False),
        sa.Column("written", sa.JSON(), nullable=False),
        sa.Column("withdrawn", sa.JSON(), nullable=False),
        sa.Column("planned", sa.JSON(), nullable=True),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keyword_exports"),
        sa.UniqueConstraint("path_bytes", name="uq_keyword_exports_path_bytes"),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name="fk_keyword_exports_photo_id_photos", ondelete="SET NULL"
        ),
        sa.CheckConstraint("kind IN ('sidecar', 'embedded')", name=op.f("ck_keyword_exports_kind")),
        sa.CheckConstraint("state IN ('planned', 'written')", name=op.f("ck_keyword_exports_state")),
        sa.CheckConstraint("(planned IS NULL) = (state = 'written')", name=op.f("ck_keyword_exports_planned")),
    )
    op.create_index("ix_keyword_exports_photo_id", "keyword_exports", ["photo_id"])
    op.create_index("ix_keyword_exports_hash_after", "keyword_exports", ["hash_after"])
