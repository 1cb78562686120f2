"""What users and scripts rely on, collected from the running program.

    python tests/contract/collect.py

writes it to tests/contract/expected/, which is compared by test_contract.py. Run it when a change of the command line,
of a file or of an answer is meant, look at what `git diff tests/contract/expected` shows, and commit both together. A
change that only moves or cleans up code changes nothing there.
"""

from __future__ import annotations

import difflib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from contract_commands import collect_help, collect_names, collect_options
from contract_world import make_world

EXPECTED = Path(__file__).parent / "expected"


def collect_quickly() -> dict[str, str]:
    """Return the contracts for which nothing has to be run: help, options, public names."""
    return {**collect_help(), **collect_options(), **collect_names()}


def collect_in(folder: Path) -> dict[str, str]:
    """Return the contracts that take a library, which is made in that empty folder."""
    return make_world(folder).files


def read_expected() -> dict[str, str]:
    """Return all expectations: texts by their path below expected/."""
    files = (path for path in EXPECTED.rglob("*") if path.is_file())
    return {path.relative_to(EXPECTED).as_posix(): path.read_text(encoding="utf-8") for path in files}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return what differs as unified diffs, empty if nothing does."""
    lines: list[str] = []
    for name in sorted(expected.keys() | found.keys()):
        before, now = expected.get(name, ""), found.get(name, "")
        lines += difflib.unified_diff(
            before.splitlines(), now.splitlines(), f"expected/{name}", f"now/{name}", lineterm="", n=2
        )
    return "\n".join(lines)


def write(found: Mapping[str, str]) -> None:
    """Replace all expectations."""
    shutil.rmtree(EXPECTED, ignore_errors=True)
    for name, text in found.items():
        path = EXPECTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Collect everything and replace the expectations."""
    with tempfile.TemporaryDirectory() as folder:
        found = {**collect_quickly(), **collect_in(Path(folder))}
    sys.stdout.write(differences(read_expected(), found) + f"\n{len(found)} files\n")
    write(found)


if __name__ == "__main__":
    main()
