"""Narrow by the date of the file: years, months, or an interval of days."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import numpy as np

from phototag.catalog.facets.facet import Choice, Facet, Field, Group, Values
from phototag.catalog.months import FIRST_NS, LAST_NS, end_of, next_month, start_of
from phototag.catalog.snapshot import Bools, Snapshot
from phototag.errors import UsageError


class ByDate(Facet):
    """Photos whose files were changed from the day `since` to the day `until`, both included, in local time."""

    name, title, params = "date", "Date", ("since", "until")

    def convert(self, text: str) -> Any:
        return date.fromisoformat(text)

    def check(self, values: Values) -> None:
        since, until = _days(values)
        if since is not None and until is not None and since > until:
            raise UsageError(f"since {since} is later than until {until}")

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        since, until = _days(values)
        first = FIRST_NS if since is None else start_of(since)
        last = LAST_NS if until is None else end_of(until)
        return (snapshot.columns.modified_ns >= first) & (snapshot.columns.modified_ns <= last)

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        months = snapshot.months
        counts = np.bincount(months.of[found], minlength=len(months.starts)).tolist()
        filled = [(start, number) for start, number in zip(months.starts, counts, strict=False) if number]
        years = [(year, list(of_year)) for year, of_year in groupby(reversed(filled), key=lambda pair: pair[0].year)]
        choices = []
        for year, of_year in years:
            first, last = date(year, 1, 1), date(year, 12, 31)
            since, until = _days(values)
            within = since is not None and until is not None and first <= since and until <= last
            choices.append(
                _period(
                    values,
                    f"year-{year}",
                    str(year),
                    (first, last),
                    sum(number for _, number in of_year),
                    [
                        _period(
                            values,
                            f"month-{year}-{start.month}",
                            calendar.month_name[start.month],
                            (start, next_month(start) - timedelta(days=1)),
                            number,
                        )
                        for start, number in (of_year if within or len(years) == 1 else ())
                    ],
                )
            )
        fields = [
            Field(name, label, "date", values[name].isoformat() if name in values else "")
            for name, label in (("since", "From"), ("until", "to"))
        ]
        return Group(self, choices, fields)

    def words(self, snapshot: Snapshot, values: Values) -> str:
        return _span(*_days(values))


def _days(values: Values) -> tuple[date | None, date | None]:
    return values.get("since"), values.get("until")


def _period(
    values: Values, key: str, label: str, days: tuple[date, date], count: int, below: list[Choice] | None = None
) -> Choice:
    chosen = _days(values) == days
    to = {} if chosen else {"since": days[0], "until": days[1]}
    return Choice(key=key, label=label, count=count, to=to, chosen=chosen, below=below or ())


def _span(since: date | None, until: date | None) -> str:
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


FACET = ByDate()
