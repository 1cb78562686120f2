"""The same picture twice: it counts once, in one class, on one side of a split."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from phototag.dataset import load_data, not_learned_from, without_contradictions
from phototag.dataset.copies import copies_among
from phototag.errors import DataError
from phototag.training.session import load_once
from tests.support.pictures import colour_folder


def test_copies_and_links_are_found_and_like_files_are_not(tmp_path: Path) -> None:
    big = bytes(range(256)) * 64
    contents = {
        "a": big,
        "b": big,
        "same_size": big[::-1],
        "same_end": b"x" + big[1:],
        "junk": b"no picture",
        "more_junk": b"no picture",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to("same_end")
    os.link(tmp_path / "same_size", tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    names = [*contents, "link", "hard", "pipe", "missing"]
    found = copies_among([tmp_path / name for name in names])
    assert sorted([names[place] for place in group] for group in found) == [
        ["a", "b"],
        ["same_end", "link"],
        ["same_size", "hard"],
    ]


def test_files_that_differ_in_size_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(101, 105):
        (tmp_path / str(size)).write_bytes(bytes(size))
    monkeypatch.setattr("phototag.dataset.copies._digest", None)
    assert copies_among(sorted(tmp_path.iterdir())) == []


def test_copies_in_one_class_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = colour_folder(tmp_path, 3)
    shutil.copy(root / "warm" / "red" / "000.png", root / "warm" / "red" / "again.png")
    with caplog.at_level(logging.WARNING):
        assert len(without_contradictions(load_data(root), once=True).pictures) == 12
    assert "1 pictures are copies of others" in caplog.text
    assert len(without_contradictions(load_data(root)).pictures) == 13


def test_the_same_picture_in_two_classes_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = colour_folder(tmp_path, 3)
    shutil.copy(root / "warm" / "red" / "000.png", root / "cold" / "blue" / "other.png")
    with caplog.at_level(logging.WARNING):
        kept = {picture.path.name for picture in without_contradictions(load_data(root)).pictures}
    assert "other.png" not in kept
    assert "2 pictures contradict each other" in caplog.text
    assert "(warm/red)" in caplog.text and "(cold/blue)" in caplog.text


def test_a_class_that_lies_in_another_as_a_whole_is_refused(tmp_path: Path) -> None:
    root = colour_folder(tmp_path, 3)
    (root / "cold" / "crimson").symlink_to(root / "warm" / "red")
    kept = without_contradictions(load_data(root))
    assert {picture.subclass for picture in kept.pictures} == {"yellow", "blue", "green"}
    with pytest.raises(DataError, match="each picture of cold/crimson, warm/red lies in another class as well"):
        load_once(root)


def test_validation_pictures_that_were_learned_from_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = colour_folder(tmp_path / "data", 3)
    training, validation = load_data(root).pictures[:8], load_data(root).pictures[6:]
    with caplog.at_level(logging.WARNING):
        assert not_learned_from(validation, training) == validation[2:]
    assert "2 of 6 validation pictures are also in the training data" in caplog.text
    copy = shutil.copytree(root, tmp_path / "copy")
    with pytest.raises(DataError, match="every validation picture is also in the training data"):
        not_learned_from(load_data(copy).pictures, load_data(root).pictures)
