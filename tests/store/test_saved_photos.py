"""The store: what is saved comes back, a human's word stays, and whatever goes wrong leaves an intact database."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.errors import LockedError, StoreError, UsageError
from phototag.records import Failure, FailureKind, PhotoState, Rank, Source, Tag
from phototag.store import HEAD, Query, ScoredContent, SortKey, Store, StoredTag, backup, check, engine, info, pending
from phototag.store import photos as photo_rows
from phototag.store.engine import driver_connection
from phototag.store.location import parse
from phototag.store.lock import Role, holder_of
from tests.support.commands import run_python
from tests.support.stored_photos import (
    BEAGLE,
    ROOSTER,
    SOME_BIRD,
    STRANGE,
    TAXONOMY,
    digest,
    failure,
    paths,
    photo,
    register,
    stored,
)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store that may be written to, on disk and in memory."""
    location = "sqlite://" if request.param == "memory" else tmp_path / "photos.db"
    with Store.open(location) as opened, opened.writing("tag"):
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with two tagged photos and one unreadable one."""
    path = tmp_path / "photos.db"
    with Store.open(path) as opened, opened.writing("tag"):
        model_id = register(opened)
        opened.save_batch(
            model_id=model_id,
            tagged=[stored("/p/a.jpg"), stored("/p/b.jpg", BEAGLE)],
            failures=[failure("/p/c.jpg")],
        )
    return path


# ---- what is saved comes back


def test_tagged_photo_comes_back_as_saved(store: Store) -> None:
    before = datetime.now(UTC)
    store.save_batch(model_id=register(store), tagged=[stored("/p/a.jpg", BEAGLE)])
    (row,) = store.query(Query())
    assert row.path == Path("/p/a.jpg")
    assert (row.superclass, row.subclass, row.rank) == ("dog", "beagle", Rank.SUBCLASS)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (0.95, 0.6, 0.3)
    assert (row.source, row.model, row.state, row.error) == (Source.MODEL, "sample", PhotoState.OK, None)
    assert row.tagged_at is not None
    assert before <= row.tagged_at <= datetime.now(UTC)
    assert row.tagged_at.utcoffset() == timedelta(0)


def test_known_photo_keeps_stat_values_that_do_not_fit_a_signed_column(store: Store) -> None:
    item = stored("/p/a.jpg", inode=2**64 - 1, modified_ns=-5, changed_ns=2**63 + 7, size_bytes=2**40)
    store.save_batch(model_id=register(store), tagged=[item])
    (known,) = store.known_photos([Path("/p")])
    assert (known.inode, known.modified_ns, known.size_bytes) == (2**64 - 1, -5, 2**40)
    assert known.matches(item.photo)
    assert not known.matches(photo("/p/a.jpg", inode=2**64 - 1))
    assert known.content_hash == item.content_hash
    assert (known.state, known.error_kind, known.attempts) == (PhotoState.OK, None, 0)
    assert known.tag_source is Source.MODEL


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    """One store in memory for the laws, which use it for every example."""
    with Store.open("sqlite://") as opened, opened.writing("tag"):
        register(opened)
        yield opened


def forget(store: Store) -> None:
    with store._write() as connection:
        connection.exec_driver_sql("DELETE FROM photos")


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
@settings(max_examples=80, deadline=None)
def test_any_byte_path_comes_back(shared: Store, name: bytes) -> None:
    forget(shared)
    item = stored(b"/" + name)
    shared.save_batch(model_id=1, tagged=[item])
    (row,) = shared.query(Query())
    assert row.path == item.photo.path
    known = shared.find(item.photo.path)
    assert known is not None
    assert known.path == item.photo.path
    assert known.path_bytes == os.fsencode(item.photo.path)


PIECES = st.sampled_from(["a", "b", "a-", "a0", "a.jpg", "%", "_", "A", "é", "\udcff"])
TREES = st.lists(PIECES, max_size=3).map(lambda parts: Path("/", *parts))


@given(st.sets(TREES, max_size=12), TREES)
@settings(max_examples=80, deadline=None)
def test_under_means_path_wise_relative(shared: Store, files: set[Path], root: Path) -> None:
    forget(shared)
    shared.save_batch(model_id=1, tagged=[stored(os.fsencode(path)) for path in files])
    wanted = sorted((path for path in files if path.is_relative_to(root)), key=os.fsencode)
    assert [row.path for row in shared.query(Query(under=root))] == wanted
    assert shared.count(Query(under=root)) == len(wanted)


@given(st.sets(TREES, max_size=12), st.lists(TREES, max_size=4), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_known_photos_come_once_and_in_byte_order(
    shared: Store, files: set[Path], roots: list[Path], page_rows: int
) -> None:
    forget(shared)
    shared.save_batch(model_id=1, tagged=[stored(os.fsencode(path)) for path in files])
    wanted = sorted(os.fsencode(path) for path in files if any(path.is_relative_to(root) for root in roots))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_rows, "PAGE_ROWS", page_rows)
        assert [known.path_bytes for known in shared.known_photos(roots)] == wanted


def test_sibling_with_the_same_beginning_is_not_under_a_folder(store: Store) -> None:
    names = ["/a/b", "/a/b/1.jpg", "/a/b-c.jpg", "/a/bc/2.jpg", "/a/b%/3.jpg", "/A/b/4.jpg"]
    store.save_batch(model_id=register(store), tagged=[stored(name) for name in names])
    assert paths(store, Query(under=Path("/a/b"))) == ["/a/b", "/a/b/1.jpg"]
    assert len(list(store.known_photos([Path("/")]))) == len(names)


def test_large_batch_is_saved_whole(store: Store) -> None:
    items = [stored(f"/p/{number:05}.jpg") for number in range(1300)]
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=items)
    store.save_batch(model_id=model_id, tagged=items)
    assert store.count(Query()) == 1300
    assert len(store.predictions_for(model_id, [item.content_hash for item in items])) == 1300


def test_path_that_comes_twice_in_a_batch_counts_once(store: Store) -> None:
    model_id = register(store)
    items = [stored("/p/a.jpg", ROOSTER), stored("/p/a.jpg", BEAGLE)]
    store.save_batch(model_id=model_id, tagged=items, failures=[failure("/p/a.jpg")])
    (row,) = store.query(Query())
    assert (row.subclass, row.state) == ("beagle", PhotoState.OK)


def test_empty_batch_is_no_error(store: Store) -> None:
    store.save_batch(model_id=register(store), tagged=[], failures=[])
    assert store.count(Query()) == 0


def test_relative_path_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="absolute"):
        store.save_batch(model_id=register(store), tagged=[stored("a.jpg")])


def test_retagging_with_another_model_replaces_the_tag_and_keeps_both_predictions(store: Store) -> None:
    first, second = register(store, "first"), register(store, "second")
    store.save_batch(model_id=first, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.save_batch(model_id=second, tagged=[stored("/p/a.jpg", BEAGLE)])
    (row,) = store.query(Query())
    assert (row.subclass, row.model) == ("beagle", "second")
    wanted = {digest("/p/a.jpg"): b"scores"}
    assert store.predictions_for(first, [digest("/p/a.jpg")]) == wanted
    assert store.predictions_for(second, [digest("/p/a.jpg"), digest("other")]) == wanted


def test_model_is_registered_once_and_takes_the_new_name(store: Store) -> None:
    model_hash = "ab" * 32
    ids = [
        store.register_model(hash=model_hash, name=name, backbone="b", taxonomy=TAXONOMY, metrics={})
        for name in ("old", "new")
    ]
    assert ids[0] == ids[1]
    assert [model.name for model in store.models()] == ["new"]


# ---- failures, missing photos, changed photos


def test_failure_counts_attempts_and_success_clears_them(store: Store) -> None:
    model_id = register(store)
    for attempts in (1, 2):
        store.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg")])
        known = store.find(Path("/p/a.jpg"))
        assert known is not None
        assert (known.state, known.error_kind, known.attempts) == (
            PhotoState.UNREADABLE,
            FailureKind.CORRUPT,
            attempts,
        )
    (row,) = store.query(Query(state=PhotoState.UNREADABLE))
    assert (row.error, row.superclass, row.rank, row.tagged_at) == ("bad marker", None, None, None)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")])
    known = store.find(Path("/p/a.jpg"))
    assert known is not None
    assert (known.state, known.error_kind, known.attempts) == (PhotoState.OK, None, 0)
    assert next(iter(store.query(Query()))).error is None


def test_failure_of_another_content_gets_its_full_number_of_attempts(store: Store) -> None:
    model_id = register(store)
    for _ in range(3):
        store.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="one")])
    store.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="two")])
    known = store.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.attempts == 1


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (failure("/p/a.jpg"), True),
        (failure("/p/a.jpg", content="/p/a.jpg"), True),
        (failure("/p/a.jpg", content="other"), False),
        (failure("/p/a.jpg", size_bytes=0), False),
    ],
    ids=["unknown content", "same content", "other content", "other size"],
)
def test_failure_takes_the_models_tag_only_when_the_content_changed(store: Store, failed: Failure, kept: bool) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")])
    store.save_batch(model_id=model_id, tagged=[], failures=[failed])
    known = store.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.state is PhotoState.UNREADABLE
    assert (known.tag_source is Source.MODEL) is kept
    assert (known.content_hash == digest("/p/a.jpg")) is kept


def test_reason_that_quotes_a_name_that_is_not_utf8_is_saved(store: Store) -> None:
    item = Failure(photo(b"/p/\xff.jpg"), FailureKind.PERMISSION, "denied: '/p/\udcff.jpg'")
    store.save_batch(model_id=register(store), tagged=[], failures=[item])
    (row,) = store.query(Query())
    assert row.error == "denied: '/p/\ufffd.jpg'"


def test_missing_photo_keeps_its_tag_and_comes_back(store: Store) -> None:
    store.save_batch(model_id=register(store), tagged=[stored("/p/a.jpg")], failures=[failure("/p/b.jpg")])
    known = list(store.known_photos([Path("/p")]))
    store.mark_missing([item.id for item in known])
    assert paths(store, Query(state=PhotoState.MISSING, subclass="rooster")) == ["/p/a.jpg"]
    store.mark_seen([item.id for item in known], datetime.now(UTC))
    states = [item.state for item in store.known_photos([Path("/p")])]
    assert states == [PhotoState.OK, PhotoState.UNREADABLE]


# ---- a human's word


def test_human_tag_replaces_the_models_and_is_never_replaced_by_one(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", BEAGLE, content="edited")])
    (row,) = store.query(Query())
    assert (row.superclass, row.subclass, row.source, row.model) == ("bird", "hawk", Source.HUMAN, None)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (1.0, 1.0, 0.0)
    known = store.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.content_hash == digest("edited")
    assert store.predictions_for(model_id, [digest("edited")]) == {digest("edited"): b"scores"}


def test_tags_decided_anew_replace_the_models_and_not_the_humans(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg"), stored("/p/b.jpg")], failures=[failure("/p/c.jpg")])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    ids = [known.id for known in store.known_photos([Path("/p")])]
    other = register(store, "other")
    store.save_tags(model_id=other, tags=[(photo_id, SOME_BIRD) for photo_id in ids])
    rows = [(row.superclass, row.subclass, row.model) for row in store.query(Query())]
    assert rows == [("bird", "hawk", None), ("bird", None, "other"), ("bird", None, "other")]
    store.save_tags(model_id=other, tags=[])
    with pytest.raises(StoreError, match="refused a row"):
        store.save_tags(model_id=other, tags=[(ids[1], ROOSTER), (12345, ROOSTER)])
    assert store.count(Query(subclass="rooster")) == 0


def test_human_may_name_less_and_change_their_mind(store: Store) -> None:
    store.save_batch(model_id=register(store), tagged=[], failures=[failure("/p/a.jpg")])
    store.set_human_tag(Path("/p/a.jpg"), superclass=None)
    assert next(iter(store.query(Query(novel=True)))).rank is Rank.NONE
    store.set_human_tag(Path("/p/a.jpg"), superclass="fish")
    (row,) = store.query(Query(source=Source.HUMAN))
    assert (row.superclass, row.subclass, row.rank, row.novelty) == ("fish", None, Rank.SUPERCLASS, 1.0)


def test_human_tag_needs_a_known_photo_and_clean_labels(store: Store) -> None:
    with pytest.raises(StoreError, match=r"/p/x\.jpg: not in the database .* run: phototag tag"):
        store.set_human_tag(Path("/p/x.jpg"), superclass="bird")
    with pytest.raises(UsageError, match="needs its superclass"):
        store.set_human_tag(Path("/p/x.jpg"), superclass=None, subclass="hawk")
    with pytest.raises(UsageError, match="slash"):
        store.set_human_tag(Path("/p/x.jpg"), superclass="bird/hawk")


def test_moved_photo_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    moved = [stored("/new/a.jpg", ROOSTER, content="/p/a.jpg"), stored("/new/b.jpg", ROOSTER)]
    store.save_batch(model_id=model_id, tagged=moved)
    rows = {str(row.path): (row.subclass, row.source) for row in store.query(Query(under=Path("/new")))}
    assert rows == {"/new/a.jpg": ("hawk", Source.HUMAN), "/new/b.jpg": ("rooster", Source.MODEL)}


def test_photo_that_was_seen_half_copied_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")], failures=[failure("/new/a.jpg", content="half")])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.save_batch(model_id=model_id, tagged=[stored("/new/a.jpg", content="/p/a.jpg")])
    (row,) = store.query(Query(under=Path("/new")))
    assert (row.subclass, row.source) == ("hawk", Source.HUMAN)


STEPS = st.lists(
    st.tuples(st.sampled_from(["tag", "fail", "missing", "seen", "other model"]), st.sampled_from("xyz")),
    max_size=12,
)


@given(STEPS, STEPS)
@settings(max_examples=40, deadline=None)
def test_human_tag_survives_whatever_comes(
    shared: Store, before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    forget(shared)
    other = register(shared, "other")
    path = "/p/a.jpg"

    def go(steps: Sequence[tuple[str, str]]) -> None:
        for what, content in steps:
            known = shared.find(Path(path))
            if what == "fail":
                shared.save_batch(model_id=1, tagged=[], failures=[failure(path, content=content)])
            elif what in ("tag", "other model"):
                item = stored(path, BEAGLE, content=content)
                shared.save_batch(model_id=1 if what == "tag" else other, tagged=[item])
            elif known is not None and what == "missing":
                shared.mark_missing([known.id])
            elif known is not None:
                shared.mark_seen([known.id])

    go(before)
    shared.save_batch(model_id=1, tagged=[stored(path, ROOSTER, content="x")])
    shared.set_human_tag(Path(path), superclass="bird", subclass="hawk")
    go(after)
    (row,) = shared.query(Query())
    assert (row.superclass, row.subclass, row.source) == ("bird", "hawk", Source.HUMAN)


# ---- queries


@pytest.fixture
def library(store: Store) -> Store:
    """Four tagged photos and one unreadable one."""
    store.save_batch(
        model_id=register(store),
        tagged=[
            stored("/p/rooster.jpg", ROOSTER),
            stored("/p/beagle.jpg", BEAGLE),
            stored("/p/bird.jpg", SOME_BIRD),
            stored("/p/strange.jpg", STRANGE),
        ],
        failures=[failure("/p/broken.jpg")],
    )
    return store


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(), ["beagle", "bird", "broken", "rooster", "strange"]),
        (Query(superclass="bird"), ["bird", "rooster"]),
        (Query(subclass="rooster"), ["rooster"]),
        (Query(subclass="bird/rooster"), ["rooster"]),
        (Query(subclass="dog/rooster"), []),
        (Query(novel=True), ["bird", "strange"]),
        (Query(min_score=0.65), ["bird", "rooster"]),
        (Query(min_score=0.3, novel=True), ["bird", "strange"]),
        (Query(state=PhotoState.UNREADABLE), ["broken"]),
        (Query(source=Source.MODEL, limit=2), ["beagle", "bird"]),
        (Query(source=Source.HUMAN), []),
        (Query(limit=0), []),
        (Query(superclass="b%"), []),
        (Query(sort=SortKey.NOVELTY), ["rooster", "beagle", "bird", "strange", "broken"]),
        (Query(sort=SortKey.NOVELTY, descending=True), ["strange", "bird", "beagle", "rooster", "broken"]),
        (Query(sort=SortKey.SUPERCLASS_SCORE, limit=1, descending=True), ["beagle"]),
        (Query(sort=SortKey.SUBCLASS_SCORE, limit=1), ["strange"]),
        (Query(sort=SortKey.TAGGED), ["beagle", "bird", "rooster", "strange", "broken"]),
        (Query(sort=SortKey.PATH, descending=True, limit=2), ["strange", "rooster"]),
        (Query(model="sample", superclass="dog"), ["beagle"]),
        (Query(model=hashlib.sha256(b"sample").hexdigest()[:8].upper(), superclass="dog"), ["beagle"]),
        (Query(model=hashlib.sha256(b"sample").hexdigest()[:7]), []),
        (Query(model="%%%%%%%%"), []),
        (Query(since=datetime(2020, 1, 1, tzinfo=UTC), superclass="dog"), ["beagle"]),
        (Query(since=datetime(9000, 1, 1, tzinfo=UTC)), []),
    ],
    ids=str,
)
def test_query_finds(library: Store, query: Query, names: list[str]) -> None:
    assert [row.path.stem for row in library.query(query)] == names
    if query.limit is None:
        assert library.count(query) == len(names)


def test_since_compares_moments_and_not_clock_readings(library: Store) -> None:
    (row,) = library.query(Query(superclass="dog"))
    assert row.tagged_at is not None
    ahead = row.tagged_at.astimezone(tz=datetime.now().astimezone().tzinfo)
    assert library.count(Query(superclass="dog", since=ahead)) == 1
    assert library.count(Query(superclass="dog", since=ahead + timedelta(microseconds=1))) == 0


def test_count_does_not_know_the_limit(library: Store) -> None:
    assert library.count(Query(limit=1)) == 5


@pytest.mark.parametrize(
    "wrong",
    [{"min_score": 1.5}, {"min_score": float("nan")}, {"limit": -1}, {"since": datetime(2025, 1, 1)}],
    ids=str,
)
def test_query_refuses_what_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Query(**wrong)  # type: ignore[arg-type]


def test_query_that_is_left_half_way_holds_nothing_open(database: Path) -> None:
    with Store.open(database) as opened:
        rows = opened.query(Query())
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        with opened.writing("tag"):
            opened.mark_missing([1])
        assert opened.count(Query(state=PhotoState.MISSING)) == 1


def test_reader_sees_the_last_finished_batch_while_another_is_written(database: Path) -> None:
    with Store.open(database) as writer, Store.open(database) as reader, writer.writing("tag"):
        with writer._write() as connection:
            connection.exec_driver_sql("DELETE FROM photos")
            assert reader.count(Query()) == 3
        assert reader.count(Query()) == 0


def test_row_that_phototag_did_not_write_is_an_error_and_no_crash(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tags SET tagged_at = 'yesterday'")
        connection.commit()
    with Store.open(database) as opened, pytest.raises(StoreError, match="phototag did not write"):
        list(opened.query(Query()))
    assert any("phototag did not write" in problem for problem in check(database).problems)


def test_closed_store_is_not_used_by_mistake(database: Path) -> None:
    opened = Store.open(database)
    opened.close()
    with pytest.raises(StoreError, match="this store is closed"):
        opened.count(Query())
    with pytest.raises(StoreError, match="this store is closed"), opened.writing("tag"):
        pass


def test_other_program_that_keeps_the_database_locked_is_reported(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_SECONDS", 0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with Store.open(database) as opened, opened.writing("tag"):
            with pytest.raises(LockedError, match="another program has kept it locked"):
                opened.mark_missing([1])
            browser.execute("ROLLBACK")
            opened.mark_missing([1])
            assert opened.count(Query(state=PhotoState.MISSING)) == 1


def test_database_that_vanishes_is_reported(database: Path) -> None:
    with Store.open(database) as opened:
        database.unlink()
        with pytest.raises(StoreError, match="does not exist"):
            opened.count(Query())


# ---- writing, and who may


def test_writing_needs_the_lock(tmp_path: Path) -> None:
    with Store.open(tmp_path / "photos.db") as opened:
        for write in (
            lambda: register(opened),
            lambda: opened.save_batch(model_id=1, tagged=[]),
            lambda: opened.mark_missing([1]),
            lambda: opened.begin_run("tag", model_id=None, device=None, runtime=None),
        ):
            with pytest.raises(StoreError, match="lock for writing is not held"):
                write()


HOLD = """
import sys
from phototag.store import Store
with Store.open(sys.argv[1]) as store, store.writing("phototag tag"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_second_writer_hears_who_writes_and_a_killed_one_blocks_nobody(database: Path) -> None:
    holder = run_python(HOLD, database, stdin=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with Store.open(database) as opened:
            assert opened.count(Query()) == 3
            with pytest.raises(LockedError) as caught, opened.writing("watch"):
                pass
            text = str(caught.value)
            assert text.startswith(f"{database}: 'phototag tag' (process {holder.pid} on ")
            assert text.endswith("is writing to this database; wait for it to finish, or stop it")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with opened.writing("watch"):
                opened.mark_missing([1])
    assert not list(database.parent.glob("*.lock.json"))


TAGGING = HOLD.replace("store.writing", "store.tagging").replace("phototag tag", "phototag watch")


def test_tagger_that_runs_lets_others_write_but_no_second_tagger_in(database: Path) -> None:
    holder = run_python(TAGGING, database, stdin=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        location = parse(database)
        who = holder_of(location, Role.TAG)
        assert who is not None
        assert (who.pid, who.command) == (holder.pid, "watch")
        assert abs(datetime.now(UTC) - who.since) < timedelta(minutes=10)
        assert holder_of(location, Role.WRITE) is None
        with Store.open(database) as opened:
            with opened.writing("phototag audit"):
                opened.mark_missing([1])
                writer = holder_of(location, Role.WRITE)
                assert writer is not None
                assert (writer.pid, writer.command) == (os.getpid(), "audit")
            with pytest.raises(LockedError, match=rf"'phototag watch' \(process {holder.pid} on "):
                opened.tagging("phototag tag").__enter__()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert holder_of(location, Role.TAG) is None, "its note is still there, and tells nothing any more"
            with opened.tagging("phototag tag"), opened.writing("phototag tag"):
                opened.mark_missing([2])
    assert holder_of(location, Role.TAG) is None
    assert not list(database.parent.glob("*.lock*.json"))


def test_asking_who_holds_a_lock_makes_nothing_and_frees_nothing(database: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for role in Role:
        assert holder_of(parse(empty / "photos.db"), role) is None
        assert holder_of(parse("sqlite://"), role) is None
    assert list(empty.iterdir()) == []
    with Store.open(database) as opened, opened.writing("phototag tag"):
        for _ in range(3):
            assert holder_of(parse(database), Role.WRITE) is not None
        opened.mark_missing([1])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b'{"pid": 1, "host": "h", "command": "c", "since": "soon"}'),
        b'{"pid": Infinity, "host": "h", "command": "c", "since": "2026-01-01"}',
    ],
)
def test_holder_whose_note_cannot_be_understood_is_unknown(database: Path, content: bytes) -> None:
    with Store.open(database) as opened, opened.tagging("watch"):
        (note,) = database.parent.glob("*.tag.json")
        note.write_bytes(content)
        assert holder_of(parse(database), Role.TAG) is None
        with pytest.raises(LockedError, match="another process"):
            opened.tagging("tag").__enter__()


def test_holder_cannot_steer_a_terminal(database: Path) -> None:
    with Store.open(database) as opened, opened.tagging("phototag \x1b[2Jwatch\n" + "x" * 500):
        who = holder_of(parse(database), Role.TAG)
    assert who is not None
    assert who.command.isprintable() and len(who.command) <= 80


def test_tagging_in_memory_needs_no_lock() -> None:
    with Store.open("sqlite://") as one, Store.open("sqlite://") as other, one.tagging("tag"), other.tagging("tag"):
        pass


# ---- notes


@pytest.mark.parametrize("value", [None, 0, "text", [], ["/p/caf\udce9", "🦎", "\n"], {"a": {"b": [1.5, True]}}])
def test_note_comes_back_as_written(database: Path, value: object) -> None:
    with Store.open(database) as opened:
        assert opened.read_note("mounts") is None
        opened.write_note("mounts", ["before"])
        opened.write_note("mounts", value)
        opened.write_note("watch", "another")
        assert opened.read_note("mounts") == value
    with Store.open(database) as again:
        assert (again.read_note("mounts"), again.read_note("watch")) == (value, "another")
    assert not [path.name for path in database.parent.iterdir() if str(os.getpid()) in path.name]


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b'"cut'])
def test_damaged_note_is_none(database: Path, damaged: bytes) -> None:
    with Store.open(database) as opened:
        opened.write_note("mounts", ["/mnt"])
        (file,) = database.parent.glob("*mounts*")
        file.write_bytes(damaged)
        assert opened.read_note("mounts") is None
        opened.write_note("mounts", ["/mnt"])
        assert opened.read_note("mounts") == ["/mnt"]


