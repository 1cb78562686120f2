"""What becomes of a chunk whose worker died: nothing is lost, and only a photo that killed two alone is given up."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from phototag.cluster.chunk import Chunk, after_death, chunks_of
from phototag.records import FailureKind, Photo


def photos_of(number: int) -> list[Photo]:
    return [Photo(Path(f"/photos/{index}"), 1, 2, 3, index) for index in range(number)]


def work_through(chunks: list[Chunk], poison: set[Photo], deaths: int) -> tuple[Counter[Photo], set[Photo], int]:
    """Let workers die of some photos, and `deaths` of them by accident first; what was done and what was given up."""
    done: Counter[Photo] = Counter()
    condemned: set[Photo] = set()
    died = 0
    left = deque(chunks)
    while left:
        chunk = left.popleft()
        if poison.isdisjoint(chunk.photos) and deaths <= 0:
            done.update(chunk.photos)
            continue
        deaths -= poison.isdisjoint(chunk.photos)
        died += 1
        parts, failure = after_death(chunk)
        left.extend(parts)
        if failure is not None:
            condemned.add(failure.photo)
            assert failure.kind is FailureKind.DECODER
    return done, condemned, died


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=3))
def test_only_what_kills_is_given_up_and_all_else_done_once(number: int, deadly: set[int]) -> None:
    photos = photos_of(number)
    poison = {photo for photo in photos if photo.inode in deadly}
    done, condemned, died = work_through(list(chunks_of(photos, 64)), poison, 0)
    assert condemned == poison
    assert done == Counter(set(photos) - poison)
    assert died <= 12 * len(poison)


@given(st.integers(2, 40))
def test_accidents_condemn_nothing(deaths: int) -> None:
    photos = photos_of(512)
    done, condemned, _ = work_through(list(chunks_of(photos, 128)), set(), deaths)
    assert not condemned
    assert done == Counter(photos)


def test_a_first_death_changes_nothing_but_the_count() -> None:
    [chunk] = chunks_of(photos_of(10), 256)
    [again], failure = after_death(chunk)
    assert again.photos == chunk.photos
    assert failure is None
