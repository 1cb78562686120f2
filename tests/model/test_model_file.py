"""The model file: what is written is read again, and nothing else is ever taken for a model."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from phototag.decision import Thresholds
from phototag.decision.novelty import SIGNALS, NoveltyModel, Space, Standardizer
from phototag.errors import ModelError
from phototag.imaging.preprocessing import Preprocessing
from phototag.model.file import FORMAT_VERSION, ModelHeader, file_hash, read_header, read_tensors, write_tensors
from phototag.model.network import build
from phototag.model.registry import open_model
from phototag.taxonomy import Taxonomy

HEADER = ModelHeader(
    backbone="test_efficientnet",
    taxonomy=Taxonomy.from_pairs([("bird", "hawk"), ("bird", "Straße ☃"), ("dog", "boxer")]),
    preprocessing=Preprocessing(size=64, crop=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(1, 2, 3)),
    thresholds=Thresholds(superclass=0.25, subclass=0.5),
    metrics={"subclass_accuracy": 0.75, "photos": 20, "hierarchical_f1": None},
    record={"configuration": {"epochs": 3}, "curves": [{"epoch": 1.0, "loss": 2.5}], "data_digest": "ab" * 32},
    created_at="2026-01-01T00:00:00+00:00",
)
TENSORS: dict[str, Any] = {
    "subclass_head.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "subclass_head.bias": np.array([0.5, -1, 3], dtype=np.float32),
    "counter": np.array(7, dtype=np.int64),
}
slow_examples = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, HEADER.to_json())
    return path


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_tensors(path, TENSORS, HEADER.to_json())
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "scratch.safetensors"


def raw(path: Path, header: bytes, data: bytes = b"") -> Path:
    """A file in safetensors' layout around any header."""
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def with_header(path: Path, **changes: Any) -> Path:
    """A model file with some values of its JSON header changed."""
    value = {**HEADER.to_json(), **changes}
    return raw(path, json.dumps({"__metadata__": {"phototag": json.dumps(value)}}).encode())


def read_all(path: Path) -> None:
    open_model(path)
    read_tensors(path)


# -- what is written is read again


def test_header_and_tensors_come_back(model: Path) -> None:
    assert read_header(model) == HEADER
    tensors = read_tensors(model)
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(tensors[name], value)


def test_header_is_plain_json_that_other_programs_read(model: Path) -> None:
    with safetensors.safe_open(model, "numpy") as file:
        value = json.loads(file.metadata()["phototag"])
    assert value["format_version"] == FORMAT_VERSION
    assert value["taxonomy"]["subclasses"] == ["Straße ☃", "hawk", "boxer"]


