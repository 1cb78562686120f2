"""Days and months in local time, as nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

_NS = 1_000_000_000
FIRST_NS, LAST_NS = -(2**63), 2**63 - 1


class Months:
    """The months of moments [N] in local time: `of` [N] points into `starts`, the first days of the months."""

    def __init__(self, moments_ns: NDArray[np.int64]) -> None:
        self.starts: list[date] = []
        self.of = np.zeros(len(moments_ns), dtype=np.int64)
        if not len(moments_ns):
            return
        month, last = _local_month(int(moments_ns.min())), _local_month(int(moments_ns.max()))
        while month <= last:
            self.starts.append(month)
            month = next_month(month)
        starts = np.array([start_of(month) for month in self.starts], dtype=np.int64)
        self.of = np.maximum(np.searchsorted(starts, moments_ns, side="right") - 1, 0)


def next_month(day: date) -> date:
    """Return the first day of the month after."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def start_of(day: date) -> int:
    """Return when a day begins in local time, in nanoseconds since 1970, as far as 64 bits reach."""
    try:
        moment = datetime.combine(day, time.min).astimezone()
    except (OverflowError, OSError, ValueError):
        # Some systems know local time since 1970 only.
        moment = datetime.combine(day, time.min, tzinfo=UTC)
    return min(max(int(moment.timestamp()) * _NS, FIRST_NS), LAST_NS)


def end_of(day: date) -> int:
    """Return the last nanosecond of a day in local time."""
    return LAST_NS if day == date.max else max(start_of(day + timedelta(days=1)) - 1, FIRST_NS)


def _local_month(moment_ns: int) -> date:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_ns // 1000)
    try:
        local = moment.astimezone()
    except (OverflowError, OSError, ValueError):
        local = moment
    return date(local.year, local.month, 1)
