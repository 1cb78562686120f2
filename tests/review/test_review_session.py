"""Reviewing a sample key by key: no answer is lost, and several may review at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phototag.decision import gather
from phototag.errors import LockedError
from phototag.records import Scores, Source
from phototag.review.names import Key
from phototag.review.review_session import ReviewSession, choose_sample
from phototag.review.sample_reviews import Meanwhile, ShownPhoto
from phototag.store import Query, ReviewFilter, SampleItem, SavedReview, Store, Verdict
from tests.support.commands import RunCommand
from tests.support.models import TINY_TAXONOMY
from tests.support.pictures import MakePicture
from tests.support.scripted_review import Labels, Library, go

HOSTILE = b"bad\n\x1b[2J\xe2\x80\xae\xff.jpg"


def shown(session: ReviewSession) -> ShownPhoto:
    found = session.next_photo()
    assert isinstance(found, ShownPhoto)
    return found


class TestAnswers:
    def test_each_key_says_what_it_stands_for(self, library: Library) -> None:
        words = go(library, "y", "n", "u", "k", "c", *"box", Key.ENTER, "s", *"rep", Key.ENTER, *"ge", Key.ENTER)
        assert library.said() == {
            1: ("dog", "beagle"), 2: (None, None), 3: ("dog", None), 5: ("dog", "boxer"), 6: ("reptile", "gecko"),
        }  # fmt: skip
        assert library.skipped() == [4]
        assert "Stored: dog/boxer" in words
        with Store.open() as store:
            verdicts = [review.verdict for review in store.reviews.find_all(ReviewFilter(sample_id=library.sample_id))]
            assert store.count(Query(source=Source.HUMAN)) == 5
        assert verdicts == [
            Verdict.RIGHT, Verdict.NONE, Verdict.SUBCLASS_WRONG, Verdict.SUBCLASS_WRONG, Verdict.SUPERCLASS_WRONG,
        ]  # fmt: skip

    def test_a_photo_shows_its_tag_its_scores_and_other_candidates(self, library: Library) -> None:
        words = go(library)
        assert "1 of 6" in words
        assert str(library.folder / "a.jpg") in words
        assert "dog/beagle   (superclass 0." in words
        assert "or       dog/boxer 0." in words

    def test_candidates_have_the_scores_that_tags_would_have(self, library: Library) -> None:
        with Store.open() as store:
            found = shown(library.session(store))
        assert all(each.score < found.item.tag.subclass_score for each in found.candidates)
        boxer = next(each for each in found.candidates if each.subclass == "boxer")
        assert 0 < boxer.score + found.item.tag.subclass_score <= found.item.tag.superclass_score + 1e-6

    def test_answers_are_stored_before_the_next_photo_shows(self, library: Library) -> None:
        counts: list[int] = []

        def look() -> None:
            counts.append(len(library.said()))

        go(library, "y", look, "n", look)
        assert counts == [1, 2]

    def test_unknown_keys_change_nothing_and_help_is_shown(self, library: Library) -> None:
        words = go(library, "x", "?", Key.UP, Key.ENTER, "\u202e")
        assert library.said() == {}
        assert "'x' is no answer" in words
        assert "k  skip" in words
        assert "\u202e" not in words

    def test_it_continues_where_it_stopped(self, library: Library) -> None:
        go(library, "y", "k", "q")
        words = go(library, "n", "q")
        assert "3 of 6" in words
        assert "1 of 6" not in words
        assert library.said() == {1: ("dog", "beagle"), 3: (None, None)}

    def test_an_enter_too_many_chooses_no_class(self, library: Library) -> None:
        go(library, "s", Key.ENTER, Key.ENTER, Key.ESCAPE, "q")
        assert library.said() == {}

    def test_enter_alone_leaves_the_subclass_open_under_another_superclass(self, library: Library) -> None:
        go(library, "s", *"bird", Key.ENTER, Key.ENTER)
        assert library.said() == {1: ("bird", None)}


class TestNewNames:
    def test_a_new_name_needs_a_confirmation(self, library: Library) -> None:
        assert "is a new name" in go(library, "c", *"poodle", Key.ENTER, "x", "q")
        assert library.said() == {}
        go(library, "c", *"poodle", Key.ENTER, "y")
        assert library.said() == {1: ("dog", "poodle")}

    def test_a_new_name_is_in_the_list_from_then_on(self, library: Library) -> None:
        go(library, "c", *"poodle", Key.ENTER, "y")
        go(library, "c", *"pood", Key.ENTER)
        assert library.said() == {1: ("dog", "poodle"), 2: ("dog", "poodle")}

    def test_a_new_name_that_is_part_of_a_known_one_can_be_chosen(self, library: Library) -> None:
        go(library, "c", *"box", Key.UP, Key.ENTER, "y")
        assert library.said() == {1: ("dog", "box")}

    def test_a_new_superclass_with_a_new_subclass(self, library: Library) -> None:
        go(library, "s", *"fish", Key.ENTER, "y", *"eel", Key.ENTER, "y")
        assert library.said() == {1: ("fish", "eel")}

    def test_a_subclass_of_another_superclass_is_refused_with_words(self, library: Library) -> None:
        words = go(library, "c", *"gecko", Key.ENTER, "y", "q")
        assert "lies under 'reptile'" in words
        go(library, "c", *"a/b", Key.ENTER, "q")
        assert library.said() == {1: ("dog", "beagle")}


class TestGoingBack:
    def test_answers_are_taken_back_one_after_another(self, library: Library) -> None:
        go(library, "y", "k", "n", "b", "b", "b", "b", "u")
        assert library.said() == {1: ("dog", None)}
        assert library.skipped() == []
        with Store.open() as store:
            assert store.count(Query(source=Source.MODEL)) == 5

    def test_after_going_back_it_goes_on_from_there(self, library: Library) -> None:
        words = go(library, "y", "y", "b", "n", "y")
        assert library.said() == {1: ("dog", "beagle"), 2: (None, None), 3: ("dog", "beagle")}
        assert words.count("2 of 6") == 2

    def test_earlier_sessions_can_be_taken_back(self, library: Library) -> None:
        go(library, "y", "k", "q")
        go(library, "b", "b", "q")
        assert (library.said(), library.skipped()) == ({}, [])

    def test_the_last_answer_can_be_taken_back(self, library: Library) -> None:
        words = go(library, *"yyyyyy", "b", "n", "q")
        assert "No more photos wait" in words
        assert library.said()[6] == (None, None)
        go(library, "b", "u", "q")
        assert library.said()[6] == ("dog", None)

    def test_the_last_answer_stays_if_it_cannot_be_taken_back(self, library: Library) -> None:
        def tag() -> None:
            with Store.open() as store, store.writing("test"):
                store.tags.set_human(library.folder / "f.jpg", superclass="bird")

        words = go(library, *"yyyyyy", tag, "b", "b", "q")
        assert "tagged in another way" in words
        assert sorted(library.said()) == [1, 2, 3, 4, 6]

    def test_what_was_tagged_otherwise_since_is_not_taken_back(self, library: Library) -> None:
        def tag() -> None:
            with Store.open() as store, store.writing("test"):
                store.tags.set_human(library.folder / "a.jpg", superclass="bird")

        words = go(library, "y", tag, "b", "q")
        assert "tagged in another way" in words
        assert words.count("2 of 6") == 2, "the photo that waits is asked about again"
        assert library.said()[1] == ("dog", "beagle")


class TestPhotosThatCannotBeJudged:
    def test_missing_and_changed_photos_are_passed_by(self, library: Library) -> None:
        (library.folder / "a.jpg").unlink()
        library.make_picture(library.folder / "b.jpg", seed=99)
        words = go(library, "y")
        assert "Passed by: it is missing" in words
        assert "Passed by: it changed since it was tagged" in words
        assert library.said() == {3: ("dog", "beagle")}

    def test_a_file_that_was_only_touched_is_judged(self, library: Library) -> None:
        os.utime(library.folder / "a.jpg", ns=(1, 1))
        go(library, "y")
        assert library.said() == {1: ("dog", "beagle")}

    def test_what_is_no_file_is_passed_by(self, library: Library) -> None:
        (library.folder / "a.jpg").unlink()
        os.mkfifo(library.folder / "a.jpg")
        assert "Passed by" in go(library, "q")

    def test_all_missing_ends_with_words(self, library: Library, run_phototag: RunCommand) -> None:
        for path in library.folder.iterdir():
            path.unlink()
        result = run_phototag("audit", "review", "--no-view", input="")
        assert result.exit_code == 0
        assert "6 passed by" in result.stderr
        assert "6 of 6 still wait" in result.stderr

    def test_content_that_changes_while_it_is_looked_at_is_not_stored(self, library: Library) -> None:
        path = library.folder / "a.jpg"

        def change() -> None:
            library.make_picture(path, seed=50)
            with Store.open() as store, store.writing("test"):
                logits = Scores(np.zeros((1, 3), dtype=np.float32), np.zeros((1, 5), dtype=np.float32))
                store.tags.save_batch(model_id=1, tagged=[library.row(path, gather(logits, TINY_TAXONOMY))])

        words = go(library, change, "y", "y")
        assert "changed since it was shown" in words
        assert library.said() == {2: ("dog", "beagle")}

    def test_hostile_names_are_printed_inert(self, tmp_path: Path, make_picture: MakePicture) -> None:
        library = Library(tmp_path / "x", make_picture, names=[os.fsdecode(HOSTILE.removesuffix(b".jpg"))])
        words = go(library, "y")
        assert not {"\x1b", "\u202e", "\udcff"} & set(words)
        assert "bad??[2J??.jpg" in words
        assert library.said() == {1: ("dog", "beagle")}


class TestSeveralAtOnce:
    def test_the_same_answer_twice_is_stored_once(self, library: Library) -> None:
        with Store.open() as one, Store.open() as two:
            first, second = library.session(one), library.session(two)
            a, b = shown(first), shown(second)
            assert isinstance(first.save(a, "dog", "boxer"), SavedReview)
            result = second.save(b, "dog", "boxer")
            assert isinstance(result, Meanwhile)
            assert result.agrees
            assert len(list(one.reviews.find_all(ReviewFilter(current=False)))) == 1
            assert shown(second).item.position not in (1, 2), "two go through the same photos"

    def test_another_answer_is_never_replaced_unasked(self, library: Library) -> None:
        def other(labels: Labels) -> Callable[[], None]:
            def save() -> None:
                with Store.open() as store:
                    session = library.session(store)
                    session.save(shown(session), *labels)

            return save

        words = go(library, other(("bird", "hawk")), "y", "x", "q")
        assert "Another person said bird/hawk meanwhile, and you say dog/beagle" in words
        assert library.said() == {1: ("bird", "hawk")}
        go(library, other(("bird", "hawk")), "y", "m", "q")
        assert library.said()[2] == ("dog", "beagle")

    def test_taking_own_back_brings_theirs_back(self, library: Library) -> None:
        with Store.open() as one, Store.open() as two:
            first, second = library.session(one), library.session(two)
            a, b = shown(first), shown(second)
            first.save(a, "bird", "hawk")
            second.save(b, "dog", "boxer", replace=True)
            assert second.undo() is not None
        assert library.said() == {1: ("bird", "hawk")}

    def test_skipping_leaves_what_somebody_else_said(self, library: Library) -> None:
        with Store.open() as one, Store.open() as two:
            first, second = library.session(one), library.session(two)
            a, b = shown(first), shown(second)
            first.save(a, "bird", "hawk")
            assert second.skip(b) is not None
        assert library.skipped() == []

    def test_going_back_leaves_the_work_of_others(self, library: Library) -> None:
        with Store.open() as one, Store.open() as two:
            first, second = library.session(one), library.session(two)
            first.save(shown(first), "bird", "hawk")
            assert second.undo() is None
        assert library.said() == {1: ("bird", "hawk")}

    def test_a_photo_that_is_reviewed_while_it_is_read_is_not_shown(
        self, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Store.open() as one, Store.open() as two:
            first, second = library.session(one), library.session(two)
            look = second._why_not

            def between(item: SampleItem) -> str | None:
                if item.position == 1:
                    first.save(shown(first), "bird", "hawk")
                return look(item)

            monkeypatch.setattr(second, "_why_not", between)
            assert shown(second).item.position != 1
        assert library.said() == {1: ("bird", "hawk")}

    def test_two_reviewers_at_once_lose_nothing(self, tmp_path: Path, make_picture: MakePicture) -> None:
        library = Library(tmp_path / "many", make_picture, names=[f"{number:02}" for number in range(30)])
        acknowledged: list[int] = []

        def work() -> None:
            with Store.open() as store:
                sample = choose_sample(store, "first")
                assert sample is not None
                session = ReviewSession(store, sample, wait_seconds=60)
                while isinstance(found := session.next_photo(), ShownPhoto):
                    if isinstance(session.save(found, "dog", "boxer"), SavedReview):
                        acknowledged.append(found.item.position)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(acknowledged) == list(range(1, 31)), "each photo is reviewed once"
        assert len(library.said()) == 30

    def test_a_busy_database_keeps_the_photo_for_another_try(self, library: Library) -> None:
        with Store.open() as other:
            holding = other.writing("tag")
            words = go(library, holding.__enter__, "y", lambda: holding.__exit__(None, None, None), "y", "q")
        assert "Not stored" in words
        assert library.said() == {1: ("dog", "beagle")}

    def test_a_busy_database_takes_nothing_back_either(self, library: Library) -> None:
        with Store.open() as store, Store.open() as other:
            session = library.session(store)
            session.save(shown(session), "dog", "boxer")
            with other.writing("tag"), pytest.raises(LockedError):
                session.undo()
            assert session.undo() is not None
