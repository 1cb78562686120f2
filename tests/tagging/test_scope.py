"""What a pass looks at, on disk and in the database, and which of the photos not found count as gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.library.exclude import Exclusion
from phototag.library.scanner import ScanProblems, count, has_pictures, resolve_roots, scan
from phototag.records import Photo, Rank, Tag
from phototag.store import KnownPhoto, Store, StoredTag
from phototag.tagging import missing as vanished
from phototag.tagging.missing import MissingPhotos, known_mount_points, note_mount_points
from phototag.tagging.scope import Places, Roots, Scope
from phototag.taxonomy import Taxonomy

TAG = Tag("bird", "hawk", Rank.SUBCLASS, 0.9, 0.8, 0.1)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def remember(store: Store, *paths: Path) -> None:
    """Put photos of these paths into the database."""
    taxonomy = Taxonomy.from_pairs([("bird", "hawk")])
    model_id = store.models.register(hash="0" * 64, name="m", backbone="b", taxonomy=taxonomy, metrics={})
    tagged = [StoredTag(Photo(path, 1, 2, 3, 4), os.urandom(32), 8, 8, b"scores", TAG) for path in paths]
    store.tags.save_batch(model_id=model_id, tagged=tagged)


def photos(scope: Scope, problems: ScanProblems | None = None) -> list[Path]:
    return [photo.path for photo in scope.photos(problems or ScanProblems())]


def known(scope: Scope, store: Store) -> list[Path]:
    return [row.path for row in scope.known(store)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "photos.db") as opened, opened.writing("test"):
        yield opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(scope="module")
def memory() -> Iterator[Store]:
    """One store in memory for the laws."""
    with Store.open("sqlite://") as opened, opened.writing("test"):
        yield opened


class TestPlaces:
    def test_a_file_and_a_folder_are_looked_at_and_nothing_else(self, root: Path, store: Store) -> None:
        files = [root / "a.jpg", root / "b.jpg", root / "c" / "d.jpg", root / "c" / "e" / "f.jpg", root / "g" / "h.jpg"]
        touch(*files)
        remember(store, *files)
        places = Places([root], files=[root / "b.jpg"], folders=[root / "c"])
        assert photos(places) == known(places, store) == files[1:4]

    def test_what_is_gone_is_still_known(self, root: Path, store: Store) -> None:
        remember(store, root / "a.jpg", root / "b" / "c.jpg")
        places = Places([root], files=[root / "a.jpg"], folders=[root / "b"])
        assert photos(places) == []
        assert known(places, store) == [root / "a.jpg", root / "b" / "c.jpg"]

    def test_nothing_is_no_place(self, root: Path, store: Store) -> None:
        touch(root / "a.jpg")
        remember(store, root / "a.jpg")
        places = Places([root])
        assert photos(places) == known(places, store) == []
        assert places.count() == 0

    def test_places_outside_the_roots_are_left_alone(self, root: Path, store: Store) -> None:
        other = root.with_name("other")
        touch(other / "a.jpg", other / "b" / "c.jpg", root.with_name("root-b") / "d.jpg")
        remember(store, other / "a.jpg", other / "b" / "c.jpg")
        places = Places(
            [root], files=[other / "a.jpg", root.with_name("root-b") / "d.jpg"], folders=[other, root.parent]
        )
        assert photos(places) == known(places, store) == []

    def test_a_path_named_as_file_and_as_folder_comes_once(self, root: Path, store: Store) -> None:
        """Twice, its row would be taken for a missing photo."""
        touch(root / "a.jpg", root / "b" / "c.jpg")
        remember(store, root / "a.jpg", root / "b" / "c.jpg")
        both = [root / "a.jpg", root / "b"]
        places = Places([root], files=both, folders=both)
        assert photos(places) == known(places, store) == [root / "a.jpg", root / "b" / "c.jpg"]

    def test_a_folder_that_became_a_file_is_a_photo(self, root: Path, store: Store) -> None:
        touch(root / "a.jpg", root / "a.jpg-b" / "c.jpg")
        remember(store, root / "a.jpg" / "old.jpg")
        places = Places([root], folders=[root / "a.jpg", root / "a.jpg-b"])
        assert photos(places) == [root / "a.jpg", root / "a.jpg-b" / "c.jpg"]
        assert known(places, store) == [root / "a.jpg" / "old.jpg"]

    def test_what_a_scan_would_not_find_is_not_found_by_name(self, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        touch(root / "notes.txt", root / ".hidden.jpg", root / ".trash" / "a.jpg", root / "b.jpg", outside / "c.jpg")
        touch(root / ".trash" / "inner" / "d.jpg")
        (root / "link.jpg").symlink_to(root / "b.jpg")
        (root / "linked").symlink_to(outside, target_is_directory=True)
        os.mkfifo(root / "pipe.jpg")
        names = ["notes.txt", ".hidden.jpg", ".trash/a.jpg", "link.jpg", "linked/c.jpg", "pipe.jpg", "none.jpg"]
        places = Places([root], files=[root / name for name in names])
        assert photos(places) == []
        folders = [root / ".trash", root / ".trash" / "inner", root / "linked", root / "notes.txt"]
        assert photos(Places([root], folders=folders)) == []

    def test_roots_that_are_links_are_followed(self, root: Path, tmp_path: Path) -> None:
        touch(root / "b.jpg", root / "c" / "d.jpg")
        link, file = tmp_path / "link", tmp_path / "file.jpg"
        link.symlink_to(root, target_is_directory=True)
        file.symlink_to(root / "b.jpg")
        roots = resolve_roots([link, file])
        assert photos(Places(roots, files=[file, link / "b.jpg"])) == [file, link / "b.jpg"]
        assert photos(Places(roots, folders=[link])) == [link / "b.jpg", link / "c" / "d.jpg"]
        assert photos(Places(roots, folders=[link / "c"])) == [link / "c" / "d.jpg"]

    def test_a_hidden_root_is_searched(self, tmp_path: Path) -> None:
        touch(tmp_path / ".photos" / "a.jpg")
        assert photos(Places([tmp_path / ".photos"], folders=[tmp_path / ".photos"])) == [tmp_path / ".photos/a.jpg"]

    def test_what_cannot_be_looked_at_is_noted(self, root: Path) -> None:
        """A name that is too long fails as a folder does that may not be entered, also for root."""
        problems = ScanProblems()
        places = Places([root], files=[root / ("f" * 300 + ".jpg")], folders=[root / ("d" * 300)])
        assert photos(places, problems) == []
        assert problems.seen == {root / ("f" * 300 + ".jpg"), root / ("d" * 300)}
        assert all("too long" in line for line in problems.lines)
        assert places.count() == 1

    def test_excluded_places_are_neither_looked_at_nor_missed(self, root: Path, store: Store) -> None:
        files = [root / "a.jpg", root / "raw" / "b.jpg", root / "c" / "raw" / "d.jpg", root / "c" / "e.jpg"]
        touch(*files)
        remember(store, *files)
        exclude = Exclusion(["raw"])
        for places in (
            Places([root], files=files, exclude=exclude),
            Places([root], folders=[root / "raw", root / "c", root / "c" / "raw"], files=files[:1], exclude=exclude),
            Roots([root], exclude),
        ):
            assert set(photos(places)) == set(known(places, store)) == {files[0], files[3]}

    @pytest.mark.parametrize("pattern", ["c/raw", "**/raw", "./c/raw"])
    def test_patterns_are_taken_from_the_root_and_not_from_the_place(self, root: Path, pattern: str) -> None:
        touch(root / "c" / "raw" / "d.jpg", root / "c" / "c" / "raw.jpg", root / "c" / "e.jpg")
        places = Places([root], folders=[root / "c"], exclude=Exclusion([pattern]))
        assert photos(places) == [root / "c" / "c" / "raw.jpg", root / "c" / "e.jpg"]

    def test_count_is_about_what_is_there(self, root: Path) -> None:
        touch(root / "a.jpg", root / "b" / "c.jpg", root / "b" / "d.jpg", root / "e.jpg")
        assert Places([root], files=[root / "a.jpg"], folders=[root / "b", root / "gone"]).count() == 3
        assert Roots([root]).count() == 4


NAMES = st.sampled_from(["a", "a-", "a.", "b", ".h", "x.jpg", "é"])
PATHS = st.lists(NAMES, max_size=3).map(lambda parts: "/".join(parts))
PICTURES = st.tuples(PATHS, st.sampled_from(["p.jpg", "q.png", ".h.jpg", "t.txt", "x.jpg"])).map("/".join)


@settings(max_examples=60, deadline=None)
@given(
    there=st.sets(PICTURES, max_size=10),
    remembered=st.sets(PICTURES, max_size=10),
    links=st.sets(PATHS.filter(bool), max_size=2),
    files=st.sets(st.integers(0, 99), max_size=4),
    folders=st.sets(st.integers(0, 99), max_size=4),
    patterns=st.sampled_from([(), ("b",), ("a/b",), ("**/p.jpg", "a-")]),
    roots=st.sampled_from([("",), ("r1", "r1-", "r2/a")]),
)
def test_places_are_the_roots_restricted_to_them(
    tmp_path_factory: pytest.TempPathFactory,
    memory: Store,
    there: set[str],
    remembered: set[str],
    links: set[str],
    files: set[int],
    folders: set[int],
    patterns: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Whatever the places: what they show of disk and database is what a scan of everything shows of them, in order."""
    base = tmp_path_factory.mktemp("law")
    tops = [base / root for root in roots]
    for top in tops:
        top.mkdir(parents=True, exist_ok=True)
    absolute = {top / name for top in tops for name in there}
    for path in sorted(absolute):
        try:
            touch(path)
        except OSError:
            continue  # a folder of that name is there already, or a file where a folder is wanted
    for top in tops:
        for link in links:
            if (top / link).parent.is_dir() and not (top / link).exists():
                (top / link).symlink_to(base, target_is_directory=True)
    with memory._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM photos")
    remember(memory, *(top / name for top in tops for name in remembered))

    exclude = Exclusion(patterns)
    resolved = resolve_roots(tops)
    below = {tops[0] / "none.jpg", *absolute, *(top / name for top in tops for name in remembered | links)}
    below |= {top / link / name for top in tops for link in links for name in there}
    candidates = sorted(path for each in below for path in (each, *each.parents) if any(map(path.is_relative_to, tops)))
    named_files = {candidates[number % len(candidates)] for number in files}
    named_folders = {candidates[number % len(candidates)] for number in folders}
    whole, some = Roots(resolved, exclude), Places(resolved, files=named_files, folders=named_folders, exclude=exclude)

    def inside(path: Path) -> bool:
        return path in named_files or any(path.is_relative_to(folder) for folder in named_folders)

    assert photos(some) == [path for path in photos(whole) if inside(path)]
    assert known(some, memory) == [path for path in known(whole, memory) if inside(path)]


