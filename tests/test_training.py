"""Training end to end on a tiny backbone: what learns, what is kept, what is refused, and how a run goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from phototag.audit.evaluate import evaluate
from phototag.learning import backbones
from phototag.learning import trainer as trainer_module
from phototag.learning.balance import effective_weights
from phototag.learning.checkpoint import EXAMPLES, read_header, read_tensors, write_tensors
from phototag.learning.config import Balance, TrainingConfig, Tune
from phototag.learning.dataset import load_data, split, training_taxonomy
from phototag.learning.guarantee import ValidationScores
from phototag.learning.network import DualHead
from phototag.learning.optimisation import set_rates
from phototag.learning.registry import Model, active_reference, open_model
from phototag.learning.train import TrainingResult, train
from phototag.learning.trainer import Trainer
from phototag.learning.tuning import tune
from small_data import BACKBONE, COLOURS, colour_folder, draw, random_weights, tiny_config

from phototag import settings
from phototag.errors import DataError, ModelError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

Tensors = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of four classes that differ in colour. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("data") / "colours", 12)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


def tensors_of(result: TrainingResult | Path) -> Tensors:
    path = result if isinstance(result, Path) else result.model.path
    assert path is not None
    return read_tensors(path)


def assert_same_tensors(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=1e-6, rtol=0, err_msg=name)


def assert_different_tensors(one: Tensors, other: Tensors) -> None:
    assert any(not np.array_equal(value, other[name]) for name, value in one.items())


# -- what each way of tuning learns


def test_full_training_from_random_weights_learns(data: Path) -> None:
    plain = {"mixup": 0.0, "cutmix": 0.0, "augment": "", "lr": 3e-3}
    result = train(data, config=tiny_config(epochs=6, **plain))
    record = result.model.header.record
    losses = [entry["loss"] for entry in record["curves"]]
    assert losses[-1] < 0.8 * losses[0]
    assert result.metrics.superclass_accuracy is not None
    assert result.metrics.superclass_accuracy >= 0.75
    assert record["tune"] == "full"
    assert record["weights"] == "random"


def test_heads_learn_in_one_go_and_leave_the_backbone_alone(data: Path, weights: Path) -> None:
    result = train(data, config=tiny_config(weights=weights))
    assert result.metrics.subclass_accuracy == 1.0
    record = result.model.header.record
    assert record["tune"] == "heads"  # auto, on a CPU
    assert record["weights"] == str(weights)
    start = torch.load(weights, weights_only=True)
    for name, value in tensors_of(result).items():
        if name.startswith("backbone."):
            np.testing.assert_array_equal(value, start[name.removeprefix("backbone.")].numpy())


def test_weights_are_read_once_and_their_classifier_is_kept(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    load_weights = backbones.load_weights

    def counted(name: str, file: Path | None = None) -> backbones.Weights:
        reads.append(name)
        return load_weights(name, file)

    monkeypatch.setattr(backbones, "load_weights", counted)
    result = train(data, config=tiny_config(weights=weights))
    assert len(reads) == 1
    assert result.model.path is not None
    kept = read_tensors(result.model.path, under=EXAMPLES)
    start = torch.load(weights, weights_only=True)
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_allclose(kept[EXAMPLES + name], start[name].numpy(), atol=1e-3)


def test_auto_trains_everything_where_nothing_is_pretrained(data: Path) -> None:
    assert train(data, config=tiny_config(epochs=1, tune=Tune.AUTO)).model.header.record["tune"] == "full"


def test_last_changes_the_last_stages_only(data: Path, weights: Path) -> None:
    config = tiny_config(weights=weights, tune=Tune.LAST, epochs=1, lr=1e-2)
    # Without better heads to compare with, the first epoch is the best one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_judge", judge_last_epoch_best(Trainer._judge))
        tensors = tensors_of(train(data, config=config))
    start = {f"backbone.{name}": value.numpy() for name, value in torch.load(weights, weights_only=True).items()}
    changed = {name for name, value in tensors.items() if name in start and not np.array_equal(value, start[name])}
    assert changed
    assert all(name.startswith(("backbone.blocks.", "backbone.conv_head", "backbone.bn2")) for name in changed)
    stages = sorted({name.split(".")[2] for name in tensors if name.startswith("backbone.blocks.")})
    assert not any(name.startswith(f"backbone.blocks.{stage}.") for name in changed for stage in stages[:-2])


def judge_last_epoch_best(judge: Callable[..., None]) -> Callable[..., None]:
    def judged(self: Trainer, *args: Any, **more: Any) -> None:
        self.progress.best_score = -1.0
        judge(self, *args, **more)

    return judged


def test_full_changes_the_first_stage_too_but_not_the_pretrained_statistics(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_judge", judge_last_epoch_best(Trainer._judge))
    tensors = tensors_of(
        train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1, lr=1e-2, frozen_stages=0))
    )
    start = torch.load(weights, weights_only=True)
    assert not np.array_equal(tensors["backbone.conv_stem.weight"], start["conv_stem.weight"].numpy())
    for name, value in start.items():
        if "running_" in name:
            np.testing.assert_array_equal(tensors[f"backbone.{name}"], value.numpy())


def test_gradient_starts_from_fitted_heads_and_has_to_beat_them(data: Path, weights: Path) -> None:
    heads = train(data, config=tiny_config(weights=weights, tune=Tune.HEADS))
    full = train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1))
    first = full.model.header.record["curves"][0]
    assert first["epoch"] == 0
    assert first["subclass_accuracy"] == heads.metrics.subclass_accuracy == 1.0
    # Nothing beats all right: the best epoch is none at all, and the heads stay.
    assert full.model.header.record["best_epoch"] == 0
    assert full.metrics.subclass_accuracy == 1.0


def test_best_epoch_is_kept_not_the_last(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Weights thrown about in the last epochs: their averages are worse than what came before.
    step = Trainer._step

    def ruin(self: Trainer, batch: Any, number: int) -> Any:
        outcome = step(self, batch, number)
        if number >= 4 * self._batches:
            with torch.no_grad():
                self.network.subclass_head.weight.normal_(std=50)
                self.network.superclass_head.weight.normal_(std=50)  # type: ignore[union-attr]
        return outcome

    monkeypatch.setattr(Trainer, "_step", ruin)
    result = train(data, config=tiny_config(epochs=6, lr=3e-3, mixup=0.0, cutmix=0.0, augment="", patience=99))
    record = result.model.header.record
    curves = {entry["epoch"]: entry for entry in record["curves"]}
    scores = {epoch: entry["superclass_accuracy"] + entry["subclass_accuracy"] for epoch, entry in curves.items()}
    assert scores[record["best_epoch"]] == max(scores.values()) > scores[6]
    assert result.metrics.subclass_accuracy == curves[record["best_epoch"]]["subclass_accuracy"]
    assert result.metrics.superclass_accuracy == curves[record["best_epoch"]]["superclass_accuracy"]


def test_training_stops_early_when_nothing_gets_better(data: Path, weights: Path) -> None:
    # The fitted heads are right everywhere, so no epoch is better.
    result = train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=9, patience=2))
    assert [entry["epoch"] for entry in result.model.header.record["curves"]] == [0, 1, 2]


def test_model_holds_the_training_record(data: Path) -> None:
    config = tiny_config(epochs=2, seed=5, balance=Balance.LOSS)
    result = train(data, config=config)
    assert result.model.path is not None
    header = read_header(result.model.path)
    record = header.record
    assert record["configuration"] == json.loads(json.dumps(config.to_json()))
    assert record["configuration"]["backbone"] == BACKBONE
    assert len(record["data_digest"]) == 64
    assert [entry["epoch"] for entry in record["curves"]] == [1, 2]
    assert {"loss", "superclass_accuracy", "subclass_accuracy"} <= record["curves"][0].keys()
    assert {"phototag", "torch", "timm", "numpy"} <= record["versions"].keys()
    assert 0 < record["seconds"] < 600
    assert (record["training_pictures"], record["validation_pictures"]) == (40, 8)
    assert record["interrupted"] is False
    assert header.preprocessing.size == 32
    assert header.metrics["subclass_accuracy"] == result.metrics.subclass_accuracy
    assert header.taxonomy.subclasses == ("blue", "green", "red", "yellow")


def test_trained_model_tags_what_it_learned(data: Path, weights: Path, tmp_path: Path) -> None:
    from phototag.audit.evaluate import evaluate

    result = train(data, config=tiny_config(weights=weights))
    fresh = colour_folder(tmp_path / "fresh", 3)
    for number, path in enumerate(sorted(fresh.rglob("*.png"))):
        draw(path, COLOURS[path.parts[-3], path.parts[-2]], seed=90_000 + number)
    assert evaluate(fresh, model=result.model).subclass_accuracy == 1.0


def test_smallest_possible_data_trains(tmp_path: Path, weights: Path) -> None:
    for name in ("red", "yellow"):
        for index in range(2):
            draw(tmp_path / "d" / "warm" / name / f"{index}.png", COLOURS["warm", name], seed=index)
    for config in (tiny_config(epochs=1), tiny_config(weights=weights), tiny_config(weights=weights, tune=Tune.FULL)):
        result = train(tmp_path / "d", config=config)
        assert result.metrics.photos == 2


def test_size_that_the_backbone_cannot_take_is_told_before_anything_else(data: Path) -> None:
    with pytest.raises(UsageError, match="--img-size"):
        train(data, config=tiny_config(backbone="vit_tiny_patch16_224", img_size=64))


def test_loss_that_is_no_longer_finite_stops_with_the_way_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(UsageError, match="--lr"):
        train(data, config=tiny_config())


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        {"epochs": 0},
        {"img_size": 8},
        {"batch_size": 1},
        {"lr": 0.0},
        {"val_fraction": 1.0},
        {"workers": -1},
        {"pretrained": False, "weights": Path("w.pth")},
    ):
        with pytest.raises(UsageError):
            TrainingConfig(**wrong)  # type: ignore[arg-type]


# -- chance: the seed decides, nothing else


def test_same_seed_gives_the_same_model_whatever_was_drawn_before(data: Path) -> None:
    first = tensors_of(train(data, config=tiny_config(epochs=2)))
    for draw_some in (random.random, np.random.random, lambda: torch.rand(5)):
        draw_some()
    assert_same_tensors(first, tensors_of(train(data, config=tiny_config(epochs=2))))


def test_other_seed_gives_another_model(data: Path) -> None:
    first = train(data, config=tiny_config(epochs=1))
    assert_different_tensors(tensors_of(first), tensors_of(train(data, config=tiny_config(epochs=1, seed=1))))


def test_epochs_show_the_pictures_in_different_order_and_crops(data: Path, trainer: Callable[..., Trainer]) -> None:
    made = trainer()
    one, two, again = (torch.cat([pixels for pixels, _ in made._training_loader(epoch)]) for epoch in (0, 1, 0))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


# -- balance, and the losses

UNEVEN = {"red": 40, "yellow": 10, "blue": 10, "green": 5}


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., Trainer]]:
    """A function that makes a trainer on uneven classes."""
    pictures = load_data(colour_folder(tmp_path / "uneven", UNEVEN))
    taxonomy = training_taxonomy(pictures)
    training, validation = split(pictures.pictures, fraction=0.2, seed=0)

    def make(**changes: Any) -> Trainer:
        from phototag.learning.backbones import create_backbone, default_preprocessing

        config = tiny_config(**changes)
        backbone = create_backbone(BACKBONE)
        return Trainer(
            DualHead(backbone, superclasses=2, subclasses=4),
            taxonomy,
            default_preprocessing(backbone, 32),
            training=training,
            validation=validation,
            config=replace(config, tune=Tune.FULL),
            device=config.device,
        )

    yield make


def drawn(made: Trainer) -> Counter[str]:
    labels = [label for epoch in range(5) for _, batch in made._training_loader(epoch) for label in batch.tolist()]
    return Counter(made.taxonomy.subclasses[label] for label in labels)


def test_sampler_draws_rare_classes_as_often_as_common_ones(trainer: Callable[..., Trainer]) -> None:
    plain, balanced = drawn(trainer()), drawn(trainer(balance=Balance.SAMPLER))
    assert plain["red"] > 5 * plain["green"]
    assert plain.total() == balanced.total()
    for name in UNEVEN:
        assert balanced[name] == pytest.approx(balanced.total() / 4, rel=0.4)


def test_loss_weights_rare_classes_more(trainer: Callable[..., Trainer]) -> None:
    made = trainer(balance=Balance.LOSS, label_smoothing=0.0, superclass_weight=0.0)
    assert drawn(made)["red"] > 5 * drawn(made)["green"]  # what is drawn stays as it is
    outputs = (torch.zeros(1, 2), torch.zeros(1, 4))
    counts = Counter(picture.subclass for picture in made.training)
    losses = {
        name: float(made._loss(outputs, torch.eye(4)[[index]])) for index, name in enumerate(made.taxonomy.subclasses)
    }
    weights = effective_weights(np.array([counts[name] for name in made.taxonomy.subclasses]))
    for name, weight in zip(made.taxonomy.subclasses, weights, strict=True):
        assert losses[name] == pytest.approx(weight * np.log(4), rel=1e-5)
    assert losses["green"] > 3 * losses["red"]


def test_heads_are_balanced_too(data: Path, weights: Path, tmp_path: Path) -> None:
    uneven = colour_folder(tmp_path / "uneven", UNEVEN)
    plain = tensors_of(train(uneven, config=tiny_config(weights=weights)))
    balanced = tensors_of(train(uneven, config=tiny_config(weights=weights, balance=Balance.LOSS)))
    assert_different_tensors(plain, balanced)


def test_loss_is_the_weighted_sum_of_both_heads(trainer: Callable[..., Trainer]) -> None:
    made = trainer(label_smoothing=0.1, superclass_weight=0.5)
    torch.manual_seed(0)
    superclass, subclass = torch.randn(3, 2), torch.randn(3, 4)
    labels = torch.tensor([0, 2, 3])
    parents = torch.tensor(made.taxonomy.parents)[labels]
    wanted = torch.nn.functional.cross_entropy(subclass, labels, label_smoothing=0.1)
    wanted = wanted + 0.5 * torch.nn.functional.cross_entropy(superclass, parents, label_smoothing=0.1)
    assert float(made._loss((superclass, subclass), torch.eye(4)[labels])) == pytest.approx(float(wanted), rel=1e-5)


def test_mix_of_two_subclasses_of_one_superclass_is_wholly_that_superclass(trainer: Callable[..., Trainer]) -> None:
    made = trainer(label_smoothing=0.0, superclass_weight=1.0)
    blue, green, red = (made.taxonomy.subclass_index[name] for name in ("blue", "green", "red"))
    cold = made.taxonomy.superclass_index["cold"]
    sure = torch.full((1, 2), -30.0)
    sure[0, cold] = 30.0
    subclass = torch.zeros(1, 4)
    within, across = torch.zeros(1, 4), torch.zeros(1, 4)
    within[0, [blue, green]] = torch.tensor([0.3, 0.7])
    across[0, [blue, red]] = torch.tensor([0.3, 0.7])
    base = float(np.log(4))
    assert float(made._loss((sure, subclass), within)) == pytest.approx(base, abs=1e-4)
    assert float(made._loss((sure, subclass), across)) == pytest.approx(base + 0.7 * 60, rel=1e-4)


def test_mixup_reaches_the_network(trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    soft: list[torch.Tensor] = []
    loss = Trainer._loss

    def watch(self: Trainer, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        soft.append(targets)
        return loss(self, outputs, targets)

    monkeypatch.setattr(Trainer, "_loss", watch)
    made = trainer()
    for epoch in range(3):
        made._run_epoch(epoch)
    mixed = torch.cat(soft)
    assert ((mixed > 0).sum(1) == 2).any()
    torch.testing.assert_close(mixed.sum(1), torch.ones(len(mixed)))
    soft.clear()
    trainer(mixup=0.0, cutmix=0.0)._run_epoch(0)
    assert (torch.cat(soft).max(1).values == 1).all()


def test_ema_averages_the_steps(trainer: Callable[..., Trainer]) -> None:
    made = trainer(lr=1e-2)
    start = made.network.subclass_head.weight.detach().clone()
    made._run_epoch(0)
    raw, averaged = made.network.subclass_head.weight, made._ema.module.subclass_head.weight
    assert not torch.equal(averaged, start)
    assert torch.norm(averaged - start) < torch.norm(raw - start)


def test_backbone_and_heads_have_learning_rates_of_their_own_that_warm_up_and_fall(
    trainer: Callable[..., Trainer],
) -> None:
    made = trainer(lr=1e-3, head_lr_factor=3.0, epochs=10)
    steps = 10 * made._batches
    rates = []
    for step in range(steps):
        set_rates(made._optimizer, step, steps, made.config)
        rates.append(sorted({group["lr"] for group in made._optimizer.param_groups}))
    slow, fast = np.array(rates).T
    np.testing.assert_allclose(fast, 3 * slow)
    assert slow.max() == pytest.approx(1e-3)
    peak = int(slow.argmax())
    assert peak == pytest.approx(0.1 * steps, abs=2)
    assert (np.diff(slow[:peak]) > 0).all()
    assert (np.diff(slow[peak + 1 :]) < 0).all()
    assert slow[-1] < 0.05e-3


def test_norms_and_biases_are_not_decayed(trainer: Callable[..., Trainer]) -> None:
    for group in trainer()._optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)


# -- names, existing files, folders


def test_default_names_never_collide(data: Path, tmp_path: Path, weights: Path) -> None:
    config = tiny_config(weights=weights)
    csv = tmp_path / "my photos" / "labels.csv"
    csv.parent.mkdir()
    rows = [f"{path},{path.parts[-3]},{path.parts[-2]}" for path in sorted(data.rglob("*.png"))]
    csv.write_text("\n".join(["filepath,superclass,subclass", *rows]))
    names = [train(source, config=config).model.name for source in (data, data, csv, csv)]
    assert names == [
        f"colours-{BACKBONE}",
        f"colours-{BACKBONE}-2",
        f"my_photos-{BACKBONE}",
        f"my_photos-{BACKBONE}-2",
    ]
    assert active_reference() == names[-1]


@pytest.mark.parametrize("name", ["n" * 250, "日" * 80, "--", "Straße & Co.", "a\nb"])
def test_folder_of_any_name_gives_a_model_of_a_usable_name(
    data: Path, tmp_path: Path, weights: Path, name: str
) -> None:
    (tmp_path / name).symlink_to(data)
    model = train(tmp_path / name, config=tiny_config(weights=weights)).model
    assert open_model(model.name).path == model.path


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

    monkeypatch.setattr("phototag.learning.session.Session.open", never)
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


# -- validation data


def test_validation_data_of_its_own_leaves_all_pictures_for_training(data: Path, weights: Path, tmp_path: Path) -> None:
    val = colour_folder(tmp_path / "val", 3)
    result = train(data, config=tiny_config(weights=weights), val=val)
    record = result.model.header.record
    assert (record["training_pictures"], record["validation_pictures"]) == (48, 12)
    assert record["refitted_on_all"] is False
    assert result.metrics.photos == 12


def test_unknown_label_in_validation_data_is_refused_by_name(data: Path, weights: Path, tmp_path: Path) -> None:
    val = colour_folder(tmp_path / "val", 3)
    draw(val / "cold" / "violet" / "x.png", (90, 0, 200), seed=1)
    with pytest.raises(DataError, match="no subclass 'violet'") as caught:
        train(data, config=tiny_config(weights=weights), val=val)
    assert str(val / "cold" / "violet") in str(caught.value)


def test_unlabelled_pictures_in_validation_data_do_not_count_against_the_model(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    rows = [f"{path},{path.parts[-3]},{path.parts[-2]}" for path in sorted(data.rglob("*.png"))[::4]]
    rows += [f"{draw(tmp_path / 'novel.png', (128, 128, 128), seed=1)},,"]
    val = tmp_path / "val.csv"
    val.write_text("\n".join(["filepath,superclass,subclass", *rows]))
    result = train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1), val=val)
    assert result.model.header.record["curves"][0]["subclass_accuracy"] == 1.0
    assert result.metrics.subclass_accuracy == 1.0
    assert result.metrics.novel_photos == 1


# -- unreadable pictures


@pytest.mark.parametrize("tune", [Tune.HEADS, Tune.FULL, "random"])
def test_unreadable_pictures_are_told_counted_and_skipped(
    data: Path, weights: Path, tmp_path: Path, tune: str, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = shutil.copytree(data, tmp_path / "mixed")
    # Two of 50 are few, even if both come to lie among the 8 validation pictures.
    for index in range(2):
        (mixed / "warm" / "red" / f"broken{index}.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    config = tiny_config(epochs=1) if tune == "random" else tiny_config(weights=weights, tune=Tune(tune), epochs=1)
    result = train(mixed, config=config)
    assert "broken0.jpg" in caplog.text
    assert "2 pictures cannot be read and were skipped" in caplog.text
    record = result.model.header.record
    assert record["training_pictures"] + record["validation_pictures"] in (48, 50)


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


# -- interrupted runs


def state_of(model: Path) -> Path:
    return model.with_name(f".{model.stem}.run.safetensors")


LONG = {"epochs": 12, "batch_size": 4, "patience": 99}


def start(data: Path, output: Path, *, workers: int, weights: Path | None) -> subprocess.Popen[bytes]:
    """`phototag train` with the settings of LONG, as a process group of its own."""
    how = ["--weights", weights] if weights is not None else ["--no-pretrained"]
    words = ["train", data, "--output", output, "--tune", "full", "--backbone", BACKBONE, "--img-size", 32, *how]
    words += ["--epochs", LONG["epochs"], "--batch-size", LONG["batch_size"], "--workers", workers, "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "phototag", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], output: Path, how: int) -> bytes:
    """End the process group once its first whole epoch is saved; what it wrote to stderr."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if state_of(output).exists() and read_epoch(state_of(output)) >= 1:
            os.killpg(process.pid, how)
            break
        time.sleep(0.005)
    _, errors = process.communicate(timeout=120)
    return errors


