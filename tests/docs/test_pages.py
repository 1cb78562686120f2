"""README and documentation tell the truth: their commands exist, their examples run, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.docs.pages import PAGES, README, ROOT, Line, anchors, blocks, code_in_text, lines, links, options, parse
from tests.support.s3_server import S3Server

# Of programs that the pages mention, which are not phototag.
_FOREIGN_OPTIONS = {"--build-arg", "--force-reinstall", "--gpus", "--upgrade", "--user"}

pytestmark = pytest.mark.usefixtures("converted_once")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def pages_with(*languages: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, *languages)]


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 160


@each_page
def test_commands_in_blocks_are_taken_by_the_command_line(page: Path) -> None:
    for line in lines(page, "sh", "text"):
        if line.text.startswith("phototag "):
            before = Line(line.text.partition(" | ")[0])
            try:
                parse(before.words[1:])
            except click.UsageError as error:
                pytest.fail(f"{line.text}: {error.format_message()}")


@each_page
def test_commands_and_options_in_the_text_exist(page: Path) -> None:
    from phototag.cli.main import cli

    known = {*options(cli), "-h", "--help", *_FOREIGN_OPTIONS}
    for code in code_in_text(page):
        if code.startswith("phototag "):
            try:
                parse(Line(code).words[1:], complete=False)
            except click.UsageError as error:
                pytest.fail(f"`{code}`: {error.format_message()}")
        elif re.match(r"--\w", code):
            assert re.split(r"[ =]", code)[0] in known, code


def test_every_command_is_in_the_overview_of_commands() -> None:
    from phototag.cli.main import cli

    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for name, command in cli.commands.items():
        children = command.commands if isinstance(command, click.Group) else {}
        assert f"`phototag {name}" in text
        for child in children:
            assert f"`{child}`" in text or f"`phototag {name} {child}" in text, f"{name} {child}"


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = [line.text for line in lines(page, "sh", "text")] + code_in_text(page)
    for target in [text.split()[1] for text in told if text.startswith("make ")]:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def test_readme_sets_up_with_two_commands() -> None:
    made = [line.text for line in lines(README, "sh") if line.text.startswith("make ")]
    assert made == ["make demo", "make test"]
    for line in made:
        done = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_modules_and_files_that_are_named_exist(page: Path) -> None:
    for code in code_in_text(page):
        if re.fullmatch(r"(phototag|tests|docs|benchmarks|contrib|migrations)/[\w./-]*", code):
            assert (ROOT / code).exists() or code.startswith("docs/_build/"), code
        elif re.fullmatch(r"phototag(\.[a-z_]+)+", code) and not code.endswith(".db"):
            assert importlib.util.find_spec(code) is not None, code


def test_links_of_the_source_to_the_experiments_lead_somewhere() -> None:
    known = anchors(ROOT / "docs" / "experiments.md")
    for file in sorted((ROOT / "phototag").rglob("*.py")):
        for anchor in re.findall(r"docs/experiments\.md#([\w-]+)", file.read_text("utf-8")):
            assert anchor in known, f"{file}: {anchor}"


def test_contributing_lists_every_package() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    (row,) = re.findall(r"\| package \|.*?\n((?:\|.*\n)+)", text)
    listed = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in row.splitlines())))
    packages = {file.parent.name for file in (ROOT / "phototag").glob("*/__init__.py")}
    assert listed == packages


def test_references_name_every_command_and_all_that_is_public() -> None:
    import phototag
    from phototag.cli.main import cli

    found = importlib.util.spec_from_file_location("documentation_settings", ROOT / "docs" / "conf.py")
    assert found is not None
    assert found.loader is not None
    settings = importlib.util.module_from_spec(found)
    found.loader.exec_module(settings)
    api, commands = "\n".join(settings.api()), "\n".join(settings.commands(cli))
    for name in phototag.__all__:
        assert name.startswith("__") or f":: phototag.{name}\n" in api, name
    assert "### phototag audit report\n\n```text\nUsage: phototag audit report [OPTIONS]" in commands
    assert all(f"## phototag {name}\n" in commands for name in cli.commands)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of a reader: labelled examples, photos, and the truth about some of them."""
    folder = tmp_path_factory.mktemp("reader")
    for label in (ROOT / "sample_images").glob("*/*/"):
        copy = folder / "my_photos" / label.parent.name / label.name
        copy.mkdir(parents=True)
        for picture in sorted(label.iterdir())[:12]:
            shutil.copy(picture, copy)
    shutil.copytree(ROOT / "sample_images" / "inbox", folder / "Pictures" / "inbox")
    (folder / "inbox").symlink_to(folder / "Pictures" / "inbox")
    truth = (ROOT / "sample_images" / "inbox.csv").read_text(encoding="utf-8")
    (folder / "truth.csv").write_text(truth.replace("\ninbox/", "\nPictures/inbox/"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def museum(reader: Path) -> Iterator[None]:
    """The reader's photos once more, in a bucket."""
    with S3Server().running() as server, pytest.MonkeyPatch.context() as patch:
        for file in (reader / "Pictures" / "inbox").iterdir():
            server.put("museum", f"2019/{file.name}", file.read_bytes())
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "reader")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield


def variables(reader: Path) -> dict[str, str]:
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "HOME": str(reader), "PHOTOTAG_HOME": str(reader / "kept"), "PATH": search}