class TestDeepFolders:
    LEVELS = 1500

    @pytest.fixture
    def deep(self, root: Path) -> Iterator[Path]:
        """A folder nested deeper than Python's calls may be."""
        folder = root
        for _ in range(self.LEVELS):
            folder = folder / "d"
            folder.mkdir()
        yield folder
        subprocess.run(["rm", "-rf", root / "d"], check=True)  # shutil.rmtree calls itself for each level

    def test_they_are_scanned_and_known(self, root: Path, deep: Path, store: Store) -> None:
        touch(deep / "a.jpg", root / "b.jpg")
        remember(store, deep / "a.jpg", root / "b.jpg")
        wanted = [root / "b.jpg", deep / "a.jpg"]
        places = Places([root], files=[root / "b.jpg"], folders=[root / "d" / "d"])
        assert photos(Roots([root])) == photos(places) == known(places, store) == wanted
        assert photos(Places([root], files=[deep / "a.jpg"])) == wanted[1:]
        assert count([root]) == 2
        assert has_pictures(root / "d")
        assert photos(Roots([root], Exclusion(["**/d/d/*.jpg"]))) == wanted[:1]

    def test_their_photos_can_be_missed(self, root: Path, deep: Path, store: Store) -> None:
        touch(root / "b.jpg")
        remember(store, deep / "a.jpg")
        missed = MissingPhotos([root], ScanProblems(), store)
        (row,) = store.photos.under([root])
        missed.add(row)
        assert missed.settle() == ([row.id], [], [])


