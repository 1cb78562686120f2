"""Weight-space averaging: the nearest network to the start that is not clearly worse than the best one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phototag.dataset.labelled import LabelledPicture
from phototag.evaluation.validation import Validation, label_indexes
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.finetune.averaging import SHARES, averaged

TAXONOMY = Taxonomy.from_pairs([("s", "a"), ("s", "b"), ("t", "c")])


class Weights(nn.Module):
    """A network that is only its weights: zero at the start, one at the end, and a counter that is no float."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))
        self.register_buffer("steps", torch.tensor(7))


@dataclass
class Judge:
    """Stands for a trainer: `right` says how many of the pictures are right at each share of the way."""

    right: dict[float, int]
    pictures: int = 400
    labelled: bool = True
    best_epoch: int = 3
    taxonomy: Taxonomy = TAXONOMY
    seen: list[float] = field(default_factory=list)

    @property
    def progress(self) -> Any:
        return SimpleNamespace(best_epoch=self.best_epoch)

    @property
    def start(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in Weights(0.0).state_dict().items()}

    def best_network(self) -> Any:
        return Weights()

    def evaluate(self, network: Weights) -> Validation:
        share = round(float(network.weight[0].detach()), 3)
        self.seen.append(share)
        # The same ones are right, and a few more.
        chosen = np.where(np.arange(self.pictures) < self.right[share], 0, 2)
        picture = LabelledPicture(Path("a.jpg"), "s", "a" if self.labelled else None, "a test")
        return self.decoded([picture] * self.pictures, chosen)

    def decoded(self, pictures: list[LabelledPicture], chosen: NDArray[np.intp]) -> Validation:
        scores = Scores(np.zeros((self.pictures, 2), np.float32), np.eye(3, dtype=np.float32)[chosen])
        return Validation.of(label_indexes(pictures, TAXONOMY), scores, TAXONOMY)


def chosen_of(judge: Judge) -> float:
    network, trials = averaged(judge)  # type: ignore[arg-type]
    assert [trial["share"] for trial in trials] == list(SHARES)
    for trial in trials:
        assert trial["subclass_accuracy"] == pytest.approx(judge.right[trial["share"]] / judge.pictures)
    assert int(network.state_dict()["steps"]) == 7
    return round(float(network.state_dict()["weight"][0]), 3)


NEAREST, FARTHEST = SHARES[0], SHARES[-1]


@pytest.mark.parametrize(
    ("near", "far", "share"),
    [
        pytest.param(300, 300, NEAREST, id="all alike"),
        pytest.param(350, 300, NEAREST, id="nearest the start is best"),
        pytest.param(300, 380, FARTHEST, id="the end is clearly best"),
        pytest.param(0, 0, NEAREST, id="nothing is right"),
        pytest.param(400, 400, NEAREST, id="everything is right"),
    ],
)
def test_nearest_network_that_is_not_clearly_worse_wins(near: int, far: int, share: float) -> None:
    judge = Judge({**dict.fromkeys(SHARES, near), FARTHEST: far})
    assert chosen_of(judge) == share
    assert judge.seen == list(SHARES)


def test_shares_go_from_near_the_start_to_the_end() -> None:
    assert list(SHARES) == sorted(set(SHARES))
    assert 0 < NEAREST < FARTHEST == 1


def test_differences_within_chance_count_as_none() -> None:
    class Noisy(Judge):
        """At the end two pictures more are right, but not the same ones: 40 others."""

        def evaluate(self, network: Weights) -> Validation:
            super().evaluate(network)
            pictures = [LabelledPicture(Path("a.jpg"), "s", "a", "a test")] * self.pictures
            rows = 19 if round(float(network.weight[0].detach()), 3) < 1 else 21
            hits = np.arange(len(pictures)) % 40 < 20
            start = 0 if rows == 19 else 200
            hits[start : start + 100] = False
            hits[start : start + rows] = True
            return self.decoded(pictures, np.where(hits, 0, 2))

    network, _ = averaged(Noisy(dict.fromkeys(SHARES, 0)))  # type: ignore[arg-type]
    assert round(float(network.state_dict()["weight"][0]), 3) == NEAREST


def test_start_that_nothing_beats_is_kept_untried() -> None:
    judge = Judge(dict.fromkeys(SHARES, 0), best_epoch=0)
    network, trials = averaged(judge)  # type: ignore[arg-type]
    assert (trials, judge.seen) == ([], [])
    assert float(network.state_dict()["weight"][0]) == 1.0


def test_pictures_without_a_subclass_cannot_choose() -> None:
    network, trials = averaged(Judge(dict.fromkeys(SHARES, 0), labelled=False))  # type: ignore[arg-type]
    assert trials == []
    assert float(network.state_dict()["weight"][0]) == 1.0
