"""Faster arithmetic is taken only where it was proved to give the same tags, and what was proved is remembered."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag import settings
from phototag.choices import Device, Precision, RuntimeName
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.model.registry import Model, open_model
from phototag.runtime import precision as precision_module
from phototag.runtime import runtime as runtime_module
from phototag.runtime.openvino_engine import cache_path, cpu_precisions, read_cached
from phototag.runtime.precision import LEAST_PHOTOS, SAMPLE_PHOTOS, Agreement, PrecisionChooser, measure
from phototag.runtime.precision import _Comparison as Comparison
from phototag.runtime.runtime import Runtime, Target, faster_precision
from phototag.store import Store
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunProcess
from tests.support.pictures import MakePicture

pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")

OPENVINO = Target(Device.CPU, RuntimeName.OPENVINO)
TORCH = Target(Device.CPU, RuntimeName.TORCH)
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF is not installed")


_BATCH = 32


def sample(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Decoded photos, of soft colours as photos have."""
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2))


def verdicts() -> list[Path]:
    return sorted((settings.cache_folder() / "agreement").glob("*"))


@pytest.fixture
def model(quick_model: Path) -> Model:
    return open_model(quick_model)


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> Precision:
    """What AUTO would like to take, which is not the same on every machine."""
    here = [each for each in cpu_precisions() if each in (Precision.BF16, Precision.F16)]
    if not here:
        pytest.skip("this processor computes in nothing but f32")
    monkeypatch.setattr(precision_module, "faster_precision", lambda _: here[0])
    return here[0]


@pytest.fixture
def verdict(candidate: Precision, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[int]]:
    """Settles what a trial will show; gives a list with an entry for each that began."""

    def settle(good: bool) -> list[int]:
        begun: list[int] = []
        begin = Comparison.__init__

        def noted(self: Comparison, plain: Runtime, faster: Runtime, first: Any) -> None:
            assert (plain.engine.precision, faster.engine.precision) == (Precision.F32, candidate)
            begun.append(len(first))
            begin(self, plain, faster, first)

        def agreed(self: Comparison) -> Agreement:
            return Agreement(candidate, self._photos, 1.0 if good else 0.9, 0.001, 2.0)

        monkeypatch.setattr(Comparison, "__init__", noted)
        monkeypatch.setattr(Comparison, "agreement", agreed)
        return begun

    return settle


def chooser(model: Model, wanted: Precision = Precision.AUTO, **options: Any) -> PrecisionChooser:
    return PrecisionChooser(model, OPENVINO, wanted, batch_size=_BATCH, **options)


def tried(model: Model, photos: int = SAMPLE_PHOTOS) -> Precision:
    """Tag so many photos, trying what is undecided, and return what the next ones would be computed with."""
    runtime, pictures = chooser(model).open(try_faster=True), sample(photos)
    plain = chooser(model, Precision.F32).open()
    for first in range(0, photos, _BATCH):
        batch = pictures[first : first + _BATCH]
        found, expected = runtime.start(batch).result(), plain.start(batch).result()
        np.testing.assert_allclose(found.subclass, expected.subclass, atol=1e-4)
    return runtime.engine.precision


class TestAgreement:
    @pytest.mark.parametrize(
        ("photos", "same", "moved", "holds"),
        [
            (LEAST_PHOTOS, 0.995, 0.02, True),
            (256, 1.0, 0.0, True),
            (LEAST_PHOTOS - 1, 1.0, 0.0, False),
            (256, 0.994, 0.0, False),
            (256, 1.0, 0.021, False),
            (256, float("nan"), 0.0, False),
            (256, 1.0, float("nan"), False),
        ],
    )
    def test_it_holds_from_the_stated_bounds_on(self, photos: int, same: float, moved: float, holds: bool) -> None:
        assert Agreement(Precision.BF16, photos, same, moved, 2.0).holds is holds

    @pytest.mark.parametrize(("speedup", "gains"), [(1.1, True), (1.05, False)])
    def test_it_has_to_gain_something(self, speedup: float, gains: bool) -> None:
        assert Agreement(Precision.BF16, 256, 1.0, 0.0, speedup).holds is gains

    def test_a_network_agrees_with_itself(self, model: Model) -> None:
        plain = Runtime(model, target=OPENVINO, batch_size=8)
        found = measure(plain, Runtime(model, target=OPENVINO, batch_size=3), sample(70))
        assert (found.photos, found.same, found.precision) == (70, 1.0, Precision.F32)
        assert found.largest_move < 1e-4
        assert found.speedup > 0

    def test_a_network_does_not_agree_with_another(self, model: Model, other_model: Path) -> None:
        other = Runtime(open_model(other_model), target=TORCH, batch_size=8)
        found = measure(Runtime(model, target=OPENVINO, batch_size=8), other, sample(70))
        assert found.same < 0.9 and found.largest_move > 0.1
        assert not found.holds

    def test_it_is_told_in_words(self) -> None:
        words = str(Agreement(Precision.BF16, 256, 0.998, 0.0123, 2.04))
        assert words.startswith("bf16 on 256 of your photos: 99.8 % with the same best labels as f32")
        assert "0.012" in words and "2.0 times" in words


