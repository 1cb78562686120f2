"""Compare the stored tags with known labels."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from phototag.audit.metrics import Judged, Metrics, measure
from phototag.errors import DataError
from phototag.learning.dataset import LabelledPicture, load_data
from phototag.records import TaggedPhoto
from phototag.store import Query, Store

_LISTED = 10


@dataclass(frozen=True)
class TruthReport:
    """How the stored tags compare with the truth.

    `metrics` are over the labelled photos that have a tag; `untagged` of all `labelled` ones have none, `example` is
    one of them. `unknown` are labels that occur in the truth and that no model of the database knows, at most ten.
    """

    metrics: Metrics
    labelled: int
    untagged: int
    example: str
    unknown: tuple[str, ...]

    def json_text(self) -> str:
        """As one line of JSON: the metrics, and the counts beside them."""
        counts = {"labelled": self.labelled, "untagged": self.untagged, "unknown_labels": list(self.unknown)}
        return json.dumps({**self.metrics.to_json(), **counts}, allow_nan=False)


def compare_with_truth(store: Store, labels: str | Path) -> TruthReport:
    """Compare the tags in the database with labelled pictures, matched by path.

    Raises:
        DataError: the labels are not usable, or none of the labelled photos has a tag.
        StoreError: the database cannot be read.
    """
    data = load_data(Path(labels))
    truth = {os.fsencode(os.path.abspath(picture.path)): picture for picture in data.pictures}  # noqa: PTH100
    under = Path(os.path.commonpath([os.fsdecode(path) for path in truth]))
    judged = []
    untagged = dict.fromkeys(truth)
    for photo in store.query(Query(under=under)):
        key = os.fsencode(photo.path)
        if key in untagged and photo.rank is not None:
            del untagged[key]
            judged.append(_judge(truth[key], photo))
    if not judged:
        raise DataError(
            f"{labels}: none of its {len(truth)} photos has a tag in {store.location}; run: phototag tag {under}"
        )
    return TruthReport(
        metrics=measure(judged),
        labelled=len(truth),
        untagged=len(untagged),
        example=next((os.fsdecode(path) for path in untagged), ""),
        unknown=_unknown_labels(store, list(truth.values())),
    )


def _judge(picture: LabelledPicture, photo: TaggedPhoto) -> Judged:
    return Judged(
        truth=(picture.superclass, picture.subclass),
        predicted=(photo.superclass, photo.subclass),
        superclass_score=photo.superclass_score,
        subclass_score=photo.subclass_score,
    )


def _unknown_labels(store: Store, pictures: list[LabelledPicture]) -> tuple[str, ...]:
    taxonomies = [model.taxonomy for model in store.models()]
    known = {name for taxonomy in taxonomies for name in (*taxonomy.superclasses, *taxonomy.subclasses)}
    labels = {name for picture in pictures for name in (picture.superclass, picture.subclass) if name is not None}
    return tuple(sorted(labels - known)[:_LISTED])
