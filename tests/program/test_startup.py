"""Small things answer at once: what a command does not need, it does not import."""

from __future__ import annotations

from pathlib import Path

import pytest

import phototag
from tests.support.commands import RunCommand
from tests.support.imports import HEAVY, NETWORKS, imported, imported_by_command, imported_by_commands
from tests.support.pictures import MakePicture


def test_importing_phototag_imports_nothing_else() -> None:
    modules = imported("import phototag; phototag.__version__; dir(phototag)")
    assert not modules & (HEAVY | {"sqlalchemy", "click"})


@pytest.mark.parametrize("name", ["Store", "Query"])
def test_the_store_needs_no_network(name: str) -> None:
    assert not imported(f"import phototag; phototag.{name}") & HEAVY


def test_every_public_name_is_there() -> None:
    assert set(phototag.__all__) == set(dir(phototag))
    for name in phototag.__all__:
        assert getattr(phototag, name) is not None
    with pytest.raises(AttributeError, match="nonesuch"):
        phototag.nonesuch  # noqa: B018


def test_help_imports_no_library_but_click() -> None:
    commands = (
        *("", "tag", "query", "train", "evaluate", "compare", "novel", "novel name", "audit truth", "audit sample"),
        *("audit review", "audit report", "export labels", "model diff", "db info"),
    )
    helps = [[*words.split(), "--help"] for words in commands]
    assert not imported_by_commands(["--version"], *helps) & (HEAVY | {"sqlalchemy"})


def test_a_question_to_the_database_imports_nothing_heavy() -> None:
    with phototag.Store.open():
        pass
    questions = ("query", "query --count", "query --format json --superclass bird", "db info", "db check")
    assert not imported_by_commands(*(words.split() for words in questions)) & HEAVY


def test_looking_at_models_imports_no_network() -> None:
    assert not imported_by_commands(["model", "list"], ["model", "show"]) & NETWORKS


def test_a_tag_run_with_nothing_new_imports_no_network(
    run_phototag: RunCommand, quick_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    for number in range(3):
        make_picture(tmp_path / "photos" / f"{number}.jpg")
    assert run_phototag("tag", tmp_path / "photos", "--model", quick_model).exit_code == 0
    assert not imported_by_command("tag", tmp_path / "photos", "--model", quick_model) & NETWORKS


def test_new_photos_are_tagged_without_torch_once_the_model_was_converted(
    quick_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    make_picture(tmp_path / "photos" / "new.jpg")
    modules = imported_by_command("tag", tmp_path / "photos", "--model", quick_model)
    assert "openvino" in modules
    assert not modules & {"torch", "torchvision", "timm", "openvino_telemetry_backend"}


def test_the_built_in_model_imports_no_network_until_there_is_a_photo(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert not imported_by_command("tag", tmp_path / "empty") & NETWORKS
