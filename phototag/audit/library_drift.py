"""A library's tags and scores held against those of its model's training, and its newest photos against the others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.audit.drift import FEWEST, LabelShift, ScoreShift, Shift, label_shift, recent_shift, score_shift
from phototag.audit.sampling import Scope, part_text
from phototag.audit.tag_columns import RANKS, TagColumns, read_tags
from phototag.errors import ModelError, UsageError
from phototag.evaluation import ValidationScores, wilson_interval
from phototag.model import Model, ModelHeader, list_models, open_model
from phototag.records import LEVELS, Rank
from phototag.store import ModelInfo, Store
from phototag.text import nfc, percent

RECENT = timedelta(days=30)
"""Photos tagged this long before the last one, or less, are recent."""

_MOST_CLASSES = 100
_NOVEL_TOO_MANY = 0.1


@dataclass(frozen=True, slots=True)
class LibraryDrift:
    """What moved, for the photos of the model that tagged most.

    `training` are the scores of both levels against those of the validation; `classes` the mix of subclasses against
    the training's, where the model file tells it. `recent_*` compare photos tagged since `since` with those tagged
    before. `novel` is the share of photos that look like nothing the model learned, `novel_expected` that among
    pictures of known classes. `advice` are sentences for people; `trusted` is None where nothing can be said.
    """

    model: str
    photos: int
    training: tuple[ScoreShift, ...]
    classes: LabelShift
    since: datetime
    recent_scores: tuple[ScoreShift, ...]
    recent_classes: LabelShift
    novel: float | None
    novel_expected: float | None
    advice: tuple[str, ...]

    @property
    def trusted(self) -> bool | None:
        """Return whether scores can be trusted here."""
        shifts = [one.shift for one in (*self.training, *self.recent_scores)]
        if Shift.STRONG in shifts:
            return False
        return None if all(shift is Shift.UNKNOWN for shift in shifts) else True

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "photos": self.photos,
            "trusted": self.trusted,
            "training_scores": [one.to_json() for one in self.training],
            "training_classes": self.classes.to_json(),
            "recent_since": self.since.isoformat(timespec="seconds"),
            "recent_scores": [one.to_json() for one in self.recent_scores],
            "recent_classes": self.recent_classes.to_json(),
            "novel": self.novel,
            "novel_expected": self.novel_expected,
            "advice": list(self.advice),
        }


def library_drift(store: Store, scope: Scope) -> LibraryDrift | None:
    """Find what moved, for photos of a scope; None without photos that a model tagged.

    Raises:
        StoreError: the database cannot be read.
    """
    tags = read_tags(store, scope)
    if not len(tags):
        return None
    models, counts = np.unique(tags.model, return_counts=True)
    most = int(models[counts.argmax()])
    info = next(model for model in store.models.find_all() if model.id == most)
    header = model_header(info)
    part = tags.part(tags.model == most)
    classes = _mixed_classes(part)
    training, novel, expected = _against_training(part, classes, header)
    newest: datetime = part.tagged_at.max().item()
    since = newest.replace(tzinfo=UTC) - RECENT
    recent = part.tagged_at >= np.datetime64(since.replace(tzinfo=None))
    kept = part.rank != RANKS.index(Rank.NONE)
    recent_scores = tuple(
        recent_shift(level, scores[kept], classes[kept], recent[kept])
        for level, scores in zip(LEVELS, (part.superclass_score, part.subclass_score), strict=True)
    )
    found = LibraryDrift(
        model=info.name,
        photos=len(part),
        training=training,
        classes=_classes_against_training(part, header),
        since=since,
        recent_scores=recent_scores,
        recent_classes=label_shift(_counts(part.part(recent)), _counts(part.part(~recent))),
        novel=novel,
        novel_expected=expected,
        advice=(),
    )
    return _advised(found, header)


def model_header(info: ModelInfo) -> ModelHeader | None:
    """Return the header of the model's file, None if it is not on this computer any more or was replaced."""
    candidates: list[Model] = []
    # The name comes from the database, which may be untrusted: it opens no file elsewhere.
    if "/" not in info.name and "\\" not in info.name:
        with suppress(ModelError, UsageError, OSError, ValueError):
            candidates.append(open_model(info.name))
    for model in [*candidates, *list_models()[0]]:
        try:
            if model.hash == info.hash:
                return model.header
        except (ModelError, OSError):
            continue
    return None


def _mixed_classes(tags: TagColumns) -> NDArray[np.int64]:
    """Return numbers of the subclasses, [N], or of the superclasses where there are too many to mix."""
    if len(np.unique(tags.label)) <= _MOST_CLASSES:
        return tags.label
    codes: dict[str | None, int] = {}
    of = np.array([codes.setdefault(superclass, len(codes)) for superclass, _ in tags.labels], dtype=np.int64)
    found: NDArray[np.int64] = of[tags.label]
    return found


def _counts(tags: TagColumns) -> dict[str, int]:
    """Count the photos of each class."""
    counts = np.bincount(tags.label, minlength=len(tags.labels)).tolist()
    return {name: count for name, count in zip(tags.class_names(), counts, strict=True) if count}


