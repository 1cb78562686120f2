"""The laws of the floor plan that the contracts in pyproject.toml cannot say; docs/contributing.md draws the plan."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

PACKAGE = ROOT / "phototag"
# The doors: a module there is named after the command or page that it serves, and shares the name of what it shows.
DOORS = ("cli", "web")
EMPTY_NAMES = {"helper", "helpers", "util", "utils", "misc", "common", "core", "base"}
LARGEST_SHARE = 0.12


def modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def packages() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every name that a module imports from phototag, with the module that it asks."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "phototag":
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "phototag":
                    yield alias.name, ""


def room(dotted_name: str) -> str:
    """The package or the module directly below phototag."""
    return (dotted_name + ".").split(".")[1]


def test_what_other_packages_use_comes_through_the_face() -> None:
    passed_by = [
        f"{path.relative_to(ROOT)}: from {source} import {name}"
        for path in modules()
        for source, name in imports(path)
        if room(source)
        and room(source) != room(dotted(path))
        and (source.count(".") > 1 or (PACKAGE / room(source) / f"{name}.py").exists())
        # The program's entrance, which is not for other packages.
        and path.name != "__main__.py"
    ]
    assert not passed_by, "import these from the package, not from a module in it:\n" + "\n".join(passed_by)


@pytest.mark.parametrize("package", packages(), ids=dotted)
def test_face_names_what_is_there(package: Path) -> None:
    face = importlib.import_module(dotted(package / "__init__.py"))
    for name in getattr(face, "__all__", ()):
        assert getattr(face, name) is not None
        assert not (package / f"{name}.py").exists(), f"importing the module {name} would hide the name"
        assert not (package / name).is_dir(), f"importing the package {name} would hide the name"


def test_every_name_in_a_face_has_a_user_elsewhere() -> None:
    used = defaultdict(set)
    roots = (PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "migrations")
    for path in (path for root in roots for path in root.rglob("*.py")):
        for source, name in imports(path):
            used[source].add(name)
    for package in packages():
        if package != PACKAGE:
            face = importlib.import_module(dotted(package / "__init__.py"))
            unused = set(getattr(face, "__all__", ())) - used[dotted(package / "__init__.py")]
            outer = {name for name in unused if name in (package.parent / "__init__.pyi").read_text().split()}
            assert unused <= outer, f"{package.name}: in the face, and nobody asks for it: {sorted(unused - outer)}"


def test_only_tagging_knows_both_a_runtime_and_the_store() -> None:
    both = [
        str(path.relative_to(ROOT))
        for path in modules()
        if "runtime" in (known := {room(source) for source, _ in imports(path)})
        and known & {"store", "database"}
        and room(dotted(path)) not in ("tagging", "cluster")
    ]
    assert not both


def test_no_module_name_stands_for_two_ideas() -> None:
    places = defaultdict(list)
    for path in modules():
        if path.name not in ("__init__.py", "__main__.py") and room(dotted(path)) not in DOORS:
            places[path.stem].append(path)
    twice = {
        name: [str(path.relative_to(PACKAGE)) for path in paths] for name, paths in places.items() if len(paths) > 1
    }
    assert not twice


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not EMPTY_NAMES & {path.stem for path in modules()} | {path.name for path in packages()} & EMPTY_NAMES


def test_no_package_outgrows_the_house() -> None:
    lines = defaultdict(int)
    for path in modules():
        lines[room(dotted(path))] += path.read_text(encoding="utf-8").count("\n")
    total = sum(lines.values())
    assert {name: count / total for name, count in lines.items() if count > LARGEST_SHARE * total} == {}
