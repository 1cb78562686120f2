"""Real runs killed with SIGKILL at random moments: the database stays sound, and the next run completes it.

PHOTOTAG_KILLS=300 pytest tests/program/test_crash.py kills more often than is usual, PHOTOTAG_SEED=7 at other moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phototag.store import Query, Store
from phototag.tagging.plan import MAX_ATTEMPTS
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture

# Read here: while a test runs, no setting is in the environment.
KILLS = int(os.environ.get("PHOTOTAG_KILLS", "6"))
SEED = int(os.environ.get("PHOTOTAG_SEED", "1"))
PATIENCE_SECONDS = 120.0
COMMANDS = {"tag": ("tag",), "watch": ("watch", "--once", "--settle", "0")}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")


@dataclass
class Scene:
    """A library that a first run tagged, and that has changed much since."""

    library: Path
    base: Path
    """The database after the first run."""
    model: Path
    home: Path
    temporary: Path

    def start(self, command: str, db: Path) -> subprocess.Popen[bytes]:
        """Start a command of `COMMANDS` on the library."""
        options = ["--db", str(db), "--model", str(self.model), "--batch-size", "4"]
        words = [sys.executable, "-m", "phototag", *COMMANDS[command], str(self.library), *options]
        env = {**os.environ, "TMPDIR": str(self.temporary)}
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)

    def complete(self, command: str, db: Path) -> float:
        """Let a command do its work undisturbed; returns how many seconds it took."""
        begun = time.monotonic()
        _, said = self.start(command, db).communicate(timeout=PATIENCE_SECONDS)
        assert b"Traceback" not in said, said.decode(errors="replace")
        return time.monotonic() - begun

    def copy_of_base(self, name: str) -> Path:
        """The database after the first run, under another name."""
        target = self.base.parent / name / "photos.db"
        target.parent.mkdir()
        shutil.copy(self.base, target)
        return target


@pytest.fixture
def scene(tmp_path: Path, quick_model: Path, home: Path, make_picture: MakePicture) -> Scene:
    library = tmp_path / "library"
    kinds = ("jpg", "png", "webp", "tif", "gif", "bmp", "jpg", "png")
    for number in range(24):
        make_picture(library / "old" / f"{number:02}.{kinds[number % 8]}")
    (library / "old" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "first").mkdir()
    (tmp_path / "temporary").mkdir()
    found = Scene(library, tmp_path / "first" / "photos.db", quick_model, home, tmp_path / "temporary")
    found.complete("tag", found.base)
    with Store.open(found.base) as store, store.writing("test"):
        store.tags.set_human(library / "old" / "00.jpg", superclass="reptile", subclass="iguana")
        store.tags.set_human(library / "old" / "01.png", superclass="dog")
    assert not list(found.base.parent.glob("*-wal"))
    change(library, make_picture)
    return found


def change(library: Path, make_picture: MakePicture) -> None:
    """Move, copy, change, break, repair and delete photos, and bring new ones."""
    old = library / "old"
    (library / "moved").mkdir()
    for name in ("00.jpg", "02.webp", "03.tif", "08.jpg", "09.png"):
        (old / name).rename(library / "moved" / name)
    for name in ("04.gif", "05.bmp", "06.jpg"):
        shutil.copy(old / name, library / f"copy of {name}")
    for name in ("10.webp", "11.tif", "12.gif", "01.png"):
        make_picture(old / name, seed=int(name[:2]) + 1000)
    for name in ("13.bmp", "14.jpg"):
        (old / name).unlink()
    (old / "15.png").write_bytes((old / "15.png").read_bytes()[:-300])
    make_picture(old / "broken.jpg")
    for number, kind in enumerate(("jpg", "png", "webp", "tif", "gif", "bmp") * 5):
        photo = make_picture(library / "new" / f"{number:02}.{kind}", seed=number % 25)
        if number % 7 == 3:
            photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (library / "new" / "empty.webp").write_bytes(b"")
    (library / "new" / "text.tif").write_text("no picture")


def end_state(db: Path) -> dict[Path, tuple[Any, ...]]:
    """What a run leaves of each photo, without times."""
    with Store.open(db, create=False) as store:
        return {
            photo.path: (
                *(photo.superclass, photo.subclass, photo.rank, photo.source, photo.model, photo.state, photo.error),
                *(
                    None if score is None else round(score, 5)
                    for score in (photo.superclass_score, photo.subclass_score, photo.novelty)
                ),
            )
            for photo in store.query(Query())
        }


def attempts(db: Path) -> dict[Path, int]:
    with Store.open(db, create=False) as store:
        return {known.path: known.attempts for known in store.photos.under([Path("/")])}


def nothing_twice(db: Path) -> None:
    """One row a path, one tag a photo, one prediction a photo and model, and a prediction behind each model's tag."""
    doubled = {
        "paths": "SELECT path_bytes FROM photos GROUP BY path_bytes HAVING count(*) > 1",
        "tags": "SELECT photo_id FROM tags GROUP BY photo_id HAVING count(*) > 1",
        "predictions": "SELECT photo_id FROM predictions GROUP BY photo_id, model_id HAVING count(*) > 1",
        "tags without a prediction": (
            "SELECT tags.photo_id FROM tags LEFT JOIN predictions "
            "ON predictions.photo_id = tags.photo_id AND predictions.model_id = tags.model_id "
            "WHERE tags.source = 'model' AND predictions.photo_id IS NULL"
        ),
        "tagged and unreadable": (
            "SELECT tags.photo_id FROM tags JOIN photos ON photos.id = tags.photo_id "
            "WHERE tags.source = 'model' AND photos.state = 'unreadable'"
        ),
    }
    with closing(sqlite3.connect(db)) as connection:
        for what, statement in doubled.items():
            assert connection.execute(statement).fetchall() == [], what


