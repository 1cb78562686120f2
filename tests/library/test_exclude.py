"""Patterns of what to leave out: what each kind of pattern speaks of, and that the scanner keeps to them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.errors import UsageError
from phototag.library.exclude import Exclusion
from phototag.library.scanner import ScanProblems, count, scan

ROOT = Path("/photos/mine")


def covered(pattern: str, path: str, root: Path = ROOT) -> bool:
    return Exclusion([pattern]).covers(root / path, root)


@pytest.mark.parametrize(
    ("pattern", "left_out", "kept"),
    [
        # without a slash: a name, at any depth
        ("thumbs", ["thumbs/a.jpg", "2019/thumbs/b/c.jpg", "2019/thumbs"], ["thumbs2/a.jpg", "a-thumbs.jpg"]),
        ("*_small.jpg", ["a_small.jpg", "x/y/_small.jpg"], ["a_small.png", "a_small.jpg.jpg"]),
        ("IMG_??.jpg", ["IMG_01.jpg", "x/IMG_ab.jpg"], ["IMG_1.jpg", "IMG_001.jpg"]),
        ("[ab].jpg", ["a.jpg", "x/b.jpg"], ["c.jpg", "ab.jpg"]),
        ("[!ab].jpg", ["c.jpg"], ["a.jpg"]),
        ("thumbs/", ["thumbs/a.jpg", "2019/thumbs/b.jpg"], ["x.jpg"]),
        ("**", ["a.jpg", "x/y.jpg"], []),
        # with one: a path below the root
        ("2019/raw", ["2019/raw/a.jpg", "2019/raw/x/b.jpg"], ["x/2019/raw/a.jpg", "2019/raws/a.jpg", "2019/a.jpg"]),
        ("./raw", ["raw/a.jpg"], ["x/raw/a.jpg"]),
        ("2019//raw/", ["2019/raw/a.jpg"], ["2019/a.jpg"]),
        ("*/raw", ["a/raw/x.jpg"], ["a/b/raw/x.jpg", "raw/x.jpg"]),
        ("**/raw", ["raw/x.jpg", "a/raw/x.jpg", "a/b/raw"], ["a/raws/x.jpg"]),
        ("a/**/z.jpg", ["a/z.jpg", "a/b/z.jpg", "a/b/c/z.jpg"], ["b/z.jpg", "a/bz.jpg"]),
        ("a**/z.jpg", ["a/z.jpg", "ab/z.jpg", "ab/c/z.jpg"], ["az.jpg", "b/a/z.jpg"]),
        ("2019/**", ["2019/a.jpg", "2019/b/c.jpg"], ["2018/a.jpg", "x/2019/a.jpg"]),
        ("**/cache/*.png", ["cache/a.png", "x/y/cache/a.png"], ["cache/a.jpg", "cache/x/a.png"]),
        ("x/?.jpg", ["x/a.jpg"], ["x/ab.jpg", "x/y/a.jpg"]),
        ("x[!y]z/a.jpg", ["xaz/a.jpg"], ["xyz/a.jpg", "x/z/a.jpg"]),
        ("x/[a-c].jpg", ["x/b.jpg"], ["x/d.jpg", "x/-.jpg"]),
        # beginning with one: the whole path
        ("/photos/mine/raw", ["raw/a.jpg"], ["x/raw/a.jpg"]),
        ("/photos/*/raw", ["raw/a.jpg"], ["x/raw/a.jpg"]),
        ("/elsewhere/**", [], ["elsewhere/a.jpg"]),
        ("/**/raw", ["raw/a.jpg", "x/raw/a.jpg"], ["a.jpg"]),
    ],
)
def test_pattern_covers(pattern: str, left_out: list[str], kept: list[str]) -> None:
    assert [path for path in left_out if not covered(pattern, path)] == []
    assert [path for path in kept if covered(pattern, path)] == []


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        *(("x/[!]", "[!]"), ("x/[]", "[]"), ("x/[a", "[a"), ("x/[]]", "]"), ("x/[!]]", "a"), ("x/[^a]", "^")),
        *(("x/[[a].b", "[.b"), ("x/[\\d]", "\\"), ("x/a+(b)", "a+(b)"), ("x/$^.|", "$^.|"), ("x/[a&&b]", "&")),
        *(("[!]", "[!]"), ("[^a]", "^"), ("a{1}", "a{1}"), ("x/ a ", " a "), (" a ", " a "), ("x/a\nb", "a\nb")),
        *(("x/caf*", os.fsdecode(b"caf\xe9")), ("caf?", os.fsdecode(b"caf\xe9")), ("x/🦎", "🦎")),
        (os.fsdecode(b"x/caf\xe9"), os.fsdecode(b"caf\xe9")),
    ],
)
def test_odd_characters_stand_for_themselves(pattern: str, name: str) -> None:
    assert covered(pattern, f"x/{name}")
    assert not covered(pattern, "x/other")


@pytest.mark.parametrize("pattern", ["[z-a]", "x/[z-a]", "x/[z-a]*"])
def test_range_that_holds_nothing_matches_nothing(pattern: str) -> None:
    assert not covered(pattern, "x/b")


@pytest.mark.parametrize("pattern", ["", " ", "/", "//", ".", "./", " / "])
def test_empty_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="an empty pattern"):
        Exclusion(["fine", pattern])


def test_nothing_is_covered_without_patterns_and_outside_the_root() -> None:
    assert not Exclusion()
    assert Exclusion(["a"])
    assert not Exclusion().covers(ROOT / "a", ROOT)
    assert not Exclusion(["a"]).covers(Path("/other/a"), ROOT)


def test_root_itself_is_never_left_out() -> None:
    assert not covered("mine", "")
    assert not covered("mine", "a.jpg"), "what is called like the root is meant below it"
    assert covered("mine", "mine/a.jpg")
    assert covered("a", "a/b.jpg", root=Path("/"))


def test_any_of_several_patterns_is_enough() -> None:
    exclusion = Exclusion(["thumbs", "2019/raw", "/photos/mine/x"])
    paths = ["a/thumbs/1.jpg", "2019/raw/2.jpg", "x/3.jpg", "2019/4.jpg"]
    assert [exclusion.covers(ROOT / path, ROOT) for path in paths] == [True, True, True, False]


def test_deeply_nested_folder_is_covered() -> None:
    path = ROOT.joinpath(*["d"] * 1500)
    assert Exclusion(["**/e"]).covers(path / "e" / "f" / "a.jpg", ROOT)
    assert not Exclusion(["**/e"]).covers(path / "a.jpg", ROOT)


NAMES = st.sampled_from(["a", "b", "ab", "[", "!", "a b", " ", "é", os.fsdecode(b"\xff"), "x\ny", "^", "."])
MARKS = ["a", "b", "*", "**", "?", "[ab]", "[!a]", "[", "]", "!", "^", " ", "/", "/", "é", os.fsdecode(b"\xff"), "\n"]
PATTERNS = st.lists(st.sampled_from(MARKS), min_size=1, max_size=6).map("".join)


@settings(max_examples=60, deadline=None)
@given(
    files=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=8),
    patterns=st.lists(PATTERNS.filter(lambda pattern: pattern.strip(" ./")), min_size=1, max_size=3),
    absolute=st.booleans(),
)
def test_scan_gives_exactly_what_is_not_covered(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, ...]], patterns: list[str], absolute: bool
) -> None:
    """Otherwise an excluded photo would be marked missing, or one that is there would be."""
    root = tmp_path_factory.mktemp("law")
    for parts in files:
        folder = root.joinpath(*(part + "-" for part in parts[:-1]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (parts[-1] + ".jpg")).touch()
    if absolute:
        patterns = [f"{root}/{pattern}" for pattern in patterns]
    exclusion = Exclusion(patterns)
    everything = [photo.path for photo in scan([root], ScanProblems())]
    seen = [photo.path for photo in scan([root], ScanProblems(), exclude=exclusion)]
    assert seen == [path for path in everything if not exclusion.covers(path, root)]
    assert count([root], exclude=exclusion) == len(seen)


def test_excluded_folder_is_not_even_opened(tmp_path: Path) -> None:
    """A folder of millions of thumbnails, or one on a slow network, costs nothing."""
    (tmp_path / "thumbs").mkdir()
    (tmp_path / "a.jpg").touch()
    opened: list[bytes] = []
    scandir = os.scandir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
        found = list(scan([tmp_path], ScanProblems(), exclude=Exclusion(["thumbs"])))
    assert [photo.path.name for photo in found] == ["a.jpg"]
    assert opened == [bytes(tmp_path)]


@pytest.mark.parametrize(
    "pattern", ["caf\u00e9", "cafe\u0301", "caf?", "*/caf\u00e9", "x/cafe\u0301/*", "/photos/mine/x/caf\u00e9"]
)
@pytest.mark.parametrize("name", ["caf\u00e9", "cafe\u0301"])
def test_accents_match_in_whichever_form_they_are_written(pattern: str, name: str) -> None:
    assert covered(pattern, f"x/{name}/a.jpg")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to compare with")
def test_brackets_agree_with_those_of_the_shell(tmp_path: Path) -> None:
    """Bash is the judge of what a user expects of simple patterns."""
    names = ["a", "b", "c", "ab", "a-b", "-", "]", "a]"]
    for name in names:
        (tmp_path / f"{name}.jpg").touch()
    for pattern in ["[ab]", "[a-b]", "[!a]", "[]]", "[!]]", "a[]b]", "[a-]", "?", "??", "a*"]:
        script = f"shopt -s nullglob; cd -- \"$1\" && printf '%s\\n' {pattern}.jpg"
        shell = subprocess.run(["bash", "-c", script, "bash", tmp_path], capture_output=True, text=True, check=True)
        mine = [f"{name}.jpg" for name in names if covered(f"{pattern}.jpg", f"{name}.jpg")]
        below = [f"{name}.jpg" for name in names if covered(f"x/{pattern}.jpg", f"x/{name}.jpg")]
        assert sorted(mine) == sorted(below) == sorted(filter(None, shell.stdout.split("\n"))), pattern
