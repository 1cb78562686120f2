"""Everything in `phototag.__all__` is documented, and its example does what it says."""

from __future__ import annotations

import doctest
import inspect
import logging
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import phototag
from phototag.settings import models_folder
from tests.support.pictures import MakePicture, colour_folder
from tests.support.project import ROOT

# What the examples take for granted.
NAMES = {"Path": Path, "closing": closing, "sqlite3": sqlite3}
PUBLIC = sorted(set(phototag.__all__) - {"__version__"})


@pytest.fixture
def library(
    tmp_path: Path,
    tiny_model: Path,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Path:
    """A working folder with labelled pictures (`my_photos`), photos to tag (`inbox`, `truth`), a model `animals`."""
    models_folder().mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_model, models_folder() / "animals.safetensors")
    colour_folder(tmp_path / "my_photos")
    for number in range(3):
        make_picture(tmp_path / "inbox" / f"photo{number}.jpg")
    make_picture(tmp_path / "truth" / "bird" / "hawk" / "0.jpg")
    make_picture(tmp_path / "truth" / "dog" / "boxer" / "1.jpg")
    (tmp_path / "inbox" / "cut_short.jpg").write_bytes((tmp_path / "inbox" / "photo0.jpg").read_bytes()[:400])
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.ERROR, "phototag")
    return tmp_path


@pytest.mark.usefixtures("converted_once")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_documented_with_an_example_that_runs(name: str, library: Path) -> None:
    thing = getattr(phototag, name)
    text = inspect.getdoc(thing) or ""
    assert ">>> " in text, f"{name} has no example"
    examples = doctest.DocTestParser().get_doctest(text, {"phototag": phototag, **NAMES}, name, None, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(examples, out=report.append)
    assert not runner.failures, "".join(report)


def test_typed_program_uses_everything_public() -> None:
    """`make lint` lets the type checker look at it, as strictly as it can."""
    program = (ROOT / "tests" / "program" / "typed_program.py").read_text("utf-8")
    assert not [name for name in phototag.__all__ if not re.search(rf"\b{name}\b", program)]


def functions() -> list[tuple[str, str]]:
    """Every public function and method with its docstring."""
    found = []
    for name in PUBLIC:
        thing = getattr(phototag, name)
        if not inspect.isclass(thing):
            found.append((name, inspect.getdoc(thing) or ""))
            continue
        for member, value in vars(thing).items():
            value = getattr(value, "__func__", value)
            if not member.startswith("_") and inspect.isfunction(value):
                found.append((f"{name}.{member}", inspect.getdoc(value) or ""))
    return found


@pytest.mark.parametrize(("name", "text"), [pytest.param(*each, id=each[0]) for each in functions()])
def test_public_function_says_what_it_does_in_the_imperative(name: str, text: str) -> None:
    assert text, f"{name} has no docstring"
    assert text.split()[0].lower() not in {"the", "a", "an", "what", "whether", "how", "all", "every"}, text


def test_importing_it_imports_nothing_heavy() -> None:
    from tests.support.imports import HEAVY, imported

    assert not imported("import phototag; phototag.__all__; dir(phototag)") & HEAVY
