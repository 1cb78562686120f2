"""Which photos are wanted, as one frozen record, and the one statement that finds them."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select

from phototag.choices import CountBy, SortKey
from phototag.database import captures, models, path_order, photos, reviews, tags
from phototag.errors import UsageError
from phototag.paths import PhotoPath, path_of
from phototag.records import LEVELS, NovelTier, PhotoState, Rank, Reason, Source, TaggedPhoto, in_zone
from phototag.store.capture_conditions import (
    Place,
    check_place,
    has_keyword,
    is_by_camera,
    is_near,
    taken_range,
    was_taken,
)
from phototag.store.models import known_models
from phototag.store.photos import is_under
from phototag.store.reasons import reason_column
from phototag.taxonomy import nearest_names
from phototag.text import is_text, nfc

_Choice = TypeVar("_Choice", bound=StrEnum)

FEWEST_HASH_DIGITS = 8
ROWS_AT_ONCE = 1000
_MOST_ROWS = 2**63 - 1  # what a database can count
# So few that their values stay in the processor's cache until they are converted: docs/experiments.md#a-million-photos.
PLAIN_ROWS_AT_ONCE = 1000


# Not as an equation: SQLite would expect few such tags, and sort them all instead of walking along an index.
_BY_MODEL = tags.c.source != Source.HUMAN.value
NOVELTY = case((_BY_MODEL, tags.c.novelty)).label("novelty")
"""The novelty of a tag: only a model measures one, so that a person's has none, whatever stands in the column."""

