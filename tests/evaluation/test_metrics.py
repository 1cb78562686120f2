"""The metrics against the known fixture, scikit-learn and hiclass, and laws they must obey."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.errors import UsageError
from phototag.evaluation.gates import GATES, LOWER_IS_BETTER, failed_gates, parse_gates
from phototag.evaluation.metrics import SCALARS, Label, Metrics, Prediction, expected_calibration_error, measure
from phototag.report.metrics_table import metrics_json, metrics_text
from phototag.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_pairs(
    [
        ("bird", "rooster"),
        ("bird", "hawk"),
        ("dog", "beagle"),
        ("dog", "boxer"),
        ("reptile", "gecko"),
        ("reptile", "iguana"),
    ]
)
LEAVES: list[Label] = [(TAXONOMY.parent(name), name) for name in TAXONOMY.subclasses]
BACKED_OFF: list[Label] = [(name, None) for name in TAXONOMY.superclasses]
NOTHING: Label = (None, None)


def pairs(*rows: tuple[Label, Label]) -> list[Prediction]:
    return [Prediction(truth, predicted) for truth, predicted in rows]


def fixture() -> list[Prediction]:
    return pairs(
        (("bird", "rooster"), ("bird", "rooster")),
        (("dog", "beagle"), ("dog", "boxer")),
        (("reptile", "gecko"), ("dog", "beagle")),
        (("bird", "hawk"), ("bird", None)),
    )


def draw(
    seed: int, truths: Sequence[Label], predictions: Sequence[Label], *, count: int = 300, skill: float = 0.6
) -> list[Prediction]:
    """Photos whose tag is right with probability `skill`, when it can be, and random otherwise."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        truth = rng.choice(truths)
        right = truth in predictions and rng.random() < skill
        rows.append(Prediction(truth, truth if right else rng.choice(predictions)))
    return rows


def names(judged: Sequence[Prediction], level: int, side: str) -> list[str]:
    """The labels of a level as scikit-learn wants them: text, in full, "" for none."""
    labels = [getattr(photo, side) for photo in judged]
    if level == 0:
        return [superclass or "" for superclass, _ in labels]
    return ["" if subclass is None else f"{superclass}/{subclass}" for superclass, subclass in labels]


def all_numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in all_numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in all_numbers(item)]
    return [value] if isinstance(value, (int, float)) else []


# The fixture of the notes, by hand


@pytest.mark.parametrize("taxonomy", [None, TAXONOMY])
def test_fixture_has_its_known_answers(taxonomy: Taxonomy | None) -> None:
    metrics = measure(fixture(), taxonomy=taxonomy)
    assert metrics.photos == 4
    assert metrics.superclass_accuracy == 3 / 4
    assert metrics.subclass_accuracy == 1 / 4
    assert metrics.hierarchical_precision == 4 / 7
    assert metrics.hierarchical_recall == 4 / 8
    assert metrics.hierarchical_f1 == pytest.approx(8 / 15, abs=1e-15)
    assert metrics.hierarchical_sample_precision == 0.625
    assert metrics.hierarchical_sample_recall == 0.5
    assert metrics.hierarchical_sample_f1 == pytest.approx((1 + 1 / 2 + 0 + 2 / 3) / 4, abs=1e-15)
    assert metrics.hierarchical_distance == (0 + 1 + 2 + 1) / 4
    assert metrics.mistake_severity == (1 + 2 + 1) / 3
    assert (metrics.superclass_coverage, metrics.subclass_coverage) == (1, 3 / 4)
    assert (metrics.superclass_precision_given, metrics.subclass_precision_given) == (3 / 4, 1 / 3)
    assert metrics.novel_photos == 0
    assert metrics.novel_superclass_rejected is None
    assert metrics.novel_subclass_rejected is None


def test_contradicting_pair_counts_the_nodes_of_both_halves() -> None:
    for judged, taxonomy in (
        ([Prediction(("bird", "hawk"), ("dog", "hawk"))], TAXONOMY),
        ([Prediction(("bird", "hawk"), ("dog", "bird/hawk"))], None),
    ):
        metrics = measure(judged, taxonomy=taxonomy)
        assert metrics.hierarchical_precision == pytest.approx(2 / 3)
        assert metrics.hierarchical_recall == 1
        assert metrics.superclass_accuracy == 0
        assert metrics.subclass_accuracy == 1
        assert metrics.hierarchical_distance == 2


