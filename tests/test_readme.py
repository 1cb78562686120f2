"""The README tells the truth: its help texts are current, its examples run.

`python tests/test_readme.py` writes the current help texts into it.
"""

from __future__ import annotations

import configparser
import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_HELP = re.compile(r"<!-- help: (?P<command>[^\n]*) -->\n```text\n(?P<text>.*?)```", re.DOTALL)
_WIDTH = 110


def help_text(command: str) -> str:
    """What `--help` prints, at the README's width."""
    from phototag.cli.main import cli

    current: click.Command = cli
    parent = click.Context(cli, info_name="phototag", terminal_width=_WIDTH, help_option_names=["-h", "--help"])
    for name in command.split()[1:]:
        assert isinstance(current, click.Group)
        current = current.commands[name]
        parent = click.Context(current, parent=parent, info_name=name, terminal_width=_WIDTH)
    return current.get_help(parent) + "\n"


def with_current_help(text: str) -> str:
    """The README with its help texts replaced."""
    return _HELP.sub(
        lambda match: f"<!-- help: {match['command']} -->\n```text\n{help_text(match['command'])}```", text
    )


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_help_texts_in_the_readme_are_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert _HELP.search(text)
    assert with_current_help(text) == text, "run: python tests/test_readme.py"


def test_every_command_is_in_the_readme() -> None:
    from phototag.cli.main import cli

    text = README.read_text(encoding="utf-8")
    for name, command in cli.commands.items():
        children = command.commands if isinstance(command, click.Group) else {}
        assert f"`phototag {name}" in text
        for child in children:
            assert f"`{child}`" in text or f"`phototag {name} {child}" in text, f"{name} {child}"


def test_files_that_the_readme_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder as the README's reader has it: labelled examples, photos, and the truth about some of them."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("bird", "dog", "reptile"):
        shutil.copytree(ROOT / "sample_images" / name, folder / "my_photos" / name)
    shutil.copytree(ROOT / "sample_images" / "inbox", folder / "Pictures" / "inbox")
    (folder / "inbox").symlink_to(folder / "Pictures" / "inbox")
    truth = (ROOT / "sample_images" / "inbox.csv").read_text(encoding="utf-8")
    (folder / "truth.csv").write_text(truth.replace("\ninbox/", "\nPictures/inbox/"), encoding="utf-8")
    return folder


def run(command: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "PHOTOTAG_HOME": str(home / "kept"), "PATH": search, **more}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_shell_examples_of_the_readme_run(home: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("make ")]
    assert len(lines) >= 8
    printed = 0
    for line in lines:
        done = run(["bash", "-c", line], home)
        # One photo of the inbox is cut short, which `tag` reports with 1.
        wanted = 1 if line.startswith("phototag tag") else 0
        assert done.returncode == wanted, f"{line}\n{done.stdout}\n{done.stderr}"
        printed += bool(done.stdout)
    assert printed >= 5


@pytest.mark.slow
def test_python_examples_of_the_readme_run(home: Path) -> None:
    examples = blocks("python")
    assert examples
    for example in examples:
        done = run([sys.executable, "-c", example], home)
        assert done.returncode == 0, done.stderr
        assert "27 tagged, 1 failed" in done.stdout


@pytest.mark.slow
def test_make_targets_of_the_readme_exist() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")]
    assert lines == ["make demo", "make test"]
    for line in lines:
        done = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0


def test_service_files_of_the_readme_are_sound(tmp_path: Path) -> None:
    (agent,) = blocks("xml")
    values = plistlib.loads(agent.encode())
    assert values["ProgramArguments"][1] == "watch"
    assert values["KeepAlive"] == {"SuccessfulExit": False}, "stopped on purpose, it stays stopped"
    (unit,) = blocks("ini")
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit)
    assert parsed["Service"]["ExecStart"].split()[1] == "watch"
    assert parsed["Service"]["Restart"] == "on-failure"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to ask")
def test_systemd_takes_the_unit_of_the_readme(tmp_path: Path) -> None:
    (unit,) = blocks("ini")
    file = tmp_path / "phototag.service"
    file.write_text(unit.replace("%h/.local/bin/phototag", sys.executable), encoding="utf-8")
    command = ["systemd-analyze", "--user", "verify", str(file)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "phototag.service" not in done.stderr, done.stderr


if __name__ == "__main__":
    README.write_text(with_current_help(README.read_text(encoding="utf-8")), encoding="utf-8")
