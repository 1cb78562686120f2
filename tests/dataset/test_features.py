"""Frozen features: computed once, kept by content, and never believed when the cache is damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from phototag import settings
from phototag.choices import Device, RuntimeName
from phototag.dataset.content import data_digest, read_content
from phototag.dataset.features import FeatureExtractor, Features
from phototag.dataset.labelled import LabelledPicture, load_data
from phototag.errors import DataError
from phototag.files import keep_newest
from phototag.imaging.preprocessing import Preprocessing
from phototag.runtime.runtime import Target
from phototag.training.training import train
from tests.support.pictures import colour_folder, draw
from tests.support.training import tiny_config

CPU_TORCH = Target(Device.CPU, RuntimeName.TORCH)
PREPROCESSING = Preprocessing(size=32, crop=1.0)


class Backbone(torch.nn.Module):
    """The mean colour: a backbone that is checked by hand, and counts the pictures it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return images.mean(dim=(2, 3))


class Extraction:
    """Features through a counting backbone; `built` says how often an engine was made."""

    def __init__(self, weights_digest: str = "weights", preprocessing: Preprocessing = PREPROCESSING) -> None:
        self.backbone = Backbone()
        self.built = 0

        def build() -> torch.nn.Module:
            self.built += 1
            return self.backbone

        self.extract = FeatureExtractor(
            build, preprocessing, weights_digest=weights_digest, target=CPU_TORCH, workers=2
        )

    def __call__(self, folder: Path) -> Features:
        return self.extract(load_data(folder).pictures)


