"""Narrow by the camera that a photo was taken with."""

from __future__ import annotations

from collections import Counter

from phototag.catalog.facets.facet import Choice, Facet, Group, Values
from phototag.catalog.snapshot import Bools, Snapshot, chosen, photos_by_code


class ByCamera(Facet):
    """Photos of the camera of exactly this name, whichever of its serial numbers."""

    name, title, params = "camera", "Camera", ("camera",)

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        columns = snapshot.columns
        return chosen(columns.camera, (name == values["camera"] for name, _ in columns.cameras))

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        cameras, counts = snapshot.columns.cameras, Counter[str]()
        numbers = photos_by_code(snapshot.columns.camera, found, len(cameras))
        for (name, _), number in zip(cameras, numbers, strict=True):
            counts[name] += number
        return Group(self, list(named_choices("camera", counts, values)))


def named_choices(param: str, counts: Counter[str], values: Values, *, most: int | None = None) -> list[Choice]:
    """Return choices by name, the most frequent first; one that is chosen is among them, whatever its count."""
    given = values.get(param)
    names = [name for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if number][:most]
    return [
        Choice(
            key=f"{param}-{name}",
            label=name,
            count=counts[name],
            to={} if name == given else {param: name},
            chosen=name == given,
            hint=name,
        )
        for name in [*names, *([given] if given in counts and given not in names else ())]
    ]


FACET = ByCamera()
