"""`phototag export xmp` says what it did, in its exit code too, and can be killed at any moment."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phototag.export import KeywordExporter, KeywordSink
from phototag.metadata import fresh_packet, keywords_in
from phototag.store import Query, Store
from phototag.tagging import Batch
from tests.support.commands import RunCommand
from tests.support.keyword_files import as_tagged, tag_picture
from tests.support.stored_photos import BEAGLE, STRANGE, register


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with three tagged photos; its database lies beside it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Store.open(tmp_path / "photos.db") as store, store.writing("tag"):
        tag_picture(store, folder / "a.jpg")
        tag_picture(store, folder / "b.jpg", BEAGLE)
        tag_picture(store, folder / "c.jpg", STRANGE)
    return folder


def test_command_writes_tells_and_takes_back(library: Path, run_phototag: RunCommand) -> None:
    db = ("--db", library.with_name("photos.db"))
    dry = run_phototag("export", "xmp", "--dry-run", *db)
    assert (dry.exit_code, dry.stdout) == (0, "")
    assert "2 would be written" in dry.stderr and not list(library.glob("*.xmp"))
    done = run_phototag("export", "xmp", *db)
    assert done.exit_code == 0 and "2 written, 0 unchanged, 1 photos without keywords" in done.stderr
    assert "Model sample" in done.stderr  # what its tags promise
    (library / "a.jpg.xmp").write_bytes(fresh_packet())
    assert "1 files no longer hold" in run_phototag("export", "xmp", *db).stderr
    listed = run_phototag("export", "xmp", "--taken-out", *db)
    assert listed.stdout.splitlines()[1:] == [f"{library}/a.jpg,{library}/a.jpg.xmp,bird; rooster; bird|rooster"]
    others = run_phototag("export", "xmp", "--taken-out", "--superclass", "dog", *db)
    assert others.stdout.splitlines() == ["path,file,keywords"]
    undone = run_phototag("export", "xmp", "--undo", "--subclass", "beagle", *db)
    assert undone.exit_code == 0 and not (library / "b.jpg.xmp").exists()


def test_command_chooses_photos_by_place(library: Path, run_phototag: RunCommand) -> None:
    db = ("--db", library.with_name("photos.db"))
    for more in ((), ("--undo",), ("--taken-out",)):
        near = run_phototag("export", "xmp", "--near", "52.5,13.4,10", *more, *db)
        assert near.exit_code == 0 and not list(library.glob("*.xmp")), near.stderr


def test_command_refuses_what_makes_no_sense_and_says_what_it_left(library: Path, run_phototag: RunCommand) -> None:
    db = ("--db", library.with_name("photos.db"))
    for wrong in (("--undo", "--embed"), ("--min-score", "0.9", "--precision", "0.9"), ("--precision", "2")):
        assert run_phototag("export", "xmp", *wrong, *db).exit_code == 2
    none = run_phototag("export", "xmp", "--precision", "0.9", *db)
    assert "Tags of model sample are left out" in none.stderr and not list(library.glob("*.xmp"))
    for name in "ab":
        (library / f"{name}.jpg.xmp").write_bytes(b"<torn")
    left = run_phototag("export", "xmp", "--subclass", "rooster", *db)
    assert left.exit_code == 2 and "not well-formed" in left.stderr
    assert run_phototag("export", "xmp", *db).exit_code == 1


def test_watcher_writes_sidecars_of_each_batch(library: Path) -> None:
    said: list[str] = []
    with Store.open(library.with_name("photos.db")) as store, store.writing("watch"):
        sink = KeywordSink(store, said.append)
        batch = Batch(items=(as_tagged(library / "a.jpg"), as_tagged(library / "b.jpg")), inferred=2)
        (library / "b.jpg.xmp").write_bytes(b"<torn")
        sink(batch)
        sink(batch)
        assert keywords_in((library / "a.jpg.xmp").read_bytes())["dc:subject"] == ["bird", "rooster"]
        assert len(said) == 1 and "not well-formed" in said[0]


@pytest.mark.slow
def test_files_are_old_or_new_whenever_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    old = fresh_packet()
    with Store.open(tmp_path / "photos.db") as store, store.writing("tag"):
        first = tag_picture(store, folder / "0.jpg")
        picture = first.read_bytes()
        for number in range(1, 120):
            shutil.copy(first, folder / f"{number}.jpg")
        for number in range(0, 120, 2):
            (folder / f"{number}.jpg.xmp").write_bytes(old)
        items = [as_tagged(folder / f"{number}.jpg") for number in range(120)]
        store.tags.save_batch(model_id=register(store), tagged=items)
    new: set[bytes] = set()
    for options in ([], ["--undo"], ["--embed"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "phototag", "export", "xmp", *options, "--db", tmp_path / "photos.db"],
            stderr=subprocess.DEVNULL,
        )
        begun = len(list(folder.iterdir()))
        while process.poll() is None and len(list(folder.iterdir())) == begun:
            time.sleep(0.002)
        time.sleep(random.random() * 0.05)
        process.kill()
        process.wait()
        for path in folder.glob("[0-9]*.xmp"):
            data = path.read_bytes()
            if data != old:
                assert keywords_in(data)["dc:subject"] == ["bird", "rooster"]
                new.add(data)
    with Store.open(tmp_path / "photos.db") as store:
        KeywordExporter(store).export(Query())
        assert not list(store.keyword_exports.all(unsettled=True))
        assert sum(1 for _ in store.keyword_exports.all()) >= 120
        KeywordExporter(store).undo()
    assert len(new) <= 2
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{number}.jpg" for number in range(120)] + [f"{number}.jpg.xmp" for number in range(0, 120, 2)]
    )
    assert {path.read_bytes() for path in folder.glob("*.xmp")} == {old}
    assert {path.read_bytes() for path in folder.glob("*.jpg")} == {picture}
