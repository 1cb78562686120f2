"""Which pictures belong together, as named, by folder, by look, by moment and by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phototag.choices import GroupsBy
from phototag.dataset.labelled import LabelledPicture, load_data
from phototag.dataset.series import find_groups, grouped, groups_line, split, unchecked_classes
from phototag.errors import DataError

Look = Callable[[Sequence[LabelledPicture]], np.ndarray]


def pictures(*names: str, subclass: str = "gala") -> list[LabelledPicture]:
    return [LabelledPicture(Path("/data") / name, "apple", subclass, "here") for name in names]


def looks(*rows: Sequence[float]) -> Look:
    return lambda _: np.array(rows, dtype=np.float32)


def unlike(count: int) -> Look:
    """Looks that no two pictures share."""
    return lambda _: np.eye(count, dtype=np.float32)


def test_pictures_of_a_class_that_look_alike_belong_together() -> None:
    rows = ([1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1])
    assert find_groups(pictures("a", "b", "c", "d"), GroupsBy.AUTO, looks(*rows)).tolist() == [0, 0, 1, 2]


def test_pictures_of_two_classes_never_belong_together() -> None:
    both = [*pictures("a"), *pictures("b", subclass="idared"), *pictures("c"), *pictures("d", subclass="idared")]
    groups = find_groups(both, GroupsBy.AUTO, looks([1, 0], [1, 0], [0, 1], [0, 1]))
    assert len(set(groups.tolist())) == 4


def test_what_cannot_be_read_belongs_to_nothing() -> None:
    assert find_groups(pictures("a", "b", "c"), GroupsBy.AUTO, looks([0, 0], [0, 0], [1, 2])).tolist() == [0, 1, 2]


def test_a_column_of_groups_is_read_and_wins_over_looks(tmp_path: Path) -> None:
    for name in "abcd":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    table = "filepath,superclass,subclass,Group\na.png,x,y,shelf\nb.png,x,y,\nc.png,x,y,shelf\nd.png,x,z,shelf\n"
    (tmp_path / "labels.csv").write_text(table)
    found = load_data(tmp_path / "labels.csv").pictures
    assert find_groups(found, GroupsBy.AUTO, looks([1], [1], [1], [1])).tolist() == [0, 1, 0, 2]
    assert find_groups(found, GroupsBy.COLUMN, unlike(4)).tolist() == [0, 1, 0, 2]


def test_groups_from_a_column_that_is_not_there_are_refused() -> None:
    with pytest.raises(DataError, match="column 'group'"):
        find_groups(pictures("a"), GroupsBy.COLUMN, unlike(1))


def test_folders_below_a_class_are_its_series(tmp_path: Path) -> None:
    for name in ("one/a", "one/b", "two/c", "d"):
        path = tmp_path / "apple" / "gala" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    found = load_data(tmp_path, deep=True).pictures
    groups = dict(zip((p.path.stem for p in found), find_groups(found, GroupsBy.FOLDER, unlike(4)), strict=True))
    assert groups["a"] == groups["b"]
    assert len({groups[name] for name in "acd"}) == 3
    assert load_data(tmp_path).ignored == 3


def photo(path: Path, taken: str, camera: str = "Box 1") -> LabelledPicture:
    exif = Image.Exif()
    exif[0x0110] = camera
    exif.get_ifd(0x8769)[0x9003] = taken
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return LabelledPicture(path, "apple", "gala", "here")


def test_photos_of_one_camera_within_seconds_belong_together(tmp_path: Path) -> None:
    taken = [
        photo(tmp_path / "a.jpg", "2026:05:01 12:00:00"),
        photo(tmp_path / "b.jpg", "2026:05:01 12:00:20"),
        photo(tmp_path / "c.jpg", "2026:05:01 12:00:40"),
        photo(tmp_path / "d.jpg", "2026:05:01 12:05:00"),
        photo(tmp_path / "e.jpg", "2026:05:01 12:00:10", camera="Box 2"),
        photo(tmp_path / "f.jpg", "0000:00:00 00:00:00"),
    ]
    assert find_groups(taken, GroupsBy.AUTO, unlike(6)).tolist() == [0, 0, 0, 1, 2, 3]


def test_numbers_that_follow_count_only_where_they_tell_something() -> None:
    """Twenty series of two that look rather alike: numbered one after the other, or in any order."""
    random = np.random.default_rng(0)
    series = random.normal(size=(20, 512)).repeat(2, axis=0)
    alike = (series + 0.52 * random.normal(size=series.shape)).astype(np.float32)
    in_order = pictures(*(f"IMG_{number:04}.jpg" for number in range(40)))
    found = find_groups(in_order, GroupsBy.AUTO, lambda _: alike)
    assert all(found[place] == found[place + 1] for place in range(0, 40, 2))
    shuffled = alike[random.permutation(40)]
    assert len(set(find_groups(in_order, GroupsBy.AUTO, lambda _: shuffled).tolist())) >= 38


def test_a_split_never_parts_a_group_and_classes_of_one_group_are_named() -> None:
    many = [*pictures(*(f"{number}" for number in range(12))), *pictures("x", "y", subclass="idared")]
    rows = np.zeros((14, 5), np.float32)
    rows[np.arange(14), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]] = 1
    found = grouped(many, GroupsBy.AUTO, lambda _: rows)
    assert groups_line(found) == "14 pictures in 5 groups; the largest 3"
    assert unchecked_classes(found) == ["apple/idared"]
    for seed in range(5):
        training, validation = split(found, fraction=0.3, seed=seed)
        assert not {p.group for p in training} & {p.group for p in validation}
        assert len(validation) == 3
        assert {p.subclass for p in training} == {"gala", "idared"}


def test_pictures_without_series_are_said_to_have_none() -> None:
    assert groups_line(grouped(pictures("a", "b"), GroupsBy.NONE, unlike(2))) == "2 pictures, none of a series"