def test_note_that_cannot_be_written_stops_nothing(database: Path) -> None:
    with Store.open(database) as opened:
        (database.parent / "photos.db.mounts.json").mkdir()  # as good as a disk that is full, and works for root
        opened.write_note("mounts", ["/mnt"])
        assert opened.read_note("mounts") is None
    assert {path.name for path in database.parent.glob("*mounts*")} == {"photos.db.mounts.json"}


def test_notes_of_a_database_in_memory_are_nobodys() -> None:
    with Store.open("sqlite://") as opened:
        opened.write_note("mounts", ["/mnt"])
        assert opened.read_note("mounts") is None


def test_notes_lie_beside_the_database_and_not_beside_a_link_to_it(database: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(database)
    with Store.open(database) as one, Store.open(link) as other:
        other.write_note("mounts", ["/mnt"])
        assert one.read_note("mounts") == ["/mnt"]


# ---- what is known of single files and contents


def test_photos_at_exactly_these_paths_are_known_once_and_in_byte_order(store: Store) -> None:
    names = [f"/p/{number:04}.jpg" for number in range(1200)] + ["/p/a", "/p/a/b.jpg", "/p/a-b.jpg", "/p/caf\udce9.jpg"]
    store.save_batch(model_id=register(store), tagged=[stored(name) for name in names])
    assert [row.path for row in store.known_at([Path("/p/a"), Path("/p/none"), Path("/p")])] == [Path("/p/a")]
    asked = [Path(name) for name in reversed(names)]
    keys = [row.path_bytes for row in store.known_at([*asked, *asked])]
    assert keys == sorted(os.fsencode(name) for name in names)
    assert store.known_at([]) == []


def test_scores_of_a_content_are_found_under_any_name_with_its_size(store: Store) -> None:
    model_id, other = register(store), register(store, "other")
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", content="x"), stored("/p/b.jpg", content="x")])
    store.save_batch(model_id=other, tagged=[stored("/p/c.jpg", content="y")])
    assert store.scored_content(model_id, digest("x")) == ScoredContent(b"scores", 40, 30)
    assert store.scored_content(model_id, digest("y")) is None
    assert store.scored_content(other, digest("x")) is None
    assert set(store.scored_hashes(model_id)) == {digest("x")}
    store.mark_missing([row.id for row in store.known_photos([Path("/p")])])
    assert store.scored_content(model_id, digest("x")) is not None, "a moved photo needs no network"


def test_content_does_not_take_the_size_of_what_replaced_it(store: Store) -> None:
    """Under a name one model may have seen another content than is there now."""
    first, second = register(store), register(store, "other")
    store.save_batch(model_id=first, tagged=[stored("/p/a.jpg", content="old")])
    new = StoredTag(photo("/p/a.jpg"), digest("new"), width=999, height=999, scores=b"others", tag=ROOSTER)
    store.save_batch(model_id=second, tagged=[new])
    assert store.scored_content(first, digest("old")) is None
    assert store.scored_content(second, digest("new")) == ScoredContent(b"others", 999, 999)
    store.save_batch(model_id=first, tagged=[stored("/p/b.jpg", content="old")])
    assert store.scored_content(first, digest("old")) == ScoredContent(b"scores", 40, 30)


def test_content_of_a_photo_that_changed_and_failed_is_scored_again(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", content="x")])
    store.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="broken")])
    assert store.scored_content(model_id, digest("x")) is None
    store.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/b.jpg", content="x")])
    assert store.scored_content(model_id, digest("x")) is None


