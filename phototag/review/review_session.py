"""Going through the photos of a sample that wait for a review: what comes next, saving, skipping and going back.

Every answer is stored before the call returns, and the right to write is held for that moment only, so that a watcher
and other reviewers may go on beside it. Nothing here reads keys or prints.
"""

from __future__ import annotations

from phototag.errors import UsageError
from phototag.review.photo_reviews import Class
from phototag.review.sample_reviews import Meanwhile, PassedPhoto, SampleReviews, ShownPhoto, Step
from phototag.store import Sample, SampleItem, SavedReview, Store, Verdict

_COMMAND = "audit review"
_WAIT_SECONDS = 10.0


class ReviewSession:
    """One reviewer's way through a sample. It can be left at any time, and begun again where it stopped."""

    def __init__(self, store: Store, sample: Sample, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        """Read what is known of the sample; `wait_seconds` is how long to wait for another process that writes."""
        self.sample = sample
        self.undone = 0
        self._store = store
        self._reviews = SampleReviews(store, sample.id, command=_COMMAND, wait_seconds=wait_seconds)
        self.names = self._reviews.names(sample)
        self._history = self._reviews.steps()
        self._after = 0
        self._again: int | None = None
        self._away = False
        self._passed: set[int] = set()

    # ---- how far it is

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """Return what was done in this session and not undone, in order."""
        return tuple(step for step in self._history if step.own)

    @property
    def can_undo(self) -> bool:
        """Return whether there is something to undo, of this session or of earlier ones."""
        return bool(self._history)

    @property
    def passed(self) -> int:
        """Count the photos that could not be reviewed in this session, and still wait."""
        return len(self._passed)

    # ---- going on

    def next_photo(self) -> ShownPhoto | PassedPhoto | None:
        """Return the photo to review now: one that was undone, else the next that waits; None when none does.

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
            shown = self._reviews.look(item)
            if shown is None:
                self._away = True
                continue
            return shown
        return None

    def look_again(self, shown: ShownPhoto) -> None:
        """Let a photo that was shown come next once more."""
        self._again = shown.item.position

    def _next_item(self) -> SampleItem | None:
        if self._again is not None:
            position, self._again = self._again, None
            return self._reviews.item(position)
        waiting = [item for item in self._reviews.waiting() if item.position not in self._passed]
        if not waiting:
            return None
        if self._away:
            # Two who take the same photos in the same order would do all work twice.
            self._away = False
            return waiting[len(waiting) // 2]
        return next((item for item in waiting if item.position > self._after), waiting[0])

    def _why_not(self, item: SampleItem) -> str | None:
        return self._reviews.why_not(item)

    # ---- answers

    def settle(self, shown: ShownPhoto, superclass: str | None, subclass: str | None) -> Class:
        """Return the class of an answer as it is known, before it is saved.

        Raises:
            UsageError: it is new, and training would refuse it.
            StoreError: the database cannot be read.
        """
        return self._reviews.settle(shown.item, superclass, subclass)

    def save(
        self, shown: ShownPhoto, superclass: str | None, subclass: str | None, *, replace: bool = False
    ) -> SavedReview | Meanwhile:
        """Store durably what the photo shows; neither label says that it shows nothing that has one.

        Where another reviewer answered after the photo was shown nothing is stored, unless `replace`: their review then
        stays in the record, and counts again when this one is taken back.

        Raises:
            UsageError: `settle` refuses the labels, or the photo changed since it was shown.
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        item = shown.item
        saved = self._reviews.save(item, superclass, subclass, newest=shown.newest, replace=replace)
        if isinstance(saved, Meanwhile):
            self._away = True
            return saved
        self._history.append(Step(item.position, saved.id, own=True, right=saved.verdict is Verdict.RIGHT))
        if saved.superclass is not None:
            self.names.add(saved.superclass, saved.subclass)
        return saved

    def skip(self, shown: ShownPhoto) -> Meanwhile | None:
        """Store durably that the photo does not show what it is, unless it was reviewed after it was shown.

        Raises:
            LockedError: another process writes for longer than this waits.
            StoreError: the database cannot be written.
        """
        other = self._reviews.skip(shown.item, newest=shown.newest)
        if other is None:
            self._history.append(Step(shown.item.position, None, own=True))
        else:
            self._away = True
        return other

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
        try:
            self._reviews.take_back(step)
        except UsageError:
            self._history.pop()
            raise
        self._history.pop()
        self.undone += step.own
        self._again = step.position
        return step


def choose_sample(store: Store, name: str | None = None) -> Sample | None:
    """Find the sample of that name, without a name the newest that has photos waiting; None if no sample has.

    Raises:
        UsageError: there is none of that name, or none at all.
        StoreError: the database cannot be read.
    """
    known = store.samples.find_all()
    if not known:
        raise UsageError(f"no sample was taken in {store.location}; take one: phototag audit sample")
    if name is None:
        return next((sample for sample in reversed(known) if sample.pending), None)
    found = next((sample for sample in known if sample.name == name), None)
    if found is None:
        listed = ", ".join(sample.name for sample in known)
        raise UsageError(f"there is no sample {name!r}; there are: {listed} (see: phototag audit sample --list)")
    return found
