"""The ledger of keywords written into files: what to take out again, and what a person took out already.

A write is planned in one transaction and settled in another. In between the file is the old or the new one, which its
hash tells.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from phototag.database import (
    Database,
    captures,
    keyword_exports,
    models,
    path_hash,
    photos,
    predictions,
    reviews,
    sample_items,
    tags,
    tried_again,
)
from phototag.paths import PhotoPath, path_of
from phototag.records import PhotoState, Rank, Source
from phototag.store.keyword_records import ExportKind, FileKeywords, KeywordCandidate, KeywordExport, Settled
from phototag.store.photos import chunked, clean_text, photo_values
from phototag.store.query import ROWS_AT_ONCE, Query, conditions, joined

# Sidecars of one class are alike.
_MOST_ALIKE = 10_000


class KeywordExports:
    """The ledger of a database. All methods raise StoreError when it cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- reading

    def candidates(self, query: Query) -> Iterator[list[KeywordCandidate]]:
        """Yield the readable photos that a query asks for, whatever its order and limit, by path, a page at a time."""
        with self._database.read() as connection:
            wanted = list(conditions(connection, query))
        statement = _candidates().where(*wanted)
        return self._database.pages(statement, (photos.c.path_bytes,), lambda _, rows: [*map(_candidate, rows)])

    def candidates_at(self, paths: Iterable[bytes]) -> list[KeywordCandidate]:
        """Return the readable photos among these paths, by path."""
        found = []
        with self._database.read() as connection:
            for chunk in chunked(sorted(set(paths))):
                statement = _candidates().where(path_hash(photos.c.path_bytes).in_(chunk)).order_by(photos.c.path_bytes)
                found += [_candidate(row) for row in connection.execute(statement)]
        return found

    def at(self, paths: Collection[bytes]) -> dict[bytes, KeywordExport]:
        """Return what is known of these files, by path."""
        return {found.path_bytes: found for found in self._where(path_hash(keyword_exports.c.path_bytes), paths)}

    def of_photos(self, ids: Collection[int]) -> list[KeywordExport]:
        """Return all files that keywords of these photos were written into."""
        return self._where(keyword_exports.c.photo_id, ids)

    def photo_paths(self, exports: Iterable[KeywordExport]) -> dict[int, Path]:
        """Return where the photos of files lie now, by the photos' ids; without those that went to object storage."""
        found: dict[int, PhotoPath] = {}
        statement = select(photos.c.id, photos.c.path_bytes)
        with self._database.read() as connection:
            for chunk in chunked(sorted({each.photo_id for each in exports if each.photo_id is not None})):
                rows = connection.execute(statement.where(photos.c.id.in_(chunk)))
                found.update((int(row.id), path_of(row.path_bytes)) for row in rows)
        return {number: path for number, path in found.items() if isinstance(path, Path)}

    def with_content(self, hashes: Collection[bytes]) -> list[KeywordExport]:
        """Return files that held one of these contents when phototag had written them; of very many some."""
        return self._where(keyword_exports.c.hash_after, hashes, most=_MOST_ALIKE)

    def _where(self, column: Any, values: Collection[Any], *, most: int | None = None) -> list[KeywordExport]:
        found = []
        with self._database.read() as connection:
            for chunk in chunked(sorted(set(values))):
                rows = connection.execute(select(keyword_exports).where(column.in_(chunk)).limit(most))
                found += [_export(row) for row in rows]
        return found

    def all(self, *, unsettled: bool = False) -> Iterator[KeywordExport]:
        """Yield all files, by path; or only those with a write that was not settled."""
        statement = select(keyword_exports)
        if unsettled:
            statement = statement.where(keyword_exports.c.state == "planned")
        key = keyword_exports.c.path_bytes
        return chain.from_iterable(
            self._database.pages(statement, (key,), lambda _, rows: [_export(row) for row in rows])
        )

    def with_photo_paths(self) -> Iterator[tuple[KeywordExport, Path | None]]:
        """Yield all files, by path, with where their photos lie now; None where a photo is not known any more."""
        for page in _paged(self.all()):
            paths = self.photo_paths(page)
            for each in page:
                yield each, paths.get(each.photo_id or 0)

    def withdrawn(self) -> Iterator[tuple[KeywordExport, KeywordCandidate]]:
        """Yield the files that someone took a keyword out of while the photo's tag still says it, with the photos."""
        for page in _paged(each for each in self.all() if each.state.withdrawn):
            ids = [each.photo_id for each in page if each.photo_id is not None]
            with self._database.read() as connection:
                rows = connection.execute(_candidates().where(photos.c.id.in_(ids))).all()
            known = {candidate.id: candidate for candidate in map(_candidate, rows)}
            for each in page:
                photo = known.get(each.photo_id or 0)
                if photo is not None:
                    yield each, photo

    # ---- writing

    @tried_again
    def plan(self, exports: Sequence[KeywordExport]) -> None:
        """Note writes before they are done; survives a power cut. Without a plan, what is known is replaced at once."""
        with self._database.write(durable=True) as connection:
            now = self._database.next_moment()
            rows = [_row(each, now) for each in exports]
            there = _ids(connection, [row["path_bytes"] for row in rows])
            new = [row for row in rows if row["path_bytes"] not in there]
            if new:
                connection.execute(insert(keyword_exports), new)
            old = [{**row, "row_id": there[row["path_bytes"]]} for row in rows if row["path_bytes"] in there]
            if old:
                connection.execute(update(keyword_exports).where(keyword_exports.c.id == bindparam("row_id")), old)

    @tried_again
    def settle(self, exports: Sequence[KeywordExport], ends: Sequence[Settled]) -> None:
        """Note how planned writes ended, in one transaction with what became of the photos' own files.

        A photo keeps its identity: its scores, reviews and samples belong to the new content as to the old one.
        """
        ended = {end.path_bytes: end for end in ends}
        gone: list[bytes] = []
        kept: list[KeywordExport] = []
        embedded: list[tuple[int, Settled, bytes]] = []
        with self._database.write(durable=True) as connection:
            planned = _planned(connection, list(ended))
            for each in exports:
                end = ended.get(each.path_bytes)
                # What is settled already may have been written again since.
                if end is None or each.planned is None or each.path_bytes not in planned:
                    continue
                after = each.planned if end.done else each.state
                if end.photo is not None and each.photo_id is not None and after.hash_after is not None:
                    embedded.append((each.photo_id, end, after.hash_after))
                if after.items or after.withdrawn:
                    kept.append(replace(each, state=after, planned=None))
                else:
                    gone.append(each.path_bytes)
            _follow(connection, embedded)
            for chunk in chunked(gone):
                connection.execute(delete(keyword_exports).where(path_hash(keyword_exports.c.path_bytes).in_(chunk)))
            if kept:
                now = self._database.next_moment()
                rows = [{f"new_{name}": value for name, value in _row(each, now).items()} for each in kept]
                columns: dict[str, Any] = {name.removeprefix("new_"): bindparam(name) for name in rows[0]}
                rows = [{**row, "at_path": row["new_path_bytes"]} for row in rows]
                connection.execute(
                    update(keyword_exports)
                    .where(path_hash(keyword_exports.c.path_bytes) == bindparam("at_path"))
                    .values(columns),
                    rows,
                )

    @tried_again
    def move(self, moves: Mapping[int, bytes]) -> None:
        """Note where files lie now, by the ids of their entries."""
        with self._database.write() as connection:
            for number, path in moves.items():
                connection.execute(
                    update(keyword_exports)
                    .where(keyword_exports.c.id == number)
                    .values(path_bytes=path, path_text=clean_text(os.fsdecode(path)))
                )


