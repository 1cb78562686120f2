"""More classes for a trained model: the old ones stay, the new ones are learned, and the file tells of it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag import settings
from phototag.choices import Device, RuntimeName
from phototag.decision import Thresholds, decide, gather
from phototag.errors import DataError, ModelError, UsageError
from phototag.evaluation.evaluation import evaluate
from phototag.model.exemplars import Examples
from phototag.model.file import EXAMPLES, read_header, read_tensors, write_tensors
from phototag.model.registry import Model, open_model
from phototag.records import Rank, Tag
from phototag.runtime.runtime import Runtime, Target
from phototag.training.config import TrainingConfig
from phototag.training.training import TrainingResult, train
from tests.support.commands import RunCommand
from tests.support.models import TINY_BACKBONE, random_weights
from tests.support.pictures import colour_folder, draw
from tests.support.training import tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

NO_LIMITS = Thresholds(0.0, 0.0)
# Before the old classes in any order by name, between them, and after them.
NEW = {("alien", "acid"): (150, 255, 10), ("cold", "cyan"): (20, 230, 230), ("zebra", "grey"): (120, 120, 120)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and models of this file's tests. Do not change what lies there."""
    return tmp_path_factory.mktemp("extending")


@pytest.fixture(scope="module")
def old(folder: Path) -> Path:
    """64 pictures of the four old classes."""
    return colour_folder(folder / "old", 16)


@pytest.fixture(scope="module")
def new(folder: Path) -> Path:
    """36 pictures of three new classes in two new superclasses and an old one."""
    for number, ((superclass, subclass), colour) in enumerate(NEW.items()):
        for index in range(12):
            place = folder / "new" / superclass / subclass / f"{index:03}.png"
            draw(place, colour, seed=100_000 + 1000 * number + index)
    return folder / "new"


