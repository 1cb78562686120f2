"""Narrow by why a model's tag goes no deeper."""

from __future__ import annotations

from phototag.catalog.facets.facet import CodedFacet
from phototag.records import Reason

FACET = CodedFacet(
    "reason",
    "Why",
    {
        Reason.SUBCLASS: "Sure of the subclass",
        Reason.LOW_SUBCLASS_SCORE: "Not sure of the subclass",
        Reason.NOVEL_SUBCLASS: "Novel subclass",
        Reason.LOW_SUPERCLASS_SCORE: "Not sure of the superclass",
        Reason.NOVEL_SUPERCLASS: "Novel superclass",
    },
)
