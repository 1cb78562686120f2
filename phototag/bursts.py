"""Find bursts: photos that one camera took within seconds of each other, and so of one event."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from phototag.records import CaptureFacts

BURST_SECONDS = 3.0
"""The longest pause within a burst. Cameras take 3 to 30 photos a second, camera traps about one; a clock of whole
seconds adds one to that, and who presses again at once takes the same scene again."""


def find_bursts(
    cameras: NDArray[np.integer], taken: NDArray[np.datetime64], *, seconds: float = BURST_SECONDS
) -> NDArray[np.intp]:
    """Return the burst [N] of each photo: the place of the first photo of it, which for most photos is their own.

    `cameras` [N] are numbers, negative where the camera is not known; `taken` [N] may be NaT. Without either a photo is
    in no burst. Each photo of a burst follows the one before it within so many seconds, however long that goes on.
    """
    labels = np.arange(len(cameras), dtype=np.intp)
    times = taken.astype("datetime64[ms]")
    rows = np.flatnonzero((cameras >= 0) & ~np.isnat(times))
    order = rows[np.lexsort((times[rows], cameras[rows]))]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(cameras[order]) != 0) | (np.diff(times[order]).astype(np.int64) > 1000 * seconds)
    labels[order] = order[begins][np.cumsum(begins) - 1]
    return labels


def bursts_of(facts: Iterable[CaptureFacts], *, seconds: float = BURST_SECONDS) -> NDArray[np.intp]:
    """Return the burst [N] of each photo, as `find_bursts` does; cameras of one model differ by their serials."""
    numbers: dict[tuple[str, str | None], int] = {}
    cameras, taken = [], []
    for one in facts:
        camera = None if one.camera is None else (one.camera, one.camera_serial)
        cameras.append(-1 if camera is None else numbers.setdefault(camera, len(numbers)))
        taken.append(np.datetime64("NaT") if one.taken_at is None else one.taken_at)
    return find_bursts(np.array(cameras, dtype=np.intp), np.array(taken, dtype="datetime64[ms]"), seconds=seconds)
