"""Whether scores can be relied on: a warning needs evidence, and too few reviews say nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from phototag.audit.overconfidence import CHANCE, FEWEST, POWER, ScoreTest, ScoreVerdict, score_test
from phototag.evaluation import Floats


def result_of(scores: Floats, right: np.typing.NDArray[np.bool_]) -> ScoreTest:
    tags = SimpleNamespace(scores=scores, right=right, groups=np.arange(len(scores)))
    return score_test(SimpleNamespace(tags=lambda level: tags), "subclass")  # type: ignore[arg-type]


def tags(count: int, score: float, wrong: int) -> ScoreTest:
    return result_of(np.full(count, score), np.arange(count) >= wrong)


@pytest.mark.parametrize("count", [1, 2, 5, FEWEST - 1])
@pytest.mark.parametrize("score", [0.6, 0.95, 1.0])
def test_a_few_reviews_say_nothing_even_if_all_are_wrong(count: int, score: float) -> None:
    found = tags(count, score, count)
    assert found.verdict is ScoreVerdict.TOO_FEW
    assert "Too few" in found.statement
    assert found.needed > count


def test_no_review_is_no_error() -> None:
    assert tags(0, 0.9, 0).statement == "No reviewed photo has a subclass tag."


def test_many_wrong_ones_are_a_warning_with_its_evidence() -> None:
    found = tags(100, 0.95, 20)
    assert found.verdict is ScoreVerdict.OVERCONFIDENT
    assert "95.0 % of the 100 reviewed subclass tags would be right, and 80.0 % are" in found.statement
    assert "do not rely on scores" in found.statement


def test_one_slip_among_certain_tags_is_no_warning() -> None:
    assert tags(300, 1.0, 1).verdict is ScoreVerdict.CALIBRATED


def test_a_small_gap_in_many_reviews_is_no_reason_to_distrust() -> None:
    found = tags(5000, 0.95, 5000 * 7 // 100)
    assert found.p < CHANCE
    assert found.verdict is ScoreVerdict.CALIBRATED


def test_enough_reviews_that_agree_say_so() -> None:
    found = tags(200, 0.95, 10)
    assert (found.verdict, found.power > POWER) == (ScoreVerdict.CALIBRATED, True)
    assert "would show" in found.statement


def test_p_is_the_chance_of_no_more_right_ones() -> None:
    found = tags(20, 0.5, 15)  # 5 of 20 right
    assert found.p == pytest.approx(sum([1, 20, 190, 1140, 4845, 15504]) / 2**20)


def test_calibrated_scores_are_seldom_called_overconfident_and_overconfident_ones_often() -> None:
    random = np.random.default_rng(0)
    verdicts: dict[float, list[ScoreVerdict]] = {0.0: [], 0.1: []}
    for gap, found in verdicts.items():
        for _ in range(150):
            scores = np.clip(random.beta(9, 1, 120), 0.3, 0.99)
            found.append(result_of(scores, random.random(120) < scores - gap).verdict)
    shares = [np.mean([each is ScoreVerdict.OVERCONFIDENT for each in found]) for found in verdicts.values()]
    assert shares[0] <= 2.5 * CHANCE
    assert shares[1] >= 0.75


@pytest.mark.parametrize("score", [0.3, 0.6, 0.9, 0.98])
def test_the_reviews_it_asks_for_are_enough(score: float) -> None:
    wanted = tags(19, score, 2).needed
    found = tags(wanted, score, round(wanted * (1 - score)))
    assert POWER <= found.power <= 0.95
    assert found.verdict is ScoreVerdict.CALIBRATED
