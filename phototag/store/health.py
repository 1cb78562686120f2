"""What a database holds, and whether it is sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, FromClause, Select, and_, case, false, func, or_, select
from sqlalchemy.exc import DatabaseError

from phototag.database import (
    FOREIGN,
    HEAD,
    default_backup_path,
    foreign_parts,
    metadata,
    models,
    opened_database,
    parse_location,
    photos,
    predictions,
    reading,
    runs,
    stored_as,
    tags,
    translate,
    translated_errors,
    write_backup,
)
from phototag.errors import StoreError, TaxonomyError
from phototag.paths import PhotoPath, path_of
from phototag.records import PhotoState, Rank, Source
from phototag.settings import data_folder, full_path, make_own_folder
from phototag.store import query as queries
from phototag.store.models import ModelInfo, known_models
from phototag.store.runs import RunInfo, last_run
from phototag.taxonomy import Taxonomy

_MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What a database holds. `journal_mode` is None on a server, and `size_bytes` is that of the tables there."""

    location: str
    revision: str
    size_bytes: int
    journal_mode: str | None
    photos: Mapping[PhotoState, int]
    tags_by_rank: Mapping[Rank, int]
    tags_by_source: Mapping[Source, int]
    predictions: int
    models: tuple[ModelInfo, ...]
    last_run: RunInfo | None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found. `pending` photos are readable and wait for a tag of the current model; that is no problem."""

    location: str
    revision: str
    problems: tuple[str, ...]
    photos: int
    tags: int
    pending: int


def database_info(location: str | Path | None = None) -> DatabaseInfo:
    """Describe a database.

    Raises:
        SchemaError: its schema is older or newer.
        StoreError: there is none, or it cannot be read.
    """
    place = parse_location(location)
    with reading(place) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        return DatabaseInfo(
            location=place.shown,
            revision=HEAD,
            size_bytes=place.path.stat().st_size if place.path is not None else _size_of_tables(connection),
            journal_mode=str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()) if is_sqlite else None,
            photos={PhotoState(key): number for key, number in _counts(connection, photos.c.state)},
            tags_by_rank={Rank(key): number for key, number in _counts(connection, tags.c.rank)},
            tags_by_source={Source(key): number for key, number in _counts(connection, tags.c.source)},
            predictions=_count(connection, predictions),
            models=known_models(connection),
            last_run=last_run(connection),
        )


def check_database(location: str | Path | None = None) -> CheckReport:
    """Check a database from the file's structure up to what its rows say.

    Raises:
        StoreError: there is none, or it cannot be opened at all.
    """
    place = parse_location(location)
    with opened_database(place, lenient=True) as (engine, have), translated_errors(place):
        problems: list[str] = []
        numbers = [0, 0, 0]
        try:
            with engine.connect() as connection:
                acting: list[str] = []
                if connection.dialect.name == "sqlite":
                    problems += _structure(connection)
                    acting, others = foreign_parts(connection)
                    known = others if have == HEAD else []
                    problems += [f"has {part}, which phototag never makes" for part in (*acting, *known)]
                if acting:
                    problems.append("not read any further; go back to a backup, or tag again into another database")
                elif have != HEAD:
                    problems.append(f"schema {have}, this phototag needs {HEAD}; run: phototag db upgrade")
                else:
                    problems += _foreign_values(connection)
                    numbers = [_count(connection, rows) for rows in (photos, tags, _pending(connection).subquery())]
                    problems += _contradictions(connection)
                    for _ in queries.find(connection, queries.Query()):
                        pass  # reading every row proves that every value is one that phototag writes
        except DatabaseError as error:
            problems.append(str(translate(error, place)))
        except FOREIGN as error:
            problems.append(f"holds a row that phototag did not write: {error}")
        return CheckReport(
            location=place.shown,
            revision=have,
            problems=tuple(problems),
            photos=numbers[0],
            tags=numbers[1],
            pending=numbers[2],
        )


def pending_photos(location: str | Path | None = None) -> Iterator[PhotoPath]:
    """Yield the photos that a check counts as pending.

    Raises:
        SchemaError: the schema is older or newer.
        StoreError: there is no database, or it cannot be read.
    """
    place = parse_location(location)
    with reading(place) as connection:
        for row in connection.execute(_pending(connection)):
            yield path_of(row.path_bytes)


def backup_database(location: str | Path | None = None, target: Path | None = None, *, overwrite: bool = False) -> Path:
    """Copy a database, while others may use it, to `target`: a file, a folder, or None for a name beside it.

    One on a server is copied by pg_dump, without a name into phototag's data folder.

    Raises:
        StoreError: there is no database, the target exists, or the copy cannot be written or proves damaged.
    """
    place = parse_location(location)
    if place.in_memory:
        raise StoreError(f"{place.shown}: a database in memory is gone with its process, and cannot be backed up")
    with opened_database(place, lenient=True) as (_, have):
        if place.path is not None:
            own_name = default_backup_path(place.path, have)
        else:
            name = place.url.database if place.url is not None else None
            own_name = default_backup_path(data_folder() / (name or "phototag"), have, ending="dump")
            if target is None:
                make_own_folder(own_name.parent)
    if target is None:
        target = own_name
    elif target.is_dir():
        target = target / own_name.name
    return write_backup(place, full_path(target), overwrite=overwrite)


def _size_of_tables(connection: Connection) -> int:
    """Return the bytes that the tables of a server's database take, with their indexes."""
    statement = (
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = quote_ident(current_schema())::regnamespace"
    )
    return int(connection.exec_driver_sql(statement).scalar_one())


