"""What another model would change, from stored scores of both, and whether it would be better by what is reviewed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from phototag.decision import decide, unpack
from phototag.evaluation import ALPHA, holm, mcnemar
from phototag.model import Model
from phototag.paths import PhotoPath
from phototag.records import LEVELS, PhotoState, Source, Tag
from phototag.store import KnownPhoto, ReviewFilter, SavedReview, Store
from phototag.tagging import UNCHANGED, Flows, kind_of


@dataclass(frozen=True, slots=True)
class Change:
    """A photo that the two models call differently, and how."""

    path: PhotoPath
    kind: str
    before: Tag
    after: Tag


@dataclass(slots=True)
class Outcomes:
    """Reviewed photos at one level: a tag is right there if it says what the human said, be it that there is no label.

    `fixed` only the second model has right, `broken` only the first.
    """

    both_right: int = 0
    fixed: int = 0
    broken: int = 0
    both_wrong: int = 0

    def add(self, before: bool, after: bool) -> None:
        """Count one photo, by whether each model has it right."""
        if before:
            self.both_right += after
            self.broken += not after
        else:
            self.fixed += after
            self.both_wrong += not after

    @property
    def photos(self) -> int:
        """Count them all."""
        return self.both_right + self.fixed + self.broken + self.both_wrong

    @property
    def p(self) -> float:
        """Return the two-sided exact p-value of McNemar's test."""
        return mcnemar(self.broken, self.fixed)


@dataclass(slots=True)
class ModelDiff:
    """How two models differ.

    Of all `photos` that are there, `human` ones have a human's tag, which no model changes, and some lack scores:
    `without` counts them by the model that has none, "first", "second" or "both". The others are in `kinds`, by what
    would become of the tag, and in `superclasses`, by that of either tag, None for none. `changes` are the first of
    those that differ.

    Of all `reviewed` photos those with scores of both models are in `outcomes`, by level; `sampled` of these were
    sampled for estimation. `examples` are some that only one model has right, by "fixed" and "broken", at the subclass
    level.
    """

    first: str
    second: str
    photos: int = 0
    human: int = 0
    without: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    superclasses: Flows = field(default_factory=Flows)
    changes: list[Change] = field(default_factory=list)
    reviewed: int = 0
    sampled: int = 0
    outcomes: dict[str, Outcomes] = field(default_factory=lambda: {level: Outcomes() for level in LEVELS})
    examples: dict[str, list[tuple[SavedReview, Tag, Tag]]] = field(default_factory=lambda: {"fixed": [], "broken": []})

    @property
    def decided(self) -> int:
        """Count the photos that both models have scored and no human tagged."""
        return self.kinds.total()

    @property
    def changed(self) -> int:
        """Count the photos whose tag would change."""
        return self.decided - self.kinds[UNCHANGED]

    @property
    def judged(self) -> int:
        """Count the reviewed photos with scores of both models."""
        return self.outcomes["subclass"].photos

    @property
    def corrected_p(self) -> dict[str, float]:
        """Return the p-values of both levels, corrected after Holm for two tests."""
        return dict(zip(LEVELS, holm([self.outcomes[level].p for level in LEVELS]), strict=True))

    def verdict(self, level: str) -> str:
        """Say in a sentence whether the second model is better at a level."""
        found = self.outcomes[level]
        if not found.photos:
            return f"No reviewed photo has scores of both models: nothing says which is better at the {level}."
        p = self.corrected_p[level]
        counts = f"{found.fixed:,} fixed, {found.broken:,} broken of {found.photos:,} reviewed photos, p = {p:.2g}"
        if p >= ALPHA:
            return f"No difference can be shown at the {level}: {counts}."
        better = found.fixed > found.broken
        name, other = (self.second, self.first) if better else (self.first, self.second)
        return f"{name} is better than {other} at the {level}: {counts}."


def compare_models(
    store: Store,
    first: Model,
    second: Model,
    *,
    under: PhotoPath | None = None,
    sampled_only: bool = False,
    most_changes: int | None = None,
    most_examples: int = 3,
) -> ModelDiff:
    """Decide all photos by the stored scores of both models, each with its own thresholds, and compare.

    Args:
        store: The database; nothing is written.
        first: The model of now.
        second: The one that might replace it. Its classes may be others: they are compared by name.
        under: Only photos at or under this path.
        sampled_only: Judge by reviews of photos sampled for estimation only.
        most_changes: How many changes to keep; None keeps all.
        most_examples: How many examples of each type to keep.

    Raises:
        StoreError: the database cannot be read, or holds damaged scores.
        ModelError: a model's file cannot be read.
    """
    diff = ModelDiff(first.name, second.name)
    sampled = store.samples.contents_for_estimation()
    reviews = {
        review.photo_id: review
        for review in store.reviews.find_all(ReviewFilter(under=under))
        if not sampled_only or review.content_hash in sampled
    }
    diff.reviewed = len(reviews)
    for page in store.photos.contents(under=under):
        hashes = [content_hash for content_hash, _ in page]
        before, after = (_tags(store, model, hashes) for model in (first, second))
        for content_hash, photo in page:
            tags = before.get(content_hash), after.get(content_hash)
            if photo.state is PhotoState.OK:
                _count(diff, photo, *tags, most_changes)
            review = reviews.get(photo.id)
            if review is not None and tags[0] is not None and tags[1] is not None:
                _judge(diff, review, tags[0], tags[1], most_examples)
                diff.sampled += review.content_hash in sampled
    return diff


def _tags(store: Store, model: Model, hashes: Sequence[bytes]) -> dict[bytes, Tag]:
    """Return a model's tags of the contents that it has scored, by content hash."""
    known = store.models.find(hash=model.hash, weights_hash=model.weights_hash)
    if known is None:
        return {}
    scores = store.scores.of_contents(known, hashes)
    taxonomy = model.header.taxonomy
    tags = decide(unpack(list(scores.values()), taxonomy), taxonomy, model.header.thresholds) if scores else []
    return dict(zip(scores, tags, strict=True))


def _count(diff: ModelDiff, photo: KnownPhoto, before: Tag | None, after: Tag | None, most: int | None) -> None:
    diff.photos += 1
    if photo.tag_source is Source.HUMAN:
        diff.human += 1
    elif before is None or after is None:
        diff.without["second" if before is not None else "first" if after is not None else "both"] += 1
    else:
        kind = kind_of(before, after)
        diff.kinds[kind] += 1
        diff.superclasses.add(before, after)
        if kind != UNCHANGED and (most is None or len(diff.changes) < most):
            diff.changes.append(Change(photo.path, kind, before, after))


def _judge(diff: ModelDiff, review: SavedReview, before: Tag, after: Tag, most: int) -> None:
    diff.outcomes["superclass"].add(*(tag.superclass == review.superclass for tag in (before, after)))
    right = [(tag.superclass, tag.subclass) == (review.superclass, review.subclass) for tag in (before, after)]
    diff.outcomes["subclass"].add(*right)
    if right[0] is not right[1]:
        examples = diff.examples["fixed" if right[1] else "broken"]
        if len(examples) < most:
            examples.append((review, before, after))
