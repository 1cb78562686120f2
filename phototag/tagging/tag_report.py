"""What a run of the tagger did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from phototag.imaging import unread_line
from phototag.library import LeftOut
from phototag.paths import PhotoPath
from phototag.records import Failure, FailureKind, PhotoState, Reason
from phototag.tagging.pipeline import Batch

_FAILURES_KEPT = 20


@dataclass
class TagReport:
    """What a run did.

    `photos` were found; of them `tagged` got a tag, `inferred` of these through the network and the rest from scores
    stored before; `unchanged` had theirs; `failed` cannot be read, `given_up` of these without another try; and `moved`
    of all were known under other names. `missing` were known and are marked as gone. `load_seconds` of all `seconds`
    went into loading the model. `failures` holds the first ones, `problems` the folders that could not be read, and
    `suspended` the roots that look as if a disk were not mounted. `reasons` counts the tags by why they go no deeper.
    `left_out` counts what was not looked at: files in formats that are not read, links, folders of the system.
    `unsupported` counts photos of formats that this installation does not read, which is no failure; `unread_line` says
    so in words.

    >>> with phototag.Tagger("animals") as tagger, phototag.Store.open("photos.db") as store:
    ...     first, second = tagger.tag(["inbox"], store), tagger.tag(["inbox"], store)
    >>> first.tagged, second.unchanged, second.complete
    (3, 3, False)
    """

    photos: int = 0
    tagged: int = 0
    inferred: int = 0
    unchanged: int = 0
    failed: int = 0
    given_up: int = 0
    moved: int = 0
    missing: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    interrupted: bool = False
    failures: list[Failure] = field(default_factory=list)
    failure_kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    suspended: list[PhotoPath] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    unsupported: Counter[FailureKind] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether every photo has its tag, apart from those that were given up in earlier runs."""
        return not (self.failed > self.given_up or self.problems or self.interrupted)

    @property
    def unread_line(self) -> str:
        """How many photos are of formats that this installation does not read, and the way out; empty for none."""
        return unread_line(self.unsupported)

    def counts(self) -> dict[str, int]:
        """Return the numbers, for the record of the run."""
        names = ("photos", "tagged", "inferred", "unchanged", "failed", "given_up", "moved", "missing")
        return {name: getattr(self, name) for name in names}

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        failures = [failure for failure in batch.failures if failure.kind.state is PhotoState.UNREADABLE]
        self.photos += len(batch.items)
        self.tagged += len(batch.tagged)
        self.unsupported.update(item.kind for item in batch.failures if item.kind.state is PhotoState.UNSUPPORTED)
        self.inferred += batch.inferred
        self.failed += len(failures)
        self.failure_kinds.update(str(failure.kind) for failure in failures)
        self.reasons.update(item.tag.reason for item in batch.tagged if item.tag.reason is not None)
        self.failures += failures[: _FAILURES_KEPT - len(self.failures)]

    def add_saved(self, other: TagReport) -> None:
        """Add what came of other photos."""
        self.photos += other.photos
        self.add_pass(other)
        self.unsupported.update(other.unsupported)
        self.failures += other.failures[: _FAILURES_KEPT - len(self.failures)]

    def add_pass(self, other: TagReport) -> None:
        """Add up the counts of another pass. Its `unchanged` photos are not added: every pass sees the same ones."""
        for name in ("tagged", "inferred", "failed", "moved", "missing"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failure_kinds.update(other.failure_kinds)
        self.reasons.update(other.reasons)
