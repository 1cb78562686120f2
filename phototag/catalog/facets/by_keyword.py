"""Narrow by the keywords that files and their sidecars hold."""

from __future__ import annotations

from collections import Counter

from phototag.catalog.facets.by_camera import named_choices
from phototag.catalog.facets.facet import Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot, chosen, photos_by_code
from phototag.store import keyword_matcher

_MOST = 100


class ByKeyword(Facet):
    """Photos with this keyword, whole or some of its levels, as `phototag query --keyword` finds them."""

    name, title, params = "keyword", "Keyword", ("keyword",)

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        matches = keyword_matcher([values["keyword"]])
        sets = snapshot.columns.keyword_sets
        return chosen(snapshot.columns.keywords, (any(map(matches, words)) for words in sets))

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        sets, counts = snapshot.columns.keyword_sets, Counter[str]()
        for code, number in enumerate(photos_by_code(snapshot.columns.keywords, found, len(sets))):
            for keyword in sets[code] if number else ():
                counts[keyword] += number
        return Group(self, named_choices("keyword", counts, values, most=_MOST))


FACET = ByKeyword()
