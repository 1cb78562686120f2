"""Fewer bits for all photos, and F32 for those that they leave in doubt, so that tags are those of F32.

Faster arithmetic moves a network's outputs (docs/experiments.md#doubt). By how much depends on model and processor, so
it is measured, on the first photos that come: these are computed in both ways, and F32's outputs are taken. From then
on a photo's fast outputs count where nothing comes out otherwise even if they are off by a multiple of the largest
error so far; the others are computed again. Those show errors too, and so do a few that were settled: a larger error
widens the margins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Precision
from phototag.decision import Standing, Thresholds, settled, standing
from phototag.records import Scores
from phototag.runtime.engine import Done, Engine, Outputs, Pending, Pictures
from phototag.runtime.runtime import PendingScores, Runtime
from phototag.text import percent

log = logging.getLogger(__name__)

# Photos to measure errors on.
SAMPLE_PHOTOS = 256
# A label, or a check against a threshold, has to stay with so many times the largest error so far.
_SAFETY = 1.5
# One settled photo in so many is computed again all the same.
_CONTROL_EVERY = 64
# So many settled photos beyond the margins, which were widened each time, and the precision is not used any more.
_MOST_SURPRISES = 3
# What is left in doubt is looked at over so many photos.
_WINDOW = 512


# Large values have large errors, which hardly move a probability: values up to each of these, and beyond, are apart.
_BAND_ENDS = (1.0, 2.0, 4.0)
BANDS = len(_BAND_ENDS) + 1
# Of so many photos the largest error says something.
_FEW = 32


def _bands(found: Standing) -> NDArray[np.intp]:
    # What is no number counts as small, where errors count most.
    bands: NDArray[np.intp] = np.digitize(np.nan_to_num(np.abs(found.values)), _BAND_ENDS)
    return bands


@dataclass(frozen=True, slots=True)
class Errors:
    """What is known of a fast precision against F32, for one model on one machine.

    `largest` are the largest errors so far of the values of `phototag.decision.Standing`, apart for values in each of
    the bands, and `counts` the photos that they are of, both [bands * V]; in all there were so many `photos`.
    `doubtful` is the share of photos to be computed again, and `speedup` how many times faster the network alone ran.
    `surprises` counts settled photos that turned out to be beyond the margins.
    """

    precision: Precision
    photos: int
    largest: tuple[float, ...]
    counts: tuple[int, ...]
    doubtful: float
    speedup: float
    surprises: int = 0

    def of(self, found: Standing) -> NDArray[np.float64]:
        """Return the largest errors [B, V] of values like those of photos: of all, where few like them were seen."""
        largest, counts = (np.array(each, dtype=np.float64).reshape(BANDS, -1) for each in (self.largest, self.counts))
        errors: NDArray[np.float64] = np.where(counts >= _FEW, largest, largest.max(axis=0))
        return np.take_along_axis(errors, _bands(found), axis=0)

    def settled(self, found: Standing, thresholds: Thresholds) -> NDArray[np.bool_]:
        """Return which photos [B] are in no doubt."""
        return settled(found, self.of(found), thresholds, safety=_SAFETY)

    @property
    def gain(self) -> float:
        """How many times faster the network is with photos in doubt computed twice."""
        return 1 / (1 / max(self.speedup, 1e-9) + self.doubtful) if self.surprises < _MOST_SURPRISES else 0.0

    def with_moves(self, found: Standing, moved: NDArray[np.float64]) -> Errors:
        """Return this with the moves [B, V] of more photos."""
        largest = np.array(self.largest, dtype=np.float64).reshape(BANDS, -1)
        counts = np.array(self.counts, dtype=np.int64).reshape(BANDS, -1)
        bands = _bands(found)
        for band in range(BANDS):
            largest[band] = np.maximum(largest[band], np.where(bands == band, moved, 0.0).max(axis=0, initial=0.0))
            counts[band] += (bands == band).sum(axis=0)
        photos = self.photos + len(moved)
        return replace(
            self, photos=photos, largest=tuple(largest.ravel().tolist()), counts=tuple(counts.ravel().tolist())
        )

    def __str__(self) -> str:
        return (
            f"{self.precision} leaves {percent(self.doubtful)} of your photos in doubt, which are computed in f32 too; "
            f"the network is {self.gain:.1f} times as fast as with f32 alone"
        )


class DoubtingRuntime(Runtime):
    """F32, in fewer bits where these leave no doubt.

    Args:
        plain: The model with F32.
        candidates: The same network in faster precisions; the one of the highest gain is taken.
        known: What was found of the only candidate before; None measures it on the first photos.
        least_gain: What a faster precision has to gain to be taken.
        keep: Is given what was found.
    """

    def __init__(
        self,
        plain: Runtime,
        candidates: Sequence[Engine],
        *,
        known: Errors | None = None,
        least_gain: float = 1.0,
        keep: Callable[[Errors], None] = lambda _: None,
    ) -> None:
        super().__init__(plain.model, target=plain.target, engine=plain.engine)
        self._plain = plain.engine
        self._least_gain, self._keep = least_gain, keep
        self._errors = known
        self._trials = [] if known is not None else [_Trial(engine) for engine in candidates]
        self._uncontrolled = 0
        self._seen, self._doubtful = 0, 0
        self._plain_seconds: list[float] = []
        if known is not None:
            self.engine = candidates[0]

    @property
    def in_doubt(self) -> tuple[int, int]:
        """How many photos were computed again because they were in doubt, and of how many."""
        return self._doubtful, self._seen

    def start(self, pictures: Pictures) -> PendingScores:
        """See `Runtime.start`; while errors are measured it returns once the scores are there."""
        if self._trials:
            return PendingScores(Done(self._measure(pictures)), self.model)
        if self._errors is None:
            return super().start(pictures)
        return PendingScores(_Checked(self, pictures, self.engine.start(pictures)), self.model)

    # -- measuring

    def _measure(self, pictures: Pictures) -> Outputs:
        outputs, seconds = _timed(self._plain, pictures)
        self._plain_seconds.append(seconds)
        exact = self._scores(outputs)
        for trial in self._trials:
            fast, seconds = _timed(trial.engine, pictures)
            trial.seconds.append(seconds)
            found = self._stands(self._scores(fast))
            trial.found.append(found)
            trial.moved.append(self._stands(exact, found.classes).moved(found))
        if sum(map(len, self._trials[0].moved)) >= SAMPLE_PHOTOS:
            self._choose()
        return outputs

    def _choose(self) -> None:
        thresholds = self.model.header.thresholds
        results = []
        for trial in self._trials:
            none = (0,) * (BANDS * trial.found[0].values.shape[1])
            errors = Errors(trial.engine.precision, 0, none, none, 0.0, 0.0)
            for found, moved in zip(trial.found, trial.moved, strict=True):
                errors = errors.with_moves(found, moved)
            doubts = [~errors.settled(found, thresholds) for found in trial.found]
            speedup = _usual(self._plain_seconds) / max(_usual(trial.seconds), 1e-9)
            results.append(replace(errors, doubtful=float(np.concatenate(doubts).mean()), speedup=speedup))
        best = max(range(len(results)), key=lambda place: results[place].gain)
        if results[best].gain >= self._least_gain:
            self._errors, self.engine = results[best], self._trials[best].engine
            log.info("%s.", results[best])
        else:
            log.info("%s, so f32 alone stays.", results[best])
        for errors in results:
            self._keep(errors)
        self._trials = []

    # -- the rest

    def check(self, pictures: Pictures, fast: Outputs) -> Outputs:
        """Return the outputs of a batch with those of F32 for the photos that the fast ones leave in doubt."""
        if self._errors is None:  # given up while the batch was on its way
            return self._plain.start(pictures).result()
        found = self._stands(self._scores(fast))
        certain = self._errors.settled(found, self.model.header.thresholds)
        again = ~certain
        again[self._controls(certain)] = True
        self._seen, self._doubtful = self._seen + len(again), self._doubtful + int((~certain).sum())
        if again.any():
            rows = np.flatnonzero(again)
            exact = self._plain.start([pictures[row] for row in rows.tolist()]).result()
            for output, better in zip(fast, exact, strict=True):
                output[rows] = better
            part = Standing(found.classes[rows], found.values[rows])
            self._learn(part, self._stands(self._scores(exact), part.classes).moved(part), certain[rows])
        if self._seen >= _WINDOW:
            self._look_back()
        return fast

    def _controls(self, certain: NDArray[np.bool_]) -> list[int]:
        """Return the settled photos of a batch that are computed again all the same."""
        chosen = []
        for row in np.flatnonzero(certain):
            self._uncontrolled += 1
            if self._uncontrolled >= _CONTROL_EVERY:
                self._uncontrolled = 0
                chosen.append(int(row))
        return chosen

    def _learn(self, found: Standing, moved: NDArray[np.float64], controls: NDArray[np.bool_]) -> None:
        """Widen the margins by what was seen; `controls` [B] are photos that had been taken for settled."""
        before = self._errors
        if before is None:
            return
        surprises = int((moved > _SAFETY * before.of(found))[controls].any(axis=1).sum())
        self._errors = replace(before.with_moves(found, moved), surprises=before.surprises + surprises)
        if surprises:
            log.info("%s was further off than ever before: more photos are computed in f32 too.", before.precision)
            self._keep(self._errors)
            self._end_if_useless()

    def _look_back(self) -> None:
        """Note the share in doubt of the last photos, and see whether it still pays."""
        if self._errors is not None:
            self._errors = replace(self._errors, doubtful=self._doubtful / self._seen)
            self._keep(self._errors)
            self._end_if_useless()
        self._seen, self._doubtful = 0, 0

    def _end_if_useless(self) -> None:
        if self._errors is not None and self._errors.gain < min(self._least_gain, 1.0):
            log.info("%s, so f32 alone goes on.", self._errors)
            self._errors, self.engine = None, self._plain

    def _scores(self, outputs: Outputs) -> Scores:
        return PendingScores(Done(outputs), self.model).result()

    def _stands(self, scores: Scores, classes: NDArray[np.intp] | None = None) -> Standing:
        return standing(scores, self.model.header.taxonomy, self.model.novelty, classes)


class _Trial:
    """What a fast network did with the first photos."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.found: list[Standing] = []
        self.moved: list[NDArray[np.float64]] = []
        self.seconds: list[float] = []


class _Checked:
    """A batch that is on its way through the fast network."""

    def __init__(self, runtime: DoubtingRuntime, pictures: Pictures, fast: Pending) -> None:
        self._runtime, self._pictures, self._fast = runtime, pictures, fast

    def result(self) -> Outputs:
        """See `Pending`."""
        return self._runtime.check(self._pictures, self._fast.result())


def _timed(engine: Engine, pictures: Pictures) -> tuple[Outputs, float]:
    started = time.perf_counter()
    outputs = engine.start(pictures).result()
    return outputs, (time.perf_counter() - started) / max(1, len(pictures))


def _usual(seconds: Sequence[float]) -> float:
    """Return the median, without the first batch where there are more: that also pays for memory."""
    return float(np.median(seconds[1:] or seconds))
