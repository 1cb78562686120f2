"""Columns of photos made from the rows of a database, some at a time: what was read so far can be shown already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import (
    ABSENT,
    ARRAYS,
    RANKS,
    REASONS,
    SEPARATOR,
    SOURCES,
    STATES,
    STRINGS,
    Columns,
)
from phototag.catalog.search import ByteStrings, fold_bytes
from phototag.errors import StoreError
from phototag.store import GALLERY_COLUMNS, GalleryRow
from phototag.taxonomy import LabelCodes

_NO_HASH = bytes(4)
_NAME_BYTES = 16
_FEWEST_ROWS = 1024


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


class Buffer:
    """An array that grows at its end. What is behind that end takes no memory until it is written to."""

    def __init__(self, kind: np.dtype[Any], room: int, shape: tuple[int, ...] = ()) -> None:
        self._array: NDArray[Any] = np.empty((room, *shape), dtype=kind)
        self._used = 0

    def add(self, values: NDArray[Any]) -> None:
        """Add values [M, ...] at the end."""
        end = self._used + len(values)
        if end > len(self._array):
            # Those who have a part of the old one keep it.
            larger = np.empty((2 * end, *self._array.shape[1:]), dtype=self._array.dtype)
            larger[: self._used] = self.filled
            self._array = larger
        self._array[self._used : end] = values
        self._used = end

    @property
    def filled(self) -> NDArray[Any]:
        """What was added."""
        return self._array[: self._used]


class Growing:
    """Columns to which rows are added in the order of their ids.

    `columns` hands out parts of the memory that rows are added to, behind them: nothing is copied, however often.
    """

    def __init__(self, *, rows: int = 0, before: Columns | None = None) -> None:
        """`rows` is about how many will come. Codes of what was read `before` stay as they are, others are added."""
        self._rows, self._known = max(rows, _FEWEST_ROWS), _Known(before)
        self._buffers: dict[str, Buffer] = {}
        self._count = 0
        self.add(())

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos.

        Raises:
            StoreError: a row holds what phototag never writes.
        """
        try:
            found = _convert(rows, self._known)
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
            raise StoreError(
                f"the database holds a row that phototag did not write ({error}); run: phototag db check"
            ) from error
        for name in STRINGS:
            strings: ByteStrings = found.pop(name)
            found[f"{name}.ends"] = strings.ends + len(self._filled(f"{name}.joined"))
            found[f"{name}.joined"] = strings.joined
        for name, values in found.items():
            if name not in self._buffers:
                room = self._rows * (_NAME_BYTES if name.endswith(".joined") else 1)
                self._buffers[name] = Buffer(values.dtype, room)
            self._buffers[name].add(values)
        self._count += len(rows)

    def columns(self) -> Columns:
        """Return all that was added so far."""
        known = self._known
        arrays: dict[str, Any] = {name: self._filled(name) for name in ARRAYS}
        arrays |= {name: ByteStrings(self._filled(f"{name}.joined"), self._filled(f"{name}.ends")) for name in STRINGS}
        return Columns(
            labels=tuple(known.labels.labels),
            cameras=tuple(known.cameras),
            keyword_sets=tuple(tuple(words.split("\n")) for words in known.keyword_sets),
            folders=tuple(known.folders),
            **arrays,
        )

    def _filled(self, name: str) -> NDArray[Any]:
        return self._buffers[name].filled if name in self._buffers else np.empty(0, dtype=np.uint8)


def read(parts: Iterable[Sequence[GalleryRow]], before: Columns | None = None) -> Columns:
    """Return the columns of rows in the order of ids; codes of those read before stay as they are, others are added.

    Raises:
        StoreError: a row holds what phototag never writes.
    """
    growing = Growing(before=before)
    for rows in parts:
        growing.add(rows)
    return growing.columns()


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
        "written": np.array(by_name["written"], dtype=np.int64),
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
