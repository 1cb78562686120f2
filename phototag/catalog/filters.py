"""Which photos the gallery shows: a value that fits into a query string and comes back from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np

from phototag.catalog.facets.facet_list import FACETS
from phototag.catalog.snapshot import Bools, Snapshot


class GalleryFilter(Mapping[str, Any]):
    """Which photos are wanted, as parameters of the facets and their values: `GalleryFilter(superclass="bird")`.

    What is None, empty or left out asks for nothing. See the facets for what their values mean.

    Raises:
        UsageError: a value cannot be, or two of them contradict each other.
        TypeError: no facet has such a parameter.
    """

    def __init__(self, **values: Any) -> None:
        names = [name for facet in FACETS.values() for name in facet.params]
        if unknown := values.keys() - set(names):
            raise TypeError(f"no facet has the parameters {', '.join(sorted(unknown))}")
        self._values = {name: values[name] for name in names if values.get(name) not in (None, "")}
        for facet in FACETS.values():
            self._values = facet.tidy(self._values)
            facet.check(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"GalleryFilter({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def but(self, **values: Any) -> GalleryFilter:
        """Return the filter with other values; None takes one away."""
        return GalleryFilter(**{**self._values, **values})

    def masks(self, snapshot: Snapshot) -> dict[str, Bools]:
        """Return which photos each facet selects that does not take all, [N] each."""
        masks = {
            facet.name: facet.unasked(snapshot)
            if self._values.keys().isdisjoint(facet.params)
            else facet.mask(snapshot, self._values)
            for facet in FACETS.values()
        }
        return {name: mask for name, mask in masks.items() if mask is not None}

    def mask(self, snapshot: Snapshot) -> Bools:
        """Return which photos are wanted, [N]."""
        return all_of(snapshot, self.masks(snapshot))

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> GalleryFilter:
        """Return the inverse of `to_params`; what is empty or unknown is left out.

        Raises:
            UsageError: a value cannot be one.
        """
        return cls(**{name: value for facet in FACETS.values() for name, value in facet.read(params).items()})

    def to_params(self) -> dict[str, str]:
        """Return what is asked for as names and texts, fit for a query string."""
        return {name: _write(value) for name, value in self._values.items()}


def all_of(snapshot: Snapshot, masks: Mapping[str, Bools], *, but: str = "") -> Bools:
    """Return the photos that all masks but one select, [N]."""
    found = np.ones(len(snapshot), dtype=np.bool_)
    for name, mask in masks.items():
        if name != but:
            found &= mask
    return found


def _write(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, date) else str(value)