def test_same_subclass_name_under_another_superclass_is_another_class() -> None:
    metrics = measure(pairs((("bird", "rooster"), ("dog", "rooster"))))
    assert metrics.subclass_accuracy == 0
    assert metrics.hierarchical_precision == 0
    assert metrics.subclass_confusion.labels == ("bird/rooster", "dog/rooster")


def test_label_on_a_photo_of_no_known_class_is_a_false_positive() -> None:
    metrics = measure(
        pairs(
            (("dog", "beagle"), ("dog", "beagle")),
            (("dog", None), ("dog", "beagle")),
            (NOTHING, ("dog", "boxer")),
            (NOTHING, NOTHING),
            (("dog", None), ("dog", None)),
        )
    )
    assert metrics.novel_photos == 4
    assert metrics.superclass_accuracy == 1
    assert metrics.subclass_accuracy == 1
    beagle, boxer = metrics.subclasses
    assert (beagle.name, beagle.precision, beagle.recall, beagle.support) == ("dog/beagle", 0.5, 1, 1)
    assert (boxer.name, boxer.precision, boxer.recall, boxer.f1, boxer.support) == (
        "dog/boxer",
        0,
        None,
        0,
        0,
    )
    assert metrics.subclass_macro_precision == 0.5  # boxer does not occur in the truth
    assert metrics.superclass_macro_precision == 3 / 4
    assert metrics.subclass_precision_given == 1 / 3
    assert metrics.superclass_precision_given == 3 / 4
    assert metrics.novel_superclass_rejected == 1 / 2
    assert metrics.novel_subclass_rejected == 1 / 2
    assert metrics.hierarchical_precision == 4 / 7
    assert metrics.hierarchical_recall == 1
    assert metrics.hierarchical_sample_precision == (1 + 1 / 2 + 0 + 1 + 1) / 5
    assert metrics.hierarchical_sample_recall == (1 + 1 + 0 + 1 + 1) / 5
    assert metrics.hierarchical_distance == (0 + 1 + 2 + 0 + 0) / 5


def test_backed_off_tag_is_wrong_for_accuracy_and_one_step_away() -> None:
    metrics = measure(pairs((("dog", "beagle"), ("dog", None)), (("dog", "beagle"), NOTHING)))
    assert metrics.subclass_accuracy == 0
    assert metrics.superclass_accuracy == 0.5
    assert metrics.hierarchical_distance == (1 + 2) / 2
    assert metrics.subclass_precision_given is None
    assert metrics.superclass_precision_given == 1


def test_numbers_without_photos_are_unknown() -> None:
    metrics = measure(pairs((NOTHING, NOTHING)))
    unknown = {name for name, value in metrics.scalars().items() if value is None}
    assert {"superclass_accuracy", "subclass_macro_f1", "hierarchical_f1", "superclass_ece"} <= unknown
    assert metrics.hierarchical_sample_f1 == 1
    assert metrics.superclass_coverage == 0
    assert "-" in metrics_text(metrics)


def test_heads_are_checked_against_the_taxonomy() -> None:
    right = ("dog", "beagle")
    rows = [
        Prediction(right, right, heads=("dog", "boxer")),
        Prediction(right, right, heads=("bird", "beagle")),
        Prediction(right, right, heads=("bird", "dog/beagle")),
        Prediction(right, right, heads=("dog", "bird/beagle")),
        Prediction(right, right),
    ]
    assert measure(rows, taxonomy=TAXONOMY).inconsistent_share == 3 / 4
    assert measure(rows).inconsistent_share is None
    assert measure(rows[-1:], taxonomy=TAXONOMY).inconsistent_share is None


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"truth": (None, "beagle"), "predicted": NOTHING}, "no superclass"),
        ({"truth": NOTHING, "predicted": (None, "beagle")}, "no superclass"),
        ({"truth": NOTHING, "predicted": NOTHING, "heads": (None, "beagle")}, "no superclass"),
        ({"truth": ("", None), "predicted": NOTHING}, "empty name"),
        ({"truth": ("dog", "a/b/c"), "predicted": NOTHING}, "in full"),
        ({"truth": ("dog/cat", None), "predicted": NOTHING}, "slash"),
        ({"truth": ("dog", "bird/hawk"), "predicted": NOTHING}, "another superclass"),
        ({"truth": NOTHING, "predicted": NOTHING, "superclass_score": float("nan")}, "probability"),
        ({"truth": NOTHING, "predicted": NOTHING, "subclass_score": 1.1}, "probability"),
    ],
)
def test_senseless_photo_is_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Prediction(**fields)


