"""Pairs in one pass: which photos need no reading, as another file of the same photo decides for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phototag.library import Partners, is_gone, is_raw
from phototag.metadata import read_facts
from phototag.object_storage import open_photo
from phototag.paths import PhotoPath
from phototag.records import Photo, PhotoState
from phototag.store import KnownPhoto, Store
from phototag.tagging.moved import MovedPhotos
from phototag.tagging.plan import Step

_CHUNK = 500
# Where cameras write when a photo was taken.
_HEADER_BYTES = 1 << 18


class PassPairs:
    """The raw photos of one pass that have a picture beside them. They wait until it is decided."""

    def __init__(self, store: Store, moved: MovedPhotos, *, writes: bool) -> None:
        self._store, self._moved, self._writes = store, moved, writes
        self._partners = Partners()
        self._waiting: list[tuple[Step, PhotoPath]] = []
        self._alone: dict[PhotoPath, int] = {}
        """Raw photos to be read, and the photos that cannot be read beside them."""

    def sort_out(self, steps: Sequence[Step], *, force: bool) -> dict[int, bool]:
        """Return the places among steps of photos that follow another: true where that is as it was, and tagged."""
        leads = {
            number: lead
            for number, step in enumerate(steps)
            if step.photo is not None and (lead := self._partners.lead_of(step.photo.path)) is not None
        }
        known = {row.path: row for row in self._store.photos.at(list(leads.values()))} if leads else {}
        found: dict[int, bool] = {}
        if self._writes:
            followed = (number for number, step in enumerate(steps) if step.known is not None and step.known.lead_id)
            self._release([steps[number] for number in followed if number not in leads])
        for number, lead in leads.items():
            step, row = steps[number], known.get(lead)
            if (
                row is not None
                and row.state is not PhotoState.OK
                and step.known is not None
                and row.lead_id is not None
            ):
                continue  # the other way round, as it is
            found[number] = not force and _is_as_it_was(step, row)
            if not found[number]:
                self._waiting.append((step, lead))
        return found

    def settle(self) -> Iterator[tuple[Step, bool]]:
        """Yield what waited: whether it follows another photo now. What does not is to be read.

        In a dry run, where nothing is known of what was just decided, all of them do.
        """
        if not self._writes:
            yield from ((step, True) for step, _ in self._waiting)
            return
        for start in range(0, len(self._waiting), _CHUNK):
            chunk = self._waiting[start : start + _CHUNK]
            rows = {row.path: row for row in self._store.photos.at([lead for _, lead in chunk])}
            partners = self._store.pairs.partners_of([row.id for row in rows.values()])
            joined: list[tuple[Photo, int]] = []
            for step, lead in chunk:
                photo, row = step.photo, rows.get(lead)
                if photo is None:
                    continue
                decided = row is not None and row.state is PhotoState.OK
                if row is not None and decided and (_are_joined(step, row) or _taken_together(photo.path, lead)):
                    joined.append((photo, row.id))
                    self._move_along(step, partners.get(row.id, ()))
                    yield step, True
                else:
                    self._release([step])
                    if row is not None and not decided:
                        self._alone[photo.path] = row.id
                    yield step, False
            if joined:
                self._store.pairs.join(joined)
        self._waiting = []

    def _move_along(self, step: Step, partners: Sequence[KnownPhoto]) -> None:
        """Let a new file that followed its lead to another disk keep its row: it was never read, so has no content."""
        if step.known is not None or step.photo is None:
            return
        for row in partners:
            if step.photo.size_bytes == row.size_bytes and row.id not in self._moved.ids and is_gone(row.path):
                self._moved.follow(row, step.photo)
                return

    def _release(self, steps: Sequence[Step]) -> None:
        """Let raw photos decide for themselves that followed another."""
        rows = [step.known for step in steps if step.photo is not None and step.known is not None]
        broken = [row.id for row in rows if row.lead_id is not None and is_raw(row.path)]
        if broken:
            self._store.pairs.release(broken)

    def lead_the_unreadable(self) -> None:
        """Let photos that cannot be read follow the raw ones beside them that could. Writes."""
        rows = self._store.photos.at(list(self._alone))
        self._store.pairs.lead([(self._alone[row.path], row.id) for row in rows if row.state is PhotoState.OK])


def _are_joined(step: Step, lead: KnownPhoto) -> bool:
    return step.known is not None and step.known.lead_id == lead.id


def _is_as_it_was(step: Step, lead: KnownPhoto | None) -> bool:
    known = step.known
    if known is None or lead is None or step.photo is None or not _are_joined(step, lead):
        return False
    return known.matches(step.photo) and known.state is PhotoState.OK and lead.state is PhotoState.OK


def _taken_together(one: PhotoPath, other: PhotoPath) -> bool:
    """Return whether two files of one name are of one moment, as far as both say."""
    moments = [_moment(path) for path in (one, other)]
    return None in moments or moments[0] == moments[1]


def _moment(path: PhotoPath) -> object:
    try:
        with open_photo(path) as file:
            taken = read_facts(file.read(_HEADER_BYTES) or b"").taken_at
    except OSError:
        return None
    # Clocks of two files may differ in the fraction.
    return None if taken is None else taken.replace(microsecond=0, tzinfo=None)
