"""What a page shows of photos, read off their columns."""

from __future__ import annotations

import math

from phototag.catalog.columns import ABSENT, RANKS, REASONS, SOURCES, STATES, Columns
from phototag.catalog.folders import shown
from phototag.catalog.views import GalleryItem
from phototag.records import Rank, Source

_HUMAN = SOURCES.index(Source.HUMAN)


def item_at(columns: Columns, place: int, *, stack: int = 1) -> GalleryItem:
    """Return the photo at a position of the columns; it stands for a `stack` of so many."""
    superclass, subclass = columns.label_of(place)
    rank, source, reason = (int(codes[place]) for codes in (columns.rank, columns.source, columns.reason))
    version = int(columns.version[place])
    scores = columns.subclass_score if rank == RANKS.index(Rank.SUBCLASS) else columns.superclass_score
    return GalleryItem(
        id=int(columns.id[place]),
        name=shown(columns.names[place]),
        superclass=superclass,
        subclass=subclass,
        rank=None if rank == ABSENT else RANKS[rank],
        score=None if source == _HUMAN else _present(float(scores[place])),
        novelty=_present(float(columns.novelty[place])),
        source=None if source == ABSENT else SOURCES[source],
        reason=None if reason == ABSENT else REASONS[reason],
        state=STATES[int(columns.state[place])],
        version="" if version == ABSENT else f"{version:08x}",
        width=_positive(int(columns.width[place])),
        height=_positive(int(columns.height[place])),
        stack=stack,
    )


def _present(value: float) -> float | None:
    return None if math.isnan(value) else value


def _positive(value: int) -> int | None:
    return None if value == ABSENT else value
