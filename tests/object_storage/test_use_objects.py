"""What follows a tag: queries, the page, reviews, exports and pruning, for photos that are objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phototag.cli.viewer import Viewer
from phototag.dataset import load_data
from phototag.dataset.copies import copies_among
from phototag.object_storage import ObjectFile, open_photo
from phototag.paths import S3Path
from phototag.review import why_not
from phototag.store import Store
from tests.object_storage.conftest import RunTag, picture
from tests.support.commands import RunCommand
from tests.support.s3_server import S3Server
from tests.support.web import application, logged_in

ADDRESSES = ["s3://museum/2019//b.jpg", "s3://museum/2019/a.jpg", "s3://museum/2020/c.jpg"]


@pytest.fixture
def library(s3: S3Server, tag: RunTag, tmp_path: Path, db: Path) -> Path:
    """Three objects and a file, tagged."""
    for number, address in enumerate(ADDRESSES):
        s3.put("museum", S3Path(address).key, picture(number))
    (tmp_path / "file.jpg").write_bytes(picture(9))
    tag("s3://museum", tmp_path / "file.jpg")
    return db


def test_query_shows_addresses_beside_paths(library: Path, run_phototag: RunCommand, tmp_path: Path) -> None:
    table = run_phototag("query", "--db", library).output
    assert all(address in table for address in (*ADDRESSES, str(tmp_path / "file.jpg")))
    below = run_phototag("query", "--db", library, "--under", "s3://museum/2019/", "--format", "json").output
    assert [row["path"] for row in json.loads(below)] == ADDRESSES[:2]
    assert run_phototag("query", "--db", library, "--under", "s3://museum/2019").output.startswith(
        "in s3://museum/2019 "
    )
    assert "names no bucket" in run_phototag("query", "--db", library, "--under", "s3://").output


def test_the_page_shows_objects_and_their_folders(library: Path, s3: S3Server) -> None:
    with application(library) as app:
        client = logged_in(app)
        assert "museum" in client.get("/").text
        with Store.open(library) as store:
            number = next(row.id for row in store.photos.under([S3Path("s3://museum/2020")]))
        assert ADDRESSES[2] in client.get(f"/photos/{number}").text
        assert client.get(f"/photos/{number}/thumbnail").headers["content-type"] == "image/jpeg"
        s3.put("museum", "2020/c.jpg", picture(77))
        answer = client.get(f"/photos/{number}/picture")
        assert answer.status_code == 404 and "changed since" in answer.text


def test_a_review_asks_whether_the_object_is_still_the_same(library: Path, s3: S3Server) -> None:
    with Store.open(library) as store:
        [known] = store.photos.under([S3Path("s3://museum/2020/c.jpg")])
    assert known.content_hash is not None
    assert why_not(known, known.path, known.content_hash) is None
    s3.put("museum", "2020/c.jpg", picture(2), modified=1e9)  # put again, the same
    assert why_not(known, known.path, known.content_hash) is None
    s3.put("museum", "2020/c.jpg", picture(3), modified=1e9)
    assert why_not(known, known.path, known.content_hash) == "changed since it was tagged; run: phototag tag"
    del s3.buckets["museum"]["2020/c.jpg"]
    assert why_not(known, known.path, known.content_hash) == "is missing; if it was moved, run: phototag tag"


def test_a_program_that_shows_pictures_gets_a_copy(library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shown = tmp_path / "shown.jpg"
    viewer = Viewer(f"python3 -c \"import shutil, sys; shutil.copy(sys.argv[1], '{shown}')\"", said.append)
    viewer.open(S3Path(ADDRESSES[2]))
    for _, process in filter(None, [viewer._running]):
        process.wait(30)
    viewer.close()
    assert shown.read_bytes() == picture(2) and not said


def test_exported_labels_are_read_again(library: Path, run_phototag: RunCommand, tmp_path: Path, s3: S3Server) -> None:
    labels = tmp_path / "truth.csv"
    rows = [f"{address},bird,rooster" for address in ADDRESSES] + ["file.jpg,bird,rooster"]
    labels.write_text("\n".join(["filepath,superclass,subclass", *rows]))
    assert [str(each.path) for each in load_data(labels).pictures[:3]] == ADDRESSES
    assert "4" in run_phototag("audit", "truth", str(labels), "--db", library, "--import").output
    exported = tmp_path / "labels.csv"
    assert run_phototag("export", "labels", "--db", library, "--output", exported).exit_code in (0, 1)
    assert all(address in exported.read_text() for address in ADDRESSES)
    s3.put("museum", "copy.jpg", picture(0))
    paths = [each.path for each in load_data(exported).pictures]
    assert copies_among([*paths, S3Path("s3://museum/copy.jpg")]) == [[paths.index(S3Path(ADDRESSES[0])), 4]]


def test_pruning_removes_what_is_gone_and_keeps_what_is_back(
    library: Path, s3: S3Server, tag: RunTag, run_phototag: RunCommand, known: Callable[..., dict[str, str]]
) -> None:
    objects = s3.buckets["museum"]
    del objects["2020/c.jpg"], objects["2019/a.jpg"]
    tag("s3://museum")
    s3.put("museum", "2019/a.jpg", picture(1))
    run_phototag("db", "prune", "--yes", "--missing-for", "0d", "--db", library)
    assert {path for path in known() if path.startswith("s3://")} == set(ADDRESSES[:2])


def test_nothing_is_written_into_object_storage(library: Path, run_phototag: RunCommand) -> None:
    answer = run_phototag("export", "xmp", "--db", library, "--min-score", "0")
    assert "lies in object storage, where nothing is written" in answer.output
    assert "in object storage, where ExifTool" in run_phototag("export", "exiftool", "--db", library).output


@pytest.mark.parametrize(
    "words", [["watch", "s3://museum"], ["train", "s3://museum"], ["import", "keywords", "s3://museum"]]
)
def test_commands_that_need_a_folder_say_what_to_do(words: list[str], run_phototag: RunCommand) -> None:
    answer = run_phototag(*words)
    assert answer.exit_code == 2
    assert "run 'phototag tag' on it now and then" in answer.output or "copy it to a folder" in answer.output


def test_a_dry_run_prints_what_is_there(library: Path, s3: S3Server, tag: RunTag) -> None:
    s3.put("museum", "new.jpg", picture(5))
    assert tag("s3://museum", dry_run=True).tagged == 1


def test_an_object_reads_like_a_file_wherever_one_starts(s3: S3Server) -> None:
    s3.put("museum", "a.jpg", bytes(range(256)) * 100)
    with open_photo(S3Path("s3://museum/a.jpg")) as file:
        file.seek(25_000)
        assert file.read(3) == bytes(range(168, 171)) and file.read() == (bytes(range(256)) * 100)[25_003:]
        assert file.seek(-1, 2) == 25_599 and file.read() == b"\xff" and file.read() == b""


def test_an_object_that_changes_while_it_is_read_is_not_mixed(s3: S3Server) -> None:
    s3.put("museum", "a.jpg", b"a" * 100_000)
    with ObjectFile(S3Path("s3://museum/a.jpg")) as file:
        s3.put("museum", "a.jpg", b"b" * 100_000)
        file.seek(50_000)
        with pytest.raises(OSError, match="changed while it was read"):
            file.read(10)
