"""What a facet is: parameters of the address, the photos that they select, and the choices beside the photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.snapshot import Bools, Snapshot, photos_by_code
from phototag.errors import UsageError

Values = Mapping[str, Any]
"""Parameters and their values; one that is absent asks for nothing."""

_LONGEST_TEXT = 1000


class Facet(ABC):
    """One way to narrow the gallery: its addresses, photos, counts and words.

    `name` names the facet in the page and `title` heads it. `params` are its parameters in addresses and in
    `GalleryFilter`; no two facets share one.
    """

    name: str
    title: str
    params: tuple[str, ...]

    def read(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the facet's values among the parameters of an address.

        Raises:
            UsageError: a text cannot be a value.
        """
        found = {}
        for name in self.params:
            if (text := given.get(name, "")).strip():
                try:
                    found[name] = self.convert(text)
                except ValueError as error:
                    raise UsageError(f"{name}: {text[:40]!r} cannot be one") from error
        return found

    def convert(self, text: str) -> Any:
        """Return the value that a text in an address stands for; ValueError if there is none."""
        return text

    def tidy(self, values: Values) -> dict[str, Any]:
        """Return the values of one filter in the form in which photos have them."""
        return dict(values)

    def check(self, values: Values) -> None:
        """Check the values of one filter.

        Raises:
            UsageError: they cannot be, or contradict each other.
        """
        for name in self.params:
            if len(str(values.get(name) or "")) > _LONGEST_TEXT:
                raise UsageError(f"{name}: at most {_LONGEST_TEXT} characters")

    @abstractmethod
    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        """Return which photos the values select, [N]. Called only where one of them is given."""

    def unasked(self, snapshot: Snapshot) -> Bools | None:
        """Return which photos are shown where none of the values is given, [N]; None for all."""
        return None

    @abstractmethod
    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        """Return the choices, each counted among the photos `found` [N]: those that all other facets select."""

    def chips(self, snapshot: Snapshot, values: Values) -> Iterable[Chip]:
        """Return the facet's values that are in use, in words."""
        if not values.keys().isdisjoint(self.params):
            yield Chip(self, self.title, self.words(snapshot, values))

    def words(self, snapshot: Snapshot, values: Values) -> str:
        """Return the values in words. Called only where one of them is given."""
        return str(values[self.params[0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A choice of a facet. `key` names it in the page, `to` are the facet's values once it is followed.

    A chosen one leads back. `below` are finer choices, `style` is a class of the style sheet, and `hint` a tooltip.
    """

    key: str
    label: str
    count: int | None
    to: Values
    chosen: bool = False
    style: str = ""
    hint: str = ""
    below: Sequence[Choice] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a facet's own form; `type` is that of an HTML input."""

    name: str
    label: str
    type: str
    value: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A facet in the page: a list of choices, or a histogram of them over a `scale`, and a form of `fields`."""

    facet: Facet
    choices: Sequence[Choice] = ()
    fields: Sequence[Field] = ()
    scale: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in use, `to` are the facet's values once it is taken away."""

    facet: Facet
    title: str
    label: str
    to: Values = field(default_factory=dict)


class CodedFacet(Facet):
    """A facet of a few fixed choices, of which a photo has one or none; its only parameter is its name.

    `labels` are the choices as they stand in addresses, and in words.
    """

    def __init__(self, name: str, title: str, labels: Mapping[Any, str]) -> None:
        self.name, self.title, self.params, self.labels = name, title, (name,), labels

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        """Return for each photo the position of its choice among the `labels`, negative for none, [N].

        This is the column of that name, unless a subclass finds it otherwise.
        """
        codes: NDArray[np.int8] = getattr(snapshot.columns, self.name)
        return codes

    def convert(self, text: str) -> Any:
        options = list(self.labels)
        return options[options.index(text)]

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        found: Bools = self.codes(snapshot) == list(self.labels).index(values[self.name])
        return found

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        chosen = values.get(self.name)
        counts = photos_by_code(self.codes(snapshot), found, len(self.labels))
        choices = [
            Choice(
                key=f"{self.name}-{option}",
                label=label,
                count=number,
                to={} if option == chosen else {self.name: option},
                chosen=option == chosen,
                style="" if number else "none",
            )
            for (option, label), number in zip(self.labels.items(), counts, strict=True)
        ]
        return Group(self, choices)

    def words(self, snapshot: Snapshot, values: Values) -> str:
        return self.labels[values[self.name]]
