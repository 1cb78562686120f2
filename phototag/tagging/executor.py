"""Where photos become tags: in this process, which is the tagger's own way, or on other machines."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from phototag.records import Photo
from phototag.runtime import Target
from phototag.tagging.descriptions import Describer
from phototag.tagging.pipeline import Batch, Lookup
from phototag.tagging.tag_report import TagReport


class Executor(Protocol):
    """Computes what becomes of photos. It knows no store: who calls it looks up, and saves."""

    @property
    def target(self) -> Target:
        """The device and the runtime, for the record of the run."""
        ...

    def process(self, photos: Iterator[Photo], *, known: Lookup | None, describe: Describer) -> Generator[Batch]:
        """Return what comes of photos, each of them once, in batches; returns when the first one can begin.

        The photos are taken in the thread that takes the batches, and few more than what is under way. Closed early, it
        begins no more. Batches may come in another order than their photos.

        Args:
            photos: What to process.
            known: See `phototag.tagging.pipeline.process`; called in this process.
            describe: What photos say of themselves, where this process computes it; else its `written` is sent along.
        """
        ...


@dataclass(frozen=True, slots=True)
class Saved:
    """What others saved: a report of those photos, and the ids of the rows that moved to where they were found."""

    report: TagReport
    moved: frozenset[int]


@runtime_checkable
class SavingExecutor(Protocol):
    """Lets others compute what becomes of photos and save it, who have the same database."""

    @property
    def target(self) -> Target:
        """The device and the runtime, for the record of the run."""
        ...

    def save_all(self, photos: Iterator[Photo], *, model_id: int, reuse: bool) -> Generator[Saved]:
        """Return what was saved, part by part, until all photos are done.

        Args:
            photos: What to process.
            model_id: The model's id in the database.
            reuse: Whether scores that are stored of a content will do.
        """
        ...
