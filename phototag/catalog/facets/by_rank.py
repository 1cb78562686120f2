"""Narrow by the rank of the tag."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Snapshot
from phototag.records import Rank


class ByRank(CodedFacet):
    """Photos by how far down the tag goes."""

    name, title, params = "rank", "Label", ("rank",)
    labels: ClassVar = {
        Rank.SUBCLASS: "Superclass and subclass",
        Rank.SUPERCLASS: "Superclass only",
        Rank.NONE: "No label",
    }

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        return snapshot.columns.rank


FACET = ByRank()
