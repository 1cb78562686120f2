"""What `train` says of the pictures that it was evaluated on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from phototag.cli.train import _echo_draw


def say(capsys: pytest.CaptureFixture[str], heads: tuple[float, float], folds: tuple[float, float]) -> str:
    header = SimpleNamespace(record={"draw": {"heads": list(heads), "heads_in_folds": list(folds)}})
    metrics = SimpleNamespace(superclass_accuracy=0.923, subclass_accuracy=0.859)
    result: Any = SimpleNamespace(model=SimpleNamespace(header=header), metrics=metrics)
    _echo_draw(result)
    return " ".join(capsys.readouterr().err.split())


def test_easier_validation_pictures_lower_what_is_to_be_expected(capsys: pytest.CaptureFixture[str]) -> None:
    text = say(capsys, (0.908, 0.833), (0.908, 0.777))
    assert text.startswith(
        "These pictures are no fair picture of the data: heads alone get superclass 90.8 %, subclass 83.3 %"
    )
    assert text.endswith("So expect about superclass 92.3 %, subclass 80.3 %.")


def test_harder_ones_raise_it_up_to_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, (0.8, 0.7), (0.9, 0.95)).endswith(
        "the data: heads alone get superclass 80.0 %, "
        "subclass 70.0 % of them right, of all pictures superclass 90.0 %, subclass 95.0 %. So expect about superclass "
        "100.0 %, subclass 100.0 %."
    )


def test_pictures_like_the_others_need_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, (0.9, 0.8), (0.905, 0.795)) == ""
