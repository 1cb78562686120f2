"""Decide stored photos again from the scores that a model gave them before: no file is read, no network runs."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from phototag.decision import Thresholds, decide, unpack
from phototag.model import Model
from phototag.paths import PhotoPath
from phototag.records import Rank, Reason, Source, Tag
from phototag.store import Query, ScoredTag, Store
from phototag.tagging.changes import UNCHANGED, Flows, kind_of
from phototag.tagging.registration import register

_COMMAND = "phototag retag"
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Example:
    """A photo whose label changed; `superclass`, `subclass` and `rank` are those of before."""

    path: PhotoPath
    superclass: str | None
    subclass: str | None
    rank: Rank
    tag: Tag


@dataclass(slots=True)
class RetagReport:
    """What was decided again, or would be.

    `decided` photos had scores; `transitions` counts them by what became of the label, see `kind_of`, `superclasses` by
    superclass, None for none, and `reasons` by why the tag goes no deeper now. `saved` tags were written: those whose
    label changed, and those that another file or model gave. `without_scores` counts the photos left alone by the name
    of the model that tagged them; `human` photos are left alone as well.
    """

    decided: int = 0
    saved: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    superclasses: Flows = field(default_factory=Flows)
    reasons: Counter[Reason] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    without_scores: Counter[str] = field(default_factory=Counter)
    human: int = 0
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def changed(self) -> int:
        """Photos whose label is another one now."""
        return self.decided - self.transitions[UNCHANGED]

    def add(self, before: ScoredTag, tag: Tag) -> None:
        """Count one photo."""
        self.decided += 1
        name = kind_of(before, tag)
        self.transitions[name] += 1
        self.superclasses.add(before, tag)
        if tag.reason is not None:
            self.reasons[tag.reason] += 1
        if name != UNCHANGED and len(self.examples[name]) < _EXAMPLES:
            self.examples[name].append(Example(before.path, before.superclass, before.subclass, before.rank, tag))


def retag(
    store: Store, model: Model, thresholds: Thresholds, *, under: PhotoPath | None = None, dry_run: bool = False
) -> RetagReport:
    """Decide every photo again that a model tagged and whose scores by `model` are stored; a human's tag stays.

    A page of some thousand photos is one transaction. Ctrl-C ends the run; what was saved stays, and the next run finds
    the rest. Photos may be decided again whose files are missing.

    Args:
        store: The database.
        model: Whose scores count. A file with the same weights and other thresholds has the same scores.
        thresholds: To decide with; they hold for this run only, unless they are the model's own.
        under: Only photos at or under this path.
        dry_run: Write nothing, and need no lock.

    Raises:
        LockedError: another process tags or writes to this database.
        StoreError: the database cannot be read or written, or holds damaged scores.
        ModelError: the model's file cannot be read.
    """
    known = store.models.find(hash=model.hash, weights_hash=model.weights_hash)
    if dry_run or known is None:
        return _Retagging(store, model, thresholds, known, writes=False).run(under)
    # Also the only tagger: a watcher with other thresholds would decide everything back.
    with store.tagging(_COMMAND), store.writing(_COMMAND):
        model_id = register(store, model, thresholds)
        run_id = store.runs.begin("retag", model_id=model_id, device=None, runtime=None)
        report = _Retagging(store, model, thresholds, model_id, writes=True).run(under)
        counts = {"decided": report.decided, "changed": report.changed, "saved": report.saved}
        store.runs.finish(run_id, counts, "interrupted" if report.interrupted else None)
        return report


class _Retagging:
    """One run over the stored tags."""

    def __init__(
        self, store: Store, model: Model, thresholds: Thresholds, model_id: int | None, *, writes: bool
    ) -> None:
        self._store, self._model_id, self._writes = store, model_id, writes
        self._taxonomy, self._thresholds = model.header.taxonomy, thresholds
        self._report = RetagReport()
        self._left: Counter[int] = Counter()

    def run(self, under: PhotoPath | None) -> RetagReport:
        report, started = self._report, time.monotonic()
        try:
            for page in self._store.scores.tagged(self._model_id, under=under):
                self._page(page)
        except KeyboardInterrupt:
            report.interrupted = True
        names = {model.id: model.name for model in self._store.models.find_all()}
        for model_id, number in self._left.items():
            report.without_scores[names.get(model_id, "?")] += number
        report.human = self._store.count(Query(source=Source.HUMAN, under=under))
        report.seconds = time.monotonic() - started
        return report

    def _page(self, page: Sequence[ScoredTag]) -> None:
        scored = [row for row in page if row.scores is not None]
        blobs = [row.scores for row in scored if row.scores is not None]
        tags = decide(unpack(blobs, self._taxonomy), self._taxonomy, self._thresholds) if blobs else []
        pairs = list(zip(scored, tags, strict=True))
        if self._writes and self._model_id is not None:
            self._save(self._model_id, pairs)
        # Counted once it is saved, so that the summary of an interrupted run is true.
        for row, tag in pairs:
            self._report.add(row, tag)
        self._left.update(row.model_id for row in page if row.scores is None)

    def _save(self, model_id: int, pairs: Iterable[tuple[ScoredTag, Tag]]) -> None:
        changed = [
            (row.photo_id, tag) for row, tag in pairs if row.model_id != model_id or kind_of(row, tag) != UNCHANGED
        ]
        if changed:
            self._store.tags.save(model_id=model_id, decided=changed)
            self._report.saved += len(changed)
