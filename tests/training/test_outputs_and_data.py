"""Names of models and existing files, validation data, and pictures that cannot be read."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from phototag import settings
from phototag.choices import Tune
from phototag.dataset.keyworded import KeywordedLibrary
from phototag.dataset.labelled import load_data, training_taxonomy
from phototag.dataset.series import split
from phototag.errors import DataError, ModelError, UsageError
from phototag.model.file import write_tensors
from phototag.model.registry import active_reference, open_model
from phototag.training.finetune.trainer import Trainer
from phototag.training.output import LEAST_ROOM_BYTES, check_room, choose_output
from phototag.training.training import train
from tests.support.keywords import write_keywords
from tests.support.models import TINY_BACKBONE
from tests.support.pictures import colour_folder, draw
from tests.support.training import tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


# -- names, existing files, folders


def default_output(source: Path) -> Path:
    """The file that a training on this data writes by default."""
    with ExitStack() as held:
        return choose_output(None, source, TINY_BACKBONE, resume=False, overwrite=False, held=held)


def test_default_names_never_collide(data: Path, tmp_path: Path, weights: Path, tiny_model: Path) -> None:
    names = [train(data, config=tiny_config(weights=weights)).model.name for _ in range(2)]
    assert names == [f"colours-{TINY_BACKBONE}", f"colours-{TINY_BACKBONE}-2"]
    assert active_reference() == names[-1]
    for name in (f"my_photos-{TINY_BACKBONE}", f"my_photos-{TINY_BACKBONE}-2"):
        assert shutil.copy(tiny_model, default_output(tmp_path / "my photos" / "labels.csv")).stem == name


@pytest.mark.parametrize("name", ["n" * 250, "日" * 80, "--", "Straße & Co.", "a\nb"])
def test_folder_of_any_name_gives_a_model_of_a_usable_name(tmp_path: Path, tiny_model: Path, name: str) -> None:
    path = shutil.copy(tiny_model, default_output(tmp_path / name))
    assert open_model(path.stem).path == path


def test_model_can_be_trained_without_becoming_active(data: Path, weights: Path, tmp_path: Path) -> None:
    model = train(data, config=tiny_config(weights=weights), output=tmp_path / "m.safetensors", activate=False).model
    assert model.path == tmp_path / "m.safetensors"
    assert active_reference() == "builtin"


def test_existing_output_is_refused_without_overwrite(data: Path, weights: Path) -> None:
    config = tiny_config(weights=weights)
    model = train(data, config=config, output="mine").model
    assert model.path == settings.models_folder() / "mine.safetensors"
    before = model.path.read_bytes()
    with pytest.raises(UsageError, match=r"mine\.safetensors: exists already; use --overwrite"):
        train(data, config=config, output="mine")
    assert model.path.read_bytes() == before
    train(data, config=replace(config, seed=3), output="mine", overwrite=True)
    assert model.path.read_bytes() != before


def test_output_that_cannot_be_a_model_is_refused_before_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("training began although its model cannot be written")

    monkeypatch.setattr("phototag.training.session.Session.open", never)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.safetensors").mkdir()
    for output, error, words in (
        (tmp_path / "model.pth", UsageError, "ends in .safetensors"),
        (tmp_path / "folder.safetensors", UsageError, "a folder"),
        (tmp_path / "file" / "model.safetensors", ModelError, "cannot be made"),
        ("builtin", UsageError, "built-in"),
        ("*", UsageError, "cannot name a model"),
    ):
        with pytest.raises(error) as caught:
            train(data, config=tiny_config(), output=output)
        assert words in str(caught.value)


def test_a_model_that_cannot_be_written_any_more_is_kept_elsewhere(
    data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, spare = tmp_path / "full" / "mine.safetensors", tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))

    def write(path: Path, *rest: Any) -> None:
        if path == asked:
            raise ModelError(f"{path}: cannot be written: No space left on device")
        write_tensors(path, *rest)

    monkeypatch.setattr("phototag.training.output.write_tensors", write)
    result = train(data, config=tiny_config(weights=weights), output=asked)
    assert result.model.path is not None
    assert result.model.path.is_relative_to(spare)
    assert f"No space left on device; it lies in {result.model.path.parent} for now" in result.inactive
    assert active_reference() == "builtin"


# -- validation data


def test_validation_data_of_its_own_leaves_all_pictures_for_training(data: Path, weights: Path, tmp_path: Path) -> None:
    val = colour_folder(tmp_path / "val", 3, first=100)
    result = train(data, config=tiny_config(weights=weights), val=val)
    record = result.model.header.record
    assert (record["training_pictures"], record["validation_pictures"]) == (48, 12)
    assert record["refitted_on_all"] is False
    assert result.metrics.photos == 12


def test_a_library_with_keywords_is_learned_where_it_lies(data: Path, weights: Path, tmp_path: Path) -> None:
    for picture in sorted(data.glob("*/*/*.png")):
        superclass, subclass = picture.parts[-3:-1]
        copy = Path(shutil.copy(picture, tmp_path / f"{superclass}-{subclass}-{picture.name}"))
        write_keywords(copy, f"Colours|{superclass}|{subclass}", "Places|Rome")
    mapping = tmp_path / "map.csv"
    mapping.write_text("keyword,superclass,subclass\nplaces,,\n")
    library = KeywordedLibrary(tmp_path, mapping)
    model = train(library, config=tiny_config(weights=weights), output="keyworded").model
    assert model.header.taxonomy.to_json() == training_taxonomy(load_data(data)).to_json()
    assert model.header.record["class_pictures"] == {
        "cold/blue": 12, "cold/green": 12, "warm/red": 12, "warm/yellow": 12
    }  # fmt: skip


def test_unknown_label_in_validation_data_is_refused_by_name(data: Path, weights: Path, tmp_path: Path) -> None:
    val = colour_folder(tmp_path / "val", 3, first=100)
    draw(val / "cold" / "violet" / "x.png", (90, 0, 200), seed=1)
    with pytest.raises(DataError, match="no subclass 'violet'") as caught:
        train(data, config=tiny_config(weights=weights), val=val)
    assert str(val / "cold" / "violet") in str(caught.value)


def test_unlabelled_pictures_in_validation_data_do_not_count_against_the_model(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    others = colour_folder(tmp_path / "others", 3, first=100)
    rows = [f"{path},{path.parts[-3]},{path.parts[-2]}" for path in sorted(others.rglob("*.png"))]
    rows += [f"{draw(tmp_path / 'novel.png', (128, 128, 128), seed=1)},,"]
    val = tmp_path / "val.csv"
    val.write_text("\n".join(["filepath,superclass,subclass", *rows]))
    result = train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1), val=val)
    assert result.model.header.record["curves"][0]["subclass_accuracy"] == 1.0
    assert result.metrics.subclass_accuracy == 1.0
    assert result.metrics.novel_photos == 1


@pytest.mark.parametrize("copied", [False, True])
def test_validation_pictures_that_are_learned_from_are_refused(
    data: Path, weights: Path, tmp_path: Path, copied: bool
) -> None:
    val = shutil.copytree(data, tmp_path / "val") if copied else data
    with pytest.raises(DataError, match="every validation picture is also in the training data"):
        train(data, config=tiny_config(weights=weights), val=val)


def test_a_picture_has_no_copy_on_the_other_side_of_the_split(
    data: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    doubled = shutil.copytree(data, tmp_path / "doubled")
    for path in sorted(doubled.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    record = train(doubled, config=tiny_config(weights=weights)).model.header.record
    assert record["training_pictures"] == record["validation_pictures"] == 48
    assert "48 pictures are copies of others of their class and count once" in caplog.text


# -- unreadable pictures


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_class_without_a_readable_picture_is_refused_by_name(
    data: Path, weights: Path, tmp_path: Path, pretrained: bool
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    (mixed / "warm" / "ghost").mkdir()
    (mixed / "warm" / "ghost" / "0.jpg").write_bytes(b"no picture")
    config = tiny_config(weights=weights) if pretrained else tiny_config()
    with pytest.raises(DataError, match="none of the pictures of warm/ghost can be read; mend or remove them"):
        train(mixed, config=config)


def test_a_class_whose_training_pictures_are_broken_learns_from_the_others(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    draw(mixed / "warm" / "rare" / "0.png", (1, 2, 3), seed=1)
    draw(mixed / "warm" / "rare" / "1.png", (1, 2, 3), seed=2)
    training, _ = split(load_data(mixed).pictures, fraction=0.2, seed=0)
    next(picture for picture in training if picture.subclass == "rare").path.write_bytes(b"no picture")
    result = train(mixed, config=tiny_config(weights=weights))
    assert "rare" in result.model.header.taxonomy.subclasses
    assert "warm/rare" not in {scores.name for scores in result.metrics.subclasses if scores.support}


@pytest.mark.parametrize("tune", [Tune.HEADS, Tune.FULL, "random"])
def test_unreadable_pictures_are_told_counted_and_skipped(
    data: Path, weights: Path, tmp_path: Path, tune: str, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    # Two of 50 are few, even if both come to lie among the 8 validation pictures.
    for index in range(2):
        (mixed / "warm" / "red" / f"broken{index}.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut %d" % index)
    config = tiny_config(epochs=1) if tune == "random" else tiny_config(weights=weights, tune=Tune(tune), epochs=1)
    result = train(mixed, config=config)
    assert "broken0.jpg" in caplog.text
    assert "2 pictures cannot be read and were skipped" in caplog.text
    record = result.model.header.record
    # Heads learn from all pictures, and are evaluated on all of them in folds.
    counted = record["training_pictures"] + record["validation_pictures"]
    assert counted in ((96, 98) if tune is Tune.HEADS else (48, 50))


@pytest.mark.parametrize("pretrained", [True, False])
def test_too_many_unreadable_pictures_stop_the_training(
    data: Path, weights: Path, tmp_path: Path, pretrained: bool
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    for index in range(3):
        (mixed / "warm" / "red" / f"broken{index}.jpg").write_bytes(b"")
    config = tiny_config(weights=weights) if pretrained else tiny_config()
    with pytest.raises(DataError, match="3 of 51 pictures cannot be read"):
        train(mixed, config=config)


def test_ignored_pictures_are_counted_aloud(
    data: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    draw(mixed / "stray.png", (1, 2, 3), seed=1)
    train(mixed, config=tiny_config(weights=weights))
    assert "1 picture" in caplog.text
    assert "left out" in caplog.text


def test_picture_that_breaks_during_training_does_not_stop_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    run_epoch = Trainer._run_epoch

    def break_one(self: Trainer, epoch: int) -> float:
        self.training[0].path.write_bytes(b"broken now")
        return run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "_run_epoch", break_one)
    train(copy, config=tiny_config(epochs=2))


# -- names, room and the active model are seen to before the training


def test_a_name_belongs_to_one_training_at_a_time(data: Path) -> None:
    folder = settings.models_folder()
    choose = partial(choose_output, data=data, backbone=TINY_BACKBONE, resume=False)
    with ExitStack() as first, ExitStack() as second:
        mine = choose(None, overwrite=False, held=first)
        assert mine == folder / f"colours-{TINY_BACKBONE}.safetensors"
        assert choose(None, overwrite=False, held=second) == folder / f"colours-{TINY_BACKBONE}-2.safetensors"
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="another training writes this model now"):
                choose(mine, overwrite=overwrite, held=second)
        with pytest.raises(UsageError, match="another training writes this model now"):
            choose(None, overwrite=True, held=second)
    assert list(folder.iterdir()) == []
    with ExitStack() as third:
        assert choose(None, overwrite=False, held=third) == mine


def test_a_name_that_leaves_no_room_for_the_state_of_a_run_is_refused_at_once(data: Path) -> None:
    with ExitStack() as held, pytest.raises(ModelError, match="File name too long"):
        choose_output("n" * 240, data, TINY_BACKBONE, resume=False, overwrite=False, held=held)


def test_room_is_looked_for_before_the_training(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tiny_config(weights=weights)
    train(data, config=config, output=tmp_path / "fits.safetensors")
    size = (tmp_path / "fits.safetensors").stat().st_size
    nearly = shutil.disk_usage(tmp_path)._replace(free=LEAST_ROOM_BYTES + size // 2)
    monkeypatch.setattr("phototag.training.output.shutil.disk_usage", lambda _: nearly)
    check_room(tmp_path / "m.safetensors", LEAST_ROOM_BYTES)
    with pytest.raises(ModelError, match=r"MB are free, and the training takes about .* make room"):
        check_room(tmp_path / "m.safetensors", LEAST_ROOM_BYTES + size)
    monkeypatch.setattr("phototag.training.session.Session.open", lambda *_: pytest.fail("the training began"))
    monkeypatch.setattr("phototag.training.output.shutil.disk_usage", lambda _: nearly._replace(free=1000))
    with pytest.raises(ModelError, match="make room"):
        train(data, config=config, output=tmp_path / "m.safetensors")


def test_a_model_that_cannot_become_active_is_trained_all_the_same(
    data: Path, weights: Path, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "data" / "active-model").mkdir(parents=True)
    result = train(data, config=tiny_config(weights=weights), output=tmp_path / "m.safetensors")
    assert result.inactive
    assert result.metrics.photos > 0
    assert result.model.path is not None
    assert "will not become the active one" in caplog.messages[0], "before the training"


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_some_generator_refuses_are_refused_at_once(seed: int) -> None:
    with pytest.raises(UsageError, match="the seed must lie between"):
        tiny_config(seed=seed)


# -- series


@pytest.mark.parametrize("groups", ["column", "auto"])
def test_classes_of_one_named_series_are_learned_and_promise_nothing(
    data: Path, weights: Path, tmp_path: Path, groups: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{path},{path.parts[-3]},{path.parts[-2]},{path.parts[-2]}" for path in sorted(data.rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["filepath,superclass,subclass,group", *rows]) + "\n")
    result = train(tmp_path / "labels.csv", config=tiny_config(weights=weights, groups=groups))
    assert "the pictures of each class are one series" in caplog.text
    # Only what was kept apart is evaluated: folds of whole series would leave a class without pictures.
    assert result.metrics.photos == 8
