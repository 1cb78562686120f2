"""Ways to run the command and Python: types of the fixtures that do, and a function."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from click.testing import Result

from tests.support.project import ROOT

RunCommand = Callable[..., Result]
RunProcess = Callable[..., "subprocess.CompletedProcess[bytes]"]


def run_python(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None, **options: object
) -> subprocess.Popen[str]:
    """Start a process that runs `code`, and can import what this process can of the project and its tests."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        **options,  # type: ignore[call-overload]
    )


def start_all(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Let processes go on together: each says "ready", and waits for a line."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
