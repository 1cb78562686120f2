"""Superclasses, subclasses, and the parent of each subclass."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from phototag.errors import TaxonomyError


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be a class name, else raise TaxonomyError saying why."""
    if not name or name != name.strip():
        raise TaxonomyError(f"{what} {name!r} is empty or has blanks around it")
    if "/" in name:
        raise TaxonomyError(f"{what} {name!r} holds a slash, which separates superclass from subclass")
    if any(unicodedata.category(character)[0] == "C" for character in name):
        raise TaxonomyError(f"{what} {name!r} holds a control character")
    return name


NO_LABEL = "no label"
"""What a photo has that shows none of the known classes, in words."""

SUPERCLASS_ONLY = "superclass only"
"""What a tag is that names a superclass and no subclass, in words."""


NO_SUBCLASS = "no subclass"
"""What both of these are among subclasses, in words."""


def label_text(superclass: str | None, subclass: str | None) -> str:
    """Return a label in words: "bird/rooster", "bird (superclass only)" or "no label"."""
    if superclass is None:
        return NO_LABEL
    return f"{superclass} ({SUPERCLASS_ONLY})" if subclass is None else f"{superclass}/{subclass}"


def as_written(name: str) -> str:
    """Return a class name as people write it: "american egret" for american_egret."""
    return name.replace("_", " ")


def spelled(name: str) -> str:
    """Return what names have in common that differ only in capitals, underscores for blanks, or composed letters."""
    return as_written(unicodedata.normalize("NFC", name)).casefold()


@dataclass(frozen=True)
class Taxonomy:
    """A hierarchy of two levels: every subclass lies under exactly one superclass.

    `superclasses` [S] and `subclasses` [C] are the orders of a model's outputs; `parents[c]` is the index of subclass
    c's superclass. Names are unique within their level; a subclass is written in full as "bird/rooster".

    Raises:
        TaxonomyError: a name is unusable or doubled, a parent is out of range, or a superclass has no subclass.

    >>> taxonomy = phototag.Taxonomy.from_pairs([("bird", "rooster"), ("bird", "hen"), ("dog", "beagle")])
    >>> taxonomy.subclasses, taxonomy.parents
    (('hen', 'rooster', 'beagle'), (0, 0, 1))
    >>> taxonomy.parent("rooster"), taxonomy.qualified(0)
    ('bird', 'bird/hen')
    """

    superclasses: tuple[str, ...]
    subclasses: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.superclasses:
            raise TaxonomyError("there are no classes")
        for names, what in ((self.superclasses, "superclass"), (self.subclasses, "subclass")):
            for name in names:
                check_name(name, what)
            if len(set(names)) != len(names):
                doubled = sorted({name for name in names if names.count(name) > 1})
                raise TaxonomyError(f"{what} named twice: {', '.join(doubled)}")
        if len(self.parents) != len(self.subclasses):
            raise TaxonomyError(f"{len(self.subclasses)} subclasses but {len(self.parents)} parents")
        if set(self.parents) != set(range(len(self.superclasses))):
            raise TaxonomyError("every superclass needs at least one subclass, and every subclass a superclass")

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Taxonomy:
        """Build from (superclass, subclass) pairs; both levels are sorted by name, so the order does not matter.

        Raises:
            TaxonomyError: no pairs, a name is unusable, or a subclass appears under two superclasses.
        """
        parent_of: dict[str, str] = {}
        for superclass, subclass in pairs:
            other = parent_of.setdefault(subclass, superclass)
            if other != superclass:
                raise TaxonomyError(f"subclass {subclass!r} lies under two superclasses, {other!r} and {superclass!r}")
        if not parent_of:
            raise TaxonomyError("there are no classes")
        superclasses = tuple(sorted(set(parent_of.values())))
        subclasses = tuple(sorted(parent_of, key=lambda name: (parent_of[name], name)))
        return cls(superclasses, subclasses, tuple(superclasses.index(parent_of[name]) for name in subclasses))

    @cached_property
    def superclass_index(self) -> dict[str, int]:
        """Return the position of each superclass by its name."""
        return {name: index for index, name in enumerate(self.superclasses)}

    @cached_property
    def subclass_index(self) -> dict[str, int]:
        """Return the position of each subclass by its name."""
        return {name: index for index, name in enumerate(self.subclasses)}

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Return the positions of the subclasses of each superclass."""
        groups: list[list[int]] = [[] for _ in self.superclasses]
        for index, parent in enumerate(self.parents):
            groups[parent].append(index)
        return tuple(tuple(group) for group in groups)

    def parent(self, subclass: str) -> str:
        """Return the superclass that `subclass` lies under; KeyError if there is no such subclass."""
        return self.superclasses[self.parents[self.subclass_index[subclass]]]

    def qualified(self, index: int) -> str:
        """Return subclass number `index` written in full: "bird/rooster"."""
        return f"{self.superclasses[self.parents[index]]}/{self.subclasses[index]}"

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the names, order and parents, in hex."""
        return hashlib.sha256(json.dumps(self.to_json(), ensure_ascii=False).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the taxonomy as plain values for JSON."""
        return {
            "superclasses": list(self.superclasses),
            "subclasses": list(self.subclasses),
            "parents": list(self.parents),
        }

    @classmethod
    def from_json(cls, value: Any) -> Taxonomy:
        """Read what `to_json` wrote; the value may come from an untrusted file.

        Raises:
            TaxonomyError: the value is not a taxonomy.
        """
        try:
            superclasses, subclasses, parents = value["superclasses"], value["subclasses"], value["parents"]
            clean = (
                all(isinstance(part, list) for part in (superclasses, subclasses, parents))
                and all(isinstance(name, str) for name in [*superclasses, *subclasses])
                and all(type(index) is int for index in parents)
            )
        except (TypeError, KeyError) as error:
            raise TaxonomyError(f"not a taxonomy: {error}") from error
        if not clean:
            raise TaxonomyError("not a taxonomy: names must be text and parents whole numbers")
        return cls(tuple(superclasses), tuple(subclasses), tuple(parents))
