"""The tables. `migrations/` makes them; a test keeps the two alike.

SQLite takes any value into any column, and a database may come from anyone: the types here let only what phototag
writes out of it, and raise ValueError for all else. Whole numbers, and names of a few choices, are seen to where they
are converted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from typing import Any

import sqlalchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from phototag.text import nfc


def foreign_value(value: object) -> ValueError:
    """Return the error for a value that phototag does not write into that column."""
    return ValueError(f"a value of the type {type(value).__name__} where phototag writes none")


class _Checked:
    """A type of columns that lets only values of one Python type out of SQLite."""

    kind: type

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """See SQLAlchemy."""
        kind = self.kind

        def check(value: Any) -> Any:
            if value is None or type(value) is kind:
                return value
            raise foreign_value(value)

        def check_number(value: Any) -> Any:
            if value is None or (type(value) is float and isfinite(value)):
                return value
            if type(value) is int:
                return float(value)
            raise foreign_value(value)

        if dialect.name == "sqlite":
            return check_number if kind is float else check
        # Others keep to the types themselves, and may need the usual conversion.
        return super().result_processor(dialect, coltype)  # type: ignore[misc, no-any-return]


class Text(_Checked, sqlalchemy.Text):
    kind = str


class LargeBinary(_Checked, sqlalchemy.LargeBinary):
    kind = bytes  # of a number SQLAlchemy would make as many zeros


class Double(_Checked, sqlalchemy.Double[float]):
    kind = float


_STORED: tuple[tuple[type[TypeEngine[Any]], tuple[str, ...]], ...] = (
    (sqlalchemy.DateTime, ("text",)),
    (sqlalchemy.JSON, ("text",)),
    (sqlalchemy.String, ("text",)),
    (sqlalchemy.LargeBinary, ("blob",)),
    (sqlalchemy.Float, ("real", "integer")),
    (sqlalchemy.Boolean, ("integer",)),
    (sqlalchemy.Integer, ("integer",)),
)


def stored_as(kind: TypeEngine[Any]) -> tuple[str, ...]:
    """Return the types that SQLite's typeof() has for the values of a column; nothing where that is not known."""
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return next((names for known, names in _STORED if isinstance(kind, known)), ())


LARGEST_INTEGER = 2**31 - 1

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


class ClassName(TypeDecorator[str]):
    """The name of a class, composed (NFC) as all names are now; earlier versions stored it as it came."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        # An untrusted database may hold anything in a column.
        return nfc(value) if isinstance(value, str) else value


# Every constraint gets a name: a migration can only change what it can name.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
_required = partial(Column, nullable=False)


class this_change(FunctionElement[int]):  # noqa: N801  # as SQL functions are called
    """The number of the transaction that writes, for the columns `written`.

    In a file one writes at a time, and it is what `revision.number` will be. On PostgreSQL transactions that overlap
    have numbers before they are committed, so it is the server's own.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(this_change)
