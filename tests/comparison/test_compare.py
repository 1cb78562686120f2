"""Comparing backbones: what is left out for judging, what is trained, what survives an interruption, what is told."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phototag.choices import Device
from phototag.comparison import comparison as compare_module
from phototag.comparison.comparison import ComparisonConfig, compare, divide
from phototag.comparison.result import Comparison, Run, confusion, most_confused
from phototag.dataset.labelled import LabelledData, LabelledPicture, load_data
from phototag.errors import DataError, UsageError
from phototag.evaluation import Mistake
from phototag.report.comparison_page import build_comparison_page
from phototag.report.page import render
from phototag.runtime.complexity import multiply_adds
from phototag.training.config import TrainingConfig
from tests.support.commands import RunCommand
from tests.support.pictures import draw

pytestmark = pytest.mark.usefixtures("converted_once")
FIRST, SECOND = "test_efficientnet", "test_resnet"
COLOURS = [(200, 40, 40), (230, 220, 50), (200, 90, 200), (30, 50, 200), (40, 170, 60), (40, 190, 200)]
WORDS = ["--no-pretrained", "--epochs", "1", "--img-size", "32", "--batch-size", "8", "--seeds", "1", "--workers", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of each of six subclasses, told apart by colour."""
    root = tmp_path_factory.mktemp("labelled") / "a&b"
    for number, colour in enumerate(COLOURS):
        place = root / f"top<{number // 3}>" / f"sub{number}"
        for index in range(8):
            draw(place / f"{index}.png", colour, seed=100 * number + index)
    return root


def config(**changes: Any) -> ComparisonConfig:
    """What the command makes of WORDS."""
    training = TrainingConfig(
        pretrained=False, epochs=1, img_size=32, batch_size=8, workers=0, device=Device.CPU, groups="none"
    )
    return ComparisonConfig(**{"backbones": (FIRST, SECOND), "training": training, "seeds": 1, **changes})