def test_scan_of_a_root_that_was_locked_away_meanwhile_finds_nothing(root: Path) -> None:
    """Asking whether it is a folder may fail as well; a long name stands for a folder that may not be entered."""
    unreachable = root / ("x" * 300) / "inner"
    problems = ScanProblems()
    assert list(scan([unreachable], problems)) == []
    assert problems.seen == {unreachable}
    assert not has_pictures(unreachable)
    assert count([unreachable]) == 0


class Settled(NamedTuple):
    """What `MissingPhotos.settle` gives, with names instead of ids."""

    missing: list[str]
    suspended: list[Path]
    lines: list[str]


class TestMissingPhotos:
    @pytest.fixture
    def mounted(self, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
        """The mount points that the operating system tells of; real mounts need root, and are in test_tag."""
        points: set[Path] = set()
        monkeypatch.setattr(vanished, "is_mount_point", lambda path: path in points)
        monkeypatch.setattr(
            vanished,
            "mount_points",
            lambda roots: {point for point in points if any(root in point.parents for root in roots)},
        )
        return points

    @staticmethod
    def rows(store: Store, *paths: Path) -> dict[str, KnownPhoto]:
        remember(store, *paths)
        return {row.path.name: row for row in store.photos.at(paths)}

    def settle(self, store: Store, roots: list[Path], *paths: Path, problems: ScanProblems | None = None) -> Settled:
        rows = self.rows(store, *paths)
        missed = MissingPhotos(roots, problems or ScanProblems(), store)
        assert not missed
        for row in rows.values():
            missed.add(row)
        ids, suspended, lines = missed.settle()
        names = {row.id: row.path.name for row in rows.values()}
        return Settled([names[photo_id] for photo_id in ids], suspended, lines)

    def test_a_photo_below_a_root_with_pictures_is_missing(self, root: Path, store: Store) -> None:
        touch(root / "there.jpg")
        assert self.settle(store, [root], root / "gone.jpg") == Settled(["gone.jpg"], [], [])

    def test_a_root_without_pictures_is_suspended_and_others_are_not(self, root: Path, store: Store) -> None:
        other = root.with_name("other")
        touch(other / "there.jpg", root / "notes.txt")
        found = self.settle(store, [root, other], root / "a.jpg", other / "b.jpg")
        assert (found.missing, found.suspended) == (["b.jpg"], [root])
        assert len(found.lines) == 1 and "Is the disk mounted?" in found.lines[0] and str(root) in found.lines[0]

    def test_folders_that_could_not_be_read_protect_what_is_below_and_nothing_else(
        self, root: Path, store: Store
    ) -> None:
        touch(root / "there.jpg")
        problems = ScanProblems()
        problems.add(str(root / "locked"), PermissionError(13, "Permission denied"))
        problems.add(str(root / "odd.jpg"), OSError(5, "Input/output error"))
        gone = [root / "locked/a.jpg", root / "locked/x/b.jpg", root / "lock.jpg", root / "odd.jpg"]
        found = self.settle(store, [root], *gone, problems=problems)
        assert (found.missing, found.suspended) == (["lock.jpg"], [])
        assert [line.split(":")[0] for line in found.lines] == [str(root / "locked"), str(root / "odd.jpg")]
        assert "(2)" in found.lines[0] and "(1)" in found.lines[1]

    def test_a_disk_that_is_no_longer_mounted_protects_its_photos(
        self, root: Path, store: Store, mounted: set[Path]
    ) -> None:
        disk = root / "disk"
        touch(root / "there.jpg")
        disk.mkdir()
        mounted.add(disk)
        note_mount_points(store, [root])
        assert known_mount_points(store) == [disk]
        mounted.clear()
        found = self.settle(store, [root], disk / "a.jpg", disk / "x" / "b.jpg", root / "gone.jpg")
        assert (found.missing, found.suspended) == (["gone.jpg"], [])
        assert len(found.lines) == 1 and str(disk) in found.lines[0] and "mounted" in found.lines[0]
        note_mount_points(store, [root])
        assert known_mount_points(store) == [disk], "it stays away, however often one looks"

    def test_a_disk_whose_mount_point_is_gone_too_protects_its_photos(
        self, root: Path, store: Store, mounted: set[Path]
    ) -> None:
        touch(root / "there.jpg")
        mounted.add(root / "disk")
        note_mount_points(store, [root])
        mounted.clear()
        assert self.settle(store, [root], root / "disk" / "a.jpg").missing == []

    def test_a_disk_that_is_mounted_protects_nothing(self, root: Path, store: Store, mounted: set[Path]) -> None:
        touch(root / "there.jpg")
        mounted.add(root / "disk")
        note_mount_points(store, [root])
        assert self.settle(store, [root], root / "disk" / "a.jpg") == Settled(["a.jpg"], [], [])

    def test_a_mount_point_that_became_a_plain_folder_is_forgotten(
        self, root: Path, store: Store, mounted: set[Path]
    ) -> None:
        mounted.add(root / "disk")
        note_mount_points(store, [root])
        mounted.clear()
        touch(root / "disk" / "copied.jpg")
        assert self.settle(store, [root], root / "disk" / "a.jpg").missing == ["a.jpg"]
        note_mount_points(store, [root])
        assert known_mount_points(store) == []

    def test_disks_below_other_roots_stay_known(self, root: Path, store: Store, mounted: set[Path]) -> None:
        other = root.with_name("other")
        mounted |= {root / "disk", other / "disk"}
        note_mount_points(store, [root])
        note_mount_points(store, [other])
        assert set(known_mount_points(store)) == {root / "disk", other / "disk"}

    def test_a_disk_is_looked_into_once_and_not_for_every_photo(
        self, root: Path, store: Store, mounted: set[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(root / "there.jpg")
        mounted.add(root / "disk")
        note_mount_points(store, [root])
        mounted.clear()
        looked: list[Path] = []
        monkeypatch.setattr(vanished, "has_pictures", lambda path: looked.append(path) or has_pictures(path))
        found = self.settle(store, [root], *(root / "disk" / f"{number}.jpg" for number in range(50)))
        assert found.missing == []
        assert looked == [root / "disk"]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_text("[1, null, {}]"),
            lambda path: path.write_text('"/mnt"'),
            lambda path: path.write_text("{"),
            lambda path: path.write_bytes(b"\xff\xfe"),
            lambda path: path.unlink(),
        ],
    )
    def test_a_damaged_note_of_mount_points_is_an_empty_one(
        self, root: Path, store: Store, mounted: set[Path], damage: Callable[[Path], object]
    ) -> None:
        mounted.add(root / "disk")
        note_mount_points(store, [root])
        (note,) = root.parent.glob("*mounts.json")
        damage(note)
        assert known_mount_points(store) == []
        note_mount_points(store, [root])
        assert known_mount_points(store) == [root / "disk"]

    def test_mount_points_with_odd_names_are_remembered(self, root: Path, store: Store, mounted: set[Path]) -> None:
        odd = {root / os.fsdecode(b"caf\xe9"), root / "new\nline", root / "🦎"}
        mounted |= odd
        note_mount_points(store, [root])
        assert set(known_mount_points(store)) == odd