def _count(connection: Connection, rows: FromClause) -> int:
    return int(connection.execute(select(func.count()).select_from(rows)).scalar_one())


def _counts(connection: Connection, column: Any) -> Iterator[tuple[str, int]]:
    for row in connection.execute(select(column, func.count()).group_by(column).order_by(column)):
        yield row[0], int(row[1])


def _structure(connection: Connection) -> Iterator[str]:
    for (line,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
        if line != "ok":
            yield f"damaged: {line}; go back to a backup"
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_MOST_PROBLEMS):
        yield f"row {row[1]} of {row[0]} points to a row of {row[2]} that is not there"


def _foreign_values(connection: Connection) -> Iterator[str]:
    """Yield how many values of each column are of a type that phototag never writes there, where there are any."""
    if connection.dialect.name != "sqlite":
        return
    for each in metadata.sorted_tables:
        columns = [column for column in each.columns if stored_as(column.type)]
        kinds = [(*stored_as(column.type), *(["null"] if column.nullable else [])) for column in columns]
        wrong = [
            func.count(case((func.typeof(column).not_in(names), 1)))
            for column, names in zip(columns, kinds, strict=True)
        ]
        counts = connection.execute(select(*wrong).select_from(each)).one()
        for column, count in zip(columns, counts, strict=True):
            if count:
                yield f"{each.name}.{column.name} has values of a type that phototag never writes there: {count:,}"


def _pending(connection: Connection) -> Select[Any]:
    """Readable photos without a tag of the model that tagged last; a human's tag is as good as any."""
    last = select(runs.c.model_id).where(runs.c.model_id.is_not(None)).order_by(runs.c.id.desc()).limit(1)
    current = connection.execute(last).scalar_one_or_none()
    outdated = and_(tags.c.source == Source.MODEL.value, tags.c.model_id != current) if current else false()
    return (
        select(photos.c.path_bytes)
        .outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)
        .where(photos.c.state == PhotoState.OK.value, or_(tags.c.photo_id.is_(None), outdated))
        .order_by(photos.c.path_bytes)
    )


def _contradictions(connection: Connection) -> Iterator[str]:
    """Yield the tags of a model that its own taxonomy does not know, one line for each pair of labels."""
    for model in connection.execute(select(models.c.id, models.c.name, models.c.taxonomy)):
        try:
            taxonomy = Taxonomy.from_json(model.taxonomy)
        except TaxonomyError as error:
            yield f"model {model.name!r} has no usable taxonomy: {error}"
            continue
        pairs = (
            select(tags.c.superclass, tags.c.subclass, func.count())
            .where(tags.c.model_id == model.id, tags.c.superclass.is_not(None))
            .group_by(tags.c.superclass, tags.c.subclass)
        )
        for superclass, subclass, number in connection.execute(pairs):
            label = superclass if subclass is None else f"{superclass}/{subclass}"
            if not _knows(taxonomy, superclass, subclass):
                yield f"{number} photos are tagged {label!r}, which model {model.name!r} does not know"


def _knows(taxonomy: Taxonomy, superclass: str, subclass: str | None) -> bool:
    if subclass is None:
        return superclass in taxonomy.superclass_index
    return subclass in taxonomy.subclass_index and taxonomy.parent(subclass) == superclass
