"""All photos of a library as columns in memory, in the order of their ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.search import ByteStrings, fold_bytes
from phototag.errors import StoreError
from phototag.records import PhotoState, Rank, Reason, Source
from phototag.store import GALLERY_COLUMNS, GalleryRow
from phototag.taxonomy import Label, LabelCodes

SEPARATOR = os.sep.encode()
RANKS, SOURCES, STATES, REASONS = tuple(Rank), tuple(Source), tuple(PhotoState), tuple(Reason)
ABSENT = -1
_NO_HASH = bytes(4)


Camera: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True)
class Columns:
    """N photos. `labels`, `cameras`, `keyword_sets` and `folders` are pointed into by others, [N] each.

    `names` are the files' in these folders, `folded` the same as they are searched in. A camera is its name and its
    serial number, and `taken_at` its clock's reading. `version` holds the first 32 bits of the content's hash;
    missing numbers are -1, scores NaN and times NaT. `follows`: another file of the same photo decides for it. `rank`,
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


class _Codes(dict[Any, int]):
    """Numbers of values in the order in which they come."""

    def __missing__(self, value: Any) -> int:
        self[value] = code = len(self)
        return code


class _Known:
    """What codes stand for; those of rows that were read before stay as they are, others are added."""

    def __init__(self, before: Columns | None) -> None:
        self.labels = LabelCodes(before.labels if before else ())
        self.cameras, self.keyword_sets, self.folders = _Codes(), _Codes(), _Codes()
        if before is not None:
            self.cameras.update((camera, code) for code, camera in enumerate(before.cameras))
            self.keyword_sets.update(("\n".join(words), code) for code, words in enumerate(before.keyword_sets))
            self.folders.update((folder, code) for code, folder in enumerate(before.folders))


def read(parts: Iterable[Sequence[GalleryRow]], before: Columns | None = None) -> Columns:
    """Return the columns of rows in the order of ids; codes of those read before stay as they are, others are added.

    Raises:
        StoreError: a row holds what phototag never writes.
    """
    known = _Known(before)
    collected: list[dict[str, Any]] = []
    # With an empty part there is always something to join.
    for rows in chain(parts, [()]):
        try:
            collected.append(_convert(rows, known))
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
            raise StoreError(
                f"the database holds a row that phototag did not write ({error}); run: phototag db check"
            ) from error
    # Taken out of the parts, so that a large library is not held twice.
    joined: dict[str, Any] = {name: np.concatenate([part.pop(name) for part in collected]) for name in ARRAYS}
    joined |= {name: ByteStrings.all_of([part.pop(name) for part in collected]) for name in STRINGS}
    return Columns(
        labels=tuple(known.labels.labels),
        cameras=tuple(known.cameras),
        keyword_sets=tuple(tuple(words.split("\n")) for words in known.keyword_sets),
        folders=tuple(known.folders),
        **joined,
    )


def _convert(rows: Sequence[GalleryRow], known: _Known) -> dict[str, Any]:
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(GALLERY_COLUMNS)
    by_name = dict(zip(GALLERY_COLUMNS, columns, strict=True))
    ranks = _codes(by_name["rank"], RANKS)
    parted = [bytes(path).rpartition(SEPARATOR) for path in by_name["path_bytes"]]
    names = [name for _, _, name in parted]
    labels = np.fromiter(
        map(known.labels.__getitem__, zip(by_name["superclass"], by_name["subclass"], strict=True)), np.int32, len(rows)
    )
    return {
        "names": ByteStrings.of(names),
        "folded": ByteStrings.of(list(map(fold_bytes, names))),
        "folder": np.fromiter((known.folders[folder] for folder, _, _ in parted), np.int32, len(rows)),
        "id": np.array(by_name["id"], dtype=np.int64),
        "modified_ns": np.array(by_name["modified_ns"], dtype=np.int64),
        "version": _versions(by_name["hash_start"]),
        "width": _numbers(by_name["width"], np.int32),
        "height": _numbers(by_name["height"], np.int32),
        "state": _codes(by_name["state"], STATES),
        "follows": np.array(by_name["follows"], dtype=np.bool_),
        "label": np.where(ranks == ABSENT, ABSENT, labels).astype(np.int32),
        "rank": ranks,
        "superclass_score": np.array(by_name["superclass_score"], dtype=np.float64),
        "subclass_score": np.array(by_name["subclass_score"], dtype=np.float64),
        "novelty": np.array(by_name["novelty"], dtype=np.float64),
        "source": _codes(by_name["source"], SOURCES),
        "model": _numbers(by_name["model_id"], np.int64),
        "tagged_at": _moments(by_name["tagged_at"]),
        "reason": _codes(by_name["reason"], REASONS),
        "taken_at": _moments(by_name["taken_at"]),
        "camera": np.fromiter(
            (
                ABSENT if camera[0] is None else known.cameras[camera]
                for camera in zip(by_name["camera"], by_name["camera_serial"], strict=True)
            ),
            np.int32,
            len(rows),
        ),
        "keywords": np.fromiter(
            (ABSENT if words is None else known.keyword_sets[words] for words in by_name["keywords"]),
            np.int32,
            len(rows),
        ),
    }


def _codes(values: Sequence[str | None], among: Sequence[StrEnum]) -> NDArray[np.int8]:
    code_of: dict[str | None, int] = {member.value: code for code, member in enumerate(among)}
    code_of[None] = ABSENT
    return np.fromiter(map(code_of.__getitem__, values), np.int8, len(values))


def _numbers(values: Sequence[int | None], kind: type[np.signedinteger[Any]]) -> NDArray[Any]:
    return np.array([ABSENT if value is None else value for value in values], dtype=kind)


def _versions(hashes: Sequence[bytes | None]) -> NDArray[np.int64]:
    known = np.array([value is not None for value in hashes], dtype=np.bool_)
    starts = b"".join(_NO_HASH if value is None else bytes(value) for value in hashes)
    return np.where(known, np.frombuffer(starts, dtype=">u4").astype(np.int64), ABSENT)


def _moments(values: Sequence[str | datetime | None]) -> NDArray[np.datetime64]:
    # SQLite has texts in UTC; other databases have aware datetimes, and numpy takes none with a time zone.
    plain = [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in values]
    return np.array(plain, dtype="datetime64[us]")


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


def replaced(columns: Columns, fresh: Columns) -> Columns | None:
    """Return the columns with these photos read again; None where one of them is new or has another path.

    The fresh ones were read with what the others point at.
    """
    places = columns.places(fresh.id.tolist())
    if (places == ABSENT).any():
        return None
    if any(columns.path(place) != fresh.path(row) for row, place in enumerate(places.tolist())):
        return None
    changed: dict[str, Any] = {}
    for name in ARRAYS:
        array = getattr(columns, name).copy()
        array[places] = getattr(fresh, name)
        changed[name] = array
    return replace(columns, **{name: getattr(fresh, name) for name in POINTED_AT}, **changed)
