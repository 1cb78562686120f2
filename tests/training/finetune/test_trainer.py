"""Gradient training: what a step comes to in parts, mixed, frozen, anchored, compiled; and what spoils pictures."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from phototag.choices import Balance, Device, Tune
from phototag.dataset import LabelledPicture
from phototag.errors import DataError, RuntimeUnavailableError, UsageError
from phototag.imaging import Preprocessing, WholeDecoder
from phototag.training.finetune import augment as augment_module
from phototag.training.finetune.augment import TrainingPictures, augmentation, collate_pairs, degrade, seed_all
from phototag.training.finetune.batches import cut, epoch_batches, own_share
from phototag.training.finetune.finetuning import killed_loaders_told
from phototag.training.finetune.forward import Precision
from phototag.training.finetune.losses import Compiled, Objective
from phototag.training.finetune.mixup import Mix, Mixing
from phototag.training.finetune.optimizer import freeze, stages
from phototag.training.finetune.trainer import Trainer
from tests.support.pictures import colour_folder, draw
from tests.support.training import COUNTS, assert_close, make_trainer, tensors_of, tiny_config


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """38 pictures of four classes that differ in colour. Do not change it."""
    return colour_folder(tmp_path_factory.mktemp("data") / "colours", COUNTS)


# -- accumulation


@pytest.mark.parametrize("parts", [2, 5])
def test_step_in_parts_comes_to_the_same(data: Path, parts: int) -> None:
    whole, cut_up = make_trainer(data, batch_size=10), make_trainer(data, batch_size=10, accumulate=parts)
    for made in (whole, cut_up):
        made.fit(lambda _: None)
    assert_close(tensors_of(whole.network), tensors_of(cut_up.network))
    assert whole.progress.history[0] == cut_up.progress.history[0]
    for one, other in zip(whole.progress.history, cut_up.progress.history, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    steps = [next(iter(made._optimizer.state.values()))["step"].item() for made in (whole, cut_up)]
    assert steps == [2 * whole._batches] * 2


def test_more_parts_than_pairs_are_as_many_as_there_are_pairs(data: Path) -> None:
    made = make_trainer(data, batch_size=4, accumulate=4, epochs=1)
    made.fit(lambda _: None)
    assert made.progress.epoch == 1


# -- batches of pairs


def test_batches_are_cut_between_pairs_and_nothing_is_lost() -> None:
    for count in (2, 10, 12):
        for parts in (1, 2, 3, 7):
            slices = cut(count, parts)
            assert len(slices) == parts
            assert [index for part in slices for index in range(count)[part]] == list(range(count))
            assert all(part.start % 2 == 0 and part.stop % 2 == 0 for part in slices)


def test_shares_of_all_processes_are_the_batch() -> None:
    batches = epoch_batches(50, None, batch_size=10, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [10] * 5
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    shares = [own_share(batches, rank=rank, size=3) for rank in range(3)]
    assert [[index for part in parts for index in part] for parts in zip(*shares, strict=True)] == batches
    with pytest.raises(UsageError, match="--batch-size"):
        own_share(batches, rank=0, size=6)


def test_odd_batches_lose_one_picture() -> None:
    assert [len(batch) for batch in epoch_batches(21, None, batch_size=7, seed=0, epoch=0)] == [6, 6, 6]
    assert [len(batch) for batch in epoch_batches(5, None, batch_size=8, seed=0, epoch=0)] == [4]


def test_unreadable_picture_takes_its_partner_with_it() -> None:
    items = [(torch.full((1, 1, 3), label), label) for label in range(6)]
    together = collate_pairs([items[0], items[1], None, items[3], items[4], items[5]])
    assert together is not None
    assert together[1].tolist() == [0, 1, 4, 5]
    assert collate_pairs([None, items[1]]) is None


def test_step_without_a_readable_picture_changes_nothing(data: Path) -> None:
    made = make_trainer(data)
    assert made._step(None, 0).pictures == 0
    assert_close(tensors_of(made.network), made.start, atol=0)


def test_no_readable_validation_picture_is_told(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    made = make_trainer(copy)
    for picture in made.validation:
        picture.path.write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the 8 pictures for validation"):
        made.fit(lambda _: None)


# -- mixing


def test_neighbours_are_mixed_whatever_the_batch_is_cut_into() -> None:
    mixing = Mixing(tiny_config().augmentation)
    images, targets = torch.rand(8, 3, 6, 6), torch.eye(8)
    for mix in (Mix(0.3, None, everything=True), Mix(0.5, (0.2, 0.7, 0.0, 0.5), everything=True)):
        whole = mixing.apply(mix, images, targets)
        parts = [mixing.apply(mix, images[part], targets[part]) for part in cut(8, 3)]
        for number in range(2):
            assert torch.equal(whole[number], torch.cat([part[number] for part in parts]))
        assert (whole[1].reshape(4, 2, 8).sum(1) > 0).sum(1).eq(2).all()


def test_targets_are_mixed_as_the_pictures_are() -> None:
    mixing = Mixing(tiny_config().augmentation)
    images = torch.stack([torch.zeros(3, 10, 10), torch.ones(3, 10, 10)])
    for mix in (Mix(0.3, None, everything=True), Mix(0.5, (0.5, 1.0, 0.2, 0.6), everything=True)):
        mixed, targets = mixing.apply(mix, images, torch.eye(2))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), targets[:, 1])


def test_half_of_the_steps_mix_and_none_where_it_is_switched_off() -> None:
    seed_all("mixing")
    mixing = Mixing(tiny_config().augmentation)
    drawn = [mixing.sample() for _ in range(400)]
    used = [mix for mix in drawn if mix is not None]
    assert 150 < len(used) < 250
    assert 50 < sum(mix.box is not None for mix in used) < 150
    assert all(0 <= mix.kept <= 1 for mix in used)
    off = Mixing(tiny_config(mixup=0.0, cutmix=0.0).augmentation)
    assert all(off.sample() is None for _ in range(20))


def test_rare_classes_are_always_mixed() -> None:
    rare = torch.tensor([True, False, False])
    mixing = Mixing(tiny_config(mixup=0.0, cutmix=0.0).augmentation, rare)
    mix = mixing.sample()
    assert mix is not None
    assert not mix.everything
    images, targets = torch.rand(4, 3, 4, 4), torch.eye(3)[[0, 1, 2, 1]]
    mixed, wanted = mixing.apply(Mix(0.4, None, everything=False), images, targets)
    assert torch.equal(mixed[2:], images[2:])
    assert torch.equal(wanted[2:], targets[2:])
    assert wanted[0].tolist() == pytest.approx([0.4, 0.6, 0.0])
    assert not torch.equal(mixed[:2], images[:2])


# -- balance


def objective(strategy: Balance) -> Objective:
    from tests.support.models import TINY_TAXONOMY

    labels = np.repeat(np.arange(5), (8, 4, 2, 1, 1))
    config = tiny_config(balance=strategy, label_smoothing=0.0)
    return Objective(TINY_TAXONOMY, labels, config.loss, torch.device("cpu"))


def test_logit_adjustment_asks_more_of_rare_classes() -> None:
    adjusted, plain = objective(Balance.LOGITS), objective(Balance.NONE)
    flat = (torch.zeros(1, 3), torch.zeros(1, 5))
    common, rare = torch.eye(5)[[0]], torch.eye(5)[[4]]
    assert float(adjusted(*flat, rare)) > float(plain(*flat, rare)) > float(adjusted(*flat, common))
    # Of 16 pictures 8 are of the first subclass and 12 of its superclass: that is what the offsets say.
    assert float(adjusted(*flat, common)) == pytest.approx(-np.log(8 / 16) - 0.5 * np.log(12 / 16), rel=1e-5)


def test_balance_left_to_choose_changes_nothing() -> None:
    outputs, targets = (torch.randn(5, 3), torch.randn(5, 5)), torch.eye(5)
    assert objective(Balance.AUTO)(*outputs, targets) == objective(Balance.NONE)(*outputs, targets)


@pytest.mark.parametrize("strategy", [Balance.SAMPLER, Balance.LOGITS, Balance.MIX])
def test_every_strategy_trains(data: Path, strategy: Balance) -> None:
    made = make_trainer(data, balance=strategy, epochs=1)
    made.fit(lambda _: None)
    assert np.isfinite(made.progress.history[-1]["loss"])


# -- what learns, and how fast


def rates_of(made: Trainer) -> dict[str, float]:
    peaks = {id(parameter): group["peak"] for group in made._optimizer.param_groups for parameter in group["params"]}
    return {name: peaks[id(value)] for name, value in made.network.named_parameters() if id(value) in peaks}


# The depthwise filters of the smallest backbone, and the norms behind them.
FILTERS = {f"blocks.{stage}.0.{name}" for stage in (3, 4) for name in ("conv_dw.weight", "bn2.weight", "bn2.bias")}


def test_deeper_stages_learn_faster(data: Path) -> None:
    made = make_trainer(data, lr=1e-3, layer_decay=0.5, frozen_stages=0, head_lr_factor=4.0)
    rates = rates_of(made)
    groups = stages(made.network.backbone)
    for position, names in enumerate(groups):
        for name in set(names) - FILTERS:
            assert rates[f"backbone.{name}"] == pytest.approx(1e-3 * 0.5 ** (len(groups) - 1 - position))
    assert rates["subclass_head.weight"] == rates["superclass_head.bias"] == pytest.approx(4e-3)


def test_from_random_weights_nothing_is_frozen_and_all_stages_learn_alike(data: Path) -> None:
    made = make_trainer(data, pretrained=False, frozen_stages=2)
    assert set(rates_of(made).values()) == {1e-3}
    assert rates_of(made).keys() == dict(made.network.named_parameters()).keys()


def test_frozen_stages_stay_and_the_others_learn(data: Path) -> None:
    made = make_trainer(data, frozen_stages=1, lr=1e-2, epochs=1)
    made.fit(lambda _: None)
    groups = stages(made.network.backbone)
    for position, names in enumerate(groups):
        for name in names:
            same = torch.equal(made.network.state_dict()[f"backbone.{name}"], made.start[f"backbone.{name}"])
            assert same == (position <= 1 or name in FILTERS), name


def test_by_default_the_stem_and_two_stages_are_frozen(data: Path) -> None:
    made = make_trainer(data)
    learning = {name.removeprefix("backbone.") for name in rates_of(made)}
    still = [not learning & set(names) for names in stages(made.network.backbone)]
    assert still == [True, True, True, False, False, False]


def test_depthwise_filters_learn_from_random_weights_only(data: Path) -> None:
    learning = [rates_of(make_trainer(data, pretrained=pretrained)).keys() for pretrained in (True, False)]
    filters = {f"backbone.{name}" for name in FILTERS}
    assert not learning[0] & filters
    assert filters <= learning[1]


def test_last_stage_always_learns(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = make_trainer(data, frozen_stages=9)
    learning = {name.removeprefix("backbone.") for name in rates_of(made) if name.startswith("backbone.")}
    assert learning == set(stages(made.network.backbone)[-1]) - FILTERS
    assert "4 stages of the backbone stay frozen, as it names 5" in caplog.text


def test_backbone_without_named_stages_trains_as_a_whole_but_not_in_its_last_stages() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3))
    network = nn.ModuleDict({"backbone": plain, "subclass_head": nn.Linear(4, 2), "superclass_head": nn.Linear(4, 2)})
    weights = {"weights": Path("unused.pth")}
    freeze(network, plain, tiny_config(**weights).optimizer, on_cpu=True)
    assert all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(UsageError, match="does not name its stages"):
        freeze(network, plain, tiny_config(tune=Tune.LAST, **weights).optimizer, on_cpu=True)


def test_start_holds_the_tensors_before_the_first_step(data: Path) -> None:
    made = make_trainer(data, lr=1e-2, epochs=1)
    before = tensors_of(made.network)
    made.fit(lambda _: None)
    assert_close(made.start, before, atol=0)
    after = tensors_of(made.network)
    assert any(not torch.equal(after[name], value) for name, value in before.items())


# -- distillation


def drift(made: Trainer) -> float:
    """How far training moves the features of some pictures, in their own standard deviations."""
    made.network.eval()
    torch.manual_seed(0)
    images = torch.rand(32, 3, 1, 1).expand(-1, -1, 32, 32) * 2 - 1
    with torch.no_grad():
        before = made.network.features(images)
    made.fit(lambda _: None)
    made.network.eval()
    with torch.no_grad():
        after = made.network.features(images)
    return float(((after - before) / (before.std(0) + 1e-6)).square().mean())


def test_distillation_keeps_features_near_where_they_were(data: Path) -> None:
    loose, held = (drift(make_trainer(data, lr=3e-3, epochs=3, distillation=weight)) for weight in (0.0, 30.0))
    assert held < 0.5 * loose


def test_distillation_costs_nothing_where_it_is_off_or_nothing_is_pretrained(data: Path) -> None:
    assert make_trainer(data)._anchor is None
    assert make_trainer(data, pretrained=False, distillation=1.0)._anchor is None


def test_interrupted_run_with_distillation_ends_where_a_whole_one_does(data: Path) -> None:
    how = {"distillation": 1.0, "lr": 1e-3, "epochs": 2}
    whole = make_trainer(data, **how)
    states: list[Any] = []
    whole.fit(lambda made: states.append(made.state()))
    resumed = make_trainer(data, **how)
    resumed.restore(*states[1])
    assert resumed.progress.epoch == 1
    resumed.fit(lambda _: None)
    assert_close(tensors_of(whole.network), tensors_of(resumed.network), atol=1e-6)


# -- compiled, and in half the width


@pytest.mark.slow
def test_compiled_steps_come_to_the_same_and_keep_the_names(data: Path) -> None:
    plain = make_trainer(data, epochs=1)
    plain.fit(lambda _: None)
    compiled = make_trainer(data, epochs=1, compiled=True, accumulate=2)
    compiled.fit(lambda _: None)
    assert_close(tensors_of(plain.network), tensors_of(compiled.network), atol=1e-4)
    assert compiled.state()[0].keys() == plain.state()[0].keys()


def test_missing_compiler_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    torch._dynamo.reset()
    with pytest.raises(RuntimeUnavailableError, match="--compile"):
        Compiled(nn.Linear(3, 2))(torch.ones(1, 3))


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_is_the_default_where_a_cpu_is_fast_at_it(units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert Precision(Device.CPU, wanted=None, filters_learn=False).mixed is units
    assert not Precision(Device.CPU, wanted=None, filters_learn=True).mixed
    assert Precision(Device.CPU, wanted=not units, filters_learn=False).mixed is not units


def test_bfloat16_on_a_cpu_trains(data: Path) -> None:
    made = make_trainer(data, amp=True, epochs=1, distillation=0.1)
    made.fit(lambda _: None)
    assert np.isfinite(made.progress.history[-1]["loss"])
    assert made.network.subclass_head.weight.dtype is torch.float32


# -- spoiled pictures


def noisy(size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_spoiling_keeps_size_and_mode_and_leaves_most_pictures_alone() -> None:
    image = noisy()
    same = 0
    for number in range(300):
        random.seed(number)
        spoiled = degrade(image)
        assert (spoiled.size, spoiled.mode) == (image.size, "RGB")
        same += spoiled is image
    assert 150 < same < 210


def test_spoiling_is_decided_by_the_seed() -> None:
    image = noisy()
    changed = 0
    for number in range(40):
        seen = []
        for _ in range(2):
            seed_all(0, 1, "picture", number)
            seen.append(np.asarray(degrade(image)))
        assert np.array_equal(*seen)
        changed += not np.array_equal(seen[0], np.asarray(image))
    assert changed


def test_smallest_picture_survives_spoiling() -> None:
    random.seed(0)
    for _ in range(200):
        assert degrade(noisy((1, 1))).size == (1, 1)


def test_pictures_are_spoiled_only_where_augmentation_is_on(data: Path) -> None:
    preprocessing = make_trainer(data).preprocessing

    def steps(**how: Any) -> Any:
        return augmentation(preprocessing, tiny_config(**how).augmentation).transforms  # type: ignore[attr-defined]

    assert degrade in steps()
    assert degrade not in steps(augment="")


class Deadly(TrainingPictures):
    """Pictures of which none outlasts a process, as where memory runs out."""

    def __getitem__(self, index: int) -> None:
        os.kill(os.getpid(), 9)


class TestLoading:
    """Pictures are decoded as `tag` decodes them, here and in the processes of a loader."""

    @pytest.fixture
    def pictures(self, tmp_path: Path) -> list[LabelledPicture]:
        paths = [
            draw(tmp_path / f"{number}.{suffix}", (9, 9, 9), seed=1) for number, suffix in enumerate(("gif", "png"))
        ]
        return [LabelledPicture(path, "warm", "red", "here") for path in paths]

    @pytest.mark.parametrize("augment", [None, lambda image: image.resize((32, 32))])
    @pytest.mark.parametrize("processes", [0, 1])
    def test_risky_formats_are_decoded_by_workers(
        self, pictures: list[LabelledPicture], augment: Any, processes: int
    ) -> None:
        loaded = TrainingPictures(pictures, [0, 1], Preprocessing(size=32), augment=augment, seed=())
        (batch,) = DataLoader(loaded, batch_size=2, num_workers=processes, collate_fn=augment_module.collate)
        assert batch[0].shape == (2, 32, 32, 3)
        assert batch[1].tolist() == [0, 1]

    @pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX matters")
    def test_a_loader_that_is_killed_ends_the_training_with_a_way_out(self, pictures: list[LabelledPicture]) -> None:
        loaded = Deadly(pictures, [0, 1], Preprocessing(size=32), augment=None, seed=())
        with pytest.raises(RuntimeUnavailableError, match="was killed, as when memory runs out"), killed_loaders_told():
            list(DataLoader(loaded, batch_size=2, num_workers=1, collate_fn=augment_module.collate))

    @pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX matters")
    def test_a_picture_that_crashes_its_decoder_is_skipped(
        self, pictures: list[LabelledPicture], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        crash = (
            "import os; from phototag.imaging.sandbox import worker; worker.decode_whole = lambda *_, **__: os.abort()"
        )
        command = [sys.executable, "-c", f"{crash}; worker.main()"]
        monkeypatch.setattr(augment_module, "WholeDecoder", partial(WholeDecoder, command=command))
        augment_module._whole_decoder.cache_clear()
        loaded = TrainingPictures(
            pictures, [0, 1], Preprocessing(size=32), augment=lambda image: image.resize((32, 32)), seed=()
        )
        with caplog.at_level(logging.WARNING):
            assert loaded[0] is None
        assert "0.gif: the decoder crashed (signal 6, SIGABRT)" in caplog.text
        assert loaded[1] is not None
        augment_module._whole_decoder.cache_clear()