def _against_training(
    tags: TagColumns, classes: NDArray[np.int64], header: ModelHeader | None
) -> tuple[tuple[ScoreShift, ...], float | None, float | None]:
    """Return the shifts of both levels, the share of photos that look novel, and the share to be expected."""
    unknown = tuple(ScoreShift(level, Shift.UNKNOWN, len(tags)) for level in LEVELS)
    if header is None or header.record.get("validation_scores") is None:
        return unknown, None, None
    try:
        tables = ValidationScores.from_json(header.record["validation_scores"])
    except ModelError:
        return unknown, None, None
    # The tables are of pictures that do not look novel: so must the photos be.
    known_like = [np.ones(len(tags), dtype=np.bool_) for _ in LEVELS]
    novel = expected = None
    told = _novelty_limits(header)
    if told is not None:
        limit, expected = told
        novel_like = (tags.rank == RANKS.index(Rank.NONE)) & (tags.superclass_score >= header.thresholds.superclass)
        known_like = [~novel_like, ~novel_like & (tags.novelty <= limit)]
        novel = float((novel_like | (tags.novelty > header.thresholds.novel_subclass)).mean())
    scores = (tags.superclass_score, tags.subclass_score)
    shifts = [
        score_shift(level, of_level[keep], classes[keep], table)
        for level, of_level, table, keep in zip(
            LEVELS, scores, (tables.superclass, tables.subclass), known_like, strict=True
        )
    ]
    return tuple(shifts), novel, expected


def _novelty_limits(header: ModelHeader) -> tuple[float, float] | None:
    """Return the novelty below which pictures count as known, and the share of known ones above the model's limit."""
    record = header.record.get("novelty")
    if header.novelty is None or not isinstance(record, Mapping):
        return None
    try:
        return float(record["limits_with_target"][1]), round(1 - float(record["keep_known"]), 6)
    except (KeyError, IndexError, TypeError, ValueError):
        # A model file is untrusted.
        return None


def _classes_against_training(tags: TagColumns, header: ModelHeader | None) -> LabelShift:
    counts = None if header is None else header.record.get("class_pictures")
    if not isinstance(counts, Mapping) or not all(type(each) is int and each >= 0 for each in counts.values()):
        return LabelShift(Shift.UNKNOWN, len(tags))
    named = np.array([subclass is not None for _, subclass in tags.labels], dtype=np.bool_)
    here = _counts(tags.part(named[tags.label]))
    return label_shift(here, {nfc(str(name)): int(number) for name, number in counts.items()}, exact=True)


def _advised(found: LibraryDrift, header: ModelHeader | None) -> LibraryDrift:
    lines = []
    if header is None:
        lines.append(
            f"The file of model {found.model} is not here, so the library cannot be compared with its training."
        )
    elif all(one.shift is Shift.UNKNOWN for one in found.training):
        lines.append("There is too little to compare the scores with those of the training.")
    for one in found.training:
        lines += _told(one, "those of the training's validation pictures", first=True)
    for one in found.recent_scores:
        lines += _told(one, f"those of photos tagged before {found.since:%Y-%m-%d}", first=False)
    for shift, against in ((found.classes, "training"), (found.recent_classes, "older photos")):
        if shift.shift in (Shift.SOME, Shift.STRONG):
            moved = [
                f"{part_text(name)} {percent(now)} ({percent(then)})" for name, now, then in shift.grown + shift.shrunk
            ]
            lines.append(
                f"The mix of classes differs from that of the {against}: {', '.join(moved)}. That alone is no reason "
                "to distrust the scores."
            )
    too_many = looks_novel(found)
    if found.novel is not None and too_many:
        lines.append(
            f"{percent(found.novel)} of the photos look like nothing the model learned; of photos of known classes it "
            "would be about "
            f"{percent(found.novel_expected or 0.05)}. See them: phototag query --novel; group them: phototag novel."
        )
    if found.trusted is False:
        lines.append(
            "Do not rely on scores and thresholds until a review has shown how accurate tags are: "
            "phototag audit sample --by score. If they are not, train with pictures of this library: phototag train."
        )
    elif (
        found.trusted
        and not too_many
        and not any(one.shift is Shift.SOME for one in (*found.training, *found.recent_scores))
    ):
        lines.append("Nothing speaks against trusting the scores.")
    return replace(found, advice=tuple(lines))


def looks_novel(found: LibraryDrift) -> bool:
    """Return whether far more photos look novel than is to be expected, and not by chance."""
    if found.novel is None or found.photos < FEWEST:
        return False
    low, _ = wilson_interval(np.array(found.novel), np.array(float(found.photos)))
    return float(low) > (found.novel_expected or 0.05) + _NOVEL_TOO_MANY


def _told(one: ScoreShift, what: str, *, first: bool) -> list[str]:
    if one.shift not in (Shift.SOME, Shift.STRONG) or one.mean is None or one.mean_reference is None:
        return []
    how = "lower" if one.mean < one.mean_reference else "higher"
    whose = "" if first else " of recent photos"
    return [
        f"The {one.level} scores{whose} are {how} than {what} ({percent(one.mean)} against "
        f"{percent(one.mean_reference)} on average), and no mix of classes explains it: a "
        f"{'strong' if one.shift is Shift.STRONG else 'moderate'} shift of {percent(one.proven or 0)} or more."
    ]