def workers(home: Path) -> list[int]:
    """The worker processes with this home, whatever process started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = b"phototag.imaging.sandbox.worker" in (folder / "cmdline").read_bytes()
            if is_worker and os.fsencode(home) in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def no_worker_is_left(home: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while left := workers(home):
        assert time.monotonic() < end, f"worker processes {left} outlive their parent"
        time.sleep(0.02)


def kill_in_work(process: subprocess.Popen[bytes], note: Path, delay_seconds: float) -> bool:
    """Kill a run so long after it began to write; whether it was still there to be killed."""
    while not note.exists() and process.poll() is None:
        time.sleep(0.001)
    return kill_after(process, delay_seconds)


def kill_after(process: subprocess.Popen[bytes], delay_seconds: float) -> bool:
    """Kill a run after a time; whether it was still there to be killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay_seconds)
    process.kill()
    _, said = process.communicate()
    assert b"Traceback" not in said, said.decode(errors="replace")
    return process.returncode == -signal.SIGKILL


def kills(draw: random.Random, scene: Scene, command: str, db: Path, seconds: float) -> Iterator[bool]:
    """Runs that are killed, one after another on the same database: some anywhere, most while they write."""
    note = db.with_name(f"{db.name}.lock.json")
    while True:
        note.unlink(missing_ok=True)  # left behind by the run that was killed before
        process = scene.start(command, db)
        if draw.random() < 0.25:
            hit = kill_after(process, draw.uniform(0, seconds))
        else:
            hit = kill_in_work(process, note, draw.uniform(0, 0.6 * seconds))
        # What took that long may have run beside more than it does now.
        seconds *= 1 if hit else 0.5
        yield hit


@pytest.mark.slow
@pytest.mark.parametrize("command", list(COMMANDS))
def test_run_that_is_killed_leaves_a_sound_database_that_the_next_run_completes(
    scene: Scene, run_phototag: RunCommand, command: str
) -> None:
    undisturbed = scene.copy_of_base("undisturbed")
    seconds = scene.complete(command, undisturbed)
    expected = end_state(undisturbed)
    assert len(expected) > 50
    draw = random.Random(f"{SEED} {command}")
    done = rounds = hits = 0
    while done < max(KILLS // len(COMMANDS), 1):
        db = scene.copy_of_base(f"round {rounds}")
        rounds += 1
        runs = kills(draw, scene, command, db, seconds)
        for _ in range(draw.randint(2, 5)):
            hits += next(runs)
            done += 1
            checked = run_phototag("db", "check", "--db", db)
            assert checked.exit_code == 0, checked.output
            nothing_twice(db)
            no_worker_is_left(scene.home)
        scene.complete(command, db)
        assert end_state(db) == expected
        assert run_phototag("db", "check", "--db", db).exit_code == 0
        nothing_twice(db)
        counts = attempts(db)
        assert all((counts[path] == 0) == (row[6] is None) for path, row in expected.items())
        assert max(counts.values()) <= MAX_ATTEMPTS
        left = {path.name for path in db.parent.iterdir()}
        notes = {name for name in left if not name.startswith(("photos.db-", "photos.db.lock"))}
        # One more could be left by each kill, but only within the microseconds in which it is written.
        assert len(notes) <= 4 and len(left) <= 9, left
        if rounds > 3:
            shutil.rmtree(db.parent)
    sys.stdout.write(f"{command}: {done} kills in {rounds} rounds, {hits} of them while it ran\n")  # for pytest -s
    assert hits > done // 4
    assert list(scene.temporary.iterdir()) == []


def test_worker_processes_end_with_a_run_that_is_killed(scene: Scene, make_picture: MakePicture) -> None:
    for number in range(200):
        make_picture(scene.library / "many" / f"{number}.tif")
    process = scene.start("tag", scene.base)
    end = time.monotonic() + PATIENCE_SECONDS
    while not workers(scene.home):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.communicate()
    no_worker_is_left(scene.home)
    assert list(scene.temporary.iterdir()) == []


def test_worker_process_that_is_killed_costs_no_photo(scene: Scene, run_phototag: RunCommand) -> None:
    undisturbed = scene.copy_of_base("undisturbed")
    scene.complete("tag", undisturbed)
    db = scene.copy_of_base("disturbed")
    process = scene.start("tag", db)
    killed = 0
    while process.poll() is None:
        for pid in workers(scene.home)[:1] if killed < 3 else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.02)
    process.communicate()
    assert killed
    # A picture whose second worker was killed as well counts as one that brings decoders down, until it changes.
    scene.complete("tag", db)
    failed = {path: row[6] for path, row in end_state(db).items() if row[6] and "crashed" in row[6]}
    assert {path: row for path, row in end_state(db).items() if path not in failed} == {
        path: row for path, row in end_state(undisturbed).items() if path not in failed
    }
    assert len(failed) <= killed // 2
    assert run_phototag("db", "check", "--db", db).exit_code == 0
