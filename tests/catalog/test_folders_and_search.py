"""Folders, searching, and names that mean harm."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.facets.by_text import words_of
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.folders import folder_key
from phototag.catalog.search import ByteStrings, holding
from phototag.store import Store
from tests.support.catalog_photos import all_ids
from tests.support.stored_photos import register, stored


def folders(gallery: Gallery, key: str | None = None) -> tuple[list[str], list[tuple[str, int | None]]]:
    """The way down to a folder and the folders inside it with their photos, as the facet shows them."""
    choices = gallery.facets(GalleryFilter(folder=key)).groups["folder"].choices
    way = [choice for choice in choices if choice.style == "up" or choice.chosen]
    inside = way[-1].below if way else choices
    return [choice.label for choice in way], [(choice.label, choice.count) for choice in inside]


def open_folders(paths: Iterable[str | bytes]) -> Store:
    store = Store.open("sqlite://")
    with store.writing("tag"):
        store.tags.save_batch(model_id=register(store), tagged=[stored(path) for path in paths])
    return store


def test_folders_are_chosen_step_by_step_and_lone_ones_are_passed_over() -> None:
    paths = ["/home/me/a/x/y/1.jpg", "/home/me/a/x/y/2.jpg", "/home/me/a/z/3.jpg", "/home/me/b/c/4.jpg"]
    with open_folders(paths) as store, Gallery(store) as gallery:
        assert folders(gallery) == ([], [("a", 3), ("b/c", 1)])
        key = folder_key(b"/home/me/a")
        assert folders(gallery, key) == (["All folders", "a"], [("x/y", 2), ("z", 1)])
        deepest = folder_key(b"/home/me/a/x/y")
        assert folders(gallery, deepest) == (["All folders", "a", "x/y"], [])
        assert gallery.facets(GalleryFilter(folder=deepest)).total == 2
        above = folder_key(b"/home")
        assert folders(gallery, above)[0] == ["All folders", "/home"]
        assert gallery.facets(GalleryFilter(folder=above)).total == 4
        nowhere = folder_key(b"/nowhere")
        assert gallery.facets(GalleryFilter(folder=nowhere)).total == 0
        assert folders(gallery, nowhere) == ([], [("a", 3), ("b/c", 1)])


def test_folder_that_sorts_between_another_and_its_children_is_not_mistaken_for_one() -> None:
    with (
        open_folders(["/p/a-b/1.jpg", "/p/a/2.jpg", "/p/a/b/3.jpg", "/p/ab/4.jpg"]) as store,
        Gallery(store) as gallery,
    ):
        assert folders(gallery)[1] == [("a", 2), ("a-b", 1), ("ab", 1)]
        assert gallery.page(GalleryFilter(folder=folder_key(b"/p/a"))).total == 2


def test_photos_at_the_very_top_and_in_two_trees_are_found() -> None:
    with open_folders(["/1.jpg", "/a/2.jpg", "/b/3.jpg"]) as store, Gallery(store) as gallery:
        assert gallery.facets(GalleryFilter()).total == 3
        assert folders(gallery)[1] == [("/a", 1), ("/b", 1)]


def test_empty_library_shows_nothing_and_breaks_nothing() -> None:
    with Store.open("sqlite://") as store, Gallery(store) as gallery:
        page = gallery.page(GalleryFilter(text="x"))
        assert (gallery.total, page.items, page.total, page.after) == (0, (), 0, None)
        facets = gallery.facets(GalleryFilter(folder="0" * 16, since=date(2020, 1, 1)))
        assert facets.total == 0
        assert all(not facets.groups[name].choices for name in ("class", "date", "folder"))
        assert gallery.around(GalleryFilter(), photo_id=1).place is None
        assert gallery.items([1, -5, 2**70]) == ()
        assert gallery.photo(1) is gallery.photo(-1) is gallery.photo(2**70) is None
        assert gallery.similar(1) == ()


# ---- searching


def test_search_knows_no_case_and_no_difference_between_ways_to_write_an_accent() -> None:
    paths = ["/p/Caf\u0065\u0301.jpg", "/p/STRASSE.jpg", "/p/ΣΟΦΟΣ.jpg", b"/p/\xff\xfe.jpg", "/p/Größe 50%.jpg"]
    with open_folders(paths) as store, Gallery(store) as gallery:

        def found(text: str) -> list[int]:
            return all_ids(gallery, GalleryFilter(text=text), sort=GallerySort.PATH, descending=False)

        numbers = {os.fsencode(path): item.id for path, item in zip(paths, gallery.items(range(1, 6)), strict=True)}
        assert found("CAFÉ") == [numbers[os.fsencode(paths[0])]]
        assert found("straße") == found("Strasse") == [numbers[b"/p/STRASSE.jpg"]]
        assert found("σοφος") == [numbers[os.fsencode(paths[2])]]
        assert found("\ufffd") == found("\udcff") == [numbers[b"/p/\xff\xfe.jpg"]]
        assert found("50% größe") == [numbers[os.fsencode(paths[4])]]
        assert len(found("rooster .JPG")) == 5, "names of the tag count, and so does the path"
        assert len(found("bird/rooster")) == 5
        assert found("jpg/p") == [], "no word runs on from one path into the next"
        assert found("nowhere\0") == []


@given(words=st.lists(st.text(st.sampled_from("abAB /"), min_size=1, max_size=3), max_size=2))
@settings(deadline=None)
def test_search_finds_what_a_plain_search_finds(words: list[str]) -> None:
    parts = ["".join(letters) for length in (1, 2) for letters in itertools.product("abA", repeat=length)]
    paths = [f"/{folder}/{name}" for folder in ("a", "b/a", "A/ab") for name in parts]
    wanted = words_of(" ".join(f'"{word}"' for word in words))
    expected = [path for path in paths if all(word.lower() in path.lower() for word in wanted)]
    folders, names = zip(*(path.lower().encode().rsplit(b"/", 1) for path in paths), strict=True)
    known = sorted(set(folders))
    folder, folded = np.array([known.index(each) for each in folders]), ByteStrings.of(names)
    found = [holding(word, known, folder, folded) for word in wanted]
    assert [path for place, path in enumerate(paths) if all(each[place] for each in found)] == expected


# ---- names that mean harm


def test_names_are_shown_so_that_they_can_do_nothing() -> None:
    names = ["<script>alert(1)</script>.jpg", "a\nb.jpg", "a\u202egpj.exe", "tab\t\x1b[31m.jpg"]
    with open_folders([f"/p/{name}" for name in names[1:]] + [f"/p/x{names[0].replace('/', '_')}"]) as store:
        with store.writing("tag"):
            store.tags.save_batch(model_id=1, tagged=[stored(b"/p/caf\xe9.jpg")])
        with Gallery(store) as gallery:
            shown = [item.name for item in gallery.items(range(1, 6))]
            assert shown == ["a?b.jpg", "a?gpj.exe", "tab??[31m.jpg", "x<script>alert(1)<_script>.jpg", "caf\ufffd.jpg"]
            for name in shown:
                name.encode()