_COLUMN_OF: dict[SortKey, ColumnElement[Any]] = {
    SortKey.PATH: photos.c.path_bytes,
    SortKey.TAGGED: tags.c.tagged_at,
    SortKey.TAKEN: captures.c.taken_at,
    SortKey.SUPERCLASS_SCORE: tags.c.superclass_score,
    SortKey.SUBCLASS_SCORE: tags.c.subclass_score,
    SortKey.NOVELTY: tags.c.novelty,
}
_COUNTED: dict[CountBy, tuple[ColumnElement[Any], ...]] = {
    CountBy.SUPERCLASS: (tags.c.superclass,),
    CountBy.SUBCLASS: (tags.c.superclass, tags.c.subclass),
    CountBy.RANK: (tags.c.rank,),
    CountBy.SOURCE: (tags.c.source,),
    CountBy.MODEL: (models.c.name,),
    CountBy.STATE: (photos.c.state,),
    CountBy.CAMERA: (captures.c.camera,),
    CountBy.MONTH: (func.substr(captures.c.taken_at, 1, len("2026-05")),),
}
# Dictionaries find a member quicker than the enums themselves.
_RANKS: dict[str | None, Rank | None] = {rank.value: rank for rank in Rank} | {None: None}
_SOURCES: dict[str | None, Source | None] = {source.value: source for source in Source} | {None: None}
_REASONS: dict[str | None, Reason | None] = {reason.value: reason for reason in Reason} | {None: None}
_STATES = {state.value: state for state in PhotoState}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which photos are wanted; what is None, False or absent asks for nothing.

    `superclass` and `subclass` are a name or several, any of which will do; a subclass may be written in full,
    "bird/rooster". `novel`: only tagged photos whose rank is not subclass,
    or of one tier of these. `reason`: only tags of models that go no deeper for one of these reasons. `min_score` is
    compared with the score of the tag's own rank (of the best superclass where the rank is none). `state` is one or
    several. `leads_only`: of two files that are one photo only the one that decides. `model` is a name, or at least 8
    digits that a model's hash begins with. `since`: tagged then or later.

    `taken`: a year, month, day or time of the camera's clock, or a range of them: "2026", "2026-05..2026-06-15",
    "2026-05-03T14:00..". `camera`: a part of its name, or several, any of which will do. `near`: latitude, longitude
    and the most kilometres from there. `keyword`: one that the file or its sidecar holds, whole or some of its levels
    ("bird", "bird|hawk"), or several, any of which will do.

    Rows without the value sorted by come last, and equal rows are sorted by path.

    Raises:
        UsageError: a number is out of range, `taken` is no such time, or `since` has no time zone.

    >>> from datetime import datetime, timezone
    >>> birds = phototag.Query(superclass="bird", min_score=0.9, since=datetime(2026, 1, 1, tzinfo=timezone.utc))
    >>> with phototag.Store.open("photos.db") as store:
    ...     store.count(birds)
    0
    """

    superclass: str | Collection[str] | None = None
    subclass: str | Collection[str] | None = None
    novel: NovelTier | bool = False
    reason: Collection[Reason] = ()
    min_score: float | None = None
    under: PhotoPath | None = None
    source: Source | None = None
    state: PhotoState | Collection[PhotoState] | None = None
    leads_only: bool = False
    model: str | None = None
    since: datetime | None = None
    taken: str | None = None
    camera: str | Collection[str] = ()
    near: Place | None = None
    keyword: str | Collection[str] = ()
    limit: int | None = None
    sort: SortKey = SortKey.PATH
    descending: bool = False

    def __post_init__(self) -> None:
        # From Python it is natural to write source="human".
        for name, choices in (("source", Source), ("sort", SortKey)):
            given = getattr(self, name)
            if given is not None and given not in list(choices):
                raise UsageError(f"{name} must be one of {', '.join(choices)}, not {given!r}")
            object.__setattr__(self, name, choices(given) if given is not None else None)
        if isinstance(self.novel, str):
            if self.novel not in list(NovelTier):
                raise UsageError(f"novel must be True, False or one of {', '.join(NovelTier)}, not {self.novel!r}")
            object.__setattr__(self, "novel", NovelTier(self.novel))
        object.__setattr__(self, "reason", tuple(_members("reason", Reason, self.reason)))
        if self.state is not None:
            object.__setattr__(self, "state", tuple(_members("state", PhotoState, self.state)))
        for name in LEVELS:
            given = getattr(self, name)
            object.__setattr__(self, name, tuple(map(nfc, _texts([given] if isinstance(given, str) else given or ()))))
        for name in ("camera", "keyword"):
            given = getattr(self, name)
            object.__setattr__(self, name, _asked([given] if isinstance(given, str) else given, name))
        if self.taken is not None:
            taken_range(self.taken)
        if self.near is not None:
            object.__setattr__(self, "near", check_place(self.near))
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise UsageError(f"a score lies between 0 and 1, not {self.min_score}")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"a limit is 0 or more, not {self.limit}")
        if self.limit is not None:
            object.__setattr__(self, "limit", min(self.limit, _MOST_ROWS))
        if self.since is not None and self.since.tzinfo is None:
            raise UsageError(f"{self.since} has no time zone; use datetime.astimezone()")
        if self.since is not None:
            try:
                object.__setattr__(self, "since", self.since.astimezone(UTC))
            except OverflowError:
                raise UsageError(f"{self.since} lies outside of the years 1 to 9999 in UTC") from None


def _members(name: str, choices: type[_Choice], given: str | Collection[str]) -> Iterator[_Choice]:
    for each in [given] if isinstance(given, str) else given:
        if each not in list(choices):
            raise UsageError(f"{name} must be some of {', '.join(choices)}, not {each!r}")
        yield choices(each)


def _asked(texts: Collection[str], name: str) -> tuple[str, ...]:
    if not all(text.strip("| ") for text in texts):
        raise UsageError(f"a {name} is empty; leave it out, or write a part of it")
    return tuple(texts)


def _texts(names: Collection[str]) -> Iterator[str]:
    for name in names:
        if not is_text(name):
            raise UsageError(f"{name!r} is not in UTF-8, as the names of all classes are")
        yield name


def find(connection: Connection, query: Query) -> Iterator[TaggedPhoto]:
    """Yield the wanted photos, fetched a few at a time."""
    left = query.limit
    for statement in _statements(connection, query):
        part = statement if left is None else statement.limit(left)
        # A reader may stop early, and a server's cursor is not given back by itself.
        with closing(connection.execute(part.execution_options(yield_per=ROWS_AT_ONCE))) as rows:
            for row in rows:
                yield tagged_photo(row)
                left = None if left is None else left - 1


def count(connection: Connection, query: Query) -> int:
    """Return how many photos are wanted, whatever the limit."""
    statement = joined(select(func.count())).where(*conditions(connection, query))
    return int(connection.execute(statement).scalar_one())


def count_by(connection: Connection, query: Query, by: CountBy) -> Counter[tuple[str | None, ...]]:
    """Return how many photos are wanted, by what they have there: a subclass comes with its superclass before it."""
    columns = (reason_column(connection),) if by is CountBy.REASON else _COUNTED[by]
    statement = joined(select(*columns, func.count())).where(*conditions(connection, query)).group_by(*columns)
    counts: Counter[tuple[str | None, ...]] = Counter()
    for *values, number in connection.execute(statement):
        counts[tuple(values)] += number  # a name may be stored in two forms
    return counts


def unknown_classes(connection: Connection, query: Query) -> dict[str, list[str]]:
    """Return the classes asked for that nothing here names, each with the names that are most like it."""
    asked = [(name, _is_called(tags.c.superclass, [name])) for name in query.superclass or ()]
    asked += [(name, _is_subclass(name)) for name in query.subclass or ()]
    tagged = select(tags.c.photo_id).limit(1)
    absent = [number for number, (_, has) in enumerate(asked) if not connection.execute(tagged.where(has)).first()]
    if not absent:
        return {}
    pairs = {
        (row.superclass, row.subclass)
        for table in (tags, reviews)
        for row in connection.execute(
            select(table.c.superclass, table.c.subclass).where(table.c.superclass.is_not(None)).distinct()
        )
    }
    for model in known_models(connection):
        pairs |= {(model.taxonomy.parent(name), name) for name in model.taxonomy.subclasses}
    tops = {top for top, _ in pairs}
    subs = {sub for _, sub in pairs if sub is not None}
    full = {f"{top}/{sub}" for top, sub in pairs if sub is not None}
    unknown = {}
    for number in absent:
        name, _ = asked[number]
        names = tops if number < len(query.superclass or ()) else full if "/" in name else subs
        if name not in names:
            unknown[name] = nearest_names(name, names)
    return unknown


def _statements(connection: Connection, query: Query) -> Iterator[Select[Any]]:
    """Yield what finds the wanted photos, whatever the limit: those with the value sorted by first."""
    column = _COLUMN_OF[query.sort]
    order = column.desc() if query.descending else column.asc()
    statement = joined(select(*tagged_columns(connection))).where(*conditions(connection, query))
    if query.sort is SortKey.PATH:
        # The path is never null, and saying nothing of nulls lets SQLite walk along the index.
        yield statement.order_by(*path_order(photos.c.path_bytes, descending=query.descending))
    elif query.sort is SortKey.NOVELTY:
        # In two parts, since SQLite walks along the index of a column, and not of what `NOVELTY` makes of it.
        yield statement.where(_BY_MODEL).order_by(order, photos.c.path_bytes)
        others = or_(tags.c.source.is_(None), tags.c.source == Source.HUMAN.value)
        yield statement.where(others).order_by(photos.c.path_bytes)
    else:
        yield statement.order_by(order.nulls_last(), photos.c.path_bytes)


def joined(columns: Select[Any]) -> Select[Any]:
    """Return these columns of all photos, with their captures, their tags and the models that gave them."""
    return (
        columns.select_from(photos)
        .outerjoin(tags, tags.c.photo_id == photos.c.id)
        .outerjoin(models, models.c.id == tags.c.model_id)
        .outerjoin(captures, captures.c.photo_id == photos.c.id)
    )


def conditions(connection: Connection, query: Query) -> Iterator[ColumnElement[bool]]:
    """Yield what makes a photo wanted."""
    if query.superclass:
        yield _is_called(tags.c.superclass, query.superclass)
    if query.subclass:
        yield or_(*map(_is_subclass, query.subclass))
    if query.novel is NovelTier.SUPERCLASS:
        yield tags.c.rank == Rank.NONE.value
    elif query.novel is NovelTier.SUBCLASS:
        yield tags.c.rank == Rank.SUPERCLASS.value
    elif query.novel:
        yield tags.c.rank != Rank.SUBCLASS.value
    if query.min_score is not None:
        score = case((tags.c.rank == Rank.SUBCLASS.value, tags.c.subclass_score), else_=tags.c.superclass_score)
        yield score >= query.min_score
    yield from is_under(query.under)
    if query.source is not None:
        yield tags.c.source == query.source.value
    if query.state is not None:
        yield photos.c.state.in_([PhotoState(state).value for state in query.state])
    if query.leads_only:
        yield photos.c.lead_id.is_(None)
    if query.model is not None:
        yield _model_is(query.model)
    if query.reason:
        yield reason_column(connection).in_([reason.value for reason in query.reason])
    if query.since is not None:
        yield tags.c.tagged_at >= query.since
    if query.taken is not None:
        yield was_taken(query.taken)
    if query.camera:
        yield is_by_camera(connection, query.camera)
    if query.near is not None:
        yield is_near(connection, query.near)
    if query.keyword:
        yield has_keyword(connection, query.keyword)


def _is_called(column: ColumnElement[Any], names: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a class has one of these names; earlier versions stored them as they came."""
    return column.in_(sorted({unicodedata.normalize(form, name) for name in names for form in ("NFC", "NFD")}))


