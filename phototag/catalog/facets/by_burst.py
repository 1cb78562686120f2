"""Narrow to the photos of one burst: what a stack opens to."""

from __future__ import annotations

from typing import Any

import numpy as np

from phototag.catalog.columns import ABSENT
from phototag.catalog.facets.facet import Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot


class ByBurst(Facet):
    """Photos of the burst that the photo with the id `burst` is of."""

    name, title, params = "burst", "Burst", ("burst",)

    def convert(self, text: str) -> Any:
        number = int(text)
        if not 0 <= number < 2**63:
            raise ValueError(text)
        return number

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        (place,) = snapshot.columns.places([values["burst"]]).tolist()
        if place == ABSENT:
            return np.zeros(len(snapshot), dtype=np.bool_)
        found: Bools = snapshot.bursts == snapshot.bursts[place]
        return found

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        return Group(self)

    def words(self, snapshot: Snapshot, values: Values) -> str:
        return f"{np.count_nonzero(self.mask(snapshot, values)):,} photos"


FACET = ByBurst()
