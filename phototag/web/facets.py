"""The facets of the gallery as links: each says what a click on it shows, and takes itself back when chosen."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar
from urllib.parse import urlencode

from phototag.catalog import Count, Facets, GalleryFilter, YearCount
from phototag.records import PhotoState, Rank, Source

Few = TypeVar("Few", Rank, Source, PhotoState)

_SHOWN_CHOICES = 12
_BAND_HEIGHT = 50
RANKS = {Rank.SUBCLASS: "Superclass and subclass", Rank.SUPERCLASS: "Superclass only", Rank.NONE: "No label"}
SOURCES = {Source.MODEL: "A model", Source.HUMAN: "A person"}
STATES = {PhotoState.OK: "Readable", PhotoState.UNREADABLE: "Unreadable", PhotoState.MISSING: "Missing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A filter to choose, or to take back where it is `chosen`. `key` names it in the page; `below` are finer ones."""

    key: str
    label: str
    count: int | None
    href: str
    chosen: bool = False
    css: str = ""
    hint: str = ""
    below: Sequence[Choice] = ()
    folded: Sequence[Choice] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A column of the histogram of scores, `height` of 50 high. `alone`: it is all that is chosen."""

    key: str
    label: str
    count: int
    height: float
    href: str
    chosen: bool
    alone: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a group's own form."""

    name: str
    label: str
    type: str
    value: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One facet. `folded` are further choices; `carried` are the other filters, for its form of `fields`."""

    name: str
    title: str
    open: bool
    choices: Sequence[Choice] = ()
    folded: Sequence[Choice] = ()
    bands: Sequence[Band] = ()
    fields: Sequence[Field] = ()
    carried: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in use, and where its removal leads."""

    kind: str
    label: str
    href: str


class _Links:
    """Addresses of the gallery that keep the order."""

    def __init__(self, order: Mapping[str, str]) -> None:
        self._order = dict(order)

    def to(self, wanted: GalleryFilter) -> str:
        return self.of(wanted.to_params())

    def of(self, params: Mapping[str, str]) -> str:
        every = dict(params) | self._order
        return f"/?{urlencode(every)}" if every else "/"

    def carried(self, wanted: GalleryFilter) -> dict[str, str]:
        return wanted.to_params() | self._order


def groups(wanted: GalleryFilter, facets: Facets, order: Mapping[str, str]) -> list[Group]:
    """The facets beside the photos that `wanted` asks for; `order` are the parameters of the order."""
    links = _Links(order)
    made = [
        _classes(wanted, facets, links),
        _scores(wanted, facets, links),
        _few("rank", "Label", wanted.rank, facets.ranks, RANKS, lambda rank: links.to(replace(wanted, rank=rank))),
        _few(
            "source",
            "Named by",
            wanted.source,
            facets.sources,
            SOURCES,
            lambda source: links.to(replace(wanted, source=source)),
        ),
        _dates(wanted, facets, links),
        _folders(wanted, facets, links),
        _few(
            "state", "File", wanted.state, facets.states, STATES, lambda state: links.to(replace(wanted, state=state))
        ),
    ]
    return [group for group in made if group.choices or group.bands or group.fields]


def chips(wanted: GalleryFilter, facets: Facets, order: Mapping[str, str]) -> list[Chip]:
    """The filters in use."""
    links = _Links(order)
    found: list[tuple[str, str, GalleryFilter]] = []
    if wanted.text:
        found.append(("Search", wanted.text, replace(wanted, text="")))
    if wanted.superclass is not None:
        found.append(("Superclass", wanted.superclass, replace(wanted, superclass=None, subclass=None)))
    if wanted.subclass is not None:
        found.append(("Subclass", wanted.subclass, replace(wanted, subclass=None)))
    if wanted.min_score is not None or wanted.max_score is not None:
        label = _score_span(wanted.min_score or 0.0, 1.0 if wanted.max_score is None else wanted.max_score)
        found.append(("Score", label, replace(wanted, min_score=None, max_score=None)))
    if wanted.rank is not None:
        found.append(("Label", RANKS[wanted.rank], replace(wanted, rank=None)))
    if wanted.source is not None:
        found.append(("Named by", SOURCES[wanted.source], replace(wanted, source=None)))
    if wanted.since is not None or wanted.until is not None:
        found.append(("Date", _date_span(wanted.since, wanted.until), replace(wanted, since=None, until=None)))
    if wanted.folder is not None:
        name = facets.folder_path[-1].name if facets.folder_path else "unknown"
        found.append(("Folder", name, replace(wanted, folder=None)))
    if wanted.state is not None:
        found.append(("File", STATES[wanted.state], replace(wanted, state=None)))
    return [Chip(kind, label, links.to(without)) for kind, label, without in found]


