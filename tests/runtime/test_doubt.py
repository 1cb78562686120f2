"""Fewer bits for all photos and F32 for those in doubt: tags are those of F32 while errors stay in bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phototag.choices import Device, Precision, RuntimeName
from phototag.decision import SIGNALS, NoveltyModel, Standardizer, Thresholds, decide, gather, settled, standing
from phototag.decision.stability import MOST_MOVE
from phototag.model.registry import Model, open_model
from phototag.records import Photo, Scores, Tag
from phototag.runtime.doubt import BANDS, SAMPLE_PHOTOS, DoubtingRuntime, Errors
from phototag.runtime.engine import Done, Outputs, Pending, Pictures
from phototag.runtime.runtime import Runtime, Target
from phototag.store import StoredTag
from phototag.tagging.pipeline import process
from tests.support.light_tagger import write_light_model
from tests.support.models import TINY_TAXONOMY
from tests.support.novelty_space import AXES, space_of

TARGET = Target(Device.CPU, RuntimeName.TORCH)
BATCH = 16


class Exact:
    """An engine whose logits are a function of the pixels; counts its pictures."""

    name, device, precision, batch_size = "exact", "cpu", Precision.F32, BATCH

    def __init__(self) -> None:
        self.pictures = 0

    def start(self, pictures: Pictures) -> Pending:
        self.pictures += len(pictures)
        pixels = np.stack([picture.reshape(-1)[:8] for picture in pictures]).astype(np.float32)
        outputs: Outputs = (pixels[:, :3] / 16, pixels[:, 3:] / 16)
        return Done(outputs)


class Rough(Exact):
    """The same, off by at most `error` at each logit, and so much for one picture whenever it comes."""

    precision = Precision.BF16

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def start(self, pictures: Pictures) -> Pending:
        exact = super().start(pictures).result()
        seeds = [int(picture.sum(dtype=np.int64)) for picture in pictures]
        for output in exact:
            for row, seed in enumerate(seeds):
                output[row] += np.random.default_rng(seed).uniform(-self.error, self.error, output.shape[1])
        return Done(exact)


def novelty_of(seed: int) -> NoveltyModel:
    random = np.random.default_rng(seed)
    standard = Standardizer(np.zeros(len(SIGNALS)), np.ones(len(SIGNALS)))
    weights = random.normal(0, 0.1, (2, len(SIGNALS)))
    return NoveltyModel(space_of(classes=5, seed=seed), standard, weights, random.normal(0, 1, 2))


def photos(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(write_light_model(tmp_path_factory.mktemp("models") / "light.safetensors"))


def known(largest: float, **values: float) -> Errors:
    numbers = {"photos": SAMPLE_PHOTOS, "doubtful": 0.1, "speedup": 3.0} | values
    return Errors(
        Precision.BF16,
        largest=(largest,) * 4 * BANDS,
        counts=(100,) * 4 * BANDS,
        **numbers,  # type: ignore[arg-type]
    )


def doubting(model: Model, rough: Rough, found: Errors | None, kept: list[Errors] | None = None) -> DoubtingRuntime:
    keep: Callable[[Errors], None] = (lambda _: None) if kept is None else kept.append
    return DoubtingRuntime(Runtime(model, target=TARGET, engine=Exact()), [rough], known=found, keep=keep)


def run(runtime: Runtime, pictures: list[NDArray[np.uint8]]) -> Scores:
    """Score in batches, two of them on their way."""
    pending, done = [], []
    for first in range(0, len(pictures), BATCH):
        pending.append(runtime.start(pictures[first : first + BATCH]))
        if len(pending) > 1:
            done.append(pending.pop(0).result())
    done += [each.result() for each in pending]
    return Scores(np.concatenate([each.superclass for each in done]), np.concatenate([each.subclass for each in done]))


def tags(model: Model, scores: Scores) -> list[Tag]:
    return decide(gather(scores, model.header.taxonomy), model.header.taxonomy, model.header.thresholds)


def labels(found: list[Tag]) -> list[tuple[object, ...]]:
    return [(tag.superclass, tag.subclass, tag.rank, tag.reason) for tag in found]


def exact_tags(model: Model, pictures: list[NDArray[np.uint8]]) -> list[Tag]:
    return tags(model, run(Runtime(model, target=TARGET, engine=Exact()), pictures))


class TestSettled:
    """The law that all rests on."""

    @given(
        seed=st.integers(0, 2**32 - 1),
        error=st.sampled_from([0.01, 0.1, 0.5, 3.0]),
        spread=st.sampled_from([0.5, 3.0, 10.0]),
        limits=st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.9995, 1.0]), min_size=4, max_size=4),
        with_novelty=st.booleans(),
    )
    def test_what_is_settled_comes_out_the_same_for_all_errors_within_the_margins(
        self, seed: int, error: float, spread: float, limits: list[float], with_novelty: bool
    ) -> None:
        random = np.random.default_rng(seed)
        novelty = novelty_of(seed % 5) if with_novelty else None
        shapes = (3, 5, AXES) if with_novelty else (3, 5)
        exact = [random.normal(0, spread, (40, width)).astype(np.float32) for width in shapes]
        fast = [array + random.uniform(-error, error, array.shape).astype(np.float32) for array in exact]
        truth, guess = (Scores(*arrays[:2], embedding=arrays[2] if with_novelty else None) for arrays in (exact, fast))
        found = standing(guess, TINY_TAXONOMY, novelty)
        moved = standing(truth, TINY_TAXONOMY, novelty, found.classes).moved(found)
        thresholds = Thresholds(*limits)
        certain = settled(found, moved + 1e-6, thresholds, safety=1.0)
        before, after = (
            decide(gather(each, TINY_TAXONOMY, novelty), TINY_TAXONOMY, thresholds) for each in (truth, guess)
        )
        for sure, one, other in zip(certain, before, after, strict=True):
            if sure:
                assert labels([one]) == labels([other])
                assert abs(one.superclass_score - other.superclass_score) <= MOST_MOVE + 1e-6
                assert abs(one.subclass_score - other.subclass_score) <= MOST_MOVE + 1e-6
                assert abs(one.novelty - other.novelty) <= MOST_MOVE + 1e-6

    def test_without_errors_all_is_settled_but_what_stands_at_a_threshold(self) -> None:
        random = np.random.default_rng(0)
        scores = Scores(*(random.normal(0, 3, (50, width)).astype(np.float32) for width in (3, 5)))
        assert settled(
            standing(scores, TINY_TAXONOMY, None), np.full((50, 4), 1e-9), Thresholds(0.4, 0.25), safety=2.0
        ).all()

    def test_what_is_no_number_is_never_settled(self) -> None:
        scores = Scores(np.full((2, 3), np.nan, np.float32), np.zeros((2, 5), np.float32))
        found = standing(scores, TINY_TAXONOMY, None)
        assert not settled(found, np.full((2, 4), 0.1), Thresholds(0.0, 0.0), safety=2.0).any()
        assert np.isinf(found.moved(found)[:, 0]).all()


class TestKnown:
    """Errors that were measured before."""

    @pytest.mark.parametrize("error", [0.001, 0.02, 0.3])
    def test_tags_are_those_of_f32_and_scores_close(self, model: Model, error: float) -> None:
        pictures = photos(700)
        # A log-odds of a joint probability moves by no more than four logits do.
        runtime = doubting(model, Rough(error), known(4 * error))
        found, exact = tags(model, run(runtime, pictures)), exact_tags(model, pictures)
        assert labels(found) == labels(exact)
        for one, other in zip(found, exact, strict=True):
            assert abs(one.superclass_score - other.superclass_score) <= MOST_MOVE
            assert abs(one.subclass_score - other.subclass_score) <= MOST_MOVE
        assert isinstance(runtime._plain, Exact)
        assert runtime._plain.pictures < len(pictures)

    def test_photos_in_doubt_have_the_outputs_of_f32_in_their_own_places(self, model: Model) -> None:
        pictures = photos(64)
        found = run(doubting(model, Rough(0.3), known(100.0, speedup=1e6)), pictures)
        exact = run(Runtime(model, target=TARGET, engine=Exact()), pictures)
        np.testing.assert_array_equal(found.subclass, exact.subclass)
        np.testing.assert_array_equal(found.superclass, exact.superclass)

    def test_an_error_beyond_the_margins_widens_them(self, model: Model, caplog: pytest.LogCaptureFixture) -> None:
        kept: list[Errors] = []
        rough = Rough(0.001)
        runtime = doubting(model, rough, known(0.005), kept)
        run(runtime, photos(160))
        assert not kept
        rough.error = 0.1
        with caplog.at_level(logging.INFO, logger="phototag"):
            run(runtime, photos(320, seed=1))
        assert "further off than ever before" in caplog.text
        assert kept and max(kept[-1].largest) > 0.02
        assert kept[-1].surprises >= 1

    def test_after_some_surprises_f32_goes_on_alone(self, model: Model) -> None:
        kept: list[Errors] = []
        rough = Rough(0.0)
        runtime = doubting(model, rough, known(1e-6, surprises=1), kept)
        for error in (0.01, 1.0, 3.0):
            rough.error = error
            run(runtime, photos(640, seed=int(error * 100)))
        assert kept[-1].surprises >= 3 and kept[-1].gain == 0
        assert runtime.engine.precision is Precision.F32
        pictures, before = photos(32, seed=9), rough.pictures
        assert labels(tags(model, run(runtime, pictures))) == labels(exact_tags(model, pictures))
        assert rough.pictures == before

    def test_where_nearly_all_is_in_doubt_f32_goes_on_alone(
        self, model: Model, caplog: pytest.LogCaptureFixture
    ) -> None:
        runtime = doubting(model, Rough(0.3), known(10.0))
        with caplog.at_level(logging.INFO, logger="phototag"):
            run(runtime, photos(640))
        assert "so f32 alone goes on" in caplog.text
        assert runtime.engine.precision is Precision.F32


class TestMeasuring:
    """The first photos."""

    @pytest.fixture
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the fast engine count as three times as fast: on a busy machine nothing else is certain."""
        usual = {Precision.F32: 3.0, Precision.BF16: 1.0}
        monkeypatch.setattr(
            "phototag.runtime.doubt._timed", lambda engine, each: (engine.start(each).result(), usual[engine.precision])
        )

    def test_the_first_photos_are_scored_with_f32_and_later_ones_by_doubt(self, model: Model, quick: None) -> None:
        kept: list[Errors] = []
        rough = Rough(0.002)
        runtime = doubting(model, rough, None, kept)
        pictures = photos(SAMPLE_PHOTOS + 160)
        found, exact = run(runtime, pictures), run(Runtime(model, target=TARGET, engine=Exact()), pictures)
        np.testing.assert_array_equal(found.subclass[:SAMPLE_PHOTOS], exact.subclass[:SAMPLE_PHOTOS])
        assert not np.array_equal(found.subclass, exact.subclass)
        assert labels(tags(model, found)) == labels(tags(model, exact))
        assert kept[0].photos == SAMPLE_PHOTOS and 0 < max(kept[0].largest) < 0.02
        assert kept[0].speedup == 3.0
        assert runtime.engine is rough

    def test_what_gains_nothing_is_kept_as_found_and_not_used(
        self, model: Model, quick: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept: list[Errors] = []
        runtime = doubting(model, Rough(2.0), None, kept)
        with caplog.at_level(logging.INFO, logger="phototag"):
            run(runtime, photos(SAMPLE_PHOTOS + 32))
        assert "so f32 alone stays" in caplog.text
        assert kept[0].gain < 1
        assert runtime.engine.precision is Precision.F32


def test_order_and_copies_are_as_with_f32(model: Model, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    contents = [b"GIF89a" + random.bytes(12) for _ in range(60)]
    there = []
    for number, content in enumerate([*contents, *contents[::-1], *contents[10:20]]):
        path = tmp_path / f"{number:03}.gif"
        path.write_bytes(content)
        there.append(Photo(path, 18, 0, 0, number + 1))

    def decode(data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
        return np.frombuffer(data[6:], dtype=np.uint8).reshape(2, 2, 3), 2, 2

    plain = Runtime(model, target=TARGET, engine=Exact())
    found, exact = (
        [item for batch in process(there, runtime, decode, workers=2) for item in batch.items]
        for runtime in (doubting(model, Rough(0.05), known(0.2)), plain)
    )
    assert [item.photo for item in found] == there
    pairs = list(zip(found, exact, strict=True))
    assert all(isinstance(one, StoredTag) and isinstance(other, StoredTag) for one, other in pairs)
    for one, other in pairs:
        assert isinstance(one, StoredTag) and isinstance(other, StoredTag)
        assert labels([one.tag]) == labels([other.tag])