def _next_number(element: this_change, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "(SELECT number + 1 FROM revision WHERE id = 1)"


@compiles(this_change, "postgresql")
def _number_of_transaction(element: this_change, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "txid_current()"


# The last transaction that wrote the row: by it the gallery finds what has changed. It is also raised where something
# was written, or deleted, that only other tables hold of a photo. COPY takes PostgreSQL's default, see the migration.
_written = partial(_required, "written", BigInteger, server_default="0", default=this_change(), onupdate=this_change())

# One picture file.
# `path_bytes` is what the operating system calls it, since file names need not be UTF-8; `path_text` is for
# showing only. On PostgreSQL what is unique, and indexed, is its hash: an index there takes no long values.
# Stat values are stored modulo 2**64 as signed numbers. `lead_id` is the photo that decides for this one
# where two files are one photo (a RAW and its JPEG), null for a photo that decides for itself. `missing_since` is null
# unless the state is "missing".
photos = Table(
    "photos",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("path_bytes", LargeBinary, unique=True),
    _required("path_text", Text),
    _required("size_bytes", BigInteger),
    _required("modified_ns", BigInteger),
    _required("changed_ns", BigInteger),
    _required("inode", BigInteger, index=True),
    Column("content_hash", LargeBinary(32), index=True),
    Column("width", Integer),
    Column("height", Integer),
    _required("state", String(16)),
    Column("error_kind", String(32)),
    Column("error", Text),
    _required("attempts", Integer),
    _required("first_seen_at", UtcTime),
    _required("last_seen_at", UtcTime),
    Column("missing_since", UtcTime),
    Column("lead_id", BigInteger, ForeignKey("photos.id", ondelete="SET NULL"), index=True),
    _written(),
    CheckConstraint("state IN ('ok', 'unreadable', 'unsupported', 'missing')", name="state"),
    CheckConstraint("attempts >= 0", name="attempts"),
)

# What a photo's file says of itself; there is a row once it was read, whatever it said. `modified_ns` and
# `sidecar_modified_ns` are the times of the files that it was read from: when they change it is read again.
# `taken_at` is the clock's reading at the place ("2026-05-03T14:22:01.250"), `utc_offset_minutes` null where no zone is
# named. Latitude and longitude are degrees, north and east positive.
captures = Table(
    "captures",
    metadata,
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    _required("modified_ns", BigInteger),
    Column("sidecar_modified_ns", BigInteger),
    Column("taken_at", String(32), index=True),
    Column("utc_offset_minutes", Integer),
    Column("camera", Text, index=True),
    Column("camera_serial", Text),
    Column("lens", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("rating", Integer),
    CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="place"),
)

# The keywords that a photo's file or sidecar holds, but for those that phototag wrote; the levels of one are joined by
# "|", outermost first.
keywords = Table(
    "keywords",
    metadata,
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    _required("keyword", Text, primary_key=True, index=True),
)

# The ledger of keywords written into files: one row a file. `hash_before` and `hash_after` are the file's without and
# with them, null where there is no file; `edits` are the splices that lead back. `written` holds our keywords by
# property, `withdrawn` those that someone took out again, which are not written a second time. A write is "planned"
# before it is done: `planned` is what these columns hold after it, and the file's own hash tells whether it happened.
keyword_exports = Table(
    "keyword_exports",
    metadata,
    _required("id", BigId, primary_key=True),
    Column("photo_id", BigId, ForeignKey("photos.id", ondelete="SET NULL"), index=True),
    _required("path_bytes", LargeBinary, unique=True),
    _required("path_text", Text),
    _required("kind", String(16)),
    _required("state", String(16)),
    Column("hash_before", LargeBinary(32)),
    Column("hash_after", LargeBinary(32), index=True),
    _required("edits", LargeBinary),
    _required("written", JSON),
    _required("withdrawn", JSON),
    Column("planned", JSON(none_as_null=True)),
    _required("written_at", UtcTime),
    CheckConstraint("kind IN ('sidecar', 'embedded')", name="kind"),
    CheckConstraint("state IN ('planned', 'written')", name="state"),
    CheckConstraint("(planned IS NULL) = (state = 'written')", name="planned"),
)

# One trained model that tagged something here. `hash` is the SHA-256 of its file, in hex.
models = Table(
    "models",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("hash", String(64), unique=True),
    _required("name", Text),
    _required("backbone", Text),
    _required("taxonomy", JSON),
    _required("metrics", JSON),
    _required("created_at", UtcTime),
)

# What one model said of one photo's content. Only `phototag.decision` packs and reads `scores`.
# `model_id` is the oldest of all models with the same weights: files that differ only in thresholds share scores.
predictions = Table(
    "predictions",
    metadata,
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    _required("model_id", BigId, ForeignKey("models.id"), primary_key=True),
    _required("content_hash", LargeBinary(32)),
    _required("scores", LargeBinary),
    _required("predicted_at", UtcTime),
    Index(None, "model_id", "content_hash"),
)

# The one current tag of a photo.
tags = Table(
    "tags",
    metadata,
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("superclass", ClassName),
    Column("subclass", ClassName),
    _required("rank", String(16)),
    _required("superclass_score", Double),
    _required("subclass_score", Double),
    _required("novelty", Double, index=True),
    _required("source", String(16)),
    Column("model_id", BigId, ForeignKey("models.id"), index=True),
    _required("tagged_at", UtcTime, index=True),
    _written(),
    CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name="rank"),
    CheckConstraint("source IN ('model', 'human')", name="source"),
    CheckConstraint("(superclass IS NULL) = (rank = 'none')", name="superclass"),
    CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name="subclass"),
    CheckConstraint("source = 'human' OR model_id IS NOT NULL", name="model"),
    Index(None, "superclass", "subclass"),
)

TAG_NAMES = tuple(column.name for column in tags.c if column.name not in ("photo_id", "written"))
"""The columns of what a tag says."""

