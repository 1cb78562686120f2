"""Paths in conditions and orders that use an index.

SQLite has one of the paths themselves. PostgreSQL takes no long values into an index (2,704 bytes, and a path may have
4,096): there one is of hashes, and one of how paths start. Other databases are asked as SQLite is.
"""

from __future__ import annotations

import hashlib
from typing import Any, Self

from sqlalchemy import Boolean, ColumnElement, Dialect, LargeBinary, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# As in the index that the migration makes.
_START_BYTES = 1024


class _Hashed(TypeDecorator[bytes]):
    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return hashlib.sha256(value).digest() if value is not None and dialect.name == "postgresql" else value


class path_hash(FunctionElement[bytes]):  # noqa: N801  # as SQL functions are called
    """A column of paths, to be compared for equality: `path_hash(photos.c.path_bytes).in_(paths)`."""

    type = _Hashed()
    inherit_cache = True


class path_start(FunctionElement[bytes]):  # noqa: N801
    """How the paths of a column start; in SQLite the whole path."""

    type = LargeBinary()
    inherit_cache = True


class path_after(FunctionElement[bool]):  # noqa: N801
    """The condition that the paths of a column come after one: `path_after(photos.c.path_bytes, path)`."""

    type = Boolean()
    inherit_cache = True
    sign, start_sign = ">", ">="

    def self_group(self, against: object = None) -> Self:
        """Return the condition itself: as "(...) = 1", which SQLAlchemy would write, SQLite finds no index for it."""
        return self


class path_from(path_after):  # noqa: N801
    """The same, or are that one."""

    inherit_cache = True
    sign, start_sign = ">=", ">="


class path_before(path_after):  # noqa: N801
    """The condition that paths come before one."""

    inherit_cache = True
    sign, start_sign = "<", "<="


@compiles(path_hash)
@compiles(path_start)
def _column(element: FunctionElement[bytes], compiler: SQLCompiler, **kwargs: Any) -> str:
    return compiler.process(element.clauses, **kwargs)


@compiles(path_hash, "postgresql")
def _hash(element: path_hash, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"sha256({compiler.process(element.clauses, **kwargs)})"


@compiles(path_start, "postgresql")
def _start(element: path_start, compiler: SQLCompiler, **kwargs: Any) -> str:
    return _started(compiler.process(element.clauses, **kwargs))


@compiles(path_after)
def _compared(element: path_after, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, path = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} {element.sign} {path}"


@compiles(path_after, "postgresql")
def _compared_by_start(element: path_after, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, path = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"({column} {element.sign} {path} AND {_started(column)} {element.start_sign} {_started(path)})"


def _started(value: str) -> str:
    return f"substr({value}, 1, {_START_BYTES})"


def path_order(column: ColumnElement[bytes], *, descending: bool = False) -> tuple[ColumnElement[Any], ...]:
    """Return what sorts by a column of paths."""
    order = (path_start(column), column)
    return tuple(each.desc() for each in order) if descending else order