def _follow(connection: Connection, embedded: Sequence[tuple[int, Settled, bytes]]) -> None:
    """Give photos the stat and hash that their files have now, and all that is known of the old content to the new one.

    A photo whose content is known as another one was written by another program, and nobody has looked at it yet.
    """
    known: dict[int, bytes | None] = {}
    for chunk in chunked([number for number, *_ in embedded]):
        rows = connection.execute(select(photos.c.id, photos.c.content_hash).where(photos.c.id.in_(chunk)))
        known.update((int(row.id), row.content_hash) for row in rows)
    rows_of_photos, old_contents = [], []
    for number, end, after in embedded:
        if end.photo is not None and known.get(number) in (*end.contents_before, after):
            rows_of_photos.append({**photo_values(end.photo), "content_hash": after, "row_id": number})
            old_contents += [{"row_id": number, "old": old, "new": after} for old in end.contents_before]
    if not rows_of_photos:
        return
    connection.execute(update(photos).where(photos.c.id == bindparam("row_id")), rows_of_photos)
    times = [{"row_id": row["row_id"], "modified_ns": row["modified_ns"]} for row in rows_of_photos]
    connection.execute(update(captures).where(captures.c.photo_id == bindparam("row_id")), times)
    for table in (predictions, reviews, sample_items):
        same = (table.c.photo_id == bindparam("row_id")) & (table.c.content_hash == bindparam("old"))
        if old_contents:
            connection.execute(update(table).where(same).values(content_hash=bindparam("new")), old_contents)


