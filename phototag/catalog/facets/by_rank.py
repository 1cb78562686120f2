"""Narrow by the rank of the tag: how far down it goes."""

from __future__ import annotations

from phototag.catalog.facets.facet import CodedFacet
from phototag.records import Rank

FACET = CodedFacet(
    "rank",
    "Label",
    {
        Rank.SUBCLASS: "Superclass and subclass",
        Rank.SUPERCLASS: "Superclass only",
        Rank.NONE: "No label",
    },
)
