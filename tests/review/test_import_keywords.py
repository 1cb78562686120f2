"""`phototag import keywords`: what people wrote in other programs becomes their tags here, and nothing is guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from phototag.choices import ReviewOrigin
from phototag.library.scanner import ScanProblems, scan
from phototag.records import Rank, Source, Tag
from phototag.store import ExportKind, FileKeywords, KeywordExport, Query, Review, ReviewFilter, Store, StoredTag
from tests.support.commands import RunCommand
from tests.support.keywords import write_keywords
from tests.support.pictures import MakePicture
from tests.support.stored_photos import register

HAWK = Tag("bird", "hawk", Rank.SUBCLASS, 0.9, 0.8, 0.1)
KEYWORDS: dict[str, tuple[str, ...]] = {
    "levels": ("Animals|Bird|Rooster", "sunny"),
    "flat": ("beagle", "sunny"),
    "superclass": ("Animals|bird",),
    "subsumed": ("bird", "rooster"),
    "several": ("beagle", "bird"),
    "unknown": ("Food|rooster", "café, crème; a/b"),
    "none": (),
}
Import = Callable[..., Result]


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Path:
    """Photos with keywords in sidecars, all tagged as hawks by a model that knows roosters, hawks and beagles."""
    for number, (name, keywords) in enumerate(KEYWORDS.items()):
        write_keywords(make_picture(tmp_path / "library" / f"{name}.png", seed=number), *keywords)
    with Store.open() as store, store.writing("test"):
        tagged = [
            StoredTag(photo.photo(), hashlib.sha256(photo.path.read_bytes()).digest(), 96, 64, b"scores", HAWK)
            for photo in scan([tmp_path / "library"], ScanProblems())
        ]
        store.tags.save_batch(model_id=register(store), tagged=tagged)
    return tmp_path / "library"


@pytest.fixture
def imported(run_phototag: RunCommand, library: Path) -> Import:
    return lambda *words: run_phototag("import", "keywords", library, *words)


def human() -> dict[str, tuple[str | None, str | None]]:
    with Store.open() as store:
        return {row.path.stem: (row.superclass, row.subclass) for row in store.query(Query(source=Source.HUMAN))}


def test_keywords_become_tags_that_a_person_gave(imported: Import) -> None:
    result = imported("--yes")
    assert result.exit_code == 0, result.stderr
    assert human() == {
        "levels": ("bird", "rooster"),
        "flat": ("dog", "beagle"),
        "superclass": ("bird", None),
        "subsumed": ("bird", "rooster"),
    }
    assert "4 photos tagged by their keywords" in result.stderr
    with Store.open() as store:
        assert {review.origin for review in store.reviews.find_all()} == {ReviewOrigin.IMPORT}
    assert "Nothing new to store" in imported("--yes").stderr


def test_preview_counts_and_lists_what_is_not_taken(imported: Import) -> None:
    result = imported("--dry-run")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["Animals|Bird|Rooster", "bird/rooster", "1"] in lines
    assert ["sunny", "2"] in lines and ["Food|rooster", "1"] in lines
    assert any(line[:1] == [str(Path("several.png"))] or "several.png" in line[0] for line in lines if line)
    assert ["to", "be", "tagged", "4"] in lines
    assert (human(), "nothing was stored" in result.stderr) == ({}, True)


def test_nothing_is_stored_where_nobody_can_be_asked(imported: Import) -> None:
    result = imported()
    assert (result.exit_code, human()) == (2, {})
    assert "--yes" in result.stderr and "--dry-run" in result.stderr


def test_a_mapping_file_is_written_to_fill_in_and_then_read(imported: Import, tmp_path: Path) -> None:
    mapping = tmp_path / "keywords.csv"
    assert "3 unknown keywords added" in imported("--dry-run", "--map", mapping).stderr
    text = mapping.read_text(encoding="utf-8-sig")
    assert text.splitlines()[:2] == ["keyword,superclass,subclass,photos", "sunny,,,2"]
    assert '"café, crème; a/b",,,1' in text
    filled = text.replace("sunny,,", "sunny,,").replace('a/b",,', 'a/b",dog,Beagle').replace("Food|rooster,,", "Food,,")
    mapping.write_text(filled.replace("\r\n", "\n").replace(",dog,Beagle", ",dog,Beagle"), encoding="utf-8")
    result = imported("--yes", "--map", mapping)
    assert human()["unknown"] == ("dog", "beagle"), result.stderr
    assert "0 unknown keywords added" in result.stderr
    write_keywords(tmp_path / "library" / "none.png", "crowned")
    assert "1 unknown keywords added" in imported("--dry-run", "--map", mapping).stderr
    assert mapping.read_text(encoding="utf-8-sig").splitlines()[-1] == "crowned,,,1"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("sunny,,rooster", "line 2: subclass 'rooster' without a superclass"),
        ("sunny,dog,rooster", "'rooster' lies under 'bird'"),
        ("sunny,bird,\nSunny,dog,", "line 3: 'Sunny' is dog (superclass only) here and bird (superclass only) in"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_with_its_line(
    imported: Import, tmp_path: Path, row: str, said: str
) -> None:
    mapping = tmp_path / "keywords.csv"
    mapping.write_text(f"keyword,superclass,subclass\n{row}\n")
    result = imported("--yes", "--map", mapping)
    assert (result.exit_code, human()) == (2, {})
    assert said in result.stderr


def test_what_a_person_said_here_wins_unless_asked_otherwise(imported: Import, library: Path) -> None:
    with Store.open() as store, store.writing("test"):
        photo = store.photos.find(library / "levels.png")
        assert photo is not None
        store.reviews.save(Review(photo_id=photo.id, superclass="bird", subclass="hawk"))
    assert "said otherwise, left alone" in imported("--yes").stdout
    assert human()["levels"] == ("bird", "hawk")
    assert imported("--yes", "--replace").exit_code == 0
    assert human()["levels"] == ("bird", "rooster")


def test_what_phototag_wrote_itself_is_not_a_persons_word(imported: Import, library: Path) -> None:
    ours = FileKeywords(items={"lr:hierarchicalSubject": ["Animals|Bird|Rooster"]}, names=("bird", "rooster"))
    with Store.open() as store, store.writing("test"):
        sidecar = bytes(library / "levels.png.xmp")
        store.keyword_exports.plan(
            [KeywordExport(path_bytes=sidecar, photo_id=None, kind=ExportKind.SIDECAR, state=ours)]
        )
    assert imported("--yes").exit_code == 0
    assert set(human()) == {"flat", "superclass", "subsumed"}


def test_a_keyword_that_was_corrected_takes_the_place_of_the_old_one_and_back(imported: Import, library: Path) -> None:
    for said in ("bird|rooster", "dog|beagle", "bird|rooster"):
        write_keywords(library / "none.png", said)
        imported("--yes")
        assert human()["none"] == tuple(said.split("|"))
    with Store.open() as store:
        assert len(list(store.reviews.find_all(ReviewFilter(current=False, under=library / "none.png")))) == 3


def test_photos_that_changed_or_were_never_tagged_are_counted_and_left(
    imported: Import, library: Path, make_picture: MakePicture
) -> None:
    write_keywords(make_picture(library / "new.png", seed=99), "rooster")
    make_picture(library / "flat.png", seed=100)
    result = imported("--yes")
    assert "not in the database (run: phototag tag)" in result.stdout
    assert "changed since they were tagged" in result.stdout
    assert {"new", "flat"}.isdisjoint(human())


def test_a_sidecar_that_cannot_be_read_is_named_and_the_rest_is_imported(imported: Import, library: Path) -> None:
    (library / "none.png.xmp").write_bytes(b"<x:xmpmeta")
    result = imported("--yes")
    assert result.exit_code == 1
    assert "none.png.xmp: " in result.stdout
    assert len(human()) == 4
