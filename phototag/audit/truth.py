"""Compare the stored tags with known labels."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phototag.audit.estimation import NOTHING, Estimate, SamplingDesign, Sums, Units, ratio
from phototag.audit.photo_groups import Photos, find_groups
from phototag.dataset import LabelledData, LabelledPicture, load_data, refuse_other_spelling, without_contradictions
from phototag.decision import unpack
from phototag.errors import DataError, StoreError
from phototag.evaluation import Candidates, Metrics, Prediction, measure, read_candidates
from phototag.paths import PhotoPath, absolute, path_of, shared_folder
from phototag.records import LEVELS, Source, TaggedPhoto
from phototag.review import import_labels
from phototag.store import Query, Store
from phototag.taxonomy import Taxonomy

log = logging.getLogger(__name__)

_LISTED = 10
_COMMAND = "phototag audit truth"


@dataclass(frozen=True, slots=True)
class TruthGroups:
    """Groups of compared photos that belong together, and the accuracies with intervals that count groups, not photos.

    `in_series` photos share their group with another; `accuracy` is by level.
    """

    count: int
    in_series: int
    largest: int
    accuracy: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "count": self.count,
            "in_series": self.in_series,
            "largest": self.largest,
            **{f"{level}_accuracy": estimate.to_json() for level, estimate in self.accuracy.items()},
        }


@dataclass(frozen=True)
class TruthReport:
    """How the stored tags compare with the truth.

    `metrics` are over the labelled photos that have a tag; `untagged` of all `labelled` ones have none, `example` is
    one of them. `by` counts the compared tags by who gave them, a model's name or "human". `unknown` are labels that
    occur in the truth and that no model of the database knows, at most ten. `groups` are those of the compared photos.
    """

    metrics: Metrics
    labelled: int
    untagged: int
    example: str
    by: Mapping[str, int]
    unknown: tuple[str, ...]
    groups: TruthGroups

    def json_text(self) -> str:
        """Return one line of JSON: the metrics, and the counts beside them."""
        counts = {
            "labelled": self.labelled,
            "untagged": self.untagged,
            "tagged_by": dict(self.by),
            "unknown_labels": list(self.unknown),
            "groups": self.groups.to_json(),
        }
        return json.dumps({**self.metrics.to_json(), **counts}, allow_nan=False)


def load_truth(labels: str | Path) -> LabelledData:
    """Read labelled pictures to compare tags with, without those that have several labels as copies of each other.

    Raises:
        DataError: the labels are not usable.
    """
    return without_contradictions(load_data(Path(labels)))


def compare_with_truth(store: Store, labels: LabelledData | str | Path) -> TruthReport:
    """Compare the tags in the database with labelled pictures, matched by path; see `load_truth`.

    Raises:
        DataError: the labels are not usable, or none of the labelled photos has a tag.
        StoreError: the database cannot be read.
    """
    data = labels if isinstance(labels, LabelledData) else load_truth(labels)
    truth = {bytes(absolute(picture.path)): picture for picture in data.pictures}
    shared = shared_folder(truth)
    under = path_of(shared) if shared else None
    models = store.models.find_all()
    refuse_other_spelling(data, *(model.taxonomy for model in models))
    taxonomies = {model.id: model.taxonomy for model in models}
    names = {model.name: model.taxonomy for model in models}
    candidates = _candidates(store, under, taxonomies)
    judged: dict[bytes, Prediction] = {}
    by: Counter[str] = Counter()
    for photo in store.query(Query(under=under)):
        key = bytes(photo.path)
        if key in truth and photo.rank is not None:
            judged[key] = _judge(truth[key], photo, candidates.get(key))
            by[photo.model if photo.source is Source.MODEL and photo.model else "human"] += 1
    if not judged:
        raise DataError(
            f"{data.source}: none of its {len(truth)} photos has a tag in {store.location}; run: phototag tag "
            f"{under or 'FOLDER'}"
        )
    untagged = [path for path in truth if path not in judged]
    return TruthReport(
        # Contradictions between the heads depend on the model's taxonomy, so only where one model gave the tags.
        metrics=measure(list(judged.values()), taxonomy=_only(names, by)),
        labelled=len(truth),
        untagged=len(untagged),
        example=os.fsdecode(untagged[0]) if untagged else "",
        by=by,
        unknown=_unknown_labels(taxonomies, list(truth.values())),
        groups=_groups(store, judged),
    )


def _groups(store: Store, judged: Mapping[bytes, Prediction]) -> TruthGroups:
    known = [photo for photo in store.photos.at([path_of(path) for path in judged]) if photo.content_hash]
    photos = Photos(
        np.array([photo.id for photo in known], dtype=np.int64),
        np.array([-1 if photo.tag_model_id is None else photo.tag_model_id for photo in known], dtype=np.int64),
        [photo.content_hash or b"" for photo in known],
        [photo.path_bytes for photo in known],
    )
    labels, _ = find_groups(store, photos)
    sizes = np.bincount(labels, minlength=1)
    units = Units(np.zeros(len(sizes), dtype=np.intp), labels, np.ones(len(known)))
    predictions = [judged[photo.path_bytes] for photo in known]
    accuracy = {}
    for place, level in enumerate(LEVELS):
        members = np.array([one.truth[place] is not None for one in predictions], dtype=np.float64)
        right = [one.truth[: place + 1] == one.predicted[: place + 1] for one in predictions]
        sums = Sums.of(units, 1, members * np.array(right, dtype=np.float64), members)
        accuracy[level] = ratio(SamplingDesign.endless(len(sizes)), sums).one() if members.any() else NOTHING
    return TruthGroups(len(sizes), int(sizes[sizes > 1].sum()), int(sizes.max()), accuracy)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of labels that were to be stored as reviews.

    `saved` are new; `known` say what is stored already. `kept` contradict a review of the photo
    itself, whose word stays. `unknown` photos were never read by `phototag tag`.
    """

    saved: int = 0
    known: int = 0
    kept: int = 0
    unknown: int = 0


