"""`phototag audit review` as a command: viewers, names, keys, and which sample is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phototag.cli.audit_review import draw
from phototag.cli.keys import Terminal
from phototag.cli.viewer import Viewer
from phototag.errors import UsageError
from phototag.records import Rank
from phototag.review.names import Cancelled, Chosen, Key, Names, TypeAhead, narrow
from phototag.review.review_session import ReviewSession, choose_sample
from phototag.review.sample_reviews import PassedPhoto
from phototag.store import Design, NewSample, Review, SampledPhoto, Store, StoredTag, Stratum
from phototag.text import display_width
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.scripted_review import Library, go


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
        give_up = time.monotonic() + 120
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
        assert names.settle("dog", "boxer") == ("dog", "boxer")
        for superclass, subclass in (("bird", "boxer"), ("dog", " "), ("", None), ("dog", "a/b")):
            with pytest.raises(UsageError):
                names.settle(superclass, subclass)

    def test_a_name_has_one_spelling(self) -> None:
        names = Names()
        names.add("cafe\u0301", "boxer")
        assert names.qualified == ["caf\u00e9/boxer"]
        for superclass, subclass in (("cafe\u0301", "boxer"), ("Caf\u00e9", "Boxer")):
            assert names.settle(superclass, subclass) == ("caf\u00e9", "boxer")
        assert narrow(["caf\u00e9"], "e\u0301") == ["caf\u00e9"]


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
    assert "the tag has no label: s chooses" in words.lower()
    assert library.said() == {1: (None, None), 2: ("bird", "rooster"), 3: ("cat", "lynx")}


def test_the_newest_sample_with_waiting_photos_is_taken(library: Library) -> None:
    with Store.open() as store, store.writing("test"):
        item = store.samples.items(library.sample_id)[0]
        drawn = SampledPhoto(
            photo_id=item.photo_id,
            stratum="all",
            inclusion_probability=1.0,
            content_hash=item.content_hash,
            tag=item.tag,
            model_id=1,
        )
        second = store.samples.save(
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
        store.reviews.save(Review(photo_id=item.photo_id, superclass="dog", sample_id=second))
        found = choose_sample(store)
        assert found is not None
        assert found.name == "first"
        session = ReviewSession(store, found)
        assert not isinstance(session.next_photo(), PassedPhoto)