def _is_subclass(name: str) -> ColumnElement[bool]:
    parent, slash, subclass = name.partition("/")
    if not slash:
        return _is_called(tags.c.subclass, [name])
    return _is_called(tags.c.superclass, [parent]) & _is_called(tags.c.subclass, [subclass])


def _model_is(wanted: str) -> ColumnElement[bool]:
    same_name = _is_called(models.c.name, [wanted])
    if len(wanted) < FEWEST_HASH_DIGITS or not set(wanted) <= set(string.hexdigits):
        return same_name
    return or_(same_name, func.substr(models.c.hash, 1, len(wanted)) == wanted.lower())


def tagged_columns(connection: Connection) -> tuple[ColumnElement[Any], ...]:
    """Return the columns that `tagged_photo` needs."""
    return (
        photos.c.path_bytes,
        photos.c.state,
        photos.c.error,
        tags.c.superclass,
        tags.c.subclass,
        tags.c.rank,
        tags.c.superclass_score,
        tags.c.subclass_score,
        NOVELTY,
        tags.c.source,
        tags.c.tagged_at,
        models.c.name.label("model"),
        reason_column(connection).label("reason"),
        captures.c.taken_at,
        captures.c.utc_offset_minutes,
        captures.c.camera,
        captures.c.latitude,
        captures.c.longitude,
    )


