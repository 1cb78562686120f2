"""The tags of a library as columns: what its drift is found from, where one object a photo would take seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.audit.sampling import Scope, full_name
from phototag.errors import StoreError
from phototag.evaluation import Floats
from phototag.records import Rank
from phototag.store import Store
from phototag.taxonomy import Label, LabelCodes

RANKS = tuple(Rank)
_CODES = {rank.value: code for code, rank in enumerate(RANKS)}


@dataclass(frozen=True, slots=True)
class TagColumns:
    """Tags that models gave to N readable photos, [N] each but for `labels`, superclass and subclass.

    `label` points into `labels`, `rank` into `RANKS`; `model` has ids, `tagged_at` moments in UTC.
    """

    labels: tuple[Label, ...]
    label: NDArray[np.int64]
    rank: NDArray[np.int64]
    model: NDArray[np.int64]
    superclass_score: Floats
    subclass_score: Floats
    novelty: Floats
    tagged_at: NDArray[np.datetime64]

    def __len__(self) -> int:
        return len(self.label)

    def part(self, rows: NDArray[np.bool_]) -> TagColumns:
        """Return only the photos of these `rows` [N]."""
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **arrays)

    def class_names(self) -> list[str]:
        """Return the classes that `labels` stand for, in full: "bird/rooster", "bird/(none)" or "(none)"."""
        return [full_name(*label) for label in self.labels]


_ARRAYS = tuple(field.name for field in fields(TagColumns) if field.name != "labels")


def read_tags(store: Store, scope: Scope) -> TagColumns:
    """Return the tags of the photos of a scope that samples can be taken from.

    Raises:
        StoreError: the database cannot be read.
    """
    rows = [row for part in store.tags.rows(scope.query()) for row in part]
    columns = zip(*rows, strict=True) if rows else [()] * 8
    models, superclasses, subclasses, ranks, superclass_scores, subclass_scores, novelties, moments = columns
    codes = LabelCodes()
    labels = [codes[label] for label in zip(superclasses, subclasses, strict=True)]
    try:
        if not all(name is None or isinstance(name, str) for label in codes for name in label):
            raise TypeError("a name that is no text")
        return TagColumns(
            labels=tuple(codes.labels),
            label=np.array(labels, dtype=np.int64),
            rank=np.array([_CODES[rank] for rank in ranks], dtype=np.int64),
            model=np.array(models, dtype=np.int64),
            superclass_score=_scores(superclass_scores),
            subclass_score=_scores(subclass_scores),
            novelty=_scores(novelties),
            tagged_at=_moments(moments),
        )
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise StoreError(
            f"{store.location}: holds a row that phototag did not write ({error}); run: phototag db check"
        ) from error


def _scores(values: Sequence[Any]) -> Floats:
    return np.nan_to_num(np.array(values, dtype=np.float64))


def _moments(values: Sequence[str | datetime]) -> NDArray[np.datetime64]:
    # SQLite has texts in UTC; another database has aware moments, of which numpy wants to know no time zone.
    plain = [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in values]
    return np.array(plain, dtype="datetime64[us]")
