"""Reports that were made, for as long as nothing changes that they tell of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from phototag.audit.audit_report import AuditReport

_MOST = 12


class ReportCache:
    """The reports asked for last, by what they are about. Thread-safe; one is made at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: Hashable = None
        self._reports: OrderedDict[Hashable, AuditReport] = OrderedDict()

    def get(self, version: tuple[Any, ...], about: Hashable, make: Callable[[], AuditReport]) -> AuditReport:
        """The report about something at that version of the database (`Store.audit_version`)."""
        with self._lock:
            if version != self._version:
                self._reports.clear()
                self._version = version
            if about not in self._reports:
                self._reports[about] = make()
            self._reports.move_to_end(about)
            while len(self._reports) > _MOST:
                self._reports.popitem(last=False)
            return self._reports[about]
