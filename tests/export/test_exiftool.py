"""`phototag export exiftool`: a CSV that ExifTool takes, and after which nothing of a person's is gone."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from phototag.export.exiftool import EXIFTOOL
from phototag.library.scanner import ScanProblems, scan
from phototag.metadata import keywords_of
from phototag.records import Rank, Source, Tag
from phototag.store import Store, StoredTag
from tests.support.commands import RunCommand
from tests.support.keywords import packet
from tests.support.stored_photos import ROOSTER, SOME_BIRD, STRANGE, register

NAMES = [b"plain.jpg", b"caf\xe9, d.jpg", b'quo"te.jpg', b"new\nline.jpg", b" blank .jpg", b"#semi;colon's.jpg"]
OPTIONS = {"under": None, "sources": (), "min_score": None}


def _picture(path: Path, xmp: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (16, 16)).save(path, "JPEG", xmp=xmp)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Pictures of strange names that hold keywords of a person."""
    for name in NAMES:
        _picture(tmp_path / "library" / os.fsdecode(name), packet(("Café", "Rooster")))
    return tmp_path / "library"


@pytest.fixture
def store(library: Path) -> Iterator[Store]:
    with Store.open() as opened, opened.writing("test"):
        save(opened, library, ROOSTER)
        yield opened


def save(store: Store, folder: Path, tag: Tag) -> None:
    tagged = [
        StoredTag(photo.photo(), hashlib.sha256(photo.path.read_bytes()).digest(), 16, 16, b"", tag)
        for photo in scan([folder], ScanProblems())
    ]
    store.tags.save_batch(model_id=register(store), tagged=tagged)


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def exported(store: Store, **options: object) -> tuple[list[list[str]], str]:
    target = io.BytesIO()
    written = EXIFTOOL.write(store, OPTIONS | options, target)
    return rows(target.getvalue()), " ".join(written.notes)


def test_what_a_photo_holds_comes_first_and_no_keyword_twice(store: Store, library: Path) -> None:
    found, notes = exported(store)
    assert found[0] == ["SourceFile", "Subject", "HierarchicalSubject"]
    assert {tuple(row[1:]) for row in found[1:]} == {("Café;Rooster;bird", "Café;Rooster;bird|rooster")}
    assert {os.fsencode(row[0]) for row in found[1:]} == {os.fsencode(library) + b"/" + name for name in NAMES}
    assert "exiftool -csv=FILE.csv -sep ';' -r FOLDER" in notes


def test_levels_that_are_there_stay_and_a_superclass_is_one_level(store: Store, library: Path) -> None:
    _picture(library / "plain.jpg", packet(("Anna",), ("People|Anna",)))
    save(store, library / "plain.jpg", SOME_BIRD)
    found, _ = exported(store, under=library / "plain.jpg")
    assert found[1][1:] == ["Anna;bird", "People|Anna;bird"]
    _picture(library / "plain.jpg", packet((), ("Animals|Bird|Rooster",)))
    save(store, library / "plain.jpg", ROOSTER)
    assert exported(store, under=library / "plain.jpg")[0][1][1:] == ["bird;rooster", "Animals|Bird|Rooster"]


def test_photos_whose_keywords_cannot_be_written_are_counted(store: Store, library: Path) -> None:
    _picture(library / "plain.jpg", packet(("one;two",)))
    _picture(library / 'quo"te.jpg', b"<x:xmpmeta")
    save(store, library / " blank .jpg", STRANGE)
    save(store, library / "new\nline.jpg", Tag("bird", "a|b", Rank.SUBCLASS, 0.9, 0.8, 0.1))
    found, notes = exported(store)
    assert len(found) == 3
    for said in ("1 whose file or whose XMP", '1 with a ";" in a keyword', '1 of a class with a "|"'):
        assert said in notes


def test_only_what_is_asked_for_is_written(store: Store, library: Path, run_phototag: RunCommand) -> None:
    store.tags.set_human(library / "plain.jpg", superclass="dog", subclass="beagle")
    assert [row[1] for row in exported(store, sources=(Source.HUMAN,))[0][1:]] == ["Café;Rooster;dog;beagle"]
    assert len(exported(store, min_score=0.81)[0]) == 2, "a person's tag always"
    store.close()
    assert run_phototag("export", "exiftool", "--min-score", "0.81", "--source", "model").exit_code == 1


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_writes_it_into_files_of_any_name_and_again_changes_nothing(
    store: Store, library: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        target = io.BytesIO()
        EXIFTOOL.write(store, OPTIONS, target)
        (tmp_path / "keywords.csv").write_bytes(target.getvalue())
        command = ["exiftool", "-q", f"-csv={tmp_path}/keywords.csv", "-sep", ";", "-overwrite_original", "-r", library]
        subprocess.run(command, check=True, capture_output=True)
        for name in NAMES:
            data = (library / os.fsdecode(name)).read_bytes()
            assert keywords_of(data, ()) == ("bird|rooster", "Café")
