"""Photos: how paths and stat values are stored, what is known of those under some folders, and their contents."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, case, delete, exists, or_, select, update

from phototag.database import (
    Database,
    path_before,
    path_from,
    path_hash,
    photos,
    reviews,
    sample_items,
    tags,
    this_change,
    tried_again,
)
from phototag.errors import StoreError
from phototag.paths import PhotoPath, S3Path, absolute, path_of
from phototag.records import FailureKind, FileStat, Photo, PhotoState, Source

T = TypeVar("T")

# Well below the number of parameters that SQLite and PostgreSQL take in one statement.
CHUNK_ROWS = 500
_SEPARATOR = os.sep.encode()


class HasPath:
    """A record of a photo: `path_bytes` is its absolute path as the operating system has it."""

    __slots__ = ()
    path_bytes: bytes

    @property
    def path(self) -> PhotoPath:
        """The photo's absolute path."""
        return path_of(self.path_bytes)


class KnownPhoto(NamedTuple):
    """What the database knows of one photo. Stat values are as `os.stat` gave them, `inode` modulo 2**64.

    `tag_model_id` and `tag_source` are None when the photo has no tag; `tag_model_id` also when a human gave
    it. `lead_id` is the photo that decides for this one, None where it decides for itself. A tuple, as there is one for
    each photo of every scan.
    """

    id: int
    path_bytes: bytes
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int
    content_hash: bytes | None
    state: PhotoState
    error_kind: FailureKind | None
    attempts: int
    tag_model_id: int | None
    tag_source: Source | None
    lead_id: int | None = None

    @property
    def path(self) -> PhotoPath:
        """The photo's absolute path."""
        return path_of(self.path_bytes)

    def matches(self, photo: Photo | FileStat) -> bool:
        """Return whether size, times and inode are those of `photo`: the file has not been touched since."""
        # Nearly always they are equal as they are: that is asked of every photo of every scan.
        if (
            self.modified_ns == photo.modified_ns
            and self.size_bytes == photo.size_bytes
            and self.changed_ns == photo.changed_ns
            and self.inode == photo.inode
        ):
            return True
        known = (self.size_bytes, self.modified_ns, self.changed_ns, signed_64(self.inode))
        return known == tuple(map(signed_64, (photo.size_bytes, photo.modified_ns, photo.changed_ns, photo.inode)))


def signed_64(number: int) -> int:
    """Return `number` modulo 2**64, as the signed number a database column holds."""
    return (number + 2**63) % 2**64 - 2**63


def path_key(path: PhotoPath) -> bytes:
    """Return what the operating system calls `path`, which need not be UTF-8.

    Raises:
        StoreError: the path is not absolute.
    """
    if not path.is_absolute():
        raise StoreError(f"{clean_text(str(path))}: the store keeps absolute paths only; give it Path.absolute()")
    return bytes(path)


def clean_text(text: str) -> str:
    """Return `text` fit for a text column: without the surrogates that file names leave which are not UTF-8."""
    return "".join("\ufffd" if "\ud800" <= mark <= "\udfff" or mark == "\0" else mark for mark in text)


def photo_values(photo: Photo) -> dict[str, Any]:
    """Return the columns of path and stat values. Times after the year 2262 and large inodes wrap around."""
    return {
        "path_bytes": path_key(photo.path),
        "path_text": clean_text(str(photo.path)),
        "size_bytes": signed_64(photo.size_bytes),
        "modified_ns": signed_64(photo.modified_ns),
        "changed_ns": signed_64(photo.changed_ns),
        "inode": signed_64(photo.inode),
    }


def chunked(items: Sequence[T], size: int = CHUNK_ROWS) -> Iterator[Sequence[T]]:
    """Yield `items` in pieces that fit into one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def path_ranges(root: PhotoPath) -> tuple[tuple[bytes, bytes], ...]:
    """Return the half-open ranges of path bytes that are exactly `root` itself and everything under it.

    Ranges, not LIKE: they use the index, and know nothing of wildcards and letter case. As "/a/b-c" sorts
    between "/a/b" and "/a/b/c", one range would not do.
    """
    # A relative root is one that a person typed: its ".." are folded, which no stored path has.
    key = bytes(root if root.is_absolute() else absolute(root))
    separator = b"/" if isinstance(root, S3Path) else _SEPARATOR
    # Of an address the slash at its end is a name of its own, an empty one.
    stem = key if isinstance(root, S3Path) else key.removesuffix(separator)
    after = stem + bytes([separator[0] + 1])
    return (key, key + b"\0"), (stem + separator, after)


def is_under(root: PhotoPath | None) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that a photo lies at or under `root`, in whichever Unicode form; None sets none."""
    if root is None:
        return ()
    key = photos.c.path_bytes
    # A keyboard writes é in another form than a Mac's disk.
    forms = dict.fromkeys([str(root), *(unicodedata.normalize(form, str(root)) for form in ("NFC", "NFD"))])
    ranges = [pair for form in forms for pair in path_ranges(type(root)(form))]
    return (or_(*(path_from(key, start) & path_before(key, end) for start, end in ranges)),)


