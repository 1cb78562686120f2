"""All photos of a library as columns in memory, in the order of their ids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.search import ByteStrings, inserted
from phototag.records import PhotoState, Rank, Reason, Source
from phototag.taxonomy import Label

SEPARATOR = os.sep.encode()
RANKS, SOURCES, STATES, REASONS = tuple(Rank), tuple(Source), tuple(PhotoState), tuple(Reason)
ABSENT = -1


Camera: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True)
class Columns:
    """N photos. `labels`, `cameras`, `keyword_sets` and `folders` are pointed into by others, [N] each.

    `names` are the files' in these folders, `folded` the same as they are searched in. A camera is its name and its
    serial number, and `taken_at` its clock's reading. `version` holds the first 32 bits of the content's hash;
    missing numbers are -1, scores NaN and times NaT; `written` is as in
    `GALLERY_COLUMNS`. `follows`: another file of the same photo decides for it. `rank`,
    `source`, `state` and `reason` point into `RANKS`, `SOURCES`, `STATES` and `REASONS`.
    """

    labels: tuple[Label, ...]
    cameras: tuple[Camera, ...]
    keyword_sets: tuple[tuple[str, ...], ...]
    folders: tuple[bytes, ...]
    names: ByteStrings
    folded: ByteStrings
    folder: NDArray[np.int32]
    id: NDArray[np.int64]
    modified_ns: NDArray[np.int64]
    version: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    state: NDArray[np.int8]
    follows: NDArray[np.bool_]
    label: NDArray[np.int32]
    rank: NDArray[np.int8]
    superclass_score: NDArray[np.float64]
    subclass_score: NDArray[np.float64]
    novelty: NDArray[np.float64]
    source: NDArray[np.int8]
    model: NDArray[np.int64]
    tagged_at: NDArray[np.datetime64]
    reason: NDArray[np.int8]
    taken_at: NDArray[np.datetime64]
    camera: NDArray[np.int32]
    keywords: NDArray[np.int32]
    written: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.id)

    def places(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Return the positions of photos, -1 for unknown ones."""
        return self.places_of(np.array([number if 0 <= number < 2**63 else ABSENT for number in ids], dtype=np.int64))

    def places_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions [M] of the photos `ids` [M], -1 for unknown ones."""
        return places_among(self.id, ids)

    def path(self, place: int) -> bytes:
        """Return the path of the photo at a position."""
        folder: bytes = self.folders[self.folder[place]]
        return folder + SEPARATOR + self.names[place]

    def same_files(self, other: Columns) -> bool:
        """Return whether both have the same photos under the same paths."""
        return (
            np.array_equal(self.id, other.id)
            and self.folders == other.folders
            and np.array_equal(self.folder, other.folder)
            and self.names.equal(other.names)
        )

    def label_of(self, place: int) -> Label:
        """Superclass and subclass of a photo's tag."""
        code = int(self.label[place])
        return (None, None) if code == ABSENT else self.labels[code]


POINTED_AT = ("labels", "cameras", "keyword_sets", "folders")
STRINGS = ("names", "folded")
ARRAYS = tuple(field.name for field in fields(Columns) if field.name not in {*STRINGS, *POINTED_AT})


def places_among(known: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions [M] of `ids` [M] among ids in ascending order, -1 for those that are not there."""
    if not len(known):
        return np.full(len(ids), ABSENT, dtype=np.int64)
    found = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[found] == ids, found, ABSENT)


def without(ids: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids that are not among others in ascending order. What numpy has for it first loads a lot."""
    left: NDArray[np.int64] = ids[places_among(others, ids) == ABSENT]
    return left


def as_arrays(columns: Columns) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return columns as facts that fit into JSON and as arrays; `from_arrays` makes them again."""
    facts = {name: getattr(columns, name) for name in POINTED_AT}
    facts["folders"] = [folder.decode("latin-1") for folder in columns.folders]
    arrays: dict[str, NDArray[Any]] = {name: getattr(columns, name) for name in ARRAYS}
    for name in STRINGS:
        strings: ByteStrings = getattr(columns, name)
        arrays |= {f"{name}.joined": strings.joined, f"{name}.ends": strings.ends}
    return facts, arrays


def from_arrays(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Columns:
    """Return the columns that `as_arrays` took apart."""
    kept: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
    kept |= {name: ByteStrings(arrays[f"{name}.joined"], arrays[f"{name}.ends"]) for name in STRINGS}
    return Columns(
        labels=tuple((superclass, subclass) for superclass, subclass in facts["labels"]),
        cameras=tuple((name, serial) for name, serial in facts["cameras"]),
        keyword_sets=tuple(map(tuple, facts["keyword_sets"])),
        folders=tuple(folder.encode("latin-1") for folder in facts["folders"]),
        **kept,
    )


def merged(columns: Columns, fresh: Columns, gone: NDArray[np.int64]) -> tuple[Columns, NDArray[np.int64]]:
    """Return columns with photos read again or for the first time and without those `gone`; ids of new or other paths.

    The fresh ones were read with what the others point at.
    """
    places = columns.places_of(fresh.id)
    known = places != ABSENT
    same = known.copy()
    for row in np.flatnonzero(known).tolist():
        same[row] = columns.path(int(places[row])) == fresh.path(row)
    moved: NDArray[np.int64] = fresh.id[~same]
    lost = columns.places_of(gone)
    lost = lost[lost != ABSENT]
    pointed = {name: getattr(fresh, name) for name in POINTED_AT}
    if not len(moved) and not len(lost):
        return replace(columns, **pointed, **_overwritten(columns, fresh, places)), moved
    kept = np.ones(len(columns), dtype=np.bool_)
    kept[places[known]] = False
    kept[lost] = False
    at = np.searchsorted(columns.id[kept], fresh.id)
    arrays: dict[str, Any] = {
        name: inserted(_kept(getattr(columns, name), kept), at, getattr(fresh, name)) for name in ARRAYS
    }
    arrays |= {name: getattr(columns, name).edited(kept, at, getattr(fresh, name)) for name in STRINGS}
    return Columns(**pointed, **arrays), moved


def _kept(array: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    return array if kept.all() else array[kept]


def _overwritten(columns: Columns, fresh: Columns, places: NDArray[np.int64]) -> dict[str, Any]:
    """Return the arrays in which photos at some places are different now."""
    changed: dict[str, Any] = {}
    for name in ARRAYS:
        before, after = getattr(columns, name), getattr(fresh, name)
        if before[places].tobytes() != after.tobytes():
            changed[name] = array = before.copy()
            array[places] = after
    return changed
