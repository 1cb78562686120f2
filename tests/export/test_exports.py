"""The seam for exports: one module and one entry make a format, with its command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from click.testing import CliRunner

from phototag.choices import SortKey
from phototag.cli.export import group_of
from phototag.export import EXPORTS, Export, ExportOption, Written
from phototag.store import Query, Store
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture


def write_names(store: Store, options: Mapping[str, Any], target: BinaryIO) -> Written:
    rows = list(store.query(Query(under=options["under"], sort=SortKey.PATH)))
    for row in rows:
        name = os.fsencode(row.path.name)
        target.write((name.upper() if options["upper_case"] else name) + b"\n")
    return Written(len(rows), ("That is all.",))


NAMES = Export(
    "names",
    write_names,
    things="names",
    suffix=".txt",
    help="Write the names of all photos.",
    options=(
        ExportOption("upper-case", "upper_case", bool, "In capitals."),
        ExportOption("under", "under", Path, "Photos there."),
    ),
)


def test_an_export_needs_one_entry_to_have_a_command(
    tmp_path: Path, make_picture: MakePicture, run_phototag: RunCommand, quick_model: Path
) -> None:
    folder = tmp_path / "photos"
    make_picture(folder / "a.png")
    make_picture(folder / "b.png", seed=1)
    assert run_phototag("tag", str(folder)).exit_code == 0
    group = group_of({**EXPORTS, NAMES.name: NAMES})

    shown = CliRunner().invoke(group, ["names", "--upper-case", "--under", str(folder)])
    assert (shown.exit_code, shown.stdout) == (0, "A.PNG\nB.PNG\n")
    assert shown.stderr == "2 names.\nThat is all.\n"

    file = tmp_path / "out" / "names.txt"
    assert CliRunner().invoke(group, ["names", "--output", str(file)]).exit_code == 0
    assert file.read_text() == "a.png\nb.png\n"
    assert CliRunner().invoke(group, ["names", "--under", str(tmp_path / "nowhere")]).exit_code == 1


def test_rows_are_an_export_that_query_has_the_command_for() -> None:
    assert EXPORTS["rows"].help is None
    assert sorted(group_of(EXPORTS).commands) == sorted(name for name in EXPORTS if name != "rows")
