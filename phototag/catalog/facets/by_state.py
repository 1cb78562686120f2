"""Narrow by the state of the file: what is known of it. Files that are gone are shown to who asks for them."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import ABSENT, STATES
from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.snapshot import Bools, Snapshot
from phototag.records import PhotoState


class _ByState(CodedFacet):
    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        return snapshot.made("states", partial(_codes, snapshot))

    def unasked(self, snapshot: Snapshot) -> Bools | None:
        gone = snapshot.columns.state == STATES.index(PhotoState.MISSING)
        there: Bools = ~(gone | snapshot.columns.follows)
        return there


def _codes(snapshot: Snapshot) -> NDArray[np.int8]:
    # A pair is one photo. One of its files that cannot be read is still a file that cannot be read.
    state = snapshot.columns.state
    hidden = snapshot.columns.follows & (state != STATES.index(PhotoState.UNREADABLE))
    codes: NDArray[np.int8] = np.where(hidden, ABSENT, state).astype(np.int8)
    return codes


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
