"""The second schema: samples drawn to be reviewed, and reviews.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite counts up by itself only for a column that is exactly INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the four tables; those that are there stay as they are."""
    _samples()
    _sample_strata()
    _sample_items()
    _reviews()


def _samples() -> None:
    op.create_table(
        "samples",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("design", sa.String(16), nullable=False),
        sa.Column("strata_by", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("for_estimation", sa.Boolean(), nullable=False),
        sa.Column("model_id", BIG_ID, nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_samples"),
        sa.UniqueConstraint("name", name="uq_samples_name"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_samples_model_id_models"),
        sa.CheckConstraint("design IN ('simple', 'stratified', 'focus')", name=op.f("ck_samples_design")),
        sa.CheckConstraint("size >= 0 AND size <= population", name=op.f("ck_samples_size")),
    )


def _sample_strata() -> None:
    op.create_table(
        "sample_strata",
        sa.Column("sample_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sample_id", "stratum", name="pk_sample_strata"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.id"], name="fk_sample_strata_sample_id_samples", ondelete="CASCADE"
        ),
        sa.CheckConstraint("drawn >= 0 AND drawn <= population", name=op.f("ck_sample_strata_drawn")),
    )


def _sample_items() -> None:
    op.create_table(
        "sample_items",
        sa.Column("sample_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("photo_id", BIG_ID, nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("superclass", sa.Text(), nullable=True),
        sa.Column("subclass", sa.Text(), nullable=True),
        sa.Column("rank", sa.String(16), nullable=False),
        sa.Column("superclass_score", sa.Double(), nullable=False),
        sa.Column("subclass_score", sa.Double(), nullable=False),
        sa.Column("novelty", sa.Double(), nullable=False),
        sa.Column("model_id", BIG_ID, nullable=True),
        sa.Column("skipped_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("sample_id", "position", name="pk_sample_items"),
        sa.UniqueConstraint("sample_id", "photo_id", name="uq_sample_items_sample_id"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.id"], name="fk_sample_items_sample_id_samples", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["sample_id", "stratum"],
            ["sample_strata.sample_id", "sample_strata.stratum"],
            name="fk_sample_items_sample_id_sample_strata",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name="fk_sample_items_photo_id_photos", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_sample_items_model_id_models"),
        sa.CheckConstraint("position >= 1", name=op.f("ck_sample_items_position")),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_sample_items_inclusion_probability"),
        ),
        sa.CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name=op.f("ck_sample_items_rank")),
        sa.CheckConstraint("(superclass IS NULL) = (rank = 'none')", name=op.f("ck_sample_items_superclass")),
        sa.CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name=op.f("ck_sample_items_subclass")),
    )
    op.create_index("ix_sample_items_photo_id", "sample_items", ["photo_id"])


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("photo_id", BIG_ID, nullable=False),
        sa.Column("content_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("superclass", sa.Text(), nullable=True),
        sa.Column("subclass", sa.Text(), nullable=True),
        sa.Column("rank", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("sample_id", BIG_ID, nullable=True),
        sa.Column("shown_superclass", sa.Text(), nullable=True),
        sa.Column("shown_subclass", sa.Text(), nullable=True),
        sa.Column("shown_rank", sa.String(16), nullable=True),
        sa.Column("shown_superclass_score", sa.Double(), nullable=True),
        sa.Column("shown_subclass_score", sa.Double(), nullable=True),
        sa.Column("shown_model_id", BIG_ID, nullable=True),
        sa.Column("previous_tag", sa.JSON(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("reviewed_at", MOMENT, nullable=False),
        sa.Column("undone_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("token", name="uq_reviews_token"),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_reviews_photo_id_photos", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.id"], name="fk_reviews_sample_id_samples", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["shown_model_id"], ["models.id"], name="fk_reviews_shown_model_id_models"),
        sa.CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name=op.f("ck_reviews_rank")),
        sa.CheckConstraint("(superclass IS NULL) = (rank = 'none')", name=op.f("ck_reviews_superclass")),
        sa.CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name=op.f("ck_reviews_subclass")),
        sa.CheckConstraint(
            "verdict IN ('right', 'superclass_wrong', 'subclass_wrong', 'none', 'label')",
            name=op.f("ck_reviews_verdict"),
        ),
        sa.CheckConstraint("origin IN ('review', 'import', 'named')", name=op.f("ck_reviews_origin")),
    )
    op.create_index("ix_reviews_photo_id_id", "reviews", ["photo_id", "id"])
    op.create_index("ix_reviews_sample_id_photo_id", "reviews", ["sample_id", "photo_id"])
