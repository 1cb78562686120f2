"""What a model is computed with: what is asked for, or what was measured to gain most, which is remembered."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag import settings
from phototag.choices import Device, Precision, RuntimeName
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.model.registry import Model, open_model
from phototag.runtime import doubt as doubt_module
from phototag.runtime import precision as precision_module
from phototag.runtime import runtime as runtime_module
from phototag.runtime.doubt import SAMPLE_PHOTOS, DoubtingRuntime
from phototag.runtime.engine import Engine, Outputs, Pictures
from phototag.runtime.openvino_engine import cache_path, cpu_precisions, evenly_rounded, read_cached
from phototag.runtime.precision import LEAST_PHOTOS, PrecisionChooser
from phototag.runtime.runtime import Runtime, Target, faster_precisions
from phototag.store import Query, Store
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


def notes() -> list[Path]:
    return sorted((settings.cache_folder() / "errors").glob("*"))


@pytest.fixture
def model(quick_model: Path) -> Model:
    return open_model(quick_model)


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> Precision:
    """What AUTO would like to take, which is not the same on every machine."""
    here = [each for each in cpu_precisions() if each in (Precision.BF16, Precision.F16)]
    if not here:
        pytest.skip("this processor computes in nothing but f32")
    monkeypatch.setattr(precision_module, "faster_precisions", lambda _: (here[0],))
    return here[0]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many times faster a trial finds the faster precision, and a further entry for each batch that it timed."""
    told = [100.0]

    def timed(engine: Engine, pictures: Pictures) -> tuple[Outputs, float]:
        told.append(len(pictures))
        return engine.start(pictures).result(), told[0] if engine.precision is Precision.F32 else 1.0

    monkeypatch.setattr(doubt_module, "_timed", timed)
    return told


def chooser(model: Model, wanted: Precision = Precision.AUTO, **options: Any) -> PrecisionChooser:
    return PrecisionChooser(model, OPENVINO, wanted, batch_size=_BATCH, **options)


def measured(model: Model, photos: int = SAMPLE_PHOTOS) -> Precision:
    """Tag so many photos as if many were to come, and return what the next ones would be computed with."""
    runtime, pictures = chooser(model).open(many=True), sample(photos)
    plain = chooser(model, Precision.F32).open()
    for first in range(0, photos, _BATCH):
        batch = pictures[first : first + _BATCH]
        found, expected = runtime.start(batch).result(), plain.start(batch).result()
        np.testing.assert_allclose(found.subclass, expected.subclass, atol=1e-4)
    return runtime.engine.precision


class TestAuto:
    def test_what_gains_is_used_now_and_from_then_on(
        self, model: Model, candidate: Precision, times: list[float]
    ) -> None:
        assert measured(model) is candidate
        batches = len(times)
        again = chooser(model).open(many=True)
        assert again.engine.precision is candidate
        again.start(sample(8)).result()
        assert len(times) == batches, "measured once"

    def test_what_gains_nothing_is_not_measured_again(
        self, model: Model, candidate: Precision, times: list[float]
    ) -> None:
        times[0] = 0.5
        assert measured(model) is Precision.F32
        assert not chooser(model).has_faster
        assert type(chooser(model).open(many=True)) is Runtime

    def test_another_model_and_another_processor_are_measured(
        self, model: Model, other_model: Path, candidate: Precision, times: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times[0] = 0.5
        measured(model)
        assert chooser(open_model(other_model)).has_faster
        monkeypatch.setattr(precision_module, "_processor", lambda _: "another processor")
        assert chooser(model).has_faster

    def test_too_few_photos_leave_nothing(self, model: Model, candidate: Precision) -> None:
        assert measured(model, SAMPLE_PHOTOS - _BATCH) is Precision.F32
        assert notes() == []

    def test_for_few_photos_there_is_one_network(self, model: Model, candidate: Precision) -> None:
        assert type(chooser(model).open()) is Runtime

    def test_a_precision_that_does_not_load_leaves_f32(
        self, model: Model, candidate: Precision, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = Runtime.__init__

        def refuse(self: Runtime, *args: Any, precision: Precision = Precision.F32, **more: Any) -> None:
            if precision is candidate:
                raise RuntimeUnavailableError("no such kernel")
            plain(self, *args, precision=precision, **more)

        monkeypatch.setattr(Runtime, "__init__", refuse)
        assert measured(model, 64) is Precision.F32

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}"),
            *(
                json.dumps({"photos": 256, "largest": [1] * 16, "counts": [9] * 16, **sound, **wrong}).encode()
                for sound in [{"doubtful": 0, "speedup": 2, "surprises": 0}]
                for wrong in (
                    *({"largest": [1] * 15}, {"largest": [-1] * 16}, {"largest": [float("nan")] * 16}, {"counts": [9]}),
                    *({"photos": 255}, {"photos": float("inf")}, {"doubtful": float("nan")}, {"doubtful": 2}),
                )
            ),
        ],
    )
    def test_a_damaged_note_is_measured_again(
        self, model: Model, candidate: Precision, times: list[float], content: bytes
    ) -> None:
        times[0] = 0.5
        measured(model)
        (file,) = notes()
        assert not chooser(model).has_faster
        file.write_bytes(content)
        assert chooser(model).has_faster

    def test_where_the_processor_has_nothing_faster_all_is_f32(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtime_module, "cpu_precisions", lambda: [Precision.F32, Precision.INT8])
        assert not chooser(model).has_faster
        assert type(chooser(model).open(many=True)) is Runtime
        assert notes() == []

    def test_what_may_be_faster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert faster_precisions(Target(Device.CUDA, RuntimeName.TORCH)) == (Precision.F16,)
        assert faster_precisions(Target(Device.MPS, RuntimeName.TORCH)) == ()
        assert faster_precisions(TORCH) == ()
        monkeypatch.setattr(runtime_module, "cpu_precisions", lambda: [Precision.F32, Precision.BF16, Precision.INT8])
        assert faster_precisions(OPENVINO) == (Precision.BF16,)