def _ids(connection: Connection, paths: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for chunk in chunked(paths):
        statement = select(keyword_exports.c.id, keyword_exports.c.path_bytes)
        rows = connection.execute(statement.where(path_hash(keyword_exports.c.path_bytes).in_(chunk)))
        found.update((bytes(row.path_bytes), int(row.id)) for row in rows)
    return found


def _planned(connection: Connection, paths: Sequence[bytes]) -> set[bytes]:
    """Return which of these files have a write that was not settled."""
    found: set[bytes] = set()
    for chunk in chunked(paths):
        statement = select(keyword_exports.c.path_bytes).where(keyword_exports.c.state == "planned")
        rows = connection.execute(statement.where(path_hash(keyword_exports.c.path_bytes).in_(chunk)))
        found.update(bytes(row.path_bytes) for row in rows)
    return found


def _row(export: KeywordExport, now: datetime) -> dict[str, Any]:
    return {
        "photo_id": export.photo_id,
        "path_bytes": export.path_bytes,
        "path_text": clean_text(str(export.path)),
        "kind": export.kind.value,
        "state": "written" if export.planned is None else "planned",
        **export.state.columns(),
        "planned": None if export.planned is None else export.planned.to_json(),
        "written_at": now,
    }


def _export(row: Row[Any]) -> KeywordExport:
    return KeywordExport(
        id=int(row.id),
        path_bytes=bytes(row.path_bytes),
        photo_id=row.photo_id,
        kind=ExportKind(row.kind),
        state=FileKeywords.of(row._asdict()),
        planned=None if row.planned is None else FileKeywords.from_json(row.planned),
    )


def _candidates() -> Select[Any]:
    return joined(
        select(
            photos.c.id,
            photos.c.path_bytes,
            photos.c.content_hash,
            photos.c.size_bytes,
            photos.c.modified_ns,
            photos.c.changed_ns,
            photos.c.inode,
            tags.c.superclass,
            tags.c.subclass,
            tags.c.rank,
            tags.c.superclass_score,
            tags.c.subclass_score,
            tags.c.source,
            tags.c.tagged_at,
            models.c.name.label("model"),
        )
    ).where(photos.c.state == PhotoState.OK.value)


def _candidate(row: Row[Any]) -> KeywordCandidate:
    return KeywordCandidate(
        id=int(row.id),
        path_bytes=bytes(row.path_bytes),
        content_hash=row.content_hash,
        superclass=row.superclass,
        subclass=row.subclass,
        rank=None if row.rank is None else Rank(row.rank),
        superclass_score=row.superclass_score,
        subclass_score=row.subclass_score,
        source=None if row.source is None else Source(row.source),
        model=row.model,
        tagged_at=row.tagged_at,
        stat=(row.size_bytes, row.modified_ns, row.changed_ns, row.inode),
    )


def _paged(exports: Iterable[KeywordExport]) -> Iterator[list[KeywordExport]]:
    page: list[KeywordExport] = []
    for each in exports:
        page.append(each)
        if len(page) == ROWS_AT_ONCE // 2:
            yield page
            page = []
    if page:
        yield page