def test_hashes_are_streamed_while_others_are_saved(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.save_batch(model_id=1, tagged=[stored(f"/many/{number}.jpg") for number in range(5000)])
        hashes = opened.scored_hashes(1)
        next(hashes)
        opened.save_batch(model_id=1, tagged=[stored("/many/later.jpg")])
        assert sum(1 for _ in hashes) == 5001


def test_two_stores_of_one_process_do_not_both_write(database: Path) -> None:
    link = database.with_name("link.db")
    link.symlink_to(database)
    with (
        Store.open(database) as first,
        Store.open(link) as second,
        first.writing("tag"),
        pytest.raises(LockedError, match="'phototag tag'"),
        second.writing("watch"),
    ):
        pass


def test_writing_may_be_entered_again_and_ends_with_the_outermost(database: Path) -> None:
    with Store.open(database) as opened:
        with opened.writing("watch"):
            with opened.writing("tag"):
                opened.mark_missing([1])
            opened.mark_missing([2])
        with pytest.raises(StoreError, match="not held"):
            opened.mark_missing([3])


def test_threads_share_one_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "photos.db") as opened, opened.writing("tag"):
        model_id = register(opened)
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(5):
                    opened.save_batch(model_id=model_id, tagged=[stored(f"/p/{number}-{step}.jpg")])
                    opened.count(Query())
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert opened.count(Query()) == 20


