"""Models by name and path, and which one is active."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phototag import settings
from phototag.errors import ModelError, UsageError
from phototag.model import builtin
from phototag.model.registry import active_reference, list_models, model_path, open_model, remove_model, set_active


def install(model: Path, name: str) -> Path:
    """Copy a model file into the models folder."""
    path = settings.models_folder() / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(model, path))


def test_without_any_training_the_builtin_model_is_active() -> None:
    assert active_reference() == builtin.NAME
    model = open_model()
    assert (model.name, model.path) == (builtin.NAME, None)
    assert [model.name for model in list_models()[0]] == [builtin.NAME]


def test_name_means_a_file_in_the_models_folder(tiny_model: Path, home: Path) -> None:
    path = install(tiny_model, "garden birds-2")
    assert path.is_relative_to(home)
    model = open_model("garden birds-2")
    assert (model.name, model.path) == ("garden birds-2", path)
    assert model.header.backbone == "test_efficientnet"


@pytest.mark.parametrize("folder", [".", "deep/er"])
def test_paths_open_files_anywhere(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    target = tmp_path / folder / "mine.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_model, target)
    monkeypatch.chdir(tmp_path)
    for reference in (target, str(target), f"{folder}/mine.safetensors", Path(folder, "mine.safetensors")):
        model = open_model(reference)
        assert model.path is not None
        assert model.path.is_absolute()
        assert model.path.samefile(target)


def test_home_sign_in_a_path_is_understood(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "mine.safetensors")
    assert open_model("~/mine.safetensors").path == tmp_path / "mine.safetensors"


@pytest.mark.parametrize("name", ["", " ", "..", ".hidden", "-rf", "a\nb", "a\0b", "a:b", "a*"])
def test_names_that_cannot_be_file_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        model_path(name)


def test_name_of_the_builtin_model_cannot_be_taken() -> None:
    with pytest.raises(UsageError, match="built-in"):
        model_path("builtin")


def test_unknown_name_lists_the_known_ones(tiny_model: Path) -> None:
    install(tiny_model, "garden")
    with pytest.raises(ModelError, match=r"no such model; known: builtin, garden"):
        open_model("gardn")


def test_other_file_given_as_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"not a phototag model; those end in \.safetensors"):
        open_model(tmp_path / "model.pth")


def test_hash_names_the_content_not_the_name(tiny_model: Path, other_model: Path) -> None:
    one, same, other = (
        install(model, name) for model, name in ((tiny_model, "a"), (tiny_model, "b"), (other_model, "c"))
    )
    assert open_model(one).hash == open_model(same).hash != open_model(other).hash


def test_active_model_is_the_one_set_last(tiny_model: Path, tmp_path: Path) -> None:
    set_active(open_model(install(tiny_model, "garden")))
    assert active_reference() == "garden"
    outside = Path(shutil.copy(tiny_model, tmp_path / "far away.safetensors"))
    set_active(open_model(outside))
    assert open_model().path == outside
    set_active(open_model("builtin"))
    assert open_model().path is None


@pytest.mark.parametrize("stem", ["builtin", "-odd", "x.safetensors", ".hidden"])
def test_active_model_with_a_file_name_that_is_no_model_name_is_found_again(tiny_model: Path, stem: str) -> None:
    path = install(tiny_model, stem)
    set_active(open_model(path))
    assert open_model().path == path


def test_active_model_that_is_gone_says_so_and_names_the_others(tiny_model: Path) -> None:
    path = install(tiny_model, "garden")
    set_active(open_model("garden"))
    path.unlink()
    with pytest.raises(ModelError, match=r"garden\.safetensors: no such model; known: builtin"):
        open_model()
    open_model("builtin")


def test_unreadable_note_of_the_active_model_names_the_way_out() -> None:
    file = settings.data_folder() / "active-model"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ModelError, match="phototag model use"):
        open_model()


def test_list_tells_broken_files_apart(tiny_model: Path) -> None:
    install(tiny_model, "b-good")
    install(tiny_model, "a-good")
    cut = install(tiny_model, "cut")
    cut.write_bytes(cut.read_bytes()[:5000])
    text = settings.models_folder() / "text.safetensors"
    text.write_text("hello")
    install(tiny_model, ".half-written")
    (settings.models_folder() / "notes.txt").write_text("not a model")
    models, broken = list_models()
    assert [model.name for model in models] == ["builtin", "a-good", "b-good"]
    assert len(broken) == 2
    assert any(str(cut) in line for line in broken)
    assert any(str(text) in line for line in broken)


def test_removing_the_active_model_falls_back_to_the_builtin_one(tiny_model: Path) -> None:
    path, kept = install(tiny_model, "garden"), install(tiny_model, "kept")
    set_active(open_model("garden"))
    assert remove_model("garden") == path
    assert not path.exists()
    assert kept.exists()
    assert open_model().name == "builtin"


def test_removing_another_model_leaves_the_active_one(tiny_model: Path) -> None:
    install(tiny_model, "garden")
    install(tiny_model, "other")
    set_active(open_model("garden"))
    remove_model("other")
    assert open_model().name == "garden"


def test_broken_model_can_be_removed(tiny_model: Path) -> None:
    path = install(tiny_model, "cut")
    path.write_bytes(b"cut")
    remove_model("cut")
    assert not path.exists()


def test_what_cannot_be_removed_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    outside = Path(shutil.copy(tiny_model, tmp_path / "mine.safetensors"))
    with pytest.raises(UsageError, match="not in the models folder"):
        remove_model(str(outside))
    assert outside.exists()
    with pytest.raises(UsageError, match="built-in"):
        remove_model("builtin")
    with pytest.raises(ModelError, match="no such model"):
        remove_model("never")


def test_removing_a_model_removes_an_interrupted_run_of_it(tiny_model: Path) -> None:
    path = install(tiny_model, "mine")
    state = path.with_name(".mine.run.safetensors")
    state.touch()
    remove_model("mine")
    assert not state.exists()
