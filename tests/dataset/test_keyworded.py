"""A library with keywords as labelled data: read where it lies, and nothing of it guessed."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from phototag.dataset.keyworded import KeywordedLibrary
from phototag.dataset.labelled import load_data
from phototag.errors import DataError, UsageError
from phototag.metadata import WrittenKeywords
from tests.support.keywords import packet, write_keywords

Library = Callable[..., Path]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A function that makes photos, which are never opened here, each with the keywords of one tuple."""

    def make(*keywords: tuple[str, ...]) -> Path:
        folder = tmp_path / "library" / "2026"
        folder.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(keywords):
            photo = folder / f"{number}.jpg"
            photo.touch()
            write_keywords(photo, *each)
        return folder.parent

    return make


def classes(root: Path, mapping: Path | None = None, **more: object) -> Counter[str]:
    data = load_data(KeywordedLibrary(root, mapping, **more))  # type: ignore[arg-type]
    return Counter(f"{picture.superclass}/{picture.subclass}" for picture in data.pictures)


def test_the_last_two_levels_are_the_class_in_the_spelling_of_most(library: Library) -> None:
    spellings = ["Animals|Bird|Rooster", "animals|Bird|rooster", "Bird|Rooster", "Animals|Bird|\u200fRooster\u200f"]
    root = library(*((each, "sunny", "Rooster") for each in spellings), *[("bird|Wood_Owl",)] * 3)
    assert classes(root) == {"Bird/Rooster": 4, "Bird/Wood_Owl": 3}


def test_what_is_left_out_is_listed_and_the_rest_used(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "phototag")
    root = library(
        *[("Animals|bird|owl",)] * 4,
        ("Animals|bird",),
        ("rooster",),
        ("bird|owl", "Places|Austria|Alps"),
        ("dog|boxer",),
        ("Animals|either/or|owls",),
        *[("machine|crane",)] * 3,
        *[("bird|crane",)] * 3,
        ("Animals|bird|owl|barn owl",),
        (),
    )
    assert classes(root) == {"bird/owl": 4}
    for said in (
        "the keywords of 4 of 17 photos name",
        "above others, which name no subclass: Animals|bird (1)",
        "without levels: rooster (1)",
        "name several classes: Austria/Alps with bird/owl (1)",
        "fewer than 3 photos: dog/boxer (1)",
        "cannot be names of classes: Animals|either/or|owls (1)",
        "under several superclasses: machine/crane (3), bird/crane (3)",
        "below a class: Animals|bird|owl|barn owl (1)",
        "keywords lie below Animals (7), bird (4), machine (3), ",
    ):
        assert said in caplog.text


def test_a_mapping_names_classes_and_ignores_all_below_a_keyword(library: Library, tmp_path: Path) -> None:
    mapping = tmp_path / "map.csv"
    mapping.write_text("keyword;superclass;subclass\nGockel;bird;rooster\nplaces;;\nplaces|zoo;;\nbirds;bird;\n")
    root = library(
        ("Gockel", "Places|Austria|Alps"), ("bird|Rooster",), ("GOCKEL",), *[("dog|boxer", "birds")] * 3, ("birds",)
    )
    assert classes(root, mapping) == {"bird/rooster": 3}


def test_a_raw_photo_and_its_picture_are_one_photo_with_the_keywords_of_both(library: Library) -> None:
    root = library(*[("bird|owl", "sunny")] * 3)
    for number, keyword in enumerate(("bird|owl", "dog|boxer")):
        raw = root / "2026" / f"{number}.nef"
        raw.touch()
        (root / "2026" / f"{number}.xmp").write_bytes(packet((), (keyword,)))
    (root / "2026" / "3.jpg").touch()
    (root / "2026" / "3.nef").touch()
    (root / "2026" / "3.xmp").write_bytes(packet((), ("bird|owl",)))
    data = load_data(KeywordedLibrary(root))
    assert [picture.path.name for picture in data.pictures] == ["0.jpg", "2.jpg", "3.jpg"]


def test_what_phototag_wrote_itself_is_not_learned(library: Library) -> None:
    root = library(("bird|owl", "sunny"), *[("bird|owl",)] * 3)
    sidecar = root / "2026" / "0.jpg.xmp"
    ours = {"lr:hierarchicalSubject": ["bird|owl"]}
    assert classes(root, written=WrittenKeywords(by_path={bytes(sidecar): ours})) == {"bird/owl": 3}
    moved = WrittenKeywords(by_hash={hashlib.sha256(sidecar.read_bytes()).digest(): ours})
    assert classes(root, written=moved) == {"bird/owl": 3}


def test_a_library_without_such_keywords_says_what_is_expected(library: Library, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pictures found\. Expected keywords like Animals\|bird\|rooster"):
        load_data(KeywordedLibrary(library(("rooster",))))
    with pytest.raises(UsageError, match="no such file or folder"):
        load_data(KeywordedLibrary(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no such file; write one"):
        load_data(KeywordedLibrary(tmp_path, tmp_path / "nowhere.csv"))