# ---- one facet each


def _classes(wanted: GalleryFilter, facets: Facets, links: _Links) -> Group:
    choices = []
    bare = replace(wanted, superclass=None, subclass=None)
    for each in sorted(facets.superclasses, key=lambda entry: (-entry.count, entry.name)):
        chosen = each.name == wanted.superclass
        below: Sequence[Choice] = ()
        folded: Sequence[Choice] = ()
        if chosen:
            below, folded = _fold(
                Choice(
                    key=f"subclass-{each.name}/{child.name}",
                    label=child.name,
                    count=child.count,
                    href=links.to(replace(wanted, subclass=None if child.name == wanted.subclass else child.name)),
                    chosen=child.name == wanted.subclass,
                )
                for child in sorted(each.subclasses, key=lambda entry: (-entry.count, entry.name))
            )
        choices.append(
            Choice(
                key=f"superclass-{each.name}",
                label=each.name,
                count=each.count,
                href=links.to(bare if chosen else replace(bare, superclass=each.name)),
                chosen=chosen,
                below=below,
                folded=folded,
            )
        )
    shown, rest = _fold(choices)
    return Group(name="class", title="Class", open=True, choices=shown, folded=rest)


def _few(
    name: str,
    title: str,
    chosen: Few | None,
    counts: Iterable[Count[Few]],
    labels: Mapping[Few, str],
    href: Callable[[Few | None], str],
) -> Group:
    """A facet of a few fixed choices; `href` leads to the photos of one of them, or of all."""
    counted = {each.value: each.count for each in counts}
    choices = [
        Choice(
            key=f"{name}-{value.value}",
            label=label,
            count=counted.get(value, 0),
            href=href(None if value == chosen else value),
            chosen=value == chosen,
            css="" if counted.get(value, 0) else "none",
        )
        for value, label in labels.items()
    ]
    return Group(name=name, title=title, open=True, choices=choices)


def _scores(wanted: GalleryFilter, facets: Facets, links: _Links) -> Group:
    bare = replace(wanted, min_score=None, max_score=None)
    low = wanted.min_score or 0.0
    high = 1.0 if wanted.max_score is None else wanted.max_score
    unbounded = wanted.min_score is None and wanted.max_score is None
    most = max((band.count for band in facets.scores), default=0)
    bands = []
    for band in facets.scores:
        alone = (wanted.min_score, wanted.max_score) == (band.low, band.high)
        # What is there can be seen, however little it is beside the rest.
        height = 0.0 if not band.count else max(2.0, _BAND_HEIGHT * band.count / most)
        bands.append(
            Band(
                key=f"score-{band.low}",
                label=_score_span(band.low, band.high),
                count=band.count,
                height=round(height, 1),
                href=links.to(bare if alone else replace(bare, min_score=band.low, max_score=band.high)),
                chosen=unbounded or (band.low >= low and band.high <= high),
                alone=alone,
            )
        )
    fields = [
        Field(
            "min_percent", "From %", "number", "" if wanted.min_score is None else f"{100 * wanted.min_score:g}", "0"
        ),
        Field(
            "max_percent", "to %", "number", "" if wanted.max_score is None else f"{100 * wanted.max_score:g}", "100"
        ),
    ]
    return Group(name="score", title="Score", open=True, bands=bands, fields=fields, carried=links.carried(bare))