def test_same_content_has_the_same_hash_and_other_content_another(model: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    write_tensors(again, TENSORS, HEADER.to_json())
    write_tensors(other, {**TENSORS, "counter": np.array(8)}, HEADER.to_json())
    assert file_hash(model) == file_hash(again) != file_hash(other)


def test_reading_headers_needs_no_torch(model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from phototag.model.file import read_header;"
        f"read_header(Path({str(model)!r})); assert not {{'torch', 'timm'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# -- whole or not at all


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_full_disk_leaves_the_old_model_and_no_rest(model: Path) -> None:
    before = model.read_bytes()
    # A limit on the size of files acts on every write as a full disk does, the native ones of safetensors too.
    code = f"""
import resource
from pathlib import Path
import numpy as np
from phototag.errors import ModelError
from phototag.model.file import write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_tensors(Path({str(model)!r}), {{"a": np.zeros(1_000_000)}}, {{}})
except ModelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert f"{model}: cannot be written" in done.stdout
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_interrupt_while_writing_leaves_the_old_model_and_no_rest(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.read_bytes()

    def interrupt(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.numpy, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(model, TENSORS, HEADER.to_json())
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_folder_that_is_a_file_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        write_tensors(tmp_path / "file" / "model.safetensors", TENSORS, HEADER.to_json())


# -- damage


def test_every_cut_of_the_header_is_refused(model_bytes: bytes, scratch: Path) -> None:
    border = 8 + struct.unpack("<Q", model_bytes[:8])[0]
    for length in range(0, border, 7):
        scratch.write_bytes(model_bytes[:length])
        with pytest.raises(ModelError):
            read_header(scratch)


@slow_examples
@given(data=st.data())
def test_model_cut_anywhere_is_refused(model_bytes: bytes, scratch: Path, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(model_bytes) - 1))
    scratch.write_bytes(model_bytes[:length])
    with pytest.raises(ModelError, match=r"scratch\.safetensors"):
        read_header(scratch)
    with pytest.raises(ModelError):
        read_tensors(scratch)


def test_half_a_real_model_says_that_it_is_cut_short(tiny_model: Path, scratch: Path) -> None:
    whole = tiny_model.read_bytes()
    scratch.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short"):
        open_model(scratch)


def test_model_with_bytes_behind_its_end_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelError):
        read_header(model)


@slow_examples
@given(data=st.data())
def test_changed_bytes_never_raise_anything_but_a_model_error(
    model_bytes: bytes, scratch: Path, data: st.DataObject
) -> None:
    border = 8 + struct.unpack("<Q", model_bytes[:8])[0]
    changed = bytearray(model_bytes)
    for position in data.draw(st.lists(st.integers(0, border - 1), min_size=1, max_size=3)):
        changed[position] = data.draw(st.integers(0, 255))
    scratch.write_bytes(changed)
    with suppress(ModelError):
        read_all(scratch)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@slow_examples
@given(key=st.sampled_from(sorted(HEADER.to_json())), value=json_values)
@example(key="preprocessing", value={**HEADER.preprocessing.to_json(), "size": float("inf")})
@example(key="preprocessing", value={**HEADER.preprocessing.to_json(), "crop": 10**400})
@example(key="preprocessing", value={**HEADER.preprocessing.to_json(), "std": [1, 1, 0]})
@example(key="thresholds", value={"superclass": float("nan"), "subclass": 0.5})
@example(key="taxonomy", value={"superclasses": ["a"], "subclasses": ["b"], "parents": [1]})
@example(key="taxonomy", value={"superclasses": ["a"], "subclasses": ["b"], "parents": [True]})
def test_any_value_in_the_header_is_taken_or_refused_cleanly(scratch: Path, key: str, value: Any) -> None:
    with_header(scratch, **{key: value})
    try:
        header = read_header(scratch)
    except ModelError as error:
        assert str(scratch) in str(error)
    else:
        json.dumps(header.to_json())


def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    # `model list` prints them as percentages.
    with pytest.raises(ModelError, match="metrics"):
        read_header(with_header(tmp_path / "m.safetensors", metrics={"subclass_accuracy": "high"}))


def test_newer_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = with_header(tmp_path / "m.safetensors", format_version=FORMAT_VERSION + 1, backbone=None)
    with pytest.raises(ModelError, match=r"newer.*upgrade phototag"):
        read_header(path)


def test_missing_key_is_named(tmp_path: Path) -> None:
    value = HEADER.to_json()
    del value["thresholds"]
    path = raw(tmp_path / "m.safetensors", json.dumps({"__metadata__": {"phototag": json.dumps(value)}}).encode())
    with pytest.raises(ModelError, match=r"damaged.*thresholds"):
        read_header(path)


def test_huge_header_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate(1 << 41)  # sparse: takes no room on the disk
    try:
        with pytest.raises(ModelError):
            read_header(path)
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' + b"[" * 100_000,
        json.dumps({"__metadata__": {"phototag": "[" * 100_000}}).encode(),
        b"[]",
        b"null",
        b"{}",
        b'{"t": 5}',
        b'{"t": {"data_offsets": ["a", "b"]}}',
        b'{"t": {"data_offsets": [0, 1e999]}}',
        b'{"__metadata__": {"phototag": 5}}',
        b'{"__metadata__": {"phototag": "5"}}',
        b'{"__metadata__": []}',
        b"\xff\xfe",
    ],
    ids=lambda header: repr(header[:40]),
)
def test_hostile_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(ModelError):
        read_header(raw(tmp_path / "m.safetensors", header))


def test_other_safetensors_files_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(TENSORS, path)
    with pytest.raises(ModelError, match="not a phototag model"):
        read_header(path)
    safetensors.numpy.save_file(TENSORS, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not a phototag model"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"short", b"# a text file, not a model\n" * 50, b"\x89PNG\r\n\x1a\n" * 9])
def test_other_files_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a phototag model"):
        open_model(path)


def test_missing_file_and_folder_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such"):
        open_model(tmp_path / "gone.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelError, match="folder"):
        open_model(tmp_path / "folder.safetensors")


# -- the network that a file describes


def test_tensors_that_do_not_fit_the_backbone_are_a_model_error(model: Path) -> None:
    with pytest.raises(ModelError, match="do not fit its backbone test_efficientnet"):
        build(read_header(model), read_tensors(model))


@pytest.mark.parametrize("backbone", ["no_such_net", "hf-hub:stranger/net", "local-dir:/tmp", "efficientnet_b0.nosuch"])
def test_backbone_of_a_strangers_model_is_one_of_timms_own(
    tmp_path: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model file made phototag ask the network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", never)
    header = read_header(with_header(tmp_path / "m.safetensors", backbone=backbone))
    with pytest.raises(ModelError, match="no backbone named"):
        build(header, {})


# -- nothing is ever unpickled


class _Payload:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def payloads(folder: Path, marker: Path) -> list[Path]:
    """Files that run code when loaded the unsafe way, under the names weights have."""
    made = []
    for suffix in (".pth", ".pt", ".bin", ".pkl", ".safetensors"):
        plain = folder / f"plain{suffix}"
        plain.write_bytes(pickle.dumps(_Payload(marker)))
        zipped = folder / f"zipped{suffix}"
        torch.save({"state_dict": _Payload(marker)}, zipped)
        made += [plain, zipped]
    return made


def test_pickles_run_no_code_as_model_or_weights(tmp_path: Path) -> None:
    from phototag.model.backbones import load_weights

    marker = tmp_path / "executed"
    made = payloads(tmp_path, marker)
    for path in made:
        with pytest.raises(ModelError):
            open_model(path)
        with pytest.raises(ModelError) as caught:
            load_weights("test_efficientnet", path)
        assert "weights_only" not in str(caught.value)  # no advice to load it the unsafe way
        assert not marker.exists()
    torch.load(made[1], weights_only=False)
    assert marker.exists()  # the bait is real


# -- features of several stages, embeddings, examples


FORMAT_1: dict[str, Any] = {
    "format_version": 1,
    "backbone": "test_efficientnet",
    "taxonomy": HEADER.taxonomy.to_json(),
    "preprocessing": {**HEADER.preprocessing.to_json(), "std": [1.0, 2.0, 3.0]},
    "thresholds": {"superclass": 0.25, "subclass": 0.5},
    "superclass_head": True,
    "metrics": {},
    "record": {},
    "created_at": "2026-01-01T00:00:00+00:00",
}


def test_model_of_format_1_is_read_and_has_no_novelty(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", TENSORS, FORMAT_1)
    model = open_model(tmp_path / "m.safetensors")
    assert (model.header.stages, model.header.embedding, model.header.novelty) == ((), 0, None)
    assert (model.header.thresholds.novel_superclass, model.header.thresholds.novel_subclass) == (1.0, 1.0)
    assert model.novelty is None


def test_weights_hash_of_format_1_is_the_one_that_databases_know(tmp_path: Path) -> None:
    """Computed here as the first version did it: other code would score whole libraries again."""
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, FORMAT_1)
    parts = {key: FORMAT_1[key] for key in ("backbone", "taxonomy", "preprocessing", "superclass_head")}
    wanted = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    names = {"float32": "F32", "int64": "I64"}
    for name in sorted(TENSORS):
        tensor = TENSORS[name]
        wanted.update(json.dumps([name, names[str(tensor.dtype)], list(tensor.shape)]).encode())
        wanted.update(tensor.tobytes())
    assert open_model(path).weights_hash == wanted.hexdigest()


def test_weights_hash_tells_of_novelty_and_stages_and_not_of_examples(tmp_path: Path) -> None:
    def hash_of(header: ModelHeader, **more: Any) -> str:
        path = tmp_path / "m.safetensors"
        write_tensors(
            path, {**TENSORS, **{f"examples.{name}": value for name, value in more.items()}}, header.to_json()
        )
        return open_model(path).weights_hash

    plain = replace(HEADER, stages=(2, 3, 4), embedding=2, novelty={"biases": [0.0, 0.0]})
    assert hash_of(plain) == hash_of(plain, labels=np.zeros(3, np.int32))
    changed = (
        HEADER,
        replace(plain, stages=(2, 3)),
        replace(plain, novelty={"biases": [0.0, 1.0]}),
        replace(plain, thresholds=Thresholds(0.1, 0.2)),
    )
    assert [hash_of(each) == hash_of(plain) for each in changed] == [False, False, False, True]


@pytest.mark.parametrize(
    "stages", [[1, 1], [3, 2], [0] * 1_000_000, [-1], [5000], [1.0], [True], ["1"], [None], "12", 3, {"a": 1}], ids=repr
)
def test_stages_that_cannot_be_are_refused(tmp_path: Path, stages: Any) -> None:
    with pytest.raises(ModelError, match="header is damaged"):
        read_header(with_header(tmp_path / "m.safetensors", stages=stages))


@pytest.mark.parametrize("width", [-1, 1 << 20, 2.0, "3", None, True])
def test_width_that_an_embedding_cannot_have_is_refused(tmp_path: Path, width: Any) -> None:
    with pytest.raises(ModelError, match="header is damaged"):
        read_header(with_header(tmp_path / "m.safetensors", embedding=width))


def test_stages_that_the_backbone_does_not_have_are_refused(tmp_path: Path) -> None:
    header = read_header(with_header(tmp_path / "m.safetensors", stages=[2, 900]))
    with pytest.raises(ModelError, match=r"stages \[2, 900\] are not those of its backbone"):
        build(header, {})


def test_embedding_of_another_width_than_its_tensors_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    header = replace(read_header(tiny_model), embedding=7)
    tensors = read_tensors(tiny_model)
    width = tensors["subclass_head.weight"].shape[1]
    tensors |= {"embedding.weight": np.zeros((8, width), np.float32), "embedding.bias": np.zeros(8, np.float32)}
    with pytest.raises(ModelError, match="do not fit its backbone"):
        build(header, tensors)
    assert build(replace(header, embedding=8), tensors).embedding is not None


def test_kinship_is_told_behind_the_embedding_and_refused_where_it_does_not_fit(tiny_model: Path) -> None:
    header, tensors = replace(read_header(tiny_model), embedding=8), read_tensors(tiny_model)
    width = tensors["subclass_head.weight"].shape[1]
    tensors |= {"embedding.weight": np.zeros((8, width), np.float32), "embedding.bias": np.zeros(8, np.float32)}
    relations = np.ones((60, len(header.taxonomy.superclasses)), np.float32)
    kinship = {"kinship.bias": np.zeros(60, np.float32), "kinship.relations": relations}
    network = build(header, tensors | kinship | {"kinship.weight": np.zeros((60, width), np.float16)})
    size = header.preprocessing.size
    np.testing.assert_allclose(network(torch.zeros(2, 3, size, size))[2].detach()[:, 8:], 1.0, rtol=1e-5)
    for weight in (np.zeros((60, width + 1), np.float16), np.zeros((59, width), np.float16), np.zeros(60, np.float16)):
        with pytest.raises(ModelError, match="do not fit its backbone"):
            build(header, tensors | kinship | {"kinship.weight": weight})


def test_numbers_of_a_kind_that_numpy_lacks_are_a_model_error(tmp_path: Path) -> None:
    for kind, size in (("BF16", 2), ("F8_E4M3", 1), ("C64", 8)):
        table = {"x": {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}}
        path = raw(tmp_path / "m.safetensors", json.dumps(table).encode(), bytes(2 * size))
        with suppress(ModelError):
            build(HEADER, read_tensors(path))


def test_examples_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_tensors(path, {**TENSORS, "examples.labels": np.zeros(3, np.int32)}, HEADER.to_json())
    assert read_tensors(path).keys() == TENSORS.keys()
    assert open_model(path).tensors().keys() == TENSORS.keys()
    assert list(read_tensors(path, under="examples.")) == ["examples.labels"]


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (0, 4)])
def test_novelty_scores_of_other_classes_or_another_embedding_are_refused(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    def model_of(classes: int, width: int) -> NoveltyModel:
        space = Space(np.zeros((classes, width), np.float32), np.ones(width, np.float32))
        count = len(SIGNALS)
        return NoveltyModel(space, Standardizer(np.zeros(count), np.ones(count)), np.ones((2, count)), np.zeros(2))

    path = tmp_path / "m.safetensors"
    for found in (model_of(3, 4), model_of(*shape)):
        header = replace(HEADER, embedding=4, novelty=found.to_json())
        write_tensors(path, {**TENSORS, **found.tensors()}, header.to_json())
        if found.space.means.shape == (3, 4):
            assert open_model(path).novelty is not None
        else:
            with pytest.raises(ModelError, match="novelty scores are damaged"):
                _ = open_model(path).novelty


# -- files whose cost is seen before they are read


def damaged(tiny_model: Path, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A copy of a model whose table of tensors, and header in it, were changed; what follows them stays."""
    data = tiny_model.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    header = json.loads(table["__metadata__"]["phototag"])
    change(table, header)
    table["__metadata__"]["phototag"] = json.dumps(header)
    text = json.dumps(table).replace('"HUGE"', "9" * 4300).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


HARMFUL: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a name twice among many": lambda _, header: header.update(
        taxonomy={
            "superclasses": ["a"],
            "subclasses": [*(f"c{number}" for number in range(50_000)), "c0"],
            "parents": [0] * 50_001,
        }
    ),
    "a giant name": lambda _, header: header["taxonomy"]["subclasses"].__setitem__(0, "a" * 1_000_000),
    "a giant name of a backbone": lambda _, header: header.update(backbone="a" * 1_000_000),
    "more classes than rows": lambda _, header: header.update(
        taxonomy={"superclasses": ["a"], "subclasses": [f"c{n}" for n in range(50_000)], "parents": [0] * 50_000}
    ),
    "a giant embedding": lambda table, header: (
        table.update({"embedding.weight": {"dtype": "F32", "shape": [1, 0], "data_offsets": [0, 0]}}),
        header.update(embedding=4096),
    ),
    "a giant input": lambda _, header: header["preprocessing"].update(size=4096),
    "a giant offset": lambda table, _: table["subclass_head.bias"].update(data_offsets=[0, "HUGE"]),
    "a negative offset": lambda table, _: table["subclass_head.bias"].update(data_offsets=[-8, 12]),
    "tensors that overlap": lambda table, _: table["subclass_head.bias"].update(
        data_offsets=table["superclass_head.bias"]["data_offsets"]
    ),
    "a giant metric": lambda _, header: header["metrics"].update(subclass_accuracy=10**4000),
    "an endless metric": lambda _, header: header["metrics"].update(subclass_accuracy=float("inf")),
    "a giant number in the record": lambda _, header: header["record"].update(seconds=10**400),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_file_that_would_cost_more_than_it_holds_is_refused_at_once(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    path = damaged(tiny_model, tmp_path / "m.safetensors", HARMFUL[kind])  # type: ignore[arg-type]
    started = time.thread_time()
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert time.thread_time() - started < 5
    assert len(str(caught.value)) < 600
    assert len(str(caught.value).splitlines()) == 1


def test_a_small_file_that_names_a_giant_backbone_is_refused_before_it_is_built(
    tiny_model: Path, tmp_path: Path
) -> None:
    path = damaged(
        tiny_model, tmp_path / "m.safetensors", lambda _, header: header.update(backbone="vit_giant_patch14_224")
    )
    model = open_model(path)
    with pytest.raises(ModelError, match="too small for it"):
        build(model.header, model.tensors())
    with pytest.raises(ModelError, match=r"another shape|are missing|do not belong") as caught:
        build(replace(model.header, backbone="test_vit"), model.tensors())
    assert len(str(caught.value)) < 600
