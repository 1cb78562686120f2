"""Reviews: a human's word is kept, counts while it is about what the file holds, and can be taken back exactly."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.choices import ReviewOrigin
from phototag.database import driver_connection
from phototag.errors import LockedError, StoreError, UsageError
from phototag.model.registry import open_model
from phototag.records import PhotoState, Rank, Source, Tag, TaggedPhoto
from phototag.store import Query, Review, ReviewFilter, SavedReview, ShownTag, Store, Verdict, check_database
from phototag.tagging.retagging import retag
from phototag.tagging.tagger import Tagger
from tests.support.commands import run_python, start_all
from tests.support.pictures import MakePicture
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, STRANGE, digest, failure, photo, register, stored

ALL = ReviewFilter(current=False, valid=False)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that may be written to, with four tagged photos and an unreadable one."""
    location = "sqlite://" if request.param == "memory" else tmp_path / "photos.db"
    with Store.open(location) as opened, opened.writing("audit"):
        fill(opened)
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with the same photos."""
    path = tmp_path / "photos.db"
    with Store.open(path) as opened, opened.writing("tag"):
        fill(opened)
    return path


def fill(store: Store) -> None:
    tagged = [
        stored("/p/rooster.jpg", ROOSTER),
        stored("/p/beagle.jpg", BEAGLE),
        stored("/p/bird.jpg", SOME_BIRD),
        stored("/p/strange.jpg", STRANGE),
    ]
    store.tags.save_batch(model_id=register(store), tagged=tagged, failures=[failure("/p/broken.jpg")])


def id_of(store: Store, name: str) -> int:
    known = store.photos.find(Path(name))
    assert known is not None
    return known.id


def tag_of(store: Store, name: str) -> TaggedPhoto:
    (row,) = store.query(Query(under=Path(name)))
    return row


def review(store: Store, name: str, superclass: str | None, subclass: str | None = None, **more: object) -> int:
    return store.reviews.save(
        Review(photo_id=id_of(store, name), superclass=superclass, subclass=subclass, **more)  # type: ignore[arg-type]
    )


def found(store: Store, review_id: int) -> SavedReview:
    saved = store.reviews.find(review_id)
    assert saved is not None
    return saved


# ---- saving


def test_review_becomes_the_tag_and_keeps_the_one_that_was_judged(store: Store) -> None:
    review_id = review(store, "/p/rooster.jpg", "bird", "hawk")
    row = tag_of(store, "/p/rooster.jpg")
    assert (row.superclass, row.subclass, row.source, row.model) == ("bird", "hawk", Source.HUMAN, None)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (1.0, 1.0, None)
    saved = found(store, review_id)
    assert saved.path == Path("/p/rooster.jpg")
    assert (saved.superclass, saved.subclass, saved.rank) == ("bird", "hawk", Rank.SUBCLASS)
    assert (saved.verdict, saved.origin, saved.content_hash) == (
        Verdict.SUBCLASS_WRONG,
        ReviewOrigin.REVIEW,
        digest("/p/rooster.jpg"),
    )
    assert saved.shown == ShownTag(
        superclass="bird",
        subclass="rooster",
        rank=Rank.SUBCLASS,
        superclass_score=0.9,
        subclass_score=0.8,
        model_id=1,
    )
    assert (saved.current, saved.valid, saved.undone_at, saved.state) == (True, True, None, PhotoState.OK)
    assert saved.reviewed_at == row.tagged_at
    assert list(store.reviews.find_all()) == [saved]


@pytest.mark.parametrize(
    ("name", "superclass", "subclass", "verdict"),
    [
        ("rooster", "bird", "rooster", Verdict.RIGHT),
        ("rooster", "bird", "hawk", Verdict.SUBCLASS_WRONG),
        ("rooster", "bird", None, Verdict.SUBCLASS_WRONG),
        ("rooster", "dog", "beagle", Verdict.SUPERCLASS_WRONG),
        ("rooster", None, None, Verdict.NONE),
        ("bird", "bird", None, Verdict.RIGHT),
        ("bird", "bird", "rooster", Verdict.LABEL),
        ("bird", "dog", "beagle", Verdict.SUPERCLASS_WRONG),
        ("bird", None, None, Verdict.NONE),
        ("strange", None, None, Verdict.RIGHT),
        ("strange", "fish", None, Verdict.LABEL),
    ],
)
def test_verdict_says_how_the_tag_compares(
    store: Store, name: str, superclass: str | None, subclass: str | None, verdict: Verdict
) -> None:
    assert found(store, review(store, f"/p/{name}.jpg", superclass, subclass)).verdict is verdict


def test_tag_that_was_shown_is_judged_and_not_the_one_of_now(store: Store) -> None:
    shown = ShownTag(
        superclass="dog", subclass=None, rank=Rank.SUPERCLASS, superclass_score=0.6, subclass_score=0.1, model_id=None
    )
    saved = found(store, review(store, "/p/rooster.jpg", "bird", "rooster", shown=shown))
    assert (saved.shown, saved.verdict) == (shown, Verdict.SUPERCLASS_WRONG)


def test_photo_without_a_tag_can_be_labelled(store: Store) -> None:
    store.tags.save_batch(model_id=1, tagged=[], failures=[failure("/p/half.jpg", content="half")])
    review_id = review(store, "/p/half.jpg", "dog", "beagle")
    assert (found(store, review_id).shown, found(store, review_id).verdict) == (None, Verdict.LABEL)
    store.reviews.undo(review_id)
    assert tag_of(store, "/p/half.jpg").rank is None


def test_review_that_cannot_be_one_is_refused_and_changes_nothing(store: Store) -> None:
    with pytest.raises(UsageError, match="photo 777: not in the database"):
        store.reviews.save(Review(photo_id=777, superclass="bird"))
    with pytest.raises(UsageError, match=r"broken\.jpg: was never read"):
        review(store, "/p/broken.jpg", "bird")
    with pytest.raises(UsageError, match=r"rooster\.jpg: changed since it was shown"):
        review(store, "/p/rooster.jpg", "bird", content_hash=digest("another"))
    with pytest.raises(UsageError, match="not in sample 5"):
        review(store, "/p/rooster.jpg", "bird", sample_id=5)
    with pytest.raises(UsageError, match="needs its superclass"):
        Review(photo_id=1, superclass=None, subclass="hawk")
    with pytest.raises(UsageError, match="slash"):
        Review(photo_id=1, superclass="bird/hawk")
    for token in ("", "a\nb", "x" * 500):
        with pytest.raises(UsageError, match="a token is"):
            Review(photo_id=1, superclass="bird", token=token)
    twice = [Review(photo_id=1, superclass="bird"), Review(photo_id=1, superclass="dog")]
    with pytest.raises(UsageError, match="different photos"):
        store.reviews.save_all(twice)
    assert list(store.reviews.find_all(ALL)) == []
    assert store.count(Query(source=Source.HUMAN)) == 0


def test_reviews_saved_together_are_saved_all_or_none(store: Store) -> None:
    many = [Review(photo_id=number, superclass="fish") for number in (3, 1, 2)]
    assert [found(store, number).photo_id for number in store.reviews.save_all(many)] == [3, 1, 2]
    with pytest.raises(UsageError, match="photo 777"):
        store.reviews.save_all([Review(photo_id=4, superclass="fish"), Review(photo_id=777, superclass="fish")])
    assert len(list(store.reviews.find_all(ALL))) == 3
    assert store.reviews.save_all([]) == []


def test_same_token_is_the_same_review(store: Store) -> None:
    first = review(store, "/p/rooster.jpg", "bird", "hawk", token="abc")
    assert review(store, "/p/rooster.jpg", "bird", "hawk", token="abc") == first
    assert len(list(store.reviews.find_all(ALL))) == 1
    with pytest.raises(UsageError, match="token 'abc' belongs to review 1, which says something else"):
        review(store, "/p/rooster.jpg", "dog", token="abc")
    store.reviews.undo(first)
    assert review(store, "/p/rooster.jpg", "bird", "hawk", token="abc") == first
    assert tag_of(store, "/p/rooster.jpg").source is Source.MODEL, "a message that comes late undoes no undoing"
    again = store.reviews.save_all(
        [
            Review(photo_id=id_of(store, "/p/bird.jpg"), superclass="dog", token="new"),
            Review(photo_id=id_of(store, "/p/rooster.jpg"), superclass="bird", subclass="hawk", token="abc"),
        ]
    )
    assert again == [first + 1, first]


def test_writing_needs_the_right_to(database: Path) -> None:
    with Store.open(database) as opened:
        for write in (
            lambda: opened.reviews.save(Review(photo_id=1, superclass="bird")),
            lambda: opened.reviews.undo(1),
            lambda: opened.samples.skip(1, 1),
        ):
            with pytest.raises(StoreError, match="lock for writing is not held"):
                write()


# ---- which review counts


def test_newer_review_takes_the_place_of_the_older(store: Store) -> None:
    first = review(store, "/p/rooster.jpg", "bird", "hawk")
    second = review(store, "/p/rooster.jpg", "dog", "beagle")
    assert tag_of(store, "/p/rooster.jpg").subclass == "beagle"
    assert [(saved.id, saved.current) for saved in store.reviews.find_all(ALL)] == [(first, False), (second, True)]
    assert [saved.id for saved in store.reviews.find_all()] == [second]
    shown = found(store, second).shown
    assert shown is not None
    assert (shown.subclass, shown.model_id) == ("hawk", None)


def test_reviews_are_found_by_what_they_are_of(store: Store) -> None:
    store.tags.save_batch(model_id=1, tagged=[stored("/q/rooster.jpg", content="q")])
    first = review(store, "/p/rooster.jpg", "bird", "hawk")
    second = review(store, "/q/rooster.jpg", "bird", "hawk", origin=ReviewOrigin.IMPORT)
    photo_id = id_of(store, "/q/rooster.jpg")
    for wanted, ids in (
        (ReviewFilter(), [first, second]),
        (ReviewFilter(under=Path("/q")), [second]),
        (ReviewFilter(under=Path("/p/rooster")), []),
        (ReviewFilter(origins=[ReviewOrigin.IMPORT, ReviewOrigin.NAMED]), [second]),
        (ReviewFilter(photo_id=photo_id), [second]),
        (ReviewFilter(sample_id=1), []),
    ):
        assert [saved.id for saved in store.reviews.find_all(wanted)] == ids
    assert store.reviews.find(99) is None


def test_reviews_can_be_saved_while_they_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.database.database.PAGE_ROWS", 2)
    for number in range(1, 5):
        store.reviews.save(Review(photo_id=number, superclass="fish"))
    ids = []
    for saved in store.reviews.find_all():
        ids.append(saved.photo_id)
        if saved.photo_id < 3 and saved.superclass == "fish":
            store.reviews.save(Review(photo_id=saved.photo_id, superclass="whale"))
    assert ids == [1, 2, 3, 4, 1, 2]


def test_name_that_is_not_utf8_comes_back(store: Store) -> None:
    path = Path(os.fsdecode(b"/p/caf\xe9.jpg"))
    store.tags.save_batch(model_id=1, tagged=[stored(b"/p/caf\xe9.jpg")])
    assert found(store, review(store, str(path), "bird")).path == path


# ---- what comes after a review


def test_no_model_takes_a_review_back(
    quick_model: Path, other_model: Path, make_picture: MakePicture, tmp_path: Path
) -> None:
    paths = [make_picture(tmp_path / "photos" / f"{number}.png", seed=number) for number in range(3)]
    with Store.open(tmp_path / "photos.db") as store:
        Tagger(quick_model).tag([tmp_path / "photos"], store)
        with store.writing("audit"):
            review_id = review(store, str(paths[0]), "fish", "cod")

        def kept() -> bool:
            row = tag_of(store, str(paths[0]))
            return (row.superclass, row.subclass, row.source) == ("fish", "cod", Source.HUMAN)

        Tagger(quick_model).tag([tmp_path / "photos"], store, force=True)
        assert kept()
        Tagger(other_model).tag([tmp_path / "photos"], store)
        assert kept()
        model = open_model(quick_model)
        assert retag(store, model, model.header.thresholds).human == 1
        assert kept()
        make_picture(paths[0], seed=99)
        Tagger(quick_model).tag([tmp_path / "photos"], store)
        assert kept(), "an edited photo still shows what it showed"
        assert not found(store, review_id).valid
        assert list(store.reviews.find_all()) == [], "but nobody looked at what the file holds now"


def test_review_counts_again_when_the_old_content_is_back(store: Store) -> None:
    review_id = review(store, "/p/rooster.jpg", "bird", "hawk")
    for content, valid in (("other", False), ("/p/rooster.jpg", True)):
        store.tags.save_batch(model_id=1, tagged=[stored("/p/rooster.jpg", content=content)])
        assert found(store, review_id).valid is valid
        assert bool(list(store.reviews.find_all())) is valid


def test_missing_photo_keeps_its_review(store: Store) -> None:
    review_id = review(store, "/p/rooster.jpg", "bird", "hawk")
    store.photos.mark_missing([id_of(store, "/p/rooster.jpg")])
    saved = found(store, review_id)
    assert (saved.state, saved.current, saved.valid) == (PhotoState.MISSING, True, True)


# ---- undoing


def test_undone_review_brings_back_exactly_the_tag_of_before(store: Store) -> None:
    before = tag_of(store, "/p/bird.jpg")
    first = review(store, "/p/bird.jpg", "bird", "hawk")
    between = tag_of(store, "/p/bird.jpg")
    second = review(store, "/p/bird.jpg", None)
    with pytest.raises(UsageError, match=rf"review {first} of /p/bird\.jpg: review {second} took its place; undo that"):
        store.reviews.undo(first)
    store.reviews.undo(second)
    assert tag_of(store, "/p/bird.jpg") == between
    assert [saved.id for saved in store.reviews.find_all()] == [first], "the older one counts again"
    store.reviews.undo(first)
    assert tag_of(store, "/p/bird.jpg") == before
    assert list(store.reviews.find_all()) == []
    with pytest.raises(UsageError, match=rf"review {first} of .* was undone already, at 2"):
        store.reviews.undo(first)
    with pytest.raises(UsageError, match="review 99: there is none"):
        store.reviews.undo(99)


def test_undoing_takes_nothing_back_that_a_human_said_since(store: Store) -> None:
    review_id = review(store, "/p/bird.jpg", "bird", "hawk")
    store.tags.set_human(Path("/p/bird.jpg"), superclass="fish")
    with pytest.raises(UsageError, match="tagged in another way since"):
        store.reviews.undo(review_id)
    assert tag_of(store, "/p/bird.jpg").superclass == "fish"


def test_undoing_after_the_file_changed_leaves_it_to_the_model(store: Store) -> None:
    review_id = review(store, "/p/rooster.jpg", "dog", "beagle")
    changed = stored("/p/rooster.jpg", SOME_BIRD, content="other")
    store.tags.save_batch(model_id=1, tagged=[changed])
    assert tag_of(store, "/p/rooster.jpg").subclass == "beagle"
    store.reviews.undo(review_id)
    assert tag_of(store, "/p/rooster.jpg").rank is None, "the tag of before was of another content"
    store.tags.save_batch(model_id=1, tagged=[changed])
    assert (tag_of(store, "/p/rooster.jpg").superclass, tag_of(store, "/p/rooster.jpg").source) == ("bird", "model")


def test_copy_that_took_a_review_over_follows_when_it_is_undone(store: Store) -> None:
    review_id = review(store, "/p/rooster.jpg", "dog", "beagle")
    copies = [stored(f"/new/{name}.jpg", ROOSTER, content="/p/rooster.jpg") for name in ("copy", "own")]
    store.tags.save_batch(model_id=1, tagged=copies)
    review(store, "/new/own.jpg", "fish")
    store.photos.mark_missing([id_of(store, "/p/rooster.jpg")])
    assert tag_of(store, "/new/copy.jpg").subclass == "beagle"
    store.reviews.undo(review_id)
    row = tag_of(store, "/new/copy.jpg")
    assert (row.subclass, row.source, row.model) == ("rooster", Source.MODEL, "sample")
    assert tag_of(store, "/new/own.jpg").superclass == "fish", "it has a review of its own"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["review", "undo", "model", "change", "human"]), st.sampled_from(["bird", "dog", "fish", None])
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    """One store in memory for the law below."""
    with Store.open("sqlite://") as opened, opened.writing("audit"):
        register(opened)
        yield opened


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_undoing_is_the_inverse_of_reviewing(shared: Store, steps: list[tuple[str, str | None]]) -> None:
    """Against a plain model: a stack of what every review found."""
    with shared._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM photos")
    name = "/p/a.jpg"
    shared.tags.save_batch(model_id=1, tagged=[stored(name, ROOSTER)])
    undoable: list[tuple[int, TaggedPhoto]] = []
    for what, label in steps:
        before = tag_of(shared, name)
        if what == "review":
            undoable.append((review(shared, name, label), before))
        elif what == "undo" and undoable:
            review_id, tag = undoable.pop()
            shared.reviews.undo(review_id)
            assert tag_of(shared, name) == tag
        elif what == "human":
            shared.tags.set_human(Path(name), superclass=label)
            undoable = []
        elif what == "model":
            shared.tags.save_batch(model_id=1, tagged=[stored(name, Tag("dog", None, Rank.SUPERCLASS, 0.5, 0.2, 0.3))])
            if before.source is Source.HUMAN:
                assert tag_of(shared, name) == before
        current = list(shared.reviews.find_all())
        assert len(current) <= 1
        if undoable:
            assert [saved.id for saved in current] == [undoable[-1][0]]
            assert tag_of(shared, name).superclass == current[0].superclass


# ---- several at once, and disasters


def test_threads_that_review_at_once_lose_nothing(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        names = [f"/many/{number}.jpg" for number in range(40)]
        opened.tags.save_batch(model_id=1, tagged=[stored(name) for name in names])
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for name in random.Random(number).sample(names, len(names)):
                    with opened.writing("audit"):
                        review(
                            opened, name, "fish", f"cod {number}", token=f"{name} {number % 2}" if number < 0 else None
                        )
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(list(opened.reviews.find_all(ALL))) == 160
        current = {saved.path: saved.subclass for saved in opened.reviews.find_all()}
        assert len(current) == 40
        tags = {row.path: row.subclass for row in opened.query(Query(under=Path("/many")))}
        assert current == tags


REVIEW_ALL = """
import sys
from contextlib import nullcontext
from phototag.store import Review, Store
path, label, token, hold = sys.argv[1:]
with Store.open(path) as store, store.writing("audit review") if hold else nullcontext():
    ids = [photo.id for page in store.photos.contents() for _, photo in page]
    print("ready", flush=True)
    sys.stdin.readline()
    for photo_id in ids:
        with store.writing("audit review", wait_seconds=60):
            said = store.reviews.save(Review(photo_id=photo_id, superclass=label, token=token + str(photo_id)))
        print(said, flush=True)
