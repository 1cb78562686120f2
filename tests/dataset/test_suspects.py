"""What is wrong with labelled pictures is found, listed worst first, and left out of a training on demand."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.choices import Device
from phototag.dataset import suspects
from phototag.dataset.content import read_content
from phototag.dataset.features import Features
from phototag.dataset.label_errors import find_label_errors
from phototag.dataset.labelled import LabelledPicture, load_data
from phototag.dataset.suspects import Checked, Kind, find_suspects, without_listed
from phototag.errors import DataError
from phototag.imaging import Preprocessing
from phototag.report import suspects_text
from phototag.runtime import choose_target
from phototag.taxonomy import Taxonomy
from phototag.training.heads.part import Part
from phototag.training.heads.train_heads import _warn_of_labels
from phototag.training.session import load_once

CLASSES = ("warm/red", "warm/yellow", "cold/blue")


def clouds(*, classes: int = 6, each: int = 30, apart: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 20] of well separated classes, and their labels [N]."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(size=(classes, 20)) * apart / np.sqrt(20)
    return (centres[labels] + random.normal(size=(len(labels), 20))).astype(np.float32), labels


def swapped(labels: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    changed = labels.copy()
    changed[list(rows)] = (labels[list(rows)] + 1) % (labels.max() + 1)
    return changed


def test_swapped_labels_are_listed_first_with_the_right_class() -> None:
    features, labels = clouds()
    rows = list(range(0, len(labels), 18))
    found = find_label_errors(features, swapped(labels, rows))
    assert set(rows) <= set(found.wrong[: len(rows) + 3].tolist())
    assert found.suggested[rows].tolist() == labels[rows].tolist()
    assert found.many


def test_right_labels_are_hardly_ever_listed_and_never_where_features_tell_nothing() -> None:
    features, labels = clouds()
    assert len(find_label_errors(features, labels).wrong) <= 3
    noise = np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
    assert not find_label_errors(noise, labels).many


def test_what_is_far_from_every_class_is_told_apart_from_a_wrong_label() -> None:
    features, labels = clouds()
    features[7] += 40
    found = find_label_errors(features, labels)
    assert found.far[0] == 7
    assert not set(found.far) & set(found.wrong)


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1], [0, 0, 1]])
def test_too_few_pictures_are_no_suspects(labels: list[int]) -> None:
    found = find_label_errors(np.ones((len(labels), 4), np.float32), np.array(labels, dtype=np.intp))
    assert not len(found.far)
    assert not found.many


def features_of_pixels(pictures: Sequence[LabelledPicture], *_: object) -> tuple[Features, slice]:
    """As `default_features`, without a network: all pixels of small copies, whose looks are the pixels as well."""
    pixels: dict[bytes, np.ndarray] = {}
    content = read_content(
        pictures, Preprocessing(size=16), workers=1, take=lambda digest, seen: pixels.setdefault(digest, seen.ravel())
    )
    rows = np.stack([pixels[digest] for digest in content.hashes]).astype(np.float32)
    return Features(content.pictures, content.hashes, content.positions, content.unreadable, rows), slice(0, 768)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Checked]:
    """Pictures of three classes with one of each kind of suspect among them, validation pictures, and their check."""
    folder = tmp_path_factory.mktemp("check")
    random = np.random.default_rng(4)
    bases = {name: random.integers(0, 256, (8, 8, 3)) for name in CLASSES}

    def picture(name: str, *, seed: int) -> Image.Image:
        noise = np.random.default_rng(seed).normal(0, 60, (8, 8, 3))
        return Image.fromarray((bases[name] + noise).clip(0, 255).astype(np.uint8)).resize((64, 64), 0)

    def put(image: Image.Image, name: str, file: str, root: str = "data") -> None:
        (folder / root / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / root / name / file)

    for number, name in enumerate(CLASSES):
        for each in range(16):
            put(picture(name, seed=100 * number + each), name, f"{each:02}.png")
    put(picture("warm/red", seed=900), "cold/blue", "swapped.png")
    put(picture("warm/red", seed=0), "warm/red", "again.png")
    for name in ("warm/red", "warm/yellow"):
        put(picture("warm/red", seed=901), name, "both.png")
    put(picture("warm/red", seed=1).rotate(1), "warm/red", "near.png")
    put(picture("cold/blue", seed=201), "cold/blue", "leak.png", "val")
    put(picture("cold/blue", seed=299), "cold/blue", "fine.png", "val")
    (folder / "data/warm/once").mkdir()
    Image.new("RGB", (64, 64), "white").save(folder / "data/warm/once/only.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspects, "default_features", features_of_pixels)
        found = find_suspects(folder / "data", val=folder / "val", target=choose_target(Device.CPU))
    return folder / "data", folder / "val", found


def named(found: Checked, kind: Kind) -> set[str]:
    return {suspect.picture.path.name for suspect in found.suspects if suspect.kind is kind}


def test_every_kind_of_suspect_is_found(check: tuple[Path, Path, Checked]) -> None:
    _, _, found = check
    assert named(found, Kind.COPY_OTHER_CLASS) == {"both.png"}
    assert "swapped.png" in named(found, Kind.WRONG_LABEL)
    suggested = next(each for each in found.suspects if each.picture.path.name == "swapped.png")
    assert suggested.suggestion == "warm/red"
    assert named(found, Kind.COPY) == {"again.png"} or named(found, Kind.COPY) == {"00.png"}
    assert "near.png" in named(found, Kind.NEAR)
    assert named(found, Kind.LEAK) == {"leak.png"}
    assert found.few_groups["warm/once"] == (1, 1)
    kinds = [list(Kind).index(suspect.kind) for suspect in found.suspects]
    assert kinds == sorted(kinds)


def test_list_leaves_out_of_data_and_validation_what_it_names(
    check: tuple[Path, Path, Checked], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, val, found = check
    listed = tmp_path / "suspects.csv"
    listed.write_bytes(found.csv())
    rows = list(csv.DictReader(listed.read_text("utf-8").splitlines()))
    assert len(rows) == len(found.suspects) - found.counts[Kind.NEAR]
    caplog.set_level(logging.INFO)
    for source in (data, val):
        kept = {picture.path for picture in without_listed(load_data(source), listed).pictures}
        assert kept == {each.path for each in load_data(source).pictures} - {Path(row["filepath"]) for row in rows}
    assert "as " + str(listed) in caplog.text
    # A person keeps what is fine by removing its row; only the column with the path is needed, relative to the list.
    (data / "list.csv").write_text("filepath\nwarm/red/00.png\nwarm/red/nowhere.png\n")
    assert data / "warm/red/00.png" not in {each.path for each in load_once(data, "none", data / "list.csv").pictures}
    (data / "list.csv").unlink()


def test_list_that_cannot_be_meant_is_refused(check: tuple[Path, Path, Checked], tmp_path: Path) -> None:
    data, _, _ = check
    with pytest.raises(DataError, match="no such file"):
        without_listed(load_data(data), tmp_path / "nowhere.csv")
    every = tmp_path / "every.csv"
    every.write_text("filepath\n" + "\n".join(str(each.path) for each in load_data(data).pictures))
    with pytest.raises(DataError, match="lists every picture"):
        without_listed(load_data(data), every)


def test_table_shows_the_worst_and_counts(check: tuple[Path, Path, Checked]) -> None:
    _, _, found = check
    text = suspects_text(found)
    assert text.startswith("picture")
    for told in ("swapped.png", "warm/once", f"{found.counts[Kind.COPY_OTHER_CLASS]}  copy_other_class"):
        assert told in text


def test_command_gives_rows_in_every_format(
    check: tuple[Path, Path, Checked], run_phototag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, _, _ = check
    monkeypatch.setattr(suspects, "default_features", features_of_pixels)
    files = ("--csv", tmp_path / "list.csv", "--report", tmp_path / "page.html")
    result = run_phototag("dataset", "check", data, "--format", "json", *files)
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert described == json.loads((tmp_path / "page.json").read_text())
    page = (tmp_path / "page.html").read_text()
    assert "swapped.png" in page
    assert page.count("data:image/jpeg") >= len(described["suspects"])
    rows = run_phototag("dataset", "check", data, "--format", "csv").stdout
    assert rows.encode() == (tmp_path / "list.csv").read_bytes()
    assert len(rows.splitlines()) == 1 + len(described["suspects"]) - described["counts"]["near"]


def test_training_says_when_it_sees_many_wrong_labels(caplog: pytest.LogCaptureFixture) -> None:
    features, labels = clouds()
    taxonomy = Taxonomy.from_pairs([("all", f"class {number}") for number in range(6)])
    _warn_of_labels(Part.of_subclasses(features, labels, taxonomy))
    assert not caplog.text
    _warn_of_labels(Part.of_subclasses(features, swapped(labels, range(0, 180, 9)), taxonomy))
    assert "of 180 pictures may have a wrong label; phototag dataset check DATA lists them" in caplog.text
