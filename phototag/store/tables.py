"""The tables, as typed SQLAlchemy models. `migrations/` makes them; a test keeps the two alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite counts up by itself only for a column that is exactly INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment in time: aware datetimes in, aware UTC datetimes out; sortable text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; phototag stores moments, not wall-clock readings")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite has no time zones: what comes back is the UTC that was bound.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all models. Every constraint gets a name: a migration can only change what it can name."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class PhotoRow(Base):
    """One picture file.

    `path_bytes` is what the operating system calls it, since file names need not be UTF-8; `path_text` is for
    showing only. Stat values are stored modulo 2**64 as signed numbers.
    """

    __tablename__ = "photos"
    __table_args__ = (
        CheckConstraint("state IN ('ok', 'unreadable', 'missing')", name="state"),
        CheckConstraint("attempts >= 0", name="attempts"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    path_bytes: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    path_text: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    modified_ns: Mapped[int] = mapped_column(BigInteger)
    changed_ns: Mapped[int] = mapped_column(BigInteger)
    inode: Mapped[int] = mapped_column(BigInteger)
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True)
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    error_kind: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    first_seen_at: Mapped[datetime] = mapped_column(UtcTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcTime)


class ModelRow(Base):
    """One trained model that tagged something here. `hash` is the SHA-256 of its file, in hex."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(Text)
    backbone: Mapped[str] = mapped_column(Text)
    taxonomy: Mapped[dict[str, Any]] = mapped_column(JSON)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class PredictionRow(Base):
    """What one model said of one photo's content. Only `phototag.decision.rule` packs and reads `scores`.

    `model_id` is the oldest of all models with the same weights: files that differ only in thresholds share scores.
    """

    __tablename__ = "predictions"
    __table_args__ = (Index(None, "model_id", "content_hash"),)

    photo_id: Mapped[int] = mapped_column(BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[int] = mapped_column(BigId, ForeignKey("models.id"), primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    predicted_at: Mapped[datetime] = mapped_column(UtcTime)


class TagRow(Base):
    """The one current tag of a photo."""

    __tablename__ = "tags"
    __table_args__ = (
        CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name="rank"),
        CheckConstraint("source IN ('model', 'human')", name="source"),
        CheckConstraint("(superclass IS NULL) = (rank = 'none')", name="superclass"),
        CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name="subclass"),
        CheckConstraint("source = 'human' OR model_id IS NOT NULL", name="model"),
        Index(None, "superclass", "subclass"),
    )

    photo_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    superclass: Mapped[str | None] = mapped_column(Text)
    subclass: Mapped[str | None] = mapped_column(Text)
    rank: Mapped[str] = mapped_column(String(16))
    superclass_score: Mapped[float] = mapped_column(Double)
    subclass_score: Mapped[float] = mapped_column(Double)
    novelty: Mapped[float] = mapped_column(Double, index=True)
    source: Mapped[str] = mapped_column(String(16))
    model_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("models.id"), index=True)
    tagged_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class RunRow(Base):
    """One run of a command that wrote here; `finished_at` stays null when it was killed."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    model_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("models.id"))
    device: Mapped[str | None] = mapped_column(Text)
    runtime: Mapped[str | None] = mapped_column(Text)
    version: Mapped[str] = mapped_column(String(32))
    counts: Mapped[dict[str, int] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(Text)


class SampleRow(Base):
    """Photos drawn to be reviewed. `parameters` say what they were drawn from; `seed` and they draw the same again."""

    __tablename__ = "samples"
    __table_args__ = (
        CheckConstraint("design IN ('simple', 'stratified', 'focus')", name="design"),
        CheckConstraint("size >= 0 AND size <= population", name="size"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    design: Mapped[str] = mapped_column(String(16))
    strata_by: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int] = mapped_column(Integer)
    population: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    for_estimation: Mapped[bool] = mapped_column(Boolean)
    model_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("models.id"))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)


class SampleStratumRow(Base):
    """A part of what a sample was drawn from: photos in it, and photos drawn from it."""

    __tablename__ = "sample_strata"
    __table_args__ = (CheckConstraint("drawn >= 0 AND drawn <= population", name="drawn"),)

    sample_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    stratum: Mapped[str] = mapped_column(Text, primary_key=True)
    population: Mapped[int] = mapped_column(Integer)
    drawn: Mapped[int] = mapped_column(Integer)


class SampleItemRow(Base):
    """One drawn photo, with the content and the tag it had when it was drawn. `position` is the order of review.

    `inclusion_probability` is null where photos were chosen and not drawn by chance.
    """

    __tablename__ = "sample_items"
    __table_args__ = (
        ForeignKeyConstraint(
            ["sample_id", "stratum"], ["sample_strata.sample_id", "sample_strata.stratum"], ondelete="CASCADE"
        ),
        UniqueConstraint("sample_id", "photo_id"),
        CheckConstraint("position >= 1", name="position"),
        CheckConstraint("inclusion_probability > 0 AND inclusion_probability <= 1", name="inclusion_probability"),
        CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name="rank"),
        CheckConstraint("(superclass IS NULL) = (rank = 'none')", name="superclass"),
        CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name="subclass"),
    )

    sample_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    photo_id: Mapped[int] = mapped_column(BigId, ForeignKey("photos.id", ondelete="CASCADE"), index=True)
    stratum: Mapped[str] = mapped_column(Text)
    inclusion_probability: Mapped[float | None] = mapped_column(Double)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    superclass: Mapped[str | None] = mapped_column(Text)
    subclass: Mapped[str | None] = mapped_column(Text)
    rank: Mapped[str] = mapped_column(String(16))
    superclass_score: Mapped[float] = mapped_column(Double)
    subclass_score: Mapped[float] = mapped_column(Double)
    novelty: Mapped[float] = mapped_column(Double)
    model_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("models.id"))
    skipped_at: Mapped[datetime | None] = mapped_column(UtcTime)


class ReviewRow(Base):
    """What a human said of one photo's content, and the tag that was judged.

    The newest of a photo that was not undone counts. `previous_tag` is the tag that it replaced, null if there was
    none; `token` is what a client calls the review, so that sending it twice saves it once.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name="rank"),
        CheckConstraint("(superclass IS NULL) = (rank = 'none')", name="superclass"),
        CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name="subclass"),
        CheckConstraint("verdict IN ('right', 'superclass_wrong', 'subclass_wrong', 'none', 'label')", name="verdict"),
        CheckConstraint("origin IN ('review', 'import', 'named')", name="origin"),
        Index(None, "photo_id", "id"),
        Index(None, "sample_id", "photo_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    photo_id: Mapped[int] = mapped_column(BigId, ForeignKey("photos.id", ondelete="CASCADE"))
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    superclass: Mapped[str | None] = mapped_column(Text)
    subclass: Mapped[str | None] = mapped_column(Text)
    rank: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str] = mapped_column(String(16))
    sample_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("samples.id", ondelete="SET NULL"))
    shown_superclass: Mapped[str | None] = mapped_column(Text)
    shown_subclass: Mapped[str | None] = mapped_column(Text)
    shown_rank: Mapped[str | None] = mapped_column(String(16))
    shown_superclass_score: Mapped[float | None] = mapped_column(Double)
    shown_subclass_score: Mapped[float | None] = mapped_column(Double)
    shown_model_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("models.id"))
    previous_tag: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    token: Mapped[str | None] = mapped_column(Text, unique=True)
    reviewed_at: Mapped[datetime] = mapped_column(UtcTime)
    undone_at: Mapped[datetime | None] = mapped_column(UtcTime)


# The store works on tables in bulk and never builds objects of the classes above.
photos = cast(Table, PhotoRow.__table__)
models = cast(Table, ModelRow.__table__)
predictions = cast(Table, PredictionRow.__table__)
tags = cast(Table, TagRow.__table__)
runs = cast(Table, RunRow.__table__)
samples = cast(Table, SampleRow.__table__)
sample_strata = cast(Table, SampleStratumRow.__table__)
sample_items = cast(Table, SampleItemRow.__table__)
reviews = cast(Table, ReviewRow.__table__)
