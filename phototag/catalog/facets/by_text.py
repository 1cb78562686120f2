"""Search words in paths and in the names of tags."""

from __future__ import annotations

import re

from phototag.catalog.facets.facet import Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot

_WORD = re.compile(r'"([^"]*)"?|([^\s"]+)')


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search, each once; what stands between double quotes is one word."""
    found = (quoted or plain for quoted, plain in _WORD.findall(text))
    return tuple(dict.fromkeys(word.strip() for word in found if word.strip()))


class ByText(Facet):
    """Photos with all words of `text` in their paths or the names of their tags, whatever the case."""

    name, title, params = "text", "Search", ("text",)

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        return snapshot.holding(words_of(values["text"]))

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        return Group(self)  # the page has a field for it


FACET = ByText()