def test_depthwise_filters_are_rounded_so_that_their_sums_stay() -> None:
    filters = np.random.default_rng(0).normal(0, 1, (50, 1, 1, 3, 3)).astype(np.float32)
    rounded = evenly_rounded(filters)
    assert not (rounded.view(np.uint32) & 0xFFFF).any(), "numbers of bfloat16"
    np.testing.assert_allclose(rounded, filters, rtol=0.02, atol=0.01)
    sums = np.abs(rounded.sum(axis=(3, 4), dtype=np.float64) - filters.sum(axis=(3, 4), dtype=np.float64))
    smallest = np.abs(rounded).min(axis=(3, 4))
    assert (sums <= smallest / 128 + 1e-6).all()


class TestWanted:
    def test_what_is_asked_for_is_measured_even_on_few_photos(
        self, model: Model, candidate: Precision, times: list[float]
    ) -> None:
        runtime = chooser(model, candidate).open()
        for first in range(0, SAMPLE_PHOTOS, _BATCH):
            runtime.start(sample(_BATCH, seed=first)).result()
        assert runtime.engine.precision is candidate
        assert runtime.start(sample(3)).result().subclass.shape == (3, 5)

    def test_faster_arithmetic_moves_scores_a_little(self, model: Model, candidate: Precision) -> None:
        plain = chooser(model, Precision.F32).open().start(sample(64)).result()
        faster = Runtime(model, target=OPENVINO, precision=candidate).start(sample(64)).result()
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

    def test_photos_are_tagged_while_a_precision_is_measured_and_the_next_run_knows(
        self, quick_model: Path, library: Path, tmp_path: Path, candidate: Precision, times: list[float]
    ) -> None:
        (library / "bad.jpg").write_bytes(b"no picture")
        found = []
        with Store.open(tmp_path / "photos.db") as store:
            for precision in (Precision.AUTO, Precision.AUTO, Precision.F32):
                with Tagger(quick_model, batch_size=8, precision=precision) as tagger:
                    report = tagger.tag([library], store, force=True)
                    assert report.inferred == SAMPLE_PHOTOS + 6
                    assert tagger.runtime.engine.precision is (candidate if precision is Precision.AUTO else precision)
                found.append([(row.path, row.superclass, row.subclass, row.rank) for row in store.query(Query())])
        assert len(times) == 1 + 2 * SAMPLE_PHOTOS // 8
        assert found[0] == found[1] == found[2] != []

    def test_a_tagger_that_began_with_few_photos_takes_a_second_network_once_many_come(
        self, quick_model: Path, library: Path, tmp_path: Path, candidate: Precision, make_picture: MakePicture
    ) -> None:
        make_picture(tmp_path / "few" / "a.jpg")
        with Store.open(tmp_path / "photos.db") as store, Tagger(quick_model, batch_size=8) as tagger:
            tagger.tag([tmp_path / "few"], store)
            assert type(tagger.runtime) is Runtime
            tagger.tag([library], store)
            assert isinstance(tagger.runtime, DoubtingRuntime)

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
    def test_it_is_calibrated_once_and_found_again(self, model: Model, capfd: pytest.CaptureFixture[str]) -> None:
        first = chooser(model, Precision.INT8)
        assert first.needs_sample
        runtime = first.open(sample(80))
        assert isinstance(runtime, DoubtingRuntime)
        (engine,) = (trial.engine for trial in runtime._trials)
        assert engine.precision is Precision.INT8
        outputs = engine.start(sample(64, seed=1)).result()
        plain = Runtime(model, target=OPENVINO, batch_size=8).start(sample(64, seed=1)).result()
        assert np.abs(outputs[1] - plain.subclass).max() > 1e-4, "it was not quantised"
        assert np.corrcoef(outputs[1].ravel(), plain.subclass.ravel())[0, 1] > 0.8
        scores = runtime.start(sample(64, seed=1)).result()
        np.testing.assert_allclose(scores.subclass, plain.subclass, atol=1e-4)

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
        assert len(lines) == 1, lines