# One run of a command that wrote here; of one that was killed, `finished_at` is null until the next begins.
runs = Table(
    "runs",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("kind", String(32)),
    _required("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("model_id", BigId, ForeignKey("models.id")),
    Column("device", Text),
    Column("runtime", Text),
    _required("version", String(32)),
    Column("counts", JSON(none_as_null=True)),
    Column("error", Text),
)

# Photos sampled to be reviewed. `parameters` say from what; they and `seed` give the same sample again.
samples = Table(
    "samples",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("name", Text, unique=True),
    _required("created_at", UtcTime),
    _required("design", String(16)),
    Column("strata_by", Text),
    _required("size", Integer),
    _required("population", Integer),
    _required("seed", BigInteger),
    _required("for_estimation", Boolean),
    Column("model_id", BigId, ForeignKey("models.id")),
    _required("parameters", JSON),
    CheckConstraint("design IN ('simple', 'stratified', 'focus')", name="design"),
    CheckConstraint("size >= 0 AND size <= population", name="size"),
)

# A part of what was sampled: photos in it, and photos sampled from it.
sample_strata = Table(
    "sample_strata",
    metadata,
    _required("sample_id", BigId, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    _required("stratum", Text, primary_key=True),
    _required("population", Integer),
    _required("drawn", Integer),
    CheckConstraint("drawn >= 0 AND drawn <= population", name="drawn"),
)

# One sampled photo, with the content and the tag it had when it was sampled. `position` is the order of review.
# `inclusion_probability` is null where photos were chosen and not sampled by chance.
sample_items = Table(
    "sample_items",
    metadata,
    _required("sample_id", BigId, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    _required("position", Integer, primary_key=True, autoincrement=False),
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE"), index=True),
    _required("stratum", Text),
    Column("inclusion_probability", Double),
    _required("content_hash", LargeBinary(32)),
    Column("superclass", ClassName),
    Column("subclass", ClassName),
    _required("rank", String(16)),
    _required("superclass_score", Double),
    _required("subclass_score", Double),
    _required("novelty", Double),
    Column("model_id", BigId, ForeignKey("models.id")),
    Column("skipped_at", UtcTime),
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

# What a human said of one photo's content, and the tag that was reviewed.
# The newest of a photo that was not undone counts. `previous_tag` is the tag that it replaced, null if there was
# none; `token` is what a client calls the review, so that sending it twice saves it once.
reviews = Table(
    "reviews",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("photo_id", BigId, ForeignKey("photos.id", ondelete="CASCADE")),
    _required("content_hash", LargeBinary(32)),
    Column("superclass", ClassName),
    Column("subclass", ClassName),
    _required("rank", String(16)),
    _required("verdict", String(16)),
    _required("origin", String(16)),
    Column("sample_id", BigId, ForeignKey("samples.id", ondelete="SET NULL")),
    Column("shown_superclass", ClassName),
    Column("shown_subclass", ClassName),
    Column("shown_rank", String(16)),
    Column("shown_superclass_score", Double),
    Column("shown_subclass_score", Double),
    Column("shown_model_id", BigId, ForeignKey("models.id")),
    Column("previous_tag", JSON(none_as_null=True)),
    Column("token", Text, unique=True),
    _required("reviewed_at", UtcTime),
    Column("undone_at", UtcTime),
    CheckConstraint("rank IN ('subclass', 'superclass', 'none')", name="rank"),
    CheckConstraint("(superclass IS NULL) = (rank = 'none')", name="superclass"),
    CheckConstraint("(subclass IS NOT NULL) = (rank = 'subclass')", name="subclass"),
    CheckConstraint("verdict IN ('right', 'superclass_wrong', 'subclass_wrong', 'none', 'label')", name="verdict"),
    CheckConstraint("origin IN ('review', 'import', 'named')", name="origin"),
    Index(None, "photo_id", "id"),
    Index(None, "sample_id", "photo_id"),
)

# ---- what several computers that use one database on a server have to know of each other; of a file only the number of
# its changes is kept

# Small JSON notes, which lie beside a file: what a watcher does, who holds which lock.
notes = Table(
    "notes",
    metadata,
    _required("name", String(64), primary_key=True),
    _required("value", Text),
    _required("changed_at", UtcTime),
)

# Which photos of a sample are open in front of whom, and until when.
leases = Table(
    "leases",
    metadata,
    _required("sample_id", BigId, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    _required("position", Integer, primary_key=True, autoincrement=False),
    _required("holder", Text),
    _required("ends_at", UtcTime),
)

# One row. `number` grows with every transaction that writes, in the order in which they are committed. `writer` and
# `tagger` grow when someone gets that lock: a holder that finds another number than its own has lost it.
revision = Table(
    "revision",
    metadata,
    _required("id", Integer, primary_key=True, autoincrement=False),
    _required("number", BigInteger),
    _required("writer", BigInteger),
    _required("tagger", BigInteger),
    CheckConstraint("id = 1", name="id"),
)

# Photos that wait to be tagged by workers. `payload` says which; a lease that ran out may be taken by another worker.
chunks = Table(
    "chunks",
    metadata,
    _required("id", BigId, primary_key=True),
    _required("batch", String(64)),
    _required("payload", LargeBinary),
    _required("state", String(16)),
    Column("owner", Text),
    Column("lease_until", UtcTime),
    _required("tries", Integer),
    Column("error", Text),
    CheckConstraint("state IN ('waiting', 'leased', 'done', 'failed')", name="state"),
    CheckConstraint("tries >= 0", name="tries"),
    Index(None, "batch", "state"),
)
