"""`phototag tag s3://...`: what is found, read again, moved, missing, and what becomes of a server in trouble."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from phototag.errors import ObjectStorageError, UsageError
from phototag.object_storage import listing
from phototag.paths import S3Path
from phototag.store import Query, Store
from tests.object_storage.conftest import RunTag, picture
from tests.support.pictures import MakePicture
from tests.support.s3_server import S3Server

ODD = [
    "/lead.jpg",
    "a//b.jpg",
    "a/../up.jpg",
    "a/./dot.jpg",
    "a/%20 +.jpg",
    "a/line\nbreak.jpg",
    "ünï/é.jpg",
    "q?x=1&y#z.jpg",
]


def test_keys_of_any_characters_are_stored_byte_for_byte(s3: S3Server, tag: RunTag, db: Path) -> None:
    for number, key in enumerate(ODD):
        s3.put("museum", key, picture(number))
    assert tag("s3://museum").tagged == len(ODD)
    with Store.open(db) as store:
        rows = [photo.path_bytes for photo in store.photos.under([S3Path("s3://museum")])]
    assert rows == sorted(f"s3://museum/{key}".encode() for key in ODD)
    assert tag("s3://museum").unchanged == len(ODD)


def test_what_did_not_change_is_not_read_again(s3: S3Server, tag: RunTag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_PAGE_KEYS", 4)
    for number in range(11):
        s3.put("museum", f"{number % 3}/{number}.jpg", picture(number))
    assert tag("s3://museum").tagged == 11
    s3.requests.clear()
    s3.put("museum", "1/1.jpg", picture(99))
    report = tag("s3://museum")
    assert (report.tagged, report.unchanged) == (1, 10)
    assert (s3.requests["GET"], s3.requests["LIST"]) == (1, 1 + 3)


def test_hidden_names_system_folders_and_other_files_are_left_out(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]]
) -> None:
    for key in (".trash/a.jpg", "b/.hidden.jpg", "@eaDir/c.jpg", "d.mp4", "e.psd", "folder.jpg/", "thumbs/f.jpg"):
        s3.put("museum", key, picture(0))
    s3.put("museum", "kept.jpg", picture(1))
    report = tag("s3://museum", exclude=["thumbs"])
    assert list(known()) == ["s3://museum/kept.jpg"]
    assert "1 .psd" in report.left_out.line() and "1 @eaDir" in report.left_out.line()


def test_objects_and_files_lie_side_by_side(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]], tmp_path: Path, make_picture: MakePicture
) -> None:
    make_picture(tmp_path / "library" / "a.jpg")
    for key in ("2019/a.jpg", "2019-b/b.jpg", "2020/c.jpg"):
        s3.put("museum", key, picture(len(key)))
    assert tag("s3://museum/2019-b", tmp_path / "library", "s3://museum/2019/", "s3://museum/2020/c.jpg").tagged == 4
    assert list(known(under=S3Path("s3://museum/2019"))) == ["s3://museum/2019/a.jpg"]
    assert list(known(under=tmp_path)) == [str(tmp_path / "library" / "a.jpg")]


def test_a_deleted_object_is_missing_and_comes_back(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]]
) -> None:
    for number in range(3):
        s3.put("museum", f"{number}.jpg", picture(number), modified=1e9)
    tag("s3://museum")
    del s3.buckets["museum"]["1.jpg"]
    assert tag("s3://museum").missing == 1
    assert known()["s3://museum/1.jpg"] == "missing"
    s3.put("museum", "1.jpg", picture(1), modified=1e9)
    s3.requests.clear()
    assert tag("s3://museum").unchanged == 3
    assert known()["s3://museum/1.jpg"] == "ok" and not s3.requests["GET"]


def test_a_renamed_object_keeps_its_row_and_is_not_read(s3: S3Server, tag: RunTag, db: Path) -> None:
    s3.put("museum", "old/a.jpg", picture(1), modified=1e9)
    s3.put("museum", "old/b.jpg", picture(2), modified=1e9)
    tag("s3://museum")
    with Store.open(db) as store, store.writing("test"):
        store.tags.set_human(S3Path("s3://museum/old/a.jpg"), superclass="bird")
    s3.buckets["museum"]["new/c.jpg"] = s3.buckets["museum"].pop("old/a.jpg")
    s3.put("museum", "new/c.jpg", picture(1), modified=2e9)  # a copy has a time of its own
    s3.requests.clear()
    report = tag("s3://museum")
    assert (report.moved, report.missing, s3.requests["GET"]) == (1, 0, 0)
    with Store.open(db) as store:
        [row] = store.query(Query(under=S3Path("s3://museum/new")))
    assert row.superclass == "bird"


def test_a_copy_is_no_move(s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]]) -> None:
    s3.put("museum", "a.jpg", picture(1))
    tag("s3://museum")
    s3.put("museum", "b.jpg", picture(1))
    assert tag("s3://museum").moved == 0
    assert known() == {"s3://museum/a.jpg": "ok", "s3://museum/b.jpg": "ok"}


def test_files_that_were_uploaded_take_their_tags_along(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "library" / "a.jpg"
    file.parent.mkdir()
    file.write_bytes(picture(1))
    tag(file.parent)
    s3.put("museum", "a.jpg", file.read_bytes())
    file.unlink()
    assert tag("s3://museum").moved == 1
    assert known() == {"s3://museum/a.jpg": "ok"}


def test_an_object_that_vanishes_between_list_and_read_is_passed_over(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]]
) -> None:
    for number in range(3):
        s3.put("museum", f"{number}.jpg", picture(number))
    s3.before_get = lambda key: s3.buckets["museum"].pop("1.jpg", None) if key == "1.jpg" else None
    assert tag("s3://museum").tagged == 2
    assert list(known()) == ["s3://museum/0.jpg", "s3://museum/2.jpg"]


def test_a_busy_server_and_broken_downloads_are_waited_out(s3: S3Server, tag: RunTag) -> None:
    for number in range(6):
        s3.put("museum", f"{number}.jpg", picture(number))
    s3.busy, s3.cut = 5, 4
    assert (tag("s3://museum").tagged, s3.busy, s3.cut) == (6, 0, 0)


def test_what_may_not_be_read_is_a_failure_with_its_reason(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]]
) -> None:
    s3.put("museum", "a.jpg", picture(1))
    s3.put("museum", "b.jpg", picture(2))
    s3.put("museum", "c.jpg", b"no picture")
    s3.denied = {"a.jpg"}
    report = tag("s3://museum")
    assert next(failure.reason for failure in report.failures) == "access is denied"
    assert list(known().values()) == ["unreadable", "ok", "unreadable"]


def test_too_large_objects_are_refused_before_they_are_read(
    s3: S3Server, tag: RunTag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.imaging.reading.MAX_FILE_BYTES", 100)
    s3.put("museum", "a.jpg", picture(1))
    [failure] = tag("s3://museum").failures
    assert failure.kind == "too_large"


def test_raw_photos_follow_the_picture_beside_them(s3: S3Server, tag: RunTag, db: Path) -> None:
    s3.put("museum", "a/x.jpg", picture(1))
    s3.put("museum", "a/x.cr2", b"II*\0raw")
    s3.put("museum", "a/y.jpg", picture(2))
    report = tag("s3://museum")
    assert (report.tagged, report.failed) == (3, 0)
    with Store.open(db) as store:
        assert store.count(Query(leads_only=True)) == 2


def test_a_listing_that_breaks_off_marks_nothing_missing(
    s3: S3Server, tag: RunTag, known: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        s3.put("museum", f"{number}.jpg", picture(number))
    tag("s3://museum")
    monkeypatch.setattr(listing, "_PAGE_KEYS", 2)
    ask, asked = listing.ask, iter(range(9))

    def fail_third(*args: object, **parameters: object) -> object:
        if next(asked) == 2:
            raise ObjectStorageError("s3://museum: the line is cut")
        return ask(*args, **parameters)

    monkeypatch.setattr(listing, "ask", fail_third)
    report = tag("s3://museum")
    assert report.problems[0] == "s3://museum: could not all be listed: the line is cut"
    assert report.missing == 0 and set(known().values()) == {"ok"}


def test_keys_in_no_order_are_not_compared(s3: S3Server, tag: RunTag) -> None:
    s3.put("museum", "a.jpg", picture(1))
    s3.put("museum", "b.jpg", picture(2))
    s3.unordered = True
    report = tag("s3://museum")
    assert "lists keys in no order" in report.problems[0]


def test_credentials_that_expire_end_the_run_and_the_next_goes_on(
    s3: S3Server, tag: RunTag, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        s3.put("museum", f"{number:02}.jpg", picture(number))
    from phototag.object_storage import object_file

    ask = object_file.ask

    def expire(operation: str, path: S3Path, **parameters: object) -> object:
        if path.name == "30.jpg":
            raise ObjectStorageError("s3://museum: the credentials have expired")
        return ask(operation, path, **parameters)

    with monkeypatch.context() as patch:
        patch.setattr(object_file, "ask", expire)
        report = tag("s3://museum")
    assert report.interrupted and report.problems == ["s3://museum: the credentials have expired"]
    assert 0 < report.tagged < 31 and not report.failures
    assert tag("s3://museum").tagged == 40 - report.tagged


def test_a_killed_run_goes_on_where_it_was(s3: S3Server, tag: RunTag, light_model: Path, db: Path) -> None:
    for number in range(60):
        s3.put("museum", f"{number:02}.jpg", picture(number))
    program = (
        "import sys; from pathlib import Path; from phototag.store import Store; "
        "from tests.support.light_tagger import light_tagger\n"
        f"with Store.open({str(db)!r}) as store, light_tagger(Path({str(light_model)!r})) as tagger:\n"
        "    tagger.tag(['s3://museum'], store, sinks=[lambda batch: print('saved', flush=True)])\n"
    )
    s3.before_get = lambda _key: Event().wait(0.02)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"saved\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    s3.requests.clear()
    report = tag("s3://museum")
    assert report.unchanged > 0 and report.tagged + report.unchanged == 60
    assert s3.requests["GET"] == report.tagged


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("s3://museum/none", "s3://museum/none: no such object, and none below it"),
        ("s3://museum/film.mp4", "not a picture that phototag reads"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
    ],
)
def test_a_root_without_photos_is_wrong_use(s3: S3Server, tag: RunTag, root: str, said: str) -> None:
    s3.put("museum", "film.mp4", b"film")
    with pytest.raises(UsageError, match=said):
        tag(root)


def test_what_keeps_all_objects_away_is_said_with_a_way_out(
    s3: S3Server, tag: RunTag, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ObjectStorageError, match=r"s3://attic: there is no such bucket; .* AWS_ENDPOINT_URL"):
        tag("s3://attic")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ObjectStorageError, match=r"profile .*nobody.* could not be found; see ~/.aws/config"):
        tag("s3://museum")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ObjectStorageError, match=r"http://127.0.0.1:1 does not answer: .*; check the network"):
        tag("s3://museum")


def test_without_the_extra_its_name_is_said(tag: RunTag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.object_storage.client._clients", {})
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ObjectStorageError, match=r"pip install 'phototag\[s3\]'"):
        tag("s3://museum")


def test_local_photos_are_tagged_while_the_storage_of_their_copies_is_away(
    s3: S3Server, tag: RunTag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("museum", "a.jpg", picture(1))
    tag("s3://museum")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    (tmp_path / "a.jpg").write_bytes(picture(1))
    report = tag(tmp_path / "a.jpg")
    assert (report.tagged, report.moved) == (1, 0)
