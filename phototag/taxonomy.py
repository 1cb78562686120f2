"""Superclasses, subclasses, and the parent of each subclass."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from phototag.errors import TaxonomyError
from phototag.text import nfc

_MOST_NAMED = 5
# Names of folders, which most classes are named after, have at most 255.
_LONGEST_NAME = 500


def check_name(name: str, what: str) -> str:
    """Return `name`, composed as all names are (NFC), if it can be a class name.

    Raises:
        TaxonomyError: it cannot; the text says why.
    """
    if len(name) > _LONGEST_NAME:
        raise TaxonomyError(f"{what} {name[:20]!r}... is longer than {_LONGEST_NAME} characters")
    if not name or name != name.strip():
        raise TaxonomyError(f"{what} {name!r} is empty or has blanks around it")
    if "/" in name:
        raise TaxonomyError(f"{what} {name!r} holds a slash, which separates superclass from subclass")
    categories = {unicodedata.category(character) for character in name}
    if "Cs" in categories:
        # Python keeps bytes that are not UTF-8 as lone surrogates.
        shown = name.encode("utf-8", "surrogateescape").decode("latin-1")
        raise TaxonomyError(f"{what} {shown!r} is not in UTF-8; rename the folder, or save the file as UTF-8")
    if any(category[0] == "C" for category in categories):
        raise TaxonomyError(f"{what} {name!r} holds a control character")
    return nfc(name)


def spelling_key(name: str) -> str:
    """Return what is the same of names that differ only in capitals, in blanks, hyphens and underscores, or in form.

    >>> from phototag.taxonomy import spelling_key
    >>> spelling_key("American_Egret") == spelling_key("american egret")
    True
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", folded)).strip()


def spelled_apart(names: Iterable[str], known: Collection[str] = ()) -> dict[str, str]:
    """Return the names that differ only in spelling from a known name or one before them, and that other name."""
    first = {spelling_key(name): name for name in known}
    others = ((name, first.setdefault(spelling_key(name), name)) for name in names if name not in known)
    return {name: other for name, other in others if name != other}


def nearest_names(name: str, names: Iterable[str], *, count: int = 3) -> list[str]:
    """Return the names that are most like one that is not among them, best first; none where none is like it."""
    import difflib  # here, since only mistakes need it

    by_key = {spelling_key(each): each for each in names}
    return [by_key[key] for key in difflib.get_close_matches(spelling_key(name), by_key, n=count)]


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
        for field, what in (("superclasses", "superclass"), ("subclasses", "subclass")):
            names = getattr(self, field)
            composed = tuple(check_name(name, what) for name in names)
            # A model of an earlier version may hold one name in two forms: it goes on working with two classes.
            if len(set(composed)) == len(set(names)):
                names = composed
                object.__setattr__(self, field, names)
            if len(set(names)) != len(names):
                doubled = sorted(name for name, count in Counter(names).items() if count > 1)
                more = f" and {len(doubled) - _MOST_NAMED} more" if len(doubled) > _MOST_NAMED else ""
                raise TaxonomyError(f"{what} named twice: {', '.join(doubled[:_MOST_NAMED])}{more}")
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
        places = {name: place for place, name in enumerate(superclasses)}
        return cls(superclasses, subclasses, tuple(places[parent_of[name]] for name in subclasses))

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


Label = tuple[str | None, str | None]
"""Superclass and subclass; None where there is none."""


class LabelCodes(dict[Label, int]):
    """Numbers of labels as rows have them; one that an earlier version stored in another form is the composed one."""

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self.labels = list(labels)
        super().__init__((label, code) for code, label in enumerate(self.labels))

    def __missing__(self, label: Label) -> int:
        # An untrusted database may hold anything in a column.
        superclass, subclass = (nfc(name) if isinstance(name, str) else name for name in label)
        if (superclass, subclass) not in self:
            self[superclass, subclass] = len(self.labels)
            self.labels.append((superclass, subclass))
        self[label] = code = self[superclass, subclass]
        return code
