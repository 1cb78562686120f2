"""Narrow by the state of the file: what is known of it."""

from __future__ import annotations

from phototag.catalog.facets.facet import CodedFacet
from phototag.records import PhotoState

FACET = CodedFacet(
    "state",
    "File",
    {
        PhotoState.OK: "Readable",
        PhotoState.UNREADABLE: "Unreadable",
        PhotoState.UNSUPPORTED: "Of a format not read here",
        PhotoState.MISSING: "Missing",
    },
)