def cache_files() -> list[Path]:
    return sorted((settings.cache_folder() / "features").glob("*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return colour_folder(tmp_path / "data", 12)


def test_features_come_in_the_order_of_the_pictures(folder: Path) -> None:
    run = Extraction()
    features = run(folder)
    assert features.values.shape == (48, 3)
    assert features.values.dtype == np.float32
    assert (run.built, run.backbone.seen) == (1, 48)
    warm = np.array([picture.superclass == "warm" for picture in features.pictures])
    assert ((features.values[:, 0] > features.values[:, 2]) == warm).all()  # red against blue


def test_second_run_takes_everything_from_the_cache(folder: Path) -> None:
    first = Extraction()(folder)
    again = Extraction()
    second = again(folder)
    assert (again.built, again.backbone.seen) == (0, 0)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.hashes == second.hashes


def test_only_new_pictures_are_computed(folder: Path) -> None:
    Extraction()(folder)
    draw(folder / "warm" / "red" / "new1.png", (10, 20, 30), seed=77)
    draw(folder / "cold" / "blue" / "new2.png", (10, 20, 30), seed=78)
    shutil.move(folder / "cold" / "green" / "000.png", folder / "cold" / "green" / "moved.png")
    run = Extraction()
    features = run(folder)
    assert run.backbone.seen == 2
    assert len(features.values) == 50
    names = [picture.path.name for picture in features.pictures]
    single = Extraction("other")(folder)
    np.testing.assert_array_equal(features.values, single.values)
    assert names == [picture.path.name for picture in single.pictures]


def test_picture_with_changed_content_is_computed_anew(folder: Path) -> None:
    before = Extraction()(folder)
    draw(folder / "warm" / "red" / "000.png", (0, 0, 0), seed=5)
    run = Extraction()
    after = run(folder)
    assert run.backbone.seen == 1
    changed = np.flatnonzero((before.values != after.values).any(axis=1))
    assert [after.pictures[index].path.name for index in changed] == ["000.png"]


def test_copies_of_a_picture_are_all_given(folder: Path) -> None:
    shutil.copy(folder / "warm" / "red" / "000.png", folder / "warm" / "red" / "copy.png")
    features = Extraction()(folder)
    values = {picture.path: value for picture, value in zip(features.pictures, features.values, strict=True)}
    np.testing.assert_array_equal(
        values[folder / "warm" / "red" / "000.png"], values[folder / "warm" / "red" / "copy.png"]
    )


@pytest.mark.parametrize(
    "other", [Extraction("other weights"), Extraction(preprocessing=Preprocessing(size=48, crop=1.0))], ids=["w", "p"]
)
def test_other_weights_or_preprocessing_do_not_share_the_cache(folder: Path, other: Extraction) -> None:
    Extraction()(folder)
    other(folder)
    assert other.backbone.seen == 48
    assert len(cache_files()) == 2


@pytest.mark.parametrize("damage", ["empty", "cut to 10", "cut in half", "cut by one", "text", "flipped", "mismatch"])
def test_damaged_cache_is_ignored_and_made_again(folder: Path, damage: str) -> None:
    first = Extraction()(folder)
    (file,) = cache_files()
    data = bytearray(file.read_bytes())
    if damage == "mismatch":
        with file.open("wb") as stream:
            np.savez(stream, hashes=np.zeros((3, 32), dtype=np.uint8), values=np.zeros((2, 3), dtype=np.float32))
    else:
        flipped = data.copy()
        flipped[len(data) // 2] ^= 0xFF
        new = {
            "empty": b"",
            "cut to 10": data[:10],
            "cut in half": data[: len(data) // 2],
            "cut by one": data[:-1],
            "text": b"not a cache",
            "flipped": flipped,
        }
        file.write_bytes(new[damage])
    run = Extraction()
    np.testing.assert_array_equal(run(folder).values, first.values)
    assert run.backbone.seen == 48
    again = Extraction()
    again(folder)
    assert again.built == 0


def test_cache_never_unpickles(folder: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    Extraction()(folder)
    (file,) = cache_files()
    with file.open("wb") as stream:
        np.savez(stream, hashes=np.array([Payload()], dtype=object), values=np.zeros((1, 3)))
    assert len(Extraction()(folder).values) == 48
    assert not (tmp_path / "executed").exists()


def test_cache_keeps_a_bounded_number_of_files(folder: Path) -> None:
    for number in range(12):
        Extraction(f"weights {number}")(folder)
        for file in cache_files():  # mtimes a second apart, whatever the file system's resolution
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9))
    assert len(cache_files()) == 8
    recent = Extraction("weights 11")
    recent(folder)
    assert recent.built == 0
    old = Extraction("weights 0")
    old(folder)
    assert old.built == 1


def test_cache_that_cannot_be_written_costs_nothing_but_time(folder: Path) -> None:
    settings.cache_folder().parent.mkdir(parents=True, exist_ok=True)
    settings.cache_folder().write_text("a file where the folder should be")
    assert len(Extraction()(folder).values) == 48


def test_second_training_reads_features_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.models import random_weights

    config = tiny_config(weights=random_weights(tmp_path / "w.pth"), tune="heads")
    first = train(folder, config=config)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("an engine was made although all features are known")

    monkeypatch.setattr("phototag.dataset.features.create_engine", never)
    second = train(folder, config=config)
    assert first.metrics == second.metrics


def test_network_that_openvino_cannot_convert_runs_through_torch(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # `train` has no --runtime to get out with.
    pytest.importorskip("openvino")

    class Untraceable(Backbone):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise NotImplementedError("no such operation")
            return super().forward(images)

    target = Target(Device.CPU, RuntimeName.OPENVINO)
    extract = FeatureExtractor(Untraceable, PREPROCESSING, weights_digest="untraceable", target=target)
    np.testing.assert_allclose(extract(load_data(folder).pictures).values, Extraction()(folder).values, atol=1e-6)
    assert "going on with torch" in caplog.text


# -- unreadable pictures


def test_unreadable_pictures_have_no_features(folder: Path) -> None:
    (folder / "warm" / "red" / "003.png").write_bytes(b"broken")
    features = Extraction()(folder)
    assert len(features.values) == len(features.pictures) == len(features.hashes) == 47
    assert len(features.unreadable) == 1
    assert "003.png" in features.unreadable[0]


def test_too_many_unreadable_pictures_stop(folder: Path) -> None:
    for index in range(3):
        (folder / "warm" / "red" / f"00{index}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="3 of 48 pictures cannot be read"):
        Extraction()(folder)


def test_a_part_has_the_pictures_and_hashes_of_its_places(folder: Path) -> None:
    pictures = load_data(folder).pictures
    for index in (1, 30):
        pictures[index].path.write_bytes(b"broken")
    content = read_content(pictures, PREPROCESSING)
    part = content.part([0, 1, 40])
    assert part.pictures == (pictures[0], pictures[2], pictures[42])
    assert part.hashes == (content.hashes[0], content.hashes[1], content.hashes[40])
    assert part.positions == (0, 2, 42)


# -- the digest of the data


def test_digest_is_that_of_labels_and_contents(folder: Path, tmp_path: Path) -> None:
    def digest_of(root: Path) -> str:
        content = read_content(load_data(root).pictures, PREPROCESSING)
        return data_digest(content.pictures, content.hashes)

    original = digest_of(folder)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.move(elsewhere / "warm" / "red" / "000.png", elsewhere / "warm" / "red" / "zzz.png")
    assert digest_of(elsewhere) == original
    shutil.move(elsewhere / "warm" / "red" / "zzz.png", elsewhere / "warm" / "yellow" / "zzz.png")
    assert digest_of(elsewhere) != original
    (elsewhere / "warm" / "yellow" / "zzz.png").unlink()
    assert digest_of(elsewhere) != original


def test_digest_takes_labels_of_any_kind() -> None:
    picture = LabelledPicture(Path("a.png"), None, None, "here")
    assert len(data_digest([picture], [b"\0" * 32])) == 64


def test_cache_keeps_the_newest_files_and_what_belongs_to_them(tmp_path: Path) -> None:
    for number in range(4):
        for suffix in (".xml", ".bin"):
            path = tmp_path / f"network-{number}{suffix}"
            path.touch()
            os.utime(path, (number, number))
    keep_newest(tmp_path, "*.xml", count=2)
    assert {path.name for path in tmp_path.iterdir()} == {
        "network-2.xml",
        "network-2.bin",
        "network-3.xml",
        "network-3.bin",
    }
