"""What users and scripts rely on stays as it is, unless a change of it is meant; collect.py says how to renew it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from collect import collect_in, collect_quickly, differences, read_expected

HOW = (
    "What users and scripts see has changed (- before, + now). If that is not meant, mend the code. If it is, run\n"
    "    python tests/contract/collect.py\n"
    "look at git diff tests/contract/expected, and commit it together with the change."
)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory, converted_once: None) -> dict[str, str]:
    """Everything that takes a library; made once."""
    return collect_in(tmp_path_factory.mktemp("contract"))


def compare(found: dict[str, str], belongs: Callable[[str], bool]) -> None:
    """Compare those contracts whose path `belongs` is true for with the expectations."""
    expected = {name: text for name, text in read_expected().items() if belongs(name)}
    different = differences(expected, {name: text for name, text in found.items() if belongs(name)})
    if different:
        pytest.fail(f"{HOW}\n\n{different}", pytrace=False)


@pytest.mark.parametrize("part", ["help", "commands.json", "names.json"])
def test_commands_and_public_names(part: str) -> None:
    compare(collect_quickly(), lambda name: Path(name).parts[0] == part)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["json", "csv", "exit_codes.json", "model_files", "database", "data_folder.txt", "page.json"]
)
def test_what_commands_print_and_write(part: str, collected: dict[str, str]) -> None:
    compare(collected, lambda name: Path(name).parts[0] == part)


def test_every_expectation_is_compared() -> None:
    parts = {
        mark.args[1][place]
        for test in (test_commands_and_public_names, test_what_commands_print_and_write)
        for mark in test.pytestmark
        if mark.name == "parametrize"
        for place in range(len(mark.args[1]))
    }
    assert {Path(name).parts[0] for name in read_expected()} == parts