def read_epoch(state: Path) -> int:
    from phototag.learning.checkpoint import read_json_header

    return int(read_json_header(state)["progress"]["epoch"])


def default_long_config(weights: Path | None) -> TrainingConfig:
    how: dict[str, Any] = {"weights": weights} if weights is not None else {}
    # The command line has no --patience: the default holds in the process and has to here.
    long = {**LONG, "patience": TrainingConfig().patience}
    return tiny_config(tune=Tune.FULL, **long, **how)


def curves(model: Model | Path) -> list[dict[str, float]]:
    path = model if isinstance(model, Path) else model.path
    assert path is not None
    result: list[dict[str, float]] = read_header(path).record["curves"]
    return result


@pytest.mark.slow
def test_killed_run_goes_on_to_the_result_of_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    config = default_long_config(None)
    whole = train(data, config=config, output=tmp_path / "whole.safetensors", activate=False)
    output = tmp_path / "killed.safetensors"
    end(start(data, output, workers=2, weights=None), output, signal.SIGKILL)
    assert not output.exists()
    epoch = read_epoch(state_of(output))
    assert 1 <= epoch < config.epochs
    with pytest.raises(UsageError, match="interrupted run lies beside it"):
        train(data, config=config, output=output)
    # Decoding without worker processes now: how many there are changes nothing.
    resumed = train(data, config=config, output=output, resume=True)
    assert_same_tensors(tensors_of(whole), tensors_of(resumed))
    assert curves(resumed.model) == curves(whole.model)
    assert resumed.metrics == whole.metrics
    assert not resumed.interrupted
    assert not state_of(output).exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process group")