def in_home(folder: Path, work: Callable[[], TrainingResult]) -> Path:
    """The model file that `work` makes, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOTAG_HOME", str(folder))
        path = work().model.path
    assert path is not None
    return path


@pytest.fixture(scope="module")
def parent(folder: Path, old: Path) -> Path:
    weights = random_weights(folder / "weights.pth")
    return in_home(
        folder / "a", lambda: train(old, config=tiny_config(weights=weights), output=folder / "p.safetensors")
    )


@pytest.fixture(scope="module")
def extended(folder: Path, parent: Path, new: Path) -> Path:
    return in_home(
        folder / "a", lambda: train(new, extend=parent, config=usual(), output=folder / "extended.safetensors")
    )


def usual(**changes: Any) -> TrainingConfig:
    return TrainingConfig(workers=0, device=Device.CPU, **changes)


def tags(model: Path | Model, colours: list[tuple[int, int, int]], *, each: int = 6, seed: int = 9) -> list[Tag]:
    """What a model says of fresh pictures of these colours."""
    found = model if isinstance(model, Model) else open_model(model)
    random = np.random.default_rng(seed)
    size = found.header.preprocessing.size
    noise = random.normal(0, 30, (len(colours) * each, 40, 40, 3))
    pictures = np.clip(np.repeat(np.array(colours), each, axis=0)[:, None, None] + noise, 0, 255).astype(np.uint8)
    resized = np.stack([np.asarray(Image.fromarray(one).resize((size, size))) for one in pictures])
    run = Runtime(found, target=Target(Device.CPU, RuntimeName.TORCH), batch_size=64)
    scores = run(resized.transpose(0, 3, 1, 2))
    taxonomy = found.header.taxonomy
    return decide(gather(scores, taxonomy, found.novelty), taxonomy, found.header.thresholds)


# -- what is learned


def test_new_classes_are_learned_and_the_old_ones_keep_their_accuracy(
    parent: Path, extended: Path, old: Path, new: Path
) -> None:
    before, after, added = (
        evaluate(data, model=model, workers=0) for data, model in ((old, parent), (old, extended), (new, extended))
    )
    assert before.subclass_accuracy is not None
    assert after.subclass_accuracy is not None
    assert after.subclass_accuracy >= before.subclass_accuracy - 0.05
    assert added.subclass_accuracy is not None
    assert added.subclass_accuracy >= 0.9
    assert added.superclass_accuracy is not None
    assert added.superclass_accuracy >= 0.9


def test_old_names_are_given_to_old_pictures_though_their_places_moved(parent: Path, extended: Path) -> None:
    known, taxonomy = read_header(parent).taxonomy, read_header(extended).taxonomy
    assert known.superclasses == ("cold", "warm")
    assert taxonomy.superclasses == ("alien", "cold", "warm", "zebra")
    assert taxonomy.subclasses == ("acid", "blue", "cyan", "green", "red", "yellow", "grey")
    colours = {"red": (200, 40, 40), "yellow": (230, 220, 50), "blue": (30, 50, 200), "green": (40, 170, 60)}
    for model in (parent, extended):
        willing = replace(open_model(model), header=replace(read_header(model), thresholds=NO_LIMITS))
        found = tags(willing, list(colours.values()))
        right = [tag.subclass == name for tag, name in zip(found, np.repeat(list(colours), 6).tolist(), strict=True)]
        assert np.mean(right) >= 0.9


def test_record_tells_what_became_of_old_and_new_classes(parent: Path, extended: Path, new: Path) -> None:
    header = read_header(extended)
    record = header.record
    told = record["extension"]
    assert told["added"] == ["alien/acid", "cold/cyan", "zebra/grey"]
    # The fifth that was kept apart of 16 pictures each.
    assert told["old_before"]["pictures"] == told["old_after"]["pictures"] == 12
    assert told["old_after"]["subclass"] >= told["old_before"]["subclass"] - 0.1
    assert told["new"]["pictures"] == 6
    assert record["tune"] == "extend"
    assert record["training_pictures"] == 64 + 36 - 18
    assert record["validation_pictures"] == 18
    assert header.backbone == TINY_BACKBONE
    assert header.stages == read_header(parent).stages
    (ancestor,) = record["lineage"]
    assert ancestor["name"] == "p"
    assert ancestor["hash"] == open_model(parent).hash
    assert (ancestor["subclasses"], ancestor["then_added"]) == (4, told["added"])


def test_backbone_stays_as_it_is(parent: Path, extended: Path) -> None:
    before, after = read_tensors(parent, under="backbone."), read_tensors(extended, under="backbone.")
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_few_new_pictures_leave_old_ones_where_they_are_and_more_of_them_no_longer(
    parent: Path, tmp_path: Path
) -> None:
    models = [parent]
    for name, colour in (("pink", (250, 120, 220)), ("brown", (110, 60, 20))):
        for index in range(8):
            draw(tmp_path / name / "warm" / name / f"{index}.png", colour, seed=index)
        config, output = usual(), tmp_path / f"{name}.safetensors"
        train(tmp_path / name, extend=models[-1], config=config, output=output, activate=False)
        models.append(output)
    before, few, more = (read_tensors(model, under="") for model in models)
    np.testing.assert_array_equal(few["embedding.weight"], before["embedding.weight"])
    taxonomy, known = read_header(models[1]).taxonomy, read_header(parent).taxonomy
    places = [taxonomy.subclass_index[name] for name in known.subclasses]
    np.testing.assert_array_equal(few["novelty.means"][places], before["novelty.means"])
    assert few["novelty.means"].shape == (5, few["embedding.weight"].shape[0])
    # Six of each colour are learned from, beside 52 of the parent: 6 * 6 is less than that, 6 * 12 is more.
    assert [read_header(model).record["pictures_beyond_axes"] for model in models[1:]] == [6, 0]
    assert not np.array_equal(more["embedding.weight"], few["embedding.weight"])


def test_extended_model_keeps_examples_of_all_classes(extended: Path) -> None:
    width = read_tensors(extended)["subclass_head.weight"].shape[1]
    examples = Examples.from_tensors(read_tensors(extended, under=EXAMPLES), classes=7, width=width)
    assert sorted(np.bincount(examples.labels).tolist()) == [12, 12, 12, 16, 16, 16, 16]
    assert np.bincount(examples.labels[examples.unseen]).min() >= 2


def test_examples_are_not_loaded_where_photos_are_tagged(extended: Path) -> None:
    model = open_model(extended)
    assert any(name.startswith(EXAMPLES) for name in read_tensors(extended, under=""))
    assert not any(name.startswith(EXAMPLES) for name in model.tensors())


@pytest.mark.slow
def test_csv_extends_as_a_folder_does(parent: Path, extended: Path, new: Path, tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    with source.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filepath", "superclass", "subclass"])
        rows.writerows([place, *place.parts[-3:-1]] for place in sorted(new.rglob("*.png")))
    result = train(source, extend=parent, config=usual(), activate=False)
    assert result.model.header.taxonomy == read_header(extended).taxonomy
    assert result.extension is not None
    assert result.extension.new.pictures == 6
    assert sorted(result.model.header.record["extension"]["added"]) == ["alien/acid", "cold/cyan", "zebra/grey"]
    assert result.extension.new.subclass == 1.0


@pytest.mark.slow
def test_same_data_gives_the_same_extension(parent: Path, new: Path, tmp_path: Path) -> None:
    one, same = (
        train(new, extend=parent, config=usual(), output=tmp_path / f"{name}.safetensors", activate=False).model
        for name in ("one", "same")
    )
    assert one.weights_hash == same.weights_hash
    assert one.header.record["data_digest"] == same.header.record["data_digest"]


def test_extending_twice_gives_a_lineage_of_two(extended: Path, tmp_path: Path, run_phototag: RunCommand) -> None:
    for index in range(8):
        draw(tmp_path / "more" / "warm" / "pink" / f"{index}.png", (250, 120, 220), seed=index)
    result = train(tmp_path / "more", extend=extended, config=usual(), output="grandchild")
    header = result.model.header
    assert [entry["name"] for entry in header.record["lineage"]] == ["p", "extended"]
    assert [entry["subclasses"] for entry in header.record["lineage"]] == [4, 7]
    assert "pink" in header.taxonomy.subclasses
    assert result.extension is not None
    assert result.extension.before.pictures == 18
    shown = run_phototag("model", "show", "grandchild").stdout
    assert "p (4 subclasses), adding alien/acid, cold/cyan, zebra/grey" in shown
    assert "extended (7 subclasses), adding warm/pink" in shown
    assert "novel above" in shown
    described = json.loads(run_phototag("model", "show", "grandchild", "--format", "json").stdout)
    assert len(described["record"]["lineage"]) == 2


def test_more_pictures_of_known_classes_only(parent: Path, tmp_path: Path, run_phototag: RunCommand) -> None:
    for index in range(6):
        draw(tmp_path / "more" / "warm" / "red" / f"{index}.png", (170, 20, 30), seed=index)
    done = run_phototag("train", tmp_path / "more", "--extend", parent, "--output", "more", "--workers", "0")
    assert done.exit_code == 0
    assert "No subclass added, more examples learned" in done.stderr
    assert "Old classes, 12 pictures" in done.stderr
    model = open_model("more")
    assert model.header.taxonomy == read_header(parent).taxonomy
    assert model.header.record["extension"]["added"] == []
    assert "adding more pictures of known classes" in run_phototag("model", "show", "more").stdout


def test_command_tells_what_was_added_and_makes_it_the_active_model(
    parent: Path, new: Path, run_phototag: RunCommand
) -> None:
    done = run_phototag("train", new, "--extend", parent, "--workers", "0", "--keep-known", "0.9")
    assert done.exit_code == 0
    assert "3 subclasses added: alien/acid, cold/cyan, zebra/grey" in done.stderr
    assert "Pictures of DATA, 6:" in done.stderr
    assert open_model().name == "p-extended"
    assert open_model().header.record["novelty"]["keep_known"] == 0.9
    again = run_phototag("train", new, "--extend", parent, "--workers", "0")
    assert again.exit_code == 0
    assert open_model().name == "p-extended-2"


@pytest.mark.slow
def test_many_new_pictures_of_a_class_count_in_full(parent: Path, tmp_path: Path) -> None:
    for index in range(100):
        draw(tmp_path / "many" / "warm" / "red" / f"{index:03}.png", (200, 40, 40), seed=5000 + index, size=32)
    result = train(tmp_path / "many", extend=parent, config=usual(), activate=False)
    record = result.model.header.record
    assert record["training_pictures"] == 52 + 80
    assert record["validation_pictures"] == 12 + 20


@pytest.mark.slow
def test_model_judged_on_validation_data_of_its_own_can_be_extended(
    folder: Path, old: Path, new: Path, tmp_path: Path
) -> None:
    """Some classes have no validation pictures then."""
    val = colour_folder(tmp_path / "others", 16, first=100)
    (tmp_path / "val" / "warm").mkdir(parents=True)
    (val / "warm" / "red").rename(tmp_path / "val" / "warm" / "red")
    config = tiny_config(weights=folder / "weights.pth")
    parent = train(old, val=tmp_path / "val", config=config, activate=False).model
    result = train(new, extend=parent, config=usual(), activate=False)
    assert result.extension is not None
    assert result.extension.before.pictures == 16
    assert result.extension.new.subclass == 1.0
    assert {"red", "blue", "acid"} <= set(result.model.header.taxonomy.subclasses)


@pytest.mark.slow
def test_model_trained_by_gradient_can_be_extended(folder: Path, old: Path, new: Path) -> None:
    config = tiny_config(weights=folder / "weights.pth", tune="full", epochs=1)
    parent = train(old, config=config, activate=False).model
    result = train(new, extend=parent, config=usual(), activate=False)
    assert result.metrics.subclass_accuracy is not None
    assert result.metrics.subclass_accuracy >= 0.9


# -- what is refused


def test_builtin_model_cannot_be_extended(new: Path, run_phototag: RunCommand) -> None:
    done = run_phototag("train", new, "--extend", "builtin")
    assert done.exit_code == 2
    assert "builtin: keeps no examples of its classes" in done.stderr
    assert "phototag train DATA" in done.stderr


def test_model_of_an_earlier_version_cannot_be_extended(tiny_model: Path, new: Path, run_phototag: RunCommand) -> None:
    done = run_phototag("train", new, "--extend", tiny_model)
    assert done.exit_code == 2
    assert "keeps no examples of its classes" in done.stderr


def test_model_without_its_examples_cannot_be_extended(parent: Path, new: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "bare.safetensors", read_tensors(parent), read_header(parent).to_json())
    with pytest.raises(ModelError, match="keeps no examples of its classes; train it again"):
        train(new, extend=tmp_path / "bare.safetensors", config=usual())


def test_class_under_another_parent_is_refused(parent: Path, tmp_path: Path, run_phototag: RunCommand) -> None:
    for index in range(3):
        draw(tmp_path / "data" / "cold" / "red" / f"{index}.png", (200, 40, 40), seed=index)
    done = run_phototag("train", tmp_path / "data", "--extend", parent)
    assert done.exit_code == 2
    assert "cold/red is warm/red in the model; rename one of them" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--backbone", "efficientnet_lite0"], "--backbone"),
        (["--weights", "x.pth"], "--weights"),
        (["--no-pretrained"], "--no-pretrained"),
        (["--epochs", "6"], "--epochs"),
        (["--img-size", "64"], "--img-size"),
        (["--batch-size", "32"], "--batch-size"),
        (["--accumulate", "1"], "--accumulate"),
        (["--compile"], "--compile"),
        (["--lr", "0.1"], "--lr"),
        (["--tune", "auto"], "--tune"),
        (["--balance", "auto"], "--balance"),
        (["--no-amp"], "--amp"),
        (["--val", "there"], "--val"),
        (["--resume"], "--resume"),
        (["--epochs", "6", "--lr", "0.1"], "--epochs, --lr"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_options_of_backbones_are_refused_even_at_their_defaults(
    parent: Path, new: Path, run_phototag: RunCommand, options: list[str], named: str
) -> None:
    done = run_phototag("train", new, "--extend", parent, *options)
    assert done.exit_code == 2
    assert f"{named} cannot be given with it" in done.stderr


def test_validation_data_and_resuming_are_refused_in_python_too(parent: Path, new: Path) -> None:
    for more in ({"val": new}, {"resume": True}):
        with pytest.raises(UsageError, match="no --val and no --resume"):
            train(new, extend=parent, **more)


def test_unknown_model_lists_the_known_ones(new: Path, run_phototag: RunCommand) -> None:
    done = run_phototag("train", new, "--extend", "nobody")
    assert done.exit_code == 2
    assert "no such model; known: builtin" in done.stderr


def test_models_are_never_replaced_unasked_and_never_by_their_own_extension(
    parent: Path, extended: Path, new: Path, run_phototag: RunCommand
) -> None:
    content = parent.read_bytes()
    done = run_phototag("train", new, "--extend", parent, "--output", extended)
    assert done.exit_code == 2
    assert "exists already; use --overwrite" in done.stderr
    for more in ((), ("--overwrite",)):
        done = run_phototag("train", new, "--extend", parent, "--output", parent, *more)
        assert done.exit_code == 2
        assert "the model that is to be extended; choose another --output" in done.stderr
    assert parent.read_bytes() == content


def test_class_none_of_whose_pictures_can_be_read_is_named(parent: Path, new: Path, tmp_path: Path) -> None:
    # Few enough of all not to stop the whole.
    shutil.copytree(new, tmp_path / "data")
    for index in range(60):
        draw(tmp_path / "data" / "warm" / "red" / f"{index:03}.png", (200, 40, 40), seed=index)
    for index in range(2):
        broken = tmp_path / "data" / "warm" / "ochre" / f"{index}.png"
        broken.parent.mkdir(exist_ok=True)
        broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none of the pictures of .*/ochre can be read"):
        train(tmp_path / "data", extend=parent, config=usual())


def test_pictures_outside_class_folders_are_counted_aloud(
    parent: Path, new: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(new, tmp_path / "data")
    draw(tmp_path / "data" / "stray.png", (1, 2, 3), seed=0)
    train(tmp_path / "data", extend=parent, config=usual(), activate=False)
    assert "1 pictures lie in no superclass/subclass folder" in caplog.text


@pytest.mark.parametrize(
    "record",
    [{"penalties": "ab"}, {"penalties": [1, 2, 3]}, {"penalties": None}, {"balance": "x"}, {"balance": []}],
    ids=str,
)
def test_damaged_training_record_is_a_model_error(parent: Path, new: Path, tmp_path: Path, record: Any) -> None:
    header = read_header(parent)
    path = tmp_path / "damaged.safetensors"
    changed = replace(header, record={**header.record, **record})
    write_tensors(path, read_tensors(parent, under=""), changed.to_json())
    with pytest.raises(ModelError, match="training record is damaged"):
        train(new, extend=path, config=usual())


@pytest.mark.parametrize("novelty", [{}, {"weights": [[0.0]]}, {"weights": "x"}], ids=str)
def test_damaged_novelty_scores_are_a_model_error(parent: Path, new: Path, tmp_path: Path, novelty: Any) -> None:
    header = read_header(parent)
    path = tmp_path / "damaged.safetensors"
    damaged = {**(header.novelty or {}), **novelty} if novelty else {}
    write_tensors(path, read_tensors(parent, under=""), replace(header, novelty=damaged).to_json())
    with pytest.raises(ModelError, match="novelty scores are damaged"):
        train(new, extend=path, config=usual())


# -- novelty, from training to tags


def test_kind_that_the_model_never_saw_backs_off(parent: Path) -> None:
    header = read_header(parent)
    assert header.novelty is not None
    known = tags(parent, [(200, 40, 40), (30, 50, 200)], each=20)
    assert np.mean([tag.rank is Rank.SUBCLASS for tag in known]) >= 0.7
    strange = tags(parent, [(0, 0, 0), (255, 255, 255), (255, 0, 255)], each=8)
    assert np.mean([tag.rank is not Rank.SUBCLASS for tag in strange]) >= 0.9
    assert min(tag.novelty for tag in strange) > np.median([tag.novelty for tag in known])


@pytest.mark.slow
def test_keeping_more_of_the_known_never_lowers_a_limit(folder: Path, old: Path) -> None:
    limits = []
    for keep in (0.5, 0.9, 0.99, 1.0):
        config = tiny_config(weights=folder / "weights.pth", keep_known=keep)
        thresholds = train(old, config=config, activate=False).model.header.thresholds
        limits.append((thresholds.novel_superclass, thresholds.novel_subclass))
    for lower, higher in pairwise(limits):
        assert lower[0] <= higher[0]
        assert lower[1] <= higher[1]


def test_models_folder_holds_what_was_extended(parent: Path, new: Path) -> None:
    result = train(new, extend=parent, config=usual(), output="named", activate=False)
    assert result.model.path == settings.models_folder() / "named.safetensors"
