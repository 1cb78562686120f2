"""The ledger of keywords written into files: what to take out again, and what a person took out already.

A write is planned in one transaction and settled in another. In between the file is the old or the new one, which its
hash tells.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
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
from phototag.records import Photo, PhotoState, Rank, Source
from phototag.store.photos import HasPath, chunked, clean_text, photo_values, signed_64
from phototag.store.query import ROWS_AT_ONCE, Query, conditions, joined

# Sidecars of one class are alike.
_MOST_ALIKE = 10_000

Keywords = Mapping[str, Sequence[str]]
"""Keywords by the property of XMP that lists them."""


class ExportKind(StrEnum):
    """Into what keywords were written."""

    SIDECAR = "sidecar"
    EMBEDDED = "embedded"  # into the photo's own file


@dataclass(frozen=True, slots=True)
class FileKeywords:
    """What phototag wrote into a file.

    Args:
        hash_before: SHA-256 of the file without it; None where phototag made the file.
        hash_after: SHA-256 of the file with it; None where there is no file.
        edits: Splices that lead from the second to the first.
        names: The levels of the tag, superclass first; empty where nothing of ours is in the file.
        items: All keywords that are ours, by property, also those that were there as others' in another property.
        created: The properties that were not there before.
        withdrawn: Keywords of ours that someone took out again, by property.
        withdrawn_at: When that was seen first.
    """

    hash_before: bytes | None = None
    hash_after: bytes | None = None
    edits: bytes = b""
    names: tuple[str, ...] = ()
    items: Keywords = field(default_factory=dict)
    created: tuple[str, ...] = ()
    withdrawn: Keywords = field(default_factory=dict)
    withdrawn_at: datetime | None = None

    def columns(self) -> dict[str, Any]:
        """Return what the columns of a row hold."""
        return {
            "hash_before": self.hash_before,
            "hash_after": self.hash_after,
            "edits": self.edits,
            "written": {"names": list(self.names), "items": _lists(self.items), "created": list(self.created)},
            "withdrawn": {
                "items": _lists(self.withdrawn),
                "at": None if self.withdrawn_at is None else self.withdrawn_at.isoformat(),
            },
        }

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> FileKeywords:
        """Return what columns say; ValueError, KeyError or TypeError where phototag did not write them."""
        written, withdrawn = columns["written"], columns["withdrawn"]
        at = withdrawn["at"]
        return cls(
            hash_before=columns["hash_before"],
            hash_after=columns["hash_after"],
            edits=columns["edits"],
            names=_texts(written["names"]),
            items=_keywords(written["items"]),
            created=_texts(written["created"]),
            withdrawn=_keywords(withdrawn["items"]),
            withdrawn_at=None if at is None else datetime.fromisoformat(at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordExport(HasPath):
    """One file that phototag wrote keywords into; `planned` is what becomes of it where a write was not settled yet."""

    path_bytes: bytes
    photo_id: int | None
    kind: ExportKind
    state: FileKeywords
    planned: FileKeywords | None = None
    id: int | None = None

    @property
    def path(self) -> Path:
        """The file's absolute path. Nothing is written into object storage."""
        return Path(os.fsdecode(self.path_bytes))

    def lies_with(self, photo: Path) -> bool:
        """Return whether the file is this photo's own, or by its name one of its sidecars."""
        return self.path == photo or self.place_with(photo) == self.path

    def place_with(self, photo: Path) -> Path | None:
        """Return where the file lies if it went with its photo and kept its name; None where the names do not fit."""
        if self.kind is ExportKind.EMBEDDED:
            return photo
        names = (photo.name.casefold(), photo.stem.casefold())
        return photo.with_name(self.path.name) if self.path.stem.casefold() in names else None


@dataclass(frozen=True, slots=True)
class Settled:
    """How a planned write ended: whether it was done, and of a photo's own file its stat now and its hashes before."""

    path_bytes: bytes
    done: bool
    photo: Photo | None = None
    contents_before: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordCandidate(HasPath):
    """A photo with the tag that keywords are made of."""

    id: int
    path_bytes: bytes
    content_hash: bytes | None
    superclass: str | None
    subclass: str | None
    rank: Rank | None
    superclass_score: float | None
    subclass_score: float | None
    source: Source | None
    model: str | None
    tagged_at: datetime | None
    stat: tuple[int, int, int, int]

    @property
    def path(self) -> Path:
        """The absolute path of the photo's file."""
        return Path(os.fsdecode(self.path_bytes))

    def is_untouched(self) -> bool:
        """Return whether the photo's file is there as it was last read: one that changed shows in its stat."""
        try:
            now = self.path.stat()
        except (OSError, ValueError):
            return False
        return self.stat == tuple(map(signed_64, (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)))


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
        "planned": None if export.planned is None else _to_json(export.planned),
        "written_at": now,
    }


_BINARY = ("hash_before", "hash_after", "edits")
_STATE = (*_BINARY, "written", "withdrawn")


def _to_json(keywords: FileKeywords) -> dict[str, Any]:
    columns = keywords.columns()
    for name in _BINARY:
        columns[name] = None if columns[name] is None else b64encode(columns[name]).decode()
    return columns


def _from_json(value: Any) -> FileKeywords:
    columns = dict(value)
    for name in _BINARY:
        columns[name] = None if columns[name] is None else b64decode(columns[name], validate=True)
    return FileKeywords.of(columns)


def _export(row: Row[Any]) -> KeywordExport:
    columns = row._mapping
    return KeywordExport(
        id=int(row.id),
        path_bytes=bytes(row.path_bytes),
        photo_id=row.photo_id,
        kind=ExportKind(row.kind),
        state=FileKeywords.of({name: columns[name] for name in _STATE}),
        planned=None if row.planned is None else _from_json(row.planned),
    )


def _lists(keywords: Keywords) -> dict[str, list[str]]:
    return {label: list(items) for label, items in keywords.items() if items}


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a record of keywords that phototag did not write")
    return tuple(values)


def _keywords(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError("a record of keywords that phototag did not write")
    return {str(label): _texts(items) for label, items in value.items()}


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
