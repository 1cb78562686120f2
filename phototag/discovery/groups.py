"""Groups of novel photos as they are kept between commands: a note beside the database, until the next grouping."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from phototag.errors import StoreError, TaxonomyError, UsageError
from phototag.paths import PhotoPath, absolute
from phototag.store import Store
from phototag.taxonomy import Taxonomy

COMMAND = "phototag novel"
_NOTE = "novel-groups"
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Member:
    """A photo of a group.

    `content_hash` is the SHA-256 of the file that was grouped, in hex. `distance` is that from the group's mean; 1 is
    usual for a member of a known class. `tagged_as` is the known subclass that the model had tagged it with, as in
    "bird/rooster", None for photos tagged as novel.
    """

    path: PhotoPath
    content_hash: str
    distance: float
    tagged_as: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A candidate class: photos that are alike and like nothing known, the most typical first.

    `superclass` is the one that most of them were tagged with, None if there is no such; `closest` is the known
    subclass nearest to them, as in "bird/rooster". `spread` is 1 where they differ as much as the pictures of a class
    that was trained on; new classes have 1.1 to 2.5. `named` is what a human called the group, and
    `tagged` whether the photos were tagged with that.
    """

    id: int
    members: tuple[Member, ...]
    superclass: str | None
    closest: str | None
    spread: float
    named: str | None = None
    tagged: bool = False

    @property
    def taken(self) -> int:
        """Count the members that the model had tagged with a known subclass."""
        return sum(member.tagged_as is not None for member in self.members)


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of one grouping, the largest first, and the model whose embeddings they were made of.

    `model` is what the command line calls it.
    """

    model: str
    model_hash: str
    taxonomy: Taxonomy
    groups: tuple[Group, ...]

    def find(self, number: int) -> Group:
        """Find the group of that id.

        Raises:
            UsageError: there is none.
        """
        for group in self.groups:
            if group.id == number:
                return group
        have = f"there are 1 to {len(self.groups)}" if self.groups else "there is none at all"
        raise UsageError(f"no group {number}: {have}; ids hold until the photos are grouped again by: {COMMAND}")

    def with_group(self, changed: Group) -> Groups:
        """Return the same with another group at that id."""
        return replace(self, groups=tuple(changed if group.id == changed.id else group for group in self.groups))


def keep(store: Store, groups: Groups) -> None:
    """Keep the groups beside the database, instead of those before.

    Raises:
        LockedError: another process writes to the database.
        StoreError: they could not be kept.
    """
    value = _to_json(groups)
    with store.writing(COMMAND):
        store.notes.write(_NOTE, value)
        kept = store.notes.read(_NOTE) == value
    if not kept:
        raise StoreError(f"{store.location}: the groups cannot be kept beside it: the disk is full or read-only")


def kept(store: Store) -> Groups:
    """Read the groups of the last grouping.

    Raises:
        UsageError: none are kept.
    """
    value = store.notes.read(_NOTE)
    try:
        if value is not None and value["version"] == _VERSION:
            return _from_json(value)
    except (KeyError, TypeError, ValueError, TaxonomyError):
        pass  # of another phototag, or damaged; it can be made again
    raise UsageError(f"{store.location}: no groups are kept for it; make them with: {COMMAND}")


def _to_json(groups: Groups) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "model": groups.model,
        "model_hash": groups.model_hash,
        "taxonomy": groups.taxonomy.to_json(),
        "groups": [
            {field.name: getattr(group, field.name) for field in fields(Group)}
            | {"members": [[str(each.path), *astuple(each)[1:]] for each in group.members]}
            for group in groups.groups
        ],
    }


def _from_json(value: Any) -> Groups:
    return Groups(
        model=str(value["model"]),
        model_hash=str(value["model_hash"]),
        taxonomy=Taxonomy.from_json(value["taxonomy"]),
        groups=tuple(
            Group(
                id=int(group["id"]),
                members=tuple(
                    Member(absolute(str(path)), str(digest), float(far), tagged_as)
                    for path, digest, far, tagged_as in group["members"]
                ),
                superclass=group["superclass"],
                closest=group["closest"],
                spread=float(group["spread"]),
                named=group["named"],
                tagged=bool(group["tagged"]),
            )
            for group in value["groups"]
        ),
    )
