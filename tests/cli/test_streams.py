"""Losing stdout, stderr or the working folder, and names that want to steer the terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from phototag.store import Store
from tests.support.commands import RunProcess
from tests.support.project import ROOT
from tests.support.stored_photos import register, stored

STEERING = "\x1b]0;pwned\x07\x1b[31m"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "photos.db"
    with Store.open(path) as store, store.writing("test"):
        store.tags.save_batch(
            model_id=register(store, f"model{STEERING}"), tagged=[stored(f"/p/a{STEERING}.jpg"), stored("/p/b.jpg")]
        )
        store.runs.begin(f"kind{STEERING}", model_id=1, device=None, runtime=None)
    return path


def shell(command: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command line in which `phototag` is this one."""
    phototag = f"{sys.executable} -m phototag"
    return subprocess.run(
        ["sh", "-c", command.replace("phototag", phototag)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **more,  # type: ignore[call-overload]
    )


class TestLostStreams:
    def test_without_stderr_the_work_is_done(self, database: Path) -> None:
        done = shell(f"phototag db info --db {database} 2>&-")
        assert (done.returncode, "2 ok" in done.stdout) == (0, True)

    def test_no_file_takes_the_number_of_a_closed_stream(self, database: Path) -> None:
        before = database.read_bytes()[:100]
        done = shell(f"phototag query --limit 1 --db {database} --model nothing <&- >&- 2>&-")
        assert done.returncode == 0
        assert database.read_bytes()[:100] == before

    @pytest.mark.parametrize("command", ["query --db {}", "query --format ndjson --db {}", "db info --db {}", "--help"])
    @pytest.mark.parametrize("lost", [">&-", "> /dev/full"])
    def test_a_stdout_that_takes_nothing_is_told_in_one_line(self, database: Path, command: str, lost: str) -> None:
        done = shell(f"phototag {command.format(database)} {lost}")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: stdout cannot be written:")
        assert len(done.stderr.splitlines()) == 1

    def test_a_reader_that_has_seen_enough_is_no_error(self, database: Path) -> None:
        many = "phototag query --format csv --db " + str(database)
        done = shell(f"{{ {many}; echo code $? >&2; }} | true")
        assert done.stderr in ("code 0\n", "")

    def test_a_stderr_that_takes_nothing_stops_no_work(self, database: Path) -> None:
        done = shell(f"phototag db check --db {database} 2> /dev/full")
        assert done.returncode in (0, 1)
        assert shell(f"phototag db upgrade --db {database} 2> /dev/full").returncode == 0

    @pytest.mark.parametrize("command", ["tag .", "query --count --db x.db", "query --under x --db {}", "train ."])
    def test_a_working_folder_that_is_gone_is_told_in_one_line(self, database: Path, command: str) -> None:
        gone = database.parent / "gone"
        gone.mkdir()
        done = shell(f"cd {gone} && rmdir {gone} && phototag {command.format(database)}")
        assert done.returncode == 2, done.stderr
        assert "does not exist any more" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def on_a_terminal(arguments: Sequence[str]) -> str:
    process, number = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-m", "phototag", *arguments], {**os.environ, "TERM": "xterm"})
    shown = b""
    while True:
        try:
            part = os.read(number, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.waitpid(process, 0)
    os.close(number)
    return shown.decode()


class TestNamesThatSteer:
    @pytest.mark.parametrize(
        "command",
        [
            ["query"],
            ["query", "--format", "csv"],
            ["query", "--format", "paths"],
            ["db", "info"],
            ["db", "check"],
            ["status"],
            ["query", "--sort", f"a{STEERING}"],
        ],
        ids=" ".join,
    )
    def test_nothing_reaches_a_terminal_that_steers_it(self, database: Path, command: list[str]) -> None:
        shown = on_a_terminal([*command, "--db", str(database)])
        assert shown
        assert not {"\x1b", "\x07"} & set(shown)

    def test_what_is_not_a_terminal_gets_the_bytes_as_they_are(
        self, database: Path, phototag_process: RunProcess
    ) -> None:
        done = phototag_process("query", "--format", "paths", "--db", str(database))
        assert os.fsencode(f"/p/a{STEERING}.jpg\n") in done.stdout

    def test_json_stays_json(self, database: Path, phototag_process: RunProcess) -> None:
        import json

        done = phototag_process("query", "--format", "json", "--db", str(database))
        assert json.loads(done.stdout)[0]["path"] == f"/p/a{STEERING}.jpg"

    def test_no_name_can_fake_a_line_of_its_own(self, tmp_path: Path, phototag_process: RunProcess) -> None:
        done = phototag_process("query", "--db", str(tmp_path / "a\nError: fake.db"))
        assert done.returncode == 2
        assert not [line for line in done.stderr.splitlines()[1:] if not line.startswith(b" ")]