def run(command: list[str], reader: Path) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=reader, env=variables(reader), capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def run_here(line: Line, reader: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a line in this process, where torch is loaded already."""
    from phototag.cli.main import cli

    monkeypatch.chdir(reader)
    words = [str(reader / word[2:]) if word.startswith("~/") else word for word in line.words]
    result = CliRunner().invoke(cli, words[1:], env=variables(reader), prog_name="phototag")
    return result.exit_code, result.output


@pytest.mark.slow
@pytest.mark.usefixtures("museum")
@pytest.mark.parametrize("page", pages_with("sh"), ids=lambda page: page.name)
def test_shell_examples_run(page: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lines(README, "sh")
    if page != README and not (reader / "kept").exists():
        # Pages count on what the README says to do first; run after it they find it done.
        for text in ("phototag train my_photos/", "phototag tag ~/Pictures"):
            run_here(Line(text), reader, monkeypatch)
    # What the README shows too runs once: a training takes longer than all the rest.
    told = [
        line
        for line in lines(page, "sh")
        if not line.text.startswith("make ") and (page == README or line not in first)
    ]
    for line in told:
        if line.needs_shell or line.words[0] != "phototag":
            code, output = run(["bash", "-c", line.text], reader)
        else:
            code, output = run_here(line, reader, monkeypatch)
        # One photo of the inbox is cut short, which these report with 1.
        reads_all = line.words[:2] in (["phototag", "tag"], ["phototag", "watch"])
        assert code == (1 if reads_all else 0), f"{line.text}\n{output}"


@pytest.mark.slow
def test_python_examples_run(reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # All of them as one program, README first, and once where they are the same: they train the same model.
    examples = dict.fromkeys(block for page in PAGES for block in blocks(page, "python"))
    assert len(examples) >= 4
    monkeypatch.chdir(reader)
    for name, value in variables(reader).items():
        monkeypatch.setenv(name, value)
    exec(compile("\n".join(examples), "examples", "exec"), {"__name__": "__main__"})
    assert "27 tagged, 1 failed" in capsys.readouterr().out


def test_configuration_examples_name_real_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from phototag.cli.main import cli

    examples = [block for page in PAGES for block in blocks(page, "toml")]
    assert examples
    for example in examples:
        file = tmp_path / "config.toml"
        file.write_text(example, encoding="utf-8")
        result = CliRunner().invoke(
            cli, ["model", "list"], env={"PHOTOTAG_CONFIG": str(file), "PHOTOTAG_HOME": str(tmp_path)}
        )
        assert result.exit_code == 0, result.output
        assert not caplog.messages
