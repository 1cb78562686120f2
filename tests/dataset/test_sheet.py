"""CSV files as spreadsheets and editors write them, read by the one reader of all commands."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from phototag.dataset import COLUMNS, open_sheet
from phototag.errors import DataError

PLAIN = "filepath,superclass,subclass\na.jpg,bird,hawk\nb.jpg,bird,\n"
ROWS = [["a.jpg", "bird", "hawk"], ["b.jpg", "bird", ""]]


def rows_of(content: bytes | str, folder: Path, *, encoding: str = "utf-8") -> list[list[str]]:
    file = folder / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    with open_sheet(file, COLUMNS) as sheet:
        return [[cells[sheet.places[column]].strip() for column in COLUMNS] for cells in sheet]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(tmp_path: Path, separator: str, end: str) -> None:
    assert rows_of(PLAIN.replace(",", separator).replace("\n", end), tmp_path) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_with_a_byte_order_mark_and_without(tmp_path: Path, encoding: str) -> None:
    assert rows_of(PLAIN.replace("hawk", "é虫").replace(",", "\t"), tmp_path, encoding=encoding)[0][2] == "é虫"
    assert rows_of(codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"), tmp_path) == ROWS


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("filepath,superclass,subclass", "FilePath, SuperClass ,SUBCLASS"),
        PLAIN.replace("filepath,superclass,subclass", '"filepath","superclass","subclass"'),
        PLAIN.replace("a.jpg,bird,hawk", '"a.jpg", "bird", " hawk "').replace("bird,\n", 'bird," "\n'),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "\n,,\n" + PLAIN,
        PLAIN.replace("\n", ",,\n"),
        PLAIN + ",,\n,,\n\n , ,\n",
        PLAIN.replace("bird,\n", "bird\n"),
        "note,subclass,superclass,filepath\nx,hawk,bird,a.jpg\n,,bird,b.jpg\n",
    ],
)
def test_what_spreadsheets_make_of_a_table(tmp_path: Path, text: str) -> None:
    assert rows_of(text, tmp_path) == ROWS


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('sep=,\nfilepath,superclass,subclass\na.jpg,bird,"two\nlines"\n\nb.jpg,bird,\n')
    with open_sheet(file, COLUMNS) as sheet:
        assert [sheet.line for _ in sheet] == [4, 6]
    file.write_text("\n\n" + file.read_text())
    with open_sheet(file, COLUMNS) as sheet:
        assert [sheet.line for _ in sheet] == [6, 8]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path;superclass\n", "no column filepath, subclass; the header has: path, superclass"),
        ("", "the header has: nothing"),
        ("filepath,superclass,subclass,Subclass\n", "subclass stands there twice"),
        (PLAIN + '"c.jpg,bird,hawk\n', "line 4: not CSV"),
        (b"\xff\xfe" + PLAIN.encode("utf-16-le") + b"\x00\xd8\x00", "neither UTF-8 nor UTF-16"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200_000), "no column"),
    ],
)
def test_what_is_no_such_table_is_refused_in_words(tmp_path: Path, content: bytes | str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows_of(content, tmp_path)