def test_ctrl_c_keeps_the_best_model_and_the_run_goes_on(data: Path, tmp_path: Path, weights: Path) -> None:
    config = default_long_config(weights)
    whole = train(data, config=config, output=tmp_path / "whole.safetensors", activate=False)
    output = tmp_path / "stopped.safetensors"
    process = start(data, output, workers=1, weights=weights)
    errors = end(process, output, signal.SIGINT)
    assert process.returncode == 1, errors.decode()
    assert b"Traceback" not in errors
    assert b"--resume" in errors
    stopped = open_model(output)
    assert stopped.header.record["interrupted"] is True
    assert stopped.header.metrics["subclass_accuracy"] == 1.0
    assert 1 <= len(curves(stopped)) < len(curves(whole.model))
    resumed = train(data, config=config, output=output, resume=True)
    assert_same_tensors(tensors_of(whole), tensors_of(resumed))
    assert curves(resumed.model) == curves(whole.model)
    assert open_model(output).header.record["interrupted"] is False


def test_first_ctrl_c_lets_the_step_finish_and_the_second_does_not(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    step = Trainer._step

    def interrupted(self: Trainer, batch: Any, number: int) -> Any:
        if number == 12:
            signal.raise_signal(signal.SIGINT)
        outcome = step(self, batch, number)
        done.append(number)
        return outcome

    monkeypatch.setattr(Trainer, "_step", interrupted)
    usual = signal.getsignal(signal.SIGINT)
    assert train(data, config=tiny_config(epochs=3), output="once").interrupted  # 5 steps an epoch
    assert done[-1] == 12
    assert signal.getsignal(signal.SIGINT) is usual

    def impatient(self: Trainer, batch: Any, number: int) -> Any:
        if number == 12:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", impatient)
    done.clear()
    assert train(data, config=tiny_config(epochs=3), output="twice").interrupted
    assert signal.getsignal(signal.SIGINT) is usual


class Interruption:
    """Makes the training stop as by Ctrl-C in the epoch of that number, counted from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epoch: int | None = None
        run_epoch = Trainer._run_epoch

        def interrupted(trainer: Trainer, epoch: int) -> float:
            if epoch == self.epoch:
                raise KeyboardInterrupt
            return run_epoch(trainer, epoch)

        monkeypatch.setattr(Trainer, "_run_epoch", interrupted)


@pytest.fixture
def interruption(monkeypatch: pytest.MonkeyPatch) -> Interruption:
    return Interruption(monkeypatch)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_run_stopped_in_any_epoch_goes_on(data: Path, weights: Path, interruption: Interruption, epoch: int) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=3, lr=1e-3)
    whole = train(data, config=config, output="whole")
    interruption.epoch = epoch
    stopped = train(data, config=config, output="stopped")
    assert stopped.interrupted
    interruption.epoch = None
    resumed = train(data, config=config, output="stopped", resume=True)
    assert_same_tensors(tensors_of(whole), tensors_of(resumed))
    assert curves(resumed.model) == curves(whole.model)


def test_stop_before_there_is_any_model_writes_none(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 0
    with pytest.raises(KeyboardInterrupt):
        train(data, config=tiny_config(), output="stopped")
    assert not list(settings.models_folder().iterdir())


def test_default_name_finds_its_interrupted_run(data: Path, interruption: Interruption) -> None:
    config = tiny_config(epochs=2)
    first = train(data, config=config)
    interruption.epoch = 1
    stopped = train(data, config=config)
    assert stopped.model.name == f"{first.model.name}-2"
    interruption.epoch = None
    resumed = train(data, config=config, resume=True)
    assert resumed.model.name == stopped.model.name
    assert train(data, config=config).model.name == f"{first.model.name}-3"
    assert_same_tensors(tensors_of(first), tensors_of(resumed))


def test_resume_with_nothing_to_resume_starts_from_the_beginning(data: Path) -> None:
    assert not train(data, config=tiny_config(epochs=1), output="new", resume=True).interrupted


def test_complete_model_is_not_resumed(data: Path) -> None:
    train(data, config=tiny_config(epochs=1), output="done")
    with pytest.raises(UsageError, match="complete already"):
        train(data, config=tiny_config(epochs=1), output="done", resume=True)


def test_resume_with_other_options_or_data_is_refused(data: Path, tmp_path: Path, interruption: Interruption) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    config = tiny_config(epochs=2)
    interruption.epoch = 1
    stopped = train(copy, config=config, output="stopped")
    interruption.epoch = None
    for change in ({"epochs": 3}, {"seed": 1}, {"batch_size": 4}, {"lr": 1e-5}, {"balance": Balance.LOSS}):
        with pytest.raises(DataError, match=r"other data or options.*--overwrite"):
            train(copy, config=replace(config, **change), output="stopped", resume=True)  # type: ignore[arg-type]
    draw(copy / "warm" / "red" / "more.png", COLOURS["warm", "red"], seed=7)
    with pytest.raises(DataError, match="other data or options"):
        train(copy, config=config, output="stopped", resume=True)
    (copy / "warm" / "red" / "more.png").unlink()
    # The refusals left the run as it was, and where the data lie does not matter.
    assert stopped.model.path is not None
    assert state_of(stopped.model.path).exists()
    assert not train(data, config=config, output="stopped", resume=True).interrupted


def test_resume_with_training_and_validation_data_swapped_is_refused(
    data: Path, tmp_path: Path, interruption: Interruption
) -> None:
    other = colour_folder(tmp_path / "other", 4)
    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), val=other, output="stopped")
    interruption.epoch = None
    with pytest.raises(DataError, match="other data or options"):
        train(other, config=tiny_config(epochs=2), val=data, output="stopped", resume=True)


def test_damaged_state_names_the_way_out(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 1
    stopped = train(data, config=tiny_config(epochs=2), output="stopped")
    interruption.epoch = None
    assert stopped.model.path is not None
    state = state_of(stopped.model.path)
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ModelError, match="--overwrite starts anew"):
        train(data, config=tiny_config(epochs=2), output="stopped", resume=True)
    assert not train(data, config=tiny_config(epochs=2), output="stopped", overwrite=True).interrupted
    assert not state.exists()


def test_interrupted_run_does_not_show_among_the_models(data: Path, interruption: Interruption) -> None:
    from phototag.learning.registry import list_models

    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), output="stopped")
    models, broken = list_models()
    assert [model.name for model in models] == ["builtin", "stopped"]
    assert broken == []


# -- the command


@pytest.mark.slow
def test_command_prints_the_figures_and_makes_the_model_active(
    data: Path, weights: Path, run_phototag: Callable[..., Any]
) -> None:
    common = ("--backbone", BACKBONE, "--weights", weights, "--img-size", "32", "--device", "cpu")
    result = run_phototag("train", data, *common)
    assert result.exit_code == 0, result.output
    assert "subclass" in result.stdout
    assert f"colours-{BACKBONE}" in result.stderr
    assert active_reference() == f"colours-{BACKBONE}"
    again = run_phototag("train", data, *common, "--output", f"colours-{BACKBONE}")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_start_method_of_workers_takes_the_pictures_as_they_are(trainer: Callable[..., Trainer]) -> None:
    # Not every system forks: what goes to the workers has to be picklable.
    import pickle

    loader = trainer()._training_loader(0)
    pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
    assert trainer_module.TrainingPictures.__name__ == type(loader.dataset).__name__


def test_resume_never_replaces_a_run_by_gradient_with_heads(
    data: Path, weights: Path, interruption: Interruption
) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=2)
    interruption.epoch = 1
    stopped = train(data, config=config, output="stopped")
    assert stopped.model.path is not None
    before = stopped.model.path.read_bytes()
    with pytest.raises(UsageError, match="trained by gradient"):
        train(data, config=replace(config, tune=Tune.HEADS), output="stopped", resume=True)
    assert stopped.model.path.read_bytes() == before
    assert state_of(stopped.model.path).exists()


def test_overwrite_without_a_name_replaces_the_model_of_the_same_data(data: Path) -> None:
    first = train(data, config=tiny_config(epochs=1))
    assert train(data, config=tiny_config(epochs=1)).model.path != first.model.path
    assert train(data, config=tiny_config(epochs=1), overwrite=True).model.path == first.model.path


def test_options_that_heads_do_not_use_are_named(data: Path, weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(data, config=tiny_config(weights=weights, tune=Tune.HEADS, lr=1e-3), output="heads")
    assert "--lr" in caplog.text
    assert "no effect on heads" in caplog.text


# -- honest scores and promised precision


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, so that validation has enough to calibrate and to promise something. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("plenty") / "colours", 60)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many, but one in four has a wrong label: no model is sure of those. Do not change it."""
    folder = colour_folder(tmp_path_factory.mktemp("doubtful") / "colours", 45)
    classes = list(COLOURS)
    for number, (superclass, subclass) in enumerate(classes):
        for index in range(15):
            wrong = COLOURS[classes[(number + 1 + index % 3) % len(classes)]]
            draw(folder / superclass / subclass / f"wrong{index}.png", wrong, seed=9000 + 100 * number + index)
    return folder


def test_scores_are_calibrated_and_the_record_tells_by_how_much(doubtful: Path, weights: Path) -> None:
    result = train(doubtful, config=tiny_config(weights=weights, val_fraction=0.3))
    record = result.model.header.record["calibration"]
    assert record["temperatures"]["subclass"] != 1.0
    for level in ("superclass", "subclass"):
        assert record[level]["ece_after"] == pytest.approx(getattr(result.metrics, f"{level}_ece"), abs=1e-6)
        # The fit is by likelihood, and over 72 pictures the error itself is uncertain by as much.
        assert record[level]["ece_after"] <= record[level]["ece_before"] + 0.05
        assert sum(entry["count"] for entry in record[level]["bins"]) == result.metrics.photos


def test_calibration_lies_in_the_weights_so_that_tagging_needs_to_know_nothing(
    doubtful: Path, plenty: Path, weights: Path
) -> None:
    result = train(doubtful, val=plenty, config=tiny_config(weights=weights))
    assert result.model.header.record["calibration"]["temperatures"]["subclass"] != 1.0
    # The stored heads are those that were judged: what tags gives their calibrated scores.
    metrics = evaluate(plenty, model=result.model, runtime="torch", device="cpu")
    assert metrics.subclass_ece == pytest.approx(result.metrics.subclass_ece, abs=1e-3)
    assert metrics.superclass_ece == pytest.approx(result.metrics.superclass_ece, abs=1e-3)


def test_gradient_training_is_calibrated_too(doubtful: Path, weights: Path) -> None:
    config = tiny_config(weights=weights, tune=Tune.FULL, epochs=1, val_fraction=0.3)
    record = train(doubtful, config=config).model.header.record["calibration"]
    assert record["temperatures"]["subclass"] != 1.0


def test_few_validation_pictures_calibrate_and_promise_nothing(
    data: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(data, config=tiny_config(weights=weights, target_precision=0.95))
    header = result.model.header
    assert header.record["calibration"]["temperatures"] == {"superclass": 1.0, "subclass": 1.0}
    assert (header.thresholds.superclass, header.thresholds.subclass) == (1.0, 1.0)
    assert "too few, it takes 45 or more" in caplog.text


def test_target_precision_is_kept_and_recorded(plenty: Path, weights: Path) -> None:
    result = train(plenty, config=tiny_config(weights=weights, val_fraction=0.3, target_precision=0.9))
    assert result.metrics.subclass_precision_given is not None
    assert result.metrics.subclass_precision_given >= 0.9
    header = result.model.header
    assert header.thresholds.subclass >= header.thresholds.superclass
    assert header.record["promise"]["target_precision"] == 0.9
    table = ValidationScores.from_json(header.record["validation_scores"]).subclass
    precision, coverage = table.at(header.thresholds.subclass)
    assert precision == pytest.approx(result.metrics.subclass_precision_given)
    assert coverage == pytest.approx(result.metrics.subclass_coverage)


def test_target_precision_is_checked() -> None:
    for target in (0.4, 1.0, float("nan")):
        with pytest.raises(UsageError, match="target precision"):
            TrainingConfig(target_precision=target)
        with pytest.raises(UsageError, match="target precision"):
            tune("builtin", target_precision=target)


def test_interrupted_run_goes_on_with_another_target(data: Path, interruption: Interruption) -> None:
    interruption.epoch = 1
    train(data, config=tiny_config(epochs=2), output="stopped")
    interruption.epoch = -1
    result = train(data, config=tiny_config(epochs=2, target_precision=0.9), output="stopped", resume=True)
    assert not result.interrupted
    assert result.model.header.record["promise"]["target_precision"] == 0.9


def test_tuned_model_has_the_same_tensors_and_other_thresholds(plenty: Path, weights: Path) -> None:
    trained = train(plenty, config=tiny_config(weights=weights, val_fraction=0.3), output="trained").model
    tuned = tune("trained", target_precision=0.9).model
    assert tuned.name == "trained-p90"
    assert active_reference() == "trained"
    assert trained.path is not None
    assert tuned.path is not None
    assert_same_tensors(tensors_of(trained.path), tensors_of(tuned.path))
    assert tuned.header.taxonomy == trained.header.taxonomy
    assert tuned.header.record["tuned_from"] == {"name": "trained", "hash": trained.hash}
    at_once = train(
        plenty, config=tiny_config(weights=weights, val_fraction=0.3, target_precision=0.9), output="at-once"
    ).model
    assert tuned.header.thresholds == at_once.header.thresholds
    for name, value in at_once.header.metrics.items():
        assert tuned.header.metrics[name] == pytest.approx(value), name
    again = tune("trained-p90", target_precision=0.8, output="again").model
    assert again.header.thresholds.subclass <= tuned.header.thresholds.subclass


def test_tuning_never_replaces_a_model_unasked(plenty: Path, weights: Path) -> None:
    trained = train(plenty, config=tiny_config(weights=weights, val_fraction=0.3), output="trained").model
    with pytest.raises(UsageError, match="exists already"):
        tune("trained", target_precision=0.9, output="trained")
    replaced = tune("trained", target_precision=0.9, output="trained", overwrite=True).model
    assert replaced.path == trained.path
    assert replaced.header.record["promise"]["target_precision"] == 0.9


def test_model_without_validation_scores_is_tuned_by_labelled_pictures(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--data"):
        tune(tiny_model, target_precision=0.9, output=tmp_path / "tuned.safetensors")
    rows = ["filepath,superclass,subclass"]
    for index in range(60):
        draw(tmp_path / f"{index}.png", (index * 4, 90, 200 - index), seed=index)
        rows.append(f"{index}.png,dog,{'beagle' if index % 2 else 'boxer'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = tune(
        tiny_model,
        target_precision=0.9,
        data=tmp_path / "labels.csv",
        output=tmp_path / "tuned.safetensors",
    )
    header = result.model.header
    # Its weights are random: nothing can be promised.
    assert header.thresholds.subclass == 1.0
    assert header.metrics["photos"] == 60
    assert header.record["promise"]["pictures"] == 60
    assert result.scores.subclass.total == 60


def test_damaged_validation_scores_are_told(plenty: Path, weights: Path, tmp_path: Path) -> None:
    trained = train(plenty, config=tiny_config(weights=weights, val_fraction=0.3), output="trained").model
    record = {**trained.header.record, "validation_scores": {"superclass": [], "subclass": 3}}
    broken = tmp_path / "broken.safetensors"
    write_tensors(broken, trained.tensors(), replace(trained.header, record=record).to_json())
    with pytest.raises(ModelError, match="validation scores"):
        tune(broken, target_precision=0.9, output=tmp_path / "tuned.safetensors")


def test_commands_tell_calibration_coverage_and_promise(
    plenty: Path, weights: Path, run_phototag: Callable[..., Any]
) -> None:
    common = ("--backbone", BACKBONE, "--weights", weights, "--img-size", "32", "--device", "cpu")
    trained = run_phototag(
        "train", plenty, *common, "--val-fraction", "0.3", "--output", "m", "--target-precision", "0.9"
    )
    assert trained.exit_code == 0, trained.output
    assert "Coverage at a precision of" in trained.stdout
    assert "alibrated" in trained.stderr
    assert "ECE superclass" in trained.stderr
    shown = run_phototag("model", "show", "m")
    assert "0.9, by 72 validation pictures" in shown.stdout
    assert "subclass stored" in shown.stdout
    tuned = run_phototag("model", "tune", "m", "--target-precision", "0.95")
    assert tuned.exit_code == 0, tuned.output
    assert "thresholds: superclass" in tuned.stdout
    assert "phototag model use m-p95" in tuned.stderr
    described = json.loads(run_phototag("model", "show", "m-p95", "--format", "json").stdout)
    assert described["record"]["promise"]["target_precision"] == 0.95
    assert "validation_scores" not in described["record"]
    assert run_phototag("model", "tune", "m", "--target-precision", "0.2").exit_code == 2
    assert run_phototag("model", "tune", "m", "--target-precision", "0.95").exit_code == 2


def test_tuned_model_keeps_its_limits_on_novelty_and_can_be_extended(plenty: Path, weights: Path) -> None:
    config = tiny_config(weights=weights, val_fraction=0.3)
    trained = train(plenty, config=config, output="trained").model
    kept = trained.header.record["novelty"]["limits_with_target"]
    for data in (None, plenty):
        tuned = tune("trained", target_precision=0.9, data=data, output="tuned", overwrite=True).model
        limits = tuned.header.thresholds
        assert 0 < limits.novel_superclass < 1
        assert [limits.novel_superclass, limits.novel_subclass] == tuned.header.record["novelty"]["limits_with_target"]
        if data is None:
            assert [limits.novel_superclass, limits.novel_subclass] == kept
        assert train(plenty, extend=tuned, config=TrainingConfig(workers=0), activate=False).extension is not None
