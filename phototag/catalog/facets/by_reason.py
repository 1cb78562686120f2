"""Narrow by why a model's tag goes no deeper."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Snapshot
from phototag.records import Reason


class ByReason(CodedFacet):
    """Photos that a model tagged, by why it went no deeper."""

    name, title, params = "reason", "Why", ("reason",)
    labels: ClassVar = {
        Reason.SUBCLASS: "Sure of the subclass",
        Reason.LOW_SUBCLASS_SCORE: "Not sure of the subclass",
        Reason.NOVEL_SUBCLASS: "Looks like no known subclass",
        Reason.LOW_SUPERCLASS_SCORE: "Not sure of the superclass",
        Reason.NOVEL_SUPERCLASS: "Looks like no known superclass",
    }

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        return snapshot.columns.reason


FACET = ByReason()
