"""Going through the photos of a sample that wait for a review: what comes next, saving, skipping and going back.

Every answer is stored before the call returns, and the right to write is held for that moment only, so that a watcher
and other reviewers may go on beside it. Nothing here reads keys or prints.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from phototag.audit.names import Names
from phototag.decision import join, unpack
from phototag.errors import StoreError, UsageError
from phototag.records import PhotoState
from phototag.store import Review, ReviewFilter, ReviewOrigin, Sample, SampleItem, SavedReview, ShownTag, Store, Verdict
from phototag.store.review_records import verdict_of
from phototag.taxonomy import Taxonomy

_COMMAND = "audit review"
_WAIT_SECONDS = 10.0
_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subclass that the model thought of, with the probability of it and its superclass together."""

    superclass: str
    subclass: str
    score: float


@dataclass(frozen=True, slots=True)
class ShownPhoto:
    """A photo to be judged; `candidates` are the model's best subclasses but for the tag's, best first.

    `newest` is the id of the review that counted when it was shown, None if there was none.
    """

    item: SampleItem
    candidates: tuple[Candidate, ...]
    newest: int | None


@dataclass(frozen=True, slots=True)
class PassedPhoto:
    """A photo that cannot be judged now, and why."""

    item: SampleItem
    reason: str


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Somebody else reviewed the photo after it was shown; nothing was stored. `agrees`: they said the same."""

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


class ReviewSession:
    """One reviewer's way through a sample. It can be left at any time, and begun again where it stopped."""

    def __init__(self, store: Store, sample: Sample, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        """Read what is known of the sample; `wait_seconds` is how long to wait for another process that writes."""
        self.sample = sample
        self.undone = 0
        self._store = store
        self._wait_seconds = wait_seconds
        self._taxonomies = {model.id: model.taxonomy for model in store.models()}
        items = store.sample_items(sample.id)
        self.names = _known_names(store, self._taxonomies, sample, items)
        self._history = _earlier(items, sample.id)
        self._after = 0
        self._again: int | None = None
        self._away = False
        self._passed: set[int] = set()

    # ---- how far it is

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """What was done in this session and not taken back, in order."""
        return tuple(step for step in self._history if step.own)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back, of this session or of earlier ones."""
        return bool(self._history)

    @property
    def passed(self) -> int:
        """Photos that could not be judged in this session, and still wait."""
        return len(self._passed)

    # ---- going on

    def next_photo(self) -> ShownPhoto | PassedPhoto | None:
        """The photo to look at now: one that was taken back, else the next that waits; None when none does.

        A photo that cannot be looked at comes back with the reason, once.

        Raises:
            StoreError: the database cannot be read.
        """
        while (item := self._next_item()) is not None:
            self._after = item.position
            reason = self._why_not(item)
            if reason is not None:
                self._passed.add(item.position)
                return PassedPhoto(item, reason)
            newest = self._newest(item.photo_id)
            if item.review is None and newest is not None and newest.sample_id == self.sample.id:
                # Somebody else reviewed it since it was read here: taken as known, it would be replaced unasked.
                self._away = True
                continue
            return ShownPhoto(item, self._candidates(item), None if newest is None else newest.id)
        return None

    def look_again(self, shown: ShownPhoto) -> None:
        """Let a photo that was shown come next once more."""
        self._again = shown.item.position

    def _next_item(self) -> SampleItem | None:
        if self._again is not None:
            position, self._again = self._again, None
            return next(item for item in self._store.sample_items(self.sample.id) if item.position == position)
        waiting = self._store.sample_items(self.sample.id, pending_only=True)
        waiting = [item for item in waiting if item.position not in self._passed]
        if not waiting:
            return None
        if self._away:
            # Two who take the same photos in the same order would do all work twice.
            self._away = False
            return waiting[len(waiting) // 2]
        return next((item for item in waiting if item.position > self._after), waiting[0])

    def _why_not(self, item: SampleItem) -> str | None:
        """Why a photo cannot be judged: what is on the disk must be what was drawn."""
        if item.changed:
            return "changed since it was drawn"
        try:
            status = item.path.stat()
            if not stat.S_ISREG(status.st_mode):
                return "is no file any more"
            known = self._store.find(item.photo_id)
            if known is not None and (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns):
                return None
            with item.path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").digest() == item.content_hash
        except FileNotFoundError:
            gone = item.state is PhotoState.MISSING
            return "is missing" if gone else "is missing; if it was moved, run: phototag tag"
        except (OSError, ValueError) as error:
            return f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return None if same else "changed since it was tagged; run: phototag tag"

    def _newest(self, photo_id: int) -> SavedReview | None:
        return next(self._store.reviews(ReviewFilter(photo_id=photo_id)), None)

    def _candidates(self, item: SampleItem) -> tuple[Candidate, ...]:
        taxonomy = None if item.model_id is None else self._taxonomies.get(item.model_id)
        if item.model_id is None or taxonomy is None:
            return ()
        blob = self._store.predictions_for(item.model_id, [item.content_hash]).get(item.content_hash)
        if not blob:
            return ()
        try:
            found = read_scored_candidates(blob, taxonomy)
        except StoreError:
            # They only help to choose; the tag can be judged without them.
            return ()
        tag = (item.tag.superclass, item.tag.subclass)
        return tuple(each for each in found if (each.superclass, each.subclass) != tag)[:_CANDIDATES]

    # ---- answers

    def save(
        self, shown: ShownPhoto, superclass: str | None, subclass: str | None, *, replace: bool = False
    ) -> SavedReview | Meanwhile:
        """Store durably what the photo shows; neither label says that it shows nothing that has one.

        Where somebody else reviewed the photo after it was shown nothing is stored, unless `replace`: their review then
        stays in the record, and counts again when this one is taken back.

        Raises:
            UsageError: the labels cannot be labels, or the photo changed since it was shown.
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        item = shown.item
        tag = _shown_tag(item)
        review = Review(
            photo_id=item.photo_id,
            superclass=superclass,
            subclass=subclass,
            content_hash=item.content_hash,
            shown=tag,
            sample_id=self.sample.id,
        )
        with self._store.writing(_COMMAND, wait_seconds=self._wait_seconds):
            other = self._meanwhile(shown)
            if other is not None:
                agrees = (other.superclass, other.subclass) == (superclass, subclass)
                if not replace and not (agrees and other.sample_id != self.sample.id):
                    self._away = True
                    return Meanwhile(other, agrees)
            review_id = self._store.save_review(review)
            right = verdict_of(tag, superclass, subclass) is Verdict.RIGHT
            self._history.append(Step(item.position, review_id, own=True, right=right))
        if superclass is not None:
            self.names.add(superclass, subclass)
        saved = self._store.find_review(review_id)
        if saved is None:
            raise StoreError(f"{self._store.location}: a review that was just saved is not there")
        return saved

    def skip(self, shown: ShownPhoto) -> Meanwhile | None:
        """Store durably that nobody can tell what the photo shows, unless somebody said so after it was shown.

        Raises:
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        item = shown.item
        with self._store.writing(_COMMAND, wait_seconds=self._wait_seconds):
            other = self._meanwhile(shown)
            if other is not None:
                self._away = True
                return Meanwhile(other, agrees=False)
            self._store.skip(item.sample_id, item.position)
            self._history.append(Step(item.position, None, own=True))
        return None

    def _meanwhile(self, shown: ShownPhoto) -> SavedReview | None:
        newest = self._newest(shown.item.photo_id)
        return None if newest is None or newest.id == shown.newest else newest

    def undo(self) -> Step | None:
        """Take the last answer back, of this session and then of earlier ones; its photo comes next.

        What another reviewer says at the same time is left alone. None when there is nothing to take back.

        Raises:
            UsageError: it cannot be taken back, since the photo was tagged in another way since; it is then left out.
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        if not self._history:
            return None
        step = self._history[-1]
        with self._store.writing(_COMMAND, wait_seconds=self._wait_seconds):
            try:
                if step.review_id is None:
                    self._store.skip(self.sample.id, step.position, skipped=False)
                else:
                    self._store.undo_review(step.review_id)
            except UsageError:
                self._history.pop()
                raise
            self._history.pop()
            self.undone += step.own
        self._again = step.position
        return step


def choose_sample(store: Store, name: str | None = None) -> Sample | None:
    """The sample of that name, without a name the newest that has photos waiting; None if no sample has.

    Raises:
        UsageError: there is none of that name, or none at all.
        StoreError: the database cannot be read.
    """
    known = store.samples()
    if not known:
        raise UsageError(f"no sample was drawn in {store.location}; draw one: phototag audit sample")
    if name is None:
        return next((sample for sample in reversed(known) if sample.pending), None)
    found = next((sample for sample in known if sample.name == name), None)
    if found is None:
        listed = ", ".join(sample.name for sample in known)
        raise UsageError(f"there is no sample {name!r}; there are: {listed} (see: phototag audit sample --list)")
    return found


def read_scored_candidates(blob: bytes, taxonomy: Taxonomy) -> list[Candidate]:
    """The best subclasses of one photo by the joint distribution of `phototag.decision`, best first.

    Raises:
        StoreError: the packed scores are damaged or of another model.
    """
    evidence = unpack([blob], taxonomy)
    superclass, pooled = join(evidence).superclass[0], evidence.pooled[0]
    found = []
    for index, logit in zip(evidence.top[0].tolist(), evidence.top_logit[0].tolist(), strict=True):
        parent = taxonomy.parents[index]
        share = min(float(np.exp(logit - float(pooled[parent]))), 1.0)
        score = float(superclass[parent]) * share
        found.append(Candidate(taxonomy.superclasses[parent], taxonomy.subclasses[index], score))
    return sorted(found, key=lambda each: -each.score)


def _known_names(store: Store, taxonomies: dict[int, Taxonomy], sample: Sample, items: Iterable[SampleItem]) -> Names:
    """The names that the sample's models know, and those that people gave."""
    judged = {sample.model_id, *(item.model_id for item in items)}
    names = Names()
    for taxonomy in [taxonomies[each] for each in taxonomies if each in judged] or taxonomies.values():
        for subclass in taxonomy.subclasses:
            names.add(taxonomy.parent(subclass), subclass)
    for review in store.reviews(ReviewFilter(origins=(ReviewOrigin.REVIEW, ReviewOrigin.NAMED))):
        if review.superclass is not None:
            names.add(review.superclass, review.subclass)
    return names


def _earlier(items: Iterable[SampleItem], sample_id: int) -> list[Step]:
    """What was done in earlier sessions, in the order of time."""
    done = []
    for item in items:
        review = item.review
        if review is not None and review.sample_id == sample_id:
            done.append((review.reviewed_at, Step(item.position, review.id, own=False)))
        elif review is None and item.skipped_at is not None and not item.changed:
            done.append((item.skipped_at, Step(item.position, None, own=False)))
    return [step for _, step in sorted(done, key=lambda pair: (pair[0], pair[1].position))]


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
