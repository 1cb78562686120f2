"""Changes of tags since a position: none is ever left out, whoever made it, and whatever the clock does."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.errors import UsageError
from phototag.records import Tag, TaggedPhoto
from phototag.store import Query, Review, Store
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, STRANGE, failure, register, stored

TAGS = (ROOSTER, BEAGLE, SOME_BIRD, STRANGE)
PATHS = [f"/p/{number}.jpg" for number in range(6)]
START = datetime(2026, 1, 1, tzinfo=UTC)


class Follower:
    """Keeps a copy of all tags by asking for changes only, and loses what it did not note in time."""

    def __init__(self) -> None:
        self.position: str | None = None
        self.tags: dict[Path, tuple[Any, ...]] = {}

    def follow(self, store: Store, *, pages: int | None = None) -> int:
        """Take over at most so many pages of changes; how many photos came."""
        number = 0
        for count, changes in enumerate(store.changed_tags(self.position)):
            if count == pages:
                break
            for photo in changes.photos:
                self._take(photo)
            number += len(changes.photos)
            self.position = changes.position
        return number

    def _take(self, photo: TaggedPhoto) -> None:
        self.tags.pop(photo.path, None)
        if photo.rank is not None:
            self.tags[photo.path] = tag_of(photo)


def tag_of(photo: TaggedPhoto) -> tuple[Any, ...]:
    return (photo.superclass, photo.subclass, photo.rank, photo.source, photo.superclass_score, photo.tagged_at)


def all_tags(store: Store) -> dict[Path, tuple[Any, ...]]:
    return {photo.path: tag_of(photo) for photo in store.query(Query()) if photo.rank is not None}


def skip_on_a_server(store: Store) -> None:
    if store.location.url is not None:
        pytest.skip("on a server the changes of the last minute come again")


def test_each_change_comes_once_and_nothing_while_nothing_changes(store: Store) -> None:
    skip_on_a_server(store)
    model_id, follower = register(store), Follower()
    store.tags.save_batch(model_id=model_id, tagged=[stored(path) for path in PATHS], failures=[failure("/p/x.jpg")])
    assert follower.follow(store) == len(PATHS)
    assert follower.follow(store) == 0
    store.tags.save_batch(model_id=model_id, tagged=[stored(PATHS[0], BEAGLE)])
    store.tags.set_human(Path(PATHS[1]), superclass="fish")
    assert follower.follow(store) == 2
    assert follower.follow(store) == 0
    assert follower.tags == all_tags(store)


def test_undone_reviews_copies_and_lost_tags_are_changes(store: Store) -> None:
    model_id, follower = register(store), Follower()
    store.tags.save_batch(model_id=model_id, tagged=[stored(path) for path in PATHS])
    known = store.photos.find(Path(PATHS[0]))
    assert known is not None
    review = store.reviews.save(Review(photo_id=known.id, superclass="fish"))
    follower.follow(store)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/copy.jpg", content=PATHS[0])])
    assert follower.follow(store) >= 1
    assert follower.tags[Path("/copy.jpg")][0] == "fish"
    store.reviews.undo(review)
    follower.follow(store)
    assert follower.tags == all_tags(store)
    store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure(PATHS[2], content="other")])
    store.photos.mark_missing([known.id + 2])
    follower.follow(store)
    assert Path(PATHS[2]) not in follower.tags
    assert follower.tags == all_tags(store)


def test_pages_carry_positions_to_go_on_from(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_on_a_server(store)
    monkeypatch.setattr("phototag.database.database.PAGE_ROWS", 4)
    store.tags.save_batch(model_id=register(store), tagged=[stored(f"/{number:02}.jpg") for number in range(10)])
    first, second, third = store.changed_tags()
    assert [len(page.photos) for page in (first, second, third)] == [4, 4, 2]
    assert [page.photos for page in store.changed_tags(first.position)] == [second.photos, third.photos]
    assert list(store.changed_tags(third.position)) == []


@pytest.mark.parametrize("position", ["", "yesterday 5", "2026-01-01 00:00:00+00:00", "2026-01-01 x"])
def test_position_that_is_none_is_refused(store: Store, position: str) -> None:
    with pytest.raises(UsageError, match="no position"):
        list(store.changed_tags(position))


def test_older_copy_of_the_database_gives_all_tags_again(database: Path, tmp_path: Path) -> None:
    shutil.copy(database, tmp_path / "backup.db")
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.set_human(Path("/p/a.jpg"), superclass="fish")
        (*_, last) = opened.changed_tags()
    with Store.open(tmp_path / "backup.db") as backup:
        assert sum(len(page.photos) for page in backup.changed_tags(last.position)) == 2


def test_clock_that_was_a_year_ahead_is_not_followed_for_a_year(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    with Store.open(database) as opened, opened.writing("tag"):
        for ahead in (timedelta(days=365), timedelta(hours=2), timedelta()):
            monkeypatch.setattr("phototag.database.database.utc_now", lambda ahead=ahead: now + ahead)
            opened.tags.set_human(Path("/p/a.jpg"), superclass="fish")
        (row,) = opened.query(Query(superclass="fish"))
    assert row.tagged_at is not None
    assert timedelta(hours=2) < row.tagged_at - now < timedelta(hours=3)


# ---- any writes in any order


ACTIONS = st.one_of(
    st.tuples(st.just("tag"), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 5), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("retag"), st.integers(0, 5), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("review"), st.integers(0, 5), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("undo"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("human"), st.integers(0, 5), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("missing"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("seen"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("follow"), st.integers(0, 3), st.just(0), st.just(0)),
    st.tuples(st.just("clock"), st.integers(-5, 5), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0), st.just(0)),
)


class Session:
    """One process after another that writes to a database, with a clock that may be set back."""

    def __init__(self, path: Path) -> None:
        self.path, self.hours, self.reviews = path, 0, [0]
        self.start()

    def start(self) -> None:
        """Open the database, as a run of a command does."""
        self.store = Store.open(self.path)
        self.right = self.store.writing("tag")
        self.right.__enter__()
        self.model_id = register(self.store)
        self.run = self.store.runs.begin("tag", model_id=self.model_id, device=None, runtime=None)

    def end(self) -> None:
        """End the run."""
        self.store.runs.finish(self.run, {})
        self.right.__exit__(None, None, None)
        self.store.close()

    def act(self, what: str, one: int, two: int, three: int, follower: Follower) -> None:
        store, path = self.store, PATHS[one % len(PATHS)]
        known = store.photos.find(Path(path))
        tag: Tag = TAGS[three]
        if what == "tag":
            store.tags.save_batch(model_id=self.model_id, tagged=[stored(path, tag, content=f"content {two}")])
        elif what == "fail":
            store.tags.save_batch(
                model_id=self.model_id, tagged=[], failures=[failure(path, content=f"content {two}" if two else None)]
            )
        elif what == "follow":
            follower.follow(store, pages=one)
        elif what == "clock":
            self.hours = max(-11, min(11, self.hours + one))
        elif what == "restart":
            self.end()
            self.start()
        elif known is None:
            return
        elif what == "retag":
            store.tags.save(model_id=self.model_id, decided=[(known.id, TAGS[two])])
        elif what == "review" and known.content_hash is not None:
            self.reviews.append(store.reviews.save(Review(photo_id=known.id, superclass=("bird", None)[three])))
        elif what == "undo":
            self._undo(self.reviews[one % len(self.reviews)])
        elif what == "human":
            store.tags.set_human(Path(path), superclass=("fish", None)[three])
        elif what == "missing":
            store.photos.mark_missing([known.id])
        elif what == "seen":
            store.photos.mark_seen([known.id])

    def _undo(self, review_id: int) -> None:
        try:
            self.store.reviews.undo(review_id)
        except UsageError:
            return  # undone already, or replaced


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_follower_that_forgets_and_a_clock_that_is_set_back_lose_no_change(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int, int]]
) -> None:
    follower, minutes = Follower(), iter(range(1_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phototag.database.database.PAGE_ROWS", 2)
        patch.setattr("phototag.store.photos.CHUNK_ROWS", 2)
        session: Session | None = None
        patch.setattr(
            "phototag.database.database.utc_now",
            lambda: START + timedelta(hours=session.hours if session else 0, minutes=next(minutes)),
        )
        session = Session(tmp_path_factory.mktemp("changes") / "photos.db")
        try:
            for action in actions:
                session.act(*action, follower)
            follower.follow(session.store)
            assert follower.tags == all_tags(session.store)
            session.act("tag", 1, 1, 1, follower)
            follower.follow(session.store)
            assert follower.tags == all_tags(session.store)
        finally:
            session.end()
