"""The file of labels that grows with each group that is named, and what a group's numbers and names may look like."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from phototag.dataset.labelled import COLUMNS, load_data
from phototag.dataset.sheet import open_sheet
from phototag.discovery.labels_file import Written, add_labels
from phototag.discovery.name import parse_label, parse_numbers
from phototag.errors import DataError, UsageError
from tests.support.pictures import MakePicture


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as source:
        return list(csv.DictReader(source))


def load_sheet(file: Path) -> list[list[str]]:
    with open_sheet(file, COLUMNS) as sheet:
        return list(sheet)


class TestLabelsFile:
    def test_other_rows_and_columns_stay(self, tmp_path: Path) -> None:
        file = tmp_path / "labels.csv"
        file.write_text("\ufefffilepath,note,superclass,subclass\nin/a.jpg,mine,dog,boxer\n../b.jpg,,bird,hawk\n")
        done = add_labels(file, [tmp_path / "in" / "a.jpg", tmp_path / "c.jpg"], superclass="dog", subclass="pug")
        assert done == Written(new=1, changed=1, total=3)
        assert rows_of(file) == [
            {"filepath": "in/a.jpg", "note": "mine", "superclass": "dog", "subclass": "pug"},
            {"filepath": "../b.jpg", "note": "", "superclass": "bird", "subclass": "hawk"},
            {"filepath": str(tmp_path / "c.jpg"), "note": "", "superclass": "dog", "subclass": "pug"},
        ]

    @pytest.mark.parametrize("name", ["with, comma.jpg", 'with "quotes".jpg', "with\nnewline.jpg", "b\udce9.jpg"])
    def test_odd_names_come_back(self, tmp_path: Path, make_picture: MakePicture, name: str) -> None:
        picture = tmp_path / name
        make_picture(tmp_path / "plain.jpg").rename(picture)
        add_labels(tmp_path / "labels.csv", [picture], superclass="dog", subclass="pug")
        assert [each.path for each in load_data(tmp_path / "labels.csv").pictures] == [picture]
        again = add_labels(tmp_path / "labels.csv", [picture], superclass="dog", subclass="pug")
        assert again == Written(new=0, changed=0, total=1)

    def test_what_training_would_refuse_is_refused_now(self, tmp_path: Path) -> None:
        file = tmp_path / "labels.csv"
        add_labels(file, [tmp_path / "a.jpg"], superclass="dog", subclass="pug")
        with pytest.raises(DataError, match="has subclass 'pug' under 'dog'"):
            add_labels(file, [tmp_path / "b.jpg"], superclass="cat", subclass="pug")
        with pytest.raises(DataError, match="has 'pug', from which 'Pug' differs only in spelling"):
            add_labels(file, [tmp_path / "b.jpg"], superclass="dog", subclass="Pug")
        assert len(rows_of(file)) == 1

    def test_a_file_that_a_spreadsheet_saved_is_read_and_goes_on(self, tmp_path: Path) -> None:
        file = tmp_path / "labels.csv"
        file.write_text("FilePath;Note;Superclass;Subclass\na.jpg;x;dog;pug\n;;;\n", encoding="utf-16")
        assert add_labels(file, [tmp_path / "b.jpg"], superclass="dog", subclass="pug") == Written(1, 0, 2)
        rows = load_sheet(file)
        assert rows == [["a.jpg", "x", "dog", "pug"], [str(tmp_path / "b.jpg"), "", "dog", "pug"]]

    @pytest.mark.parametrize(
        ("text", "words"),
        [("a,b\n1,2\n", "no column filepath"), ("filepath,superclass,subclass\na,b,c,d\n", "line 2: more fields")],
    )
    def test_another_csv_is_not_touched(self, tmp_path: Path, text: str, words: str) -> None:
        file = tmp_path / "labels.csv"
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            add_labels(file, [tmp_path / "a.jpg"], superclass="dog", subclass="pug")
        assert file.read_text() == text

    def test_a_folder_that_is_none_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="cannot be"):
            add_labels(tmp_path / "file" / "labels.csv", [tmp_path / "a.jpg"], superclass="dog", subclass="pug")


class TestNumbers:
    def test_single_ones_and_ranges(self) -> None:
        assert parse_numbers("3, 7-9,3", 9) == {3, 7, 8, 9}

    @pytest.mark.parametrize("text", ["", "x", "0", "10", "4-2", "1-", "1,,2", "-1", "٣"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_numbers(text, 9)

    def test_a_label_has_two_names(self) -> None:
        assert parse_label("wild bird/kea") == ("wild bird", "kea")