class TestAuto:
    def test_what_agrees_is_used_now_and_from_then_on(
        self, model: Model, candidate: Precision, verdict: Callable[[bool], list[int]]
    ) -> None:
        begun = verdict(True)
        assert chooser(model).undecided
        assert tried(model) is candidate
        assert not chooser(model).undecided
        assert chooser(model).open().engine.precision is candidate
        assert len(begun) == 1, "tried once"

    def test_what_does_not_agree_is_tried_again_with_no_model_of_that_backbone(
        self, model: Model, other_model: Path, verdict: Callable[[bool], list[int]]
    ) -> None:
        begun = verdict(False)
        assert tried(model) is Precision.F32
        for each in (model, open_model(other_model)):
            assert not chooser(each).undecided
            assert tried(each, 64) is Precision.F32
        assert len(begun) == 1

    def test_what_agrees_with_one_model_is_tried_with_another(
        self, model: Model, other_model: Path, verdict: Callable[[bool], list[int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verdict(True)
        tried(model)
        assert chooser(open_model(other_model)).undecided
        monkeypatch.setattr(precision_module, "_processor", lambda _: "another processor")
        assert chooser(model).undecided

    @pytest.mark.parametrize("photos", [32, SAMPLE_PHOTOS - 32])
    def test_too_few_photos_prove_nothing_and_leave_nothing(
        self, model: Model, verdict: Callable[[bool], list[int]], photos: int
    ) -> None:
        verdict(True)
        assert tried(model, photos) is Precision.F32
        assert verdicts() == []
        assert chooser(model).undecided

    def test_without_a_trial_it_is_f32_that_is_used(self, model: Model, candidate: Precision) -> None:
        assert chooser(model).open().engine.precision is Precision.F32
        assert chooser(model).undecided

    @pytest.mark.parametrize("wrong", [{"speedup": 0.9}, {"largest_move": 0.3}, {"largest_move": float("nan")}])
    def test_a_trial_that_cannot_succeed_any_more_ends_early(
        self, model: Model, candidate: Precision, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, float]
    ) -> None:
        def hopeless(self: Comparison) -> Agreement:
            return replace(Agreement(candidate, self._photos, 1.0, 0.001, 2.0), **wrong)

        monkeypatch.setattr(Comparison, "agreement", hopeless)
        assert tried(model, LEAST_PHOTOS) is Precision.F32
        assert not chooser(model).undecided

    def test_a_precision_that_does_not_load_leaves_f32(
        self, model: Model, candidate: Precision, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = Runtime.__init__

        def refuse(self: Runtime, *args: Any, precision: Precision = Precision.F32, **more: Any) -> None:
            if precision is candidate:
                raise RuntimeUnavailableError("no such kernel")
            plain(self, *args, precision=precision, **more)

        monkeypatch.setattr(Runtime, "__init__", refuse)
        assert tried(model, 64) is Precision.F32

    def test_the_verdict_is_told(
        self, model: Model, verdict: Callable[[bool], list[int]], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="phototag"):
            verdict(False)
            tried(model)
        assert "so f32 stays" in caplog.text
        assert "90.0 %" in caplog.text

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"precision": "bf17"}'),
            b'{"precision": "bf16", "photos": "many", "same": 1, "largest_move": 0, "speedup": 2}',
            b'{"precision": "bf16", "photos": Infinity, "same": 1, "largest_move": 0, "speedup": 2}',
            b'{"precision": "bf16", "photos": 256, "same": null, "largest_move": 0, "speedup": 2}',
        ],
    )
    def test_a_damaged_verdict_leaves_it_undecided(
        self, model: Model, verdict: Callable[[bool], list[int]], content: bytes
    ) -> None:
        verdict(True)
        tried(model)
        (file,) = verdicts()
        file.write_bytes(content)
        assert chooser(model).undecided

    def test_a_cache_that_cannot_be_written_costs_a_trial_each_time(
        self, tiny_model: Path, verdict: Callable[[bool], list[int]], candidate: Precision
    ) -> None:
        settings.cache_folder().parent.mkdir(parents=True, exist_ok=True)
        settings.cache_folder().write_text("a file where the folder should be")
        begun = verdict(True)
        for _ in range(2):
            assert tried(open_model(tiny_model)) is candidate
        assert len(begun) == 2

    def test_nothing_is_measured_where_nothing_is_faster(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision_module, "faster_precision", lambda _: None)
        assert not chooser(model).undecided
        assert chooser(model).open().engine.precision is Precision.F32

    def test_it_is_bf16_on_processors_that_have_it_and_f16_on_nvidia(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert faster_precision(Target(Device.CUDA, RuntimeName.TORCH)) is Precision.F16
        assert faster_precision(Target(Device.MPS, RuntimeName.TORCH)) is None
        assert faster_precision(TORCH) is None
        for here, wanted in (([Precision.F32, Precision.BF16], Precision.BF16), ([Precision.F32], None)):
            monkeypatch.setattr(runtime_module, "cpu_precisions", lambda here=here: here)
            assert faster_precision(OPENVINO) is wanted


class TestWanted:
    def test_what_is_asked_for_needs_no_proof(self, model: Model) -> None:
        for wanted in cpu_precisions():
            if wanted is not Precision.INT8:
                assert not chooser(model, wanted).undecided
                runtime = chooser(model, wanted).open()
                assert runtime.engine.precision is wanted
                assert runtime.start(sample(3)).result().subclass.shape == (3, 5)

    def test_faster_arithmetic_moves_scores_a_little(self, model: Model, candidate: Precision) -> None:
        plain = chooser(model, Precision.F32).open().start(sample(64)).result()
        faster = chooser(model, candidate).open().start(sample(64)).result()
        moved = np.abs(plain.subclass - faster.subclass).max()
        assert 1e-5 < moved < 0.5

    def test_what_the_processor_lacks_is_refused_with_what_it_has(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtime_module, "cpu_precisions", lambda: [Precision.F32, Precision.INT8])
        with pytest.raises(UsageError, match=r"does not compute in bf16; it has f32, int8 \(--runtime-precision\)"):
            chooser(model, Precision.BF16).open()

    def test_int8_is_for_openvino(self, model: Model) -> None:
        with pytest.raises(UsageError, match="int8 is for the runtime openvino; use --runtime openvino"):
            PrecisionChooser(model, TORCH, Precision.INT8)

    def test_f16_on_a_cpu_is_for_openvino(self, model: Model) -> None:
        with pytest.raises(UsageError, match="torch on cpu cannot compute in f16"):
            PrecisionChooser(model, TORCH, Precision.F16).open()

    def test_bf16_is_also_for_torch_on_a_cpu(self, model: Model) -> None:
        runtime = PrecisionChooser(model, TORCH, Precision.BF16).open()
        plain = Runtime(model, target=TORCH).start(sample(3)).result()
        np.testing.assert_allclose(runtime.start(sample(3)).result().subclass, plain.subclass, atol=0.5)

    def test_every_processor_computes_in_f32(self) -> None:
        assert cpu_precisions()[0] is Precision.F32


class TestTagger:
    """AUTO in a whole run."""

    @pytest.fixture
    def library(self, tmp_path: Path, make_picture: MakePicture) -> Path:
        for number in range(SAMPLE_PHOTOS + 6):
            make_picture(tmp_path / "library" / f"{number:03}.jpg", size=(32, 32))
        return tmp_path / "library"

    @pytest.mark.parametrize("good", [True, False])
    def test_photos_are_tagged_while_a_precision_is_tried_and_the_next_run_knows(
        self,
        quick_model: Path,
        library: Path,
        tmp_path: Path,
        candidate: Precision,
        verdict: Callable[[bool], list[int]],
        good: bool,
    ) -> None:
        wanted = candidate if good else Precision.F32
        begun = verdict(good)
        (library / "bad.jpg").write_bytes(b"no picture")
        with Store.open(tmp_path / "photos.db") as store:
            for force in (False, True):
                with Tagger(quick_model, batch_size=8) as tagger:
                    assert tagger.tag([library], store, force=force).inferred == SAMPLE_PHOTOS + 6
                    assert tagger.runtime.engine.precision is wanted
        assert len(begun) == 1

    def test_a_tagger_that_began_with_few_photos_stays_with_f32(
        self,
        quick_model: Path,
        library: Path,
        tmp_path: Path,
        verdict: Callable[[bool], list[int]],
        make_picture: MakePicture,
    ) -> None:
        begun = verdict(True)
        make_picture(tmp_path / "few" / "a.jpg")
        with Store.open(tmp_path / "photos.db") as store, Tagger(quick_model, batch_size=8) as tagger:
            tagger.tag([tmp_path / "few"], store)
            tagger.tag([library], store)
            assert tagger.runtime.engine.precision is Precision.F32
        assert begun == []

    def test_too_few_photos_are_not_decoded_for_nothing(
        self, quick_model: Path, library: Path, candidate: Precision
    ) -> None:
        decoded: list[Path] = []
        with Tagger(quick_model, batch_size=8) as tagger:
            decode = tagger.decode
            tagger.decode = lambda data, path: decoded.append(path) or decode(data, path)  # type: ignore[assignment]
            assert len(dict(tagger.predict(*sorted(library.iterdir())[:10]))) == 10
            tagger.decode = decode
        assert len(decoded) == 10

    def test_a_precision_that_does_not_fit_is_refused_before_anything_is_done(
        self, quick_model: Path, phototag_process: RunProcess, library: Path, tmp_path: Path
    ) -> None:
        db = tmp_path / "new.db"
        options = ["--model", quick_model, "--db", db, "--runtime", "torch", "--runtime-precision", "int8"]
        done = phototag_process("tag", library, *options)
        assert done.returncode == 2
        assert b"int8 is for the runtime openvino" in done.stderr
        assert not db.exists()


class TestInt8:
    @needs_nncf
    @pytest.mark.slow
    def test_it_is_calibrated_once_and_found_again(
        self, model: Model, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        first = chooser(model, Precision.INT8)
        assert first.needs_sample
        with caplog.at_level(logging.INFO, logger="phototag"):
            runtime = first.open(sample(80))
        assert "int8 on 80 of your photos" in caplog.text
        scores = runtime.start(sample(64, seed=1)).result()
        plain = Runtime(model, target=OPENVINO, batch_size=8).start(sample(64, seed=1)).result()
        assert runtime.engine.precision is Precision.INT8
        assert np.abs(scores.subclass - plain.subclass).max() > 1e-4, "it was not quantised"
        assert np.corrcoef(scores.subclass.ravel(), plain.subclass.ravel())[0, 1] > 0.8

        second = chooser(model, Precision.INT8)
        assert not second.needs_sample
        again = second.open().start(sample(64, seed=1)).result()
        np.testing.assert_allclose(again.subclass, scores.subclass, atol=1e-4)
        assert capfd.readouterr().out == ""

        # Half of what was kept is damaged: it is asked for photos again, and does not fail for want of them.
        file = cache_path(f"{model.weights_hash[:32]}-int8").with_suffix(".bin")
        whole = file.read_bytes()
        file.unlink()
        assert chooser(model, Precision.INT8).needs_sample
        file.write_bytes(whole[: len(whole) // 2])
        assert read_cached(f"{model.weights_hash[:32]}-int8") is None
        assert chooser(model, Precision.INT8).needs_sample
        chooser(model, Precision.INT8).open(sample(LEAST_PHOTOS))
        assert not chooser(model, Precision.INT8).needs_sample

    def test_too_few_photos_to_calibrate_on_are_wrong_use(self, model: Model) -> None:
        with pytest.raises(UsageError, match=f"needs {LEAST_PHOTOS} that can be read.*--runtime-precision auto"):
            chooser(model, Precision.INT8).open(sample(LEAST_PHOTOS - 1))
        assert chooser(model, Precision.INT8).needs_sample

    def test_without_nncf_the_way_out_is_named(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "nncf", None)
        with pytest.raises(RuntimeUnavailableError, match=r"pip install 'phototag\[int8\]'"):
            chooser(model, Precision.INT8).open(sample(LEAST_PHOTOS))

    @needs_nncf
    @pytest.mark.slow
    def test_a_run_with_int8_writes_nothing_to_stdout(
        self, quick_model: Path, phototag_process: RunProcess, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        library = tmp_path / "library"
        for number in range(LEAST_PHOTOS):
            make_picture(library / f"{number:03}.jpg", size=(32, 32))
        options = ["--model", quick_model, "--db", tmp_path / "photos.db", "--runtime-precision", "int8"]
        done = phototag_process("tag", library, *options)
        assert (done.returncode, done.stdout) == (0, b"")
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 2, lines
        assert lines[0].startswith(f"int8 on {LEAST_PHOTOS} of your photos")