@pytest.fixture(scope="module")
def finished(
    folder: Path, converted_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Comparison, Path]]:
    """A comparison of two tiny backbones with one training each, and its folder."""
    output = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOTAG_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(compare_module, "costs", partial(compare_module.costs, seconds=0.1))
        yield compare(folder, config(), output=output), output


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("trained again")


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed and memory take seconds to measure; one test is enough for them."""
    monkeypatch.setattr(compare_module._Bench, "costs", lambda _: {})


# -- parts


def pictures(counts: dict[tuple[str, str], int]) -> LabelledData:
    found = [
        LabelledPicture(Path(f"/{top}/{sub}/{number}.jpg"), top, sub, "here")
        for (top, sub), count in counts.items()
        for number in range(count)
    ]
    return LabelledData(Path("/data"), tuple(found))


def test_every_picture_has_one_place_and_every_class_is_judged() -> None:
    data = pictures({(f"top{number % 4}", f"sub{number}"): 3 + number for number in range(20)})
    parts = divide(data, config())
    everything = [*parts.training, *parts.test, *parts.novel]
    assert sorted(picture.path for picture in everything) == sorted(picture.path for picture in data.pictures)
    trained, judged = ({picture.subclass for picture in part} for part in (parts.training, parts.test))
    assert trained == judged
    assert min(Counter(picture.subclass for picture in parts.training).values()) >= 2
    assert len(parts.novel_subclasses) == 2
    assert {picture.superclass for picture in parts.training} == {"top0", "top1", "top2", "top3"}
    assert not trained & {name.partition("/")[2] for name in parts.novel_subclasses}
    assert {picture.subclass for picture in parts.novel} == {None}


def test_the_same_data_are_divided_the_same_way() -> None:
    data = pictures({(f"top{number % 3}", f"sub{number}"): 5 for number in range(12)})
    shuffled = replace(data, pictures=tuple(reversed(data.pictures)))
    assert divide(data, config()) == divide(data, config())
    assert set(divide(data, config()).test) == set(divide(shuffled, config()).test)
    assert divide(data, config()).novel_subclasses == divide(shuffled, config()).novel_subclasses


@pytest.mark.parametrize(
    "counts",
    [
        {("a", f"sub{number}"): 4 for number in range(5)},  # too few subclasses
        {(f"top{number}", f"sub{number}"): 4 for number in range(8)},  # every superclass would lose its only one
    ],
)
def test_no_subclass_is_left_out_where_none_can_be_spared(counts: dict[tuple[str, str], int]) -> None:
    parts = divide(pictures(counts), config())
    assert parts.novel_subclasses == ()
    assert not parts.novel


def test_a_class_with_two_pictures_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="fewer than three pictures of a/rare;"):
        divide(pictures({("a", "rare"): 2, ("a", "common"): 9}), config())


def test_much_for_judging_still_leaves_two_to_learn_from() -> None:
    parts = divide(pictures({("a", "x"): 3, ("a", "y"): 5}), config(test_fraction=0.9))
    assert Counter(picture.subclass for picture in parts.training) == {"x": 2, "y": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": (FIRST,)}, "two backbones"),
        ({"seeds": 0}, "seeds"),
        ({"test_fraction": 1.0}, "test fraction"),
        ({"weights": {"other": Path("x")}}, "other"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**changes)


def test_a_backbone_under_two_names_is_noticed(folder: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        compare(folder, config(backbones=("convnext_atto", "convnext_atto.d2_in1k")))


# -- costs


@pytest.mark.parametrize(
    ("name", "giga", "mega"),
    [("efficientnet_b0", 0.39, 5.29), ("convnext_tiny", 4.47, 28.59), ("resnet18", 1.82, 11.69)],
)
def test_multiply_adds_and_parameters_are_the_published_ones(name: str, giga: float, mega: float) -> None:
    import timm

    network = timm.create_model(name, pretrained=False)
    assert multiply_adds(network, 224) / 1e9 == pytest.approx(giga, rel=0.02)
    assert sum(each.numel() for each in network.parameters()) / 1e6 == pytest.approx(mega, rel=0.005)


# -- the whole of it


def test_every_backbone_is_judged_on_the_same_pictures(finished: tuple[Comparison, Path], folder: Path) -> None:
    comparison, output = finished
    first, second = comparison.runs
    assert (first.backbone, second.backbone) == (FIRST, SECOND)
    assert first.truth == second.truth
    assert first.digest == second.digest
    assert len(first.truth[0]) == comparison.parts["test"] == 10
    assert len(first.novelty[1]) == comparison.parts["novel"] == 8
    assert len(first.subclasses) == 5
    kept = np.mean(np.array(first.predicted[1]) == np.array(first.truth[1]))
    assert first.metrics["subclass_accuracy"] == pytest.approx(kept)
    assert len(list(output.glob("*.safetensors"))) == len(list(output.glob("test_*.json"))) == 2


def test_costs_are_measured_side_by_side(finished: tuple[Comparison, Path]) -> None:
    costs = finished[0].costs
    assert set(costs) == {FIRST, SECOND}
    for cost in costs.values():
        assert cost["pictures_per_second"] > 0
        assert len(cost["rounds"]) == 5
        assert cost["parameters"] > 10_000
        assert cost["multiply_adds"] > 10_000
        if Path("/proc/self/status").exists():
            # A process with numpy and a runtime, but not one that inherited all that this one holds.
            assert 20 << 20 < cost["memory_bytes"] < 2 << 30


def test_finished_trainings_are_not_repeated(
    finished: tuple[Comparison, Path], folder: Path, monkeypatch: pytest.MonkeyPatch, unmeasured: None
) -> None:
    monkeypatch.setattr(compare_module, "train", never)
    again = compare(folder, config(), output=finished[1])
    assert again.runs == finished[0].runs


def test_after_an_interruption_only_the_missing_training_runs(
    finished: tuple[Comparison, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unmeasured: None,
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(finished[1], output)
    for path in [*output.glob(f"{SECOND}*.json"), *output.glob(f"{SECOND}*.safetensors")]:
        path.unlink()
    trained = []
    train = compare_module.train

    def stopped(*_: Any, **options: Any) -> None:
        trained.append(options["config"].backbone)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_module, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(folder, config(), output=output)
    assert trained == [SECOND]
    assert len(list(output.glob(f"{FIRST}*.json"))) == 1
    monkeypatch.setattr(compare_module, "train", train)
    whole = compare(folder, config(), output=output)
    assert [run.backbone for run in whole.runs] == [FIRST, SECOND]
    assert whole.runs[0] == finished[0].runs[0]


def test_ctrl_c_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch, run_phototag: RunCommand) -> None:
    monkeypatch.setattr(compare_module, "train", interrupted)
    done = run_phototag("compare", folder, "--backbone", FIRST, "--backbone", SECOND, *WORDS)
    assert done.exit_code == 1
    assert "the same command goes on" in done.stderr


def test_a_damaged_result_is_made_again_not_trusted(
    finished: tuple[Comparison, Path],
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    unmeasured: None,
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(finished[1], output)
    (result,) = output.glob(f"{FIRST}*.json")
    for damage in ('{"truth": []}', "not JSON", "[]"):
        result.write_text(damage)
        # The model is there, so it is judged again and not trained again.
        monkeypatch.setattr(compare_module, "train", never)
        again = compare(folder, config(), output=output).runs[0]
        assert (again.truth, again.predicted) == (finished[0].runs[0].truth, finished[0].runs[0].predicted)
        assert str(result) in caplog.text


def test_other_options_are_other_trainings(
    finished: tuple[Comparison, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_module, "train", interrupted)
    before = config().training
    with pytest.raises(KeyboardInterrupt):
        compare(folder, config(training=replace(before, epochs=2)), output=finished[1])
    # How many processes decode changes nothing that is learned.
    monkeypatch.setattr(compare_module._Bench, "costs", lambda _: {})
    assert compare(folder, config(training=replace(before, workers=1)), output=finished[1]).runs == finished[0].runs


def test_small_pictures_are_not_magnified_for_random_weights(folder: Path) -> None:
    parts = divide(load_data(folder), config())
    free = replace(config().training, img_size=None)
    adapted = compare_module._adapted(free, parts, {"a": "tf_efficientnet_lite0.in1k", "b": "convnext_atto.d2_in1k"})
    assert adapted.img_size == 64  # the pictures have 40 pixels, and below 64 little is left of them
    pretrained = compare_module._adapted(replace(free, pretrained=True), parts, {"a": FIRST})
    assert pretrained.img_size is None


def test_command_writes_a_page_and_json_beside_it(
    finished: tuple[Comparison, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unmeasured: None,
    run_phototag: RunCommand,
) -> None:
    monkeypatch.setattr(compare_module, "train", never)  # the results are there
    report = tmp_path / "deep" / "report.html"
    words = [*WORDS, "--device", "cpu", "--output", finished[1], "--report", report, "--format", "json"]
    done = run_phototag("compare", folder, "--backbone", FIRST, "--backbone", SECOND, *words)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert json.loads(report.with_suffix(".json").read_text()) == told
    assert [each["backbone"] for each in told["backbones"]] == [FIRST, SECOND]
    text = report.read_text(encoding="utf-8")
    assert "a&amp;b" in text and "<top" not in text and "top&lt;0&gt;" in text


def test_report_needs_a_page_s_suffix(folder: Path, run_phototag: RunCommand) -> None:
    done = run_phototag("compare", folder, "--backbone", FIRST, "--backbone", SECOND, "--report", "report.pdf")
    assert done.exit_code == 2
    assert ".html" in done.stderr


def test_weights_are_given_by_backbone(folder: Path, run_phototag: RunCommand) -> None:
    done = run_phototag("compare", folder, "--backbone", FIRST, "--backbone", SECOND, "--weights", "file.pth")
    assert done.exit_code == 2
    assert "BACKBONE=FILE" in done.stderr


# -- what is said of it


def made_up(name: str, accuracy: float, *, seed: int, count: int = 600, novel: int = 40) -> Run:
    """A run that is right on a share of the pictures, the easy ones first."""
    random = np.random.default_rng(7)
    difficulty = random.random(count)
    truth = random.integers(0, 6, count)
    right = difficulty + np.random.default_rng([seed, len(name)]).normal(0, 0.1, count) < accuracy
    found = np.where(right, truth, (truth + 1) % 6)
    scores = np.clip(1 - difficulty / 2, 0, 1)
    return Run(
        backbone=name,
        full_name=name,
        seed=seed,
        superclasses=("<b>", "dog"),
        subclasses=tuple(f"{'<b>' if number < 3 else 'dog'}/kind{number}" for number in range(6)),
        truth=(tuple((truth // 3).tolist()), tuple(truth.tolist())),
        predicted=(tuple((found // 3).tolist()), tuple(found.tolist())),
        scores=(tuple(scores.tolist()), tuple(scores.tolist())),
        novelty=(tuple((1 - scores).tolist()), tuple(np.linspace(0.2, 1, novel).tolist())),
        novel_rejected=0.4 if novel else None,
        metrics={"subclass_ece": 0.03, "hierarchical_f1": accuracy, "subclass_coverage": None},
        calibration=None,
        curves=(
            {"epoch": 1.0, "subclass_accuracy": accuracy / 2, "loss": 2.0},
            {"epoch": 2.0, "subclass_accuracy": accuracy},
        ),
        seconds=12.0 + seed,
        size=64,
        tune="full",
        weights="random",
        device="cpu",
        versions={"torch": "2"},
        digest="d",
        unreadable=0,
    )


def comparison(*accuracies: float, seeds: int = 3, novel: int = 40) -> Comparison:
    runs = [
        made_up("abcdef"[number] * (number + 1), accuracy, seed=seed, novel=novel)
        for number, accuracy in enumerate(accuracies)
        for seed in range(seeds)
    ]
    return Comparison(
        source="/data/<i>",
        runs=tuple(runs),
        costs={},
        parts={"training": 2000, "test": 600, "novel": novel},
        novel_subclasses=("dog/<odd>",) if novel else (),
        configuration=TrainingConfig(pretrained=False).to_json(),
        machine="here",
        folder="/tmp",
    )


def test_a_real_difference_is_called_one_with_its_size() -> None:
    pair = comparison(0.8, 0.6).pairs[0]
    assert pair.real
    assert pair.statement.startswith("Subclass: a is better than bb by ")
    assert pair.low < pair.difference < pair.high
    assert comparison(0.6, 0.8).pairs[0].statement.startswith("Subclass: bb is better than a by ")


def test_a_difference_of_chance_is_not() -> None:
    pair = comparison(0.8, 0.803).pairs[0]
    assert not pair.real
    assert "no difference between" in pair.statement
    assert "−" in pair.statement  # the interval reaches below zero


def test_one_seed_says_that_another_training_may_differ() -> None:
    pair = comparison(0.9, 0.5, seeds=1).pairs[0]
    assert pair.real
    assert "another training may differ" in pair.statement


def test_many_pairs_are_corrected() -> None:
    pairs = [pair for pair in comparison(0.8, 0.7, 0.6).pairs if pair.level == "subclass"]
    assert len(pairs) == 3
    assert all(pair.p_corrected >= pair.p and pair.mcnemar_corrected >= pair.mcnemar for pair in pairs)
    assert max(pair.p_corrected for pair in pairs) > min(pair.p for pair in pairs)


def test_a_run_survives_its_file() -> None:
    run = replace(made_up("a", 0.7, seed=0), mistakes=(Mistake("/a/\udcff.jpg", 0, 1, 0.9),))
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run
    older = run.to_json()
    del older["mistakes"]
    assert Run.from_json(older).mistakes == ()


def test_confusions_of_all_runs_are_added_up() -> None:
    runs = [made_up("a", 0.7, seed=seed) for seed in range(2)]
    counts = confusion(runs, 1)
    assert counts.sum() == 1200
    truth, found, number, of = most_confused(runs, count=3)[0]
    names = list(runs[0].subclasses)
    assert counts[names.index(truth), names.index(found)] == number
    assert counts[names.index(truth)].sum() == of


@pytest.mark.parametrize(("seeds", "novel"), [(1, 0), (3, 40)])
def test_page_holds_every_part_and_nothing_unescaped(seeds: int, novel: int) -> None:
    whole = comparison(0.8, 0.7, 0.75, seeds=seeds, novel=novel)
    page = build_comparison_page(whole)
    titles = [section.title for section in page.sections]
    wanted = ["Result", "Accuracy", "Calibration", "Risk and coverage", "Cost", "Training", "Classes", "Confusions"]
    assert [title for title in titles if title in wanted] == wanted
    assert ("Novelty" in titles) == bool(novel)
    text = render(page)
    assert "<i>" not in text and "<b>" not in text and "<odd>" not in text
    assert all(pair.statement in text for pair in whole.pairs)
    json.dumps(whole.to_json(), allow_nan=False)


def test_table_names_every_backbone_in_100_columns() -> None:
    lines = comparison(0.8, 0.7).table().splitlines()
    assert {line.split()[0] for line in lines[1:3]} == {"a", "bb"}
    assert max(map(len, lines[:3])) <= 112
