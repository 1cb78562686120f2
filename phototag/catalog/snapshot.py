"""A library at one moment: which photos a filter wants, in every order. It never changes, so threads share it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import compress, count
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from phototag.bursts import find_bursts
from phototag.catalog.columns import ABSENT, RANKS, SEPARATOR, SOURCES, Columns, without
from phototag.catalog.cursor import GallerySort, Key
from phototag.catalog.folders import FolderTree
from phototag.catalog.months import Months
from phototag.catalog.search import ByteStrings, fold, fold_bytes, holding
from phototag.records import Rank, Source
from phototag.taxonomy import as_written

_Name = TypeVar("_Name", bound=Hashable)
_Value = TypeVar("_Value")

Bools = NDArray[np.bool_]
Places = NDArray[np.int32]

_RESULTS_KEPT = 16
_SEARCHES_KEPT = 8
_MADE_KEPT = 24
# Looking up the places of more moved photos than one in this many takes longer than sorting all.
_FEW_MOVED = 8
_numbers = count(1)


class PathFacts:
    """What follows from the paths alone: folders, and the order."""

    def __init__(self, columns: Columns, place: Places | None = None) -> None:
        """`place` is the photos' order by path where it is known, [N]."""
        # Not all of the columns: they would be held for as long as these paths stay.
        self._id, self._names, self._place = columns.id, columns.names, place
        used = np.bincount(columns.folder, minlength=len(columns.folders)) > 0
        self.tree = FolderTree.of(compress(columns.folders, used))
        index_of = self.tree.index_of
        self.folder = np.array([index_of.get(folder, 0) for folder in columns.folders], np.int32)[columns.folder]
        self.folded = tuple(map(fold_bytes, columns.folders))

    @property
    def place(self) -> Places:
        """Where each photo stands among all by the bytes of its path, [N]."""
        if self._place is None:
            self._place = _places_by_path(self.tree, self.folder, self._names)
        return self._place

    def after(self, columns: Columns, moved: NDArray[np.int64]) -> PathFacts:
        """Return the same of what the photos are now; those `moved`, by id, are new or have other paths."""
        if self._place is None or len(moved) > len(columns) // _FEW_MOVED:
            return PathFacts(columns)
        order = np.empty(len(self._place), dtype=np.int64)
        order[self._place] = self._id
        places = columns.places_of(without(order, moved))
        staying = places[places != ABSENT]
        new = sorted(columns.places_of(moved).tolist(), key=columns.path)
        at = [bisect_left(staying, columns.path(place), key=columns.path) for place in new]
        standing = np.empty(len(columns), dtype=np.int32)
        standing[np.insert(staying, at, new)] = np.arange(len(columns), dtype=np.int32)
        return PathFacts(columns, standing)


def _places_by_path(tree: FolderTree, folder: NDArray[np.int32], names: ByteStrings) -> Places:
    """Return where each photo stands among all by the bytes of its path, [N]: in a walk down the tree."""
    by_folder = np.argsort(folder, kind="stable").astype(np.int32)
    begins = np.searchsorted(folder, np.arange(len(tree.paths) + 1), sorter=by_folder).tolist()
    standing: Places = np.empty(len(names), dtype=np.int32)
    count = 0
    waiting: list[int | Places] = [0]
    while waiting:
        top = waiting.pop()
        if not isinstance(top, int):
            standing[top] = np.arange(count, count + len(top), dtype=np.int32)
            count += len(top)
            continue
        photos = by_folder[begins[top] : begins[top + 1]]
        texts = names.some(photos)
        order = sorted(range(len(texts)), key=texts.__getitem__)
        photos, texts = photos[order], [texts[place] for place in order]
        pieces: list[int | Places] = []
        done = 0
        # With the slash a folder sorts among files as the paths below it do.
        for child, inside in sorted((tree.step(index) + SEPARATOR, index) for index in tree.inside(top)):
            place = bisect_left(texts, child)
            pieces += [photos[done:place], inside]
            done = place
        waiting += [photos[done:], *reversed(pieces)]
    return standing


class Selection(Hashable, Protocol):
    """What selects photos; equal ones select the same."""

    def mask(self, snapshot: Snapshot) -> Bools:
        """Return the photos that are selected, [N]."""