def tagged_photo(row: Row[Any]) -> TaggedPhoto:
    """Return a photo from its `tagged_columns`."""
    return TaggedPhoto(
        path=path_of(row.path_bytes),
        superclass=row.superclass,
        subclass=row.subclass,
        rank=_RANKS[row.rank],
        superclass_score=row.superclass_score,
        subclass_score=row.subclass_score,
        novelty=row.novelty,
        source=_SOURCES[row.source],
        model=row.model,
        tagged_at=row.tagged_at,
        state=_STATES[row.state],
        error=row.error,
        reason=_REASONS[row.reason],
        taken_at=taken_at(row.taken_at, row.utc_offset_minutes),
        camera=row.camera,
        latitude=row.latitude,
        longitude=row.longitude,
    )


def taken_at(text: str | None, offset_minutes: int | None) -> datetime | None:
    """Return when a photo was taken from what is stored, with its zone where that is known."""
    return None if text is None else in_zone(datetime.fromisoformat(text), offset_minutes)


# ---- a whole library quickly: rows as the database has them, without SQLAlchemy converting each value


def plain_rows(connection: Connection, statement: Select[Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the rows of a statement, many at a time; in SQLite moments are texts in UTC, as they are stored there."""
    if connection.dialect.name == "sqlite":
        # Nothing here needs SQLAlchemy to convert it, which takes as long again as reading a million rows.
        with closing(connection.execute(statement)) as result:
            while result.cursor is not None and (part := result.cursor.fetchmany(PLAIN_ROWS_AT_ONCE)):
                yield part
    else:
        with closing(connection.execute(statement.execution_options(yield_per=PLAIN_ROWS_AT_ONCE))) as result:
            for rows in result.partitions(PLAIN_ROWS_AT_ONCE):
                yield [tuple(row) for row in rows]