def _dates(wanted: GalleryFilter, facets: Facets, links: _Links) -> Group:
    bare = replace(wanted, since=None, until=None)
    choices = []
    for year in facets.years:
        chosen = (wanted.since, wanted.until) == (year.since, year.until)
        within = _lies_within(wanted, year)
        months = [
            Choice(
                key=f"month-{year.year}-{month.month}",
                label=calendar.month_name[month.month],
                count=month.count,
                href=links.to(
                    bare
                    if (wanted.since, wanted.until) == (month.since, month.until)
                    else replace(bare, since=month.since, until=month.until)
                ),
                chosen=(wanted.since, wanted.until) == (month.since, month.until),
            )
            for month in (year.months if within or len(facets.years) == 1 else ())
        ]
        choices.append(
            Choice(
                key=f"year-{year.year}",
                label=str(year.year),
                count=year.count,
                href=links.to(bare if chosen else replace(bare, since=year.since, until=year.until)),
                chosen=chosen,
                below=months,
            )
        )
    shown, rest = _fold(choices)
    fields = [
        Field("since", "From", "date", "" if wanted.since is None else wanted.since.isoformat()),
        Field("until", "to", "date", "" if wanted.until is None else wanted.until.isoformat()),
    ]
    return Group(
        name="date", title="Date", open=True, choices=shown, folded=rest, fields=fields, carried=links.carried(bare)
    )


def _lies_within(wanted: GalleryFilter, year: YearCount) -> bool:
    return (
        wanted.since is not None
        and wanted.until is not None
        and year.since <= wanted.since
        and wanted.until <= year.until
    )


def _folders(wanted: GalleryFilter, facets: Facets, links: _Links) -> Group:
    choices = []
    if facets.folder_path:
        choices.append(
            Choice(
                key="folder-all", label="All folders", count=None, href=links.to(replace(wanted, folder=None)), css="up"
            )
        )
    for each in facets.folder_path:
        chosen = each.key == wanted.folder
        choices.append(
            Choice(
                key=f"folder-{each.key}",
                label=each.name,
                count=each.count if chosen else None,
                href=links.to(replace(wanted, folder=None if chosen else each.key)),
                chosen=chosen,
                css="" if chosen else "up",
                hint=each.name,
            )
        )
    inside = [
        Choice(
            key=f"folder-{each.key}",
            label=each.name,
            count=each.count,
            href=links.to(replace(wanted, folder=each.key)),
            hint=each.name,
        )
        for each in facets.folders
    ]
    shown, rest = _fold(inside)
    if choices and choices[-1].chosen:
        choices[-1] = replace(choices[-1], below=shown, folded=rest)
        return Group(name="folder", title="Folder", open=True, choices=choices)
    return Group(name="folder", title="Folder", open=True, choices=[*choices, *shown], folded=rest)


def _fold(choices: Iterable[Choice]) -> tuple[list[Choice], list[Choice]]:
    """The first choices, and the rest to be folded away; a chosen one is always seen."""
    every = list(choices)
    # A line that says "1 more" would take the room of what it hides.
    if len(every) <= _SHOWN_CHOICES + 1:
        return every, []
    shown = every[:_SHOWN_CHOICES] + [each for each in every[_SHOWN_CHOICES:] if each.chosen]
    return shown, [each for each in every[_SHOWN_CHOICES:] if not each.chosen]


def _score_span(low: float, high: float) -> str:
    return f"{100 * low:g} to {100 * high:g} %"


def _date_span(since: date | None, until: date | None) -> str:
    if since is None:
        return f"until {until}"
    if until is None:
        return f"since {since}"
    if since == until:
        return str(since)
    last = calendar.monthrange(until.year, until.month)[1]
    if since.year == until.year and since.day == 1 and until.day == last:
        if since.month == until.month:
            return f"{calendar.month_name[since.month]} {since.year}"
        if (since.month, until.month) == (1, 12):
            return str(since.year)
    return f"{since} to {until}"
