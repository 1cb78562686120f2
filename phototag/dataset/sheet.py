"""Read CSV files as spreadsheets and editors write them: one reader for all commands."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from phototag.errors import DataError
from phototag.files import open_regular
from phototag.text import printable, shorten

# Excel writes semicolons where a comma is the decimal sign, and tabs in "Unicode text".
_SEPARATORS = ",;\t|"
_BLANK = f'{_SEPARATORS} "\r\n'
_LONGEST_HEADER = 100_000
_SHOWN_COLUMNS = 200
_MOST_BLANK_LINES = 100


class Sheet:
    """An open CSV file: its `header`, where the wanted columns stand in a row (`places`), and the rows to come."""

    def __init__(self, source: Path, text: io.TextIOWrapper, wanted: Sequence[str], optional: Sequence[str]) -> None:
        self.line = 1
        first = text.readline(_LONGEST_HEADER)
        while first and not first.strip(_BLANK) and self.line < _MOST_BLANK_LINES:
            first, self.line = text.readline(_LONGEST_HEADER), self.line + 1
        named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
        if named:  # Excel's own way to name the separator
            first, self.line = text.readline(_LONGEST_HEADER), self.line + 1
        headers = {mark: _cells(first, mark) for mark in (named[1] if named else _SEPARATORS)}
        mark = max(headers, key=lambda each: (len(set(_keys(headers[each])) & set(wanted)), len(headers[each])))
        self.header = headers[mark]
        keys = _keys(self.header)
        if missing := [column for column in wanted if column not in keys]:
            have = printable(shorten(", ".join(filter(None, self.header)), _SHOWN_COLUMNS)) or "nothing"
            raise DataError(f"{source}, line {self.line}: no column {', '.join(missing)}; the header has: {have}")
        wanted = (*wanted, *(column for column in optional if column in keys))
        if doubled := [column for column in wanted if keys.count(column) > 1]:
            raise DataError(f"{source}, line {self.line}: column {', '.join(doubled)} stands there twice; remove one")
        self.places = {column: keys.index(column) for column in wanted}
        self._above = self.line
        self._reader = csv.reader(text, delimiter=mark, strict=True, skipinitialspace=True)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the cells of each row that is not blank, as many as the header has, or more; `line` says where."""
        for cells in self._reader:
            self.line = self._above + self._reader.line_num
            while len(cells) > len(self.header) and not cells[-1].strip():
                cells.pop()
            if any(map(str.strip, cells)):
                yield cells + [""] * (len(self.header) - len(cells))


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True), [])
    except csv.Error:
        return []


def _keys(header: Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in header]


@contextmanager
def open_sheet(source: Path, wanted: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[Sheet]:
    """Open a CSV file whose header has the `wanted` columns, in any order and case, among others.

    Of the `optional` ones the sheet has places too, where they are there.
    Separators are commas, semicolons, tabs or bars, the encoding is UTF-8 or UTF-16; bytes that are not UTF-8 are kept
    as surrogates.

    Raises:
        DataError: it cannot be read, is no CSV or lacks a column; the text names file and line.
        FileNotFoundError: there is no such file.
    """
    sheet: Sheet | None = None
    try:
        with open_regular(source) as file:
            encoding = _encoding(file.peek(4)[:4])
            with io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="") as text:
                sheet = Sheet(source, text, wanted, optional)
                yield sheet
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        line = sheet.line + 1 if sheet is not None else 1
        raise DataError(f"{source}, line {line}: not CSV: {error}") from error
    except UnicodeError as error:
        raise DataError(f"{source}: neither UTF-8 nor UTF-16; save it as CSV in UTF-8") from error


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start:  # without a byte order mark
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return "utf-8-sig"
