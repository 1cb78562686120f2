"""Which photos of a sample are open where, so that two who review it at once get different ones.

On a server all computers share them. Only politeness: what two said of one photo is found when an answer is stored, and
a lease ends by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phototag.store import SharedLeases, Store

SECONDS = 120.0


class Leases:
    """Places of samples by who looks at them, in memory. Thread-safe."""

    def __init__(self, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """Make leases that end `seconds` after they were last asked for, by that clock."""
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[int, int], tuple[str, float]] = {}
        self._forget_at = 0.0

    def take(self, sample_id: int, holder: str, positions: Sequence[int], *, want: int) -> list[int]:
        """Lease the first `want` of these places that no one else holds."""
        now = self._clock()
        taken: list[int] = []
        with self._lock:
            self._forget(now)
            for position in positions:
                if len(taken) == want:
                    break
                other, end = self._held.get((sample_id, position), (holder, now))
                if other == holder or end <= now:
                    self._held[sample_id, position] = (holder, now + self._seconds)
                    taken.append(position)
        return taken

    def _forget(self, now: float) -> None:
        # Not every time: there may be thousands, and they are asked for one by one.
        if now >= self._forget_at:
            self._held = {place: held for place, held in self._held.items() if held[1] > now}
            self._forget_at = now + self._seconds

    def keep(self, sample_id: int, holder: str, positions: Sequence[int]) -> None:
        """Hold these places from now on, even if another holder has them."""
        end = self._clock() + self._seconds
        with self._lock:
            for position in positions:
                self._held[sample_id, position] = (holder, end)

    def release(self, sample_id: int, holder: str) -> None:
        """Give back all places of the holder."""
        with self._lock:
            self._held = {
                place: held for place, held in self._held.items() if place[0] != sample_id or held[0] != holder
            }


def leases_of(store: Store) -> Leases | SharedLeases:
    """Return the leases for those who review samples of a database: on a server those of all computers."""
    return store.shared_leases(SECONDS) or Leases()
