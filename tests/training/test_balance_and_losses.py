"""What a trainer draws and how it weighs: balance, losses, averages and learning rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phototag.choices import Balance
from phototag.training.finetune.optimizer import set_rates
from phototag.training.finetune.trainer import Trainer
from phototag.training.heads.balance import effective_weights
from phototag.training.training import train
from tests.support.pictures import colour_folder
from tests.support.trained_models import UNEVEN, assert_different_tensors, saved_tensors
from tests.support.training import tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


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
    plain = saved_tensors(train(uneven, config=tiny_config(weights=weights)))
    balanced = saved_tensors(train(uneven, config=tiny_config(weights=weights, balance=Balance.LOSS)))
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
        set_rates(made._optimizer, step, steps, made.config.optimizer)
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
