"""The folders that photos lie in, as a tree: each folder comes before what it holds, and what it holds is a range."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from phototag.store import clean_text
from phototag.text import printable

_SEPARATOR = os.sep.encode()
_KEY_BYTES = 8


def folder_of(path: bytes) -> bytes:
    """Return the folder that a path lies in, b"" at the very top."""
    return path.rpartition(_SEPARATOR)[0]


def folder_key(folder: bytes) -> str:
    """Return what a folder is called in addresses: a hash, since its name may be anything."""
    return hashlib.blake2b(folder, digest_size=_KEY_BYTES).hexdigest()


def shown(path: bytes) -> str:
    """Return a path or a part of one, printable."""
    return printable(clean_text(os.fsdecode(path)))


@dataclass(frozen=True)
class FolderTree:
    """Folders in the order of a walk down the tree.

    Folder `i` and all below it are those from `i` to before `ends[i]`. `parents[i]` is -1 for the first one, the root.
    `is_passage[i]`: it holds one folder and no photo, so there is nothing to choose.
    """

    paths: tuple[bytes, ...]
    parents: tuple[int, ...]
    ends: tuple[int, ...]
    is_passage: tuple[bool, ...]

    @classmethod
    def of(cls, folders: Iterable[bytes]) -> FolderTree:
        """Return the tree of these folders, which hold photos, and of those above them."""
        holding = set(folders)
        known = {b""}
        for folder in holding:
            while folder not in known:
                known.add(folder)
                folder = folder_of(folder)
        paths = sorted(known, key=lambda path: path.split(_SEPARATOR) if path else [])
        place = {path: index for index, path in enumerate(paths)}
        parents = [place[folder_of(path)] if path else -1 for path in paths]
        ends = list(range(1, len(paths) + 1))
        inside = [0] * len(paths)
        for index in range(len(paths) - 1, 0, -1):
            ends[parents[index]] = max(ends[parents[index]], ends[index])
            inside[parents[index]] += 1
        passages = (inside[index] == 1 and path not in holding for index, path in enumerate(paths))
        return cls(tuple(paths), tuple(parents), tuple(ends), tuple(passages))

    @cached_property
    def index_of(self) -> dict[bytes, int]:
        """Where each folder stands."""
        return {path: index for index, path in enumerate(self.paths)}

    @cached_property
    def _by_key(self) -> dict[str, int]:
        return {folder_key(path): index for index, path in enumerate(self.paths)}

    def find(self, key: str) -> int | None:
        """Return the folder with that key, None if there is none."""
        return self._by_key.get(key)

    @cached_property
    def top(self) -> int:
        """The folder in which all photos lie, as far down as there is but one way."""
        return self._end_of_passage(0)

    def step(self, index: int) -> bytes:
        """Return what a folder is called within the one above it."""
        return self.paths[index].rpartition(_SEPARATOR)[2]

    def inside(self, index: int) -> Iterator[int]:
        """Yield the folders right inside a folder."""
        child = index + 1
        while child < self.ends[index]:
            yield child
            child = self.ends[child]

    def choices(self, index: int) -> list[tuple[int, str]]:
        """Return the folders to choose from inside a folder, each with its name, by name."""
        ends = map(self._end_of_passage, self.inside(index))
        return [(last, self.name(last, above=index)) for last in ends]

    def way_to(self, index: int) -> list[tuple[int, str]]:
        """Return the choices that lead from the top down to a folder, itself the last."""
        above: list[int] = []
        step = index
        while step > self.top:
            if step == index or not self.is_passage[step]:
                above.append(step)
            step = self.parents[step]
        if not above:
            return [(index, self.name(index, above=0))]
        steps = [self.top, *reversed(above)]
        return [(inner, self.name(inner, above=outer)) for outer, inner in pairwise(steps)]

    def name(self, index: int, *, above: int) -> str:
        """Return what a folder is called within another one, printable."""
        outer, path = self.paths[above], self.paths[index]
        inner = path[len(outer) :].removeprefix(_SEPARATOR) if above else path
        return shown(inner or _SEPARATOR)

    def _end_of_passage(self, index: int) -> int:
        while self.is_passage[index]:
            index += 1
        return index
