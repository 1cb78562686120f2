"""Narrow by the state of the file."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Snapshot
from phototag.records import PhotoState


class ByState(CodedFacet):
    """Photos by what is known of the file."""

    name, title, params = "state", "File", ("state",)
    labels: ClassVar = {PhotoState.OK: "Readable", PhotoState.UNREADABLE: "Unreadable", PhotoState.MISSING: "Missing"}

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        return snapshot.columns.state


FACET = ByState()