def test_forked_child_is_refused_the_parents_connection(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened._pid += 1  # as seen from a child
        with pytest.raises(StoreError, match="opened in another process"):
            opened.mark_missing([1])


def test_writing_transaction_takes_the_write_lock_before_it_reads(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"), closing(sqlite3.connect(database, timeout=0)) as other:
        with opened._write() as connection:
            connection.exec_driver_sql("SELECT 1")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        assert opened.count(Query()) == 3


def test_human_correction_is_written_through_to_the_disk(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("web"):
        assert opened._writer is not None
        raw = driver_connection(opened._writer)
        seen: list[str] = []
        raw.set_trace_callback(seen.append)
        opened.set_human_tag(Path("/p/a.jpg"), superclass="bird")
        raw.set_trace_callback(None)
        assert seen[0] == "PRAGMA synchronous=FULL"
        assert seen.index("COMMIT") < seen.index("PRAGMA synchronous=NORMAL")
        assert raw.execute("PRAGMA synchronous").fetchone() == (1,)


# ---- disasters


KEEP_SAVING = """
import sys
from phototag.store import Store
from tests.support.stored_photos import register, stored
with Store.open(sys.argv[1]) as store, store.writing("tag"):
    model_id = register(store)
    for batch in range(100000):
        store.save_batch(model_id=model_id, tagged=[stored(f"/p/{batch}-{i}.jpg") for i in range(50)])
        print(batch, flush=True)
"""


def test_kill_during_saving_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    worker = run_python(KEEP_SAVING, path)
    with worker:
        assert worker.stdout is not None
        for _ in range(20):
            worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert check(path).problems == ()
    with Store.open(path) as opened, opened.writing("tag"):
        count = opened.count(Query())
        assert count >= 20 * 50
        assert count % 50 == 0
        opened.save_batch(model_id=1, tagged=[stored("/p/after.jpg")])


def test_full_disk_stops_with_a_clear_error_and_an_intact_database(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        assert opened._writer is not None
        raw = driver_connection(opened._writer)
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(StoreError, match="the disk is full, nothing of this batch was saved"):
            opened.save_batch(model_id=1, tagged=[stored(f"/p/{number}.jpg") for number in range(2000)])
        assert opened.count(Query()) == 3
        raw.execute("PRAGMA max_page_count=1000000")
        opened.save_batch(model_id=1, tagged=[stored("/p/more.jpg")])
        assert opened.count(Query()) == 4
    assert check(database).problems == ()


def test_failing_batch_changes_nothing(database: Path) -> None:
    broken = Tag(None, "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.1)
    with Store.open(database) as opened, opened.writing("tag"):
        with pytest.raises(StoreError, match="refused a row, nothing of it was saved"):
            opened.save_batch(model_id=1, tagged=[stored("/p/new.jpg"), stored("/p/a.jpg", broken)])
        assert opened.count(Query()) == 3


def scribble(path: Path) -> None:
    """Overwrite every page but the first."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def test_damaged_database_is_named_so(database: Path) -> None:
    scribble(database)
    with pytest.raises(StoreError, match="damaged"), Store.open(database) as opened:
        list(opened.query(Query()))
    try:
        report = check(database)
    except StoreError as error:
        assert "damaged" in str(error)
    else:
        assert any("damaged" in problem for problem in report.problems)


def use_read_only(path: Path) -> list[str]:
    """What reading and writing the database say, one line each."""
    lines = []
    with Store.open(path) as opened:
        lines.append(f"{opened.count(Query())} {len(list(opened.query(Query())))}")
        try:
            with opened.writing("tag"):
                lines.append("written")
        except StoreError as error:
            lines.append(str(error))
    lines.append(f"{sum(info(path).photos.values())} {len(check(path).problems)}")
    return lines


def as_nobody(work: Callable[[], list[str]]) -> list[str]:
    """Do `work` without root's rights, to which modes of files mean nothing."""
    import filelock  # noqa: F401 (nobody may not read it from root's home)

    if os.geteuid() != 0:
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            lines = work()
        except BaseException as error:  # noqa: BLE001
            lines = [repr(error)]
        os.write(writing, "\n".join(lines).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are a Unix thing")
def test_database_on_a_read_only_medium_can_be_queried(database: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "medium"
        place.mkdir()
        copy = place / "photos.db"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            assert target.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        copy.chmod(0o444)
        Path(folder).chmod(0o755)
        place.chmod(0o555)
        try:
            lines = as_nobody(lambda: use_read_only(copy))
        finally:
            place.chmod(0o755)
        assert lines[0] == "3 3"
        assert "cannot be written to" in lines[1]
        assert lines[2] == "3 0"
        assert list(place.iterdir()) == [copy]


# ---- backup, check, info


def test_backup_of_a_database_in_use_is_whole(database: Path, tmp_path: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.save_batch(model_id=1, tagged=[stored("/p/d.jpg")])
        made = backup(database)
        opened.save_batch(model_id=1, tagged=[stored("/p/e.jpg")])
    assert made.name.startswith(f"photos.db.{HEAD}.")
    assert made.name.endswith("Z.bak.db")
    with Store.open(made) as copy:
        assert copy.count(Query()) == 4
    assert check(made).sound
    assert not list(tmp_path.glob("*.part*"))


def test_backup_replaces_nothing_unasked(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        backup(database, target)
    assert target.read_text() == "precious"
    assert backup(database, target, overwrite=True) == target
    assert check(target).photos == 3
    with pytest.raises(StoreError, match="the database itself"):
        backup(database, database, overwrite=True)
    with pytest.raises(StoreError, match="does not exist"):
        backup(database, tmp_path / "nowhere" / "copy.db")
    folder = tmp_path / "backups"
    folder.mkdir()
    assert backup(database, folder).parent == folder


def test_check_names_what_is_wrong(database: Path) -> None:
    report = check(database)
    assert (report.sound, report.photos, report.tags, report.pending) == (True, 3, 2, 0)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tags SET superclass = 'dog' WHERE subclass = 'rooster'")
        connection.execute("DELETE FROM tags WHERE subclass = 'beagle'")
        connection.execute("UPDATE predictions SET model_id = 77 WHERE photo_id = 1")
        connection.commit()
    report = check(database)
    assert report.pending == 1
    assert len(report.problems) == 2
    assert "predictions points to a row of models that is not there" in report.problems[0]
    assert "'dog/rooster'" in report.problems[1]


def test_photos_that_wait_for_the_model_that_tagged_last_are_listed(database: Path) -> None:
    assert list(pending(database)) == []
    with Store.open(database) as opened, opened.writing("tag"):
        other = opened.register_model(hash="ff" * 32, name="new", backbone="b", taxonomy=TAXONOMY, metrics={})
        opened.begin_run("tag", model_id=other, device="cpu", runtime="torch")
        opened.set_human_tag(Path("/p/a.jpg"), superclass="bird")
    with Store.open(database) as opened:
        ok = [photo.path for photo in opened.query(Query(state=PhotoState.OK))]
    assert list(pending(database)) == [path for path in ok if path.name != "a.jpg"] != []
    assert check(database).pending == len(ok) - 1


def test_info_counts(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.set_human_tag(Path("/p/a.jpg"), superclass="bird")
        run_id = opened.begin_run("tag", model_id=1, device="cpu", runtime="openvino")
        opened.finish_run(run_id, {"tagged": 2}, "stopped by the user")
    found = info(database)
    assert found.location == str(database)
    assert found.photos == {PhotoState.OK: 2, PhotoState.UNREADABLE: 1}
    assert found.tags_by_rank == {Rank.SUBCLASS: 1, Rank.SUPERCLASS: 1}
    assert found.tags_by_source == {Source.HUMAN: 1, Source.MODEL: 1}
    assert (found.predictions, found.journal_mode, found.size_bytes) == (2, "wal", database.stat().st_size)
    assert [model.name for model in found.models] == ["sample"]
    assert found.last_run is not None
    assert (found.last_run.counts, found.last_run.error) == ({"tagged": 2}, "stopped by the user")
    assert found.last_run.finished_at is not None
