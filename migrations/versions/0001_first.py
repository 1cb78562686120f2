"""The first schema: photos, models, predictions, tags and runs.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts up by itself only for a column that is exactly INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make all tables."""
    _photos()
    _models()
    _predictions()
    _tags()
    _runs()


def _photos() -> None:
    op.create_table(
        "photos",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("path_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("path_text", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error_kind", sa.String(32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_photos"),
        sa.UniqueConstraint("path_bytes", name="uq_photos_path_bytes"),
        sa.CheckConstraint("state IN ('ok', 'unreadable', 'missing')", name=op.f("ck_photos_state")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_photos_attempts")),
    )
    op.create_index("ix_photos_content_hash", "photos", ["content_hash"])


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("taxonomy", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("hash", name="uq_models_hash"),
    )


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("photo_id", BIG_ID, nullable=False),
        sa.Column("model_id", BIG_ID, nullable=False),
        sa.Column("content_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("scores", sa.LargeBinary(), nullable=False),
        sa.Column("predicted_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "model_id", name="pk_predictions"),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_predictions_photo_id_photos", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_predictions_model_id_models"),
    )
    op.create_index("ix_predictions_model_id_content_hash", "predictions", ["model_id", "content_hash"])


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("photo_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("superclass", sa.Text(), nullable=True),
        sa.Column("subclass", sa.Text(), nullable=True),
        sa.Column("rank", sa.String(16), nullable=False),
        sa.Column("superclass_score", sa.Double(), nullable=False),
        sa.Column("subclass_score", sa.Double(), nullable=False),
        sa.Column("novelty", sa.Double(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("model_id", BIG_ID, nullable=True),
        sa.Column("tagged_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("photo_id", name="pk_tags"),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_tags_photo_id_photos", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_tags_model_id_models"),
        sa.CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name=op.f("ck_tags_rank")),
        sa.CheckConstraint("source IN ('model', 'human')", name=op.f("ck_tags_source")),
        sa.CheckConstraint("(superclass IS NULL) = (rank = 'none')", name=op.f("ck_tags_superclass")),
        sa.CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name=op.f("ck_tags_subclass")),
        sa.CheckConstraint("source = 'human' OR model_id IS NOT NULL", name=op.f("ck_tags_model")),
    )
    op.create_index("ix_tags_superclass_subclass", "tags", ["superclass", "subclass"])
    op.create_index("ix_tags_novelty", "tags", ["novelty"])
    op.create_index("ix_tags_model_id", "tags", ["model_id"])
    op.create_index("ix_tags_tagged_at", "tags", ["tagged_at"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("model_id", BIG_ID, nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("runtime", sa.Text(), nullable=True),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_runs_model_id_models"),
    )
