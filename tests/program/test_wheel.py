"""What is installed from a wheel is whole: commands, data files and migrations work with no source tree around."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from phototag import __version__
from tests.support.project import ROOT, SCHEMA_DATABASES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that no earlier build can leak into it."""
    pytest.importorskip("setuptools", minversion="77", reason="building a wheel needs setuptools (pip install .[dev])")
    source = tmp_path_factory.mktemp("source")
    for name in ("phototag", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with the wheel in it, and phototag's dependencies but not its source tree."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([interpreter, "-c", query], check=True, capture_output=True, text=True).stdout.strip()
    # Only the folder of the dependencies: path files inside it, such as an editable install's, are not read from here.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return interpreter


def run(python: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python.parent / "phototag"), *arguments]
    environment = {"PHOTOTAG_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment, timeout=120, check=False)


def test_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.pyi", "*.csv", "py.typed")
        for path in (ROOT / "phototag").rglob(pattern)
    }
    wanted |= {
        f"phototag/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "migrations").rglob("*")
        if path.suffix in (".py", ".mako")
    }
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "sample_images/"))]


def test_version_stands_in_one_place(wheel: Path) -> None:
    assert wheel.name.startswith(f"phototag-{__version__}-")


def test_installed_wheel_runs_from_its_own_files(python: Path, tmp_path: Path) -> None:
    script = "import phototag, phototag.migrations as m; print(phototag.__file__); print(m.__file__)"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert all(str(python.parents[1]) in line for line in done.stdout.split())
    assert run(python, tmp_path, "--version").stdout.strip().endswith(__version__)


def test_installed_wheel_makes_and_upgrades_databases(python: Path, tmp_path: Path) -> None:
    script = "from phototag.store import Store; Store.open('new.db').close()"
    subprocess.run([python, "-c", script], check=True, cwd=tmp_path)
    found = run(python, tmp_path, "db", "info", "--db", "new.db", "--format", "json")
    assert json.loads(found.stdout)["photos"] == {}, found.stderr

    for old in sorted(SCHEMA_DATABASES.glob("*.db")):
        shutil.copy(old, tmp_path / "old.db")
        done = run(python, tmp_path, "db", "upgrade", "--db", "old.db")
        assert done.returncode == 0, done.stderr
        assert run(python, tmp_path, "db", "check", "--db", "old.db").returncode == 0
