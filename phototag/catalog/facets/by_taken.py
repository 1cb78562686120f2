"""Narrow by when a photo was taken, by the camera's clock: years, months, or what the address says."""

from __future__ import annotations

import calendar
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import ABSENT
from phototag.catalog.facets.facet import Choice, Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot, photos_by_code
from phototag.store import taken_range

_YEAR = len("2026")


class ByTaken(Facet):
    """Photos taken in a year, month or day, at a time, or in a range of these, as `phototag query --taken` has them."""

    name, title, params = "taken", "Taken", ("taken",)

    def check(self, values: Values) -> None:
        super().check(values)
        if "taken" in values:
            taken_range(values["taken"])

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        begin, after = taken_range(values["taken"])
        taken = snapshot.columns.taken_at
        found: Bools = ~np.isnat(taken)
        if begin is not None:
            found &= taken >= np.datetime64(begin)
        if after is not None:
            found &= taken < np.datetime64(after)
        return found

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        names, codes = snapshot.made("months taken", partial(_months, snapshot.columns.taken_at))
        counts = photos_by_code(codes, found, len(names))
        filled = [(name, number) for name, number in zip(names, counts, strict=True) if number]
        years = [(year, list(rows)) for year, rows in groupby(reversed(filled), key=lambda row: row[0][:_YEAR])]
        chosen = values.get("taken", "")
        return Group(
            self,
            [
                _choice(
                    chosen,
                    year,
                    sum(number for _, number in rows),
                    [_choice(chosen, month, number) for month, number in rows]
                    if chosen[:_YEAR] == year or len(years) == 1
                    else [],
                )
                for year, rows in years
            ],
        )

    def words(self, snapshot: Snapshot, values: Values) -> str:
        return _spoken(values["taken"])


def _months(taken: NDArray[np.datetime64]) -> tuple[list[str], NDArray[np.int32]]:
    """Return the months in which photos were taken, and which of them for each photo, -1 where that is not known."""
    known, codes = ~np.isnat(taken), np.full(len(taken), ABSENT, dtype=np.int32)
    months, codes[known] = np.unique(taken[known].astype("datetime64[M]"), return_inverse=True)
    return months.astype(str).tolist(), codes


def _choice(chosen: str, period: str, count: int, below: list[Choice] | None = None) -> Choice:
    label = _spoken(period).rpartition(" ")[0] or period
    to = {} if chosen == period else {"taken": period}
    return Choice(key=f"taken-{period}", label=label, count=count, to=to, chosen=chosen == period, below=below or ())


def _spoken(period: str) -> str:
    """Return "May 2026" for a month, all else as it is."""
    year, _, month = period.partition("-")
    return f"{calendar.month_name[int(month)]} {year}" if len(month) == 2 and month.isdigit() else period


FACET = ByTaken()
