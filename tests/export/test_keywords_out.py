"""Keywords go into files and out again; what people and other programs wrote stays, whatever happens in between."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phototag import files
from phototag.export import KeywordExporter, KeywordRule, find_taken_out, keyword_exporter
from phototag.metadata import add_keywords, fresh_packet, keywords_in, remove_keywords
from phototag.metadata.xmp import embedded_packets, read_packet
from phototag.records import Photo, Rank, Tag
from phototag.store import Query, Review, ReviewFilter, Settled, Store
from tests.metadata.test_packets import listed, packet
from tests.support.keyword_files import as_tagged, tag_picture
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, STRANGE, register

HAWK = Tag("bird", "hawk", Rank.SUBCLASS, 0.9, 0.8, 0.1)
Add = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "photos.db") as opened, opened.writing("tag"):
        register(opened)
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


@pytest.fixture
def add(store: Store, folder: Path) -> Add:
    """Make a photo, unless it is there, and tag it."""
    return lambda name, tag=ROOSTER, **options: tag_picture(store, folder / name, tag, **options)


def export(store: Store, **options: Any) -> Any:
    rule = options.pop("rule", None)
    return KeywordExporter(store, rule, **options).export(Query())


def keywords(path: Path) -> dict[str, list[str]]:
    return keywords_in(path.read_bytes())


BOTH = {"dc:subject": ["bird", "rooster"], "lr:hierarchicalSubject": ["bird|rooster"]}


def test_tags_become_sidecars_once(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    add("b.cr2", SOME_BIRD)
    add("c.jpg", STRANGE)
    report = export(store)
    assert (report.written, report.without, report.refused) == (2, 1, {})
    assert keywords(folder / "a.jpg.xmp") == BOTH
    assert keywords(folder / "b.xmp") == {"dc:subject": ["bird"], "lr:hierarchicalSubject": ["bird"]}
    assert read_packet((folder / "b.xmp").read_bytes()).sidecar_for == "cr2"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = export(store)
    assert (again.written, again.unchanged) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_keyword_with_further_levels_of_a_person_says_ours_as_well(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    sidecar = folder / "a.jpg.xmp"
    sidecar.write_text(
        packet(listed("dc:subject", "rooster") + listed("lr:hierarchicalSubject", "Animals|Bird|rooster"))
    )
    assert export(store).written == 1
    assert keywords(sidecar) == {"dc:subject": ["rooster", "bird"], "lr:hierarchicalSubject": ["Animals|Bird|rooster"]}
    assert export(store).unchanged == 1


def test_files_that_are_large_together_are_written_in_parts(
    store: Store, add: Add, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        add(name)
    monkeypatch.setattr(keyword_exporter, "_MOST_BYTES", 1)
    rounds = []
    plan = KeywordExporter._round
    monkeypatch.setattr(KeywordExporter, "_round", lambda self, tasks: rounds.append(len(tasks)) or plan(self, tasks))
    assert export(store, embed=True).written == 3
    assert rounds == [1, 1, 1]


def test_dry_run_writes_nothing(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    assert export(store, dry_run=True).written == 1
    assert [path.name for path in folder.iterdir()] == ["a.jpg"]
    assert not list(store.keyword_exports.all())


def test_existing_sidecar_keeps_every_byte_and_undo_is_exact(store: Store, add: Add, folder: Path) -> None:
    photo = add("a.jpg")
    sidecar = folder / "A.XMP"
    person = packet(
        listed("dc:subject", "Alps") + listed("digiKam:TagsList", "Places/Alps", kind="Seq"), 'xmp:Rating="4"'
    ).encode("utf-16")
    sidecar.write_bytes(person)
    sidecar.chmod(0o640)
    export(store)
    assert not photo.with_name("a.jpg.xmp").exists()  # never a second one
    assert keywords(sidecar) == {
        "dc:subject": ["Alps", "bird", "rooster"],
        "lr:hierarchicalSubject": ["Alps", "bird|rooster"],
        "digiKam:TagsList": ["Places/Alps", "bird/rooster"],
    }
    assert sidecar.stat().st_mode & 0o777 == 0o640
    # A tag that changed replaces the old keyword.
    add("a.jpg", BEAGLE)
    export(store)
    assert keywords(sidecar)["dc:subject"] == ["Alps", "dog", "beagle"]
    assert KeywordExporter(store).undo().removed == 1
    assert sidecar.read_bytes() == person
    assert not list(store.keyword_exports.all())


def test_sidecar_that_was_made_goes_with_undo_and_with_the_tag(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    add("b.jpg")
    export(store)
    add("b.jpg", STRANGE)
    assert export(store).removed == 1
    assert not (folder / "b.jpg.xmp").exists()
    KeywordExporter(store).undo()
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "b.jpg"]


def test_new_sidecar_says_what_the_photo_says(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg", xmp=packet(listed("dc:subject", "Alps"), 'xmp:Rating="5"').encode())
    export(store)
    facts = read_packet((folder / "a.jpg.xmp").read_bytes())
    assert (facts.rating, facts.hierarchical) == (5, ("Alps", "bird|rooster"))


def test_undo_after_others_wrote_takes_out_ours_alone(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    export(store)
    sidecar = folder / "a.jpg.xmp"
    sidecar.write_bytes(add_keywords(sidecar.read_bytes(), {"dc:subject": ["Alps"]}).data)
    assert export(store).unchanged == 0  # what is flat goes into the hierarchical list that we made
    assert keywords(sidecar)["lr:hierarchicalSubject"] == ["Alps", "bird|rooster"]
    KeywordExporter(store).undo()
    assert keywords(sidecar) == {"dc:subject": ["Alps"]}


def test_keyword_that_a_person_took_out_is_offered_and_not_written_again(store: Store, add: Add, folder: Path) -> None:
    photo = add("a.jpg")
    sidecar = folder / "a.jpg.xmp"
    export(store)
    less = remove_keywords(
        sidecar.read_bytes(), {"dc:subject": ["rooster"], "lr:hierarchicalSubject": ["bird|rooster"]}
    )
    sidecar.write_bytes(less)
    for _ in range(2):
        report = export(store)
        assert (report.written, report.taken_out) == (0, 1)
        assert sidecar.read_bytes() == less
        assert [(each.photo, each.keywords) for each in find_taken_out(store)] == [(photo, ("rooster", "bird|rooster"))]
    # Another tag is written; back to the old one it still is not.
    add("a.jpg", HAWK)
    export(store)
    assert keywords(sidecar)["dc:subject"] == ["bird", "hawk"]
    add("a.jpg", ROOSTER)
    export(store)
    assert keywords(sidecar) == {"dc:subject": ["bird"]}
    # A person's word on the photo settles it.
    store.tags.set_human(photo, superclass="bird", subclass="rooster")
    assert not list(find_taken_out(store))
    export(store)
    assert keywords(sidecar) == BOTH


def test_keyword_that_a_person_put_below_another_is_not_taken_out(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    sidecar = folder / "a.jpg.xmp"
    export(store)
    moved = remove_keywords(sidecar.read_bytes(), {"lr:hierarchicalSubject": ["bird|rooster"]})
    sidecar.write_bytes(add_keywords(moved, {"lr:hierarchicalSubject": ["Animals|bird|rooster"]}).data)
    report = export(store)
    assert (report.unchanged, report.taken_out) == (1, 0)


def test_deleted_sidecar_stays_deleted_unless_asked_for(store: Store, add: Add, folder: Path) -> None:
    add("a.jpg")
    export(store)
    (folder / "a.jpg.xmp").unlink()
    assert (export(store).written, export(store).taken_out) == (0, 1)
    assert export(store, again=True).written == 1
    assert keywords(folder / "a.jpg.xmp") == BOTH
    (folder / "a.jpg.xmp").unlink()
    assert export(store, embed=True).written == 1  # which is another place


def test_rule_decides_for_models_and_not_for_people(store: Store, add: Add, folder: Path) -> None:
    for name, tag in (("a.jpg", ROOSTER), ("b.jpg", BEAGLE), ("c.jpg", SOME_BIRD), ("d.jpg", SOME_BIRD)):
        add(name, tag)
    store.tags.set_human(folder / "d.jpg", superclass="fish")
    export(store, rule=KeywordRule(min_score=0.8))
    assert {path.name: keywords(path)["dc:subject"] for path in folder.glob("*.xmp")} == {
        "a.jpg.xmp": ["bird", "rooster"],
        "b.jpg.xmp": ["dog"],
        "d.jpg.xmp": ["fish"],
    }
    # What the rule does not let pass any more is taken out.
    assert export(store, rule=KeywordRule(limits={"sample": (0.92, 0.99)})).removed == 1
    assert sorted(path.name for path in folder.glob("*.xmp")) == ["b.jpg.xmp", "d.jpg.xmp"]
    assert export(store, rule=KeywordRule(limits={})).removed == 1


def test_what_cannot_be_written_is_left_alone_with_the_reason(store: Store, add: Add, folder: Path) -> None:
    names = ["read-only", "linked", "torn", "doctype", "dangling", "name"]
    for name in names:
        add(f"{name}.jpg", Tag("bird", "a|b", Rank.SUBCLASS, 0.9, 0.9, 0.0) if name == "name" else ROOSTER)
        if name not in ("dangling", "name"):
            (folder / f"{name}.jpg.xmp").write_bytes(fresh_packet())
    (folder / "read-only.jpg.xmp").chmod(0o444)
    os.link(folder / "linked.jpg.xmp", folder / "other.xmp")
    (folder / "torn.jpg.xmp").write_bytes(fresh_packet()[:-40])
    (folder / "doctype.jpg.xmp").write_bytes(b"<!DOCTYPE x>" + fresh_packet())
    (folder / "dangling.jpg.xmp").symlink_to(folder / "nowhere.xmp")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()}
    report = export(store)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()} == before
    assert report.written == 0 and not report.complete
    reasons = " ".join(report.refused)
    for words in ("read-only", "hard links", "well-formed", "DOCTYPE", "not there", "vertical bar"):
        assert words in reasons
    assert report.lines(dry_run=False, undo=False)


def test_links_are_followed(store: Store, add: Add, folder: Path, tmp_path: Path) -> None:
    add("a.jpg")
    real = tmp_path / "elsewhere.xmp"
    real.write_bytes(fresh_packet())
    (folder / "a.jpg.xmp").symlink_to(real)
    export(store)
    assert (folder / "a.jpg.xmp").is_symlink() and keywords(real) == BOTH


def test_program_that_writes_at_the_same_time_wins_and_is_joined(
    store: Store, add: Add, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("a.jpg")
    sidecar = folder / "a.jpg.xmp"
    sidecar.write_bytes(fresh_packet())
    plan = store.keyword_exports.plan
    others = iter([packet(listed("dc:subject", "Alps")).encode()])

    def other_program(exports: Any) -> None:
        plan(exports)
        for other in others:
            sidecar.write_bytes(other)
            break

    monkeypatch.setattr(store.keyword_exports, "plan", other_program)
    assert export(store).written == 1
    assert keywords(sidecar)["dc:subject"] == ["Alps", "bird", "rooster"]
    monkeypatch.undo()
    KeywordExporter(store).undo()
    assert sidecar.read_bytes() == packet(listed("dc:subject", "Alps")).encode()


@pytest.mark.parametrize("renamed", [False, True], ids=["before the file was replaced", "after it"])
@pytest.mark.parametrize("embed", [False, True], ids=["sidecar", "embedded"])
def test_run_that_was_killed_is_found_out_and_completed(
    store: Store, add: Add, folder: Path, monkeypatch: pytest.MonkeyPatch, *, renamed: bool, embed: bool
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    photo = add("a.jpg")
    before = photo.read_bytes()
    place = (
        "phototag.store.keyword_exports.KeywordExports.settle"
        if renamed
        else "phototag.export.keyword_exporter.rewrite_all"
    )
    monkeypatch.setattr(place, kill)
    with pytest.raises(Killed):
        export(store, embed=embed)
    monkeypatch.undo()
    (entry,) = store.keyword_exports.all(unsettled=True)
    report = export(store, embed=embed)
    assert (report.written, report.unchanged) == ((0, 1) if renamed else (1, 0))
    assert not list(store.keyword_exports.all(unsettled=True))
    known = store.photos.find(photo)
    assert known is not None and known.content_hash == sha256(photo.read_bytes()).digest()
    KeywordExporter(store).undo()
    assert photo.read_bytes() == before and not entry.path.with_name("a.jpg.xmp").exists()


def test_embedding_keeps_pixels_and_what_is_known_of_the_photo(store: Store, add: Add, folder: Path) -> None:
    photo = add("a.jpg", xmp=packet(listed("dc:subject", "Alps")).encode())
    before = photo.read_bytes()
    known = store.photos.find(photo)
    assert known is not None
    store.reviews.save(Review(photo_id=known.id, superclass="bird", subclass="rooster"))
    assert export(store, embed=True).written == 1
    assert [path.name for path in folder.iterdir()] == ["a.jpg"]
    with Image.open(io.BytesIO(before)) as old, Image.open(photo) as new:
        assert old.tobytes() == new.tobytes()
    (inside,) = embedded_packets(io.BytesIO(photo.read_bytes()))
    assert set(read_packet(inside).flat) == {"Alps", "bird", "rooster"}
    known, status = store.photos.find(photo), photo.stat()
    assert known is not None
    assert known.matches(Photo(photo, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    assert known.content_hash == sha256(photo.read_bytes()).digest()
    assert [review.valid for review in store.reviews.find_all(ReviewFilter(valid=False))] == [True]
    assert export(store, embed=True).unchanged == 1
    KeywordExporter(store).undo()
    assert photo.read_bytes() == before
    known = store.photos.find(photo)
    assert known is not None and known.content_hash == sha256(before).digest()


def test_keywords_that_were_embedded_once_go_on_there(store: Store, add: Add, folder: Path) -> None:
    photo = add("a.jpg")
    export(store, embed=True)
    add("a.jpg", BEAGLE)
    assert export(store).written == 1
    (inside,) = embedded_packets(io.BytesIO(photo.read_bytes()))
    assert read_packet(inside).hierarchical == ("dog|beagle",)
    assert not list(folder.glob("*.xmp"))


def test_photo_that_changed_since_it_was_tagged_is_not_embedded_into(store: Store, add: Add) -> None:
    photo = add("a.jpg")
    Image.effect_noise((30, 30), 10).save(photo, "JPEG")
    assert "changed since it was tagged" in " ".join(export(store, embed=True).refused)


def test_ledger_follows_sidecars_that_were_moved_or_copied(store: Store, add: Add, folder: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        add(name)
    export(store)
    (folder / "new").mkdir()
    for name in ("a.jpg", "a.jpg.xmp"):
        (folder / name).rename(folder / "new" / name)
    (folder / "c.jpg.xmp").write_bytes((folder / "b.jpg.xmp").read_bytes())
    (folder / "c.jpg").write_bytes((folder / "b.jpg").read_bytes())
    store.photos.mark_missing([known.id for known in store.photos.at([folder / "a.jpg"])])
    for name in ("new/a.jpg", "c.jpg"):
        add(name, BEAGLE)
    export(store)
    assert keywords(folder / "new" / "a.jpg.xmp")["dc:subject"] == ["dog", "beagle"]
    assert keywords(folder / "c.jpg.xmp")["dc:subject"] == ["dog", "beagle"]
    KeywordExporter(store).undo()
    assert not list(folder.rglob("*.xmp"))


def test_run_that_is_interrupted_says_so_and_leaves_nothing_open(
    store: Store, add: Add, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    add("a.jpg")
    monkeypatch.setattr("phototag.export.keyword_exporter.rewrite_all", interrupt)
    report = export(store)
    assert report.interrupted and not report.complete
    assert not list(store.keyword_exports.all())
    monkeypatch.undo()
    assert export(store).written == 1


def test_write_that_another_process_settles_meanwhile_stays_settled(
    store: Store, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("a.jpg")
    export(store)
    (written,) = store.keyword_exports.all()
    store.keyword_exports.plan([replace(written, planned=replace(written.state, items={}))])
    (unsettled,) = store.keyword_exports.all(unsettled=True)
    ended = Settled(unsettled.path_bytes, done=False)
    store.keyword_exports.settle([unsettled], [ended])
    store.keyword_exports.settle([unsettled], [replace(ended, done=True)])  # by one that listed it before
    assert [each.state for each in store.keyword_exports.all()] == [written.state]
    # Whoever finds out what happened does so while nobody else can write.
    store.keyword_exports.plan([unsettled])
    held: list[bool] = []
    inside = [False]
    writing, sweep = store.writing, files.sweep

    @contextmanager
    def note(*args: Any, **options: Any) -> Iterator[Store]:
        with writing(*args, **options) as opened:
            inside[0] = True
            yield opened
            inside[0] = False

    def look(folder: Path) -> None:
        held.append(inside[0])
        sweep(folder)

    monkeypatch.setattr(store, "writing", note)
    monkeypatch.setattr("phototag.export.keyword_targets.sweep", look)
    KeywordExporter(store).recover()
    assert held == [True] and not list(store.keyword_exports.all(unsettled=True))


@pytest.mark.parametrize("archive", ["archive", "later"])
@pytest.mark.parametrize("exported", [True, False], ids=["exported", "only undone"])
def test_sidecar_of_a_photo_under_the_name_of_a_moved_one_is_not_ours(
    store: Store, add: Add, folder: Path, monkeypatch: pytest.MonkeyPatch, archive: str, *, exported: bool
) -> None:
    monkeypatch.setattr("phototag.export.keyword_exporter._BATCH", 1)
    for name in ("inbox", archive):
        (folder / name).mkdir()
    photo = add("inbox/a.jpg")
    sidecar = folder / "inbox" / "a.jpg.xmp"
    export(store)
    # Somebody adds to it, so that its content does not tell any more that it is ours, and it goes with the photo.
    more = add_keywords(sidecar.read_bytes(), {"dc:subject": ["Alps"]}).data
    sidecar.write_bytes(more)
    moved = folder / archive / "a.jpg"
    (known,) = store.photos.at([photo])
    photo.rename(moved)
    sidecar.rename(moved.with_name("a.jpg.xmp"))
    store.moves.apply({known.id: as_tagged(moved).photo})
    person = packet(listed("dc:subject", "rooster", "Rome")).encode()
    add("inbox/a.jpg", BEAGLE)
    sidecar.write_bytes(person)
    if exported:
        assert export(store).taken_out == 0
        assert keywords(sidecar)["dc:subject"] == ["rooster", "Rome", "dog", "beagle"]
        assert set(keywords(moved.with_name("a.jpg.xmp"))["dc:subject"]) == {"bird", "rooster", "Alps"}
    KeywordExporter(store).undo()
    assert sidecar.read_bytes() == person
    assert keywords(moved.with_name("a.jpg.xmp")) == {"dc:subject": ["Alps"]}
    assert not list(store.keyword_exports.all())


def test_photo_under_the_name_of_a_moved_one_gets_its_first_sidecar(store: Store, add: Add, folder: Path) -> None:
    photo, moved = add("a.jpg"), folder / "archive" / "a.jpg"
    export(store)
    moved.parent.mkdir()
    (known,) = store.photos.at([photo])
    for path in (photo, photo.with_name("a.jpg.xmp")):
        path.rename(moved.with_name(path.name))
    store.moves.apply({known.id: as_tagged(moved).photo})
    add("a.jpg")
    KeywordExporter(store).export_paths([photo])  # before the one that was moved
    assert keywords(photo.with_name("a.jpg.xmp")) == BOTH
    assert not list(find_taken_out(store))
    KeywordExporter(store).undo()
    assert not list(folder.rglob("*.xmp"))