def test_no_photos_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no photos"):
        measure([])


# Oracles


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_none", [False, True])
def test_levels_agree_with_scikit_learn(seed: int, with_none: bool) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    labels = [*LEAVES, *BACKED_OFF, NOTHING]
    # iguana is left out of the truth, so that a class occurs in the predictions only.
    truths = [label for label in (labels if with_none else LEAVES) if label[1] != "iguana"]
    judged = draw(seed, truths, labels, count=60)
    metrics = measure(judged)
    for level, prefix in enumerate(("superclass", "subclass")):
        truth, predicted = names(judged, level, "truth"), names(judged, level, "predicted")
        occurring = sorted(set(truth) - {""})
        expected = oracle.precision_recall_fscore_support(
            truth, predicted, labels=occurring, average="macro", zero_division=0
        )[:3]
        found = [getattr(metrics, f"{prefix}_macro_{name}") for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected, abs=1e-12)

        classes = metrics.superclasses if level == 0 else metrics.subclasses
        per_class = oracle.precision_recall_fscore_support(
            truth, predicted, labels=[scores.name for scores in classes], average=None, zero_division=0
        )
        for position, scores in enumerate(classes):
            ours = (scores.precision or 0, scores.recall or 0, scores.f1, scores.support)
            assert ours == pytest.approx([column[position] for column in per_class], abs=1e-12)

        known = [index for index, name in enumerate(truth) if name]
        accuracy = oracle.accuracy_score([truth[i] for i in known], [predicted[i] for i in known])
        assert metrics.scalars()[f"{prefix}_accuracy"] == pytest.approx(accuracy, abs=1e-12)

        confusion = metrics.superclass_confusion if level == 0 else metrics.subclass_confusion
        as_text = ["" if label is None else label for label in confusion.labels]
        assert set(as_text) == set(truth) | set(predicted)
        assert (confusion.matrix() == oracle.confusion_matrix(truth, predicted, labels=as_text)).all()


@pytest.mark.parametrize("taxonomy", [None, TAXONOMY])
@pytest.mark.parametrize("full", [False, True])
def test_top_five_agrees_with_scikit_learn(taxonomy: Taxonomy | None, full: bool) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(7)
    scores = rng.random((400, len(LEAVES)))
    truth = rng.integers(0, len(LEAVES), size=400)
    written = [TAXONOMY.qualified(i) if full else TAXONOMY.subclasses[i] for i in range(len(LEAVES))]
    judged = [
        Prediction(LEAVES[right], ("dog", None), top_subclasses=tuple(written[i] for i in np.argsort(-row)))
        for right, row in zip(truth, scores, strict=True)
    ]
    judged.append(Prediction(LEAVES[0], LEAVES[0]))  # without candidates: left out
    expected = oracle.top_k_accuracy_score(truth, scores, k=5, labels=range(len(LEAVES)))
    assert expected < 1
    assert measure(judged, taxonomy=taxonomy).subclass_top5_accuracy == pytest.approx(expected)


def test_candidate_of_the_same_name_elsewhere_does_not_count() -> None:
    judged = [Prediction(("dog", "hawk"), NOTHING, top_subclasses=("hawk",))]
    assert measure(judged, taxonomy=TAXONOMY).subclass_top5_accuracy == 0
    assert measure(judged).subclass_top5_accuracy == 1


def random_hierarchy(seed: int) -> list[Label]:
    rng = random.Random(seed)
    # The numbering restarts under each superclass: equal names in different places.
    return [(f"s{i}", f"c{j}") for i in range(rng.randint(1, 6)) for j in range(rng.randint(1, 5))]


