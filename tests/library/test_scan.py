"""The scanner: which files count, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.errors import UsageError
from phototag.imaging.formats import SUFFIXES, is_picture
from phototag.library.left_out import LeftOut
from phototag.library.scanner import ScanProblems, count, resolve_roots, scan
from phototag.records import Photo


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
        touch(*(tmp_path / name for name in [*names, "notes.txt", "jpg", "k.jpg.part", "l.mp4", "m.svg", "n.jxl"]))
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
        assert photo.photo() == Photo(tmp_path / "a.jpg", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

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

        def failing(path: bytes) -> object:
            if path.endswith(b"/b"):
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


class TestLeftOut:
    @pytest.mark.parametrize(
        "folder",
        ["@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", "System Volume Information", "@Recycle"],
    )
    def test_folders_of_the_system_are_left_out_and_counted(self, tmp_path: Path, folder: str) -> None:
        touch(tmp_path / "a.jpg", tmp_path / folder / "b.jpg", tmp_path / "x" / folder / "y" / "c.jpg")
        problems = ScanProblems()
        assert found(tmp_path, problems=problems) == ["a.jpg"]
        assert problems.left_out.folders == {folder: 2}
        assert count([tmp_path]) == 1
        assert found(tmp_path / folder) == ["b.jpg"], "named on purpose"

    def test_what_a_person_may_miss_is_counted_in_one_line(self, tmp_path: Path) -> None:
        touch(*(tmp_path / name for name in ["a.jpg", "b.JXL", "c.jxl", "d.crw", "e.txt", ".f.jxl", "noname"]))
        (tmp_path / "g.jpg").symlink_to("a.jpg")
        (tmp_path / "h").symlink_to(tmp_path.parent)
        (tmp_path / "i.txt").symlink_to("e.txt")
        problems = ScanProblems()
        assert found(tmp_path, problems=problems) == ["a.jpg"]
        assert problems.left_out.line() == (
            "Left out: 3 files in formats that are not read (2 .jxl, 1 .crw), 2 symbolic links."
        )
        assert not ScanProblems().left_out and ScanProblems().left_out.line() == ""

    def test_formats_that_are_read_are_none_of_them(self) -> None:
        left_out = LeftOut()
        for suffix in SUFFIXES:
            left_out.note_file(f"a{suffix}")
        assert not left_out


class TestRoots:
    @pytest.mark.parametrize("typed", ["cafe\u0301", "caf\u00e9"])
    def test_a_root_is_found_in_whichever_form_the_disk_spells_it(self, tmp_path: Path, typed: str) -> None:
        touch(tmp_path / "cafe\u0301" / "\u00e9" / "a.jpg")
        assert resolve_roots([tmp_path / typed / "e\u0301"]) == [tmp_path / "cafe\u0301" / "\u00e9"]

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
