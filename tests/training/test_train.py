"""Training end to end on a tiny backbone: what learns, what is kept, and that the seed alone decides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phototag.choices import Balance, Tune
from phototag.errors import UsageError
from phototag.model import backbones
from phototag.model.file import EXAMPLES, read_header, read_tensors
from phototag.training import session
from phototag.training.config import TrainingConfig
from phototag.training.finetune.trainer import Trainer
from phototag.training.training import TrainingResult, train
from tests.support.models import TINY_BACKBONE
from tests.support.pictures import COLOURS, colour_folder, draw
from tests.support.trained_models import assert_different_tensors, assert_same_tensors, saved_tensors
from tests.support.training import in_home, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def heads(data: Path, weights: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """Heads fitted to the data. Do not change its file."""
    return in_home(tmp_path_factory.mktemp("heads"), data, tiny_config(weights=weights))


@pytest.fixture(scope="module")
def one_epoch(data: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """An epoch from random weights. Do not change its file."""
    return in_home(tmp_path_factory.mktemp("epoch"), data, tiny_config(epochs=1))


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


def test_heads_learn_in_one_go_and_leave_the_backbone_alone(heads: TrainingResult, weights: Path) -> None:
    result = heads
    assert result.metrics.subclass_accuracy == 1.0
    record = result.model.header.record
    assert record["tune"] == "heads"  # auto, on a CPU
    assert record["weights"] == str(weights)
    start = torch.load(weights, weights_only=True)
    for name, value in saved_tensors(result).items():
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

    monkeypatch.setattr(session, "load_weights", counted)
    result = train(data, config=tiny_config(weights=weights))
    assert len(reads) == 1
    assert result.model.path is not None
    kept = read_tensors(result.model.path, under=EXAMPLES)
    start = torch.load(weights, weights_only=True)
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_allclose(kept[EXAMPLES + name], start[name].numpy(), atol=1e-3)


def test_auto_trains_everything_where_nothing_is_pretrained(one_epoch: TrainingResult) -> None:
    assert one_epoch.model.header.record["tune"] == "full"


def test_last_changes_the_last_stages_only(data: Path, weights: Path) -> None:
    config = tiny_config(weights=weights, tune=Tune.LAST, epochs=1, lr=1e-2)
    # Without better heads to compare with, the first epoch is the best one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_compare", keep_last_epoch(Trainer._compare))
        tensors = saved_tensors(train(data, config=config))
    start = {f"backbone.{name}": value.numpy() for name, value in torch.load(weights, weights_only=True).items()}
    changed = {name for name, value in tensors.items() if name in start and not np.array_equal(value, start[name])}
    assert changed
    assert all(name.startswith(("backbone.blocks.", "backbone.conv_head", "backbone.bn2")) for name in changed)
    stages = sorted({name.split(".")[2] for name in tensors if name.startswith("backbone.blocks.")})
    assert not any(name.startswith(f"backbone.blocks.{stage}.") for name in changed for stage in stages[:-2])


def keep_last_epoch(judge: Callable[..., None]) -> Callable[..., None]:
    def judged(self: Trainer, *args: Any, **more: Any) -> None:
        self.progress.best_score = -1.0
        judge(self, *args, **more)

    return judged


def test_full_changes_the_first_stage_too_but_not_the_pretrained_statistics(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_compare", keep_last_epoch(Trainer._compare))
    tensors = saved_tensors(
        train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1, lr=1e-2, frozen_stages=0))
    )
    start = torch.load(weights, weights_only=True)
    assert not np.array_equal(tensors["backbone.conv_stem.weight"], start["conv_stem.weight"].numpy())
    for name, value in start.items():
        if "running_" in name:
            np.testing.assert_array_equal(tensors[f"backbone.{name}"], value.numpy())


def test_gradient_starts_from_fitted_heads_and_has_to_beat_them(
    data: Path, weights: Path, heads: TrainingResult
) -> None:
    full = train(data, config=tiny_config(weights=weights, tune=Tune.FULL, epochs=1))
    first = full.model.header.record["curves"][0]
    assert first["epoch"] == 0
    assert first["subclass_accuracy"] == heads.metrics.subclass_accuracy == 1.0
    # Nothing beats all right: the best epoch is none at all, and the heads stay.
    assert full.model.header.record["best_epoch"] == 0
    assert full.metrics.subclass_accuracy == 1.0
    assert full.model.header.record["draw"] == {"heads": [1.0, 1.0], "heads_in_folds": [1.0, 1.0]}


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
    assert record["configuration"]["backbone"] == TINY_BACKBONE
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


def test_trained_model_tags_what_it_learned(heads: TrainingResult, tmp_path: Path) -> None:
    from phototag.evaluation.evaluation import evaluate

    fresh = colour_folder(tmp_path / "fresh", 3)
    for number, path in enumerate(sorted(fresh.rglob("*.png"))):
        draw(path, COLOURS[path.parts[-3], path.parts[-2]], seed=90_000 + number)
    assert evaluate(fresh, model=heads.model).subclass_accuracy == 1.0


def test_smallest_possible_data_trains(tmp_path: Path, weights: Path) -> None:
    for name in ("red", "yellow"):
        for index in range(2):
            draw(tmp_path / "d" / "warm" / name / f"{index}.png", COLOURS["warm", name], seed=index)
    for config in (tiny_config(epochs=1), tiny_config(weights=weights), tiny_config(weights=weights, tune=Tune.FULL)):
        result = train(tmp_path / "d", config=config)
        assert result.metrics.photos == (4 if config.tune is Tune.AUTO and config.pretrained else 2)


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


def test_same_seed_gives_the_same_model_whatever_was_drawn_before(data: Path, one_epoch: TrainingResult) -> None:
    for draw_some in (random.random, np.random.random, lambda: torch.rand(5)):
        draw_some()
    assert_same_tensors(saved_tensors(one_epoch), saved_tensors(train(data, config=tiny_config(epochs=1))))


def test_other_seed_gives_another_model(data: Path, one_epoch: TrainingResult) -> None:
    other = train(data, config=tiny_config(epochs=1, seed=1))
    assert_different_tensors(saved_tensors(one_epoch), saved_tensors(other))


def test_epochs_show_the_pictures_in_different_order_and_crops(data: Path, trainer: Callable[..., Trainer]) -> None:
    made = trainer()
    one, two, again = (torch.cat([pixels for pixels, _ in made._training_loader(epoch)]) for epoch in (0, 1, 0))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
