"""Processes as torchrun starts them, forked from one that has torch loaded: that takes longer than what they do."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.project import ROOT

PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def run_ranks(folder: Path, module: str, *calls: tuple[str, ...], size: int = 2) -> list[list[Ended]]:
    """Let so many processes at once make each call, a function of that module and its arguments, one after another."""
    job = json.dumps({"folder": os.fspath(folder), "module": module, "calls": calls, "size": size})
    subprocess.run(
        [sys.executable, "-c", "from tests.support.ranks import _fork; _fork()", job],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    found = json.loads((folder / "codes.json").read_text("utf-8"))
    return [
        [
            Ended(code, *((folder / f"{number}-{rank}.{end}").read_text("utf-8", "replace") for end in ("out", "err")))
            for rank, code in enumerate(codes)
        ]
        for number, codes in enumerate(found)
    ]


def _fork() -> None:
    """Run by the process that forks. A child returns from here and ends as every process does."""
    import timm  # noqa: F401  # and with it torch

    job = json.loads(sys.argv[1])
    module, folder = importlib.import_module(job["module"]), Path(job["folder"])
    found = []
    for number, (name, *arguments) in enumerate(job["calls"]):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        size = str(job["size"])
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
        children = []
        for rank in range(job["size"]):
            children.append(os.fork())
            if children[-1] == 0:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
                for place, end in ((1, "out"), (2, "err")):
                    os.dup2(os.open(folder / f"{number}-{rank}.{end}", os.O_WRONLY | os.O_CREAT, 0o600), place)
                getattr(module, name)(*arguments)
                return
        found.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    (folder / "codes.json").write_text(json.dumps(found), "utf-8")
