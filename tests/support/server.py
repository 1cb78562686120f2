"""`phototag serve` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


class ServerProcess:
    """`phototag serve` in a process of its own. `link` lets in, `address` ends with a slash."""

    def __init__(self, database: Path, *args: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        words = [sys.executable, "-m", "phototag", "serve", "--db", os.fspath(database), "--no-open"]
        self.process = subprocess.Popen(
            [*words, "--port", str(port), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().decode().strip()
        if not self.link:
            raise AssertionError(f"no link; stderr: {self.end(signal.SIGKILL)}")
        self.address = self.link.partition("?")[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2].rstrip("/"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Send a signal and wait; returns what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=120)
        return said.decode(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.end(signal.SIGKILL)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)
