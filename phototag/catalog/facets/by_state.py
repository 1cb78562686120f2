"""Narrow by the state of the file: what is known of it. Files that are gone are left out unless they are asked for."""

from __future__ import annotations

from phototag.catalog.columns import STATES
from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Bools, Snapshot
from phototag.records import PhotoState


class _ByState(CodedFacet):
    def unasked(self, snapshot: Snapshot) -> Bools | None:
        there: Bools = snapshot.columns.state != STATES.index(PhotoState.MISSING)
        return there


FACET = _ByState(
    "state",
    "File",
    {
        PhotoState.OK: "Readable",
        PhotoState.UNREADABLE: "Unreadable",
        PhotoState.UNSUPPORTED: "Of a format not read here",
        PhotoState.MISSING: "Missing",
    },
)
