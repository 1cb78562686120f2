"""Looking at one photo of a sample, storing what is said of it, and taking that back.

Nothing is remembered between calls, so that a terminal, and any number of pages that one server serves, review the same
sample at once: what others said meanwhile is found when an answer is stored, and never replaced unasked. Every
answer is durable before the call returns, and the right to write is held for that moment only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from phototag.decision import MOST, Candidate, best_subclasses, unpack
from phototag.errors import StoreError, UsageError
from phototag.review.names import Names
from phototag.review.photo_reviews import (
    ONE_AT_A_TIME,
    Class,
    find_by_token,
    find_saved,
    known_names,
    settle_class,
    undo_review,
    why_not,
)
from phototag.store import Review, ReviewFilter, Sample, SampleItem, SampleProgress, SavedReview, ShownTag, Store
from phototag.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class ShownPhoto:
    """A photo to review; `candidates` are the model's best subclasses but for the tag's, best first.

    `newest` is the id of the review that counted when it was shown, None if there was none.
    """

    item: SampleItem
    candidates: tuple[Candidate, ...]
    newest: int | None


@dataclass(frozen=True, slots=True)
class PassedPhoto:
    """A photo that cannot be reviewed now, and why."""

    item: SampleItem
    reason: str


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Another person reviewed the photo after it was shown; nothing was stored. `agrees`: they said the same."""

    review: SavedReview
    agrees: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Something that can be taken back: a review, or a skipped photo where there is no `review_id`.

    `own`: it was done in this session. `right`: the review says that the tag is.
    """

    position: int
    review_id: int | None
    own: bool
    right: bool = False


class SampleReviews:
    """The photos of one sample, and what is said of them. May be used from several threads."""

    def __init__(self, store: Store, sample_id: int, *, command: str, wait_seconds: float) -> None:
        """Review for "phototag `command`"; wait `wait_seconds` for another process that writes."""
        self._store = store
        self._sample_id = sample_id
        self._command = command
        self._wait_seconds = wait_seconds
        self._taxonomies: dict[int, Taxonomy] = {}

    # ---- looking

    def items(self, positions: Sequence[int] | None = None) -> list[SampleItem]:
        """Return all photos of the sample, or those at these places, in order.

        Raises:
            StoreError: the database cannot be read.
        """
        return self._store.samples.items(self._sample_id, positions=positions)

    def item(self, position: int) -> SampleItem:
        """Return the photo at a place of the sample, whether it waits or not.

        Raises:
            UsageError: there is no such place.
            StoreError: the database cannot be read.
        """
        found = self.items([position])
        if not found:
            raise UsageError(f"sample {self._sample_id}: has no photo at position {position}")
        return found[0]

    def standing(self) -> tuple[list[int], SampleProgress]:
        """Return the positions that wait for a review, in order, and how far the review is.

        Raises:
            StoreError: the database cannot be read.
        """
        return self._store.samples.standing(self._sample_id)

    def waiting(self) -> list[SampleItem]:
        """Return the photos that wait for a review, in order.

        Raises:
            StoreError: the database cannot be read.
        """
        return self._store.samples.items(self._sample_id, pending_only=True)

    def look(self, item: SampleItem) -> ShownPhoto | None:
        """Return a photo as it is shown to the reviewer; None where it was reviewed for this sample since it was read.

        Raises:
            StoreError: the database cannot be read.
        """
        newest = self._newest(item.photo_id)
        if item.review is None and newest is not None and newest.sample_id == self._sample_id:
            # Taken as known, it would be replaced unasked.
            return None
        return ShownPhoto(item, self._candidates(item), None if newest is None else newest.id)

    def why_not(self, item: SampleItem) -> str | None:
        """Return why a photo cannot be reviewed, None if it can: what is on the disk must be what was sampled.

        Raises:
            StoreError: the database cannot be read.
        """
        if item.changed:
            return "changed since it was sampled"
        return why_not(self._store.photos.find(item.photo_id), item.path, item.content_hash, item.state)

    def _newest(self, photo_id: int) -> SavedReview | None:
        return next(self._store.reviews.find_all(ReviewFilter(photo_id=photo_id)), None)

    def _candidates(self, item: SampleItem) -> tuple[Candidate, ...]:
        taxonomy = None if item.model_id is None else self._known_taxonomies(item.model_id).get(item.model_id)
        if item.model_id is None or taxonomy is None:
            return ()
        blob = self._store.scores.of_contents(item.model_id, [item.content_hash]).get(item.content_hash)
        if not blob:
            return ()
        try:
            found = best_subclasses(unpack([blob], taxonomy), taxonomy, most=MOST + 1)
        except StoreError:
            # They only help to choose; the tag can be reviewed without them.
            return ()
        tag = (item.tag.superclass, item.tag.subclass)
        return tuple(each for each in found if (each.superclass, each.subclass) != tag)[:MOST]

    def _known_taxonomies(self, *wanted: int | None) -> dict[int, Taxonomy]:
        """Return the taxonomies of all models by id, read again where one of the `wanted` was registered since."""
        if not self._taxonomies or any(each is not None and each not in self._taxonomies for each in wanted):
            self._taxonomies = {model.id: model.taxonomy for model in self._store.models.find_all()}
        return self._taxonomies

    # ---- answers

    def settle(self, item: SampleItem, superclass: str | None, subclass: str | None) -> Class:
        """Return the class of an answer as it is known; see `settle_class`.

        Raises:
            UsageError: it is new, and training would refuse it.
            StoreError: the database cannot be read.
        """
        return settle_class(self._store, superclass, subclass, shown=(item.tag.superclass, item.tag.subclass))

    def save(
        self,
        item: SampleItem,
        superclass: str | None,
        subclass: str | None,
        *,
        newest: int | None,
        replace: bool = False,
        token: str | None = None,
    ) -> SavedReview | Meanwhile:
        """Store durably what the photo shows; neither label says that it shows nothing that has one.

        Where another reviewer answered after the photo was shown, so that `newest` is not the review that counts,
        nothing is stored, unless `replace`: their review then stays in the record, and counts again when this one is
        taken back. An answer that comes again with its `token` is not stored again, even if it was taken back since.

        Raises:
            UsageError: `settle` refuses the labels, the photo changed since it was shown, or the token belongs to
                another answer.
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        superclass, subclass = self.settle(item, superclass, subclass)
        review = Review(
            photo_id=item.photo_id,
            superclass=superclass,
            subclass=subclass,
            content_hash=item.content_hash,
            shown=_shown_tag(item),
            sample_id=self._sample_id,
            token=token,
        )
        with ONE_AT_A_TIME, self._store.answering(self._command, wait_seconds=self._wait_seconds):
            known = token is not None and find_by_token(self._store, token) is not None
            other = None if known else self._meanwhile(item, newest)
            if other is not None:
                agrees = (other.superclass, other.subclass) == (superclass, subclass)
                if not replace and not (agrees and other.sample_id != self._sample_id):
                    return Meanwhile(other, agrees)
            review_id = self._store.reviews.save(review)
        return find_saved(self._store, review_id)

    def skip(self, item: SampleItem, *, newest: int | None) -> Meanwhile | None:
        """Store durably that the photo does not show what it is, unless it was reviewed after it was shown.

        Raises:
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        with ONE_AT_A_TIME, self._store.answering(self._command, wait_seconds=self._wait_seconds):
            other = self._meanwhile(item, newest)
            if other is not None:
                return Meanwhile(other, agrees=False)
            self._store.samples.skip(self._sample_id, item.position)
        return None

    def _meanwhile(self, item: SampleItem, newest: int | None) -> SavedReview | None:
        found = self._newest(item.photo_id)
        return None if found is None or found.id == newest else found

    def take_back(self, step: Step) -> None:
        """Take a review or a skipped photo back. What was taken back already stays so.

        Raises:
            UsageError: it cannot be taken back, since the photo was reviewed or tagged in another way since.
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        if step.review_id is not None:
            undo_review(self._store, step.review_id, command=self._command, wait_seconds=self._wait_seconds)
            return
        with ONE_AT_A_TIME, self._store.answering(self._command, wait_seconds=self._wait_seconds):
            self._store.samples.skip(self._sample_id, step.position, skipped=False)

    def steps(self, *, before: datetime | None = None) -> list[Step]:
        """Return what was done and not undone, in the order of time; with `before` only what was done by then.

        Raises:
            StoreError: the database cannot be read.
        """
        done = []
        for item in self.items():
            review = item.review
            if review is not None and review.sample_id == self._sample_id:
                done.append((review.reviewed_at, Step(item.position, review.id, own=False)))
            elif review is None and item.skipped_at is not None and not item.changed:
                done.append((item.skipped_at, Step(item.position, None, own=False)))
        done.sort(key=lambda pair: (pair[0], pair[1].position))
        return [step for at, step in done if before is None or at < before]

    def names(self, sample: Sample) -> Names:
        """Return the names that the sample's models know, and those that people gave.

        Raises:
            StoreError: the database cannot be read.
        """
        judged = {sample.model_id, *(item.model_id for item in self.items())}
        known = self._known_taxonomies(*judged)
        taxonomies = [known[each] for each in known if each in judged]
        return known_names(self._store, taxonomies or known.values())


def remove_unreviewed(store: Store, sample_id: int, *, command: str, wait_seconds: float) -> bool:
    """Remove a sample that has no reviews; false, and nothing is removed, where it has some.

    Raises:
        UsageError: there is no such sample.
        LockedError: another process writes for longer than this waits.
        StoreError: the database cannot be written.
    """
    with ONE_AT_A_TIME, store.answering(command, wait_seconds=wait_seconds):
        made_for_it = store.reviews.find_all(ReviewFilter(sample_id=sample_id, current=False, valid=False))
        if any(review.undone_at is None for review in made_for_it):
            return False
        store.samples.remove(sample_id)
    return True


def _shown_tag(item: SampleItem) -> ShownTag:
    tag = item.tag
    return ShownTag(
        superclass=tag.superclass,
        subclass=tag.subclass,
        rank=tag.rank,
        superclass_score=tag.superclass_score,
        subclass_score=tag.subclass_score,
        model_id=item.model_id,
    )