def import_truth(store: Store, labels: LabelledData | str | Path) -> ImportReport:
    """Store labels as reviews, which makes them the photos' tags. The same labels again store nothing new.

    They replace labels that were imported before, and no review of a photo itself.

    Raises:
        DataError: the labels are not usable.
        LockedError: another process writes to the database for long.
        StoreError: the database cannot be read or written.
    """
    data = labels if isinstance(labels, LabelledData) else load_truth(labels)
    pictures = {absolute(picture.path): (picture.superclass, picture.subclass) for picture in data.pictures}
    stored = import_labels(store, pictures, command=_COMMAND)
    return ImportReport(saved=len(stored.new), known=stored.known, kept=stored.kept, unknown=stored.unknown)


def _candidates(store: Store, under: PhotoPath | None, taxonomies: Mapping[int, Taxonomy]) -> dict[bytes, Candidates]:
    by_model: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    for path, model_id, scores in store.scores.behind_tags(under):
        by_model[model_id].append((path, scores))
    found: dict[bytes, Candidates] = {}
    for model_id, rows in by_model.items():
        taxonomy = taxonomies[model_id]
        try:
            evidence = unpack([scores for _, scores in rows], taxonomy)
        except StoreError as error:
            log.warning("%s; top-5 accuracy and contradictions are left out", error)
            continue
        found.update(zip((path for path, _ in rows), read_candidates(evidence, taxonomy), strict=True))
    return found


def _judge(picture: LabelledPicture, photo: TaggedPhoto, candidates: Candidates | None) -> Prediction:
    judged = Prediction(
        truth=(picture.superclass, picture.subclass),
        predicted=(photo.superclass, photo.subclass),
        superclass_score=photo.superclass_score,
        subclass_score=photo.subclass_score,
    )
    if candidates is None:
        return judged
    return replace(judged, top_subclasses=candidates.top, heads=candidates.heads)


def _only(taxonomies: Mapping[str, Taxonomy], by: Mapping[str, int]) -> Taxonomy | None:
    used = [taxonomies[name] for name in by if name in taxonomies]
    return used[0] if used and all(taxonomy == used[0] for taxonomy in used) else None


def _unknown_labels(taxonomies: Mapping[int, Taxonomy], pictures: list[LabelledPicture]) -> tuple[str, ...]:
    known = {name for taxonomy in taxonomies.values() for name in (*taxonomy.superclasses, *taxonomy.subclasses)}
    labels = {name for picture in pictures for name in (picture.superclass, picture.subclass) if name is not None}
    return tuple(sorted(labels - known)[:_LISTED])
