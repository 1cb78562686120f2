"""Narrow by the source of the tag."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Snapshot
from phototag.records import Source


class BySource(CodedFacet):
    """Photos by who gave the tag."""

    name, title, params = "source", "Named by", ("source",)
    labels: ClassVar = {Source.MODEL: "A model", Source.HUMAN: "A person"}

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        return snapshot.columns.source


FACET = BySource()
