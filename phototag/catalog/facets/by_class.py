"""Narrow by the class of the tag: superclasses, and the subclasses of a chosen one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from phototag.catalog.facets.facet import Chip, Choice, Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot, photos_by_code
from phototag.errors import UsageError
from phototag.taxonomy import as_written
from phototag.text import nfc


class ByClass(Facet):
    """Photos tagged with a superclass, at any rank, or with one of its subclasses."""

    name, title, params = "class", "Class", ("superclass", "subclass")

    def tidy(self, values: Values) -> dict[str, Any]:
        # Addresses of earlier versions have names as they came.
        return {name: nfc(str(value)) if name in self.params else value for name, value in values.items()}

    def check(self, values: Values) -> None:
        super().check(values)
        if "subclass" in values and "superclass" not in values:
            raise UsageError(f"subclass {values['subclass']!r} needs its superclass")

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        superclass, subclass = values["superclass"], values.get("subclass")
        return snapshot.labelled(
            [label[0] == superclass and subclass in (None, label[1]) for label in snapshot.columns.labels]
        )

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        superclass, subclass = values.get("superclass"), values.get("subclass")
        counted: dict[str, int] = {} if superclass is None else {superclass: 0}
        below: dict[str, int] = {} if subclass is None else {subclass: 0}
        labels = snapshot.columns.labels
        numbers = photos_by_code(snapshot.columns.label, found, len(labels))
        for (first, second), number in zip(labels, numbers, strict=True):
            if first is not None and number:
                counted[first] = counted.get(first, 0) + number
                if first == superclass and second is not None:
                    below[second] = number
        return Group(
            self,
            [
                Choice(
                    key=f"superclass-{name}",
                    label=as_written(name),
                    count=number,
                    to={} if name == superclass else {"superclass": name},
                    chosen=name == superclass,
                    below=[
                        Choice(
                            key=f"subclass-{name}/{child}",
                            label=as_written(child),
                            count=photos,
                            to={"superclass": name} | ({} if child == subclass else {"subclass": child}),
                            chosen=child == subclass,
                        )
                        for child, photos in _most_first(below if name == superclass else {})
                    ],
                )
                for name, number in _most_first(counted)
            ],
        )

    def chips(self, snapshot: Snapshot, values: Values) -> Iterable[Chip]:
        if "superclass" in values:
            yield Chip(self, "Superclass", as_written(values["superclass"]))
        if "subclass" in values:
            yield Chip(self, "Subclass", as_written(values["subclass"]), {"superclass": values["superclass"]})


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


FACET = ByClass()