"""


def test_processes_that_review_at_once_lose_and_double_nothing(database: Path) -> None:
    """Two say different things of every photo; two send the same reviews, as a client does that hears no answer."""
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.save_batch(model_id=1, tagged=[stored(f"/many/{number}.jpg") for number in range(11)])
    arguments = [("fish", "a"), ("bird", "b"), ("dog", "same"), ("dog", "same")]
    processes = [run_python(REVIEW_ALL, database, *words, "", stdin=subprocess.PIPE) for words in arguments]
    start_all(processes)
    said = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        said.append([int(line) for line in output.split()])
    assert said[2] == said[3]
    with Store.open(database) as opened:
        saved = {review.id: review for review in opened.reviews.find_all(ALL)}
        assert sorted(saved) == sorted({*said[0], *said[1], *said[2]})
        assert len(saved) == 3 * 15
        for words, ids in zip(arguments, said, strict=True):
            assert {saved[number].superclass for number in ids} == {words[0]}
        current = {review.path: review.superclass for review in opened.reviews.find_all()}
        assert current == {row.path: row.superclass for row in opened.query(Query(source=Source.HUMAN))}
    assert check_database(database).problems == ()


def test_killed_process_loses_no_review_that_it_said_was_saved(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.save_batch(model_id=1, tagged=[stored(f"/many/{number}.jpg") for number in range(2000)])
    with run_python(REVIEW_ALL, database, "fish", "t", "hold", stdin=subprocess.PIPE) as process:
        start_all([process])
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]
        process.wait()
    assert check_database(database).problems == ()
    with Store.open(database) as opened, opened.writing("audit"):
        saved = list(opened.reviews.find_all())
        assert set(said) <= {review.id for review in saved}
        assert len(saved) <= len(said) + 1
        human = {row.path for row in opened.query(Query(source=Source.HUMAN))}
        assert human == {review.path for review in saved}, "review and tag are saved together or not at all"
        opened.reviews.undo(saved[0].id)


def test_one_that_waits_for_the_right_to_write_gets_it(database: Path) -> None:
    with Store.open(database) as first, Store.open(database) as second:
        held = threading.Event()

        def hold() -> None:
            with first.writing("watch"):
                held.set()
                second_asked.wait(60)

        second_asked = threading.Event()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        with pytest.raises(LockedError, match="'phototag watch'"), second.writing("audit"):
            pass
        second_asked.set()
        with second.writing("audit", wait_seconds=60):
            review(second, "/p/rooster.jpg", "fish")
        thread.join()


def test_review_beside_a_watcher_that_has_nothing_to_do(database: Path) -> None:
    with Store.open(database) as watcher, watcher.tagging("watch"), Store.open(database) as opened:
        with opened.writing("audit review"):
            review(opened, "/p/rooster.jpg", "fish")
        with watcher.writing("watch"):
            watcher.tags.save_batch(model_id=1, tagged=[stored("/p/rooster.jpg", BEAGLE)])
        assert tag_of(opened, "/p/rooster.jpg").superclass == "fish"


def test_review_is_written_through_to_the_disk(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("web"):
        assert opened._database._writer is not None
        raw = driver_connection(opened._database._writer)
        seen: list[str] = []
        raw.set_trace_callback(seen.append)
        opened.reviews.undo(review(opened, "/p/rooster.jpg", "fish"))
        raw.set_trace_callback(None)
    commits = [number for number, line in enumerate(seen) if line == "COMMIT"]
    assert len(commits) == 2
    for commit in commits:
        synchronous = [line for line in seen[:commit] if line.startswith("PRAGMA synchronous")]
        assert synchronous[-1] == "PRAGMA synchronous=FULL"


def test_row_that_phototag_did_not_write_is_an_error_and_no_crash(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("audit"):
        review_id = review(opened, "/p/rooster.jpg", "fish")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE reviews SET previous_tag = '[1, 2]', shown_rank = 'deep'")
        connection.commit()
    with Store.open(database) as opened, opened.writing("audit"):
        with pytest.raises(StoreError, match="phototag did not write"):
            list(opened.reviews.find_all())
        with pytest.raises(StoreError, match="phototag did not write"):
            opened.reviews.undo(review_id)
        assert tag_of(opened, "/p/rooster.jpg").superclass == "fish"


def test_photo_of_a_review_has_the_stat_values_of_before(store: Store) -> None:
    """A review touches nothing that the scanner compares."""
    before = store.photos.find(Path("/p/rooster.jpg"))
    review(store, "/p/rooster.jpg", "fish")
    after = store.photos.find(Path("/p/rooster.jpg"))
    assert before is not None and after is not None
    assert after.matches(photo("/p/rooster.jpg"))
    assert (after.state, after.content_hash) == (before.state, before.content_hash)
