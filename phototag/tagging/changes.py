"""What becomes of tags when photos are decided again: one name for each kind of change, and counts by superclass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Protocol

from phototag.records import Rank

UNCHANGED = "unchanged"


class Labelled(Protocol):
    """Whatever has the label of a tag."""

    @property
    def superclass(self) -> str | None: ...
    @property
    def subclass(self) -> str | None: ...
    @property
    def rank(self) -> Rank: ...


def kind_of(before: Labelled, after: Labelled) -> str:
    """Return what becomes of a tag: "subclass -> none" and such, "other superclass", "other subclass", `UNCHANGED`."""
    if None not in (before.superclass, after.superclass) and before.superclass != after.superclass:
        return "other superclass"
    if before.rank is not after.rank:
        return f"{before.rank} -> {after.rank}"
    return UNCHANGED if before.subclass == after.subclass else "other subclass"


@dataclass(slots=True)
class Flow:
    """Photos of one superclass: how many had it and have it now, and how many of all these changed their label."""

    before: int = 0
    after: int = 0
    changed: int = 0


class Flows(defaultdict[str | None, Flow]):
    """A flow for each superclass, None for none."""

    def __init__(self) -> None:
        super().__init__(Flow)

    def add(self, before: Labelled, after: Labelled) -> None:
        """Count one photo."""
        self[before.superclass].before += 1
        self[after.superclass].after += 1
        if kind_of(before, after) != UNCHANGED:
            for name in {before.superclass, after.superclass}:
                self[name].changed += 1

    def to_json(self) -> list[dict[str, Any]]:
        """Return a row for each superclass by name, none last."""
        return [
            {"superclass": name, "before": flow.before, "after": flow.after, "changed": flow.changed}
            for name, flow in sorted(self.items(), key=lambda item: (item[0] is None, item[0]))
        ]
