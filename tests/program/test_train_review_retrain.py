"""The whole circle: train, tag, review, export the labels, train again, tag again, and ask whether it got better."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import RunCommand
from tests.support.models import TINY_BACKBONE
from tests.support.pictures import COLOURS, colour_folder, draw

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Pictures without labels, but that their names tell."""
    folder = tmp_path / "library"
    for kind, (superclass, subclass) in enumerate(COLOURS):
        for number in range(6):
            name = f"{number}-{superclass}-{subclass}.png"
            draw(folder / name, COLOURS[superclass, subclass], seed=500 + 10 * kind + number)
    return folder


def test_corrections_stand_and_counts_add_up(library: Path, run_phototag: RunCommand, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> str:
        result = run_phototag(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def tags() -> dict[str, dict[str, Any]]:
        rows = json.loads(run("query", "--format", "json"))
        return {Path(row["path"]).name: row for row in rows}

    options = ("--backbone", TINY_BACKBONE, "--no-pretrained", "--tune", "heads", "--img-size", "32", "--device", "cpu")
    run("train", colour_folder(tmp_path / "data"), *options, "--output", "first")
    run("tag", library, "--format", "json")
    before = tags()

    # Every third photo is reviewed; its name says the truth.
    reviewed = sorted(before)[::3]
    truth = tmp_path / "truth.csv"
    with truth.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "superclass", "subclass"])
        writer.writerows([library / name, *name.removesuffix(".png").split("-")[1:]] for name in reviewed)
    run("audit", "truth", truth, "--import")
    corrected = {name: row for name, row in tags().items() if row["source"] == "human"}
    assert sorted(corrected) == reviewed

    labels = tmp_path / "labels.csv"
    run("export", "labels", "--output", labels)
    assert len(labels.read_text().splitlines()) == 1 + len(corrected)
    run("train", labels, *options, "--output", "second")
    run("tag", library, "--model", "second", "--format", "json")

    after = tags()
    assert {name: row for name, row in after.items() if row["source"] == "human"} == corrected
    assert all(row["model"] == "second" for row in after.values() if row["source"] == "model")

    diff = json.loads(run("model", "diff", "first", "second", "--score", "reviewed", "--format", "json"))
    assert diff["photos"] == len(before) == diff["decided"] + diff["human"] + sum(diff["without_scores"].values())
    assert diff["human"] == len(corrected)
    assert sum(diff["without_scores"].values()) == 0
    assert sum(diff["kinds"].values()) == diff["decided"]
    assert diff["judged"] == len(corrected)
    for level in diff["levels"].values():
        assert sum(level[name] for name in ("both_right", "fixed", "broken", "both_wrong")) == len(corrected)
