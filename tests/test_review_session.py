"""`phototag audit review`: reviewing a sample key by key, and that no answer is lost."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import MakePicture, RunCommand
from phototag.audit.names import Cancelled, Chosen, Key, Names, TypeAhead, narrow
from phototag.audit.review_core import Meanwhile, PassedPhoto, ShownPhoto
from phototag.audit.review_session import ReviewSession, choose_sample
from sampled import draw_all

from phototag.cli.audit_review import Reviewing, draw
from phototag.cli.keys import Terminal
from phototag.cli.viewer import Viewer
from phototag.decision import Thresholds, decide, gather, pack
from phototag.errors import LockedError, UsageError
from phototag.records import Photo, Rank, Scores, Source
from phototag.store import (
    Design,
    DrawnPhoto,
    NewSample,
    Query,
    Review,
    ReviewFilter,
    SampleItem,
    SavedReview,
    Store,
    StoredTag,
    Stratum,
    Verdict,
)
from phototag.taxonomy import Taxonomy
from phototag.text import display_width

TAXONOMY = Taxonomy.from_pairs(
    [("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("dog", "boxer"), ("reptile", "gecko")]
)
NAMES = ["a", "b", "c", "d", "e", "f"]
HOSTILE = b"bad\n\x1b[2J\xe2\x80\xae\xff.jpg"
Labels = tuple[str | None, str | None]


class Library:
    """Six photos that a model tagged, each most likely a beagle, and a sample of all of them: `first`."""

    def __init__(self, folder: Path, make_picture: MakePicture, names: Sequence[str] = NAMES) -> None:
        self.folder = folder
        self.make_picture = make_picture
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(3)
        rows = []
        for place, name in enumerate(names):
            path = make_picture(folder / f"{name}.jpg", seed=place)
            subclass = rng.normal(0, 0.5, (1, 5)).astype(np.float32)
            subclass[0, 2] += 4.0
            subclass[0, 3] += 2.0
            logits = Scores(np.array([[0.0, 3.0, 0.0]], dtype=np.float32), subclass)
            rows.append(self.row(path, gather(logits, TAXONOMY)))
        with Store.open() as store, store.writing("test"):
            model_id = store.register_model(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            store.save_batch(model_id=model_id, tagged=rows)
            self.sample_id = draw_all(store, folder, rows, model_id)

    @staticmethod
    def row(path: Path, evidence: object) -> StoredTag:
        status = path.stat()
        photo = Photo(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        (tag,) = decide(evidence, TAXONOMY, Thresholds(superclass=0.4, subclass=0.3))  # type: ignore[arg-type]
        content = hashlib.sha256(path.read_bytes()).digest()
        return StoredTag(photo, content, 96, 64, pack(evidence)[0], tag)  # type: ignore[arg-type]

    def session(self, store: Store) -> ReviewSession:
        sample = choose_sample(store, "first")
        assert sample is not None
        return ReviewSession(store, sample, wait_seconds=0.2)

    def said(self) -> dict[int, Labels]:
        """What reviews say by the position in the sample."""
        with Store.open() as store:
            items = store.sample_items(self.sample_id)
            return {item.position: (item.review.superclass, item.review.subclass) for item in items if item.review}

    def skipped(self) -> list[int]:
        with Store.open() as store:
            return [item.position for item in store.sample_items(self.sample_id) if item.skipped_at]


class Script:
    """Keys from a list, as a person types them; calls are made when their turn comes. It ends with q."""

    live = True
    strict = False

    def __init__(self, *keys: str | Callable[[], object]) -> None:
        self._keys = list(keys)

    def key(self) -> str:
        while self._keys:
            key = self._keys.pop(0)
            if isinstance(key, str):
                return key
            key()
        return "q"

    def line(self) -> str:
        raise EOFError


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Library:
    return Library(tmp_path / "photos", make_picture)


def go(library: Library, *keys: str | Callable[[], object]) -> str:
    """Type keys in a new session; what was said."""
    words: list[str] = []
    with Store.open() as store:
        Reviewing(library.session(store), Script(*keys), None, words.append).run()
    return "\n".join(words)


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
            verdicts = [review.verdict for review in store.reviews(ReviewFilter(sample_id=library.sample_id))]
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
                store.set_human_tag(library.folder / "f.jpg", superclass="bird")

        words = go(library, *"yyyyyy", tag, "b", "b", "q")
        assert "tagged in another way" in words
        assert sorted(library.said()) == [1, 2, 3, 4, 6]

    def test_what_was_tagged_otherwise_since_is_not_taken_back(self, library: Library) -> None:
        def tag() -> None:
            with Store.open() as store, store.writing("test"):
                store.set_human_tag(library.folder / "a.jpg", superclass="bird")

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
                store.save_batch(model_id=1, tagged=[library.row(path, gather(logits, TAXONOMY))])

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
            assert len(list(one.reviews(ReviewFilter(current=False)))) == 1
            assert shown(second).item.position not in (1, 2), "two go through the same photos"

    def test_another_answer_is_never_replaced_unasked(self, library: Library) -> None:
        def other(labels: Labels) -> Callable[[], None]:
            def save() -> None:
                with Store.open() as store:
                    session = library.session(store)
                    session.save(shown(session), *labels)

            return save

        words = go(library, other(("bird", "hawk")), "y", "x", "q")
        assert "Somebody else said bird/hawk meanwhile, and you say dog/beagle" in words
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


class TestCommand:
    def test_without_a_sample_the_way_out_is_named(self, run_phototag: RunCommand) -> None:
        with Store.open():
            pass
        result = run_phototag("audit", "review", "--no-view")
        assert result.exit_code == 2
        assert "phototag audit sample" in result.stderr

    def test_an_unknown_sample_is_named_with_those_there_are(self, library: Library, run_phototag: RunCommand) -> None:
        result = run_phototag("audit", "review", "nope", "--no-view")
        assert result.exit_code == 2
        assert "there are: first" in result.stderr

    def test_lines_are_answers_and_the_next_command_is_named(self, library: Library, run_phototag: RunCommand) -> None:
        result = run_phototag("audit", "review", "--no-view", input="y\nc\nboxer\ns\nbird\nro\nk\nc\npoodle\ny\nn\n")
        assert result.exit_code == 0, result.stderr
        assert library.said() == {
            1: ("dog", "beagle"), 2: ("dog", "boxer"), 3: ("bird", "rooster"), 5: ("dog", "poodle"), 6: (None, None),
        }  # fmt: skip
        assert "5 reviewed (1 right, 4 not), 1 skipped. 0 of 6 still wait." in result.stderr
        assert "phototag audit report --sample first" in result.stderr
        assert result.stdout == ""
        assert run_phototag("audit", "report", "--sample", "first").exit_code == 0
        assert "No photo of any sample waits" in run_phototag("audit", "review", "--no-view").stderr

    def test_a_line_that_is_no_answer_stops_before_answers_slip(
        self, library: Library, run_phototag: RunCommand
    ) -> None:
        result = run_phototag("audit", "review", "--no-view", input="y\nc\nzz/z\ny\n")
        assert result.exit_code == 2
        assert library.said() == {1: ("dog", "beagle")}
        result = run_phototag("audit", "review", "--no-view", input="yes\ny\n")
        assert result.exit_code == 2
        assert "'yes' is no answer" in result.stderr
        assert library.said() == {1: ("dog", "beagle")}

    def test_the_end_of_the_input_ends_it(self, library: Library, run_phototag: RunCommand) -> None:
        result = run_phototag("audit", "review", "--no-view", input="y\n")
        assert result.exit_code == 0
        assert "Go on: phototag audit review first" in result.stderr

    def test_viewer_and_no_view_exclude_each_other(self, library: Library, run_phototag: RunCommand) -> None:
        assert run_phototag("audit", "review", "--viewer", "feh", "--no-view").exit_code == 2
        assert run_phototag("audit", "review", "--viewer", " ").exit_code == 2

    def test_killed_in_the_middle_no_acknowledged_answer_is_lost(self, library: Library) -> None:
        words = [sys.executable, "-m", "phototag", "audit", "review", "--no-view"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"y\nn\n")
        process.stdin.flush()
        stored = 0
        while stored < 2:
            stored += process.stderr.readline().startswith(b"  Stored")
        process.kill()
        process.wait(60)
        process.stdin.close()
        process.stderr.close()
        assert library.said() == {1: ("dog", "beagle"), 2: (None, None)}


class TestViewer:
    def open_all(self, library: Library, command: str | None) -> list[str]:
        words: list[str] = []
        viewer = Viewer(command, words.append)
        for path in sorted(library.folder.iterdir()):
            viewer.open(path)
        viewer.close()
        return words

    def test_a_program_that_is_not_there_is_said_once(self, library: Library) -> None:
        (said,) = self.open_all(library, "no-such-program --x")
        assert "--viewer" in said

    def test_a_program_that_fails_is_said_once(self, library: Library) -> None:
        (said,) = self.open_all(library, f"{sys.executable} -c 'raise SystemExit(3)'")
        assert "code 3" in said

    def test_the_path_is_one_argument_and_no_shell_reads_it(self, tmp_path: Path, make_picture: MakePicture) -> None:
        path = make_picture(tmp_path / "a; touch $(echo oops) '.jpg")
        seen = tmp_path / "seen"
        code = f"import sys, pathlib; pathlib.Path({str(seen)!r}).write_text(repr(sys.argv[1:]))"
        viewer = Viewer(f'{sys.executable} -c "{code}" -z', pytest.fail)
        viewer.open(path)
        give_up = time.monotonic() + 30
        while not (seen.exists() and seen.read_text()) and time.monotonic() < give_up:
            time.sleep(0.02)
        viewer.close()
        assert seen.read_text() == repr(["-z", str(path)])

    def test_what_is_no_picture_by_its_name_is_not_opened(self, tmp_path: Path) -> None:
        words: list[str] = []
        Viewer("no-such-program", words.append).open(tmp_path / "run.desktop")
        assert "does not look like a picture" in words[0]

    def test_a_program_that_stays_is_ended_before_the_next(self, library: Library) -> None:
        viewer = Viewer(f"{sys.executable} -c 'import time; time.sleep(600)'", pytest.fail)
        paths = sorted(library.folder.iterdir())
        viewer.open(paths[0])
        assert viewer._running is not None
        first = viewer._running[1]
        viewer.open(paths[1])
        assert first.wait(30) == -signal.SIGTERM
        viewer.close()


class TestNames:
    def test_narrowing_puts_the_best_fit_first(self) -> None:
        names = ["dog/boxer", "bird/ox", "ox", "oxen/a", "cat"]
        assert narrow(names, "OX") == ["ox", "oxen/a", "bird/ox", "dog/boxer"]
        assert narrow(names, "") == names

    def test_numbers_choose_unless_a_name_goes_on_with_them(self) -> None:
        choice = TypeAhead("class", ["ant", "bee", "type 2"])
        assert choice.feed("1") == Chosen("ant")
        assert choice.feed("2") is None
        assert choice.typed == "2"
        assert choice.feed(Key.ENTER) == Chosen("type 2")

    def test_arrows_go_around_and_escape_gives_up(self) -> None:
        choice = TypeAhead("class", [f"n{number}" for number in range(20)])
        choice.feed(Key.UP)
        assert choice.feed(Key.ENTER) == Chosen("n19")
        assert "> 9 n19" in "\n".join(draw(choice, 60))
        choice.feed(Key.DOWN)
        assert choice.feed(Key.ENTER) == Chosen("n0")
        assert isinstance(choice.feed(Key.ESCAPE), Cancelled)

    def test_backspace_and_clear_widen_again(self) -> None:
        choice = TypeAhead("class", ["ant", "bee"])
        for key in "bex":
            choice.feed(key)
        assert choice.options == [Chosen("bex", new=True)]
        choice.feed(Key.BACKSPACE)
        assert choice.options[0] == Chosen("bee")
        choice.feed(Key.CLEAR)
        assert len(choice.options) == 2

    def test_lines_are_inert_and_fit_the_terminal(self) -> None:
        choice = TypeAhead("class", ["\x1b[2J" + "x" * 200, "鷹" * 90])
        lines = draw(choice, 40)
        assert all(display_width(line) <= 40 for line in lines)
        assert "\x1b" not in "".join(lines)

    def test_a_subclass_lies_under_one_superclass(self) -> None:
        names = Names()
        names.add("dog", "boxer")
        names.check_new("dog", "boxer")
        for superclass, subclass in (("bird", "boxer"), ("dog", " "), ("", None), ("dog", "a/b")):
            with pytest.raises(UsageError):
                names.check_new(superclass, subclass)


class TestKeys:
    def keys(self, *chunks: bytes) -> list[str]:
        waiting = list(chunks)
        terminal = Terminal(lambda: waiting.pop(0) if waiting else b"", lambda: bool(waiting))
        read = []
        while (key := terminal.key()) != Key.END:
            read.append(key)
        return read

    def test_keys_that_come_together_or_in_parts_are_told_apart(self) -> None:
        assert self.keys(b"yn\x1b[A\x1bOB\r\x7f") == ["y", "n", Key.UP, Key.DOWN, Key.ENTER, Key.BACKSPACE]
        assert self.keys(b"\x1b", b"[", b"B", b"\xc3", b"\xa9") == [Key.DOWN, "é"]
        assert self.keys(b"\x1b[1;5A\x1b[3~\x01", b"\x1b") == [Key.UP, Key.OTHER, Key.OTHER, Key.ESCAPE]
        assert self.keys(b"\xff") == ["\ufffd"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_single_keys_at_a_terminal_need_no_enter_and_leave_it_as_it_was(library: Library) -> None:
    import pty
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    words = [sys.executable, "-m", "phototag", "audit", "review", "--no-view"]
    process = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"}, start_new_session=True
    )
    heard = b""

    def wait_for(text: bytes) -> None:
        nonlocal heard
        while text not in heard:
            heard += os.read(master, 4096)
        heard = heard.partition(text)[2]

    wait_for(b"q quit")
    os.write(master, b"yc")
    wait_for(b"Stored: dog/beagle")
    os.write(master, b"box\r")
    wait_for(b"Stored: dog/boxer")
    wait_for(b"q quit")
    process.send_signal(signal.SIGINT)
    wait_for(b"still wait")
    assert process.wait(60) == 0
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
    assert library.said() == {1: ("dog", "beagle"), 2: ("dog", "boxer")}


def test_rank_none_is_right_or_gets_a_class_in_full(tmp_path: Path, make_picture: MakePicture) -> None:
    class Novel(Library):
        @staticmethod
        def row(path: Path, evidence: object) -> StoredTag:
            from dataclasses import replace

            made = Library.row(path, evidence)
            return replace(made, tag=replace(made.tag, superclass=None, subclass=None, rank=Rank.NONE))

    library = Novel(tmp_path / "n", make_picture)
    words = go(library, "u", "y", "c", *"roo", Key.ENTER, "c", *"cat/lynx", Key.ENTER, "y")
    assert "names no superclass" in words
    assert library.said() == {1: (None, None), 2: ("bird", "rooster"), 3: ("cat", "lynx")}


def test_the_newest_sample_with_waiting_photos_is_taken(library: Library) -> None:
    with Store.open() as store, store.writing("test"):
        item = store.sample_items(library.sample_id)[0]
        drawn = DrawnPhoto(
            photo_id=item.photo_id,
            stratum="all",
            inclusion_probability=1.0,
            content_hash=item.content_hash,
            tag=item.tag,
            model_id=1,
        )
        second = store.save_sample(
            NewSample(
                name="second",
                design=Design.SIMPLE,
                seed=1,
                for_estimation=True,
                items=[drawn],
                strata=[Stratum("all", 6, 1)],
            )
        )
        found = choose_sample(store)
        assert found is not None
        assert found.name == "second"
        store.save_review(Review(photo_id=item.photo_id, superclass="dog", sample_id=second))
        found = choose_sample(store)
        assert found is not None
        assert found.name == "first"
        session = ReviewSession(store, found)
        assert not isinstance(session.next_photo(), PassedPhoto)
