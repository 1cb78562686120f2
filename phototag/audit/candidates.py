"""What a model's heads said beyond the tag: the best subclasses, and the best of each head on its own."""

from __future__ import annotations

from dataclasses import dataclass

from phototag.decision import Evidence
from phototag.taxonomy import Taxonomy

_TOP = 5


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best subclasses in full, best first, and the best superclass and subclass of each head by itself."""

    top: tuple[str, ...]
    heads: tuple[str, str]


def read_candidates(evidence: Evidence, taxonomy: Taxonomy) -> list[Candidates]:
    """The candidates of each photo of the evidence, in order."""
    return [
        Candidates(
            top=tuple(taxonomy.qualified(index) for index in top[:_TOP]),
            heads=(taxonomy.superclasses[head], taxonomy.subclasses[top[0]]),
        )
        for top, head in zip(evidence.top.tolist(), evidence.superclass.argmax(axis=1), strict=True)
    ]