def hiclass_scores(truth: Any, predicted: Any) -> dict[str, float]:
    oracle = pytest.importorskip("hiclass.metrics")
    found = {}
    for average, prefix in (("micro", "hierarchical"), ("macro", "hierarchical_sample")):
        for name in ("precision", "recall"):
            found[f"{prefix}_{name}"] = getattr(oracle, name)(truth, predicted, average=average)
    found["hierarchical_f1"] = oracle.f1(truth, predicted, average="micro", zero_division=0.0)
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("seed", range(8))
def test_hierarchical_metrics_agree_with_hiclass(seed: int) -> None:
    oracle = pytest.importorskip("hiclass.metrics")
    leaves = random_hierarchy(seed)
    labels = [*leaves, *sorted({(superclass, None) for superclass, _ in leaves}, key=str)]
    judged = draw(seed, labels, labels, count=120)
    truth = np.array([names(judged, 0, "truth"), names(judged, 1, "truth")]).T
    predicted = np.array([names(judged, 0, "predicted"), names(judged, 1, "predicted")]).T
    scalars = measure(judged).scalars()
    for name, expected in hiclass_scores(truth, predicted).items():
        assert scalars[name] == pytest.approx(expected, abs=1e-12), name
    # With zero_division="warn" hiclass takes the photos' own F1 as 0 where nothing is shared.
    assert scalars["hierarchical_sample_f1"] == pytest.approx(oracle.f1(truth, predicted, average="macro"), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_contradicting_pairs_agree_with_hiclass(seed: int) -> None:
    rng = random.Random(seed)
    judged = [
        Prediction(rng.choice(LEAVES), (rng.choice(TAXONOMY.superclasses), rng.choice(TAXONOMY.subclasses)))
        for _ in range(80)
    ]
    # hiclass takes several paths a photo: what the superclass says, and what the subclass says.
    truth, predicted = [], []
    for photo in judged:
        superclass, subclass = photo.truth
        path = [superclass, f"{superclass}/{subclass}"]
        truth.append([path, path])
        said, name = photo.predicted
        assert name is not None
        parent = TAXONOMY.parent(name)
        predicted.append([[said, ""], [parent, f"{parent}/{name}"]])
    scalars = measure(judged, taxonomy=TAXONOMY).scalars()
    for name, expected in hiclass_scores(np.array(truth), np.array(predicted)).items():
        assert scalars[name] == pytest.approx(expected, abs=1e-12), name


# Laws

ANY_LABEL = st.sampled_from([*LEAVES, *BACKED_OFF, NOTHING])
LEAF = st.sampled_from(LEAVES)
PHOTOS = st.lists(st.builds(Prediction, ANY_LABEL, ANY_LABEL), min_size=1, max_size=30)


@given(st.lists(st.builds(Prediction, LEAF, LEAF), min_size=1, max_size=30))
def test_at_full_depth_all_hierarchical_shares_are_the_mean_accuracy(judged: list[Prediction]) -> None:
    metrics = measure(judged, taxonomy=TAXONOMY)
    assert metrics.superclass_accuracy is not None
    assert metrics.subclass_accuracy is not None
    mean = (metrics.superclass_accuracy + metrics.subclass_accuracy) / 2
    shares = (metrics.hierarchical_precision, metrics.hierarchical_recall, metrics.hierarchical_f1)
    assert shares == pytest.approx((mean, mean, mean))
    assert metrics.hierarchical_distance == pytest.approx(2 - 2 * mean)
    assert metrics.superclass_accuracy == pytest.approx(metrics.superclass_precision_given)


@given(st.lists(ANY_LABEL, min_size=1, max_size=30))
def test_perfect_tags_score_one_at_no_distance(labels: list[Label]) -> None:
    metrics = measure([Prediction(label, label) for label in labels], taxonomy=TAXONOMY)
    not_quality = {"photos", "novel_photos", "superclass_coverage", "subclass_coverage", *LOWER_IS_BETTER}
    for name, value in metrics.scalars().items():
        if name not in not_quality:
            assert value is None or value == pytest.approx(1), name
    assert metrics.hierarchical_distance == 0
    assert metrics.mistake_severity is None


@given(PHOTOS, st.randoms(use_true_random=False))
def test_order_of_photos_does_not_matter(judged: list[Prediction], rng: random.Random) -> None:
    shuffled = rng.sample(judged, len(judged))
    before, after = measure(judged), measure(shuffled)
    assert after.scalars() == pytest.approx(before.scalars(), nan_ok=False)
    assert after.subclasses == before.subclasses
    assert after.subclass_confusion == before.subclass_confusion


@given(PHOTOS)
def test_taxonomy_changes_nothing_for_tags_that_obey_it(judged: list[Prediction]) -> None:
    assert measure(judged, taxonomy=TAXONOMY) == measure(judged)


@given(PHOTOS)
@settings(max_examples=50)
def test_everything_is_plain_json_within_its_range(judged: list[Prediction]) -> None:
    metrics = measure(judged)
    value = json.loads(metrics_json(metrics))
    assert value == metrics.to_json()
    assert all(number == number for number in all_numbers(value))
    for name, number in metrics.scalars().items():
        limit = 2 if name in {"mistake_severity", "hierarchical_distance"} else 1
        if name not in {"photos", "novel_photos"}:
            assert number is None or (type(number) is float and 0 <= number <= limit), name
    for confusion in (metrics.superclass_confusion, metrics.subclass_confusion):
        assert confusion.matrix().sum() == len(judged)
        assert list(confusion.labels) == sorted(confusion.labels, key=lambda label: (label is None, label))


def test_json_shape() -> None:
    value = measure([*fixture(), Prediction(NOTHING, ("dog", None))]).to_json()
    assert set(value) == {
        *SCALARS,
        "superclasses",
        "subclasses",
        "superclass_confusion",
        "subclass_confusion",
    }
    assert value["superclass_confusion"]["labels"] == ["bird", "dog", "reptile", "none"]
    assert value["superclass_confusion"]["matrix"] == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert set(value["subclasses"][0]) == {"name", "precision", "recall", "f1", "support", "predicted"}


def test_class_named_none_keeps_apart_from_no_class() -> None:
    confusion = measure(pairs((("none", None), NOTHING))).superclass_confusion
    assert confusion.to_json()["labels"] == ["none", "(none)"]


def test_large_confusion_matrix_is_sparse_in_json() -> None:
    labels: list[Label] = [("insect", f"beetle {i:03}") for i in range(201)]
    confusion = measure([Prediction(label, labels[0]) for label in labels]).subclass_confusion
    value = confusion.to_json()
    assert "matrix" not in value
    assert len(value["labels"]) == 201
    assert [5, 0, 1] in value["cells"]
    assert confusion.matrix()[5, 0] == 1


# Calibration


def with_confidence(accuracy: float, confidences: np.ndarray, seed: int = 0) -> list[Prediction]:
    """Photos whose tags are right as often as `accuracy`, or as often as they claim when that is NaN."""
    chance = confidences if np.isnan(accuracy) else np.full(len(confidences), accuracy)
    right = np.random.default_rng(seed).random(len(confidences)) < chance
    return [
        Prediction(("dog", "beagle"), ("dog", "beagle" if hit else "boxer"), 1.0, float(score))
        for hit, score in zip(right, confidences, strict=True)
    ]


def test_honest_scores_have_a_small_calibration_error() -> None:
    confidences = np.random.default_rng(1).uniform(0.2, 1, size=40_000)
    metrics = measure(with_confidence(float("nan"), confidences))
    assert metrics.subclass_ece is not None
    assert metrics.subclass_ece < 0.02
    assert metrics.superclass_ece == 0


def test_boastful_scores_have_their_gap_as_calibration_error() -> None:
    judged = with_confidence(0.6, np.full(20_000, 0.9))
    metrics = measure(judged)
    assert metrics.subclass_accuracy is not None
    assert metrics.subclass_ece == pytest.approx(0.9 - metrics.subclass_accuracy)
    assert metrics.subclass_ece == pytest.approx(0.3, abs=0.02)


def test_gaps_of_different_bins_do_not_cancel() -> None:
    scores = np.array([0.9] * 10 + [0.5] * 10)
    right = np.array([True] * 8 + [False] * 2 + [True] * 6 + [False] * 4)
    assert expected_calibration_error(scores, right) == pytest.approx(0.1)
    assert expected_calibration_error(scores, right, bins=1) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    assert expected_calibration_error(scores[:0], right[:0]) is None


def test_calibration_leaves_out_photos_without_score_label_or_truth() -> None:
    right: Label = ("dog", "beagle")
    judged = [
        Prediction(right, right, 0.75, 0.75),
        Prediction(right, right),
        Prediction(right, ("dog", None), 0.75, 0.1),
        Prediction(("dog", None), right, 0.75, 0.1),
        Prediction(NOTHING, NOTHING, 0.1, 0.1),
    ]
    metrics = measure(judged)
    assert metrics.subclass_ece == pytest.approx(0.25)
    assert metrics.superclass_ece == pytest.approx(0.25)


# The report


def full_report() -> Metrics:
    judged = draw(3, [*LEAVES, *BACKED_OFF, NOTHING], [*LEAVES, *BACKED_OFF, NOTHING])
    return measure([Prediction(p.truth, p.predicted, heads=("dog", "hawk")) for p in judged], taxonomy=TAXONOMY)


def test_table_shows_the_main_numbers_within_its_width() -> None:
    metrics = full_report()
    text = metrics_text(metrics)
    assert metrics.subclass_accuracy is not None
    assert f"{metrics.subclass_accuracy * 100:.1f} %" in text
    for words in ("Superclasses", "Worst subclasses", "confusions", "no subclass", "heads contradict"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "None" not in text


def test_long_wide_and_hostile_names_stay_in_their_column() -> None:
    long: Label = ("動物" * 30, "x" * 200)
    text = metrics_text(measure(pairs((long, ("\x1b[31mred", "line\nbreak")), (("a", "b"), long))))
    lines = text.splitlines()
    assert "\x1b" not in text
    assert max(sum(1 + (ord(c) > 0x3000) for c in line) for line in lines) <= 100
    assert any("…" in line for line in lines)


def test_table_of_perfect_tags_has_no_list_of_mistakes() -> None:
    text = metrics_text(measure([Prediction(label, label) for label in LEAVES]))
    assert "Worst" not in text
    assert "confusions" not in text


def test_gates_are_read_as_shares_or_percent() -> None:
    gates = parse_gates(["superclass_accuracy=0.95", "hierarchical_f1 = 80%", "subclass_accuracy=91.2 %"])
    assert gates == {"superclass_accuracy": 0.95, "hierarchical_f1": 0.8, "subclass_accuracy": 0.912}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("superclass_acuracy=0.9", "did you mean superclass_accuracy"),
        ("zzz=0.9", "hierarchical_f1"),
        ("superclass_accuracy", "metric=value"),
        ("superclass_accuracy=", "not a number"),
        ("superclass_accuracy=high", "not a number"),
        ("superclass_accuracy=nan", "between 0 and 1"),
        ("superclass_accuracy=-0.1", "between 0 and 1"),
        ("superclass_accuracy=95", "did you mean 95%"),
        ("superclass_accuracy=101%", "between 0 and 1"),
        ("superclass_ece=0.1", "lower is better"),
        ("hierarchical_distance=1", "lower is better"),
        ("photos=1", "number of photos"),
    ],
)
def test_bad_gate_is_explained(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gates([text])
    assert words in str(caught.value)


def test_gate_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_gates(["subclass_accuracy=0.9", "subclass_accuracy=0.8"])


def test_missed_gate_says_by_how_much() -> None:
    metrics = measure(fixture())
    assert failed_gates(metrics, {"superclass_accuracy": 0.75, "hierarchical_f1": 0.5}) == []
    assert failed_gates(metrics, {"subclass_accuracy": 0.95}) == ["subclass_accuracy is 25.0 %, below the gate of 95 %"]


def test_narrowly_missed_gate_does_not_look_met() -> None:
    right: Label = ("dog", "beagle")
    metrics = measure(pairs((right, right), (right, right), (right, ("dog", "boxer"))))
    assert failed_gates(metrics, {"subclass_accuracy": 0.667}) == [
        "subclass_accuracy is 66.67 %, below the gate of 66.7 %"
    ]


def test_gate_on_an_unknown_metric_fails_with_the_reason() -> None:
    metrics = measure(pairs((NOTHING, NOTHING)))
    for name in GATES:
        sentences = failed_gates(metrics, {name: 1.0})
        if metrics.scalars()[name] is None:
            assert "cannot be known (" in sentences[0]
    (sentence,) = failed_gates(metrics, {"subclass_accuracy": 0.5})
    assert sentence == "subclass_accuracy cannot be known (no photo has a true subclass), so the gate of 50 % is missed"


def test_every_gate_is_met_by_perfect_tags() -> None:
    labels = [*LEAVES, *BACKED_OFF, NOTHING]
    judged = [Prediction(label, label, top_subclasses=(label[1] or "gecko",)) for label in labels]
    gates = {name: 1.0 for name in GATES if not name.endswith("_coverage")}
    assert failed_gates(measure(judged), gates) == []


def test_gate_that_cannot_be_is_refused_when_checked_too() -> None:
    with pytest.raises(UsageError, match="lower is better"):
        failed_gates(measure(fixture()), {"inconsistent_share": 0.5})
