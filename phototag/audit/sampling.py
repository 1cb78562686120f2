"""Which photos a person should look at, so that a few of them say how right all tags are.

Every photo has a number that looks like chance and depends on nothing but the seed and its id: a permanent random
number (Ohlsson, "Coordination of samples using permanent random numbers", in "Business survey methods", 1995). The
photos of a stratum with the smallest numbers are its sample. So the same seed selects the same photos whatever the
order of rows, any two photos are in a sample together as often as in simple random sampling, and a sample is continued
by going on in the same order: of what was sampled before nothing is lost, and every photo's chance stays known.

Samples may be taken from the whole (simple), or so many from each part of it (stratified), in proportion to the parts'
sizes or to how much can be learned there (Neyman, "On the two different aspects of the representative method", Journal
of the Royal Statistical Society 1934, equation 34). What is chosen for being doubtful (focus) finds mistakes fast, but
says nothing of the library.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Allocation, StrataBy
from phototag.errors import UsageError
from phototag.evaluation import Floats
from phototag.paths import PhotoPath, path_of
from phototag.paths import shared_folder as common_folder
from phototag.records import PhotoState, Rank, Source, Tag
from phototag.store import Query, Store
from phototag.taxonomy import NO_LABEL, label_text

Counts = NDArray[np.int64]

EDGES = (0.5, 0.7, 0.85, 0.95, 0.99)
"""Where the bands of scores end."""

OTHERS = "(others)"
"""The stratum that holds all parts too small for a separate one."""

NONE = "(none)"
"""What stands for a class in the name of a stratum of tags without one."""

_FEWEST = 4
_PHOTOS_A_STRATUM = 8
_LEAST_ERROR = 0.02


def part_text(name: str) -> str:
    """Return the name of a stratum or class, as samples store it, in words."""
    superclass, _, subclass = name.partition("/")
    if name == NONE:
        return NO_LABEL
    return label_text(superclass, None) if subclass == NONE else name


@dataclass(frozen=True, slots=True)
class Frame:
    """The photos that can be sampled: N readable ones that a model tagged, in the order of their ids.

    `tags`, `contents`, `paths` and `tagged_at` belong to `ids` [N], and so does `models` [N], the ids of the models.
    """

    ids: Counts
    models: Counts
    tags: Sequence[Tag]
    contents: Sequence[bytes]
    paths: Sequence[bytes]
    tagged_at: Sequence[datetime]

    def __len__(self) -> int:
        return len(self.tags)

    def part(self, rows: Sequence[int] | NDArray[np.intp]) -> Frame:
        """Return these rows of it."""
        chosen = [int(row) for row in rows]
        return Frame(
            self.ids[chosen],
            self.models[chosen],
            [self.tags[row] for row in chosen],
            [self.contents[row] for row in chosen],
            [self.paths[row] for row in chosen],
            [self.tagged_at[row] for row in chosen],
        )

    def joined(self, other: Frame) -> Frame:
        """Return both together; no photo is in both."""
        both = Frame(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.models, other.models]),
            [*self.tags, *other.tags],
            [*self.contents, *other.contents],
            [*self.paths, *other.paths],
            [*self.tagged_at, *other.tagged_at],
        )
        return both.part(np.argsort(both.ids, kind="stable"))

    def superclass_scores(self) -> Floats:
        """Return the scores of the best superclasses, [N]."""
        return np.array([tag.superclass_score for tag in self.tags], dtype=np.float64)

    def subclass_scores(self) -> Floats:
        """Return the scores of the best subclasses, [N]."""
        return np.array([tag.subclass_score for tag in self.tags], dtype=np.float64)

    def right_scores(self) -> Floats:
        """Return how likely each tag is right by its score, [N]: that of its rank, without a class the novelty."""
        return np.array([right_score(tag) for tag in self.tags], dtype=np.float64)


def right_score(tag: Tag) -> float:
    """Return how likely a tag is right by its own score."""
    if tag.rank is Rank.SUBCLASS:
        return tag.subclass_score
    return tag.superclass_score if tag.rank is Rank.SUPERCLASS else tag.novelty


@dataclass(frozen=True, slots=True)
class Scope:
    """What is sampled from: photos at or under a path, with tags of one model, of one superclass; None is all."""

    under: PhotoPath | None = None
    model: str | None = None
    superclass: str | None = None

    def query(self) -> Query:
        """Return the query for the readable photos of this scope that a model tagged."""
        return Query(
            under=self.under,
            model=self.model,
            superclass=self.superclass,
            source=Source.MODEL,
            state=PhotoState.OK,
            leads_only=True,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; the path's bytes as well, which need not be text."""
        shown = None if self.under is None else bytes(self.under).decode("utf-8", "backslashreplace")
        key = None if self.under is None else bytes(self.under).hex()
        return {"under": shown, "under_bytes": key, "model": self.model, "superclass": self.superclass}

    @classmethod
    def from_json(cls, value: Any) -> Scope:
        """Read what `to_json` returned; UsageError if it is something else."""
        try:
            key = value["under_bytes"]
            under = None if key is None else path_of(bytes.fromhex(key))
            return cls(under, value["model"], value["superclass"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("the sample does not say what it was sampled from; take a new one") from error


def read_frame(store: Store, scope: Scope | None = None) -> Frame:
    """Read the photos of a scope that can be sampled.

    Photos that a human tagged are left out: there is nothing to estimate. So are files that cannot be read.

    Raises:
        StoreError: the database cannot be read.
    """
    found = list(store.tags.of_contents((scope or Scope()).query()))
    return Frame(
        np.array([row.photo_id for row in found], dtype=np.int64),
        np.array([row.model_id for row in found], dtype=np.int64),
        [row.tag for row in found],
        [row.content_hash for row in found],
        [row.path_bytes for row in found],
        [row.tagged_at for row in found],
    )


# ---- strata


def stratum_names(frame: Frame, by: StrataBy) -> list[str]:
    """Return the part that each photo lies in, [N]."""
    if by is StrataBy.FOLDER:
        return folder_names(frame.paths, shared_folder(frame.paths))
    if by is StrataBy.SUPERCLASS:
        return [tag.superclass or NONE for tag in frame.tags]
    if by is StrataBy.SUBCLASS:
        return [full_name(tag.superclass, tag.subclass) for tag in frame.tags]
    if by is StrataBy.SCORE:
        return [band_name(tag.subclass_score) for tag in frame.tags]
    return [tag.rank.value for tag in frame.tags]


def full_name(superclass: str | None, subclass: str | None) -> str:
    """Return a tag's classes in full: "bird/rooster", "bird/(none)" or "(none)"."""
    return NONE if superclass is None else f"{superclass}/{subclass or NONE}"


def band_name(score: float) -> str:
    """Return the band that a score lies in, as "score 0.85 to 0.95"; the lower end belongs to it."""
    ends = (0.0, *EDGES, 1.0)
    place = int(np.searchsorted(EDGES, score, side="right"))
    return f"score {ends[place]:g} to {ends[place + 1]:g}"


def shared_folder(paths: Sequence[bytes]) -> bytes:
    """Return the folder that all paths share."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120  # these are bytes
    return common_folder(folders) if folders else os.sep.encode()


def folder_names(paths: Sequence[bytes], root: bytes) -> list[str]:
    """Return the first folder below `root` of each path, "." for those right in it."""
    separator = os.sep.encode()
    start = len(root.rstrip(separator)) + 1
    # A stratum's name is stored as text, and bytes that are none are shown as such.
    return [
        (path[start:].partition(separator)[0] if separator in path[start:] else b".").decode(
            "utf-8", "backslashreplace"
        )
        for path in paths
    ]


def merge_small(names: Sequence[str], size: int) -> list[str]:
    """Merge the smallest strata into one, so that each can give at least a few photos."""
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    most = max(1, size // _PHOTOS_A_STRATUM)
    if len(counts) <= most:
        return list(names)
    kept = {name for name, _ in counts[: most - 1]}
    return [name if name in kept else OTHERS for name in names]


# ---- how many


def allocate(weights: Floats, population: Counts, size: int, *, least: Counts | None = None) -> Counts:
    """Return how many photos each stratum gives, [H], `size` in all, in proportion to `weights` [H].

    None gives more than it has, or fewer than `least` [H], by default 4.

    Raises:
        UsageError: `size` is too small for what the strata must give.
    """
    least = np.minimum(population, _FEWEST if least is None else least).astype(np.int64)
    size = min(size, int(population.sum()))
    if least.sum() > size:
        raise UsageError(
            f"the {len(population)} strata need {int(least.sum())} photos in all; ask for more than {size}, or for "
            "fewer strata"
            if len(population) > 1
            else f"a sample needs {int(least.sum())} photos; ask for more than {size}"
        )
    weights = np.maximum(weights.astype(np.float64), 1e-9 * max(float(weights.max(initial=0.0)), 1e-9))
    low, high = 0.0, float((population / weights).max()) + 1
    for _ in range(100):
        middle = (low + high) / 2
        if np.clip(middle * weights, least, population).sum() < size:
            low = middle
        else:
            high = middle
    exact = np.clip(high * weights, least, population)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    # The largest remainders get what rounding down left over; rows of equal ones in their order.
    rest = np.where(whole < population, exact - whole, -1.0)
    for row in np.argsort(-rest, kind="stable")[: max(0, size - int(whole.sum()))].tolist():
        whole[row] += 1
    return whole


def allocation_weights(population: Counts, expected_errors: Floats, allocation: Allocation) -> Floats:
    """Return the weights for `allocate`: N_h, or N_h S_h with S_h^2 = e (1 - e) by the expected errors [H].

    Scores may be overconfident: fewer than 2 % errors are not believed.
    """
    if allocation is Allocation.PROPORTIONAL:
        return population.astype(np.float64)
    if allocation is Allocation.EQUAL:
        return np.ones(len(population))
    errors = np.clip(expected_errors, _LEAST_ERROR, 0.5)
    weights: Floats = population.astype(np.float64) * np.sqrt(errors * (1 - errors))
    return weights


# ---- which


def permanent_random_numbers(ids: Counts, seed: int) -> NDArray[np.uint64]:
    """Return permanent random numbers of photos [N], by the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        return _mixed(_mixed(ids.astype(np.uint64) + start) ^ start)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def sampled_rows(strata: NDArray[np.intp], numbers: Counts, keys: NDArray[np.uint64]) -> list[int]:
    """Return the sampled rows, `numbers` [H] of each stratum, those with the smallest keys.

    `strata` and `keys` [N] are those of the photos. The strata are mixed in the order of the result, so that however
    far a review gets, it has seen of each about the same part of what was sampled there.
    """
    chosen: list[tuple[float, int, int]] = []
    for stratum, number in enumerate(numbers.tolist()):
        rows = np.flatnonzero(strata == stratum)
        first = rows[np.argsort(keys[rows], kind="stable")][:number]
        chosen += [((place + 0.5) / number, int(keys[row]), int(row)) for place, row in enumerate(first.tolist())]
    return [row for _, _, row in sorted(chosen)]


def subclass_margins(store: Store, frame: Frame, *, under: PhotoPath | None = None) -> Floats:
    """Return by how much each photo's best subclass leads the second-best, as a difference of logits [N].

    Infinite where no scores are stored.

    Raises:
        StoreError: the database cannot be read, or its scores are damaged.
    """
    from phototag.decision import unpack

    place = {int(photo): row for row, photo in enumerate(frame.ids)}
    margins = np.full(len(frame), np.inf)
    taxonomies = {model.id: model.taxonomy for model in store.models.find_all()}
    for model in np.unique(frame.models).tolist():
        for page in store.scores.tagged(model, under=under):
            rows = [row for row in page if row.model_id == model and row.scores is not None and row.photo_id in place]
            if not rows:
                continue
            top = unpack([row.scores or b"" for row in rows], taxonomies[model]).top_logit
            ahead = top[:, 0] - top[:, 1] if top.shape[1] > 1 else np.full(len(rows), np.inf)
            margins[[place[row.photo_id] for row in rows]] = ahead
    return margins


def cells(frame: Frame, strata: Sequence[str]) -> list[list[Any]]:
    """Return what estimates need of all photos: stratum, superclass, subclass, photos, and sums of both scores."""
    found: dict[tuple[str, str | None, str | None], list[float]] = {}
    for stratum, tag in zip(strata, frame.tags, strict=True):
        sums = found.setdefault((stratum, tag.superclass, tag.subclass), [0, 0.0, 0.0])
        sums[0] += 1
        sums[1] += tag.superclass_score
        sums[2] += tag.subclass_score
    ordered = sorted(found.items(), key=lambda item: tuple(part or "" for part in item[0]))
    return [[*key, int(sums[0]), round(sums[1], 6), round(sums[2], 6)] for key, sums in ordered]
