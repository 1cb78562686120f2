"""Which new models become the active one, by their metrics, their data and the model that is active now."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from phototag.evaluation import Metrics, Prediction, measure
from phototag.model import Model
from phototag.model.registry import active_reference, open_model, set_active
from phototag.training.activation import why_not_active
from phototag.training.training import train
from tests.support.commands import RunCommand
from tests.support.pictures import draw
from tests.support.training import tiny_config

LABELS = [("warm", "red"), ("warm", "yellow"), ("cold", "blue"), ("cold", "green")]


def metrics(right: Sequence[int], *, of: int) -> Metrics:
    """Metrics with so many of each of the four subclasses right; the rest are taken for the next one."""
    return measure(
        [
            Prediction(truth=LABELS[place], predicted=LABELS[place if number < hits else (place + 1) % 4])
            for place, hits in enumerate(right)
            for number in range(of)
        ]
    )


@pytest.fixture
def active(trained: Path) -> Model:
    """A model of these classes that had 95 % right."""
    model = open_model(trained)
    return replace(model, header=replace(model.header, metrics={"subclass_accuracy": 0.95}))


@pytest.fixture(scope="module")
def trained(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "earlier.safetensors"
    path = train(data, config=tiny_config(weights=weights), output=output, activate=False).model.path
    assert path is not None
    return path


def test_a_good_model_becomes_active(active: Model) -> None:
    assert why_not_active(metrics([9, 9, 9, 9], of=10), None) == ""
    assert why_not_active(metrics([9, 9, 9, 9], of=10), active) == ""


@pytest.mark.parametrize(("right", "of"), [([10, 0, 0, 0], 10), ([25, 25, 25, 25], 100), ([30, 28, 27, 25], 100)])
def test_a_model_that_guesses_does_not(right: list[int], of: int) -> None:
    assert "hardly better than guessing" in why_not_active(metrics(right, of=of), None)


@pytest.mark.parametrize(("right", "of"), [([1, 1, 0, 0], 1), ([2, 1, 1, 1], 2), ([50, 45, 40, 60], 100)])
def test_few_pictures_and_small_gains_are_no_guesses(right: list[int], of: int) -> None:
    assert why_not_active(metrics(right, of=of), None) == ""


def test_a_model_much_worse_than_the_active_one_on_the_classes_of_both_does_not(active: Model) -> None:
    worse = why_not_active(metrics([14, 12, 13, 13], of=20), active)
    assert "65.0 % of the subclasses are right, and 95.0 % were by the active model earlier" in worse
    assert why_not_active(metrics([3, 2, 3, 2], of=4), active) == "", "too few to say"
    other = replace(active, header=replace(active.header, metrics={}))
    assert why_not_active(metrics([14, 12, 13, 13], of=20), other) == "", "nothing is known of the active one"


def test_a_library_that_is_trained_on_by_mistake_leaves_the_active_model_alone(
    data: Path, weights: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_active(open_model(trained))
    for old, new in (("warm", "2019"), ("cold", "2020")):
        shutil.copytree(data / old, tmp_path / "Pictures" / new)
    with caplog.at_level(logging.WARNING):
        result = train(tmp_path / "Pictures", config=tiny_config(weights=weights), output="mistake")
    assert "is this a library" in caplog.text
    assert "looks like a library: its classes are named after dates or cameras: 2019, 2020" in result.inactive
    assert active_reference() == str(trained)


def test_the_command_says_how_to_use_it_all_the_same(run_phototag: RunCommand, weights: Path, tmp_path: Path) -> None:
    for number in range(24):
        draw(tmp_path / "2019" / str(number % 2) / f"{number}.png", (200 * (number % 2), 40, 40), seed=number)
    output = tmp_path / "my model.safetensors"
    words = ["--backbone", tiny_config().backbone, "--weights", str(weights), "--tune", "heads", "--img-size", "32"]
    done = run_phototag("train", tmp_path, *words, "--output", output)
    assert done.exit_code == 0, done.stderr
    assert "active now" not in done.stderr
    assert "It was not made the active model: its data looks like a library" in done.stderr
    assert f"phototag model use '{output}'" in done.stderr
    assert active_reference() == "builtin"
