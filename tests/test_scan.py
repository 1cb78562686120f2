"""The scanner and the plan: which files count, in which order, and what each of them needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phototag.library.plan import MAX_ATTEMPTS, Need, compare
from phototag.library.scan import ScanProblems, count, resolve_roots, scan

from phototag.errors import UsageError
from phototag.imaging.formats import SUFFIXES, is_picture
from phototag.records import FailureKind, Photo, PhotoState, Source
from phototag.store import KnownPhoto


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(*roots: Path, problems: ScanProblems | None = None) -> list[str]:
    """Paths of a scan relative to the first root, in its order."""
    photos = scan(resolve_roots(roots), problems or ScanProblems())
    return [os.path.relpath(photo.path, roots[0]) for photo in photos]


class TestScan:
    def test_folders_are_searched_to_any_depth(self, tmp_path: Path) -> None:
        deep = Path(*"abcdefghij")
        touch(tmp_path / "top.jpg", tmp_path / "a" / "one.jpg", tmp_path / deep / "deep.png")
        assert sorted(found(tmp_path)) == sorted(["top.jpg", "a/one.jpg", str(deep / "deep.png")])

    def test_only_pictures_count_whatever_the_case_of_their_suffix(self, tmp_path: Path) -> None:
        names = ["a.jpg", "b.JPG", "c.Jpeg", "d.png", "e.webp", "f.tif", "g.TIFF", "h.gif", "i.bmp", "j.avif"]
        touch(*(tmp_path / name for name in [*names, "notes.txt", "jpg", "k.jpg.part", "l.mp4", "m.svg", "n.heic"]))
        assert found(tmp_path) == sorted(names)

    def test_every_suffix_is_lower_case_and_starts_with_a_dot(self) -> None:
        assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
        assert is_picture(Path("x.JPG")) and not is_picture(Path(".jpg"))

    def test_hidden_files_and_folders_are_left_out(self, tmp_path: Path) -> None:
        touch(tmp_path / ".hidden.jpg", tmp_path / "._mac.jpg", tmp_path / ".thumbs" / "a.jpg", tmp_path / "seen.jpg")
        assert found(tmp_path) == ["seen.jpg"]

    def test_a_hidden_folder_that_is_named_is_searched(self, tmp_path: Path) -> None:
        touch(tmp_path / ".photos" / "a.jpg")
        assert found(tmp_path / ".photos") == ["a.jpg"]

    def test_symbolic_links_are_not_followed(self, tmp_path: Path) -> None:
        root, outside = tmp_path / "root", tmp_path / "outside"
        touch(root / "own.jpg", outside / "other.jpg")
        (root / "link.jpg").symlink_to(outside / "other.jpg")
        (root / "folder").symlink_to(outside, target_is_directory=True)
        (root / "loop").symlink_to(root, target_is_directory=True)
        (root / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
        assert found(root) == ["own.jpg"]

    def test_a_root_may_be_a_link_to_a_folder(self, tmp_path: Path) -> None:
        touch(tmp_path / "real" / "a.jpg")
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
        assert [photo.path for photo in scan(resolve_roots([tmp_path / "link"]), ScanProblems())] == [
            tmp_path / "link" / "a.jpg"
        ]

    def test_a_root_that_is_a_link_to_a_file_has_the_files_stat(self, tmp_path: Path) -> None:
        """Otherwise a change of the file behind the link would never be seen."""
        target = tmp_path / "real.jpg"
        target.write_bytes(b"x" * 1000)
        (tmp_path / "link.jpg").symlink_to(target)
        (photo,) = scan(resolve_roots([tmp_path / "link.jpg"]), ScanProblems())
        assert (photo.path, photo.size_bytes) == (tmp_path / "link.jpg", 1000)

    def test_pipes_and_sockets_are_left_out_and_refused_as_roots(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        touch(tmp_path / "a.jpg")
        assert found(tmp_path) == ["a.jpg"]
        with pytest.raises(UsageError, match=r"pipe\.jpg"):
            resolve_roots([tmp_path / "pipe.jpg"])

    def test_a_photo_has_the_files_own_stat(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.jpg")
        stat = (tmp_path / "a.jpg").stat()
        (photo,) = scan([tmp_path], ScanProblems())
        assert photo == Photo(tmp_path / "a.jpg", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def test_names_that_are_not_utf8_come_through(self, tmp_path: Path) -> None:
        name = b"caf\xe9\xff.jpg"
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
        (photo,) = scan([tmp_path], ScanProblems())
        assert os.fsencode(photo.path.name) == name

    def test_count_says_what_scan_will_find(self, tmp_path: Path) -> None:
        touch(*(tmp_path / str(number % 3) / f"{number}.jpg" for number in range(20)), tmp_path / "x.txt")
        assert count([tmp_path]) == len(found(tmp_path)) == 20

    def test_what_cannot_be_listed_is_noted_and_the_rest_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(tmp_path / "a.jpg", tmp_path / "b" / "c.jpg", tmp_path / "d" / "e.jpg")
        scandir = os.scandir

        def failing(path: str) -> object:
            if Path(path).name == "b":
                raise OSError(5, "Input/output error")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", failing)
        problems = ScanProblems()
        assert found(tmp_path, problems=problems) == ["a.jpg", "d/e.jpg"]
        assert problems.lines == [f"{tmp_path / 'b'}: Input/output error"]
        assert problems.seen == {tmp_path / "b"}

    def test_a_file_that_vanishes_during_the_scan_is_passed_over(self, tmp_path: Path) -> None:
        touch(*(tmp_path / f"{name}.jpg" for name in "abc"))
        problems = ScanProblems()
        photos = scan([tmp_path], problems)
        first = next(photos)
        (tmp_path / "b.jpg").unlink()
        assert [first.path.name, *(photo.path.name for photo in photos)] == ["a.jpg", "c.jpg"]
        assert problems.lines == []

    def test_a_folder_that_vanishes_during_the_scan_is_passed_over(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.jpg", tmp_path / "b" / "c.jpg")
        problems = ScanProblems()
        photos = scan([tmp_path], problems)
        next(photos)
        (tmp_path / "b" / "c.jpg").unlink()
        (tmp_path / "b").rmdir()
        assert list(photos) == []
        assert problems.lines == []

    @given(
        st.sets(
            st.lists(st.sampled_from(["a", "a-", "a.", "a0", "b", "é", "Z", " "]), min_size=1, max_size=4).map(tuple)
        )
    )
    def test_photos_come_in_the_order_of_their_path_bytes(
        self, tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, ...]]
    ) -> None:
        root = tmp_path_factory.mktemp("order")
        touch(*(root.joinpath(*parts[:-1], parts[-1] + ".jpg") for parts in names))
        paths = [os.fsencode(photo.path) for photo in scan([root], ScanProblems())]
        assert paths == sorted(paths)
        assert len(paths) == len(names)


class TestRoots:
    def test_a_path_that_does_not_exist_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nowhere: no such file or folder"):
            resolve_roots([tmp_path, tmp_path / "nowhere"])

    def test_a_file_that_is_no_picture_is_refused(self, tmp_path: Path) -> None:
        touch(tmp_path / "notes.txt")
        with pytest.raises(UsageError, match=r"notes\.txt: not a picture"):
            resolve_roots([tmp_path / "notes.txt"])

    def test_roots_inside_others_are_searched_once(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "b" / "x.jpg", tmp_path / "a-b" / "y.jpg")
        inner = [tmp_path / "a" / "b" / "x.jpg", tmp_path / "a" / "b", tmp_path / "a", tmp_path, tmp_path]
        assert resolve_roots(inner) == [tmp_path]
        assert resolve_roots([tmp_path / "a-b", tmp_path / "a"]) == [tmp_path / "a-b", tmp_path / "a"]

    def test_relative_roots_are_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path / "a" / "x.jpg")
        monkeypatch.chdir(tmp_path / "a")
        assert resolve_roots([".", "x.jpg", "../a"]) == [tmp_path / "a"]

    def test_several_roots_are_scanned_in_the_order_of_path_bytes(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "x.jpg", tmp_path / "a-b" / "y.jpg", tmp_path / "a.jpg", tmp_path / "z" / "w.jpg")
        roots = resolve_roots([tmp_path / "z", tmp_path / "a.jpg", tmp_path / "a-b", tmp_path / "a"])
        paths = [os.fsencode(photo.path) for photo in scan(roots, ScanProblems())]
        assert paths == sorted(paths)
        assert len(paths) == 4


PHOTO = Photo(Path("/p/a.jpg"), 10, 20, 30, 40)
KNOWN = KnownPhoto(
    id=1,
    path_bytes=b"/p/a.jpg",
    size_bytes=10,
    modified_ns=20,
    changed_ns=30,
    inode=40,
    content_hash=b"h" * 32,
    state=PhotoState.OK,
    error_kind=None,
    attempts=0,
    tag_model_id=7,
    tag_source=Source.MODEL,
)
UNREADABLE = replace(
    KNOWN, state=PhotoState.UNREADABLE, error_kind=FailureKind.TRUNCATED, attempts=1, tag_model_id=None, tag_source=None
)


def need(photo: Photo, known: KnownPhoto, *, model_id: int | None = 7, force: bool = False) -> Need:
    (step,) = compare([photo], [known], model_id=model_id, force=force)
    return step.need


class TestPlan:
    def test_an_untouched_photo_with_this_models_tag_needs_nothing(self) -> None:
        assert need(PHOTO, KNOWN) is Need.NOTHING

    @pytest.mark.parametrize("field", ["size_bytes", "modified_ns", "changed_ns", "inode"])
    @pytest.mark.parametrize("change", [-1, 1])
    def test_any_other_stat_value_older_or_newer_means_changed(self, field: str, change: int) -> None:
        touched = replace(PHOTO, **{field: getattr(PHOTO, field) + change})
        assert need(touched, KNOWN) is Need.TAG

    def test_a_huge_inode_number_is_no_change(self) -> None:
        huge = 2**64 - 5
        assert need(replace(PHOTO, inode=huge), replace(KNOWN, inode=huge)) is Need.NOTHING

    def test_another_model_or_force_means_tagging_again(self) -> None:
        assert need(PHOTO, KNOWN, model_id=8) is Need.TAG
        assert need(PHOTO, KNOWN, model_id=None) is Need.TAG
        assert need(PHOTO, KNOWN, force=True) is Need.TAG

    def test_an_unreadable_photo_is_given_up_after_some_attempts(self) -> None:
        assert need(PHOTO, replace(UNREADABLE, attempts=MAX_ATTEMPTS - 1)) is Need.TAG
        hopeless = replace(UNREADABLE, attempts=MAX_ATTEMPTS)
        assert need(PHOTO, hopeless) is Need.GIVEN_UP
        assert need(PHOTO, hopeless, force=True) is Need.TAG
        assert need(replace(PHOTO, size_bytes=11), hopeless) is Need.TAG

    def test_what_brought_a_decoder_down_is_kept_away_from_it_until_it_changes(self) -> None:
        crashed = replace(UNREADABLE, error_kind=FailureKind.DECODER, attempts=1)
        assert need(PHOTO, crashed) is Need.GIVEN_UP
        assert need(PHOTO, crashed, force=True) is Need.TAG
        assert need(replace(PHOTO, modified_ns=21), crashed) is Need.TAG

    def test_a_photo_without_permission_is_never_given_up(self) -> None:
        barred = replace(UNREADABLE, error_kind=FailureKind.PERMISSION, attempts=100)
        assert need(PHOTO, barred) is Need.TAG

    def test_an_unreadable_photo_is_read_again_although_its_content_is_known(self) -> None:
        """Scores of its content may be stored, but only reading it shows that it can be read now."""
        (step,) = compare([PHOTO], [UNREADABLE], model_id=7)
        assert step.need is Need.TAG
        assert not step.same_content
        (step,) = compare([PHOTO], [replace(KNOWN, tag_model_id=8)], model_id=7)
        assert step.same_content

    def test_a_known_photo_that_is_not_there_is_missing_once(self) -> None:
        assert [step.need for step in compare([], [KNOWN], model_id=7)] == [Need.MISSING]
        assert list(compare([], [replace(KNOWN, state=PhotoState.MISSING)], model_id=7)) == []

    @given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
    def test_every_photo_appears_once_in_order(self, here: set[int], stored: set[int]) -> None:
        def path(number: int) -> str:
            return f"/p/{number:02}.jpg"

        photos: Sequence[Photo] = [replace(PHOTO, path=Path(path(number))) for number in sorted(here)]
        known = [replace(KNOWN, id=number, path_bytes=path(number).encode()) for number in sorted(stored)]
        steps = list(compare(photos, known, model_id=7))
        got = [
            (
                os.fspath(step.photo.path) if step.photo else os.fsdecode(step.known.path_bytes) if step.known else "",
                step.need,
            )
            for step in steps
        ]
        wanted = [
            (path(n), Need.MISSING if n not in here else Need.NOTHING if n in stored else Need.TAG)
            for n in sorted(here | stored)
        ]
        assert got == wanted