class Snapshot:
    """The photos of a library at one moment, named by their positions in the columns, which are in the order of ids."""

    def __init__(
        self,
        columns: Columns,
        *,
        before: Snapshot | None = None,
        moved: NDArray[np.int64] | None = None,
        place: Places | None = None,
        bursts: Places | None = None,
    ) -> None:
        """`before`: what is known of an earlier one is taken over, and `moved` are the photos with new or other paths.

        None: find out. `place` and `bursts` are as `PathFacts` and
        `bursts` have them, where they are known.
        """
        self.number = next(_numbers)
        self.columns = columns
        self.by_path: PathFacts = PathFacts(columns, place) if before is None else before._paths_of(columns, moved)
        deep = columns.rank == RANKS.index(Rank.SUBCLASS)
        given = np.where(deep, columns.subclass_score, columns.superclass_score)
        # A human's 1 or 0 is no score.
        self.score = np.where(columns.source == SOURCES.index(Source.HUMAN), np.nan, given)
        self._orders: Kept[tuple[GallerySort, bool], Places] = Kept(2 * len(GallerySort))
        self._results: Kept[tuple[Selection, GallerySort, bool], Places] = Kept(_RESULTS_KEPT)
        self._searches: Kept[tuple[str, ...], Bools] = Kept(_SEARCHES_KEPT)
        self._stacks: Kept[tuple[Selection, GallerySort, bool], tuple[Places, Places]] = Kept(_RESULTS_KEPT)
        self._made: Kept[Hashable, Any] = Kept(_MADE_KEPT)
        self._months: Months | None = None
        self._bursts = bursts
        if before is not None:
            self._take_over(before)

    def __len__(self) -> int:
        return len(self.columns)

    def _paths_of(self, columns: Columns, moved: NDArray[np.int64] | None) -> PathFacts:
        if moved is None:
            return self.by_path if columns.same_files(self.columns) else PathFacts(columns)
        same = not len(moved) and len(columns) == len(self.columns)
        return self.by_path if same else self.by_path.after(columns, moved)

    def _take_over(self, before: Snapshot) -> None:
        for (sort, descending), order in before._orders.items():
            if _same(self._values(sort), before._values(sort)):
                self._orders.get((sort, descending), partial(np.asarray, order))
        if np.array_equal(self.columns.modified_ns, before.columns.modified_ns):
            self._months = before._months
        now, then = self.columns, before.columns
        if _same(now.camera, then.camera) and _same(now.taken_at, then.taken_at):
            self._bursts = before._bursts

    def made(self, name: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return what `make` makes of this snapshot, made once for as long as it is asked for."""
        value: _Value = self._made.get(name, make)
        return value

    # ---- which photos

    def labelled(self, fits: Sequence[bool]) -> Bools:
        """Return the photos whose tags fit, [N], by whether each of `Columns.labels` does."""
        return chosen(self.columns.label, fits)

    def holding(self, words: tuple[str, ...]) -> Bools:
        """Return the photos with all of the words in the path or in the names of the tag, whatever the case, [N]."""
        return self._searches.get(words, partial(self._holding, words))

    def _holding(self, words: tuple[str, ...]) -> Bools:
        labels = [fold("/".join(name for name in label if name)) for label in self.columns.labels]
        found = np.ones(len(self), dtype=np.bool_)
        for word in words:
            folded = fold(word)
            # A name is found as it is stored, and as the page writes it.
            fits = [folded in label or folded in as_written(label) for label in labels]
            paths = holding(word, self.by_path.folded, self.columns.folder, self.columns.folded)
            found &= paths | self.labelled(fits)
        return found

    # ---- in which order

    def result(self, wanted: Selection, sort: GallerySort, *, descending: bool) -> Places:
        """Return the positions of the selected photos in that order."""

        def find() -> Places:
            order = self.order(sort, descending=descending)
            return order[wanted.mask(self)[order]]

        return self._results.get((wanted, sort, descending), find)

    def order(self, sort: GallerySort, *, descending: bool) -> Places:
        """Return the positions of all photos in that order: equal ones by id, those without the value last."""

        def find() -> Places:
            values = self._values(sort)
            order: Places = np.argsort(values, kind="stable").astype(np.int32)
            if not descending:
                return order
            present = len(values) - int(np.count_nonzero(_missing(values)))
            return np.concatenate([order[:present][::-1], order[present:][::-1]])

        return self._orders.get((sort, descending), find)

    def key(self, sort: GallerySort, place: int) -> Key:
        """Return what a photo is sorted by."""
        photo_id = int(self.columns.id[place])
        if sort is GallerySort.PATH:
            return Key(False, self.columns.path(place), photo_id)
        value = self._values(sort)[place : place + 1]
        missing = bool(_missing(value)[0])
        if value.dtype.kind == "M":
            value = value.astype(np.int64)
        return Key(missing, 0 if missing else value.item(), photo_id)

    def place_behind(self, result: Places, key: Key, sort: GallerySort, *, descending: bool) -> int:
        """Return where in a result the photos after a key begin; the photo with that key need not be in it."""
        return bisect_left(
            range(len(result)),
            True,
            key=lambda index: self.key(sort, int(result[index])).is_behind(key, descending=descending),
        )

    def place_in(self, result: Places, photo: int, sort: GallerySort, *, descending: bool) -> int | None:
        """Return where in a result of that order a photo stands, None if it is not in it."""
        behind = self.place_behind(result, self.key(sort, photo), sort, descending=descending)
        return behind - 1 if behind and result[behind - 1] == photo else None

    def prepare(self, before: Snapshot) -> None:
        """Find the orders that were asked for before, so that no reader has to wait for them."""
        for (sort, descending), _ in before._orders.items():
            self.order(sort, descending=descending)

    def _values(self, sort: GallerySort) -> NDArray[Any]:
        match sort:
            case GallerySort.DATE:
                return self.columns.modified_ns
            case GallerySort.PATH:
                return self.by_path.place
            case GallerySort.SCORE:
                return self.score
            case GallerySort.NOVELTY:
                return self.columns.novelty
            case GallerySort.TAGGED:
                return self.columns.tagged_at
            case GallerySort.TAKEN:
                return self.columns.taken_at

    # ---- bursts

    @property
    def bursts(self) -> Places:
        """The burst of each photo, named by the position of its first photo, [N]; most photos are their own."""
        if self._bursts is None:
            self._bursts = find_bursts(self.columns.camera, self.columns.taken_at).astype(np.int32)
        return self._bursts

    def stacked(self, wanted: Selection, sort: GallerySort, *, descending: bool) -> tuple[Places, Places]:
        """Return a result with the first photo alone of each burst, and how many photos each of these stands for."""

        def find() -> tuple[Places, Places]:
            result = self.result(wanted, sort, descending=descending)
            bursts = self.bursts[result]
            first = np.empty(len(self), dtype=np.int32)
            places = np.arange(len(result), dtype=np.int32)
            # Of several values for one place the last one stays: that of the photo which comes first.
            first[bursts[::-1]] = places[::-1]
            leads = first[bursts] == places
            return result[leads], np.bincount(bursts, minlength=len(self))[bursts[leads]]

        return self._stacks.get((wanted, sort, descending), find)

    # ---- when

    @property
    def months(self) -> Months:
        """The months of the photos' dates."""
        if self._months is None:
            self._months = Months(self.columns.modified_ns)
        return self._months


def chosen(codes: NDArray[np.integer], fits: Iterable[bool]) -> Bools:
    """Return the photos whose code fits, [N], by whether each thing that is pointed at does."""
    # Photos without have the code -1, so they take the last one.
    found: Bools = np.array([*fits, False], dtype=np.bool_)[codes]
    return found


def photos_by_code(codes: NDArray[np.integer], among: Bools, kinds: int) -> list[int]:
    """Return how many of the photos `among` [N] have each code [N] from 0 to below `kinds`; -1 is none."""
    # From 1 on, which is quicker than to leave out those without.
    counts: list[int] = np.bincount(codes[among] + 1, minlength=kinds + 1)[1:].tolist()
    return counts


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    # As whole numbers, so that a score that is not there equals itself, and quickly.
    return one is other or np.array_equal(one.view(f"i{one.itemsize}"), other.view(f"i{other.itemsize}"))


def _missing(values: NDArray[Any]) -> Bools:
    # A time that is missing counts as NaN.
    found: Bools = np.isnan(values) if values.dtype.kind in "fM" else np.zeros(len(values), dtype=np.bool_)
    return found


class Kept(Generic[_Name, _Value]):
    """The values that were last asked for, by key. Two threads may compute the same value; one of them is kept.

    Unlike `functools.lru_cache` on a method, it makes no cycle that keeps a large owner in memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[_Name, _Value] = OrderedDict()
        self._mutex = threading.Lock()

    def get(self, key: _Name, make: Callable[[], _Value]) -> _Value:
        """Return the value of that key, made if it is not there."""
        with self._mutex:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._mutex:
            self._values[key] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value

    def items(self) -> list[tuple[_Name, _Value]]:
        """Return the keys and values that are kept."""
        with self._mutex:
            return list(self._values.items())
