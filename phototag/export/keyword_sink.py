"""Follow a tagger: photos that were just tagged get their keywords into sidecars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phototag.export.keyword_exporter import KeywordExporter
from phototag.store import Store

if TYPE_CHECKING:
    from phototag.tagging import Batch


class KeywordSink:
    """Is given every batch once it is saved, and brings the keywords of its photos up to date.

    Args:
        store: Where the tags are.
        say: Takes each line for the user: files that are left alone are named once, with the reason.
    """

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._exporter, self._say = KeywordExporter(store), say
        self._began = False
        self._told: set[str] = set()

    def __call__(self, batch: Batch) -> None:
        """Write the keywords of a batch.

        Raises:
            StoreError: the database cannot be read or written.
        """
        if not self._began:
            self._exporter.recover()
            self._began = True
        self._exporter.export_paths(item.photo.path for item in batch.tagged)
        report = self._exporter.report
        for reason in report.refused:
            for path in report.examples[reason]:
                line = f"{path}: {reason}"
                if line not in self._told:
                    self._told.add(line)
                    self._say(line)