def merged_ranges(roots: Sequence[PhotoPath]) -> list[tuple[bytes, bytes]]:
    """Return the ranges of all `roots` in ascending order, none overlapping another."""
    ranges = (pair for root in roots for pair in path_ranges(root))
    merged: list[tuple[bytes, bytes]] = []
    # The wider first where two start alike. Ranges of paths nest or lie apart, they never cross.
    for start, end in sorted(ranges, key=lambda pair: (pair[0], pair[1] == pair[0] + b"\0")):
        if not merged or end > merged[-1][1]:
            merged.append((start, end))
    return merged


@dataclass(frozen=True, slots=True)
class MissingPhoto(HasPath):
    """A photo that is missing; whether people said something of it, and whether it is in a sample."""

    id: int
    path_bytes: bytes
    reviewed: bool
    sampled: bool


_IS_REVIEWED = exists().where(reviews.c.photo_id == photos.c.id, reviews.c.undone_at.is_(None)) | exists().where(
    tags.c.photo_id == photos.c.id, tags.c.source == Source.HUMAN.value
)
_IS_SAMPLED = exists().where(sample_items.c.photo_id == photos.c.id)


class Photos:
    """The photos that a database knows. All methods raise StoreError when it cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, photo: PhotoPath | int) -> KnownPhoto | None:
        """Return the photo with that absolute path or id, None if there is none."""
        wanted = photos.c.id == photo if isinstance(photo, int) else path_hash(photos.c.path_bytes) == path_key(photo)
        with self._database.read() as connection:
            row = connection.execute(_known().where(wanted)).one_or_none()
            return None if row is None else _from_row(row)

    def at(self, paths: Sequence[PhotoPath]) -> list[KnownPhoto]:
        """Return the known photos among exactly these paths, in the order of path bytes."""
        found = []
        with self._database.read() as connection:
            for chunk in chunked(sorted({path_key(path) for path in paths})):
                found += known_photos(
                    connection, path_hash(photos.c.path_bytes).in_(chunk), order_by=(photos.c.path_bytes,)
                )
        return found

    def under(self, roots: Sequence[PhotoPath]) -> Iterator[KnownPhoto]:
        """Yield every photo known at or under any of `roots`, once, in the order of path bytes, in pages."""
        key = photos.c.path_bytes
        for start, end in merged_ranges(roots):
            pages = self._database.pages(
                _known().where(path_before(key, end)),
                (key,),
                lambda _, rows: [_from_row(row) for row in rows],
                first=path_from(key, start),
            )
            yield from chain.from_iterable(pages)

    def contents(self, *, under: PhotoPath | None = None) -> Iterator[list[tuple[bytes, KnownPhoto]]]:
        """Yield the hashes of contents with all photos that hold one, a page at a time, in the order of ids."""
        return self._database.pages(
            _known().where(photos.c.content_hash.is_not(None), *is_under(under)),
            (photos.c.id,),
            lambda _, rows: [(bytes(row.content_hash), _from_row(row)) for row in rows],
        )

    def paths_of(self, content_hash: bytes) -> list[PhotoPath]:
        """Return where a content lies now as far as is known: paths of photos that are not missing, in order."""
        statement = (
            select(photos.c.path_bytes)
            .where(photos.c.content_hash == content_hash, photos.c.state == PhotoState.OK.value)
            .order_by(photos.c.path_bytes)
        )
        with self._database.read() as connection:
            return [path_of(path) for path in connection.execute(statement).scalars()]

    @tried_again
    def mark_seen(self, ids: Sequence[int]) -> None:
        """Note that these files are there; one that was missing is again what it was before."""
        with self._database.write() as connection:
            for chunk in chunked(ids):
                wanted = update(photos).where(photos.c.id.in_(chunk))
                connection.execute(wanted.values(last_seen_at=self._database.next_moment()))
            set_back(connection, ids)

    @tried_again
    def mark_missing(self, ids: Sequence[int]) -> None:
        """Note that these files are gone. Their tags and errors stay, for when they come back."""
        with self._database.write() as connection:
            set_missing(connection, ids, self._database.next_moment())

    def missing_before(self, moment: datetime) -> Iterator[list[MissingPhoto]]:
        """Yield the photos that have been missing since that moment or longer, a page at a time, by id."""
        statement = select(
            photos.c.id, photos.c.path_bytes, _IS_REVIEWED.label("reviewed"), _IS_SAMPLED.label("sampled")
        ).where(photos.c.state == PhotoState.MISSING.value, photos.c.missing_since <= moment)
        return self._database.pages(
            statement,
            (photos.c.id,),
            lambda _, rows: [
                MissingPhoto(row.id, bytes(row.path_bytes), bool(row.reviewed), bool(row.sampled)) for row in rows
            ],
        )

    @tried_again
    def remove(self, ids: Sequence[int], *, reviewed: bool) -> int:
        """Remove photos, with their tags, scores and reviews, in one transaction; returns how many.

        Those stay that are no longer missing, or sampled by now, and unless `reviewed` those that people said something
        of: on a server someone may do so until the last moment.
        """
        stays = _IS_SAMPLED if reviewed else _IS_SAMPLED | _IS_REVIEWED
        removed = 0
        with self._database.write(durable=True) as connection:
            for chunk in chunked(ids):
                wanted = photos.c.id.in_(chunk)
                lock_photos(connection, wanted)
                goes = select(photos.c.id).where(wanted, photos.c.state == PhotoState.MISSING.value, ~stays)
                gone = connection.execute(goes).scalars().all()
                # What is left of a pair decides for itself.
                connection.execute(update(photos).where(photos.c.lead_id.in_(gone)).values(lead_id=None))
                connection.execute(delete(photos).where(photos.c.id.in_(gone)))
                removed += len(gone)
        return removed


def touch(connection: Connection, ids: Sequence[int]) -> None:
    """Note that something of photos was written, or deleted, that neither their rows nor those of their tags hold."""
    for chunk in chunked(ids):
        connection.execute(update(photos).where(photos.c.id.in_(chunk)).values(written=this_change()))


def set_missing(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """Note that files are gone, since now unless they were before."""
    for chunk in chunked(ids):
        there = photos.c.id.in_(chunk) & (photos.c.state != PhotoState.MISSING.value)
        connection.execute(update(photos).where(there).values(state=PhotoState.MISSING.value, missing_since=now))
        # What is left of a pair decides for itself.
        connection.execute(update(photos).where(photos.c.lead_id.in_(chunk)).values(lead_id=None))


def set_back(connection: Connection, ids: Sequence[int]) -> None:
    """Give photos that were missing the state that they had before."""
    kind = photos.c.error_kind
    before = case(
        (kind.is_(None), PhotoState.OK.value),
        *(
            (kind == each.value, PhotoState.UNSUPPORTED.value)
            for each in FailureKind
            if each.state is PhotoState.UNSUPPORTED
        ),
        else_=PhotoState.UNREADABLE.value,
    )
    for chunk in chunked(ids):
        missing = photos.c.id.in_(chunk) & (photos.c.state == PhotoState.MISSING.value)
        connection.execute(update(photos).where(missing).values(state=before, missing_since=None))


def lock_photos(connection: Connection, wanted: ColumnElement[bool]) -> None:
    """Keep others on a server from writing anything of these photos until the transaction ends.

    Who changes the tag of a photo does this first: a model's tag and a human's answer may come at the same moment. All
    do it by id, so that none waits for another that waits for it.
    """
    if connection.dialect.name != "sqlite":  # in a file nobody else can write now
        connection.execute(select(photos.c.id).where(wanted).order_by(photos.c.id).with_for_update())


def known_photos(
    connection: Connection, condition: ColumnElement[bool], *, order_by: Sequence[Any], limit: int | None = None
) -> list[KnownPhoto]:
    """Return the photos that a condition selects."""
    return [_from_row(row) for row in connection.execute(_known().where(condition).order_by(*order_by).limit(limit))]


def _known() -> Select[Any]:
    columns = [photos.c[name] for name in _COLUMNS]
    return select(*columns, tags.c.model_id, tags.c.source).outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)


_COLUMNS = (
    "id",
    "path_bytes",
    "size_bytes",
    "modified_ns",
    "changed_ns",
    "inode",
    "content_hash",
    "state",
    "error_kind",
    "attempts",
    "lead_id",
)


# Dictionaries find a member quicker than the enums themselves.
_STATES = {state.value: state for state in PhotoState}
_KINDS: dict[str | None, FailureKind | None] = {kind.value: kind for kind in FailureKind} | {None: None}
_SOURCES: dict[str | None, Source | None] = {source.value: source for source in Source} | {None: None}


def _from_row(row: Any) -> KnownPhoto:
    # By place, which is quicker than by name: there is one for each photo of a scan.
    number, path, size, modified, changed, inode, content, state, kind, attempts, lead, model, source = row
    return KnownPhoto(
        number,
        bytes(path),
        size,
        modified,
        changed,
        inode % 2**64,
        None if content is None else bytes(content),
        _STATES[state],
        _KINDS[kind],
        int(attempts),
        model,
        _SOURCES[source],
        lead,
    )
