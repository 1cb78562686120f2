"""From a group to labelled pictures: a human says what it shows, and which of its photos do not belong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from phototag.choices import ReviewOrigin
from phototag.discovery.groups import Group, Groups, Member, keep
from phototag.discovery.labels_file import Written, add_labels
from phototag.errors import UsageError
from phototag.object_storage import size_and_time
from phototag.paths import PhotoPath
from phototag.records import PhotoState, Source
from phototag.store import KnownPhoto, Query, Review, Store
from phototag.taxonomy import Taxonomy, check_name, spelled_apart
from phototag.text import nfc

GONE = "gone"
CHANGED = "changed since they were grouped"
TAGGED = "tagged otherwise by a human since"


@dataclass(frozen=True, slots=True)
class Naming:
    """What came of naming a group: the labelled `photos`, and how many were left out by reason."""

    photos: tuple[PhotoPath, ...]
    left_out: Counter[str]
    written: Written


def parse_label(text: str) -> tuple[str, str]:
    """Read a label "superclass/subclass" as its two names.

    Raises:
        UsageError: it is no such label.
    """
    superclass, slash, subclass = text.partition("/")
    if not slash:
        raise UsageError(f"{text!r} is no label; write superclass/subclass, as in bird/rooster")
    return check_name(superclass, "superclass"), check_name(subclass, "subclass")


def check_label(superclass: str, subclass: str, taxonomy: Taxonomy) -> None:
    """Refuse a subclass that the model knows under another superclass, and names that it spells otherwise.

    Raises:
        UsageError: it does.
    """
    for name, known in ((superclass, taxonomy.superclasses), (subclass, taxonomy.subclasses)):
        for other in spelled_apart([name], known).values():
            raise UsageError(f"the model spells {name!r} as {other!r}; choose that name")
    if subclass in taxonomy.subclass_index and taxonomy.parent(subclass) != superclass:
        raise UsageError(
            f"the model knows {subclass!r} as {taxonomy.parent(subclass)}/{subclass}; a subclass lies under one "
            "superclass only: choose another name"
        )


def parse_numbers(text: str, count: int) -> set[int]:
    """Read numbers such as "3,7-9", each from 1 to `count`.

    Raises:
        UsageError: it is not that, or a number is out of range.
    """
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if match is None:
            raise UsageError(f"{text!r}: not numbers as on the contact sheet, such as 3,7-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise UsageError(f"{part}: the group's photos have the numbers 1 to {count}")
        numbers.update(range(first, last + 1))
    return numbers


def select(group: Group, *, only: str | None = None, without: str | None = None) -> list[Member]:
    """Return the members that are meant, by their numbers on the contact sheet.

    Raises:
        UsageError: numbers that are none, or nothing is left.
    """
    count = len(group.members)
    numbers = set(range(1, count + 1)) if only is None else parse_numbers(only, count)
    if without is not None:
        numbers -= parse_numbers(without, count)
    if not numbers:
        raise UsageError(f"group {group.id}: these numbers leave no photo")
    return [group.members[number - 1] for number in sorted(numbers)]


def name_group(
    store: Store,
    groups: Groups,
    group: Group,
    members: Iterable[Member],
    *,
    superclass: str,
    subclass: str,
    labels: Path,
    tag: bool = False,
) -> Naming:
    """Write members of a group to a labels file, with `tag` as tags that a human gave as well.

    Photos that are gone, changed, or tagged otherwise by a human since they were grouped are left out.

    Raises:
        UsageError: the label does not fit the model's classes, or every photo was left out.
        DataError: the labels file cannot be read or written.
        LockedError: another process writes to the database.
        StoreError: the database cannot be read or written.
    """
    check_label(superclass, subclass, groups.taxonomy)
    label = f"{superclass}/{subclass}"
    # What this group was called before is no other human's word.
    own = {label, *([nfc(group.named)] if group.tagged and group.named else [])}
    left_out: Counter[str] = Counter()
    named: list[Member] = []
    for member in members:
        problem = _problem(store, member, own)
        if problem is None:
            named.append(member)
        else:
            left_out[problem] += 1
    if not named:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        raise UsageError(f"group {group.id}: none of these photos can be named: {why}; group again: phototag novel")
    photos = tuple(member.path for member in named)
    with store.writing("phototag novel name"):
        # The file first: where it cannot be written, nothing is tagged.
        written = add_labels(labels, photos, superclass=superclass, subclass=subclass)
        if tag:
            store.reviews.save_all(_reviews(store, named, superclass, subclass))
        keep(store, groups.with_group(replace(group, named=label, tagged=tag or group.tagged)))
    return Naming(photos, left_out, written)


def _reviews(store: Store, members: Iterable[Member], superclass: str, subclass: str) -> list[Review]:
    """Return reviews that give these photos a label, and that can be undone."""
    found = []
    for member in members:
        known = store.photos.find(member.path)
        # Where a human said the same before, undoing this would bring the same back.
        if known is not None and _human_label(store, known) != f"{superclass}/{subclass}":
            content_hash = bytes.fromhex(member.content_hash)
            found.append(
                Review(
                    photo_id=known.id,
                    superclass=superclass,
                    subclass=subclass,
                    content_hash=content_hash,
                    origin=ReviewOrigin.NAMED,
                )
            )
    return found


def _human_label(store: Store, known: KnownPhoto) -> str | None:
    """Return the label of a tag that a human gave, None if a model gave it."""
    if known.tag_source is not Source.HUMAN:
        return None
    row = next(iter(store.query(Query(under=known.path, limit=1))), None)
    return "" if row is None else f"{row.superclass}/{row.subclass}"


def _problem(store: Store, member: Member, own: set[str]) -> str | None:
    """Return why a photo cannot be named any more."""
    known = store.photos.find(member.path)
    try:
        now = size_and_time(member.path)
    except (OSError, ValueError):  # gone, or below a folder that may not be entered any more
        return GONE
    if known is None or known.state is not PhotoState.OK or known.content_hash is None:
        return GONE if known is None or known.state is PhotoState.MISSING else CHANGED
    # A file that changed and was not tagged again yet shows in its size and time.
    if known.content_hash.hex() != member.content_hash or now != (known.size_bytes, known.modified_ns):
        return CHANGED
    label = _human_label(store, known)
    return None if label is None or label in own else TAGGED
